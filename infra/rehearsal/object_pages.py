"""The pages of experiments, models, schemas and files."""

from __future__ import annotations

from pathlib import PurePosixPath

from flask import Blueprint, Response

from infra.rehearsal import shown
from infra.rehearsal.api import Document
from infra.rehearsal.catalog import Catalog
from infra.rehearsal.sign_in import page

_MOST = 1000
"""Objects of a kind on one page; MLflow's server returns no more at once."""
_MOST_RUNS = 10
"""Runs of an experiment on the page."""
_MOST_METRICS = 3


def experiments(catalog: Catalog) -> list[tuple[Document, list[Document]]]:
    """Each experiment that was declared, with its newest runs; those without a run come last."""
    answer, _ = catalog.mlflow("POST", "experiments/search", {"max_results": _MOST})
    # MLflow has one of its own, which Databricks lacks.
    found = [one for one in answer.get("experiments", []) if one["name"].startswith("/")]
    with_runs = [(one, _runs(catalog, one["experiment_id"])) for one in found]
    return sorted(with_runs, key=lambda each: not each[1])


def _runs(catalog: Catalog, experiment_id: str) -> list[Document]:
    wanted = {"experiment_ids": [experiment_id], "max_results": _MOST_RUNS, "order_by": ["attributes.start_time DESC"]}
    answer, _ = catalog.mlflow("POST", "runs/search", wanted)
    return [
        {
            "name": run["info"].get("run_name") or run["info"]["run_id"],
            "id": run["info"]["run_id"],
            "status": run["info"]["status"],
            "start_time": int(run["info"].get("start_time") or 0),
            "end_time": int(run["info"].get("end_time") or 0),
            "metrics": run["data"].get("metrics", [])[:_MOST_METRICS],
        }
        for run in answer.get("runs", [])
    ]


def models(catalog: Catalog) -> list[tuple[Document, list[Document]]]:
    """Each registered model, with its versions, the newest first; models without a version come last."""
    answer, _ = catalog.mlflow("GET", "registered-models/search", {"max_results": _MOST})
    versions, _ = catalog.mlflow("GET", "model-versions/search", {"max_results": _MOST})
    found = []
    for model in answer.get("registered_models", []):
        own = [one for one in versions.get("model_versions", []) if one["name"] == model["name"]]
        listed = [
            {
                "version": one["version"],
                "aliases": [alias["alias"] for alias in model.get("aliases", []) if alias["version"] == one["version"]],
                "run_id": one.get("run_id", ""),
                "created": int(one["creation_timestamp"]),
                "tags": {tag["key"]: tag["value"] for tag in one.get("tags", [])},
            }
            for one in sorted(own, key=lambda one: -int(one["version"]))
        ]
        found.append((model, listed))
    return sorted(found, key=lambda each: not each[1])


def schemas(catalog: Catalog) -> list[tuple[Document, list[tuple[str, str]]]]:
    """Each schema, with the kind and the name of each object in it."""
    return [(one, sorted(catalog.held(one["full_name"]))) for one in catalog.store.all("schemas")]


def listing(catalog: Catalog, path: str) -> list[Document]:
    """The content of a folder of the workspace or of a volume, folders first."""
    if path == "/Volumes" or path.startswith("/Volumes/"):
        found = _of_volumes(catalog, path)
    else:
        found = [
            {
                "name": PurePosixPath(one["path"]).name,
                "path": one["path"],
                "kind": one["object_type"].lower(),
                "size": one.get("size"),
                "modified": one.get("modified_at") or one["created_at"],
            }
            for one in catalog.files.children(path)
        ]
        if path == "/" and catalog.store.all("volumes"):
            found.append({"name": "Volumes", "path": "/Volumes", "kind": "directory", "size": None, "modified": 0})
    return sorted(found, key=lambda one: (one["kind"] == "file", one["name"]))


def _of_volumes(catalog: Catalog, path: str) -> list[Document]:
    above = PurePosixPath(path).parts[2:]
    if len(above) >= 3:
        folder = catalog.files.volume_file(path)
        files = folder.iterdir() if folder.is_dir() else ()
        return [
            {
                "name": file.name,
                "path": f"{path}/{file.name}",
                "kind": "directory" if file.is_dir() else "file",
                "size": None if file.is_dir() else file.stat().st_size,
                "modified": int(file.stat().st_mtime * 1000),
            }
            for file in files
        ]
    names = [one["full_name"].split(".") for one in catalog.store.all("volumes")]
    below = {name[len(above)] for name in names if tuple(name[: len(above)]) == above}
    return [
        {"name": name, "path": f"{path}/{name}", "kind": "directory", "size": None, "modified": 0} for name in below
    ]


def blueprint(catalog: Catalog) -> Blueprint:
    """The pages."""
    routes = shown.pages("object-pages")

    @routes.get("/experiments")
    def show_experiments() -> Response:
        return page("experiments.html", experiments=experiments(catalog), most=_MOST_RUNS, here="experiments")

    @routes.get("/models")
    def show_models() -> Response:
        return page("models.html", models=models(catalog), here="models")

    @routes.get("/schemas")
    def show_schemas() -> Response:
        return page("schemas.html", schemas=schemas(catalog), here="schemas")

    @routes.get("/files")
    @routes.get("/files/<path:path>")
    def show_files(path: str = "") -> Response:
        folder = f"/{path.strip('/')}"
        above = [str(each) for each in PurePosixPath(folder).parents][::-1]
        return page("files.html", folder=folder, above=above, objects=listing(catalog, folder), here="files")

    return routes
