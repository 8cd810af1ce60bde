"""Faults of the machine: one line, and another exit code than a person's mistake has."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_pipeline import errors
from ml_pipeline.errors import PipelineError
from ml_pipeline.registry import runs, tracking
from tests import commands
from tests.ml_pipeline.conftest import EXPERIMENT

if TYPE_CHECKING:
    from tests.ml_pipeline.conftest import State

COMMIT = "00000000000000000000.json"


def table(state: State, name: str = "train_validation") -> Path:
    return state.folder / "warehouse" / "local" / "test" / name


@contextmanager
def locked(state: State) -> Iterator[None]:
    with closing(sqlite3.connect(state.folder / "mlflow.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.slow
def test_files_of_a_table_that_are_gone_are_no_mistake_of_a_person(trained: State) -> None:
    (data,) = table(trained).rglob("part-*.parquet")  # Newer versions of Delta make folders.
    data.rename(trained.folder / "kept")
    with trained.refuses(f"table local.test.train_validation: can't be read: File file:{data} ", PipelineError):
        trained.step("prepare", run_id="9")
    (trained.folder / "kept").rename(data)
    (table(trained) / "_delta_log" / COMMIT).unlink()
    for step in ("prepare", "split"):
        with trained.refuses("the log of a Delta table is damaged: .*train_validation", PipelineError):
            trained.step(step, run_id="9")
    # The remedy that the message names.
    shutil.rmtree(table(trained))
    shutil.rmtree(table(trained, "test"))
    table(trained, "test").touch()
    with trained.refuses("the folder of a Delta table can't be written: .*local/test/test", PipelineError):
        trained.step("split", test_share=0.3)


@pytest.mark.slow
def test_a_database_that_stays_locked_is_one_line(trained: State, capfd: pytest.CaptureFixture[str]) -> None:
    with locked(trained), trained.refuses("MLflow's database is locked .*; end the process that holds", PipelineError):
        trained.step("prepare", run_id="9")
    assert "Traceback" not in capfd.readouterr().err
    with locked(trained):
        done = commands.call("rollback", "--state", str(trained.folder), cwd=trained.folder)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {trained.folder / 'mlflow.db'}: can't be read: database is locked")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("text, and no database at all" * 50)
    done = commands.call("report", "--state", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'mlflow.db'}: can't be read: file is not a database")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Caused by: java.io.IOException: x/_delta_log/1.json: gone", "the log of a Delta table is damaged: x/_delta"),
        ("[DELTA_VERSIONS_NOT_CONTIGUOUS] Versions [0, 2]", "the log of a Delta table is damaged: [DELTA_VERSIONS"),
        ("[Errno 13] Permission denied: '/a'", "[Errno 13] Permission denied: '/a'; see who owns the file or folder"),
    ],
)
def test_a_fault_of_the_machine_is_explained(text: str, message: str) -> None:
    explained = errors.explain(RuntimeError(f"An error occurred\n{text}\n\tat java.base"))
    assert explained is not None
    assert explained.exit_code == 1
    assert str(explained).startswith(message)


def test_a_deleted_experiment_is_named_with_the_way_to_restore_it(state: State) -> None:
    number = tracking.experiment_id(EXPERIMENT)
    tracking.client().delete_experiment(number)
    with state.refuses(f"experiment {EXPERIMENT} was deleted; restore it: .* --experiment-id {number}$", PipelineError):
        runs.search(EXPERIMENT, "", most=1)


def test_a_state_folder_that_was_moved_is_rejected_at_once(state: State, tmp_path: Path) -> None:
    tracking.experiment_id(EXPERIMENT)
    shutil.copytree(state.folder, tmp_path / "moved")
    for command in (["run"], ["report"]):
        done = commands.call(*command, "--state", "moved", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(
            f"error: --state {tmp_path / 'moved'}: was moved or copied: MLflow keeps the artifacts of"
        )
        assert f"{state.folder.as_uri()}/artifacts" in line


@pytest.mark.slow
def test_a_predictor_that_is_loaded_first_asks_the_state_folder(flown: State) -> None:
    load = "predictor.load('models:/local.test.model/1').model"
    program = f"from ml_pipeline.model import predictor; print(type({load}).__name__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=commands.environment(ML_PIPELINE_STATE=str(flown.folder)),
        cwd=flown.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["Pipeline"]), done.stderr
    assert not (flown.folder / "mlruns").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "run {run} has no evaluation.json"),
        ("no JSON", "run {run}: evaluation.json is not a JSON object"),
        ('{"version": 99}', "run {run}: evaluation.json has format version 99; expected at most"),
    ],
    ids=["gone", "damaged", "of a newer release"],
)
def test_a_run_whose_evaluation_is_unreadable_is_left_out_of_the_comparison(
    trained: State, capsys: pytest.CaptureFixture[str], content: str | None, problem: str
) -> None:
    old = trained.newest()
    (evaluation,) = (trained.folder / "artifacts" / old.info.run_id).rglob("evaluation.json")
    if content is None:
        shutil.rmtree(trained.folder / "artifacts" / old.info.run_id)
    else:
        evaluation.write_text(content)
    trained.run("training").succeeded()
    line = f"run {old.info.run_name} is left out of the comparison: {problem.format(run=old.info.run_id)}"
    assert any(each.startswith(line) for each in capsys.readouterr().out.splitlines())
    assert trained.newest().data.tags["validate.compared_with"] == ""
