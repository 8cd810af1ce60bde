"""MLflow's own server, in this process: it answers below ``/api/2.0/mlflow``, and its pages are below ``/mlflow/``.

What Databricks does otherwise, because its experiments lie in the workspace's tree, is answered here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from flask import Blueprint
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.test import Client

from infra.rehearsal import shapes
from infra.rehearsal.api import Document, Mlflow, body, invalid, missing, text
from infra.rehearsal.files import Files, clean
from infra.rehearsal.store import Store

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
_EXPERIMENTS = "/api/2.0/mlflow/experiments"
_OURS = tuple(f"POST {_EXPERIMENTS}/{what}" for what in ("create", "delete", "search"))
"""What is answered here, although MLflow's server has it too."""
_PATHS = ("/api/2.0/mlflow", "/api/3.0/mlflow", "/api/2.0/mlflow-artifacts", "/ajax-api", "/static-files")
_MOST_FOUND = 1000


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
    for noisy in ("alembic.runtime.migration", "mlflow.store.db.utils"):
        logging.getLogger(noisy).addFilter(lambda record: record.levelno > logging.WARNING)
    # Each migration of MLflow sets the level of its own logger, and each has another name.
    logging.disable(logging.INFO)
    handlers.initialize_backend_stores(database, None, "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    logging.disable(logging.NOTSET)
    app: WSGIApplication = server.app.wsgi_app
    return app


def answers(environ: WSGIEnvironment, state: Path) -> bool:
    """Whether MLflow's server answers a request; its own rejection would be a page, which no client can read."""
    from mlflow import server

    method, path = environ["REQUEST_METHOD"], str(environ["PATH_INFO"])
    if method == "GET" and path.startswith(_ARTIFACTS):
        # MLflow's server would answer 500, which its client takes for an accident and repeats for minutes.
        return (state / "artifacts" / path.removeprefix(_ARTIFACTS)).is_file()
    if f"{method} {path}" in _OURS or not path.startswith(_PATHS):
        return False
    try:
        server.app.url_map.bind_to_environ(environ).match()
    except (NotFound, MethodNotAllowed):
        return False
    return True


def caller(mlflow: WSGIApplication) -> Mlflow:
    """Calls MLflow's server without a socket."""

    def call(method: str, path: str, content: Mapping[str, Any]) -> tuple[Document, int]:
        by_query = {"query_string": content} if method == "GET" else {"json": content}
        answer = Client(mlflow).open(f"/api/2.0/mlflow/{path}", method=method, **by_query)  # type: ignore[arg-type]
        return answer.get_json(silent=True) or {}, answer.status_code

    return call


def blueprint(store: Store, files: Files, mlflow: Mlflow) -> Blueprint:
    """The endpoints of experiments, and of artifacts that are missing."""
    routes = Blueprint("experiments", __name__)

    @routes.get(f"{_ARTIFACTS}<path:path>")
    def absent(path: str) -> Document:
        raise missing(f"There is no artifact {path}.")

    @routes.post(f"{_EXPERIMENTS}/create")
    def create() -> tuple[Document, int]:
        given = body()
        name = text(given, "name")
        if not name.startswith("/"):
            raise invalid(f"Got an invalid experiment name '{name}'. It must be an absolute path in the workspace.")
        name = clean(name)
        parent = str(PurePosixPath(name).parent)
        if not files.is_folder(parent):
            raise missing(f"Parent directory {parent} does not exist.")
        return mlflow("POST", "experiments/create", given | {"name": name})

    @routes.post(f"{_EXPERIMENTS}/delete")
    def delete() -> tuple[Document, int]:
        experiment_id = text(body(), "experiment_id")
        found, status = mlflow("GET", "experiments/get", {"experiment_id": experiment_id})
        if status == 200 and found["experiment"]["lifecycle_stage"] == "active":
            # Databricks moves it to the trash, and its name is free again; MLflow would keep the name.
            name = f"/Trash/{experiment_id}{found['experiment']['name']}"
            mlflow("POST", "experiments/update", {"experiment_id": experiment_id, "new_name": name})
            store.delete("permissions", f"experiments/{experiment_id}")
        return mlflow("POST", "experiments/delete", {"experiment_id": experiment_id})

    @routes.post(f"{_EXPERIMENTS}/search")
    def search() -> tuple[Document, int]:
        given = shapes.shaped(body(), shapes.SEARCH)
        # MLflow's server takes what is left out for zero, which it rejects.
        return mlflow("POST", "experiments/search", {"max_results": _MOST_FOUND} | given)

    return routes
