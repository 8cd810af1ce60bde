"""Clusters: kept and shown, so that a run can name one; none has machines."""

from __future__ import annotations

from flask import Blueprint, request

from infra.rehearsal.api import USER, Document, body, missing, text, versioned
from infra.rehearsal.store import Store

NODE_TYPES = ("i3.xlarge", "m5d.large", "Standard_DS3_v2", "n2-highmem-4")
SPARK_VERSIONS = {
    "17.3.x-scala2.13": "17.3 LTS (includes Apache Spark 4.0.0, Scala 2.13)",
    "17.3.x-cpu-ml-scala2.13": "17.3 LTS ML (includes Apache Spark 4.0.0, Scala 2.13)",
    "16.4.x-scala2.12": "16.4 LTS (includes Apache Spark 3.5.2, Scala 2.12)",
    "16.4.x-cpu-ml-scala2.12": "16.4 LTS ML (includes Apache Spark 3.5.2, Scala 2.12)",
}
_DISKS = {"local_disks": 1, "local_disk_size_gb": 75, "local_nvme_disks": 0, "local_nvme_disk_size_gb": 0}


def cluster(store: Store, cluster_id: str) -> Document:
    """A cluster.

    Raises:
        ApiError: there is none with this id.
    """
    found = store.get("clusters", cluster_id)
    if found is None:
        raise missing(f"Cluster {cluster_id} does not exist")
    return found


def blueprint(store: Store) -> Blueprint:
    """The endpoints."""
    routes = versioned("clusters", "2.0", "2.1")

    @routes.get("/list-node-types")
    def node_types() -> Document:
        shared = {"category": "General Purpose", "description": "", "is_deprecated": False}
        size = {"memory_mb": 31232, "num_cores": 4.0, "num_gpus": 0}
        named = [{"node_type_id": name, "instance_type_id": name} for name in NODE_TYPES]
        disks = [{"node_instance_type": {"instance_type_id": name, **_DISKS}} for name in NODE_TYPES]
        return {"node_types": [shared | size | one | two for one, two in zip(named, disks, strict=True)]}

    @routes.get("/spark-versions")
    def spark_versions() -> Document:
        return {"versions": [{"key": key, "name": name} for key, name in SPARK_VERSIONS.items()]}

    @routes.post("/create")
    def create_cluster() -> Document:
        settings = body()
        text(settings, "spark_version")
        cluster_id = f"0101-000000-rehearsal{store.number()}"
        own = {"cluster_id": cluster_id, "state": "RUNNING", "state_message": "", "creator_user_name": USER}
        store.put("clusters", cluster_id, settings | own)
        return {"cluster_id": cluster_id}

    @routes.get("/get")
    def get_cluster() -> Document:
        return cluster(store, text(dict(request.args), "cluster_id"))

    @routes.get("/list")
    def list_clusters() -> Document:
        return {"clusters": store.all("clusters")}

    @routes.post("/permanent-delete")
    def delete_cluster() -> Document:
        store.delete("clusters", cluster(store, text(body(), "cluster_id"))["cluster_id"])
        return {}

    return routes
