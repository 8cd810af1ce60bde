from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from ml_pipeline.data import batches, sources, tables
from ml_pipeline.errors import PipelineError
from ml_pipeline.settings.pipeline import Source
from tests import commands, soak

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from tests.ml_pipeline.conftest import State

pytestmark = pytest.mark.slow

NAME = "local.test.batches"
DAY = "2026-01-02"


def rows(spark: SparkSession, count: int = 3, **columns: int) -> DataFrame:
    return spark.range(count).withColumns({name: F.lit(value) for name, value in columns.items()})


def slow(frame: DataFrame, gate: Path) -> DataFrame:
    """Rows that come only once a file is there, in one task: the others of this machine's slots stay free."""

    @F.udf("long")
    def waits(number: int) -> int:
        while not gate.exists():
            time.sleep(0.05)
        return number

    return frame.coalesce(1).withColumn("id", waits("id"))


def write(frame: DataFrame, day: str = DAY, since: int | None = None) -> tables.Written:
    return batches.replace(frame, NAME, column="day", value=day, since=since)


def counts(day: str = DAY) -> list[int]:
    return sorted(row["id"] for row in tables.read(NAME).where(f"day = DATE'{day}'").collect())


def started(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    said: list[object] = []

    def run() -> None:
        try:
            said.append(call())
        except Exception as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, said


@pytest.mark.parametrize("there", [True, False], ids=["again", "first"])
def test_of_two_runs_that_began_together_one_commits(state: State, spark: SparkSession, there: bool) -> None:
    if there:
        write(rows(spark))
    began = tables.latest_version(NAME)
    assert began == (0 if there else -1)
    assert write(rows(spark, 5), since=began).version == began + 1
    with state.refuses(f"{NAME}: another run wrote batch {DAY} while this one was at work", PipelineError):
        write(rows(spark, 7), since=began)
    assert counts() == [0, 1, 2, 3, 4]
    assert write(rows(spark, 2)).rows == 2
    assert counts() == [0, 1]


def test_a_run_whose_batch_is_written_while_it_computes_leaves_it(state: State, spark: SparkSession) -> None:
    write(rows(spark))
    gate = state.folder / "gate"
    thread, said = started(lambda: write(slow(rows(spark, 9), gate)))
    time.sleep(2)
    write(rows(spark, 4))
    gate.touch()
    thread.join()
    assert isinstance(said[0], PipelineError)
    assert "another run wrote batch" in str(said[0])
    assert counts() == [0, 1, 2, 3]


def test_another_batch_with_a_new_column_does_not_get_in_the_way(
    state: State, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    write(rows(spark, day_=1))
    gate = state.folder / "gate"
    thread, said = started(lambda: write(slow(rows(spark, 4, day_=1, another=1), gate)))
    time.sleep(2)
    write(rows(spark, 2, day_=1, new=1), day="2026-01-03")
    gate.touch()
    thread.join()
    assert isinstance(said[0], tables.Written), said
    assert "another batch was written meanwhile; trying again" in capsys.readouterr().out
    assert (counts(), counts("2026-01-03")) == ([0, 1, 2, 3], [0, 1])


def test_a_batch_is_claimed_by_one_run_at_a_time(state: State) -> None:
    with batches.claimed(NAME, DAY):
        with batches.claimed(NAME, "2026-01-03"), batches.claimed("local.test.others", DAY):
            pass
        with (
            state.refuses(rf"another run is at work on batch {DAY} \(process {os.getpid()}\)", PipelineError),
            batches.claimed(NAME, DAY),
        ):
            pass
    with batches.claimed(NAME, DAY):
        pass


@pytest.mark.usefixtures("state")
def test_a_dropped_batch_is_gone_and_no_other(spark: SparkSession) -> None:
    batches.drop(NAME, column="day", value=DAY)
    write(rows(spark))
    write(rows(spark), day="2026-01-03")
    batches.drop(NAME, column="day", value=DAY)
    assert (counts(), counts("2026-01-03")) == ([], [0, 1, 2])
    version = tables.latest_version(NAME)
    batches.drop(NAME, column="day", value=DAY)
    assert tables.latest_version(NAME) == version


@pytest.mark.usefixtures("state")
def test_a_source_table_is_read_at_one_version_whatever_is_written_meanwhile(spark: SparkSession) -> None:
    write(rows(spark))
    read = sources.read_source(Source(table=NAME))
    write(rows(spark, 50), day="2026-01-03")
    assert read.count() == 3


def test_clocks_that_disagree_change_nothing(state: State, spark: SparkSession) -> None:
    write(rows(spark))
    for ahead in (86_400, -86_400):
        log = Path(tables.where(NAME)) / "_delta_log"
        for file in log.iterdir():
            os.utime(file, times=(time.time() + ahead, time.time() + ahead))
        began = tables.latest_version(NAME)
        write(rows(spark, 5), since=began)
        with state.refuses("another run wrote batch", PipelineError):
            write(rows(spark, 6), since=began)
        assert counts() == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("spark")
def test_killed_and_started_twice_from_the_command_line(
    tmp_path: Path, pipeline_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_PIPELINE_STATE", str(tmp_path / "state"))
    made = commands.call("run", str(pipeline_file(schema="local.iris")), "--state", "state", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    bench = soak.Bench.make(tmp_path, state=tmp_path / "state", rows=20_000)
    # A whole run takes some ten seconds.
    assert soak.killed(bench, DAY, after=random.uniform(2, 10)) is None
    assert soak.together(bench, "2026-01-03") is None
