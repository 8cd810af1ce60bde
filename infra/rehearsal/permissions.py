"""Who asks, and access control lists: kept as Databricks shows them, and enforced only for the lists themselves."""

from __future__ import annotations

import re
from typing import NamedTuple

from flask import Blueprint, request

from infra.rehearsal import shapes
from infra.rehearsal.api import USER, ApiError, Document, Mlflow, body, caller, invalid, missing
from infra.rehearsal.files import Files
from infra.rehearsal.store import Store
from ml_pipeline.settings.workspace import APPLICATION_ID

_EQUALS = re.compile(r"\s*\w+\s+eq\s+[\"']?(.*?)[\"']?\s*", re.IGNORECASE)


class _Kind(NamedTuple):
    """What can have an access control list."""

    object_type: str
    """What the answers call it."""
    levels: tuple[str, ...]


_FILES = ("CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE")
_MODELS = ("CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE")
_KINDS = {
    "jobs": _Kind("job", ("CAN_VIEW", "CAN_MANAGE_RUN", "IS_OWNER", "CAN_MANAGE")),
    "instance-pools": _Kind("instance-pool", ("CAN_ATTACH_TO", "CAN_MANAGE")),
    "clusters": _Kind("cluster", ("CAN_ATTACH_TO", "CAN_RESTART", "CAN_MANAGE")),
    "experiments": _Kind("mlflowExperiment", ("CAN_READ", "CAN_EDIT", "CAN_MANAGE")),
    "registered-models": _Kind("registered-model", _MODELS),
    "repos": _Kind("repo", _FILES),
    "directories": _Kind("directory", _FILES),
    "notebooks": _Kind("notebook", _FILES),
    "files": _Kind("file", _FILES),
}
_STORED = {"jobs": "jobs", "instance-pools": "pools", "clusters": "clusters", "repos": "repos"}
_MLFLOW = {"experiments": "experiment_id", "registered-models": "name"}
_ALONE = ("jobs", "instance-pools", "clusters")
"""Objects outside of folders. Whoever deploys inherits the right to manage the others from their folder."""
_MANAGES = ("IS_OWNER", "CAN_MANAGE")


def identity() -> Blueprint:
    """The endpoints of users and service principals."""
    routes = Blueprint("scim", __name__, url_prefix="/api/2.0/preview/scim/v2")

    @routes.get("/Me")
    def me() -> Document:
        # The user name of a service principal is its application id.
        names = ("admins", "users") if caller() == USER else ("users",)
        groups = [{"display": name, "value": str(number)} for number, name in enumerate(names, 1)]
        return {"id": "1", "userName": caller(), "displayName": "Rehearsal", "active": True, "groups": groups}

    @routes.get("/ServicePrincipals")
    def service_principals() -> Document:
        # Whoever is asked for exists, since a deployment names principals that it doesn't make.
        match = _EQUALS.fullmatch(request.args.get("filter", ""))
        found = [{"id": "2", "applicationId": match[1], "displayName": match[1], "active": True}] if match else []
        return {"Resources": found, "totalResults": len(found), "startIndex": 1, "itemsPerPage": len(found)}

    return routes


def _principal(entry: Document) -> tuple[str, str]:
    found = [(key, str(entry[key])) for key in shapes.PRINCIPALS if entry.get(key)]
    if len(found) != 1:
        raise invalid(f"an access control entry names exactly one of {', '.join(shapes.PRINCIPALS)}")
    ((key, name),) = found
    # Whichever field names a service principal, the answer has it in its own: the provider sends the user name of who
    # applies, and finds the service principal (its permissions/permissions_test.go, TestAccPermissions_Job).
    return ("service_principal_name" if re.fullmatch(APPLICATION_ID, name) else key), name


def _checked(kind: str, given: list[Document]) -> list[Document]:
    entries: dict[tuple[str, str], Document] = {}
    for entry in given:
        principal, level = _principal(entry), entry.get("permission_level")
        if level not in _KINDS[kind].levels:
            accepted = ", ".join(_KINDS[kind].levels)
            raise invalid(f"Permission level {level} is not supported on {kind}; accepted: {accepted}")
        entries[principal] = {principal[0]: principal[1], "permission_level": level}
    return list(entries.values())


