"""Access control lists: kept as Databricks shows them, and never enforced, since there is one user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask import Blueprint, request

from infra.rehearsal import shapes
from infra.rehearsal.api import USER, Document, body, invalid, missing
from infra.rehearsal.store import Store

Exists = Callable[[str], bool]


@dataclass(frozen=True)
class Kind:
    """What can have an access control list."""

    object_type: str
    """What the answers call it."""
    levels: tuple[str, ...]


_FILES = ("CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE")
_MODELS = ("CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE")
KINDS: Mapping[str, Kind] = {
    "jobs": Kind("job", ("CAN_VIEW", "CAN_MANAGE_RUN", "IS_OWNER", "CAN_MANAGE")),
    "instance-pools": Kind("instance-pool", ("CAN_ATTACH_TO", "CAN_MANAGE")),
    "clusters": Kind("cluster", ("CAN_ATTACH_TO", "CAN_RESTART", "CAN_MANAGE")),
    "experiments": Kind("mlflowExperiment", ("CAN_READ", "CAN_EDIT", "CAN_MANAGE")),
    "registered-models": Kind("registered-model", _MODELS),
    "repos": Kind("repo", _FILES),
    "directories": Kind("directory", _FILES),
    "notebooks": Kind("notebook", _FILES),
    "files": Kind("file", _FILES),
}
_PRINCIPALS = ("user_name", "group_name", "service_principal_name")


def forget(store: Store, kind: str, object_id: object) -> None:
    """Forget the list of an object that is gone."""
    store.delete("permissions", f"{kind}/{object_id}")


def _owner(kind: str) -> Document:
    return {"user_name": USER, "permission_level": "IS_OWNER" if kind == "jobs" else "CAN_MANAGE"}


def _principal(entry: Document) -> tuple[str, str]:
    found = [(key, str(entry[key])) for key in _PRINCIPALS if entry.get(key)]
    if len(found) != 1:
        raise invalid(f"an access control entry names exactly one of {', '.join(_PRINCIPALS)}")
    return found[0]


def _checked(kind: str, given: list[Document]) -> list[Document]:
    entries: dict[tuple[str, str], Document] = {}
    for entry in given:
        principal, level = _principal(entry), entry.get("permission_level")
        if level not in KINDS[kind].levels:
            accepted = ", ".join(KINDS[kind].levels)
            raise invalid(f"Permission level {level} is not supported on {kind}; accepted: {accepted}")
        entries[principal] = {principal[0]: principal[1], "permission_level": level}
    return list(entries.values())


def _complete(kind: str, entries: list[Document]) -> list[Document]:
    """Refuse a job without its one owner; leave the creator of anything else a manager."""
    if kind == "jobs":
        if [entry["permission_level"] for entry in entries].count("IS_OWNER") != 1:
            raise invalid("The job must have exactly one owner.")
        return entries
    if any(entry.get("user_name") == USER for entry in entries):
        return entries
    return [*entries, _owner(kind)]


def _shown(kind: str, object_id: str, entries: list[Document]) -> Document:
    acl: list[Document] = []
    for entry in entries:
        permission = {"permission_level": entry["permission_level"], "inherited": False}
        name = {key: entry[key] for key in _PRINCIPALS if key in entry}
        acl.append(name | {"all_permissions": [permission]})
    inherited = {"permission_level": "CAN_MANAGE", "inherited": True, "inherited_from_object": [f"/{kind}/"]}
    if not any(entry.get("group_name") == "admins" for entry in acl):
        acl.append({"group_name": "admins", "all_permissions": [inherited]})
    return {
        "object_id": f"/{kind}/{object_id}",
        "object_type": KINDS[kind].object_type,
        "access_control_list": acl,
    }


def blueprint(store: Store, exists: Mapping[str, Exists]) -> Blueprint:
    """The endpoints.

    Args:
        store: Where the lists are kept.
        exists: For each kind of object, whether there is one with this id.
    """
    routes = Blueprint("permissions", __name__, url_prefix="/api/2.0/permissions")

    def entries(kind: str, object_id: str) -> list[Document]:
        if kind not in KINDS:
            raise invalid(f"'{kind}' is not a supported object type; accepted: {', '.join(KINDS)}")
        if not exists[kind](object_id):
            raise missing(f"{KINDS[kind].object_type} with id {object_id} does not exist")
        kept = store.get("permissions", f"{kind}/{object_id}")
        return [_owner(kind)] if kept is None else list(kept["entries"])

    @routes.get("/<kind>/<object_id>")
    def get_permissions(kind: str, object_id: str) -> Document:
        return _shown(kind, object_id, entries(kind, object_id))

    @routes.get("/<kind>/<object_id>/permissionLevels")
    def get_levels(kind: str, object_id: str) -> Document:
        entries(kind, object_id)
        levels = KINDS[kind].levels
        return {"permission_levels": [{"permission_level": level, "description": level} for level in levels]}

    @routes.route("/<kind>/<object_id>", methods=["PUT", "PATCH"])
    def set_permissions(kind: str, object_id: str) -> Document:
        with store.locked():
            old = entries(kind, object_id)
            given = shapes.shaped(body(), shapes.PERMISSIONS)
            new = _checked(kind, given.get("access_control_list", []))
            if request.method == "PATCH":
                taken = {_principal(entry) for entry in new}
                new = [entry for entry in old if _principal(entry) not in taken] + new
            new = _complete(kind, new)
            store.put("permissions", f"{kind}/{object_id}", {"entries": new})
        return _shown(kind, object_id, new)

    return routes
