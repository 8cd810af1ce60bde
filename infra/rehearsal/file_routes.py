"""The endpoints of the workspace's tree, of the files in volumes, and of Git folders."""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path, PurePosixPath

from flask import Blueprint, Response, request, send_file

from infra.rehearsal.access import Access
from infra.rehearsal.api import ApiError, Document, body, caller, exists, flag, invalid, missing, not_implemented, text
from infra.rehearsal.artifacts import receive
from infra.rehearsal.files import Files, clean
from infra.rehearsal.privileges import Privileges
from infra.rehearsal.store import Store


def workspace(files: Files, access: Access) -> Blueprint:
    """The endpoints of the workspace's tree."""
    routes = Blueprint("workspace", __name__, url_prefix="/api/2.0")
    _one_at_a_time(routes, files)

    @routes.post("/workspace/import")
    def import_() -> Document:
        if request.mimetype == "multipart/form-data":
            given: Document = dict(request.form)
            sent = request.files.get("content")
            content = sent.read() if sent else str(given.get("content", "")).encode()
        else:
            given = body()
            try:
                content = base64.b64decode(given.get("content") or "", validate=True)
            except (binascii.Error, TypeError, ValueError):
                raise invalid("content is not Base64") from None
        form, overwrite = str(given.get("format") or "SOURCE"), flag(given.get("overwrite"))
        access.need_to_write(files.destination(text(given, "path"), content, form))
        shown = files.write(
            text(given, "path"), content, form=form, language=given.get("language"), overwrite=overwrite
        )
        return {"object_id": shown["object_id"]}

    @routes.post("/workspace-files/import-file/<path:path>")
    def import_file(path: str) -> Document:
        access.need_to_write(f"/{path}")
        overwrite = flag(request.args.get("overwrite"))
        files.write(f"/{path}", request.get_data(), form="RAW", language=None, overwrite=overwrite)
        return {}

    @routes.get("/workspace/get-status")
    def get_status() -> Document:
        return files.status(text(request.args, "path"))

    @routes.get("/workspace/list")
    def list_() -> Document:
        return {"objects": files.children(text(request.args, "path"))}

    @routes.get("/workspace/export")
    def export() -> Response | Document:
        file = files.read(text(request.args, "path"))
        access.need_path("CAN_READ", text(request.args, "path"))
        if flag(request.args.get("direct_download")):
            return send_file(file, mimetype="application/octet-stream")
        return {"content": base64.b64encode(file.read_bytes()).decode(), "file_type": file.suffix.lstrip(".")}

    @routes.post("/workspace/mkdirs")
    def mkdirs() -> Document:
        path = text(body(), "path")
        made = access.need_to_make(path)
        files.make_folder(path)
        if made:
            access.created("directories", files.status(made)["object_id"])
        return {}

    @routes.post("/workspace/delete")
    def delete() -> Document:
        given = body()
        access.need_path("CAN_MANAGE", files.status(text(given, "path"))["path"])
        files.remove(text(given, "path"), recursive=flag(given.get("recursive")))
        return {}

    return routes


def _one_at_a_time(routes: Blueprint, files: Files) -> None:
    """Let no other request change the tree between what one looks at and what it does."""

    @routes.before_request
    def begin() -> None:
        # Whoever sends slowly keeps nobody waiting.
        request.get_data()
        files.lock.acquire()

    @routes.teardown_request
    def end(_error: BaseException | None) -> None:
        files.lock.release()


def volumes(files: Files, privileges: Privileges) -> Blueprint:
    """The endpoints of the files in volumes."""
    routes = Blueprint("fs", __name__, url_prefix="/api/2.0/fs")

    @routes.before_request
    def check() -> None:
        parts = PurePosixPath(clean(f"/{(request.view_args or {}).get('path', '')}")).parts[1:]
        kind = {"Volumes": "volumes", "Models": "models"}.get(parts[0] if parts else "")
        if kind:
            reads = request.method in ("GET", "HEAD")
            held = {"volumes": ("WRITE_VOLUME", "READ_VOLUME"), "models": ("CREATE_MODEL_VERSION", "EXECUTE")}[kind]
            privileges.need(kind, ".".join(parts[1:4]), held[reads])

    @routes.put("/files/<path:path>")
    def put_file(path: str) -> tuple[str, int]:
        receive(_writable(files, path), files.uploads)
        return "", 204

    @routes.post("/files/<path:path>")
    def begin_parts(path: str) -> Document:
        # The SDK begins so with a large file; where it then gets no addresses for the parts, it sends the file whole.
        if request.args.get("action") != "initiate-upload":
            raise not_implemented(f"action {request.args.get('action')} of a file")
        _writable(files, path)
        return {"multipart_upload": {"session_token": secrets.token_hex(8)}}

    # Flask answers HEAD by it too.
    @routes.get("/files/<path:path>")
    def get_file(path: str) -> Response:
        return send_file(_present(files.volume_file(f"/{path}"), path), mimetype="application/octet-stream")

    @routes.delete("/files/<path:path>")
    def delete_file(path: str) -> tuple[str, int]:
        _present(files.open_file(f"/{path}"), path).unlink()
        return "", 204

    @routes.put("/directories/<path:path>")
    def put_folder(path: str) -> tuple[str, int]:
        _make_folder(files.open_file(f"/{path}"), f"/{path}")
        return "", 204

    @routes.get("/directories/<path:path>")
    def list_folder(path: str) -> Document:
        folder = files.volume_file(f"/{path}")
        # The folder of a volume itself is made with the first file.
        if path.split("/")[4:]:
            _present(folder, path, folder=True)
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return {"contents": [_entry(f"/{path.rstrip('/')}/{file.name}", file) for file in found]}

    @routes.delete("/directories/<path:path>")
    def delete_folder(path: str) -> tuple[str, int]:
        folder = _present(files.open_file(f"/{path}"), path, folder=True)
        if any(folder.iterdir()):
            raise ApiError(400, "DIRECTORY_NOT_EMPTY", f"/{path} is not empty")
        folder.rmdir()
        return "", 204

    return routes


