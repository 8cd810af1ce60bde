"""Who may do what with experiments, and with their runs and logged models."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request

from infra.rehearsal.access import Access
from infra.rehearsal.api import CALLER, USER, Document, Mlflow, not_implemented

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_ANSWERED = re.compile(
    "experiments/(?:get|get-by-name|set-experiment-tag)|runs/[a-z-]+|metrics/[a-z-]+|artifacts/list|logged-models(?:/.*)?"
)
"""What is about experiments that the request names; a trace, for one, has an experiment that it does not name."""
_LOGGED_MODEL = re.compile("logged-models/([A-Za-z0-9-]+)(?:/.*)?")
_CAPITAL = re.compile("[A-Z]")


class ExperimentAccess:
    """Lets through what may be asked of an experiment.

    Args:
        access: The lists.
        mlflow: Calls MLflow's server.
    """

    def __init__(self, access: Access, mlflow: Mlflow) -> None:
        self._access = access
        self._mlflow = mlflow

    def check(self, environ: WSGIEnvironment) -> None:
        """Reject a request to MLflow's server that whoever sends it may not send.

        Raises:
            ApiError: the experiment's list does not allow it, or it names no experiment.
        """
        who = str(environ.get(CALLER, USER))
        if who == USER:
            return
        request = Request(environ)
        content = request.get_data()
        environ["wsgi.input"] = io.BytesIO(content)
        _, api, path = request.path.partition("/mlflow/")
        if not api or not request.path.startswith("/api/"):
            raise not_implemented("MLflow's pages for anyone but the user")
        # MLflow's server reads the query or the body, with names as JSON has them too: all it could read is checked.
        asked: MultiDict[str, Any] = MultiDict()
        for key, value in [*request.args.items(multi=True), *_read(content).items()]:
            for one in value if isinstance(value, list) else [value]:
                asked.add(_CAPITAL.sub(lambda found: f"_{found[0].lower()}", key), one)
        self._check(who, _level(request.method, path), path, asked)

    def _check(self, who: str, level: str, path: str, asked: MultiDict[str, Any]) -> None:
        found = [*asked.getlist("experiment_id"), *asked.getlist("experiment_ids")]
        lookups = [
            ("runs/get", {"run_id": run}) for key in ("run_id", "run_uuid", "run_ids") for run in asked.getlist(key)
        ]
        lookups += [("experiments/get-by-name", {"experiment_name": name}) for name in asked.getlist("experiment_name")]
        if model := _LOGGED_MODEL.fullmatch(path):
            lookups.append((f"logged-models/{model[1]}", {}))
        if not _ANSWERED.fullmatch(path) or not (found or lookups):
            raise not_implemented(f"{path} for anyone but the user")
        for endpoint, named in lookups:
            answer, status = self._mlflow("GET", endpoint, named)
            # What is not there is nobody's: MLflow rejects it.
            found += [_experiment(answer)] if status == 200 else []
        for experiment_id in found:
            self._access.need(level, "experiments", experiment_id, who=who)

    def seen(self, answer: tuple[Document, int]) -> tuple[Document, int]:
        """A list of experiments without those that who asks may not see."""
        content, status = answer
        found = content.get("experiments", [])
        shown = [one for one in found if self._access.may("CAN_READ", "experiments", one["experiment_id"])]
        return content | ({"experiments": shown} if found else {}), status


def _read(content: bytes) -> dict[str, Any]:
    try:
        given = json.loads(content or b"{}")
        # Older clients send JSON in a JSON text.
        given = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def _level(method: str, path: str) -> str:
    return "CAN_READ" if method == "GET" or path.endswith("/search") else "CAN_EDIT"


def _experiment(answer: Mapping[str, Any]) -> str:
    inner = answer.get("run") or answer.get("model") or answer
    return str((inner.get("info") or inner.get("experiment") or {}).get("experiment_id", ""))
