"""Machines for job clusters, drawn from a pool that keeps some warm between tasks, or started for each run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.bindings import (
    Construct,
    InstancePool,
    InstancePoolAwsAttributes,
    InstancePoolAzureAttributes,
    InstancePoolGcpAttributes,
    JobJobClusterNewCluster,
)
from ml_pipeline.settings.compute import Compute


class Machines(Construct):
    """Where job clusters get their machines; makes the pool, where there is one."""

    def __init__(self, scope: Construct, *, name: str, compute: Compute, cloud: str, tags: Mapping[str, str]) -> None:
        super().__init__(scope, "machines")
        self._compute = compute
        self._tags = {**tags, **compute.tags}
        self.pool: InstancePool | None = None
        if compute.pool:
            self.pool = InstancePool(
                self,
                "pool",
                instance_pool_name=name,
                node_type_id=compute.pool.node_type_id,
                min_idle_instances=compute.pool.min_idle_instances,
                max_capacity=compute.pool.max_capacity,
                idle_instance_autotermination_minutes=compute.pool.idle_instance_autotermination_minutes,
                # What is there already need not be fetched when a cluster starts.
                preloaded_spark_versions=[compute.spark_version],
                custom_tags=self._tags,
                **_availability(cloud, spot=compute.pool.availability == "spot"),
            )

    def cluster(self) -> JobJobClusterNewCluster:
        """A job cluster of these machines."""
        single = self._compute.num_workers == 0
        pool = self.pool.id if self.pool else None
        # Databricks' own way to say that a cluster has no worker.
        alone = {"spark.databricks.cluster.profile": "singleNode", "spark.master": "local[*]"}
        tags = {**({} if self.pool else self._tags), **({"ResourceClass": "SingleNode"} if single else {})}
        return JobJobClusterNewCluster(
            spark_version=self._compute.spark_version,
            num_workers=self._compute.num_workers,
            # Photon speeds up SQL, not Python: here it would only cost.
            runtime_engine="STANDARD",
            # Unity Catalog and the ML runtime want a cluster of one user.
            data_security_mode="SINGLE_USER",
            spark_conf={**(alone if single else {}), **self._compute.spark_conf} or None,
            spark_env_vars=dict(self._compute.spark_env_vars) or None,
            custom_tags=tags or None,
            policy_id=self._compute.policy_id,
            instance_pool_id=pool,
            driver_instance_pool_id=pool,
            node_type_id=self._compute.node_type_id,
        )


def _availability(cloud: str, *, spot: bool) -> dict[str, Any]:
    """The availability of a pool's machines, always declared: Databricks' default on AWS and Azure is spot."""
    if cloud == "azure":
        return {
            "azure_attributes": InstancePoolAzureAttributes(availability="SPOT_AZURE" if spot else "ON_DEMAND_AZURE")
        }
    if cloud == "gcp":
        availability = "PREEMPTIBLE_GCP" if spot else "ON_DEMAND_GCP"
        return {"gcp_attributes": InstancePoolGcpAttributes(gcp_availability=availability)}
    return {"aws_attributes": InstancePoolAwsAttributes(availability="SPOT" if spot else "ON_DEMAND")}