def _check_owner(kind: str, entries: list[Document]) -> None:
    if kind == "jobs" and [entry["permission_level"] for entry in entries].count("IS_OWNER") != 1:
        raise invalid("The job must have exactly one owner.")


def _check_manager(kind: str, object_id: str, entries: list[Document]) -> None:
    """Reject readers of a list who may not manage the object (databricks/cli, bundle/permissions/folder_acl.go)."""
    managers = {USER, *(_principal(entry)[1] for entry in entries if entry["permission_level"] in _MANAGES)}
    if kind in _ALONE and caller() not in managers:
        message = f"{caller()} does not have Manage permissions on {_KINDS[kind].object_type} {object_id}. "
        raise ApiError(403, "PERMISSION_DENIED", message + "Please contact the owner or an administrator for access.")


def _shown(kind: str, object_id: str, entries: list[Document]) -> Document:
    acl: list[Document] = []
    for entry in entries:
        permission = {"permission_level": entry["permission_level"], "inherited": False}
        name = {key: entry[key] for key in shapes.PRINCIPALS if key in entry}
        acl.append(name | {"all_permissions": [permission]})
    inherited = {"permission_level": "CAN_MANAGE", "inherited": True, "inherited_from_object": [f"/{kind}/"]}
    if not any(entry.get("group_name") == "admins" for entry in acl):
        acl.append({"group_name": "admins", "all_permissions": [inherited]})
    return {"object_id": f"/{kind}/{object_id}", "object_type": _KINDS[kind].object_type, "access_control_list": acl}


def blueprint(store: Store, files: Files, mlflow: Mlflow) -> Blueprint:
    """The endpoints of access control lists."""
    routes = Blueprint("permissions", __name__, url_prefix="/api/2.0/permissions")

    def exists(kind: str, object_id: str) -> bool:
        if kind in _STORED:
            return store.get(_STORED[kind], object_id) is not None
        if kind in _MLFLOW:
            return mlflow("GET", f"{kind}/get", {_MLFLOW[kind]: object_id})[1] == 200
        return files.has(kind, object_id)

    def entries(kind: str, object_id: str) -> list[Document]:
        if kind not in _KINDS:
            raise invalid(f"'{kind}' is not a supported object type; accepted: {', '.join(_KINDS)}")
        if not exists(kind, object_id):
            raise missing(f"{_KINDS[kind].object_type} with id {object_id} does not exist")
        kept = store.get("permissions", f"{kind}/{object_id}")
        found = _created(kind, object_id) if kept is None else list(kept["entries"])
        _check_manager(kind, object_id, found)
        return found

    def _created(kind: str, object_id: str) -> list[Document]:
        """The list that an object begins with: its creator manages it."""
        # Of a job it is known who that is. Anything else gets its list from whoever deploys it.
        job = store.get("jobs", object_id) if kind == "jobs" else None
        key, name = _principal({"user_name": job["creator_user_name"] if job else caller()})
        return [{key: name, "permission_level": "IS_OWNER" if job else "CAN_MANAGE"}]

    @routes.get("/<kind>/<object_id>")
    def get_permissions(kind: str, object_id: str) -> Document:
        return _shown(kind, object_id, entries(kind, object_id))

    @routes.get("/<kind>/<object_id>/permissionLevels")
    def get_levels(kind: str, object_id: str) -> Document:
        entries(kind, object_id)
        levels = _KINDS[kind].levels
        return {"permission_levels": [{"permission_level": level, "description": level} for level in levels]}

    @routes.route("/<kind>/<object_id>", methods=["PUT", "PATCH"])
    def set_permissions(kind: str, object_id: str) -> Document:
        with store.lock:
            old = entries(kind, object_id)
            given = shapes.shaped(body(), shapes.PERMISSIONS)
            new = _checked(kind, given.get("access_control_list", []))
            if request.method == "PATCH":
                taken = {_principal(entry) for entry in new}
                new = [entry for entry in old if _principal(entry) not in taken] + new
            _check_owner(kind, new)
            store.put("permissions", f"{kind}/{object_id}", {"entries": new})
        return _shown(kind, object_id, new)

    return routes
