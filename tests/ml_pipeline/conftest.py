from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ml_pipeline import entry_point, jobs
from ml_pipeline.data import session, tables
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.local import runner
from ml_pipeline.registry import models, runs, tracking
from ml_pipeline.settings.pipeline import PipelineSettings
from tests import commands

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from pyspark.sql import SparkSession

EXPERIMENT = "/Shared/test"
MODEL = "local.test.model"
DEFAULTS: Mapping[str, Any] = {
    "schema": "local.test",
    "experiment": EXPERIMENT,
    "source": {"sklearn": "iris"},
    "target": "target",
    "estimator": {
        "class": "sklearn.tree.DecisionTreeClassifier",
        "parameters": {"max_depth": 3},
        "grid": {"criterion": ["gini", "entropy"]},
    },
    "folds": 3,
    "metric": "accuracy",
    "threshold": 0.7,
    "tolerance": 0.01,
    "seed": 21,
    "n_jobs": 1,
    "reason": "ci",
}
GIT = {"git_branch": "main", "git_commit": "c1"}


@dataclass(frozen=True)
class Outcome:
    """What became of the tasks of one run of the flow."""

    runs: list[runner.TaskRun]

    @property
    def states(self) -> dict[str, str]:
        return {run.task: run.state for run in self.runs}

    def error(self, task: str) -> Exception:
        error = next(run.error for run in self.runs if run.task == task)
        assert error is not None
        return error

    def succeeded(self) -> Outcome:
        for run in self.runs:
            if run.error:
                raise run.error
        assert set(self.states.values()) == {"SUCCESS"}
        return self


class State:
    """A state folder with MLflow and tables of its own; all of them share one Spark session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def activate(self) -> State:
        os.environ["ML_PIPELINE_STATE"] = str(self.folder)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        commands.forget_workspace()
        tracking.client()
        return self

    @staticmethod
    def settings(**changes: Any) -> PipelineSettings:
        return PipelineSettings.model_validate({**DEFAULTS, **changes})

    def run(self, *names: str, parameters: Mapping[str, str] | None = None, **changes: Any) -> Outcome:
        """Run jobs, all of them where none is named; keyword arguments change the settings."""
        declared = jobs.declare(self.settings(**changes))
        runs = runner.run(
            runner.select(declared, names),
            parameters=parameters or {},
            defaults=GIT,
            follow=lambda *_: None,
            declared=declared,
        )
        return Outcome(runs)

    def step(
        self, name: str, *, run_id: str = "1", parameters: Mapping[str, str] | None = None, **changes: Any
    ) -> dict[str, str]:
        """Run one task as its job would; what it raises is raised."""
        job = next(job for job in jobs.declare(self.settings(**changes)) if name in {task.name for task in job.tasks})
        task = next(task for task in job.tasks if task.name == name)
        declared = {parameter.name for parameter in job.parameters}
        given = {key: value for key, value in {**GIT, **(parameters or {})}.items() if key in declared}
        values = job.values_of_run(run_id=run_id, start_date="2026-01-02", parameters=given)
        return entry_point.parse(task.arguments(values))()

    def csv(self, text: str, name: str = "rows.csv", *, encoding: str = "utf-8") -> dict[str, str]:
        """A source that holds this text."""
        file = self.folder / name
        file.write_bytes(text.encode(encoding))
        return {"csv": str(file)}

    @staticmethod
    def versions(*names: str) -> dict[str, int]:
        """The version of each table that is there."""
        every = names or ("train_validation", "test", "train", "validation", "predictions")
        return {
            name: tables.last_write(f"local.test.{name}")[0] for name in every if tables.exists(f"local.test.{name}")
        }

    @staticmethod
    def frame(name: str) -> pd.DataFrame:
        return tables.read(f"local.test.{name}").toPandas()

    @staticmethod
    def found(condition: str = "") -> list[Run]:
        """Training runs, the newest first."""
        return [run for run in runs.search(EXPERIMENT, condition, most=100) if "job" not in run.data.tags]

    @staticmethod
    def batch_runs() -> list[Run]:
        """Runs of batches, the newest first."""
        return runs.search(EXPERIMENT, "tags.job = 'batch_inference'", most=100)

    def newest(self) -> Run:
        return self.found()[0]

    @staticmethod
    def champion() -> ModelVersion:
        return models.champion(MODEL)

    @staticmethod
    @contextlib.contextmanager
    def refuses(match: str, error: type[PipelineError] = InputError) -> Iterator[None]:
        """Inside, a step refuses what it is given, in one line."""
        with pytest.raises(error, match=match) as caught:
            yield
        assert type(caught.value) is error
        assert len(str(caught.value).splitlines()) == 1
        assert "JVM stacktrace" not in str(caught.value)


Once = Callable[[str, Callable[[Path], object]], State]


def write_pipeline(folder: Path, **changes: Any) -> Path:
    """A pipeline's file, which has the schema's name; a change that is None leaves the key out."""
    content = {name: value for name, value in {**DEFAULTS, **changes}.items() if value is not None}
    file = folder / f"{content.pop('schema').removeprefix('local.')}.toml"
    lines: list[str] = []

    def table(name: str, values: Mapping[str, Any]) -> None:
        lines.extend([f"[{name}]"] if name else [])
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict))
        for key, value in values.items():
            if isinstance(value, dict):
                table(f"{name}.{key}" if name else key, value)

    table("", content)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def move_database(file: Path, origin: str, folder: str) -> None:
    """Let MLflow find in a folder what its database says is in another, wherever and in whatever schema it says so."""
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                if "CHAR" in kind.upper() or "TEXT" in kind.upper():
                    database.execute(
                        f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)',
                        (f"{origin}/", f"{folder}/", f"{origin}/"),
                    )


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in ("ML_PIPELINE_STATE", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    for name in kept:
        os.environ.pop(name, None)
    yield
    for name, value in kept.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session")
def new_state(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., State]:
    """Makes a state: MLflow's migrations take seconds, so that all of them start from a copy of one database."""
    assert spark is session.spark()
    template = State(tmp_path_factory.mktemp("template")).activate()
    tracking.client().search_experiments(max_results=1)

    def made(folder: Path | None = None) -> State:
        folder = folder or tmp_path_factory.mktemp("state")
        shutil.copy(template.folder / "mlflow.db", folder)
        return State(folder).activate()

    return made


