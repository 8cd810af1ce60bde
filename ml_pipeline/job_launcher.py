"""Starts a deployed job in its workspace, or the branch's wheel as a one-time run, and follows it to its end."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import ConfigDict, ValidationError, model_validator
from rich.console import Console
from rich.markup import escape

from ml_pipeline import graph, one_time_run, settings
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.jobs import deployed_name
from ml_pipeline.run_follower import ENDED, Follower, life_of, state_of

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.jobs import Run

T = TypeVar("T")

_LOG_LINES = 20
_PATIENCE = 300.0
"""Seconds for which a workspace that has answered before may be silent."""
_SHORT_PATIENCE = 30.0
"""The same while a run is started or cancelled, when a person waits."""
_LONGEST_PAUSE = 10.0


class Workspace(settings.Settings):
    """What is needed of the ``[workspace]`` table to call the workspace; its other keys belong to the deployment."""

    model_config = ConfigDict(extra="ignore")

    host: settings.NonEmpty | None = None
    """Address of the workspace."""
    auth: Literal["github-oidc", "profile", "environment"]
    """Who signs in: the GitHub workflow, a profile of ~/.databrickscfg, or the SDK's environment variables."""
    profile: settings.NonEmpty | None = None
    client_id: settings.NonEmpty | None = None
    """Service principal as which the GitHub workflow signs in."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"github-oidc": ("host", "client_id"), "profile": ("profile",), "environment": ()}
        for key in needed[self.auth]:
            if getattr(self, key) is None:
                raise ValueError(f"auth '{self.auth}' needs the key '{key}'")
        return self


def workspace(file: Path) -> Workspace:
    """The ``[workspace]`` table of an environment file.

    Raises:
        InputError: the table is missing, or says too little.
    """
    content = settings.read(file)
    if "workspace" not in content:
        raise InputError(
            f"{file}: the table [workspace] is missing, without which no job is deployed; add it with"
            ' host = "https://..." and auth = "github-oidc", "profile" or "environment"'
        )
    try:
        return Workspace.model_validate(content["workspace"])
    except ValidationError as error:
        raise InputError(f"{file}: " + settings.explain(error, Workspace, prefix="workspace")) from None


def run_parameters(job: graph.Job, given: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The job parameters that a run sets.

    Args:
        job: The declared job.
        given: What a person asks for.
        defaults: Values for those parameters that the job declares and that are not given.

    Raises:
        InputError: the job doesn't declare a parameter.
    """
    declared = tuple(parameter.name for parameter in job.parameters)
    for name in given:
        if name not in declared:
            accepted = settings.suggest(name, declared) or "; accepted: none"
            raise InputError(f"--parameter {name}: job '{job.name}' does not have it{accepted}")
    return {name: value for name, value in {**defaults, **given}.items() if name in declared}


