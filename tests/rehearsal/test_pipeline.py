"""The project's own wheel, with MLflow's own client, in the workspace."""

from __future__ import annotations

from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service import compute, jobs
from mlflow import MlflowClient

from infra.rehearsal import server
from tests.rehearsal import user

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built() -> Path:
    found = sorted(ROOT.glob("dist/*.whl"))
    if not found:
        pytest.skip("there is no wheel in dist/: make wheel builds it")
    return found[0]


def test_promotion(
    client: WorkspaceClient, served: server.Served, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.use_mlflow(served, monkeypatch)
    client.schemas.create("promoted", "local")
    model = "local.promoted.model"
    version = user.register(model, experiment="/Shared/promoted")
    mlflow = MlflowClient()
    mlflow.set_model_version_tag(model, version, "test", "passed")
    mlflow.set_registered_model_alias(model, "challenger", version)
    path = f"/Workspace/Shared/{built.name}"
    user.upload(client, built, path)
    parameters = {
        "entry-point": "ml_pipeline.steps.promote:promote",
        "model": model,
        "run_by": "{{job.parameters.run_by}}",
    }
    called = jobs.PythonWheelTask(
        package_name="ml_pipeline",
        entry_point="run-task",
        named_parameters={**parameters, "job_run_id": "{{job.run_id}}"},
    )
    task = jobs.Task("promote", libraries=[compute.Library(whl=path)], python_wheel_task=called)
    job_id = user.create(client, task, parameters=[jobs.JobParameterDefinition(name="run_by", default="")])

    ended = user.finish(client, user.start(client, job_id, job_parameters={"run_by": "somebody"}))

    assert user.result(ended) == "SUCCESS", user.output(client, ended, "promote").logs
    assert mlflow.get_model_version_by_alias(model, "champion").version == version
    assert served.token not in (user.output(client, ended, "promote").logs or "")


def test_a_mistake_is_shown(client: WorkspaceClient, built: Path) -> None:
    path = f"/Workspace/Shared/{built.name}"
    user.upload(client, built, path)
    called = jobs.PythonWheelTask(
        package_name="ml_pipeline", entry_point="run-task", named_parameters={"entry-point": "ml_pipeline.none:none"}
    )
    task = jobs.Task("one", libraries=[compute.Library(whl=path)], python_wheel_task=called)

    ended = user.run(client, task)

    assert user.result(ended) == "FAILED"
    assert "ml_pipeline.none" in (user.output(client, ended, "one").error or "")
