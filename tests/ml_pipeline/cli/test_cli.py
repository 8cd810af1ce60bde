from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests import commands
from tests.commands import call
from tests.ml_pipeline.conftest import move_database

WritePipeline = Callable[..., Path]


def start(
    *arguments: str, cwd: Path, program: str = "ml-pipeline", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=commands.environment(**variables),
        timeout=300,
    )


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a person reads of a failure."""
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "Error: "))]
    assert done.stderr.strip().splitlines()[-1] == line
    return line


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's folder with rows that have text labels; its name has a space."""
    folder = tmp_path_factory.mktemp("my project")
    lines = ["customer id,プラン,months,left"]
    lines += [
        f"{i},{'basic' if i % 3 else 'gold'},{i * 7 % 50},{'yes' if i * 7 % 50 < 20 else 'no'}" for i in range(150)
    ]
    (folder / "my rows.csv").write_text("\n".join(lines) + "\n")
    return folder


SETTINGS: dict[str, Any] = {
    "source": {"csv": "my rows.csv"},
    "target": "left",
    "key": ["customer id"],
    "positive_class": "yes",
    "metric": "f1",
    "estimator": {"class": "sklearn.tree.DecisionTreeClassifier", "grid": {"max_depth": [2, 4]}},
}


@pytest.fixture(scope="module")
def flow(
    project: Path, pipeline_writer: WritePipeline, tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    pipeline_writer(project, **SETTINGS)
    cache = str(tmp_path_factory.mktemp("cache"))
    return start("run", "test.toml", "--state", "my state", cwd=project, XDG_CACHE_HOME=cache)


def test_the_whole_flow_runs_on_a_persons_own_rows(project: Path, flow: subprocess.CompletedProcess[str]) -> None:
    assert flow.returncode == 0, flow.stderr
    assert flow.stderr == ""
    lines = flow.stdout.splitlines()
    tasks = ["datasets.split", "training.prepare", "training.train", "training.compare"]
    tasks += ["validation.validate", "promotion.promote", "batch_inference.score"]
    assert [line.split()[1] for line in lines if line.startswith("SUCCESS")] == tasks
    for table in ("train_validation", "test", "train", "validation", "predictions"):
        assert f"  local.test.{table} " in flow.stdout
        assert f"    my state/warehouse/local/test/{table}" in lines
        assert (project / "my state" / "warehouse" / "local" / "test" / table / "_delta_log").is_dir()
    assert "passed: f1 " in flow.stdout
    assert "150 rows" in flow.stdout
    for name in ("report.md", "report.html"):
        assert f" my state/{name}" in flow.stdout
        assert "passed" in (project / "my state" / name).read_text()
    assert lines[-2] == f"MLflow  sqlite:///{project / 'my state' / 'mlflow.db'}"
    assert lines[-1].strip() == "ml-pipeline ui --state 'my state'"
    assert sorted(path.name for path in project.iterdir()) == ["my rows.csv", "my state", "test.toml"]


def groups(output: str) -> dict[str, list[str]]:
    """The names of the results below each heading."""
    blocks = [block.splitlines() for block in output.split("\n\n")]
    return {
        head: [re.split(r"  +", line.strip())[0] for line in lines if re.match(r"  \S", line)]
        for head, *lines in blocks
        if lines and " " not in head
    }


def test_results_are_grouped_by_job_and_task(flow: subprocess.CompletedProcess[str]) -> None:
    assert groups(flow.stdout) == {
        "datasets.split": ["local.test.test", "local.test.train_validation"],
        "training.prepare": ["local.test.train", "local.test.validation"],
        "training.train": ["MLflow run", "validation f1"],
        "training.compare": ["verdict"],
        "validation.validate": ["verdict", "local.test.model"],
        "promotion.promote": ["local.test.model"],
        "batch_inference.score": ["local.test.predictions"],
    }


def test_a_first_run_prints_no_line_of_mlflow_or_matplotlib(flow: subprocess.CompletedProcess[str]) -> None:
    """The run makes MLflow's database anew, and a feature has a name that the font of the plots lacks."""
    assert flow.returncode == 0
    for noise in ("Traceback", "Warning", "WARNING", "INFO", "Migration", "Glyph"):
        assert noise not in flow.stdout + flow.stderr


def test_the_report_is_written_where_it_is_asked_for(project: Path, flow: subprocess.CompletedProcess[str]) -> None:
    assert flow.returncode == 0
    arguments = ["--pipeline", "test.toml", "--state", "my state", "--output", "my report"]
    done = call("report", *arguments, cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["my report/report.md", "my report/report.html"]
    markdown = (project / "my report" / "report.md").read_text()
    (project / "my report" / "report.md").unlink()
    (project / "my report" / "report.html").unlink()
    (project / "my report").rmdir()
    assert markdown.startswith("# local.test.model: passed")
    assert "DecisionTreeClassifier" in markdown


@pytest.mark.slow
def test_rollback_without_a_champion_before_is_refused(project: Path, flow: subprocess.CompletedProcess[str]) -> None:
    assert flow.returncode == 0
    done = call("rollback", "--pipeline", "test.toml", "--state", "my state", cwd=project)
    assert done.returncode == 2
    assert "local.test.model version 1 replaced no other champion" in error_line(done)


@pytest.mark.slow
def test_a_step_runs_in_a_process_of_its_own(project: Path, flow: subprocess.CompletedProcess[str]) -> None:
    assert flow.returncode == 0
    arguments = [
        "--entry-point=ml_pipeline.steps.split:split",
        '--source={"csv": "my rows.csv"}',
        "--target=left",
        '--key=["customer id"]',
        "--features=[]",
        "--test_share=0.2",
        "--train_validation_table=local.test.train_validation",
        "--test_table=local.test.test",
    ]
    done = start(*arguments, cwd=project, program="run-task", ML_PIPELINE_STATE="my state")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in said] == ["local.test.test", "local.test.train_validation"]
    assert all(line.endswith("version 0 (unchanged)") for line in said)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        pytest.param(
            ["--entry-point=ml_pipeline.steps.promote:promote", "--modell=m"], "did you mean 'model'", id="name"
        ),
        pytest.param(
            [
                "--entry-point=ml_pipeline.steps.compare:compare",
                "--experiment=e",
                "--model=m",
                "--metric=accuracy",
                "--threshold=high",
                *("--tolerance=0", "--significance=0.05", "--on_inconclusive=pass", "--job_run_id=1"),
            ],
            "threshold: ",
            id="value",
        ),
    ],
)
def test_run_task_refuses_a_wrong_parameter(tmp_path: Path, arguments: list[str], match: str) -> None:
    done = call(*arguments, cwd=tmp_path, program="run-task")
    assert done.returncode == 2
    assert match in error_line(done)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_refused_model_exits_with_1(
    project: Path, flow: subprocess.CompletedProcess[str], tmp_path: Path, pipeline_file: WritePipeline
) -> None:
    assert flow.returncode == 0
    file = pipeline_file(**{**SETTINGS, "source": {"csv": str(project / "my rows.csv")}, "threshold": 1.01})
    state = tmp_path / "state"
    shutil.copytree(project / "my state", state)
    origin = str(project / "my state")
    for moved in (str, quote):  # MLflow keeps paths and addresses.
        move_database(state / "mlflow.db", moved(origin), moved(str(state)))
    parameters = ["--parameter", "git_branch=other"]
    names = ["training", "validation"]
    done = call("run", str(file), *names, *parameters, "--state", "state", cwd=tmp_path)
    assert done.returncode == 1
    assert "the model is rejected: f1 " in error_line(done)
    assert "misses the threshold 1.01" in error_line(done)
    assert str(file) in error_line(done)
    assert error_line(done).endswith("; report: state/report.html")
    assert "SKIPPED  validation.validate" in done.stdout
    assert "after training" in done.stdout
    assert "failed" in (state / "report.md").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("changes", "arguments", "matches"),
    [
        pytest.param({"treshold": 0.5}, [], [": treshold: ", "did you mean 'threshold'"], id="misspelt key"),
        pytest.param({"folds": "five"}, [], [": folds: ", "five"], id="wrong type"),
        pytest.param({}, ["datasetz"], ["job 'datasetz' is unknown", "training"], id="unknown job"),
        pytest.param({}, ["--parameter", "comit=1"], ["comit", "git_commit"], id="unknown parameter"),
        pytest.param({}, ["--parameter", "git_commit"], ["KEY=VALUE"], id="no value"),
    ],
)
def test_bad_input_is_refused_at_once(
    tmp_path: Path,
    pipeline_file: WritePipeline,
    changes: dict[str, Any],
    arguments: list[str],
    matches: list[str],
) -> None:
    file = pipeline_file(**changes)
    done = call("run", str(file), *arguments, cwd=tmp_path)
    assert done.returncode == 2
    line = error_line(done)
    for match in [*matches, str(file)] if changes else matches:
        assert match in line
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        pytest.param({"estimator": {"class": "sklearn.tree.Absent"}}, "class: 'sklearn.tree.Absent'", id="estimator"),
        pytest.param({"source": {"csv": "absent.csv"}}, "absent.csv: no such file or folder", id="file"),
    ],
)
def test_bad_input_that_a_step_finds_names_the_file(
    tmp_path: Path, pipeline_file: WritePipeline, changes: dict[str, Any], match: str
) -> None:
    file = pipeline_file(**changes)
    done = call("run", str(file), cwd=tmp_path)
    assert done.returncode == 2
    assert match in error_line(done)
    assert error_line(done).startswith(f"error: {file}: {next(iter(changes))}") or "absent.csv" in error_line(done)


