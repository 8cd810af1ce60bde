"""Unity Catalog: schemas, volumes, registered models and grants. Every catalog that is named exists.

A registered model is MLflow's, under its full name; what Unity Catalog knows beside it is kept here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from infra.rehearsal.api import USER, ApiError, Document, body, invalid, now, text
from infra.rehearsal.files import Files
from infra.rehearsal.mlflow_server import Mlflow
from infra.rehearsal.store import Store

METASTORE = "00000000-0000-0000-0000-000000000001"

_SECURABLE = {"schemas": "schema", "volumes": "volume", "models": "function"}
_DATA = ("ALL_PRIVILEGES", "APPLY_TAG", "MANAGE", "MODIFY", "SELECT")
_VOLUME = ("ALL_PRIVILEGES", "APPLY_TAG", "MANAGE", "READ_VOLUME", "WRITE_VOLUME")
_FUNCTION = ("ALL_PRIVILEGES", "APPLY_TAG", "CREATE_MODEL_VERSION", "EXECUTE", "MANAGE")
_CREATE = tuple(f"CREATE_{what}" for what in ("FUNCTION", "MATERIALIZED_VIEW", "MODEL", "TABLE", "VOLUME"))
_OTHER = ("EXTERNAL_USE_SCHEMA", "REFRESH", "USE_SCHEMA")
_SCHEMA = tuple(sorted({*_DATA, *_VOLUME, *_FUNCTION, *_CREATE, *_OTHER}))
PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "catalog": tuple(sorted({*_SCHEMA, "BROWSE", "CREATE_SCHEMA", "USE_CATALOG"})),
    "schema": _SCHEMA,
    "table": _DATA,
    "volume": _VOLUME,
    # Unity Catalog counts a registered model among the functions.
    "function": _FUNCTION,
}


def _absent(what: str, name: str) -> ApiError:
    return ApiError(404, f"{what.upper()}_DOES_NOT_EXIST", f"{what} '{name}' does not exist.")


class Catalog:
    """What is in the catalogs.

    Args:
        store: Where it is kept.
        files: The volumes' files.
        tables: The folder of the tables that tasks write.
        mlflow: Calls MLflow's server.
    """

    def __init__(self, store: Store, files: Files, tables: Path, mlflow: Mlflow) -> None:
        self.store = store
        self._files = files
        self._tables = tables
        self.mlflow = mlflow

    def name_catalog(self, name: str) -> None:
        """Note that a catalog was named, which makes it one."""
        with self.store.locked():
            if self.store.get("catalogs", name.lower()) is None:
                self.store.put("catalogs", name.lower(), self._stamped({"name": name}, name))

    @staticmethod
    def _stamped(document: Document, full_name: str) -> Document:
        made = {"created_at": now(), "created_by": USER, "updated_at": now(), "updated_by": USER}
        return {"owner": USER, "metastore_id": METASTORE, "full_name": full_name} | made | document

    def get(self, kind: str, full_name: str) -> Document:
        """A schema, volume or model.

        Raises:
            ApiError: there is none.
        """
        found = self.store.get(kind, full_name.lower())
        if found is None:
            raise _absent(kind.removesuffix("s").title(), full_name)
        return found

    def create(self, kind: str, parent: str, document: Document) -> Document:
        """Make a schema, volume or model.

        Raises:
            ApiError: it is there already, its schema isn't, or its name can't be one.
        """
        name = text(document, "name")
        if any(character in name for character in ". /") or not name.isprintable():
            raise invalid(f"'{name}' is not a valid name: it holds a period, a space or a slash")
        self.name_catalog(parent.split(".", maxsplit=1)[0])
        if "." in parent:
            self.get("schemas", parent)
        full_name = f"{parent}.{name}"
        with self.store.locked():
            if self.store.get(kind, full_name.lower()):
                what = kind.removesuffix("s").title()
                raise ApiError(400, f"{what.upper()}_ALREADY_EXISTS", f"{what} '{full_name}' already exists")
            made = self._stamped(document, full_name)
            self.store.put(kind, full_name.lower(), made)
        return made

    def update(self, kind: str, full_name: str) -> Document:
        """Change what a request changes of a schema, volume or model; a new name moves it."""
        given, old = body(), self.get(kind, full_name)
        new = old | {"updated_at": now()} | {key: value for key, value in given.items() if key != "new_name"}
        new["name"], new["full_name"] = old["name"], old["full_name"]
        name = given.get("new_name")
        if name and name != old["name"]:
            if kind == "schemas" and self._held(full_name):
                raise invalid("a schema that holds something can't be renamed here")
            new["name"], new["full_name"] = name, f"{old['full_name'].rpartition('.')[0]}.{name}"
            self.store.delete(kind, full_name.lower())
        self.store.put(kind, new["full_name"].lower(), new)
        return new

    def delete(self, kind: str, full_name: str) -> None:
        """Remove a schema, volume or model, and the grants on it."""
        self.get(kind, full_name)
        self.store.delete(kind, full_name.lower())
        self.store.delete("grants", f"{_SECURABLE[kind]}/{full_name.lower()}")
        if kind == "volumes":
            self._files.drop_volume(full_name.lower())

    def _held(self, schema: str) -> list[tuple[str, str]]:
        """What is in a schema, by kind and full name."""
        kinds = ("volumes", "models")
        found = [(kind, name) for kind in kinds for name, _ in self.store.items(kind)]
        folder = self._tables.joinpath(*schema.split("."))
        found += [("tables", f"{schema}.{table.name}") for table in folder.glob("*")]
        return [(kind, name) for kind, name in found if name.lower().startswith(f"{schema.lower()}.")]

    def delete_schema(self, full_name: str, *, force: bool) -> None:
        """Remove a schema.

        Raises:
            ApiError: it holds something, and it is not forced.
        """
        self.get("schemas", full_name)
        held = self._held(full_name)
        if held and not force:
            names = ", ".join(name for _, name in held)
            raise ApiError(400, "INVALID_STATE", f"Cannot delete the schema '{full_name}' as it is not empty: {names}")
        for kind, name in held:
            if kind == "tables":
                shutil.rmtree(self._tables.joinpath(*name.split(".")))
            elif kind == "models":
                self.delete_model(name)
            else:
                self.delete(kind, name)
        self.delete("schemas", full_name)

    def delete_model(self, full_name: str) -> None:
        """Remove a registered model, and MLflow's."""
        name = self.get("models", full_name)["full_name"]
        self.mlflow("DELETE", "registered-models/delete", {"name": name})
        self.delete("models", full_name)

    def grants(self, kind: str, full_name: str) -> Document:
        """Who has which privileges on something.

        Raises:
            ApiError: there is no such thing.
        """
        if kind == "catalog":
            self.name_catalog(full_name)
        elif kind == "function":
            self.get("models", full_name)
        elif kind in ("schema", "volume"):
            self.get(f"{kind}s", full_name)
        elif kind == "table":
            if not self._tables.joinpath(*full_name.split(".")).is_dir():
                raise _absent("Table", full_name)
        else:
            raise invalid(f"securable type '{kind}' is not supported here; accepted: {', '.join(PRIVILEGES)}")
        return self.store.get("grants", f"{kind}/{full_name.lower()}") or {}

    def change_grants(self, kind: str, full_name: str, changes: list[Document]) -> Document:
        """Add and take away privileges.

        Raises:
            ApiError: a privilege doesn't apply to what it is granted on.
        """
        with self.store.locked():
            held = self.grants(kind, full_name)
            for change in changes:
                principal = text(change, "principal")
                privileges = set(held.get(principal, []))
                for privilege in change.get("add") or []:
                    if privilege not in PRIVILEGES[kind]:
                        raise invalid(
                            f"Privilege {privilege} is not applicable to this entity [{full_name}:{kind.upper()}]"
                        )
                    privileges.add(privilege)
                privileges -= set(change.get("remove") or [])
                held[principal] = sorted(privileges)
            held = {principal: privileges for principal, privileges in held.items() if privileges}
            self.store.put("grants", f"{kind}/{full_name.lower()}", held)
        return held
