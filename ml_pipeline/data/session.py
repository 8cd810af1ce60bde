"""The Spark session, and the folder that holds the tables of this machine."""

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.data import local_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_LOCK = threading.Lock()


def local_state() -> Path | None:
    """The folder that stands for the workspace on this machine; ``None`` on a Databricks cluster."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return None
    return Path(os.environ.get("ML_PIPELINE_STATE") or ".state").resolve()


def spark() -> SparkSession:
    """The Spark session: the cluster's on Databricks, else one of our own. Safe to call from several threads."""
    with _LOCK:
        return _spark()


@functools.cache
def _spark() -> SparkSession:
    state = local_state()
    if state is not None:
        return local_spark.create(state)
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()


def close() -> None:
    """Stop the session, if one is open."""
    with _LOCK:
        if _spark.cache_info().currsize:
            _spark().stop()
            _spark.cache_clear()
