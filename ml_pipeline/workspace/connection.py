"""Signs in to an environment's workspace, and asks it with patience."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import tenacity
from pydantic import ValidationError
from rich.markup import escape

from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.settings import files, messages
from ml_pipeline.settings.workspace import Workspace

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds for which a workspace that has answered before may be silent."""
LONGEST_PAUSE = 10.0


def workspace(file: Path) -> Workspace:
    """The ``[workspace]`` table of an environment file.

    Raises:
        InputError: the table is missing or incomplete.
    """
    content = files.read(file)
    if "workspace" not in content:
        raise InputError(
            f"{file}: the table [workspace] is missing, without which no job is deployed; add it with"
            ' host = "https://..." and auth = "github-oidc", "profile" or "environment"'
        )
    try:
        return Workspace.model_validate(content["workspace"])
    except ValidationError as error:
        raise InputError(f"{file}: " + messages.explain(error, Workspace, prefix="workspace")) from None


class Connection:
    """Calls the workspace of an environment.

    Args:
        file: The environment's file.
        settings: Who signs in, if not whom the file names.

    Raises:
        InputError: the file, or what it refers to, has no usable credentials.
    """

    def __init__(self, file: Path, settings: Workspace | None = None) -> None:
        self._file = file
        self._settings = settings or workspace(file)
        self.host = self._settings.host or ""
        self._answered = False
        self._client = self.ask(self._connect)
        self._answered = False  # That was this machine; whether the workspace is there shows with the first question.
        self.host = self._client.config.host

    def _say(self, text: str) -> None:
        """Tell a person why it takes long."""

    def _connect(self) -> WorkspaceClient:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.config import Config

        from ml_pipeline.workspace.sign_in import Credentials

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
            # Trying again is this module's business; it prints each attempt.
            config = Config(
                **chosen, credentials_strategy=Credentials(), retry_timeout_seconds=1, http_timeout_seconds=30
            )
        except ValueError as error:
            # The SDK goes on with where to read more, and with the whole of its configuration.
            message = re.split(r", please check|\. (?:Config|Env): ", " ".join(str(error).split()))[0]
            if "Invalid URL 'None'" in message:  # What it did not get from the host.
                raise PipelineError(
                    f"{self.host}: does not name an address to sign in; see the host and the network"
                ) from error
            raise InputError(f"{self._file}: workspace: no credentials: {message}; {self._hint()}") from error
        self.host = config.host or self.host
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

    def ask(self, call: Callable[[], T], *, patience: float = PATIENCE) -> T:
        """Send a request that may be repeated, again after an error that may pass.

        A workspace that has answered before gets ``patience`` seconds; one that has not, a single attempt.

        Raises:
            PipelineError: the workspace rejects the call, or can't be reached.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_transient),
            wait=tenacity.wait_exponential(max=LONGEST_PAUSE),
            stop=tenacity.stop_after_delay(patience) if self._answered else tenacity.stop_after_attempt(1),
            before_sleep=self._report_wait,
            reraise=True,
        )
        try:
            answer = retrying(call)
        except (OSError, ValueError) as error:
            raise self._explained(error) from error
        self._answered = True
        return answer

    def _report_wait(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._say(f"[yellow]WAITING [/] {escape(str(self._explained(error)))}")

    def _explained(self, error: BaseException | None) -> PipelineError:
        from databricks.sdk import errors
        from databricks.sdk.errors.base import DatabricksError

        from ml_pipeline.workspace.sign_in import SignInError

        # Of the SDK's own attempts only the reason is of interest.
        error = error.__cause__ if isinstance(error, TimeoutError) and error.__cause__ else error
        host, said = self.host or "the workspace", " ".join(str(error).split())
        if isinstance(error, errors.Unauthenticated | SignInError) or "Invalid access token" in said:
            problem = "can't sign in" if isinstance(error, SignInError) else "rejects the credentials"
            return PipelineError(f"{host}: {problem}: {said:.200}; {self._hint()}")
        if isinstance(error, errors.PermissionDenied):
            return PipelineError(f"{host}: permission denied: {said}; ask for the permission, or see who signs in")
        if isinstance(error, errors.NotFound):
            return PipelineError(f"{host}: not found: {said}; is it deployed, and is this the host?")
        if isinstance(error, DatabricksError):
            return PipelineError(f"{host}: {error.error_code or type(error).__name__}: {said}")
        if isinstance(error, ValueError):
            return PipelineError(f"{host}: does not answer as a workspace does ({type(error).__name__}); see the host")
        return PipelineError(f"{host}: can't be reached: {_root(error) if error else ''}; see the host and the network")

    def lend_to_mlflow(self) -> None:
        """Let MLflow in this process see the workspace's runs and models, signed in as this is.

        MLflow's own sign-in knows fewer ways than the SDK does, and not all of them in every release: it gets the token
        that the SDK got, and nothing else to choose from.

        Raises:
            InputError: the credentials are not a token.
            PipelineError: the workspace rejects them, or can't be reached.
        """
        self.ask(self._client.current_user.me)
        headers = self.ask(self._client.config.authenticate)
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            raise InputError(f"{self._file}: workspace: signs in without a token; {self._hint()}")
        for attribute in self._client.config.attributes():
            if attribute.env:
                os.environ.pop(attribute.env, None)
        os.environ |= {
            "DATABRICKS_HOST": self.host,
            "DATABRICKS_TOKEN": token,
            "DATABRICKS_AUTH_TYPE": "pat",
            "MLFLOW_TRACKING_URI": "databricks",
            "MLFLOW_REGISTRY_URI": "databricks-uc",
        }


def open_mlflow(file: Path) -> str:
    """Let MLflow in this process see the runs and models of an environment's workspace.

    A server that MLFLOW_TRACKING_URI names is taken instead; MLflow's own variables say who signs in there. The address
    of either is returned.

    Raises:
        InputError: there are no usable credentials, or an address holds some.
        PipelineError: the workspace rejects them, or can't be reached.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not given or given.startswith("databricks"):
        connection = Connection(file)
        connection.lend_to_mlflow()
        return connection.host
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        if urlsplit(os.environ.get(name, "")).password:
            raise InputError(
                f"{name}: holds a password, which would show in tags and messages; "
                "accepted: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD beside it"
            )
    return given


def _transient(error: BaseException) -> bool:
    from databricks.sdk import errors
    from databricks.sdk.errors.base import DatabricksError

    error = error.__cause__ if isinstance(error.__cause__, OSError) else error
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
