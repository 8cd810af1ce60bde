"""Privileges in Unity Catalog: who may see, use, make and manage what.

What each call requires: Databricks' SDK, the documentation of ``registered_models``, ``model_versions``, ``schemas``
and ``volumes``; and docs.databricks.com, "Unity Catalog privileges and securable objects".
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.rehearsal.api import USER, ApiError, caller
from infra.rehearsal.store import Store

_ALL = "account users"
"""The group that everybody is in."""
_NOT_OF_ALL_PRIVILEGES = ("MANAGE", "EXTERNAL_USE_SCHEMA")
"""What ALL_PRIVILEGES does not include."""
_SECURABLE = {"catalogs": "catalog", "schemas": "schema", "volumes": "volume", "models": "function"}
_PARENTS = (("schemas", 2), ("catalogs", 1))


class Privileges:
    """The grants, and what follows from them.

    Args:
        store: Where they are kept, and what they are on.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def _chain(self, kind: str, full_name: str) -> Iterator[tuple[str, str]]:
        """A thing, its schema and its catalog."""
        name = full_name.lower()
        yield kind, name
        for above, levels in _PARENTS:
            if name.count(".") >= levels:
                yield above, ".".join(name.split(".")[:levels])

    def _owns(self, kind: str, name: str) -> bool:
        return (self._store.get(kind, name) or {}).get("owner") == caller()

    def _holds(self, privilege: str, kind: str, full_name: str) -> bool:
        for level, name in self._chain(kind, full_name):
            held = self._store.get("grants", f"{_SECURABLE[level]}/{name}") or {}
            mine = {*held.get(caller(), ()), *held.get(_ALL, ())}
            if privilege in mine or ("ALL_PRIVILEGES" in mine and privilege not in _NOT_OF_ALL_PRIVILEGES):
                return True
        return False

    def _reaches(self, kind: str, full_name: str) -> bool:
        """Whether who asks may use the catalog and the schema that something is in."""
        uses = {"catalogs": "USE_CATALOG", "schemas": "USE_SCHEMA"}
        above = list(self._chain(kind, full_name))[1:]
        return all(self._owns(level, name) or self._holds(uses[level], level, name) for level, name in above)

    def may(self, kind: str, full_name: str, *privileges: str) -> bool:
        """Whether who asks owns or manages something, or holds one of the privileges on it."""
        if caller() == USER or self._store.get(kind, full_name.lower()) is None:
            # Nobody owns what is not there: the answer is that it is missing.
            return True
        has = self._owns(kind, full_name.lower())
        has = has or any(self._holds(privilege, kind, full_name) for privilege in ("MANAGE", *privileges))
        return has and self._reaches(kind, full_name)

    def need(self, kind: str, full_name: str, *privileges: str) -> None:
        """Reject who asks, unless they may; without a privilege, only who owns or manages it may."""
        if not self.may(kind, full_name, *privileges):
            what, wanted = _SECURABLE[kind].replace("function", "model"), privileges[:1] or ("MANAGE",)
            lacks = ", ".join(wanted)
            raise ApiError(403, "PERMISSION_DENIED", f"User does not have {lacks} on {what} '{full_name}'.")

    def need_to_create(self, kind: str, full_name: str) -> None:
        """Reject who may not make something of this name."""
        above = next(level for level, levels in _PARENTS if full_name.count(".") >= levels)
        self.need(above, full_name.rpartition(".")[0], f"CREATE_{kind.removesuffix('s').upper()}")
        if caller() != USER and not self._reaches(kind, full_name):
            raise ApiError(403, "PERMISSION_DENIED", f"User lacks USE_CATALOG or USE_SCHEMA above '{full_name}'.")

    def need_to_grant(self, kind: str, full_name: str) -> None:
        """Reject who may not grant: neither manages it nor owns it or what it is in."""
        if not any(self._owns(level, name) for level, name in self._chain(kind, full_name)):
            self.need(kind, full_name)
