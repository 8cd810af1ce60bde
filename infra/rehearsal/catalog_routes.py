"""The endpoints of Unity Catalog."""

from __future__ import annotations

from flask import Blueprint, request

from infra.rehearsal import shapes
from infra.rehearsal.api import USER, Document, body, flag, invalid, text
from infra.rehearsal.catalog import METASTORE, Catalog
from infra.rehearsal.store import Store


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
        return {"catalogs": catalog.store.all("catalogs")}

    @routes.get("/catalogs/<name>")
    def get_catalog(name: str) -> Document:
        catalog.name_catalog(name)
        return catalog.get("catalogs", name)

    _schemas(routes, catalog)
    _volumes(routes, catalog)
    _models(routes, catalog)
    _grants(routes, catalog)
    return routes


def _schemas(routes: Blueprint, catalog: Catalog) -> None:
    @routes.get("/<any(schemas, volumes):kind>")
    def list_(kind: str) -> Document:
        return {kind: _of_schema(catalog.store, kind)}

    @routes.get("/<any(schemas, volumes):kind>/<name>")
    def get(kind: str, name: str) -> Document:
        return catalog.get(kind, name)

    @routes.post("/schemas")
    def create_schema() -> Document:
        given = body()
        return catalog.create(
            "schemas", text(given, "catalog_name"), given | {"schema_id": str(catalog.store.number())}
        )

    @routes.patch("/schemas/<name>")
    def update_schema(name: str) -> Document:
        return catalog.update("schemas", name)

    @routes.delete("/schemas/<name>")
    def delete_schema(name: str) -> Document:
        catalog.delete_schema(name, force=flag(request.args.get("force")))
        return {}


def _volumes(routes: Blueprint, catalog: Catalog) -> None:
    @routes.post("/volumes")
    def create_volume() -> Document:
        given = body()
        parent = f"{text(given, 'catalog_name')}.{text(given, 'schema_name')}"
        if given.get("volume_type") != "MANAGED":
            raise invalid("volume_type: only MANAGED volumes can be rehearsed")
        return catalog.create("volumes", parent, given | {"volume_id": str(catalog.store.number())})

    @routes.patch("/volumes/<name>")
    def update_volume(name: str) -> Document:
        if body().get("new_name"):
            raise invalid("a volume can't be renamed here")
        return catalog.update("volumes", name)

    @routes.delete("/volumes/<name>")
    def delete_volume(name: str) -> Document:
        catalog.delete("volumes", name)
        return {}


def _models(routes: Blueprint, catalog: Catalog) -> None:
    @routes.post("/models")
    def create_model() -> Document:
        given = body()
        parent = f"{text(given, 'catalog_name')}.{text(given, 'schema_name')}"
        model = catalog.create("models", parent, given | {"storage_location": ""})
        # MLflow may have it already: a task registered it before it was declared.
        catalog.mlflow("POST", "registered-models/create", {"name": model["full_name"]})
        return model

    @routes.get("/models")
    def list_models() -> Document:
        return {"registered_models": [_model(model) for model in _of_schema(catalog.store, "models")]}

    @routes.get("/models/<name>")
    def get_model(name: str) -> Document:
        return _model(catalog.get("models", name))

    @routes.patch("/models/<name>")
    def update_model(name: str) -> Document:
        old = catalog.get("models", name)["full_name"]
        new = catalog.update("models", name)
        if new["full_name"] != old:
            catalog.mlflow("POST", "registered-models/rename", {"name": old, "new_name": new["full_name"]})
        return _model(new)

    @routes.delete("/models/<name>")
    def delete_model(name: str) -> Document:
        catalog.delete_model(name)
        return {}


def _grants(routes: Blueprint, catalog: Catalog) -> None:
    @routes.get("/tables")
    def list_tables() -> Document:
        return {"tables": []}

    @routes.get("/permissions/<kind>/<name>")
    def get_grants(kind: str, name: str) -> Document:
        return _assignments(catalog.grants(kind, name))

    @routes.patch("/permissions/<kind>/<name>")
    def change_grants(kind: str, name: str) -> Document:
        given = shapes.shaped(body(), shapes.GRANTS)
        return _assignments(catalog.change_grants(kind, name, given.get("changes", [])))

    @routes.get("/effective-permissions/<kind>/<name>")
    def effective(kind: str, name: str) -> Document:
        entries = _assignments(catalog.grants(kind, name)).get("privilege_assignments", [])
        shown = [
            {"principal": entry["principal"], "privileges": [{"privilege": one} for one in entry["privileges"]]}
            for entry in entries
        ]
        return {"privilege_assignments": shown}


def _of_schema(store: Store, kind: str) -> list[Document]:
    wanted = {key: request.args[key] for key in ("catalog_name", "schema_name") if key in request.args}
    found = store.all(kind)
    return [one for one in found if all(one[key].lower() == value.lower() for key, value in wanted.items())]


def _assignments(held: Document) -> Document:
    entries = [{"principal": principal, "privileges": privileges} for principal, privileges in held.items()]
    return {"privilege_assignments": entries} if entries else {}


def _model(document: Document) -> Document:
    catalog, schema, _ = document["full_name"].split(".")
    return {"catalog_name": catalog, "schema_name": schema} | document
