"""Models go to a workspace and from it, over HTTP, by the commands that a workflow calls."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from databricks.sdk import WorkspaceClient

from infra.rehearsal import server
from tests import commands
from tests.rehearsal import user

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

MODEL = "rehearsal.transfer_pr_7.model"
FOLDER = "/Shared/ml-pipeline-transfer-pr-7"
FILE = """
[workspace]
host = "{host}"
auth = "environment"
[compute]
spark_version = "17.3.x-cpu-ml-scala2.13"
node_type_id = "i3.xlarge"
[state]
backend = "local"
[catalog]
name = "rehearsal"
schema = "transfer"
[pipelines.iris]
threshold = 0.7
folds = 3
n_jobs = 1
[pipelines.iris.estimator]
class = "sklearn.tree.DecisionTreeClassifier"
parameters = {{ max_depth = 3, random_state = 1 }}
"""


@dataclass(frozen=True)
class Project:
    """A folder with an environment file, and who works in it."""

    folder: Path
    served: server.Served

    def call(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Call the command as a workflow does."""
        own = {"HOME": str(self.folder), "DATABRICKS_TOKEN": self.served.token}
        return subprocess.run(
            [str(Path(sys.executable).with_name("ml-pipeline")), *arguments, "--environment", "transfer.toml"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=commands.environment(**{**own, **variables}),
            timeout=300,
        )

    def ok(self, *arguments: str) -> str:
        done = self.call(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert self.served.token not in done.stdout + done.stderr
        return done.stdout

    def error(self, *arguments: str, code: int, **variables: str) -> str:
        """The one line that a person reads of a failure."""
        done = self.call(*arguments, **variables)
        assert done.returncode == code, done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        return line


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, served: server.Served, client: WorkspaceClient) -> Project:
    folder = tmp_path_factory.mktemp("transfer")
    (folder / "transfer.toml").write_text(FILE.format(host=served.host))
    client.workspace.mkdirs(FOLDER)
    client.experiments.create_experiment(f"{FOLDER}/iris")
    client.schemas.create("transfer_pr_7", "rehearsal")
    return Project(folder, served)


@pytest.fixture(scope="module")
def models(project: Project, spark: SparkSession) -> tuple[Path, Path]:
    """Two champions of a state folder, one after the other, as they were exported."""
    assert spark is not None

    def call(*arguments: str) -> None:
        here = ("--environment", "transfer.toml", "--state", "here")
        done = commands.call(*arguments, *here, cwd=project.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    for number, jobs in ((1, ["datasets", "training"]), (2, ["training"])):
        commit = f"--parameter=git_commit=c{number}"
        call("run", *jobs, "validation", "promotion", commit)
        call("export-model", "--alias", "champion", "--output", f"model {number}")
    return project.folder / "model 1", project.folder / "model 2"


def test_a_model_goes_to_the_workspace_and_from_it(
    project: Project, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    there = ("--instance", "pr-7")
    for number, model in enumerate(models, start=1):
        said = project.ok("import-model", str(model), *there, "--as", "champion", "--run-by", "ann")
        assert f"{MODEL}: version {number} is the champion" in said
    assert "there already" in project.ok("import-model", str(models[1]), *there)

    user.use_mlflow(project.served, monkeypatch)
    mlflow = MlflowClient()
    champion = mlflow.get_model_version_by_alias(MODEL, "champion")
    run = mlflow.get_run(str(champion.run_id))
    manifest = json.loads((models[1] / "manifest.json").read_text())
    assert run.data.tags["source.run_id"] == manifest["source"]["run_id"]
    assert run.data.tags["git_commit"] == "c2"
    assert project.served.token not in json.dumps(run.data.tags)
    assert run.info.end_time == manifest["run"]["end_time"]

    project.ok("report", "--commit", "c1", *there, "--output", "a report")
    report = (project.folder / "a report" / "report.md").read_text()
    assert report.startswith(f"# {MODEL}: passed")
    assert "c1" in report
    assert f"version {champion.version}" in report  # The champion, which this commit's run is not.

    # From the workspace it goes on, with all that was logged.
    project.ok("export-model", "--commit", "c2", *there, "--output", "on")
    exported = json.loads((project.folder / "on" / "manifest.json").read_text())
    assert exported["source"] == {
        "run_id": champion.run_id,
        "experiment": f"{FOLDER}/iris",
        "environment": "transfer-pr-7",
        "tracking_uri": project.served.host,
    }
    assert exported["run"]["metrics"] == manifest["run"]["metrics"]
    same = [
        sorted(path.name for path in folder.joinpath("artifacts").iterdir())
        for folder in (models[1], project.folder / "on")
    ]
    assert same[0] == same[1]
    assert "reference.json" in same[0]
    pickles = [folder.joinpath("model", "model.pkl").read_bytes() for folder in (models[1], project.folder / "on")]
    assert pickles[0] == pickles[1]

    assert "version 1 is the champion again" in project.ok("rollback", *there, "--run-by", "bob")
    assert str(mlflow.get_model_version_by_alias(MODEL, "champion").version) == "1"
    moves = json.loads(mlflow.get_model_version(MODEL, "2").tags["champion_moves"])
    assert [(move["move"], move["by"]) for move in moves] == [("imported", "ann"), ("rolled back", "bob")]


def test_where_there_is_none(project: Project) -> None:
    assert "is transfer-pr-8 deployed there?" in project.error("report", "--instance", "pr-8", code=2)
    arguments = ("export-model", "--alias", "champion", "--output", "none")
    assert f"has no experiment {FOLDER[:-1]}8/iris" in project.error(*arguments, "--instance", "pr-8", code=2)
    assert "has no experiment" in project.ok(*arguments, "--instance", "pr-8", "--if-any")
    assert not (project.folder / "none").exists()


def test_an_instance_has_a_workspace(project: Project) -> None:
    said = project.error("rollback", "--instance", "pr-7", "--state", "here", code=2)
    assert "--instance pr-7: a state folder has none" in said


def test_one_run_is_asked_for(project: Project) -> None:
    assert "accepted: one of the two" in project.error("report", "--commit", "c1", "--run-id", "r", code=2)
    for given in ([], ["--commit", "c1", "--alias", "champion"]):
        assert "exactly one of the two" in project.error("export-model", *given, "--output", "none", code=2)


def test_the_workspace_is_signed_in_to_as_the_file_says(project: Project) -> None:
    # MLflow has the workspace's address and token of nothing but the environment file and who calls.
    assert "has no experiment" in project.error("report", "--instance", "pr-8", code=2)
    wrong = project.error("report", code=1, DATABRICKS_TOKEN="secret-0123")
    assert f"{project.served.host}: rejects the credentials" in wrong
    assert "secret-0123" not in wrong
    assert "no credentials" in project.error("rollback", code=2, DATABRICKS_TOKEN="")


def test_a_tracking_server_that_refuses_or_is_away_is_named(project: Project) -> None:
    server = {f"MLFLOW_{name}_URI": project.served.host for name in ("TRACKING", "REGISTRY")}
    refused = project.error("report", code=1, MLFLOW_TRACKING_TOKEN="secret-0123", **server)
    assert refused.startswith(f"error: {project.served.host}: MLflow: ")
    assert "see who signs in" in refused
    assert "secret-0123" not in refused
    away = "http://127.0.0.1:9"
    said = project.error("report", code=1, MLFLOW_TRACKING_URI=away, MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
    assert f"{away}: MLflow: " in said
    told = project.error("report", code=2, MLFLOW_TRACKING_URI="http://ann:secret-0123@127.0.0.1:9")
    assert "MLFLOW_TRACKING_URI: holds a password" in told
    assert "secret-0123" not in told
