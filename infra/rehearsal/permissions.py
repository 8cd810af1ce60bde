"""The endpoints of who asks, and of access control lists."""

from __future__ import annotations

import re

from flask import Blueprint, request

from infra.rehearsal import shapes
from infra.rehearsal.access import KINDS, Access, groups, named
from infra.rehearsal.api import USER, ApiError, Document, body, caller, invalid
from infra.rehearsal.store import Store

_EQUALS = re.compile(r"\s*\w+\s+eq\s+[\"']?(.*?)[\"']?\s*", re.IGNORECASE)


def identity() -> Blueprint:
    """The endpoints of users and service principals."""
    routes = Blueprint("scim", __name__, url_prefix="/api/2.0/preview/scim/v2")

    @routes.get("/Me")
    def me() -> Document:
        # The user name of a service principal is its application id.
        mine = [{"display": name, "value": str(number)} for number, name in enumerate(groups(caller()), 1)]
        return {"id": "1", "userName": caller(), "displayName": "Rehearsal", "active": True, "groups": mine}

    @routes.get("/ServicePrincipals")
    def service_principals() -> Document:
        # Whoever is asked for exists, since a deployment names principals that it doesn't make.
        # The SDK asks for pages until one is empty.
        match = request.args.get("startIndex", "1") == "1" and _EQUALS.fullmatch(request.args.get("filter", ""))
        found = [{"id": "2", "applicationId": match[1], "displayName": match[1], "active": True}] if match else []
        return {"Resources": found, "totalResults": len(found), "startIndex": 1, "itemsPerPage": len(found)}

    return routes


def _checked(kind: str, given: list[Document]) -> list[Document]:
    entries: dict[tuple[str, str], Document] = {}
    for entry in given:
        principal, level = named(entry), entry.get("permission_level")
        if level not in KINDS[kind].levels:
            accepted = ", ".join(KINDS[kind].levels)
            raise invalid(f"Permission level {level} is not supported on {kind}; accepted: {accepted}")
        entries[principal] = {principal[0]: principal[1], "permission_level": level}
    return list(entries.values())


def _check_owner(old: list[Document], new: list[Document]) -> None:
    before, after = ([named(one) for one in each if one["permission_level"] == "IS_OWNER"] for each in (old, new))
    if len(after) != 1:
        raise invalid("The job must have exactly one owner.")
    if after[0][0] == "group_name":
        raise invalid("A group can't own a job.")
    if before != after and caller() != USER:
        # docs.databricks.com, "Jobs access control".
        raise ApiError(403, "PERMISSION_DENIED", "Only a workspace admin can change the owner of a job.")


def _shown(kind: str, object_id: str, entries: list[Document]) -> Document:
    acl: list[Document] = []
    for entry in entries:
        permission = {"permission_level": entry["permission_level"], "inherited": False}
        name = {key: entry[key] for key in shapes.PRINCIPALS if key in entry}
        acl.append(name | {"all_permissions": [permission]})
    inherited = {"permission_level": "CAN_MANAGE", "inherited": True, "inherited_from_object": [f"/{kind}/"]}
    if not any(entry.get("group_name") == "admins" for entry in acl):
        acl.append({"group_name": "admins", "all_permissions": [inherited]})
    return {"object_id": f"/{kind}/{object_id}", "object_type": KINDS[kind].object_type, "access_control_list": acl}


def blueprint(store: Store, access: Access) -> Blueprint:
    """The endpoints of access control lists."""
    routes = Blueprint("permissions", __name__, url_prefix="/api/2.0/permissions")

    def entries(kind: str, object_id: str) -> list[Document]:
        found = access.entries(kind, object_id)
        # Nobody else is shown a list (databricks/cli, bundle/permissions/folder_acl.go).
        access.need("CAN_MANAGE", kind, object_id)
        return found

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
        given = shapes.shaped(body(), shapes.PERMISSIONS)
        with store.lock:
            old = entries(kind, object_id)
            new = _checked(kind, given.get("access_control_list", []))
            if request.method == "PATCH":
                taken = {named(entry) for entry in new}
                new = [entry for entry in old if named(entry) not in taken] + new
            if kind == "jobs":
                _check_owner(old, new)
            store.put("permissions", f"{kind}/{object_id}", {"entries": new})
        return _shown(kind, object_id, new)

    return routes
