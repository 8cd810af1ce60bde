"""The git flow, played in a repository of its own with the commands that the workflows call."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import commands

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = pytest.mark.slow

MODEL = "local.flow.model"
EXPERIMENT = "/Shared/flow"
FOREST = {"class": "sklearn.ensemble.RandomForestClassifier", "parameters": {"n_estimators": 20, "random_state": 1}}
TREE = {"class": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3, "random_state": 1}}
GUESS = {"class": "sklearn.dummy.DummyClassifier"}


class Project:
    """A repository with an environment file, and a state folder for each environment's workspace."""

    def __init__(self, folder: Path, write: Callable[..., Path]) -> None:
        self.folder, self._write = folder, write
        self.git("init", "--quiet", "--initial-branch=development")
        self.git("config", "user.name", "Ann")
        self.git("config", "user.email", "ann@example.com")
        self.git("commit", "--quiet", "--allow-empty", "--message", "The beginning")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def branch(self, name: str, estimator: dict[str, Any], **changes: Any) -> None:
        """A branch from here with another pipeline file, committed."""
        self.git("checkout", "--quiet", "-B", name)
        fixed: dict[str, Any] = {"schema": "local.flow", "experiment": EXPERIMENT, "reason": "feature"}
        self._write(self.folder, estimator=estimator, **fixed, **changes)
        self.git("add", "flow.toml")
        self.git("commit", "--quiet", "--allow-empty", "--message", f"{name}: {estimator['class']}")

    def merge(self, branch: str) -> str:
        """The commit on ``development`` by which a branch is merged, which is another one than the branch's own."""
        self.git("checkout", "--quiet", "development")
        self.git("merge", "--quiet", "--no-ff", "--message", f"Merge {branch}", branch)
        return self.git("rev-parse", "HEAD")

    def run(self, state: str, *jobs: str, code: int = 0, **parameters: str) -> str:
        given = [f"--parameter={name}={value}" for name, value in parameters.items()]
        return self.call(state, "run", *jobs, *given, code=code)

    def call(self, state: str, *arguments: str, code: int = 0) -> str:
        command, *rest = arguments
        pipeline = ["flow.toml"] if command == "run" else ["--pipeline", "flow.toml"]
        done = commands.call(command, *pipeline, *rest, "--state", state, cwd=self.folder)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def travel(self, which: tuple[str, str], origin: str, target: str, *how: str) -> str:
        """Let a model go from one environment to another, as the workflows do it: by a folder, in two jobs."""
        folder = f"model {len(list(self.folder.glob('model *')))}"
        self.call(origin, "export-model", *which, "--output", folder)
        return self.call(target, "import-model", folder, *how)

    def instance(self, name: str) -> None:
        """What a pull request deploys: its own data sets, and dev's champion where there is one."""
        said = self.call("dev", "export-model", "--alias", "champion", "--if-any", "--output", f"champion for {name}")
        if "nothing to export" not in said:
            self.call(name, "import-model", f"champion for {name}", "--as", "champion")

    def ci(self, instance: str, branch: str, *, number: str, code: int = 0) -> tuple[str, str]:
        """The CI's run of a branch's commit; what it said."""
        commit = self.git("rev-parse", branch)
        self.instance(instance)
        parameters = {"git_branch": branch, "git_commit": commit, "pull_request": number, "reason": "ci"}
        said = self.run(instance, "datasets", "training", code=code, **parameters)
        self.call(instance, "report", "--commit", commit, "--output", f"scorecard {number}")
        return commit, said

    def scorecard(self, number: str) -> str:
        return (self.folder / f"scorecard {number}" / "report.md").read_text()

    def look(self, state: str) -> None:
        """Let this process look at a state."""
        os.environ["ML_PIPELINE_STATE"] = str(self.folder / state)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        commands.forget_workspace()

    def runs(self, state: str, **tags: str) -> list[Run]:
        """Training runs, the newest first."""
        from ml_pipeline.registry import runs

        self.look(state)
        found = runs.search(EXPERIMENT, runs.matching(**tags), most=100)
        return [run for run in found if "job" not in run.data.tags]

    def aliases(self, state: str) -> tuple[int | None, int | None]:
        """The versions of champion and challenger."""
        from ml_pipeline.registry import models

        self.look(state)
        champion, challenger = (models.version_by_alias(MODEL, name) for name in ("champion", "challenger"))
        return int(champion.version) if champion else None, int(challenger.version) if challenger else None

    def tags(self, state: str, alias: str) -> dict[str, str]:
        """The tags of the version with an alias."""
        from ml_pipeline.registry import models

        self.look(state)
        version = models.version_by_alias(MODEL, alias)
        assert version is not None
        return dict(version.tags)

    def batch(self, state: str, table: str, day: str) -> list[tuple[int, int]]:
        """Model versions of a batch, with how many rows each has."""
        from ml_pipeline.data import tables

        self.look(state)
        rows = tables.read(f"local.flow.{table}").where(f"batch_date = DATE'{day}'").groupBy("model_version").count()
        return sorted((row["model_version"], row["count"]) for row in rows.collect())


