"""Instance pools: kept and shown, none has machines."""

from __future__ import annotations

from flask import Blueprint, request

from infra.rehearsal import permissions
from infra.rehearsal.api import Document, body, missing, text
from infra.rehearsal.store import Store


def pool(store: Store, pool_id: str) -> Document:
    """An instance pool.

    Raises:
        ApiError: there is none with this id.
    """
    found = store.get("pools", pool_id)
    if found is None:
        raise missing(f"Can't find an instance pool with id: {pool_id}")
    return found


def blueprint(store: Store) -> Blueprint:
    """The endpoints."""
    routes = Blueprint("pools", __name__, url_prefix="/api/2.0")

    @routes.post("/instance-pools/create")
    def create_pool() -> Document:
        settings = body()
        name = text(settings, "instance_pool_name")
        text(settings, "node_type_id")
        pool_id = f"0101-000000-pool{store.number()}-pool-rehearsal"
        tags = {"Vendor": "Databricks", "DatabricksInstancePoolId": pool_id, "DatabricksInstancePoolCreatorId": "1"}
        # Databricks replaces what a tag can't hold; the name is shown as it was sent.
        tags["DatabricksInstancePoolName"] = name
        stats = dict.fromkeys(("used_count", "idle_count", "pending_used_count", "pending_idle_count"), 0)
        own = {"instance_pool_id": pool_id, "state": "ACTIVE", "stats": stats, "status": {}, "default_tags": tags}
        store.put("pools", pool_id, settings | own)
        return {"instance_pool_id": pool_id}

    @routes.post("/instance-pools/edit")
    def edit_pool() -> Document:
        settings = body()
        old = pool(store, text(settings, "instance_pool_id"))
        text(settings, "instance_pool_name")
        own = {key: old[key] for key in ("instance_pool_id", "state", "stats", "status", "default_tags")}
        store.put("pools", old["instance_pool_id"], settings | own)
        return {}

    @routes.post("/instance-pools/delete")
    def delete_pool() -> Document:
        pool_id = pool(store, text(body(), "instance_pool_id"))["instance_pool_id"]
        store.delete("pools", pool_id)
        permissions.forget(store, "instance-pools", pool_id)
        return {}

    @routes.get("/instance-pools/get")
    def get_pool() -> Document:
        return pool(store, text(dict(request.args), "instance_pool_id"))

    @routes.get("/instance-pools/list")
    def list_pools() -> Document:
        return {"instance_pools": store.all("pools")}

    return routes