@pytest.fixture
def state(new_state: Callable[..., State]) -> State:
    return new_state()


@pytest.fixture(scope="session")
def pipeline_writer() -> Callable[..., Path]:
    """Makes a pipeline's file in a folder that is given."""
    return write_pipeline


@pytest.fixture
def pipeline_file(tmp_path: Path) -> Callable[..., Path]:
    """Makes a pipeline's file in a folder of the test."""
    return lambda **changes: write_pipeline(tmp_path, **changes)


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., State]:
    """Makes a state that goes on from another one, which stays as it is."""

    def made(origin: State, folder: Path | None = None) -> State:
        folder = folder or tmp_path_factory.mktemp("clone") / "state"
        shutil.copytree(origin.folder, folder, dirs_exist_ok=True)
        move_database(folder / "mlflow.db", str(origin.folder), str(folder))
        return State(folder).activate()

    return made


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a state that the test processes share; whoever comes first makes it, and nobody may change it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> State:
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / f"{name}.made").exists():
                folder.mkdir()
                make(folder)
                (shared / f"{name}.made").touch()
        return State(folder)

    return made


@pytest.fixture(scope="session")
def _after_training(made_once: Once, new_state: Callable[..., State]) -> State:
    return made_once("trained", lambda folder: new_state(folder).run("datasets", "training").succeeded())


@pytest.fixture(scope="session")
def _after_flow(
    made_once: Once,
    _after_training: State,
    clone: Callable[..., State],
) -> State:
    def make(folder: Path) -> None:
        names = ("validation", "promotion", "batch_inference")
        parameters = {"batch_date": "2026-01-02", "run_by": "ann"}
        clone(_after_training, folder).run(*names, parameters=parameters, monitoring={}).succeeded()

    return made_once("flown", make)


@pytest.fixture
def trained(_after_training: State, clone: Callable[..., State]) -> State:
    """A model is trained and passed its comparison; commit c1."""
    return clone(_after_training)


@pytest.fixture
def flown(_after_flow: State, clone: Callable[..., State]) -> State:
    """The whole flow has run: there is a champion, version 1, and a batch of predictions, 2026-01-02."""
    return clone(_after_flow)


@pytest.fixture(scope="session")
def _after_refusal(_after_flow: State, clone: Callable[..., State]) -> tuple[State, Outcome]:
    state = clone(_after_flow)
    dummy = {"class": "sklearn.dummy.DummyClassifier"}
    names = ("training", "validation", "promotion", "batch_inference")
    return state, state.run(*names, parameters={"git_commit": "c2"}, estimator=dummy, threshold=0.1)


@pytest.fixture
def refused(_after_refusal: tuple[State, Outcome], clone: Callable[..., State]) -> tuple[State, Outcome]:
    """After the whole flow a model that only guesses was trained of commit c2, above its low threshold."""
    state, outcome = _after_refusal
    return clone(state), outcome
