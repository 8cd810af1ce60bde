"""What every endpoint shares: the errors in Databricks' form, and reading a request.

Functions that read a request, or look up what it names, raise `ApiError` if Databricks would reject it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, request

Document = dict[str, Any]
"""An object as JSON has it."""
Mlflow = Callable[[str, str, Document], tuple[Document, int]]
"""Calls MLflow's server with method, path below ``/api/2.0/mlflow/`` and content; returns its answer and the status."""

USER = "rehearsal@localhost"
"""The only user of the rehearsal workspace, and its administrator."""
CALLER = "rehearsal.caller"
"""Where a request's WSGI environment holds who sends it."""


class ApiError(Exception):
    """A rejection, as Databricks words it: a status, an error code and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def missing(message: str) -> ApiError:
    """The object isn't there."""
    return ApiError(404, "RESOURCE_DOES_NOT_EXIST", message)


def invalid(message: str) -> ApiError:
    """An argument is wrong."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


def exists(message: str) -> ApiError:
    """The object is there already."""
    return ApiError(400, "RESOURCE_ALREADY_EXISTS", message)


def not_implemented(what: str) -> ApiError:
    """Databricks may do it; the rehearsal workspace does not."""
    return ApiError(501, "NOT_IMPLEMENTED", f"the rehearsal workspace does not implement {what}")


def caller() -> str:
    """Who sends the request: the user, or a service principal by its application id."""
    return str(request.environ.get(CALLER, USER))


def token_of(token: str, principal: str) -> str:
    """The token by which somebody signs in, given the workspace's own, which is the user's."""
    return token if principal == USER else f"{token}.{principal}"


def ask(mlflow: Mlflow, method: str, path: str, content: Mapping[str, object]) -> Document:
    """MLflow's answer; what it rejects is an `ApiError`."""
    answer, status = mlflow(method, path, dict(content))
    if status != 200:
        # MLflow answers 500 to values that it does not expect.
        code = str(answer.get("error_code")) if status < 500 else "INVALID_PARAMETER_VALUE"
        raise ApiError(status if status < 500 else 400, code, str(answer.get("message", "MLflow rejects it")))
    return answer


def body() -> Document:
    """The request's JSON object, whatever its content type; a null counts as left out, as on Databricks."""
    try:
        content = json.loads(request.get_data() or b"{}", object_hook=_without_null)
        # Python reads what JSON can't say to others: NaN, and half of a character that takes two.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "MALFORMED_REQUEST", f"the request's body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ApiError(400, "MALFORMED_REQUEST", "the request's body is not a JSON object")
    return content


def _without_null(document: Document) -> Document:
    return {key: value for key, value in document.items() if value is not None}


def asked() -> Mapping[str, Any]:
    """What a GET asks for: its query or, as Airflow sends it from its triggers, a JSON object in its body."""
    return request.args or body()


def required(source: Mapping[str, Any], key: str) -> Any:
    """A field that the request must hold."""
    if key not in source:
        raise invalid(f"Missing required field: {key}")
    return source[key]


def text(source: Mapping[str, Any], key: str) -> str:
    """A text that the request must hold."""
    value = source.get(key)
    if not isinstance(value, str) or not value:
        raise invalid(f"Missing required field: {key}")
    return value


def number(value: object, key: str) -> int:
    """A whole number, which a query has as text."""
    try:
        return int(str(value))
    except ValueError:
        raise invalid(f"{key}: '{value}' is not a whole number") from None


def flag(value: object) -> bool:
    """A truth value, which a query has as text."""
    return str(value).lower() == "true"


def page(found: list[Document], *, limit: int) -> tuple[list[Document], Document]:
    """The page of what was found that the request asks for, and the fields that lead to the next."""
    # A token is an offset, which older callers give themselves.
    field = "page_token" if request.args.get("page_token") else "offset"
    start = number(request.args.get(field) or 0, field)
    if start < 0:
        raise invalid(f"{field}: {start} is negative")
    more = start + limit < len(found)
    return found[start : start + limit], {"has_more": more, **({"next_page_token": str(start + limit)} if more else {})}


def now() -> int:
    """Milliseconds since 1970, as Databricks counts time."""
    return int(time.time() * 1000)


def versioned(name: str, *versions: str) -> Blueprint:
    """A blueprint for ``/api/VERSION/NAME``, alike in each of these versions of the interface."""
    accepted = ", ".join(f'"{version}"' for version in versions)
    routes = Blueprint(name, __name__, url_prefix=f"/api/<any({accepted}):version>/{name}")

    @routes.url_value_preprocessor
    def forget_version(_endpoint: str | None, values: Document | None) -> None:
        (values or {}).pop("version", None)

    return routes