@pytest.fixture
def project(tmp_path: Path, pipeline_writer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("ML_PIPELINE_STATE", str(tmp_path / "dev"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Project(tmp_path, pipeline_writer)


@pytest.mark.usefixtures("spark")
def test_the_day_of_a_team(project: Project) -> None:
    first = _a_feature_is_built_and_merged(project)
    _it_is_released(project, first)
    _a_worse_model_is_refused(project)
    _a_better_one_is_released_after_a_shadow(project)
    _production_is_rolled_back(project)


def _a_feature_is_built_and_merged(project: Project) -> str:
    # A data scientist, twice on a feature branch.
    project.branch("feature/tree", TREE)
    project.run("dev", "datasets", "training")
    project.run("dev", "training")
    feature = project.runs("dev", git_branch="feature/tree")
    assert [run.data.tags["reason"] for run in feature] == ["feature", "feature"]
    assert not any("development" in run.data.tags for run in feature)
    assert {run.data.tags["validate"] for run in feature} == {"passed", "inconclusive"}
    assert feature[0].data.tags["validate.compared_with"] == feature[1].info.run_id
    assert project.aliases("dev") == (None, None)

    # The pull request's CI run, in an instance of its own.
    commit, _ = project.ci("pr-7", "feature/tree", number="7")
    (built,) = project.runs("pr-7", git_commit=commit)
    assert (built.data.tags["development"], built.data.tags["pull_request"]) == ("passed", "7")
    assert project.scorecard("7").startswith(f"# {MODEL}: passed")

    # It is merged: the run that passed is dev's, under the merge commit, and outlives the instance.
    first = project.merge("feature/tree")
    project.travel(("--commit", commit), "pr-7", "dev", "--as-commit", first)
    (kept,) = project.runs("dev", git_commit=first)
    assert (kept.data.tags["development"], kept.data.tags["source.git_commit"]) == ("passed", commit)
    assert kept.data.tags["source.run_id"] == built.info.run_id
    return first


def _it_is_released(project: Project, first: str) -> None:
    kept, built = (project.runs(state, development="passed")[0].info.run_id for state in ("dev", "pr-7"))
    # The first release: there is no champion that it could be in the shadow of.
    project.git("checkout", "--quiet", "-b", "release/1")
    nothing = project.call("prod", "export-model", "--alias", "champion", "--if-any", "--output", "champion of prod")
    assert "nothing to export" in nothing
    project.travel(("--commit", first), "dev", "staging")
    project.run("staging", "datasets", "validation", "promotion", "batch_inference", batch_date="2026-01-01")
    (validated,) = project.runs("staging", git_commit=first)
    assert (validated.data.tags["test"], validated.data.tags["origin.run_id"]) == ("passed", built)
    assert project.aliases("staging") == (1, None)
    assert project.batch("staging", "predictions", "2026-01-01") == [(1, 150)]

    # Production: the model that was validated, and no other; and back to where it was made, as the one to beat.
    assert "version 1 is the challenger" in project.travel(("--commit", first), "staging", "prod", "--as", "challenger")
    assert project.aliases("prod") == (None, 1)
    project.run("prod", "promotion")
    assert project.aliases("prod") == (1, None)
    assert project.tags("prod", "champion")["test"] == "passed"
    said = project.travel(("--alias", "champion"), "prod", "dev", "--as", "champion")
    assert f"{kept}, there already" in said
    assert project.aliases("dev") == (1, None)


def _a_worse_model_is_refused(project: Project) -> None:
    # A second branch whose model is worse: refused, above its own threshold as it is.
    project.branch("feature/guess", GUESS, threshold=0.1)
    refused, said = project.ci("pr-8", "feature/guess", number="8", code=1)
    assert "than the champion, version 1" in said
    (worse,) = project.runs("pr-8", git_commit=refused)
    assert worse.data.tags["validate"] == "failed"
    assert "development" not in worse.data.tags
    assert project.scorecard("8").startswith(f"# {MODEL}: failed")
    # Nothing of that commit leaves the instance, let alone is released.
    project.call("pr-8", "export-model", "--commit", refused, "--output", "refused", code=1)
    assert not (project.folder / "refused").exists()


def _a_better_one_is_released_after_a_shadow(project: Project) -> None:
    # A release whose model goes through shadow first.
    project.git("checkout", "--quiet", "development")
    project.branch("feature/forest", FOREST, batch_inference={"mode": "shadow", "minimum_agreement": 0.5})
    commit, said = project.ci("pr-9", "feature/forest", number="9")
    assert "the champion, version 1" in said
    second = project.merge("feature/forest")
    project.travel(("--commit", commit), "pr-9", "dev", "--as-commit", second)
    project.git("checkout", "--quiet", "-b", "release/2")
    said = project.travel(("--alias", "champion"), "prod", "staging", "--as", "champion")
    assert "version 1 is the champion" in said
    project.travel(("--commit", second), "dev", "staging")
    project.run("staging", "datasets", "validation", "batch_inference", git_commit=second, batch_date="2026-01-02")
    assert project.aliases("staging") == (1, 2)
    assert project.batch("staging", "predictions", "2026-01-02") == [(1, 150)]
    assert project.batch("staging", "shadow_predictions", "2026-01-02") == [(2, 150)]
    assert project.tags("staging", "challenger")["shadow"] == "passed"

    # Production: the artifact that was validated and tried, with what was found.
    project.travel(("--commit", second), "staging", "prod", "--as", "challenger")
    assert project.aliases("prod") == (1, 2)
    tried = project.tags("prod", "challenger")
    assert (tried["test"], tried["shadow"], tried["git_commit"]) == ("inconclusive", "passed", second)
    project.run("prod", "promotion", "batch_inference", batch_date="2026-01-03")
    assert project.aliases("prod") == (2, None)
    assert project.batch("prod", "predictions", "2026-01-03") == [(2, 150)]
    project.travel(("--alias", "champion"), "prod", "staging", "--as", "champion")
    assert project.aliases("staging") == (2, None)


def _production_is_rolled_back(project: Project) -> None:
    # And back.
    project.call("prod", "rollback", "--run-by", "ann")
    assert project.aliases("prod") == (1, None)
    project.run("prod", "batch_inference", batch_date="2026-01-04")
    assert project.batch("prod", "predictions", "2026-01-04") == [(1, 150)]
    assert project.batch("prod", "predictions", "2026-01-03") == [(2, 150)]
