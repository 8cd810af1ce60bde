"""Who may ask: whoever has the token, and only by a name of this machine. And errors, as Databricks answers them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from infra.rehearsal import sign_in
from infra.rehearsal.api import CALLER, USER, ApiError, not_implemented, token_of
from infra.rehearsal.artifacts import STORAGE
from infra.rehearsal.sign_in import SignIn

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MOST_BYTES = 64 * 1024 * 1024
"""What one request may hold: more than the largest upload, which is rejected with Databricks' own words."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_PAGES = ("experiments", "files", "jobs", "mlflow", "models", "schemas")
"""The first parts of the addresses of pages, beside the first page."""
_OF_MLFLOW = ("/ajax-api", "/static-files")
"""Addresses that MLflow's pages request."""


class Gate:
    """Lets through who has the token, and nobody who came by another name than this machine's.

    Args:
        inner: What answers those that are let through.
        token: The token.
        signing: Signs browsers in.
    """

    def __init__(self, inner: WSGIApplication, token: str, signing: SignIn) -> None:
        self._inner = inner
        self._token = token
        self._signing = signing

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer a request, or reject it."""
        answer = self._refusal(environ)
        return answer(environ, start) if answer else self._inner(environ, start)

    def _refusal(self, environ: WSGIEnvironment) -> Response | None:
        with _BLANK.request_context(environ):
            host = request.headers.get("Host", "")
            if host.rpartition(":")[0] not in _LOOPBACK and host not in _LOOPBACK:
                return refusal(
                    ApiError(403, "PERMISSION_DENIED", "the rehearsal workspace answers on this machine only")
                )
            if str(environ.get("CONTENT_LENGTH", "")).strip("0123456789"):
                return refusal(ApiError(400, "MALFORMED_REQUEST", "Content-Length is not a number of bytes"))
            origin = request.headers.get("Origin")
            if origin and origin != f"http://{host}":
                return refusal(ApiError(403, "PERMISSION_DENIED", "a page of another origin may not ask"))
            return self._open() or self._unknown()

    def _open(self) -> Response | None:
        """What is answered to everybody."""
        oidc = f"{request.host_url}oidc"
        if request.path == "/healthz":
            return Response("ok", mimetype="text/plain")
        if request.path == "/.well-known/databricks-config":
            # The SDKs ask before they have read their token; there is nothing to discover.
            return jsonify({"workspace_id": "1", "oidc_endpoint": oidc})
        if request.path == "/oidc/.well-known/oauth-authorization-server":
            endpoints = {"authorization_endpoint": f"{oidc}/v1/authorize", "token_endpoint": f"{oidc}/v1/token"}
            return jsonify(endpoints)
        if request.path == "/oidc/v1/token":
            return self._exchanged()
        return None

    def _exchanged(self) -> Response:
        """The token of a service principal, for the workspace's own in place of an identity provider's.

        docs.databricks.com, "Authenticate access to Databricks using OAuth token federation".
        """
        client_id = request.form.get("client_id")
        if not client_id or not sign_in.same(request.form.get("subject_token", ""), self._token):
            answer = jsonify({"error": "invalid_request", "error_description": "needs client_id and subject_token"})
            answer.status_code = 400
            return answer
        return jsonify({"access_token": token_of(self._token, client_id), "token_type": "Bearer", "expires_in": 3600})

    def _caller(self, token: str) -> str | None:
        end = len(self._token)
        if not sign_in.same(token[:end], self._token):
            return None
        dot, name = token[end : end + 1], token[end + 1 :]
        return USER if not dot else name if dot == "." and name else None

    def _unknown(self) -> Response | None:
        """What is answered to who has no token; ``None`` for who has it."""
        if request.path.startswith(STORAGE):
            return None
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        caller = self._caller(given.strip()) if scheme == "Bearer" else None
        if caller:
            request.environ[CALLER] = caller
            others = ApiError(403, "PERMISSION_DENIED", "only the user can open the pages")
            return refusal(others) if caller != USER and _is_page() else None
        if _is_page():
            answer = self._signing.answer()
            if answer is None or answer.status_code != _UNAUTHENTICATED or _for_a_person():
                return answer
        elif request.path.startswith(_OF_MLFLOW) and self._signing.signed_in():
            return None
        elif _for_a_person() and not request.path.startswith(("/api/", *_OF_MLFLOW)):
            return sign_in.page("error.html", status=404, message=f"There is no page {request.path}.")
        return refusal(
            ApiError(_UNAUTHENTICATED, "UNAUTHENTICATED", "Request to the workspace without a valid access token.")
        )


_UNAUTHENTICATED = 401
_BLANK = sign_in.application("infra.rehearsal.gate")


def _is_page() -> bool:
    return request.path == "/" or request.path.split("/")[1] in _PAGES


def _for_a_person() -> bool:
    """Whether a browser shows the answer; programs ask for anything, or for JSON."""
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/mlflow/ajax-api")


def handle_errors(app: Flask) -> None:
    """Answer the errors of an application as Databricks does."""
    app.register_error_handler(ApiError, refusal)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def refusal(error: ApiError) -> Response:
    """A rejection: JSON, or a page where a person reads it."""
    if _is_page() and _for_a_person():
        # Who gets as far as the application is signed in, and may go on from here.
        here = "" if current_app.name == _BLANK.name else "error"
        return sign_in.page("error.html", status=error.status, message=error.message, here=here)
    with _BLANK.app_context():
        answer = jsonify({"error_code": error.code, "message": error.message})
    answer.status_code = error.status
    return answer


def refused(environ: WSGIEnvironment, error: ApiError) -> Response:
    """A rejection of a request that no application has begun to answer."""
    with _BLANK.request_context(environ):
        return refusal(error)


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, NotFound | MethodNotAllowed):
        return refusal(not_implemented(f"{request.method} {request.path}"))
    if isinstance(error, RequestEntityTooLarge):
        return refusal(ApiError(400, "MAX_REQUEST_SIZE_EXCEEDED", f"the request holds more than {MOST_BYTES} bytes"))
    return refusal(ApiError(error.code or 500, "BAD_REQUEST", error.description or error.name))


def _unexpected(error: Exception) -> Response:
    logging.getLogger(__name__).error("%s %s: %s: %s", request.method, request.path, type(error).__name__, error)
    return refusal(ApiError(500, "INTERNAL_ERROR", f"the rehearsal workspace failed: {type(error).__name__}"))
