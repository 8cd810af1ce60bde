"""MLflow's own server, in this process: it answers below ``/api/2.0/mlflow``, and its pages are below ``/mlflow/``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.test import Client

from infra.rehearsal.api import Document

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Mlflow = Callable[[str, str, Document], tuple[int, Document]]
"""Calls MLflow's server: method, path below ``/api/2.0/mlflow/``, and content."""

_PATHS = ("/api/2.0/mlflow", "/api/3.0/mlflow", "/api/2.0/mlflow-artifacts", "/ajax-api", "/static-files")


def application(state: Path) -> WSGIApplication:
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
    app: WSGIApplication = server.app.wsgi_app
    return app


def has(environ: WSGIEnvironment) -> bool:
    """Whether MLflow's server has what is asked for; its own refusal would be a page, which no client can read."""
    from mlflow import server

    if not str(environ["PATH_INFO"]).startswith(_PATHS):
        return False
    try:
        server.app.url_map.bind_to_environ(environ).match()
    except (NotFound, MethodNotAllowed):
        return False
    return True


def caller(mlflow: WSGIApplication) -> Mlflow:
    """Calls MLflow's server without a socket."""

    def call(method: str, path: str, content: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        by_query = {"query_string": content} if method == "GET" else {"json": content}
        answer = Client(mlflow).open(f"/api/2.0/mlflow/{path}", method=method, **by_query)  # type: ignore[arg-type]
        return answer.status_code, answer.get_json(silent=True) or {}

    return call
