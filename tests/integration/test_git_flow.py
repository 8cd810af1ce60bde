"""The git flow, played in a repository of its own with the commands that the workflows call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mlflow.entities import Run

MODEL = "local.flow.model"
EXPERIMENT = "/Shared/flow"
FOREST = {"class": "sklearn.ensemble.RandomForestClassifier", "parameters": {"n_estimators": 20, "random_state": 1}}
TREE = {"class": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3, "random_state": 1}}
GUESS = {"class": "sklearn.dummy.DummyClassifier"}


class Project:
    """A repository with an environment file, and the state that stands for the workspace."""

    def __init__(self, folder: Path, write: Callable[..., Path]) -> None:
        self.folder, self._write = folder, write
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Ann")
        self.git("config", "user.email", "ann@example.com")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def branch(self, name: str, estimator: dict[str, Any], **changes: Any) -> None:
        """A branch from here with another environment file, committed."""
        self.git("checkout", "--quiet", "-B", name)
        fixed: dict[str, Any] = {"schema": "local.flow", "experiment": EXPERIMENT, "reason": "feature"}
        self._write(self.folder, estimator=estimator, **fixed, **changes)
        self.git("add", "environment.toml")
        self.git("commit", "--quiet", "--allow-empty", "--message", f"{name}: {estimator['class']}")

    def run(self, *jobs: str, code: int = 0, **parameters: str) -> str:
        given = [f"--parameter={name}={value}" for name, value in parameters.items()]
        return self.call("run", *jobs, *given, code=code)

    def call(self, *arguments: str, code: int = 0) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ML_PIPELINE", "MLFLOW"))}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ml-pipeline")), *arguments, "--environment", "environment.toml"],
            cwd=self.folder,
            env={**kept, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def activate(self) -> None:
        """Let this process look at the state."""
        from ml_pipeline import tracking

        os.environ["ML_PIPELINE_STATE"] = str(self.folder / ".state")
        tracking._client.cache_clear()

    def runs(self, branch: str) -> list[Run]:
        from ml_pipeline import tracking

        found = tracking.search(EXPERIMENT, tracking.matching(git_branch=branch), most=100)
        return [run for run in found if "job" not in run.data.tags]

    def alias(self, name: str) -> int | None:
        from ml_pipeline import tracking

        version = tracking.version_by_alias(MODEL, name)
        return int(version.version) if version else None

    def batch(self, table: str, day: str) -> list[tuple[int, int]]:
        """Model versions of a batch, with how many rows each has."""
        from ml_pipeline import tables

        rows = tables.read(f"local.flow.{table}").where(f"batch_date = DATE'{day}'").groupBy("model_version").count()
        return sorted((row["model_version"], row["count"]) for row in rows.collect())


@pytest.fixture
def project(tmp_path: Path, environment_writer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("ML_PIPELINE_STATE", str(tmp_path / ".state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Project(tmp_path, environment_writer)


def test_the_day_of_a_team(project: Project) -> None:
    from ml_pipeline import tables

    # A data scientist, twice on a feature branch.
    project.branch("feature/tree", TREE)
    project.run("datasets", "training")
    project.run("training")
    project.activate()
    feature = project.runs("feature/tree")
    assert [run.data.tags["reason"] for run in feature] == ["feature", "feature"]
    assert not any("development" in run.data.tags for run in feature)
    assert {run.data.tags["validate"] for run in feature} == {"passed"}
    assert project.alias("challenger") is None

    # The pull request's CI run, on the branch that it goes to.
    commit = project.git("rev-parse", "HEAD")
    project.run("training", git_branch="development", pull_request="7", reason="ci")
    (built,) = project.runs("development")
    assert built.data.tags["development"] == "passed"
    assert (built.data.tags["git_commit"], built.data.tags["pull_request"]) == (commit, "7")

    # The first release: validated, promoted, and scoring.
    project.run("validation", "promotion")
    assert (project.alias("champion"), project.alias("challenger")) == (1, None)
    project.run("batch_inference", batch_date="2026-01-01")
    assert project.batch("predictions", "2026-01-01") == [(1, 150)]

    # A second branch whose model is worse: refused, above its own threshold as it is.
    project.branch("feature/guess", GUESS, threshold=0.1)
    said = project.run("training", code=1, git_branch="development", pull_request="8", reason="ci")
    assert "below the champion, version 1" in said
    worse = project.runs("development")[0]
    assert worse.data.tags["validate"] == "failed"
    assert "development" not in worse.data.tags
    # Nothing of that commit can be validated, let alone released.
    project.run("validation", code=1)
    assert (project.alias("champion"), project.alias("challenger")) == (1, None)

    # A release whose model goes through shadow first.
    shadow = {"batch_inference": {"mode": "shadow", "minimum_agreement": 0.5}}
    project.branch("release/2", FOREST, **shadow)
    project.run("training", git_branch="development", pull_request="9", reason="ci")
    project.run("validation")
    assert (project.alias("champion"), project.alias("challenger")) == (1, 2)
    project.run("batch_inference", batch_date="2026-01-02")
    assert project.batch("predictions", "2026-01-02") == [(1, 150)]
    assert project.batch("shadow_predictions", "2026-01-02") == [(2, 150)]

    # Production: the artifact that was validated and tried, and no other.
    project.run("promotion")
    assert (project.alias("champion"), project.alias("challenger")) == (2, None)
    project.run("batch_inference", batch_date="2026-01-03")
    assert project.batch("predictions", "2026-01-03") == [(2, 150)]

    # And back.
    project.call("rollback")
    assert project.alias("champion") == 1
    project.run("batch_inference", batch_date="2026-01-04")
    assert project.batch("predictions", "2026-01-04") == [(1, 150)]
    assert project.batch("predictions", "2026-01-03") == [(2, 150)]
    tables.close()
