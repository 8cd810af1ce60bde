"""The server: who answers, and how it starts and ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from infra.rehearsal import (
    artifacts,
    catalog,
    clusters,
    file_routes,
    gate,
    jobs,
    mlflow_server,
    model_registry,
    object_pages,
    pages,
    permissions,
    run_routes,
    secret_scopes,
    sign_in,
)
from infra.rehearsal.access import Access
from infra.rehearsal.experiment_access import ExperimentAccess
from infra.rehearsal.files import Files
from infra.rehearsal.privileges import Privileges
from infra.rehearsal.runs import Runs
from infra.rehearsal.sign_in import SignIn
from infra.rehearsal.store import Store
from infra.rehearsal.tasks import Workspace
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ADDRESS = "127.0.0.1"


def _application(state: Path, *, host: str, token: str, signing: SignIn) -> tuple[WSGIApplication, Callable[[], None]]:
    """The whole, and what ends it."""
    mlflow = mlflow_server.application(state)
    call = mlflow_server.caller(mlflow)
    store = Store(state / "rehearsal.db")
    files = Files(store, state)
    access, privileges = Access(store, files, call), Privileges(store)
    shown = mlflow_server.guarded(mlflow, ExperimentAccess(access, call))
    workspace = Workspace(
        store=store, files=files, access=access, privileges=privileges, folder=state, host=host, token=token
    )
    runs = Runs(workspace)
    catalogs = catalog.Catalog(store, files, state / "lakehouse" / "warehouse", call, privileges)
    app = sign_in.application("infra.rehearsal")
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = gate.MOST_BYTES
    # A job's settings are shown as they were sent.
    app.json.sort_keys = False  # type: ignore[attr-defined]
    for routes in (
        permissions.identity(),
        permissions.blueprint(store, access),
        clusters.pools(store, access),
        clusters.clusters(store, access),
        jobs.blueprint(workspace, runs.cancel_all),
        run_routes.blueprint(runs),
        file_routes.workspace(files, access),
        file_routes.volumes(files, privileges),
        file_routes.git_folders(store, files, access),
        catalog.blueprint(catalogs),
        mlflow_server.blueprint(files, call, access),
        artifacts.blueprint(state, call, access, host=host, token=token),
        model_registry.blueprint(catalogs),
        secret_scopes.blueprint(store, secret_scopes.Secrets(store)),
        pages.blueprint(runs),
        object_pages.blueprint(catalogs),
    ):
        app.register_blueprint(routes)
    gate.handle_errors(app)

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *exception: Any) -> Callable[[bytes], object]:
            # By it, MLflow's client knows the workspace of a run (mlflow, _DATABRICKS_ORG_ID_HEADER).
            return start(status, [*headers, ("x-databricks-org-id", "1")], *exception)

        theirs = mlflow_server.answers(environ)
        return (shown if theirs else app.wsgi_app)(environ, begin)

    def end() -> None:
        runs.close()
        store.close()

    # Below a path of its own, MLflow's pages find everything else beside them.
    return gate.Gate(DispatcherMiddleware(answer, {"/mlflow": shown}), token, signing), end


class _Quiet(WSGIRequestHandler):
    # Databricks' clients keep a connection open.
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Leave out the line that each request would be."""


def token(state: Path) -> tuple[str, str]:
    """The token, and where it lies: the environment's, or the one that is kept in the state folder."""
    given = os.environ.get("DATABRICKS_TOKEN")
    if given:
        return given, "in the environment variable DATABRICKS_TOKEN"
    file = state / "token"
    if not file.exists():
        with contextlib.suppress(FileExistsError), open(file, "x", opener=_private, encoding="utf-8") as new:
            new.write(secrets.token_hex(16))
    return file.read_text(encoding="utf-8"), f"in {file}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def make(state: Path, port: int, token: str, signing: SignIn) -> tuple[BaseWSGIServer, str, Callable[[], None]]:
    """The server, bound but not yet answering; its URL; and what ends it."""

    def not_yet(_environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
        raise RuntimeError("the server does not answer yet")

    # Bound first: the URL, with a port that may be any free one, is part of what the application answers.
    # By a socket of ours: werkzeug would end the process where the port is taken.
    with socket.create_server((_ADDRESS, port), backlog=128) as listening:
        bound = make_server(
            _ADDRESS, port, not_yet, threaded=True, request_handler=_Quiet, fd=os.dup(listening.fileno())
        )
        host = f"http://{_ADDRESS}:{listening.getsockname()[1]}"
    bound.app, end = _application(state, host=host, token=token, signing=signing)
    return bound, host, end


def run(state: Path, *, port: int) -> None:
    """Serve until a signal ends it.

    Raises:
        InputError: the port is taken, or the folder can't be written.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        secret, where = token(state)
        signing = SignIn(secret)
        bound, host, end = make(state, port, secret, signing)
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port} --state {state}: {error}") from error

    def stop(_signal: int, _frame: object) -> None:
        # From a thread: the loop that it ends is the one that the signal interrupts.
        threading.Thread(target=bound.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"rehearsal workspace (the link signs a browser in, once): {signing.link(host)}", flush=True)
    print(f"DATABRICKS_HOST={host}", flush=True)
    print(f"DATABRICKS_TOKEN: {where}", flush=True)
    bound.serve_forever(poll_interval=0.1)
    end()


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    host: str
    token: str
    link: str
    """Opens the pages in a browser, signed in; it works once."""


@contextlib.contextmanager
def serve(state: Path, port: int = 0, token: str | None = None) -> Iterator[Served]:
    """A server in a process of its own, since MLflow's keeps its database as long as its process lives.

    Args:
        state: The state folder.
        port: The port; any that is free where left out.
        token: The token; one that is made up where left out.

    Raises:
        RuntimeError: it doesn't start.
    """
    token = token or secrets.token_hex(16)
    command = [sys.executable, "-m", "infra", "rehearsal", "--port", str(port), "--state", str(state.resolve())]
    environment = {**os.environ, "DATABRICKS_TOKEN": token, "PYTHONUNBUFFERED": "1"}
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            if not all(lines):
                raise RuntimeError(f"the rehearsal workspace does not start: exit code {process.wait()}")
            yield Served(host=lines[1].strip().partition("=")[2], token=token, link=lines[0].split()[-1])
        finally:
            process.terminate()
            process.wait()
