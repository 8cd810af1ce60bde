"""Git folders: a record each, and a folder; nothing is cloned."""

from __future__ import annotations

from pathlib import PurePosixPath

from flask import Blueprint, request

from infra.rehearsal.api import USER, Document, body, exists, missing, text
from infra.rehearsal.files import Files, clean
from infra.rehearsal.store import Store


def _repo(store: Store, repo_id: str) -> Document:
    found = store.get("repos", repo_id)
    if found is None:
        raise missing(f"Repo {repo_id} could not be found.")
    return found


def blueprint(store: Store, files: Files) -> Blueprint:
    """The endpoints."""
    routes = Blueprint("repos", __name__, url_prefix="/api/2.0/repos")

    @routes.post("")
    def create() -> Document:
        given = body()
        url, provider = text(given, "url"), text(given, "provider")
        name = PurePosixPath(url).name.removesuffix(".git")
        path = clean(str(given.get("path") or f"/Repos/{USER}/{name}"))
        with store.locked():
            if files.is_folder(path):
                raise exists(f"RESOURCE_ALREADY_EXISTS: {path} already exists. Please choose another name.")
            if not given.get("path"):
                files.make_folder(str(PurePosixPath(path).parent))
            if not files.is_folder(str(PurePosixPath(path).parent)):
                raise missing(f"The parent folder ({PurePosixPath(path).parent}) does not exist.")
            document: Document = {
                "id": store.number(),
                "url": url,
                "provider": provider,
                "path": path,
                "branch": "main",
                # No clone, so no commit: Git's own word for none.
                "head_commit_id": "0" * 40,
            }
            if given.get("sparse_checkout"):
                document["sparse_checkout"] = given["sparse_checkout"]
            store.put("repos", document["id"], document)
            files.adopt(path, document)
        return document

    @routes.get("")
    def list_() -> Document:
        prefix = request.args.get("path_prefix", "").removeprefix("/Workspace")
        return {"repos": [found for found in store.all("repos") if found["path"].startswith(prefix)]}

    @routes.get("/<repo_id>")
    def get(repo_id: str) -> Document:
        return _repo(store, repo_id)

    @routes.patch("/<repo_id>")
    def update(repo_id: str) -> Document:
        changed, given = _repo(store, repo_id), body()
        if "tag" in given:
            # At a tag, no branch is checked out.
            changed.pop("branch", None)
        changed |= {key: given[key] for key in ("branch", "sparse_checkout") if key in given}
        store.put("repos", repo_id, changed)
        return {}

    @routes.delete("/<repo_id>")
    def delete(repo_id: str) -> Document:
        files.remove(_repo(store, repo_id)["path"], recursive=True)
        return {}

    return routes