class Launcher:
    """Calls the workspace of an environment.

    Args:
        file: The environment file.
        console: Where the run is shown.

    Raises:
        InputError: the file, or what it refers to, has no usable credentials.
    """

    def __init__(self, file: Path, console: Console) -> None:
        self._file = file
        self._console = console
        self._settings = workspace(file)
        self._host = self._settings.host or ""
        self._answered = False
        self._client = self.ask(self._connect)
        self._answered = False  # That was this machine; whether the workspace is there shows with the first question.
        self._host = self._client.config.host

    def _connect(self) -> WorkspaceClient:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.config import Config

        # It warns of what it tries before it fails, or before it goes on without.
        logging.getLogger("databricks.sdk").setLevel(logging.ERROR)
        chosen: dict[str, Any] = {"host": self._settings.host}
        if self._settings.auth == "profile":
            chosen["profile"] = self._settings.profile
            # To the SDK a variable counts more than the profile: a token that is meant for another workspace, too.
            for name in ("HOST", "TOKEN", "CLIENT_ID", "CLIENT_SECRET", "AUTH_TYPE"):
                os.environ.pop(f"DATABRICKS_{name}", None)
        elif self._settings.auth == "github-oidc":
            # A job of the workflow that only reads signs in as somebody who may do no more.
            client = os.environ.get("DATABRICKS_CLIENT_ID") or self._settings.client_id
            chosen |= {"client_id": client, "auth_type": "github-oidc"}
        elif not (self._settings.host or os.environ.get("DATABRICKS_HOST")):
            raise InputError(f"{self._file}: workspace.host: is missing, and so is the variable DATABRICKS_HOST")
        try:
            # Trying again is this module's business, which says so.
            config = Config(**chosen, retry_timeout_seconds=1, http_timeout_seconds=30)
        except ValueError as error:
            # The SDK goes on with where to read more, and with the whole of its configuration.
            message = re.split(r", please check|\. (?:Config|Env): ", " ".join(str(error).split()))[0]
            if "Invalid URL 'None'" in message:  # What it did not get from the host.
                raise PipelineError(
                    f"{self._host}: does not say where to sign in; see the host and the network"
                ) from error
            raise InputError(f"{self._file}: workspace: no credentials: {message}; {self._hint()}") from error
        self._host = config.host or self._host
        for value in config.authenticate().values():
            # What sends the request would show the token in its error.
            if value != value.strip() or not (value.isascii() and value.isprintable()):
                raise InputError(
                    f"{self._file}: workspace: the token has a line break, a blank or a sign that none has"
                )
        return WorkspaceClient(config=config)

    def _hint(self) -> str:
        return {
            "github-oidc": "auth 'github-oidc' works in a GitHub workflow with the permission 'id-token: write',"
            " and with databricks-sdk 0.51 or newer",
            "profile": f"see profile '{self._settings.profile}' in ~/.databrickscfg",
            "environment": "set DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET",
        }[self._settings.auth]

    def ask(self, call: Callable[[], T], *, patience: float = _PATIENCE) -> T:
        """Ask the workspace something that may be asked twice; trouble that may pass is waited for.

        Args:
            call: The question.
            patience: Seconds to wait for a workspace that has answered before.

        Raises:
            PipelineError: the workspace refuses, or can't be reached.
        """
        deadline = time.monotonic() + (patience if self._answered else 0)
        pause = 1.0
        while True:
            try:
                answer = call()
            except PipelineError:
                raise
            except (OSError, ValueError) as error:
                # Of the SDK's own attempts only the reason is of interest.
                error = error.__cause__ if isinstance(error.__cause__, OSError) else error
                explained = self._explained(error)
                if not _transient(error) or time.monotonic() + pause > deadline:
                    raise explained from error
                self._say(f"[yellow]WAITING [/] {escape(str(explained))}")
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._answered = True
                return answer

    def _explained(self, error: Exception) -> PipelineError:
        from databricks.sdk import errors
        from databricks.sdk.errors.base import DatabricksError

        host, said = self._host or "the workspace", " ".join(str(error).split())
        if isinstance(error, errors.Unauthenticated) or "Invalid access token" in said:
            return PipelineError(f"{host}: refuses the credentials: {said}; {self._hint()}")
        if isinstance(error, errors.PermissionDenied):
            return PipelineError(f"{host}: permission denied: {said}; ask for the permission, or see who signs in")
        if isinstance(error, errors.NotFound):
            return PipelineError(f"{host}: not found: {said}; is it deployed, and is this the host?")
        if isinstance(error, DatabricksError):
            return PipelineError(f"{host}: {error.error_code or type(error).__name__}: {said}")
        if isinstance(error, ValueError):
            return PipelineError(f"{host}: does not answer as a workspace does ({type(error).__name__}); see the host")
        return PipelineError(f"{host}: can't be reached: {_root(error)}; see the host and the network")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def find(self, *, environment: str, instance: str, job: str) -> int:
        """The id of the deployed job.

        Raises:
            InputError: there is none, or more than one.
        """
        name = deployed_name(environment=environment, instance=instance, job=job)

        def named(only: str | None) -> list[tuple[str, int]]:
            listed = self._client.jobs.list(name=only, limit=100)
            return [
                (job.settings.name, job.job_id) for job in listed if job.settings and job.settings.name and job.job_id
            ]

        # The API's filter doesn't tell upper from lower case.
        found = [job_id for known, job_id in self.ask(lambda: named(name)) if known == name]
        if not found:
            there = sorted(known for known, _ in self.ask(lambda: named(None)) if known.startswith(f"{environment}-"))
            raise InputError(
                f"{self._host}: no job '{name}'; deployed of '{environment}': {', '.join(there) or 'none'}"
                " (--instance chooses an instance)"
            )
        if len(found) > 1:
            ids = ", ".join(map(str, sorted(found)))
            raise InputError(f"{self._host}: {len(found)} jobs are called '{name}', of which one must go: {ids}")
        return found[0]

    def deployed(self, job_id: int, parameters: Mapping[str, str]) -> Callable[[], int]:
        """What starts a run of the deployed job, and returns its id."""
        token = str(uuid.uuid4())  # With it, asking twice starts one run.
        run_now, given = self._client.jobs.run_now, dict(parameters) or None
        return lambda: int(run_now(job_id, job_parameters=given, idempotency_token=token).run_id)

    def one_time(
        self, job_id: int, parameters: Mapping[str, str], *, wheel: Path, cluster: str | None
    ) -> Callable[[], int]:
        """What runs a wheel once, with the deployed job's tasks and without a change to it, and returns the run's id.

        Args:
            job_id: The deployed job.
            parameters: Values of job parameters; the others take the deployed defaults.
            wheel: Takes the place of the deployed wheel; it is uploaded at once.
            cluster: An interactive cluster to run on; the deployed job's compute if left out.

        Raises:
            InputError: the deployed job lacks a parameter, or does not use such a wheel.
        """
        from databricks.sdk.service import jobs

        job = self.ask(lambda: self._client.jobs.get(job_id))
        content = wheel.read_bytes()
        me = self.ask(self._client.current_user.me).user_name
        # The content's hash: a cluster that has installed a wheel does not look whether its file has changed.
        folder = PurePosixPath(f"/Workspace/Users/{me}/.ml-pipeline/wheels/{hashlib.sha256(content).hexdigest()[:16]}")
        path = folder / wheel.name
        deployed = job.settings.as_dict() if job.settings else {}
        once = one_time_run.settings_of(deployed, parameters, wheel=str(path), cluster=cluster)
        self._upload(path, content)
        token = str(uuid.uuid4())
        return lambda: int(
            self._client.jobs.submit(
                tasks=[jobs.SubmitTask.from_dict(task) for task in once["tasks"]],
                run_as=jobs.JobRunAs.from_dict(once["run_as"]) if "run_as" in once else None,
                run_name=f"{once['name']} ({wheel.name}, one-time run)",
                timeout_seconds=once.get("timeout_seconds"),
                idempotency_token=token,
            ).run_id
        )

    def _upload(self, path: PurePosixPath, content: bytes) -> None:
        from databricks.sdk.errors import NotFound
        from databricks.sdk.service.workspace import ImportFormat

        files = self._client.workspace

        def is_there() -> bool:
            try:
                files.get_status(str(path))
            except NotFound:
                return False
            return True

        if self.ask(is_there):
            self._say(f"wheel: {escape(str(path))} (there already)")
            return
        self.ask(lambda: files.mkdirs(str(path.parent)))
        self.ask(lambda: files.upload(str(path), content, format=ImportFormat.RAW, overwrite=True))
        self._say(f"wheel: {escape(str(path))}")

    def watch(self, start: Callable[[], int], *, job: str, wait: bool) -> int:
        """Start a run and follow it to its end; an interruption cancels it.

        Args:
            start: Starts it and returns its id; asked twice, it starts one run.
            job: What the job is called here.
            wait: Whether to follow it.

        Returns:
            The exit code: 0, or 130 after an interruption.

        Raises:
            PipelineError: the run ended otherwise than with success.
        """
        run_id = None
        try:
            with _interruptions_held():
                run_id = self.ask(start, patience=_SHORT_PATIENCE)
            run = self._run(run_id)
            self._say(f"run {run_id}: {escape(run.run_page_url or self._host)}")
            if wait:
                self._follow(run_id, job)
        except KeyboardInterrupt:
            if run_id is None:
                raise
            self._cancel(run_id)
            return 130
        return 0

    def _run(self, run_id: int, *, patience: float = _PATIENCE) -> Run:
        return self.ask(lambda: self._client.jobs.get_run(run_id), patience=patience)

    def _follow(self, run_id: int, job: str) -> None:
        follower = Follower(job)
        pause = 1.0
        with self._console.status("") as status:
            while True:
                run = self._run(run_id)
                changes = follower.changes(run)
                for line, failed in changes:
                    self._say(line)
                    if failed:
                        self._show_output(failed)
                if life_of(run.state) in ENDED:
                    break
                status.update(escape(f"RUNNING {', '.join(follower.running) or job}"))
                pause = 1.0 if changes else min(1.5 * pause, _LONGEST_PAUSE)
                time.sleep(pause)
        if state_of(run.state) != "SUCCESS":
            because = (run.state and run.state.state_message) or "no reason given"
            told = " ".join(because.split())
            raise PipelineError(
                f"{job}: run {run_id} is {state_of(run.state)}: {told}; {run.run_page_url or self._host}"
            )

    def _show_output(self, run_id: int) -> None:
        try:
            output = self.ask(lambda: self._client.jobs.get_run_output(run_id))
        except PipelineError as error:
            self._say(f"  its log can't be read: {escape(str(error))}")
            return
        if output.run_job_output and output.run_job_output.run_id:
            self._say(f"  it ran another job, as run {output.run_job_output.run_id}")
        # Of a failure that has no log there may be a trace.
        lines = (output.logs or output.error_trace or "").rstrip().splitlines()
        shown = [f"  | {line}" for line in lines[-_LOG_LINES:]]
        if len(lines) > _LOG_LINES or output.logs_truncated:
            shown.insert(0, "  | ...")
        for line in [*shown, *(f"  {line}" for line in (output.error or "").splitlines())]:
            self._console.out(line, highlight=False)

    def _cancel(self, run_id: int) -> None:
        self._say(f"interrupted: asking the workspace to cancel run {run_id}")
        try:
            self.ask(lambda: self._client.jobs.cancel_run(run_id), patience=_SHORT_PATIENCE)
            deadline = time.monotonic() + _SHORT_PATIENCE
            while time.monotonic() < deadline:
                run = self._run(run_id, patience=_SHORT_PATIENCE)
                if life_of(run.state) in ENDED:
                    self._say(f"run {run_id} is {state_of(run.state)}")
                    return
                time.sleep(1)
        except PipelineError as error:
            self._say(f"run {run_id} may go on: {escape(str(error))}")
        except KeyboardInterrupt:
            self._say(f"run {run_id}: not waited for")
        else:
            self._say(f"run {run_id} is about to be cancelled, and not yet ended")


def _transient(error: Exception) -> bool:
    from databricks.sdk import errors
    from databricks.sdk.errors.base import DatabricksError

    if not isinstance(error, DatabricksError):
        return isinstance(error, OSError)
    # One without a class of its own is the answer of something in between, such as a proxy's 502.
    passing = (errors.TooManyRequests, errors.InternalError, errors.TemporarilyUnavailable, errors.DeadlineExceeded)
    return isinstance(error, passing) or type(error) is DatabricksError


def _root(error: BaseException) -> BaseException:
    """What a chain of errors began with: the network's own words."""
    while before := error.__cause__ or error.__context__:
        error = before
    return error


@contextlib.contextmanager
def _interruptions_held() -> Iterator[None]:
    """Let an interruption count only afterwards, when the run that it is to cancel has an id."""
    arrived: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        # From here on a CI that ends the command is like a person who does.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
    if arrived:
        raise KeyboardInterrupt
