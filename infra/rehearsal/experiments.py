"""Experiments: MLflow's own, with what Databricks does otherwise because they lie in the workspace's tree."""

from __future__ import annotations

from pathlib import PurePosixPath

from flask import Blueprint

from infra.rehearsal import permissions, shapes
from infra.rehearsal.api import Document, body, invalid, missing, text
from infra.rehearsal.files import Files, clean
from infra.rehearsal.mlflow_server import Mlflow
from infra.rehearsal.store import Store

_PREFIX = "/api/2.0/mlflow/experiments"
OURS = tuple(f"POST {_PREFIX}/{what}" for what in ("create", "delete", "search"))
"""What is answered here, although MLflow's server has it too."""
_MOST_FOUND = 1000


def blueprint(store: Store, files: Files, mlflow: Mlflow) -> Blueprint:
    """The endpoints.

    Args:
        store: Where permissions are kept.
        files: The workspace's tree.
        mlflow: Calls MLflow's server.
    """
    routes = Blueprint("experiments", __name__)

    @routes.get("/api/2.0/mlflow-artifacts/artifacts/<path:path>")
    def absent(path: str) -> Document:
        raise missing(f"There is no artifact {path}.")

    @routes.post(f"{_PREFIX}/create")
    def create() -> tuple[Document, int]:
        given = body()
        name = text(given, "name")
        if not name.startswith("/"):
            raise invalid(f"Got an invalid experiment name '{name}'. It must be an absolute path in the workspace.")
        name = clean(name)
        parent = str(PurePosixPath(name).parent)
        if not files.is_folder(parent):
            raise missing(f"Parent directory {parent} does not exist.")
        status, answer = mlflow("POST", "experiments/create", given | {"name": name})
        return answer, status

    @routes.post(f"{_PREFIX}/delete")
    def delete() -> tuple[Document, int]:
        experiment_id = text(body(), "experiment_id")
        status, found = mlflow("GET", "experiments/get", {"experiment_id": experiment_id})
        if status == 200 and found["experiment"]["lifecycle_stage"] == "active":
            # Databricks moves it to the trash, and its name is free again; MLflow would keep the name.
            name = f"/Trash/{experiment_id}{found['experiment']['name']}"
            mlflow("POST", "experiments/update", {"experiment_id": experiment_id, "new_name": name})
            permissions.forget(store, "experiments", experiment_id)
        status, answer = mlflow("POST", "experiments/delete", {"experiment_id": experiment_id})
        return answer, status

    @routes.post(f"{_PREFIX}/search")
    def search() -> tuple[Document, int]:
        given = shapes.shaped(body(), shapes.SEARCH)
        # MLflow's server takes what is left out for zero, which it refuses.
        status, answer = mlflow("POST", "experiments/search", {"max_results": _MOST_FOUND} | given)
        return answer, status

    return routes
