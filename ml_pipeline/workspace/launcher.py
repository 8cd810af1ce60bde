"""Starts a deployed job in its workspace, or the branch's wheel as a one-time run, and follows it to its end."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import tenacity
from rich.console import Console
from rich.markup import escape

from ml_pipeline import graph
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.settings import files, messages
from ml_pipeline.workspace import one_time_run
from ml_pipeline.workspace.connection import LONGEST_PAUSE, Connection
from ml_pipeline.workspace.follower import ENDED, Follower, life_of, state_of

if TYPE_CHECKING:
    from databricks.sdk.service.jobs import Run

_LOG_LINES = 20
_SHORT_PATIENCE = 30.0
"""Seconds for which the workspace may be silent while a run is started or cancelled, when a person waits."""


def run_parameters(job: graph.Job, given: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The job parameters that a run sets: the given ones, and those defaults that the job declares.

    Raises:
        InputError: the job doesn't declare a parameter.
    """
    declared = tuple(parameter.name for parameter in job.parameters)
    for name in given:
        if name not in declared:
            accepted = messages.suggest(name, declared) or "; accepted: none"
            raise InputError(f"--parameter {name}: job '{job.name}' does not have it{accepted}")
    return {name: value for name, value in {**defaults, **given}.items() if name in declared}


class Launcher(Connection):
    """Calls the jobs of an environment's workspace, and shows their runs.

    Raises:
        InputError: the file, or what it refers to, has no usable credentials.
    """

    def __init__(self, file: Path, console: Console) -> None:
        self._console = console
        super().__init__(file)

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def find(self, *, instance: str, job: str) -> int:
        """The id of the deployed job.

        Raises:
            InputError: there is none, or more than one.
        """
        name = f"{files.deployed_name(self._file, instance)}-{job}"

        def named(only: str | None) -> list[tuple[str, int]]:
            listed = self._client.jobs.list(name=only, limit=100)
            return [
                (job.settings.name, job.job_id) for job in listed if job.settings and job.settings.name and job.job_id
            ]

        # The API's filter doesn't tell upper from lower case.
        found = [job_id for known, job_id in self.ask(lambda: named(name)) if known == name]
        if not found:
            own = files.deployed_name(self._file)
            there = sorted(known for known, _ in self.ask(lambda: named(None)) if known.startswith(f"{own}-"))
            raise InputError(
                f"{self.host}: no job '{name}'; deployed of '{own}': {', '.join(there) or 'none'}"
                " (--instance chooses an instance)"
            )
        if len(found) > 1:
            ids = ", ".join(map(str, sorted(found)))
            raise InputError(f"{self.host}: {len(found)} jobs are called '{name}'; expected one: {ids}")
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

        The wheel is uploaded at once (``one_time_run.settings_of``).

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
        """Start a run and, if asked to, follow it to its end; an interruption cancels it.

        ``start`` returns the run's id; asked twice, it starts one run.

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
            self._say(f"run {run_id}: {escape(run.run_page_url or self.host)}")
            if wait:
                self._follow(run_id, job, page=run.run_page_url or self.host)
        except KeyboardInterrupt:
            if run_id is None:
                raise
            self._cancel(run_id)
            return 130
        return 0

    def _run(self, run_id: int, page: str = "") -> Run:
        try:
            return self.ask(lambda: self._client.jobs.get_run(run_id))
        except PipelineError as error:
            message = f"run {run_id} goes on, but can't be followed: {error}; see {page or self.host}"
            raise PipelineError(message) from error

    def _follow(self, run_id: int, job: str, page: str) -> None:
        follower = Follower(job)
        pause = 1.0
        with self._console.status("") as status:
            while True:
                run = self._run(run_id, page)
                changes = follower.changes(run)
                for line, failed in changes:
                    self._say(line)
                    if failed:
                        self._show_output(failed)
                if life_of(run.state) in ENDED:
                    break
                status.update(escape(f"RUNNING {', '.join(follower.running) or job}"))
                pause = 1.0 if changes else min(1.5 * pause, LONGEST_PAUSE)
                time.sleep(pause)
        if state_of(run.state) != "SUCCESS":
            because = (run.state and run.state.state_message) or "no reason given"
            message = " ".join(because.split())
            raise PipelineError(f"{job}: run {run_id} is {state_of(run.state)}: {message}; {page}")

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
            retrying = tenacity.Retrying(
                retry=tenacity.retry_if_result(lambda run: life_of(run.state) not in ENDED),
                wait=tenacity.wait_fixed(1),
                stop=tenacity.stop_after_delay(_SHORT_PATIENCE),
            )
            run = retrying(self.ask, lambda: self._client.jobs.get_run(run_id), patience=_SHORT_PATIENCE)
            self._say(f"run {run_id} is {state_of(run.state)}")
        except tenacity.RetryError:
            self._say(f"run {run_id} is about to be cancelled, and not yet ended")
        except PipelineError as error:
            self._say(f"run {run_id} may go on: {escape(str(error))}")
        except KeyboardInterrupt:
            self._say(f"run {run_id}: not waited for")


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
