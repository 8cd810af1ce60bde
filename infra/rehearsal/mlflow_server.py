"""MLflow's own server, in this process: it answers below ``/api/2.0/mlflow``, and its pages are below ``/mlflow/``.

What Databricks does otherwise, because its experiments lie in the workspace's tree, is answered here.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request
from werkzeug.exceptions import HTTPException
from werkzeug.test import Client
from werkzeug.wrappers import Response

from infra.rehearsal import artifacts, gate, shapes
from infra.rehearsal.access import TRASH, Access
from infra.rehearsal.api import (
    ApiError,
    Document,
    Mlflow,
    ask,
    body,
    exists,
    invalid,
    missing,
    not_implemented,
    number,
    text,
)
from infra.rehearsal.api import caller as creator
from infra.rehearsal.experiment_access import ExperimentAccess
from infra.rehearsal.files import Files, clean

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_EXPERIMENTS = "/api/2.0/mlflow/experiments"
_OURS = tuple(f"POST {_EXPERIMENTS}/{what}" for what in ("create", "delete", "restore", "search", "update"))
"""What is answered here, although MLflow's server has it too."""
_PATHS = ("/api/2.0/mlflow/", "/api/3.0/mlflow/", "/ajax-api", "/static-files")
_NOT_OF_THE_CATALOG = ("/api/2.0/mlflow/registered-models", "/api/2.0/mlflow/model-versions")
"""The workspace's own registry, whose models are not those of Unity Catalog."""
_KEPT_BY_PAGES = re.compile(
    r"(/mlflow)?/ajax-api/\d\.\d/(preview/)?mlflow/"
    r"(registered-models/.*|model-versions/.*|experiments/(create|update|delete|restore)|upload-artifact)"
)
_MOST_FOUND = 1000


def application(state: Path) -> WSGIApplication:
    """MLflow's server on SQLite and files of the state folder; a process has one."""
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    from mlflow import server
    from mlflow.server import handlers
    from mlflow.store.artifact import artifact_repository_registry
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database = f"sqlite:///{state / 'mlflow.db'}"
    os.environ |= {
        server.BACKEND_STORE_URI_ENV_VAR: database,
        server.ARTIFACT_ROOT_ENV_VAR: artifacts.ROOT,
        server.SERVE_ARTIFACTS_ENV_VAR: "false",
    }
    # The workspace's folder has another name for them, by which MLflow's client knows them.
    SqlAlchemyStore.MODELS_FOLDER_NAME = "logged_models"

    def repository(uri: str, **_given: object) -> LocalArtifactRepository:
        return LocalArtifactRepository(str(artifacts.local_file(state, uri)))  # type: ignore[no-untyped-call]

    # MLflow has no other way to say where the files of a scheme lie than a package that is installed.
    registered = artifact_repository_registry._artifact_repository_registry  # noqa: SLF001
    registered.register("dbfs", repository)  # type: ignore[no-untyped-call]
    for noisy in ("alembic.runtime.migration", "mlflow.store.db.utils"):
        logging.getLogger(noisy).addFilter(lambda record: record.levelno > logging.WARNING)
    # Each migration of MLflow sets the level of its own logger, and each has another name.
    logging.disable(logging.INFO)
    handlers.initialize_backend_stores(database, None, artifacts.ROOT)  # type: ignore[no-untyped-call]
    logging.disable(logging.NOTSET)
    app: WSGIApplication = server.app.wsgi_app
    return app


def guarded(mlflow: WSGIApplication, access: ExperimentAccess) -> WSGIApplication:
    """MLflow's server, for who may ask, whose pages change nothing that the workspace keeps too.

    A malformed request makes MLflow answer 500 with a page, which no client can read; here it is rejected.
    """

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("SCRIPT_NAME", "")) + str(environ["PATH_INFO"])
        if path.startswith("/mlflow/api"):
            # The pages call what is below /ajax-api; clients have the same, guarded, below /api.
            return gate.refused(environ, not_implemented(path))(environ, start)
        if environ["REQUEST_METHOD"] != "GET" and _KEPT_BY_PAGES.fullmatch(path):
            return gate.refused(environ, not_implemented(f"a change by MLflow's pages: {path}"))(environ, start)
        try:
            access.check(environ)
        except ApiError as error:
            return gate.refused(environ, error)(environ, start)
        given = Response.from_app(mlflow, environ)
        if given.status_code == 500:
            return gate.refused(environ, invalid(f"MLflow can't read this request to {path}"))(environ, start)
        return given(environ, start)

    return answer


