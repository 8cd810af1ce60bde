"""What a user of the rehearsal workspace does, by the SDK as it is."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.service import compute, jobs, workspace
from sklearn.tree import DecisionTreeClassifier

from infra.rehearsal import server
from infra.rehearsal.api import USER, token_of

WHEEL = "tiny-1.0-py3-none-any.whl"
WHEEL_PATH = f"/Workspace/Shared/{WHEEL}"
_SOURCE = '''
import os, pathlib, sys, time

def say():
    print("said", *sys.argv[1:])

def fail():
    print("about to fail", flush=True)
    raise ValueError("no such luck")

def leave():
    sys.exit(3)

def sleep():
    print("sleeping", flush=True)
    time.sleep(float(sys.argv[1]))
    print("slept")

def second_time():
    """Fails, unless the file is there."""
    mark = pathlib.Path(sys.argv[1])
    if not mark.exists():
        mark.touch()
        raise RuntimeError("the first time fails")

def meet():
    """Ends once the other is there too, which takes two at a time."""
    folder, me, other = sys.argv[1:]
    pathlib.Path(folder, me).touch()
    end = time.monotonic() + 20
    while not pathlib.Path(folder, other).exists():
        if time.monotonic() > end:
            raise TimeoutError("the other never came")
        time.sleep(0.05)

def environment():
    for name, value in sorted(os.environ.items()):
        print(f"{name}={value}")

def by_name():
    print("by its name in the package")
'''
_POINTS = ("say", "fail", "leave", "sleep", "second_time", "meet", "environment")


def make_wheel(folder: Path, source: str = _SOURCE) -> Path:
    wheel = folder / WHEEL
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    points = "".join(f"{name} = tiny:{name}\n" for name in _POINTS)
    content = {
        "tiny.py": source,
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": tags,
        "tiny-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{points}",
        "tiny-1.0.dist-info/RECORD": "tiny.py,,\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return wheel


def connect(served: server.Served, principal: str = USER) -> WorkspaceClient:
    token = token_of(served.token, principal)
    config = Config(host=served.host, token=token, auth_type="pat", retry_timeout_seconds=5)
    return WorkspaceClient(config=config)


def use_mlflow(served: server.Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client in this process work in the workspace, as in production."""
    monkeypatch.setenv("DATABRICKS_HOST", served.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", served.token)
    # Not by its functions or variables: what another test has set would win, or stay.
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", "databricks")
    monkeypatch.setattr("mlflow.tracking._model_registry.utils._registry_uri", "databricks-uc")
    # Set here to be unset when the test ends: what set_experiment chose is no experiment of the next test's store.
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    # A refusal that the client would ask again about shows in seconds.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def register(model: str, *, experiment: str) -> str:
    """Log a small model and register it; returns its version."""
    mlflow.set_experiment(experiment)
    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
    fitted = DecisionTreeClassifier().fit(rows, ["x", "y", "x", "y"])
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(fitted, name="model", input_example=rows, registered_model_name=model)
    return str(logged.registered_model_version)


def upload(client: WorkspaceClient, wheel: Path, path: str = WHEEL_PATH) -> None:
    client.workspace.upload(path, wheel.read_bytes(), format=workspace.ImportFormat.RAW, overwrite=True)


def task(
    key: str, entry_point: str, *arguments: object, after: tuple[str, ...] = (), wheel: str = WHEEL_PATH, **more: Any
) -> jobs.Task:
    called = jobs.PythonWheelTask(package_name="tiny", entry_point=entry_point, parameters=[*map(str, arguments)])
    return jobs.Task(
        task_key=key,
        depends_on=[jobs.TaskDependency(other) for other in after],
        libraries=[compute.Library(whl=wheel)],
        python_wheel_task=called,
        **more,
    )


def create(client: WorkspaceClient, *tasks: jobs.Task, name: str = "a job", **more: Any) -> int:
    made = client.jobs.create(name=name, tasks=[*tasks], **more).job_id
    assert made is not None
    return made


def until(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError("the condition was never met")


def finish(client: WorkspaceClient, run_id: int) -> jobs.Run:
    def over() -> jobs.Run | None:
        run = client.jobs.get_run(run_id)
        assert run.status is not None
        return run if run.status.state is jobs.RunLifecycleStateV2State.TERMINATED else None

    found: jobs.Run = until(over)
    return found


def start(client: WorkspaceClient, job_id: int, **more: Any) -> int:
    started: int = client.jobs.run_now(job_id, **more).run_id
    return started


def run(client: WorkspaceClient, *tasks: jobs.Task, **more: Any) -> jobs.Run:
    return finish(client, start(client, create(client, *tasks, **more)))


def result(run: jobs.Run | jobs.RunTask) -> str:
    assert run.state is not None
    return run.state.result_state.value if run.state.result_state else ""


def results(run: jobs.Run) -> Mapping[str, str]:
    return {found.task_key: result(found) for found in run.tasks or []}


def output(client: WorkspaceClient, run: jobs.Run, key: str) -> jobs.RunOutput:
    found = [found for found in run.tasks or [] if found.task_key == key]
    assert found[-1].run_id is not None
    return client.jobs.get_run_output(found[-1].run_id)
