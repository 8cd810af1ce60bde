"""The server: who may ask, who answers, and how it starts and ends.

MLflow's own server answers below ``/api/2.0/mlflow``, in the same process, and its pages are below ``/mlflow/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, redirect, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.test import Client

from infra.rehearsal import (
    catalog,
    clusters,
    experiments,
    identity,
    jobs,
    pages,
    permissions,
    pools,
    run_routes,
    workspace,
)
from infra.rehearsal.api import ApiError, not_implemented
from infra.rehearsal.runs import Runs
from infra.rehearsal.store import Store
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ADDRESS = "127.0.0.1"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_COOKIE = "rehearsal"
_MOST_BYTES = 64 * 1024 * 1024
"""What one request may hold: more than the largest upload, which is refused with Databricks' own words."""
_MLFLOW = ("/api/2.0/mlflow", "/api/3.0/mlflow", "/api/2.0/mlflow-artifacts", "/ajax-api", "/static-files")
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
_PAGES = ("/jobs/", "/mlflow/", "/ajax-api", "/static-files")
"""What a browser may open by its cookie, beside the first page."""


class Gate:
    """Lets through who has the token, and nobody who came by another name than this machine's.

    Args:
        inner: What answers those that are let through.
        token: The token.
    """

    def __init__(self, inner: WSGIApplication, token: str) -> None:
        self._inner = inner
        self._token = token
        # Cookies are shared by all ports of a host: this one opens the pages, but isn't the token.
        self._cookie = hmac.new(token.encode(), b"pages", hashlib.sha256).hexdigest()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer a request, or refuse it."""
        answer = self._refusal(environ)
        return answer(environ, start) if answer else self._inner(environ, start)

    def _refusal(self, environ: WSGIEnvironment) -> Response | None:
        with _BLANK.request_context(environ):
            host = request.headers.get("Host", "")
            if host.rpartition(":")[0] not in _LOOPBACK and host not in _LOOPBACK:
                return _error(
                    ApiError(403, "PERMISSION_DENIED", "the rehearsal workspace answers on this machine only")
                )
            origin = request.headers.get("Origin")
            if origin and origin != f"http://{host}":
                return _error(ApiError(403, "PERMISSION_DENIED", "a page of another origin may not ask"))
            return self._open() or self._unknown()

    @staticmethod
    def _open() -> Response | None:
        """What is answered to everybody."""
        if request.path == "/healthz":
            return Response("ok", mimetype="text/plain")
        if request.path == "/.well-known/databricks-config":
            # The SDKs ask before they have read their token; there is nothing to discover.
            return jsonify({"workspace_id": "1", "oidc_endpoint": f"{request.host_url}oidc"})
        return None

    def _unknown(self) -> Response | None:
        """What is answered to who has no token; ``None`` for who has it."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and _same(given.strip(), self._token):
            return None
        if request.path == "/" or request.path.startswith(_PAGES):
            if _same(request.cookies.get(_COOKIE, ""), self._cookie):
                return None
            if _same(request.args.get("token", ""), self._token):
                return self._admit()
        return _error(ApiError(401, "UNAUTHENTICATED", "Request to the workspace without a valid access token."))

    def _admit(self) -> Response:
        """Give a browser its cookie, and take the token out of its address."""
        rest = urlencode([(key, value) for key, value in request.args.items(multi=True) if key != "token"])
        answer = redirect(request.path + (f"?{rest}" if rest else ""))
        answer.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="Strict")
        assert isinstance(answer, Response)
        return answer


_BLANK = Flask("infra.rehearsal.gate", static_folder=None)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _error(error: ApiError) -> Response:
    with _BLANK.app_context():
        answer = jsonify({"error_code": error.code, "message": error.message})
    answer.status_code = error.status
    return answer


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, NotFound | MethodNotAllowed):
        return _error(not_implemented(f"{request.method} {request.path}"))
    if isinstance(error, RequestEntityTooLarge):
        return _error(ApiError(400, "MAX_REQUEST_SIZE_EXCEEDED", f"the request holds more than {_MOST_BYTES} bytes"))
    return _error(ApiError(error.code or 500, "BAD_REQUEST", error.description or error.name))


def _unexpected(error: Exception) -> Response:
    logging.getLogger(__name__).error("%s %s", request.method, request.path)
    return _error(ApiError(500, "INTERNAL_ERROR", f"{type(error).__name__}: {error}"))


