"""Unity Catalog: schemas, volumes, registered models and grants. Every catalog that is named exists.

A registered model is MLflow's, under its full name; what Unity Catalog knows beside it is kept here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, request

from infra.rehearsal import shapes
from infra.rehearsal.api import USER, ApiError, Document, Mlflow, ask, body, caller, flag, invalid, now, text
from infra.rehearsal.files import Files
from infra.rehearsal.privileges import SECURABLE, Privileges
from infra.rehearsal.store import Store

METASTORE = "00000000-0000-0000-0000-000000000001"

_LONGEST_NAME = 255
"""Of what the catalogs hold (docs.databricks.com, "Names")."""
_CHANGED = ("comment", "owner", "properties", "enable_predictive_optimization")
"""What an update may change beside the name."""
_OF_THE_WORKSPACE = ("users", "admins")
"""Groups of each workspace, which Unity Catalog does not know (docs.databricks.com, "Principal")."""
_KINDS = {securable: kind for kind, securable in SECURABLE.items()}
_MADE = ("schemas", "volumes", "models")
"""What a request makes; a catalog is there once it is named."""
_DATA = ("ALL_PRIVILEGES", "APPLY_TAG", "MANAGE", "MODIFY", "SELECT")
_VOLUME = ("ALL_PRIVILEGES", "APPLY_TAG", "MANAGE", "READ_VOLUME", "WRITE_VOLUME")
_FUNCTION = ("ALL_PRIVILEGES", "APPLY_TAG", "CREATE_MODEL_VERSION", "EXECUTE", "MANAGE")
_CREATE = tuple(f"CREATE_{what}" for what in ("FUNCTION", "MATERIALIZED_VIEW", "MODEL", "TABLE", "VOLUME"))
_OTHER = ("EXTERNAL_USE_SCHEMA", "REFRESH", "USE_SCHEMA")
_SCHEMA = tuple(sorted({*_DATA, *_VOLUME, *_FUNCTION, *_CREATE, *_OTHER}))
USED: Mapping[str, tuple[str, ...]] = {
    "catalogs": ("USE_CATALOG", "BROWSE"),
    "schemas": ("USE_SCHEMA", "MANAGE"),
    "volumes": ("READ_VOLUME", "WRITE_VOLUME", "MANAGE"),
    "models": ("EXECUTE", "CREATE_MODEL_VERSION", "MANAGE"),
}
"""Privileges by which something is seen."""
PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "catalog": tuple(sorted({*_SCHEMA, "BROWSE", "CREATE_SCHEMA", "USE_CATALOG"})),
    "schema": _SCHEMA,
    "table": _DATA,
    "volume": _VOLUME,
    # Unity Catalog counts a registered model among the functions.
    "function": _FUNCTION,
}


@dataclass(frozen=True)
class Catalog:
    """What is in the catalogs."""

    store: Store
    files: Files
    tables: Path
    """The folder of the tables that tasks write."""
    mlflow: Mlflow
    privileges: Privileges

    def name_catalog(self, name: str) -> None:
        """Note that a catalog was named, which makes it one."""
        with self.store.lock:
            if self.store.get("catalogs", name.lower()) is None:
                self.store.put("catalogs", name.lower(), self._stamped({"name": name}, name, USER))

    @staticmethod
    def _stamped(document: Document, full_name: str, owner: str) -> Document:
        made = {"created_at": now(), "created_by": owner, "updated_at": now(), "updated_by": owner}
        # What a request can't set comes last.
        return document | {"owner": owner, "metastore_id": METASTORE, "full_name": full_name} | made

    def get(self, kind: str, full_name: str) -> Document:
        """A catalog, schema, volume or model."""
        found = self.store.get(kind, full_name.lower())
        if found is None:
            raise _absent(kind.removesuffix("s").title(), full_name)
        return found

    def create(self, kind: str, document: Document | None = None) -> Document:
        """Make the schema, volume or model that is described: by the request, where nothing else is given."""
        document = document or body()
        levels = ("catalog_name", "name") if kind == "schemas" else ("catalog_name", "schema_name", "name")
        named = {key: _name(document, key) for key in levels}
        if kind == "volumes" and document.get("volume_type") != "MANAGED":
            raise invalid("volume_type: only MANAGED volumes can be rehearsed")
        if kind == "volumes" and document.get("storage_location"):
            # databricks/cli, libs/testserver/volumes.go.
            raise invalid("CreateVolume storage_location can not be provided.")
        full_name = ".".join(named.values())
        _check_texts(document)
        self.name_catalog(named["catalog_name"])
        if kind != "schemas":
            self.get("schemas", full_name.rpartition(".")[0])
        self.privileges.need_to_create(kind, full_name)
        ids = {"schemas": "schema_id", "volumes": "volume_id"}
        own = {ids[kind]: str(self.store.number())} if kind in ids else {"storage_location": ""}
        with self.store.lock:
            self._check_free(kind, full_name)
            if kind == "models":
                described = {"name": full_name, "description": document.get("comment", "")}
                ask(self.mlflow, "POST", "registered-models/create", described | {"tags": document.pop("tags", [])})
            made = self._stamped(document | named | own, full_name, caller())
            self.store.put(kind, full_name, made)
        return made

    def _check_free(self, kind: str, full_name: str) -> None:
        if self.store.get(kind, full_name.lower()):
            what = kind.removesuffix("s").title()
            raise ApiError(400, f"{what.upper()}_ALREADY_EXISTS", f"{what} '{full_name}' already exists")

    def update(self, kind: str, full_name: str, given: Document | None = None) -> Document:
        """Change what is given, or what the request holds, of a schema, volume or model; a new name moves it."""
        given, old = given or body(), self.get(kind, full_name)
        _check_texts(given)
        new = old | {"updated_at": now()} | {key: given[key] for key in _CHANGED if key in given}
        name = _name(given, "new_name") if "new_name" in given else old["name"]
        if name != old["name"] and kind == "volumes":
            raise invalid("a volume can't be renamed here")
        if name != old["name"] and kind == "schemas" and self.held(full_name):
            raise invalid("a schema that holds something can't be renamed here")
        with self.store.lock:
            if name != old["name"]:
                new["name"], new["full_name"] = name, f"{old['full_name'].rpartition('.')[0]}.{name}"
                self._check_free(kind, new["full_name"])
                if kind == "schemas":
                    self.privileges.need_to_create(kind, new["full_name"])
                if kind == "models":
                    self._rename_model(old["full_name"], new["full_name"])
                self._move_grants(SECURABLE[kind], old["full_name"], new["full_name"])
                self.store.delete(kind, full_name.lower())
            self.store.put(kind, new["full_name"].lower(), new)
        return new

    def _rename_model(self, old: str, new: str) -> None:
        ask(self.mlflow, "POST", "registered-models/rename", {"name": old, "new_name": new})
        self.files.rename_model(old, new)
        for number in self._versions(old):
            self._move("versions", f"{old}/{number}", f"{new}/{number}")

    def _move_grants(self, securable: str, old: str, new: str) -> None:
        self._move("grants", f"{securable}/{old}".lower(), f"{securable}/{new}".lower())

    def _move(self, kind: str, old: str, new: str) -> None:
        kept = self.store.get(kind, old)
        if kept is not None:
            self.store.delete(kind, old)
            self.store.put(kind, new, kept)

    def _versions(self, model: str) -> list[str]:
        keys = (key.rpartition("/") for key, _ in self.store.items("versions"))
        return [number for name, _, number in keys if name == model]

    def delete(self, kind: str, full_name: str) -> Document:
        """Remove a volume or model, or a schema that holds nothing or is forced; and the grants on it."""
        name = self.get(kind, full_name)["full_name"]
        if kind == "schemas":
            self._empty(name)
        elif kind == "models":
            ask(self.mlflow, "DELETE", "registered-models/delete", {"name": name})
            self.files.drop_model(name)
            for number in self._versions(name):
                self.store.delete("versions", f"{name}/{number}")
        else:
            self.files.drop_volume(name.lower())
        self.store.delete(kind, name.lower())
        self.store.delete("grants", f"{SECURABLE[kind]}/{name.lower()}")
        return {}

    def held(self, schema: str) -> list[tuple[str, str]]:
        """What is in a schema, by kind and full name."""
        kinds = ("volumes", "models")
        found = [(kind, name) for kind in kinds for name, _ in self.store.items(kind)]
        folder = self.tables.joinpath(*schema.split("."))
        found += [("tables", f"{schema}.{table.name}") for table in folder.glob("*")]
        return [(kind, name) for kind, name in found if name.lower().startswith(f"{schema.lower()}.")]

    def _empty(self, schema: str) -> None:
        held = self.held(schema)
        if held and not flag(request.args.get("force")):
            names = ", ".join(name for _, name in held)
            raise ApiError(400, "INVALID_STATE", f"Cannot delete the schema '{schema}' as it is not empty: {names}")
        for kind, name in held:
            if kind == "tables":
                shutil.rmtree(self.tables.joinpath(*name.split(".")))
                self.store.delete("grants", f"table/{name.lower()}")
            else:
                self.delete(kind, name)

    def grants(self, kind: str, full_name: str) -> Document:
        """Who has which privileges on something."""
        if kind == "catalog":
            self.name_catalog(_name({"catalog": full_name}, "catalog"))
        elif kind in _KINDS:
            self.get(_KINDS[kind], full_name)
        elif kind == "table":
            if not self.tables.joinpath(*full_name.split(".")).is_dir():
                raise _absent("Table", full_name)
        else:
            raise invalid(f"securable type '{kind}' is not supported here; accepted: {', '.join(PRIVILEGES)}")
        return self.store.get("grants", f"{kind}/{full_name.lower()}") or {}

    def change_grants(self, kind: str, full_name: str, changes: list[Document]) -> Document:
        """Add and take away privileges."""
        with self.store.lock:
            held = self.grants(kind, full_name)
            for change in changes:
                principal = text(change, "principal")
                if principal in _OF_THE_WORKSPACE:
                    raise ApiError(404, "PRINCIPAL_DOES_NOT_EXIST", f"Could not find principal with name {principal}")
                added, removed = change.get("add") or [], change.get("remove") or []
                if not {*added}.isdisjoint(removed):
                    # databricks/cli, libs/testserver/grants.go.
                    raise invalid(f"Duplicate privileges to add and delete for principal {principal}.")
                for privilege in added:
                    if privilege not in PRIVILEGES[kind]:
                        where = f"[{full_name}:{kind.upper()}]"
                        raise invalid(f"Privilege {privilege} is not applicable to this entity {where}")
                held[principal] = sorted({*held.get(principal, []), *added} - {*removed})
            held = {principal: privileges for principal, privileges in held.items() if privileges}
            self.store.put("grants", f"{kind}/{full_name.lower()}", held)
        return held


def _name(given: Mapping[str, object], key: str) -> str:
    """A name that Unity Catalog takes; it keeps names in lower case."""
    name = text(given, key)
    if any(character in name for character in ". /") or not name.isprintable():
        raise invalid(f"{key}: '{name:.300}' is not a valid name: it holds a period, a space or a slash")
    if len(name.encode()) > _LONGEST_NAME:
        raise invalid(f"{key}: '{name:.40}...' is not a valid name: it has more than {_LONGEST_NAME} characters")
    return name.lower()


def _check_texts(given: Mapping[str, object]) -> None:
    for key in ("comment", "owner"):
        if not isinstance(given.get(key, ""), str):
            raise invalid(f"{key}: accepted: text")


def _absent(what: str, name: str) -> ApiError:
    return ApiError(404, f"{what.upper()}_DOES_NOT_EXIST", f"{what} '{name}' does not exist.")


def blueprint(catalog: Catalog) -> Blueprint:
    """The endpoints."""
    routes = Blueprint("unity-catalog", __name__, url_prefix="/api/2.1/unity-catalog")

    @routes.get("/current-metastore-assignment")
    def assignment() -> Document:
        return {"metastore_id": METASTORE, "workspace_id": 1, "default_catalog_name": "main"}

    @routes.get("/metastore_summary")
    def summary() -> Document:
        return {"metastore_id": METASTORE, "name": "rehearsal", "owner": USER, "cloud": "aws", "region": "local"}

    @routes.get("/catalogs")
    def list_catalogs() -> Document:
        may, every = catalog.privileges.may, catalog.store.all("catalogs")
        return {"catalogs": [one for one in every if may("catalogs", one["name"], *USED["catalogs"])]}

    @routes.get("/catalogs/<name>")
    def get_catalog(name: str) -> Document:
        catalog.name_catalog(name)
        catalog.privileges.need("catalogs", name, *USED["catalogs"])
        return catalog.get("catalogs", name)

    @routes.get("/tables")
    def list_tables() -> Document:
        return {"tables": []}

    kinds = f"/<any({', '.join(_MADE)}):kind>"

    @routes.get(kinds)
    def list_(kind: str) -> Document:
        wanted = {key: request.args[key].lower() for key in ("catalog_name", "schema_name") if key in request.args}
        found = catalog.store.all(kind)
        shown = [
            one
            for one in found
            if all(str(one.get(key, "")).lower() == value for key, value in wanted.items())
            and catalog.privileges.may(kind, one["full_name"], *USED[kind])
        ]
        return {"registered_models" if kind == "models" else kind: shown}

    routes.post(kinds)(catalog.create)

    @routes.route(f"{kinds}/<full_name>", methods=["GET", "PATCH", "DELETE"])
    def one(kind: str, full_name: str) -> Document:
        catalog.privileges.need(kind, full_name, *(USED[kind] if request.method == "GET" else ()))
        do = {"PATCH": catalog.update, "DELETE": catalog.delete}.get(request.method, catalog.get)
        return do(kind, full_name)

    _add_grants(routes, catalog)
    return routes


def _owned(kind: str, name: str) -> tuple[str, str]:
    """What decides who grants: the thing itself, or the schema of a table, which nobody here owns."""
    if kind == "table":
        return "schemas", name.rpartition(".")[0]
    return _KINDS[kind], name


def _add_grants(routes: Blueprint, catalog: Catalog) -> None:
    def seen(kind: str, name: str) -> Document:
        """All grants for who may grant; for others their own."""
        held = catalog.grants(kind, name)
        if catalog.privileges.may_grant(*_owned(kind, name)):
            return held
        return {principal: held[principal] for principal in catalog.privileges.mine() if principal in held}

    @routes.get("/permissions/<kind>/<name>")
    def get_grants(kind: str, name: str) -> Document:
        return _assignments(seen(kind, name))

    @routes.patch("/permissions/<kind>/<name>")
    def change_grants(kind: str, name: str) -> Document:
        given = shapes.shaped(body(), shapes.GRANTS)
        catalog.grants(kind, name)
        catalog.privileges.need_to_grant(*_owned(kind, name))
        return _assignments(catalog.change_grants(kind, name, given.get("changes", [])))

    @routes.get("/effective-permissions/<kind>/<name>")
    def effective(kind: str, name: str) -> Document:
        held = seen(kind, name)
        shown = {principal: [{"privilege": one} for one in privileges] for principal, privileges in held.items()}
        return {"privilege_assignments": [], **_assignments(shown)}


def _assignments(held: Document) -> Document:
    entries = [{"principal": principal, "privileges": privileges} for principal, privileges in held.items()]
    return {"privilege_assignments": entries} if entries else {}
