"""Who asks: always the one user of the rehearsal workspace."""

from __future__ import annotations

import re

from flask import Blueprint, request

from infra.rehearsal.api import USER, Document

_EQUALS = re.compile(r"\s*\w+\s+eq\s+[\"']?(.*?)[\"']?\s*", re.IGNORECASE)


def blueprint() -> Blueprint:
    """The endpoints."""
    routes = Blueprint("scim", __name__, url_prefix="/api/2.0/preview/scim/v2")

    @routes.get("/Me")
    def me() -> Document:
        groups = [{"display": name, "value": str(number)} for number, name in enumerate(("admins", "users"), 1)]
        return {"id": "1", "userName": USER, "displayName": "Rehearsal", "active": True, "groups": groups}

    @routes.get("/ServicePrincipals")
    def service_principals() -> Document:
        # Whoever is asked for exists, since a deployment names principals that it doesn't make.
        match = _EQUALS.fullmatch(request.args.get("filter", ""))
        found = [{"id": "2", "applicationId": match[1], "displayName": match[1], "active": True}] if match else []
        return {"Resources": found, "totalResults": len(found), "startIndex": 1, "itemsPerPage": len(found)}

    return routes
