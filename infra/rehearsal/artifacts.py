"""Artifacts of runs and logged models: MLflow's client asks for signed addresses, and reads and writes there.

On Databricks such an address leads into cloud storage, for an hour and without a token
(mlflow, databricks_artifacts.proto).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, request, send_file
from itsdangerous import BadSignature, URLSafeTimedSerializer

from infra.rehearsal.access import Access
from infra.rehearsal.api import ApiError, Document, Mlflow, ask, body, invalid, missing, text

ROOT = "dbfs:/databricks/mlflow-tracking"
"""Below it lies each experiment's folder; MLflow's client takes this path for one of a workspace."""
STORAGE = "/storage/"
"""Addresses below it carry their own permission."""
_SECONDS = 3600
_LEVELS = {"GET": "CAN_READ", "PUT": "CAN_EDIT"}
_LONGEST_PATH = 2000
_MOST_BYTES = 5 * 1024**3
"""Of one file (docs.databricks.com, Files API; Amazon S3, "PutObject")."""


def local_file(state: Path, uri: str) -> Path:
    """The file, or folder, of the state folder that stands for an artifact's address."""
    below = uri.removeprefix(ROOT).strip("/")
    if not uri.startswith(ROOT) or ".." in below.split("/"):
        raise invalid(f"{uri:.300}: is not below {ROOT}")
    return state / "artifacts" / below


def plain(model_id: str) -> str:
    """The id of a logged model, which becomes part of an address."""
    if not re.fullmatch("[A-Za-z0-9-]+", model_id):
        raise missing(f"Logged model {model_id:.100} does not exist.")
    return model_id


def receive(file: Path, uploads: Path) -> None:
    """Write a file that a request holds, at once; until then it is in a folder that nobody lists."""
    if request.content_length is None and not request.environ.get("wsgi.input_terminated"):
        raise ApiError(411, "BAD_REQUEST", "Content-Length is missing")
    request.max_content_length = _MOST_BYTES
    uploads.mkdir(exist_ok=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=uploads) as folder:
            part = Path(folder, "part")
            with part.open("wb") as written:
                shutil.copyfileobj(request.stream, written)
            part.replace(file)
    except OSError as error:
        raise invalid(f"the file can't be written: {error.strerror}") from None


def blueprint(state: Path, mlflow: Mlflow, access: Access, *, host: str, token: str) -> Blueprint:
    """The endpoints.

    Args:
        state: The state folder.
        mlflow: Calls MLflow's server.
        access: Who may read and write them.
        host: What signed addresses begin with.
        token: What they are signed with.
    """
    routes = Blueprint("artifacts", __name__)
    signer = URLSafeTimedSerializer(token, salt="artifacts")

    def signed(method: str, root: str, paths: object) -> list[Document]:
        if not isinstance(paths, list) or not paths:
            raise invalid("path: accepted: a list of paths below the artifacts' folder")
        folder = local_file(state, root).resolve()
        found = []
        for path in paths:
            if not isinstance(path, str) or not path.isprintable() or len(path.encode()) > _LONGEST_PATH:
                raise invalid(f"Invalid path: accepted: printable text of up to {_LONGEST_PATH} bytes")
            file = folder.joinpath(path).resolve()
            if not file.is_relative_to(folder):
                raise invalid(f"Invalid path: {path}")
            below = str(file.relative_to((state / "artifacts").resolve()))
            uri = f"{host}{STORAGE}{quote(below)}?signature={signer.dumps([method, below])}"
            found.append({"path": path, "signed_uri": uri, "headers": [], "type": "AWS_PRESIGNED_URL"})
        return found

    def of_run(method: str) -> Document:
        given = body()
        run_id = text(given, "run_id")
        run = ask(mlflow, "GET", "runs/get", {"run_id": run_id})["run"]["info"]
        access.need(_LEVELS[method], "experiments", run["experiment_id"])
        infos = [{"run_id": run_id, **info} for info in signed(method, run["artifact_uri"], given.get("path"))]
        return {"credential_infos": infos}

    def of_model(method: str, model_id: str) -> Document:
        model = ask(mlflow, "GET", f"logged-models/{plain(model_id)}", {})["model"]["info"]
        access.need(_LEVELS[method], "experiments", model["experiment_id"])
        infos = signed(method, model["artifact_uri"], body().get("paths"))
        return {"credentials": [{"credential_info": info} for info in infos]}

    for method, run, model in (("GET", "read", "download"), ("PUT", "write", "upload")):
        _add(routes, f"artifacts/credentials-for-{run}", of_run, method)
        _add(routes, f"logged-models/<model_id>/artifacts/credentials-for-{model}", of_model, method)

    @routes.route(f"{STORAGE}<path:path>", methods=["GET", "PUT"])
    def storage(path: str) -> Response | tuple[str, int]:
        try:
            allowed = signer.loads(request.args.get("signature", ""), max_age=_SECONDS)
        except BadSignature:
            allowed = None
        # HEAD is answered as GET is.
        if allowed != ["PUT" if request.method == "PUT" else "GET", path]:
            raise ApiError(403, "PERMISSION_DENIED", "the signature is missing, expired, or of another file or method")
        file = state / "artifacts" / path
        if request.method == "PUT":
            receive(file, state / "uploads")
            return "", 200
        if not file.is_file():
            raise missing(f"There is no artifact {path}.")
        return send_file(file, mimetype="application/octet-stream")

    return routes


def _add(routes: Blueprint, rule: str, answer: Callable[..., Document], method: str) -> None:
    def view(**values: Any) -> Document:
        return answer(method, **values)

    routes.add_url_rule(f"/api/2.0/mlflow/{rule}", rule, view, methods=["POST"])
