"""``dag.test()`` under Airflow 3 runs the job that Terraform deployed to the rehearsal workspace."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.airflow.conftest import ROOT, Deliver, airflow, python
from tests.deployment.conftest import Deployment, missing
from tests.deployment.test_deployment import synthesize, terraform

HERE = Path(__file__).parent
PROBLEM = None if python("3").exists() else "Airflow 3.0.6 is not installed: make test-airflow installs it"
PROBLEM = PROBLEM or missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]
JOB = "rehearsal-batch_inference"
DAY = "2026-01-02"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    from infra.rehearsal import server

    folder = tmp_path_factory.mktemp("deployment")
    with server.serve(folder / "workspace") as workspace:
        made = Deployment(workspace.host, workspace.token, folder / "cdktf.out")
        synthesize(ROOT, made)
        stack = made.out / "stacks" / "rehearsal"
        terraform(made, stack, "init", "-input=false")
        terraform(made, stack, "apply", "-input=false", "-auto-approve")
        yield made


@pytest.fixture(scope="module")
def client(deployment: Deployment) -> Any:
    from databricks.sdk import WorkspaceClient

    return WorkspaceClient(host=deployment.host, token=deployment.token, auth_type="pat")


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``dag.test()`` with a connection to the workspace, which only the variable of this process tells of."""
    home = tmp_path_factory.mktemp("airflow")
    migrated = airflow("3", home, "-m", "airflow", "db", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    address = urlsplit(deployment.host)
    parts = {"schema": address.scheme, "host": address.hostname, "port": address.port, "password": deployment.token}
    connection = json.dumps({"conn_type": "databricks", **parts})

    def test(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = airflow("3", home, HERE / "run.py", folder, *arguments, AIRFLOW_CONN_DATABRICKS_DEFAULT=connection)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return test


def log(done: subprocess.CompletedProcess[str]) -> str:
    """All that was said, without the colours and lines that are for a screen."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m|│", " ", done.stdout + done.stderr).split())


def runs(client: Any) -> list[Any]:
    (job,) = client.jobs.list(name=JOB)
    return list(client.jobs.list_runs(job_id=job.job_id, expand_tasks=True))


def test_a_run_that_fails_fails_the_dag_with_its_reason(deliver: Deliver, run: Run, client: Any) -> None:
    folder = deliver()
    done = run(folder, f"{DAY}T06:00:00+00:00", "asked-once")
    assert "the DAG is failed" in log(done)
    assert "Pausing task as DEFERRED" in log(done)
    reason = "has no alias 'champion'"
    assert re.search(rf"AirflowException: Job run failed with terminal state: .{{,500}}{reason}", log(done)), log(done)
    assert len(runs(client)) == 1

    # The same token: the workspace answers with the run that has ended by now, which leaves nothing to wait for.
    done = run(folder, "2026-01-03T06:00:00+00:00", "asked-once")
    assert "the DAG is failed" in log(done)
    assert "DEFERRED" not in log(done)
    assert re.search(rf"AirflowException: Job run {runs(client)[0].run_id} failed with terminal state", log(done))
    assert len(runs(client)) == 1


def test_a_job_that_is_not_deployed_fails_the_dag(deliver: Deliver, run: Run) -> None:
    done = run(deliver(job_name="rehearsal-none"), f"{DAY}T06:00:00+00:00")
    assert "the DAG is failed" in log(done)
    assert "rehearsal-none can not be found" in log(done)


@pytest.mark.parametrize(
    ("logical_date", "day"), [("2026-01-03T06:00:00+09:00", DAY), ("", f"{datetime.now(UTC):%Y-%m-%d}")]
)
def test_the_batch_is_that_of_the_day_in_utc(deliver: Deliver, run: Run, logical_date: str, day: str) -> None:
    done = run(deliver(job_name="rehearsal-none"), logical_date)
    assert f"'batch_date': '{day}'" in log(done)


def test_the_dag_runs_the_deployed_job(deliver: Deliver, run: Run, client: Any) -> None:
    for name in ("datasets", "training", "validation", "promotion"):
        (job,) = client.jobs.list(name=f"rehearsal-{name}")
        client.jobs.run_now(job.job_id).result()
    done = run(deliver(), f"{DAY}T06:00:00+00:00")
    assert "the DAG is success" in log(done)
    last = runs(client)[0]
    assert last.state.result_state.value == "SUCCESS"
    assert {each.name: each.value for each in last.job_parameters} == {"batch_date": DAY}
    assert f"batch {DAY}" in (client.jobs.get_run_output(last.tasks[0].run_id).logs or "")
