"""What the DAG does with a run that fails, is lost or comes too late, in both of Airflow's versions."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from databricks.sdk.service import jobs

from infra.rehearsal import server
from tests.airflow.conftest import INSTALLED, Deliver, log, runner
from tests.rehearsal import user

pytestmark = pytest.mark.slow
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Served]:
    with server.serve(tmp_path_factory.mktemp("workspace")) as running:
        yield running


@pytest.mark.parametrize("major", INSTALLED)
def test_what_ended_is_not_repeated(major: str, served: server.Served, deliver: Deliver, tmp_path: Path) -> None:
    client = user.connect(served)
    user.upload(client, user.make_wheel(tmp_path))
    retrain = user.task("retrain", "say", after=("monitor",), run_if=jobs.RunIf.AT_LEAST_ONE_FAILED)
    tasks = {
        "fails": [user.task("score", "fail")],
        "handled": [user.task("monitor", "fail"), retrain],
        "lost": [user.task("score", "say")],
        "late": [user.task("score", "say")],
    }
    parameters = [jobs.JobParameterDefinition(name="batch_date", default="")]
    folder = tmp_path / "dags"
    folder.mkdir()
    for name, own in tasks.items():
        user.create(client, *own, name=f"{major}-{name}", parameters=parameters)
        delivered = deliver(dag_id=name, job_name=f"{major}-{name}", retries=1)
        for file in delivered.iterdir():
            shutil.copy(file, folder / f"{name}{file.suffix}")

    today, yesterday = f"{NOW:%Y-%m-%dT%H:%M:%S+00:00}", f"{NOW - timedelta(hours=25):%Y-%m-%dT%H:%M:%S+00:00}"
    done = runner(major, tmp_path, served.host, served.token)(
        folder,
        {"dag_id": "fails", "scheduled": True, "logical_date": today},
        {"dag_id": "handled", "logical_date": today},
        {"dag_id": "lost", "logical_date": today, "lost": True},
        {"dag_id": "late", "scheduled": True, "logical_date": yesterday},
    )

    assert [line for line in done.stdout.splitlines() if line.startswith("the DAG")] == [
        "the DAG fails is failed",
        "the DAG handled is success",
        "the DAG lost is success",
        "the DAG late is success",
    ]
    started = Counter(run.run_name for run in client.jobs.list_runs() if f"{run.run_name}".startswith(major))
    assert started == {f"{major}-fails": 1, f"{major}-handled": 1, f"{major}-lost": 1}
    assert "AirflowFailException: Job run" in log(done)
    assert "no such luck" in log(done)
    assert "succeeded with failures" in log(done)
    assert "connection lost" in log(done)
    assert "today's rows would replace the batch of that day" in log(done)
