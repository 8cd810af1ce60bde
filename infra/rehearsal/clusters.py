"""Instance pools, and clusters that a run can name: kept and shown, none has machines."""

from __future__ import annotations

from flask import Blueprint, request

from infra.rehearsal import shapes
from infra.rehearsal.access import Access
from infra.rehearsal.api import Document, body, caller, text, versioned
from infra.rehearsal.store import Store

NODE_TYPES = ("i3.xlarge", "m5d.large", "Standard_DS3_v2", "n2-highmem-4")
SPARK_VERSIONS = {
    "17.3.x-scala2.13": "17.3 LTS (includes Apache Spark 4.0.0, Scala 2.13)",
    "17.3.x-cpu-ml-scala2.13": "17.3 LTS ML (includes Apache Spark 4.0.0, Scala 2.13)",
    "16.4.x-scala2.12": "16.4 LTS (includes Apache Spark 3.5.2, Scala 2.12)",
    "16.4.x-cpu-ml-scala2.12": "16.4 LTS ML (includes Apache Spark 3.5.2, Scala 2.12)",
}
_DISKS = {"local_disks": 1, "local_disk_size_gb": 75, "local_nvme_disks": 0, "local_nvme_disk_size_gb": 0}
_EDITED = (
    "instance_pool_name",
    "node_type_id",
    "min_idle_instances",
    "max_capacity",
    "idle_instance_autotermination_minutes",
    "custom_tags",
)
"""What an edit changes of an instance pool (databricks-sdk, ``EditInstancePool``)."""


def pools(store: Store, access: Access) -> Blueprint:
    """The endpoints of instance pools."""
    routes = versioned("instance-pools", "2.0")
    _keep(routes, store, access, kind="pools", key="instance_pool_id", delete="/delete")

    @routes.post("/create")
    def create_pool() -> Document:
        settings = shapes.shaped(body(), shapes.POOL)
        name = text(settings, "instance_pool_name")
        text(settings, "node_type_id")
        pool_id = f"0101-000000-pool{store.number()}-pool-rehearsal"
        tags = {"Vendor": "Databricks", "DatabricksInstancePoolId": pool_id, "DatabricksInstancePoolCreatorId": "1"}
        # Databricks replaces what a tag can't hold; the name is shown as it was sent.
        tags["DatabricksInstancePoolName"] = name
        stats = dict.fromkeys(("used_count", "idle_count", "pending_used_count", "pending_idle_count"), 0)
        own = {"instance_pool_id": pool_id, "state": "ACTIVE", "stats": stats, "status": {}, "default_tags": tags}
        store.put("pools", pool_id, settings | own)
        access.created("instance-pools", pool_id)
        return {"instance_pool_id": pool_id}

    @routes.post("/edit")
    def edit_pool() -> Document:
        settings = shapes.shaped(body(), shapes.POOL)
        old = store.find("pools", text(settings, "instance_pool_id"))
        access.need("CAN_MANAGE", routes.name, old["instance_pool_id"])
        text(settings, "instance_pool_name")
        kept = {key: value for key, value in old.items() if key not in _EDITED}
        store.put("pools", old["instance_pool_id"], kept | {key: settings[key] for key in _EDITED if key in settings})
        return {}

    return routes


def clusters(store: Store, access: Access) -> Blueprint:
    """The endpoints of clusters."""
    routes = versioned("clusters", "2.0", "2.1")
    _keep(routes, store, access, kind="clusters", key="cluster_id", delete="/permanent-delete")

    @routes.get("/list-node-types")
    def node_types() -> Document:
        kind = {"category": "General Purpose", "description": "", "is_deprecated": False}
        shared = kind | {"memory_mb": 31232, "num_cores": 4.0, "num_gpus": 0}
        types = [(name, {"instance_type_id": name}) for name in NODE_TYPES]
        return {
            "node_types": [
                shared | {"node_type_id": name, **of, "node_instance_type": of | _DISKS} for name, of in types
            ]
        }

    @routes.get("/spark-versions")
    def spark_versions() -> Document:
        return {"versions": [{"key": key, "name": name} for key, name in SPARK_VERSIONS.items()]}

    @routes.post("/create")
    def create_cluster() -> Document:
        settings = body()
        text(settings, "spark_version")
        cluster_id = f"0101-000000-rehearsal{store.number()}"
        own = {"cluster_id": cluster_id, "state": "RUNNING", "state_message": "", "creator_user_name": caller()}
        store.put("clusters", cluster_id, settings | own)
        access.created("clusters", cluster_id)
        return {"cluster_id": cluster_id}

    return routes


def _keep(routes: Blueprint, store: Store, access: Access, *, kind: str, key: str, delete: str) -> None:
    """The endpoints that are alike for pools and clusters."""

    @routes.get("/get")
    def get() -> Document:
        found = store.find(kind, text(request.args, key))
        access.need("CAN_ATTACH_TO", routes.name, found[key])
        return found

    @routes.get("/list")
    def list_() -> Document:
        seen = [one for one in store.all(kind) if access.may("CAN_ATTACH_TO", routes.name, one[key])]
        return {routes.name.replace("-", "_"): seen}

    @routes.post(delete)
    def forget() -> Document:
        gone = store.find(kind, text(body(), key))[key]
        access.need("CAN_MANAGE", routes.name, gone)
        store.delete(kind, gone)
        store.delete("permissions", f"{routes.name}/{gone}")
        return {}
