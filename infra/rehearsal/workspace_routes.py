"""The endpoints of the workspace's tree."""

from __future__ import annotations

import base64
import binascii

from flask import Blueprint, Response, request, send_file

from infra.rehearsal.api import Document, body, flag, invalid, text
from infra.rehearsal.files import Files


def blueprint(files: Files) -> Blueprint:
    """The endpoints of the workspace's tree."""
    routes = Blueprint("workspace", __name__, url_prefix="/api/2.0")

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
        shown = files.write(
            text(given, "path"),
            content,
            form=str(given.get("format") or "SOURCE"),
            language=given.get("language"),
            overwrite=flag(given.get("overwrite")),
        )
        return {"object_id": shown["object_id"]}

    @routes.post("/workspace-files/import-file/<path:path>")
    def import_file(path: str) -> Document:
        overwrite = flag(request.args.get("overwrite"))
        files.write(f"/{path}", request.get_data(), form="RAW", language=None, overwrite=overwrite)
        return {}

    @routes.get("/workspace/get-status")
    def get_status() -> Document:
        return files.status(text(dict(request.args), "path"))

    @routes.get("/workspace/list")
    def list_() -> Document:
        return {"objects": files.children(text(dict(request.args), "path"))}

    @routes.get("/workspace/export")
    def export() -> Response | Document:
        file = files.read(text(dict(request.args), "path"))
        if flag(request.args.get("direct_download")):
            return send_file(file, mimetype="application/octet-stream")
        kind = file.suffix.lstrip(".")
        return {"content": base64.b64encode(file.read_bytes()).decode(), "file_type": kind}

    @routes.post("/workspace/mkdirs")
    def mkdirs() -> Document:
        files.make_folder(text(body(), "path"))
        return {}

    @routes.post("/workspace/delete")
    def delete() -> Document:
        given = body()
        files.remove(text(given, "path"), recursive=flag(given.get("recursive")))
        return {}

    return routes
