"""``dag.test()`` under Airflow 3 runs the job that Terraform deployed to the rehearsal workspace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.airflow.conftest import ROOT, Deliver, Run, log, python, runner
from tests.deployment.conftest import Deployment, deployed, missing
from tests.deployment.test_deployment import synthesize, terraform

PROBLEM = None if python("3").exists() else "Airflow 3.0.6 is not installed: make test-airflow installs it"
PROBLEM = PROBLEM or missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]
JOB = deployed().job_name("batch_inference")
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


@pytest.fixture(scope="module")
def run(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return runner("3", tmp_path_factory.mktemp("airflow"), deployment.host, deployment.token)


def runs(client: Any) -> list[Any]:
    (job,) = client.jobs.list(name=JOB)
    return list(client.jobs.list_runs(job_id=job.job_id, expand_tasks=True))


def test_a_run_that_fails_fails_the_dag_with_its_reason(deliver: Deliver, run: Run, client: Any) -> None:
    done = run(deliver(job_name=JOB), {"logical_date": f"{DAY}T05:00:00+00:00"})
    assert "is failed" in log(done)
    assert "Pausing task as DEFERRED" in log(done)
    reason = "has no alias 'champion'"
    assert re.search(rf"AirflowFailException: Job run \d+ failed: .{{,500}}{reason}", log(done)), log(done)
    assert len(runs(client)) == 1


def test_a_job_that_is_not_deployed_fails_the_dag(deliver: Deliver, run: Run) -> None:
    done = run(deliver(job_name="rehearsal-none"), {"logical_date": f"{DAY}T06:00:00+00:00"})
    assert "is failed" in log(done)
    assert "rehearsal-none can not be found" in log(done)


@pytest.mark.parametrize(
    ("logical_date", "day"), [("2026-01-03T06:00:00+09:00", DAY), ("", f"{datetime.now(UTC):%Y-%m-%d}")]
)
def test_the_batch_is_that_of_the_day_in_utc(deliver: Deliver, run: Run, logical_date: str, day: str) -> None:
    done = run(deliver(job_name="rehearsal-none"), {"logical_date": logical_date})
    assert f"'batch_date': '{day}'" in log(done)


def test_the_dag_runs_the_deployed_job(deliver: Deliver, run: Run, client: Any) -> None:
    for name in ("datasets", "training", "validation", "promotion"):
        (job,) = client.jobs.list(name=deployed().job_name(name))
        client.jobs.run_now(job.job_id).result()
    done = run(deliver(job_name=JOB), {"logical_date": f"{DAY}T06:00:00+00:00"})
    assert "is success" in log(done)
    last = runs(client)[0]
    assert last.state.result_state.value == "SUCCESS"
    assert {each.name: each.value for each in last.job_parameters} == {"batch_date": DAY}
    assert f"batch {DAY}" in (client.jobs.get_run_output(last.tasks[0].run_id).logs or "")
