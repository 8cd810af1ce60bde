"""Clusters: kept and shown, so that a run can name one; none has machines."""

from __future__ import annotations

from flask import Blueprint, request

from infra.rehearsal.api import USER, Document, body, missing, text, versioned
from infra.rehearsal.store import Store

NODE_TYPES = ("i3.xlarge", "m5d.large", "Standard_DS3_v2", "n2-highmem-4")
SPARK_VERSIONS = ("17.3.x-scala2.13", "17.3.x-cpu-ml-scala2.13", "16.4.x-scala2.12", "16.4.x-cpu-ml-scala2.12")


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
        size = {"memory_mb": 31232, "num_cores": 4.0}
        return {"node_types": [shared | size | {"node_type_id": n, "instance_type_id": n} for n in NODE_TYPES]}

    @routes.get("/spark-versions")
    def spark_versions() -> Document:
        return {"versions": [{"key": version, "name": version} for version in SPARK_VERSIONS]}

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
