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
SECURABLE = {"catalogs": "catalog", "schemas": "schema", "volumes": "volume", "models": "function"}
"""What grants are on, by its name in addresses. Unity Catalog counts a registered model among the functions."""
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

    def mine(self, who: str | None = None) -> tuple[str, ...]:
        """The names by which somebody, or who asks, is granted something."""
        return who or caller(), _ALL

    def _owns(self, kind: str, name: str, who: str | None) -> bool:
        return (self._store.get(kind, name) or {}).get("owner") in self.mine(who)

    def _holds(self, privilege: str, kind: str, full_name: str, who: str | None) -> bool:
        for level, name in self._chain(kind, full_name):
            held = self._store.get("grants", f"{SECURABLE[level]}/{name}") or {}
            granted = {one for principal in self.mine(who) for one in held.get(principal, ())}
            if privilege in granted or ("ALL_PRIVILEGES" in granted and privilege not in _NOT_OF_ALL_PRIVILEGES):
                return True
        return False

    def _reaches(self, kind: str, full_name: str, who: str | None) -> bool:
        """Whether somebody may use the catalog and the schema that something is in."""
        uses = {"catalogs": "USE_CATALOG", "schemas": "USE_SCHEMA"}
        above = list(self._chain(kind, full_name))[1:]
        return all(self._owns(level, name, who) or self._holds(uses[level], level, name, who) for level, name in above)

    def may(self, kind: str, full_name: str, *privileges: str, who: str | None = None) -> bool:
        """Whether somebody, or who asks, owns something or holds one of the privileges on it.

        MANAGE holds no other privilege: whoever has it may grant them.
        """
        if (who or caller()) == USER or self._store.get(kind, full_name.lower()) is None:
            # Nobody owns what is not there: the answer is that it is missing.
            return True
        has = self._owns(kind, full_name.lower(), who)
        has = has or any(self._holds(privilege, kind, full_name, who) for privilege in privileges or ("MANAGE",))
        return has and self._reaches(kind, full_name, who)

    def need(self, kind: str, full_name: str, *privileges: str, who: str | None = None) -> None:
        """Reject who asks, or somebody, unless they may; without a privilege, only who owns or manages it may."""
        if not self.may(kind, full_name, *privileges, who=who):
            what, lacks = SECURABLE[kind].replace("function", "model"), (privileges or ("MANAGE",))[0]
            raise ApiError(403, "PERMISSION_DENIED", f"User does not have {lacks} on {what} '{full_name}'.")

    def need_to_create(self, kind: str, full_name: str) -> None:
        """Reject who may not make something of this name."""
        above = next(level for level, levels in _PARENTS if full_name.count(".") >= levels)
        self.need(above, full_name.rpartition(".")[0], f"CREATE_{kind.removesuffix('s').upper()}")
        if caller() != USER and not self._reaches(kind, full_name, None):
            raise ApiError(
                403, "PERMISSION_DENIED", f"User does not have USE_CATALOG or USE_SCHEMA above '{full_name}'."
            )

    def may_grant(self, kind: str, full_name: str) -> bool:
        """Whether who asks manages something, or owns it or what it is in."""
        return any(self._owns(*one, None) for one in self._chain(kind, full_name)) or self.may(kind, full_name)

    def need_to_grant(self, kind: str, full_name: str) -> None:
        """Reject who may not grant."""
        if not self.may_grant(kind, full_name):
            self.need(kind, full_name)
