"""How often each step reads its rows, by the metrics that Spark keeps of the plans that it ran."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ml_pipeline.data import tables
from ml_pipeline.registry import models
from tests.ml_pipeline.conftest import MODEL, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

ROWS = 12_000
CHECKS = {"columns": {"a": {"required": True, "maximum": 142.0}}, "unique": ["id"]}
SHADOW = {"mode": "shadow"}


class Meter:
    """What Spark did since the last look: its status store keeps it, with or without a user interface."""

    def __init__(self, spark: SparkSession) -> None:
        self._context: Any = spark.sparkContext._jsc.sc()
        self._plans: Any = spark._jsparkSession.sharedState().statusStore()
        self._last = self._now()

    def _now(self) -> tuple[int, int]:
        self._context.listenerBus().waitUntilEmpty()
        plans = [plan.executionId() for plan in each(self._plans.executionsList())]
        jobs = [job.jobId() for job in each(self._context.statusStore().jobsList(None))]
        return max(plans, default=-1), max(jobs, default=-1)

    def look(self) -> tuple[list[int], int]:
        """For each scan of columns of a file the rows that it gave, the greatest first; and how many jobs ran."""
        (plan, job), now = self._last, self._now()
        self._last = now
        scans = [rows for execution in range(plan + 1, now[0] + 1) for rows in self._scans(execution)]
        return sorted(scans, reverse=True), now[1] - job

    def _scans(self, execution: int) -> Iterator[int]:
        values = self._plans.executionMetrics(execution)
        for node in each(self._plans.planGraph(execution).allNodes()):
            # A scan of no column reads only the files' footers.
            if node.name().startswith(("Scan parquet", "Scan csv")) and "ReadSchema: struct<>" not in node.desc():
                metrics = {metric.name(): metric.accumulatorId() for metric in each(node.metrics())}
                rows = values.get(metrics["number of output rows"])
                # What a cache gives has no rows of its own.
                if rows.isDefined() and rows.get() != "0":
                    yield int(rows.get().replace(",", ""))


def each(sequence: Any) -> Iterator[Any]:
    return (sequence.apply(place) for place in range(sequence.size()))


@pytest.fixture
def parquet(spark: SparkSession, tmp_path: Path) -> str:
    features = [f"id * {factor} % 997 / 7D AS {name}" for name, factor in (("a", 331), ("b", 577), ("c", 709))]
    rows = spark.range(0, ROWS, 1, 2).selectExpr("id", *features, "CAST(id * 331 % 997 > 500 AS INT) AS target")
    rows.write.parquet(str(tmp_path / "rows.parquet"))
    return str(tmp_path / "rows.parquet")


@pytest.fixture
def step(state: State, parquet: str, spark: SparkSession) -> Callable[..., tuple[list[int], int]]:
    """Run a step, and look at what Spark did for it."""
    meter = Meter(spark)

    def run(name: str, **changes: Any) -> tuple[list[int], int]:
        settings = {"source": {"parquet": parquet}, "key": ["id"], "threshold": 0.0, "monitoring": {}}
        meter.look()
        state.step(name, **{**settings, **changes})
        return meter.look()

    return run


def rows_of(table: str) -> int:
    return tables.read(f"local.test.{table}").count()


def test_preparation_reads_once_to_judge_and_once_for_each_table(
    step: Callable[..., tuple[list[int], int]], parquet: str, spark: SparkSession, tmp_path: Path
) -> None:
    scans, jobs = step("split")
    assert scans == [ROWS] * 4, "once for the key, once to judge, and once for each table"
    assert jobs <= 12
    scans, jobs = step("split")
    assert scans == [ROWS] * 2, "where nothing changed, nothing is read for a write"
    assert jobs <= 6
    scans, jobs = step("prepare")
    assert scans == [rows_of("train_validation")] * 3
    assert jobs <= 14

    spark.read.parquet(parquet).write.option("header", True).csv(str(tmp_path / "rows.csv"))
    scans, _ = step("split", source={"csv": str(tmp_path / "rows.csv")}, test_share=0.3)
    assert scans == [ROWS] * 2, "once to tell numbers from text, and once for the rows"


def test_scoring_and_monitoring_read_each_table_once(step: Callable[..., tuple[list[int], int]]) -> None:
    for name in ("split", "prepare", "train", "compare", "validate", "promote"):
        step(name)
    scans, jobs = step("score")
    assert scans == [ROWS]
    assert jobs <= 4
    scans, jobs = step("monitor")
    assert scans == [ROWS, 1]
    assert jobs <= 9
    scans, jobs = step("score", checks=CHECKS)
    assert scans == [ROWS]
    assert jobs <= 9
    models.move_alias("challenger", models.champion(MODEL))
    scans, jobs = step("score", batch_inference=SHADOW)
    assert scans == [ROWS]
    assert jobs <= 13
    scans, jobs = step("score", batch_inference=SHADOW, checks=CHECKS)
    assert scans == [ROWS]
    assert jobs <= 21
    scans, jobs = step("monitor", batch_inference=SHADOW)
    good, bad = rows_of("predictions"), rows_of("quarantine")
    assert scans == [good, good, bad, 1, 1]
    assert jobs <= 30