def test_sigterm_ends_a_command_with_one_line(tmp_path: Path, pipeline_file: WritePipeline) -> None:
    program = str(Path(sys.executable).with_name("ml-pipeline"))
    process = subprocess.Popen(
        [program, "run", str(pipeline_file())],
        cwd=tmp_path,
        env=commands.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / ".state").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors.splitlines()[-1]) == (143, "terminated")
    assert "Traceback" not in errors


def test_verbose_shows_the_traceback(tmp_path: Path, pipeline_file: WritePipeline) -> None:
    file = pipeline_file(treshold=0.5)
    done = call("run", "--verbose", str(file), cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {file}: treshold")


def test_an_absent_environment_is_refused_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "mine.toml").touch()
    done = call("run", "--environment", "yours", cwd=tmp_path)
    assert done.returncode == 2
    assert "environment 'yours'" in error_line(done)
    assert "accepted: mine" in error_line(done)


def test_jobs_shows_each_step_as_a_command(tmp_path: Path, pipeline_file: WritePipeline) -> None:
    file = pipeline_file()
    done = call("jobs", str(file), "promotion", "batch_inference", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "promotion (after validation): " in done.stdout
    assert "run-task --entry-point=ml_pipeline.steps.score:score" in done.stdout
    assert "--batch_date={{job.parameters.batch_date}}" in done.stdout
    assert '--source={"' in done.stdout
    assert "datasets" not in done.stdout


def test_jobs_shows_a_task_that_runs_another_job(tmp_path: Path, pipeline_file: WritePipeline) -> None:
    file = pipeline_file(monitoring={"on_drift": "retrain"})
    done = call("jobs", str(file), "batch_inference", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = lines.index("  retrain (after monitor, if one failed): runs the job training")
    assert lines[at + 1] == "    --parameter reason=retraining"


def test_the_only_pipeline_needs_no_name(tmp_path: Path) -> None:
    named, unnamed = (call("jobs", *name, "training", cwd=tmp_path) for name in (["iris"], []))
    assert named.returncode == 0, named.stderr
    assert named.stdout == unnamed.stdout
    assert "--model=local.iris.model" in named.stdout
    assert "--experiment=/Shared/iris" in named.stdout


def test_a_copy_of_the_pipeline_is_one_of_its_own(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[3] / "ml_pipeline/pipelines/iris/pipeline.toml", tmp_path / "my.toml")
    done = call("jobs", "my.toml", "training", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--model=local.my.model" in done.stdout
    assert "--experiment=/Shared/my" in done.stdout


def test_an_environment_overrides_the_settings(tmp_path: Path, pipeline_file: WritePipeline) -> None:
    file = pipeline_file()
    (tmp_path / "environments").mkdir()
    for name, seed in (("local", 1), ("other", 2)):
        text = f'[catalog]\nname = "{name}"\n[pipelines.test]\nseed = {seed}\n'
        (tmp_path / "environments" / f"{name}.toml").write_text(text)
    for arguments, seed, catalog in (([], 1, "local"), (["--environment", "other"], 2, "other")):
        done = call("jobs", file.name, "training", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"--seed={seed}\n" in done.stdout
        assert f"--model={catalog}.test.model" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["run", "absent.toml"], "absent.toml: no such pipeline file"),
        (
            ["run", "irs"],
            "'irs' is neither a pipeline nor a job; pipelines: iris, a .toml file; jobs: datasets, ",
        ),
        (["jobs", "--environment", "old.toml"], "old.toml: [pipeline] is no longer part of an environment"),
        (
            ["report", "--pipeline", "absent"],
            "pipeline 'absent' is unknown; accepted: iris, or the path of a .toml file",
        ),
        (["launch", "training"], "environment 'local': no file environments/local.toml; accepted: none is there"),
    ],
)
def test_a_wrong_pipeline_or_environment_is_refused(tmp_path: Path, arguments: list[str], match: str) -> None:
    (tmp_path / "old.toml").write_text("[pipeline]\nseed = 1\n")
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert match in error_line(done)
