"""The clusters of the jobs: the table ``[compute]`` of an environment file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from ml_pipeline.settings import references
from ml_pipeline.settings.types import Count, NonEmpty, Positive, Settings, exactly_one, matching

TagName = Annotated[
    str,
    matching("[A-Za-z0-9 _.:/=+@-]{1,127}", "up to 127 letters, digits, blanks and _.:/=+@-, such as 'cost centre'"),
]
SparkName = Annotated[
    str, matching(r"spark\.[A-Za-z0-9_.:/-]+", "the name of a Spark property, such as 'spark.sql.shuffle.partitions'")
]
VariableName = Annotated[
    str, matching("[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable, such as 'HTTPS_PROXY'")
]
_TAKEN_SPARK = ("spark.master", "spark.databricks.cluster.profile")
_TAKEN_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PATH", "HOME", "PYTHONPATH", "SPARK_HOME")
_TAKEN_BEGINNINGS = ("DATABRICKS_", "ML_PIPELINE_")
_TAKEN_TAGS = (
    *("project", "environment", "instance", "deployment", "commit"),
    *("ResourceClass", "Name", "Vendor", "Creator", "ClusterName", "ClusterId", "RunName", "JobId"),
)
"""Tags that the stacks set, and those that Databricks does (docs.databricks.com, "Use tags to attribute usage")."""


class Pool(Settings):
    """An instance pool, which keeps machines between tasks."""

    node_type_id: NonEmpty
    """Type of the machines, such as ``m6id.xlarge``."""
    min_idle_instances: Count = 0
    """Number of machines that stay idle in the pool."""
    max_capacity: Positive = 10
    """Greatest number of machines."""
    idle_instance_autotermination_minutes: Annotated[int, Field(ge=0, le=10_000)] = 15
    """Minutes until an idle machine ends."""
    availability: Literal["on_demand", "spot"] = "on_demand"
    """``spot`` machines are cheaper, but the cloud may take them back, which ends the runs on them."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.min_idle_instances > self.max_capacity:
            raise ValueError(f"min_idle_instances {self.min_idle_instances} is above max_capacity {self.max_capacity}")
        return self


class Compute(Settings):
    """The clusters of the jobs: either from a pool or of machines of one type."""

    model_config = ConfigDict(json_schema_extra=exactly_one("node_type_id", "pool"))

    spark_version: Annotated[
        str,
        matching(
            r"[0-9]+\.([0-9]+|x)\.x?-?[a-z0-9.-]*scala2\.1[23]",
            "a runtime with its Scala, such as '17.3.x-cpu-ml-scala2.13'",
        ),
    ]
    """Databricks Runtime, such as ``17.3.x-cpu-ml-scala2.13``."""
    node_type_id: NonEmpty | None = None
    """Type of the machines, if there is no pool."""
    pool: Pool | None = None
    """Instance pool of the machines."""
    num_workers: Count = 0
    """Number of machines beside the driver; 0 is a cluster of one machine."""
    policy_id: NonEmpty | None = None
    """Id of the cluster policy."""
    spark_conf: dict[SparkName, NonEmpty] = {}
    """Spark properties of the clusters; a secret is ``{{secrets/SCOPE/KEY}}``."""
    spark_env_vars: dict[VariableName, NonEmpty] = {}
    """Environment variables of the clusters; a secret is ``{{secrets/SCOPE/KEY}}``."""
    tags: dict[TagName, NonEmpty] = {}
    """Tags of the pool, or of the clusters if there is no pool, for the cloud's bill."""

    @field_validator("tags")
    @classmethod
    def _free(cls, tags: dict[str, str]) -> dict[str, str]:
        for name in tags:
            if name in _TAKEN_TAGS:
                raise ValueError(f"names '{name}', which the deployment or Databricks sets; accepted: other names")
        return tags

    @field_validator("spark_conf", "spark_env_vars")
    @classmethod
    def _open(cls, values: dict[str, str]) -> dict[str, str]:
        for name, value in values.items():
            if name in (*_TAKEN_SPARK, *_TAKEN_VARIABLES) or name.startswith(_TAKEN_BEGINNINGS):
                raise ValueError(f"names '{name}', which the deployment or Databricks sets; accepted: other names")
            if not references.keeps_its_secret(name, value):
                # The value may be a secret: it is not repeated.
                raise ValueError(
                    f"'{name}': accepted: a reference to a secret, '{{{{secrets/SCOPE/KEY}}}}', and nothing else"
                )
        return values

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.node_type_id is None) == (self.pool is None):
            both = "both node_type_id and pool" if self.pool else "neither node_type_id nor pool"
            raise ValueError(f"has {both}; accepted: exactly one of them")
        return self