def answers(environ: WSGIEnvironment) -> bool:
    """Whether MLflow's server answers a request; its own rejection would be a page, which no client can read."""
    from mlflow import server

    method, path = environ["REQUEST_METHOD"], str(environ["PATH_INFO"])
    if f"{method} {path}" in _OURS or path.startswith(_NOT_OF_THE_CATALOG) or not path.startswith(_PATHS):
        return False
    try:
        server.app.url_map.bind_to_environ(environ).match()
    except HTTPException:
        return False
    return True


def caller(mlflow: WSGIApplication) -> Mlflow:
    """Calls MLflow's server without a socket."""

    def call(method: str, path: str, content: Mapping[str, Any]) -> tuple[Document, int]:
        by_query = {"query_string": content} if method == "GET" else {"json": content}
        answer = Client(mlflow).open(f"/api/2.0/mlflow/{path}", method=method, **by_query)  # type: ignore[arg-type]
        return answer.get_json(silent=True) or {}, answer.status_code

    return call


def blueprint(files: Files, mlflow: Mlflow, access: Access) -> Blueprint:
    """The endpoints of experiments."""
    routes = Blueprint("experiments", __name__)
    seen = ExperimentAccess(access, mlflow).seen

    def path_of(name: str) -> str:
        if not name.startswith("/"):
            raise invalid(f"Got an invalid experiment name '{name}'. It must be an absolute path in the workspace.")
        name = clean(name)
        parent = str(PurePosixPath(name).parent)
        if not files.is_folder(parent):
            raise missing(f"Parent directory {parent} does not exist.")
        access.need_path("CAN_MANAGE", parent)
        if files.is_folder(name):
            raise exists(f"Node named '{name}' already exists")
        return name

    @routes.get(f"{_EXPERIMENTS}/list")
    def list_() -> tuple[Document, int]:
        given = {key: request.args[key] for key in ("view_type", "page_token") if key in request.args}
        most = number(request.args.get("max_results") or _MOST_FOUND, "max_results")
        return seen(mlflow("POST", "experiments/search", given | {"max_results": most}))

    @routes.post(f"{_EXPERIMENTS}/create")
    def create() -> Document:
        given = body()
        name = path_of(text(given, "name"))
        for key in given.keys() - {"name", "tags"}:
            raise not_implemented(f"the field {key:.100} of an experiment")
        # databricks/cli, libs/testserver/experiments.go: Databricks adds the owner.
        tags, owner = given.get("tags", []), {"key": "mlflow.ownerEmail", "value": creator()}
        tags = [*tags, owner] if isinstance(tags, list) else tags
        answer = ask(mlflow, "POST", "experiments/create", given | {"name": name, "tags": tags})
        access.created("experiments", answer["experiment_id"])
        return answer

    @routes.post(f"{_EXPERIMENTS}/update")
    def update() -> Document:
        given = body()
        experiment_id = text(given, "experiment_id")
        access.need("CAN_MANAGE", "experiments", experiment_id)
        new = {"experiment_id": experiment_id, "new_name": path_of(text(given, "new_name"))}
        return ask(mlflow, "POST", "experiments/update", new)

    def managed(experiment_id: str) -> Document:
        found: Document = ask(mlflow, "GET", "experiments/get", {"experiment_id": experiment_id})["experiment"]
        access.need("CAN_MANAGE", "experiments", experiment_id)
        return found

    @routes.post(f"{_EXPERIMENTS}/delete")
    def delete() -> Document:
        found = managed(text(body(), "experiment_id"))
        key = {"experiment_id": found["experiment_id"]}
        if found["lifecycle_stage"] == "active":
            # Databricks moves it to the trash, and its name is free again; MLflow would keep the name.
            name = f"{TRASH}{found['experiment_id']}{found['name']}"
            ask(mlflow, "POST", "experiments/update", key | {"new_name": name})
        return ask(mlflow, "POST", "experiments/delete", key)

    @routes.post(f"{_EXPERIMENTS}/restore")
    def restore() -> Document:
        found = managed(text(body(), "experiment_id"))
        key, trash = {"experiment_id": found["experiment_id"]}, f"{TRASH}{found['experiment_id']}"
        name = path_of(str(found["name"]).removeprefix(trash))
        if found["name"] != name and mlflow("GET", "experiments/get-by-name", {"experiment_name": name})[1] == 200:
            raise exists(f"Node named '{name}' already exists")
        answer = ask(mlflow, "POST", "experiments/restore", key)
        if found["name"] != name:
            ask(mlflow, "POST", "experiments/update", key | {"new_name": name})
        return answer

    @routes.post(f"{_EXPERIMENTS}/search")
    def search() -> tuple[Document, int]:
        given = shapes.shaped(body(), shapes.SEARCH)
        # MLflow's server takes what is left out for zero, which it rejects.
        return seen(mlflow("POST", "experiments/search", {"max_results": _MOST_FOUND} | given))

    return routes