def _mlflow(state: Path) -> WSGIApplication:
    """MLflow's server on SQLite and files of the state folder; a process has one."""
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    from mlflow import server
    from mlflow.server import handlers

    database = f"sqlite:///{state / 'mlflow.db'}"
    os.environ |= {
        server.BACKEND_STORE_URI_ENV_VAR: database,
        server.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        server.ARTIFACTS_DESTINATION_ENV_VAR: str(state / "artifacts"),
        server.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    logging.getLogger("alembic.runtime.migration").addFilter(lambda record: record.levelno > logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").addFilter(lambda record: record.levelno > logging.WARNING)
    handlers.initialize_backend_stores(database, None, "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    application: WSGIApplication = server.app.wsgi_app
    return application


def _is_mlflows(environ: WSGIEnvironment) -> bool:
    """Whether MLflow's server has what is asked for; its own refusal would be a page, which no client can read."""
    from mlflow import server

    if not str(environ["PATH_INFO"]).startswith(_MLFLOW):
        return False
    try:
        server.app.url_map.bind_to_environ(environ).match()
    except (NotFound, MethodNotAllowed):
        return False
    return True


def _caller(mlflow: WSGIApplication) -> catalog.Mlflow:
    """Calls MLflow's server without a socket."""

    def call(method: str, path: str, content: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        by_query = {"query_string": content} if method == "GET" else {"json": content}
        answer = Client(mlflow).open(f"/api/2.0/mlflow/{path}", method=method, **by_query)  # type: ignore[arg-type]
        return answer.status_code, answer.get_json(silent=True) or {}

    return call


def _application(state: Path, *, host: str, token: str) -> tuple[WSGIApplication, Callable[[], None]]:
    """The whole, and what ends it."""
    mlflow = _mlflow(state)
    call = _caller(mlflow)
    store = Store(state / "rehearsal.db")
    files = workspace.Files(store, state)
    runs = Runs(store, files, state, host=host, token=token)
    rules = jobs.Rules(store, files)
    known = catalog.Catalog(store, files, state / "lakehouse" / "warehouse", call)

    def experiment_exists(experiment_id: str) -> bool:
        return call("GET", "experiments/get", {"experiment_id": experiment_id})[0] == 200

    exists: dict[str, permissions.Exists] = {
        "jobs": lambda key: store.get("jobs", key) is not None,
        "instance-pools": lambda key: store.get("pools", key) is not None,
        "clusters": lambda key: store.get("clusters", key) is not None,
        "repos": lambda key: store.get("repos", key) is not None,
        "experiments": experiment_exists,
        "registered-models": lambda key: call("GET", "registered-models/get", {"name": key})[0] == 200,
        **{kind: partial(files.has, kind) for kind in ("files", "notebooks", "directories")},
    }
    app = Flask("infra.rehearsal", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = _MOST_BYTES
    # A job's settings are shown as they were sent.
    app.json.sort_keys = False  # type: ignore[attr-defined]
    for routes in (
        identity.blueprint(),
        pools.blueprint(store),
        clusters.blueprint(store),
        jobs.blueprint(store, rules, runs.cancel_all),
        run_routes.blueprint(store, rules, runs),
        workspace.blueprint(files),
        workspace.volumes(files),
        workspace.repos(store, files),
        catalog.blueprint(known),
        permissions.blueprint(store, exists),
        experiments.blueprint(store, files, call),
        pages.blueprint(store, runs),
    ):
        app.register_blueprint(routes)
    app.register_error_handler(ApiError, _error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = str(environ["PATH_INFO"])
        theirs = f"{environ['REQUEST_METHOD']} {path}" not in experiments.OURS and _is_mlflows(environ)
        if environ["REQUEST_METHOD"] == "GET" and path.startswith(_ARTIFACTS):
            # MLflow's server would answer 500, which its client takes for an accident and repeats for minutes.
            theirs = (state / "artifacts" / path.removeprefix(_ARTIFACTS)).is_file()
        return (mlflow if theirs else app.wsgi_app)(environ, start)

    def end() -> None:
        runs.close()
        store.close()

    # Below a path of its own, MLflow's pages find everything else beside them.
    return Gate(DispatcherMiddleware(answer, {"/mlflow": mlflow}), token), end


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


def make(state: Path, port: int, token: str) -> tuple[BaseWSGIServer, str, Callable[[], None]]:
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
    bound.app, end = _application(state, host=host, token=token)
    return bound, host, end


def run(state: Path, *, port: int) -> None:
    """Serve until a signal ends it.

    Raises:
        InputError: the port is taken, or the folder can't be written.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        secret, where = token(state)
        bound, host, end = make(state, port, secret)
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port} --state {state}: {error}") from error

    def stop(_signal: int, _frame: object) -> None:
        # From a thread: the loop that it ends is the one that the signal interrupts.
        threading.Thread(target=bound.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"rehearsal workspace: {host}", flush=True)
    print(f"token: {where}", flush=True)
    bound.serve_forever(poll_interval=0.1)
    end()


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    host: str
    token: str


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
            said = process.stdout.readline()
            if not said:
                raise RuntimeError(f"the rehearsal workspace does not start: exit code {process.wait()}")
            yield Served(said.split()[-1], token)
        finally:
            process.terminate()
            process.wait()
