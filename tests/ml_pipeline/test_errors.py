"""Each fault is caused for real: a stopped server, a full file system, a killed process, a truncated file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from ml_pipeline.data import tables
from ml_pipeline.errors import PipelineError
from ml_pipeline.names import CHAMPION
from ml_pipeline.registry import champion as champion_alias
from ml_pipeline.registry import models, tracking

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.ml_pipeline.conftest import State

pytestmark = pytest.mark.slow

MODEL = "local.test.model"
Scoring = Callable[[], tuple[threading.Thread, psutil.Process, list[dict[str, str]]]]


@pytest.fixture(autouse=True)
def _compiled_queries(spark: SparkSession) -> Iterator[None]:
    """Millions of rows are worth compiling for."""
    settings = ("spark.sql.codegen.wholeStage", "spark.sql.codegen.factoryMode")
    before = {name: spark.conf.get(name) for name in settings}
    for name in settings:
        spark.conf.unset(name)
    yield
    for name, value in before.items():
        spark.conf.set(name, str(value))


def many(state: State, spark: SparkSession, count: int) -> dict[str, str]:
    """A source of so many rows with an id."""
    file = state.folder / "many.parquet"
    columns = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
    values = (f"rand({number}) AS `{name}`" for number, name in enumerate(columns))
    spark.range(count).selectExpr("id", *values).write.parquet(str(file))
    return {"parquet": str(file)}


class Server:
    """MLflow's own tracking server on a state's database."""

    def __init__(self, state: State) -> None:
        self.state = state
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        database = f"sqlite:///{self.state.folder / 'mlflow.db'}"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database),
                *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            ],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/health").close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        pytest.fail("the server does not start")

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(flown: State, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import mlflow

    server = Server(flown)
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    mlflow.set_tracking_uri(server.url)
    tracking._client.cache_clear()
    yield server
    server.stop()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    flown.activate()


def test_a_tracking_server_that_is_away_is_waited_for_and_then_named(
    flown: State, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flown.step("score", parameters={"batch_date": "2026-01-03"})
    server.stop()
    timer = threading.Timer(2, server.start)
    timer.start()
    flown.step("score", parameters={"batch_date": "2026-01-04"})
    timer.join()
    assert "Retrying" in caplog.text
    server.stop()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    version = tables.latest_version("local.test.predictions")
    with flown.refuses(f"^the tracking server {server.url} does not answer: .*refused", PipelineError):
        flown.step("score", parameters={"batch_date": "2026-01-05"})
    assert tables.latest_version("local.test.predictions") == version


def test_a_missing_alias_is_named(flown: State) -> None:
    tracking.client().delete_registered_model_alias(MODEL, CHAMPION)
    with flown.refuses(f"model {MODEL} has no alias 'champion'; promote a validated version first"):
        flown.step("score")


def test_a_truncated_artifact_is_named(flown: State) -> None:
    import mlflow.artifacts

    folder = mlflow.artifacts.download_artifacts(models.version_uri(flown.champion()))
    file = Path(folder) / "model.pkl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    version = tables.latest_version("local.test.predictions")
    with flown.refuses("model models:/.*/1 can't be loaded: ", PipelineError):
        flown.step("score", parameters={"batch_date": "2026-01-03"})
    assert tables.latest_version("local.test.predictions") == version
    file.write_bytes(whole)
    flown.step("score", parameters={"batch_date": "2026-01-03"})


@pytest.fixture
def small_disk(flown: State) -> Iterator[Path]:
    """The folder of the flow's tables on a file system of its own, with little room."""
    folder = flown.folder / "warehouse" / "local" / "test" / "predictions"
    kept = folder.with_name("kept")
    folder.rename(kept)
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can't be mounted here")
    subprocess.run(["cp", "-a", f"{kept}/.", str(folder)], check=True)
    yield folder
    # Spark may not have closed every file yet.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_named_and_loses_nothing(flown: State, small_disk: Path, spark: SparkSession) -> None:
    source = many(flown, spark, 200_000)
    scored: dict[str, Any] = {"batch_inference": {"source": source}}
    before = flown.frame("predictions")
    with flown.refuses("^the disk is full .*No space left on device", PipelineError):
        flown.step("score", parameters={"batch_date": "2026-01-02"}, **scored)
    assert len(flown.frame("predictions")) == len(before)
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    flown.step("score", parameters={"batch_date": "2026-01-02"}, **scored)
    assert len(flown.frame("predictions")) == 200_000


def busy(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    return sum(process.cpu_times()[:2])


def python_workers() -> list[psutil.Process]:
    """Processes that Spark forked from its Python daemon."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            parent = process.parent()
            if parent and all("pyspark.worker" in each.cmdline() for each in (process, parent)):
                found.append(process)
    return found


def start_of_work(already: dict[int, float]) -> psutil.Process:
    """Wait for a Python worker to work, and return it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for worker in python_workers():
            with contextlib.suppress(psutil.Error):
                if busy(worker) > already.get(worker.pid, 0.0) + 0.1:
                    return worker
        time.sleep(0.02)
    pytest.fail("no Python worker works")


@pytest.fixture
def scoring(flown: State, spark: SparkSession) -> Scoring:
    """Scores 500,000 rows in a thread; returns when a Python worker has begun."""

    def start() -> tuple[threading.Thread, psutil.Process, list[dict[str, str]]]:
        scored: dict[str, Any] = {"batch_inference": {"source": many(flown, spark, 500_000)}}
        already = {worker.pid: busy(worker) for worker in python_workers()}
        results: list[dict[str, str]] = []
        thread = threading.Thread(
            target=lambda: results.append(flown.step("score", parameters={"batch_date": "2026-01-03"}, **scored))
        )
        thread.start()
        return thread, start_of_work(already), results

    return start


def test_a_killed_python_worker_is_replaced(scoring: Scoring) -> None:
    thread, worker, _ = scoring()
    worker.kill()
    thread.join()
    found = tables.read("local.test.predictions").where("batch_date = DATE'2026-01-03'")
    assert found.count() == found.select("id").distinct().count() == 500_000


def test_rollback_works_while_a_batch_is_scored(flown: State, scoring: Scoring) -> None:
    flown.run("training", "validation", "promotion", parameters={"git_commit": "c9"}, threshold=0.1).succeeded()
    assert str(flown.champion().version) == "2"
    thread, _, results = scoring()
    champion_alias.rollback(model=MODEL)
    assert thread.is_alive()
    thread.join()
    assert str(flown.champion().version) == "1"
    batch = tables.read("local.test.predictions").where("batch_date = DATE'2026-01-03'")
    (row,) = batch.groupBy("model_version").count().collect()
    assert row["count"] == 500_000
    assert f"version {row['model_version']}" in results[0]["local.test.predictions"]
