"""Secret scopes: kept in the state folder, read by tasks alone.

docs.databricks.com, "Secrets" and "Secret ACLs"; Databricks' SDK, the documentation of ``secrets``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from flask import Blueprint, request

from infra.rehearsal.access import groups
from infra.rehearsal.api import USER, ApiError, Document, body, caller, exists, invalid, missing, now, text
from infra.rehearsal.store import Store
from ml_pipeline.settings.references import SECRET

_LEVELS = ("READ", "WRITE", "MANAGE")
_NAME = re.compile("[A-Za-z0-9_.-]{1,128}")
_MOST_SCOPES, _MOST_SECRETS, _MOST_BYTES = 100, 1000, 128 * 1024


class Secrets:
    """The scopes and what is in them.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def scope(self, name: str, level: str, *, who: str | None = None) -> Document:
        """A scope, of somebody, or who asks, with the level.

        Raises:
            ApiError: there is no such scope, or they lack the level.
        """
        found = self._store.get("secret_scopes", name)
        if found is None:
            raise missing(f"Scope {name:.128} does not exist!")
        who = who or caller()
        held = [found["acls"].get(principal) for principal in (who, *groups(who))]
        if who != USER and max((_LEVELS.index(one) for one in held if one), default=-1) < _LEVELS.index(level):
            raise ApiError(403, "PERMISSION_DENIED", f"{who} does not have {level} permission on scope {name}")
        return found

    def keep(self, scope: Document) -> None:
        """Keep a scope."""
        self._store.put("secret_scopes", scope["name"], scope)

    def resolved(self, values: Mapping[str, str], *, who: str) -> dict[str, str]:
        """Values with the secrets in place of the references to them, read by somebody.

        Raises:
            ApiError: there is no such secret, or they may not read it.
        """
        return {name: self._resolved(value, who) for name, value in values.items()}

    def _resolved(self, value: str, who: str) -> str:
        reference = SECRET.fullmatch(value)
        if not reference:
            return value
        scope, key = reference.groups()
        kept = self.scope(scope, "READ", who=who)["secrets"].get(key.lower())
        if kept is None:
            raise missing(f"Secret does not exist with scope: {scope} and key: {key}")
        return base64.b64decode(kept["value"]).decode(errors="replace")


def _name(given: Mapping[str, object], key: str) -> str:
    name = text(given, key)
    if not _NAME.fullmatch(name):
        raise invalid(f"{key} '{name:.128}': accepted: up to 128 letters, digits, dashes, underscores and periods")
    return name


def _value(given: Document) -> bytes:
    if ("string_value" in given) == ("bytes_value" in given):
        raise invalid("exactly one of string_value and bytes_value must be given")
    try:
        if "bytes_value" in given:
            return base64.b64decode(text(given, "bytes_value"), validate=True)
    except ValueError:
        raise invalid("bytes_value is not Base64") from None
    return text(given, "string_value").encode()


def blueprint(store: Store, secrets: Secrets) -> Blueprint:
    """The endpoints."""
    routes = Blueprint("secrets", __name__, url_prefix="/api/2.0/secrets")

    @routes.post("/scopes/create")
    def create() -> Document:
        given = body()
        name, first = _name(given, "scope"), given.get("initial_manage_principal") or caller()
        if first not in ("users", caller()):
            raise invalid("initial_manage_principal: accepted: users")
        with store.lock:
            if store.get("secret_scopes", name):
                raise exists(f"Scope {name} already exists!")
            if len(store.all("secret_scopes")) >= _MOST_SCOPES:
                raise ApiError(400, "RESOURCE_LIMIT_EXCEEDED", f"A workspace has at most {_MOST_SCOPES} scopes")
            secrets.keep({"name": name, "acls": {str(first): "MANAGE"}, "secrets": {}})
        return {}

    @routes.get("/scopes/list")
    def scopes() -> Document:
        # Names are readable by all users.
        return {"scopes": [{"name": one["name"], "backend_type": "DATABRICKS"} for one in store.all("secret_scopes")]}

    @routes.post("/scopes/delete")
    def delete() -> Document:
        store.delete("secret_scopes", secrets.scope(text(body(), "scope"), "MANAGE")["name"])
        return {}

    @routes.post("/put")
    def put() -> Document:
        given = body()
        with store.lock:
            scope, key, value = secrets.scope(text(given, "scope"), "WRITE"), _name(given, "key"), _value(given)
            if len(value) > _MOST_BYTES:
                raise invalid(f"The value has {len(value)} bytes; at most {_MOST_BYTES}")
            # Names of secrets are the same in upper and lower case.
            scope["secrets"][key.lower()] = {"key": key, "value": base64.b64encode(value).decode(), "changed": now()}
            if len(scope["secrets"]) > _MOST_SECRETS:
                raise ApiError(400, "RESOURCE_LIMIT_EXCEEDED", f"A scope has at most {_MOST_SECRETS} secrets")
            secrets.keep(scope)
        return {}

    @routes.get("/list")
    def list_() -> Document:
        scope = secrets.scope(text(request.args, "scope"), "READ")
        listed = [{"key": one["key"], "last_updated_timestamp": one["changed"]} for one in scope["secrets"].values()]
        return {"secrets": listed} if listed else {}

    @routes.post("/delete")
    def delete_secret() -> Document:
        given = body()
        with store.lock:
            scope = secrets.scope(text(given, "scope"), "WRITE")
            if scope["secrets"].pop(text(given, "key").lower(), None) is None:
                raise missing(f"Secret {text(given, 'key'):.128} does not exist in scope {scope['name']}!")
            secrets.keep(scope)
        return {}

    _add_lists(routes, store, secrets)
    return routes


def _add_lists(routes: Blueprint, store: Store, secrets: Secrets) -> None:
    @routes.post("/acls/put")
    def put_acl() -> Document:
        given = body()
        if given.get("permission") not in _LEVELS:
            raise invalid(f"permission: accepted: {', '.join(_LEVELS)}")
        with store.lock:
            scope = secrets.scope(text(given, "scope"), "MANAGE")
            scope["acls"][text(given, "principal")] = given["permission"]
            secrets.keep(scope)
        return {}

    @routes.post("/acls/delete")
    def delete_acl() -> Document:
        given = body()
        with store.lock:
            scope = secrets.scope(text(given, "scope"), "MANAGE")
            if scope["acls"].pop(text(given, "principal"), None) is None:
                raise missing(f"{text(given, 'principal'):.128} has no permission on scope {scope['name']}!")
            secrets.keep(scope)
        return {}

    @routes.get("/acls/get")
    def get_acl() -> Document:
        scope, principal = secrets.scope(text(request.args, "scope"), "MANAGE"), text(request.args, "principal")
        if principal not in scope["acls"]:
            raise missing(f"{principal:.128} has no permission on scope {scope['name']}!")
        return {"principal": principal, "permission": scope["acls"][principal]}

    @routes.get("/acls/list")
    def list_acls() -> Document:
        scope = secrets.scope(text(request.args, "scope"), "MANAGE")
        return {"items": [{"principal": name, "permission": level} for name, level in scope["acls"].items()]}
