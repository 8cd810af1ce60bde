"""The endpoints of the files in volumes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from flask import Blueprint, Response, request, send_file

from infra.rehearsal.api import ApiError, Document, exists, flag
from infra.rehearsal.files import Files


def blueprint(files: Files) -> Blueprint:
    """The endpoints of the files in volumes."""
    routes = Blueprint("fs", __name__, url_prefix="/api/2.0/fs")

    @routes.put("/files/<path:path>")
    def put_file(path: str) -> tuple[str, int]:
        file = files.volume_file(f"/{path}")
        if file.is_dir():
            raise exists(f"/{path} is a folder")
        if file.exists() and not flag(request.args.get("overwrite")):
            raise ApiError(409, "ALREADY_EXISTS", f"/{path} already exists; overwrite=true replaces it.")
        _make_folder(file.parent, f"/{path}")
        file.write_bytes(request.get_data())
        return "", 204

    # Flask answers HEAD by it too.
    @routes.get("/files/<path:path>")
    def get_file(path: str) -> Response:
        file = files.volume_file(f"/{path}")
        if not file.is_file():
            raise _absent(path)
        return send_file(file, mimetype="application/octet-stream")

    @routes.delete("/files/<path:path>")
    def delete_file(path: str) -> tuple[str, int]:
        file = files.volume_file(f"/{path}")
        if not file.is_file():
            raise _absent(path)
        file.unlink()
        return "", 204

    _folders(routes, files)
    return routes


def _folders(routes: Blueprint, files: Files) -> None:
    @routes.put("/directories/<path:path>")
    def put_folder(path: str) -> tuple[str, int]:
        _make_folder(files.volume_file(f"/{path}"), f"/{path}")
        return "", 204

    @routes.get("/directories/<path:path>")
    def list_folder(path: str) -> Document:
        folder = files.volume_file(f"/{path}")
        below = path.split("/")[4:]
        if not folder.is_dir() and below:
            raise _absent(path)
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return {"contents": [_entry(f"/{path.rstrip('/')}/{file.name}", file) for file in found]}

    @routes.delete("/directories/<path:path>")
    def delete_folder(path: str) -> tuple[str, int]:
        folder = files.volume_file(f"/{path}")
        if not folder.is_dir():
            raise _absent(path)
        if any(folder.iterdir()):
            raise ApiError(400, "DIRECTORY_NOT_EMPTY", f"/{path} is not empty")
        folder.rmdir()
        return "", 204


def _absent(path: str) -> ApiError:
    return ApiError(404, "NOT_FOUND", f"/{path} does not exist.")


def _make_folder(folder: Path, path: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ApiError(409, "ALREADY_EXISTS", f"A file is at {path} or above it.") from None


def _entry(path: str, file: Path) -> Document:
    shown = {"path": path, "name": file.name, "is_directory": file.is_dir()}
    changed = int(datetime.fromtimestamp(file.stat().st_mtime, UTC).timestamp() * 1000)
    return shown if file.is_dir() else shown | {"file_size": file.stat().st_size, "last_modified": changed}