def _writable(files: Files, path: str) -> Path:
    file = files.open_file(f"/{path}")
    if file.is_dir():
        raise exists(f"/{path} is a folder")
    if file.exists() and not flag(request.args.get("overwrite")):
        raise ApiError(409, "ALREADY_EXISTS", f"/{path} already exists; overwrite=true replaces it.")
    _make_folder(file.parent, f"/{path}")
    return file


def _present(file: Path, path: str, *, folder: bool = False) -> Path:
    if not (file.is_dir() if folder else file.is_file()):
        raise ApiError(404, "NOT_FOUND", f"/{path} does not exist.")
    return file


def _make_folder(folder: Path, path: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ApiError(409, "ALREADY_EXISTS", f"A file is at {path} or above it.") from None


def _entry(path: str, file: Path) -> Document:
    shown = {"path": path, "name": file.name, "is_directory": file.is_dir()}
    found = file.stat()
    size = {"file_size": found.st_size, "last_modified": int(found.st_mtime * 1000)}
    return shown if file.is_dir() else shown | size


def git_folders(store: Store, files: Files, access: Access) -> Blueprint:
    """The endpoints of Git folders: a record each, and a folder; nothing is cloned."""
    routes = Blueprint("repos", __name__, url_prefix="/api/2.0/repos")
    _one_at_a_time(routes, files)

    def repo(repo_id: str, level: str) -> Document:
        found = store.find("repos", repo_id)
        access.need(level, "repos", found["id"])
        return found

    @routes.post("")
    def create() -> Document:
        given = body()
        url, provider = text(given, "url"), text(given, "provider")
        name = PurePosixPath(url).name.removesuffix(".git")
        path = clean(str(given.get("path") or f"/Repos/{caller()}/{name}"))
        parent = str(PurePosixPath(path).parent)
        access.need_path("CAN_MANAGE", parent)
        with store.lock:
            if files.is_there(path):
                raise exists(f"RESOURCE_ALREADY_EXISTS: {path} already exists. Please choose another name.")
            if not given.get("path"):
                files.make_folder(parent)
            if not files.is_folder(parent):
                raise missing(f"The parent folder ({parent}) does not exist.")
            document: Document = {"id": store.number(), "url": url, "provider": provider, "path": path}
            # No clone, so no commit: Git's own word for none.
            document |= {"branch": "main", "head_commit_id": "0" * 40}
            if given.get("sparse_checkout"):
                document["sparse_checkout"] = given["sparse_checkout"]
            store.put("repos", document["id"], document)
            files.adopt(path, document)
            access.created("repos", document["id"])
        return document

    @routes.get("")
    def list_() -> Document:
        prefix = request.args.get("path_prefix", "").removeprefix("/Workspace")
        found = [one for one in store.all("repos") if one["path"].startswith(prefix)]
        return {"repos": [one for one in found if access.may("CAN_READ", "repos", one["id"])]}

    @routes.get("/<repo_id>")
    def get(repo_id: str) -> Document:
        return repo(repo_id, "CAN_READ")

    @routes.patch("/<repo_id>")
    def update(repo_id: str) -> Document:
        changed, given = repo(repo_id, "CAN_EDIT"), body()
        if "tag" in given:
            # At a tag, no branch is checked out.
            changed.pop("branch", None)
        changed |= {key: given[key] for key in ("branch", "sparse_checkout") if key in given}
        store.put("repos", repo_id, changed)
        return {}

    @routes.delete("/<repo_id>")
    def delete(repo_id: str) -> Document:
        files.remove(repo(repo_id, "CAN_MANAGE")["path"], recursive=True)
        return {}

    return routes
