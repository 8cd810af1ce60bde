"""How a browser signs in: by a link that works once, or by the token in a form; then by a cookie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, redirect, render_template, request

FIELD = "sign-in"
"""The part of a link's query that holds the code."""
_MOST_BYTES = 4096
"""Length of a form."""
_TEMPLATES = Path(__file__).with_name("templates")
_STYLE, _SCRIPT = (_TEMPLATES.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "renew.js"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(_STYLE)}",
        f"script-src {_hash(_SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def page(template: str, *, status: int = 200, **values: Any) -> Response:
    """A page that loads nothing, runs no script but its own, and is neither framed nor kept."""
    answer = Response(render_template(template, style=_STYLE, script=_SCRIPT, **values), status)
    answer.headers["Content-Security-Policy"] = _POLICY
    return private(answer)


def private(answer: Response, *, referrer: str = "same-origin") -> Response:
    """Keep an answer out of caches, and its address out of requests to others."""
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = referrer
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


class SignIn:
    """Signs browsers in.

    Args:
        token: The token of the workspace.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        # Cookies are shared by all ports of a host: this one opens the pages, but isn't the token.
        self._cookie = hmac.new(token.encode(), b"pages", hashlib.sha256).hexdigest()
        self._codes: set[str] = set()
        self._lock = threading.Lock()

    def link(self, host: str) -> str:
        """A link that signs one browser in."""
        code = secrets.token_urlsafe(16)
        with self._lock:
            self._codes.add(code)
        return f"{host}/?{urlencode({FIELD: code})}"

    def signed_in(self) -> bool:
        """Whether the request has the cookie."""
        return same(request.cookies.get(_name(), ""), self._cookie)

    def answer(self) -> Response | None:
        """The answer to a page's request that signs in, or that must; ``None`` if the browser is signed in."""
        if FIELD in request.args and request.method == "GET":
            return self._admit() if self.signed_in() or self._redeem(request.args[FIELD]) else refusal(used=True)
        if self.signed_in():
            return None
        if request.method == "POST" and request.mimetype == "application/x-www-form-urlencoded":
            if (request.content_length or 0) > _MOST_BYTES:
                return refusal()
            # A token is copied from a file, which ends with a line break.
            correct = same(request.form.get("token", "").strip(), self._token)
            return self._admit() if correct else refusal(wrong=True)
        return refusal()

    def _redeem(self, code: str) -> bool:
        with self._lock:
            found = next((known for known in self._codes if same(code, known)), None)
            self._codes.discard(found or "")
        return found is not None

    def _admit(self) -> Response:
        """Give the browser its cookie, and lead it to the address without the code."""
        rest = urlencode([(key, value) for key, value in request.args.items(multi=True) if key != FIELD])
        target = request.path + (f"?{rest}" if rest else "")
        if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            # After a redirect of another site's link, a browser would not send a cookie that is strictly of this site.
            answer = page("signed_in.html", target=target)
        else:
            answer = redirect(target, 303)  # type: ignore[assignment]
        answer.set_cookie(_name(), self._cookie, httponly=True, samesite="Strict")
        return private(answer, referrer="no-referrer")


def refusal(*, used: bool = False, wrong: bool = False) -> Response:
    """The page for a browser that is not signed in.

    Args:
        used: It came by a link that was used before, or that is of an earlier start.
        wrong: It sent a wrong token.
    """
    return page("sign_in.html", status=401, path=request.path, used=used, wrong=wrong)


def _name() -> str:
    """The name of the cookie: two workspaces of this machine differ in their port alone."""
    return f"rehearsal-{request.host.rpartition(':')[2]}"


def same(given: str, expected: str) -> bool:
    """Whether two secrets are the same, in a time that doesn't depend on them."""
    return hmac.compare_digest(given.encode(), expected.encode())


def application(name: str) -> Flask:
    """An application for pages outside of the workspace's own."""
    return Flask(name, static_folder=None, template_folder=str(_TEMPLATES))
