"""Who may ask: whoever has the token, and only by a name of this machine. And errors, as Databricks answers them."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, redirect, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from infra.rehearsal.api import ApiError, not_implemented

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MOST_BYTES = 64 * 1024 * 1024
"""What one request may hold: more than the largest upload, which is refused with Databricks' own words."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_COOKIE = "rehearsal"
_PAGES = ("/jobs/", "/mlflow/", "/ajax-api", "/static-files")
"""What a browser may open by its cookie, beside the first page."""


class Gate:
    """Lets through who has the token, and nobody who came by another name than this machine's.

    Args:
        inner: What answers those that are let through.
        token: The token.
    """

    def __init__(self, inner: WSGIApplication, token: str) -> None:
        self._inner = inner
        self._token = token
        # Cookies are shared by all ports of a host: this one opens the pages, but isn't the token.
        self._cookie = hmac.new(token.encode(), b"pages", hashlib.sha256).hexdigest()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer a request, or refuse it."""
        answer = self._refusal(environ)
        return answer(environ, start) if answer else self._inner(environ, start)

    def _refusal(self, environ: WSGIEnvironment) -> Response | None:
        with _BLANK.request_context(environ):
            host = request.headers.get("Host", "")
            if host.rpartition(":")[0] not in _LOOPBACK and host not in _LOOPBACK:
                return _error(
                    ApiError(403, "PERMISSION_DENIED", "the rehearsal workspace answers on this machine only")
                )
            origin = request.headers.get("Origin")
            if origin and origin != f"http://{host}":
                return _error(ApiError(403, "PERMISSION_DENIED", "a page of another origin may not ask"))
            return self._open() or self._unknown()

    @staticmethod
    def _open() -> Response | None:
        """What is answered to everybody."""
        if request.path == "/healthz":
            return Response("ok", mimetype="text/plain")
        if request.path == "/.well-known/databricks-config":
            # The SDKs ask before they have read their token; there is nothing to discover.
            return jsonify({"workspace_id": "1", "oidc_endpoint": f"{request.host_url}oidc"})
        return None

    def _unknown(self) -> Response | None:
        """What is answered to who has no token; ``None`` for who has it."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and _same(given.strip(), self._token):
            return None
        if request.path == "/" or request.path.startswith(_PAGES):
            if _same(request.cookies.get(_COOKIE, ""), self._cookie):
                return None
            if _same(request.args.get("token", ""), self._token):
                return self._admit()
        return _error(ApiError(401, "UNAUTHENTICATED", "Request to the workspace without a valid access token."))

    def _admit(self) -> Response:
        """Give a browser its cookie, and take the token out of its address."""
        rest = urlencode([(key, value) for key, value in request.args.items(multi=True) if key != "token"])
        answer = redirect(request.path + (f"?{rest}" if rest else ""))
        answer.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="Strict")
        assert isinstance(answer, Response)
        return answer


_BLANK = Flask("infra.rehearsal.gate", static_folder=None)


def handle_errors(app: Flask) -> None:
    """Answer the errors of an application as Databricks does."""
    app.register_error_handler(ApiError, _error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _error(error: ApiError) -> Response:
    with _BLANK.app_context():
        answer = jsonify({"error_code": error.code, "message": error.message})
    answer.status_code = error.status
    return answer


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, NotFound | MethodNotAllowed):
        return _error(not_implemented(f"{request.method} {request.path}"))
    if isinstance(error, RequestEntityTooLarge):
        return _error(ApiError(400, "MAX_REQUEST_SIZE_EXCEEDED", f"the request holds more than {MOST_BYTES} bytes"))
    return _error(ApiError(error.code or 500, "BAD_REQUEST", error.description or error.name))


def _unexpected(error: Exception) -> Response:
    logging.getLogger(__name__).error("%s %s", request.method, request.path)
    return _error(ApiError(500, "INTERNAL_ERROR", f"{type(error).__name__}: {error}"))
