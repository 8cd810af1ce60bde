"""The output of the commands: at 80 columns, in a pipe, and as help."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml_pipeline.cli import results
from ml_pipeline.cli.console import console
from ml_pipeline.cli.guard import quieten
from ml_pipeline.cli.main import cli
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.local.runner import TaskRun

VERDICT = "passed: accuracy 0.9643 reaches the threshold 0.8; nothing to compare with on the same rows"
LONG = "local.a_pipeline_with_quite_a_long_name_of_its_own.train_validation"
RUNS = [
    TaskRun(job="training", task="compare", state="SUCCESS", made={"verdict": VERDICT}),
    TaskRun(job="validation", task="validate", state="SUCCESS", made={"verdict": f"test {VERDICT}", LONG: "125 rows"}),
]


def printed(
    runs: list[TaskRun], state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], list[str]]:
    monkeypatch.chdir(state.parent)
    monkeypatch.setenv("ML_PIPELINE_STATE", str(state))
    monkeypatch.setattr(results, "_write", lambda *_: {"report": [".state/report.md", ".state/report.html"]})
    chosen: Any = SimpleNamespace(file=Path("my.toml"))
    results.report(console(), chosen, runs, state)
    output = capsys.readouterr()
    return output.out.splitlines(), output.err.splitlines()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder whose path is a lot longer than a terminal of eighty columns is wide" / ".state"
    folder.mkdir(parents=True)
    folder.joinpath("warehouse", *LONG.split(".")).mkdir(parents=True)
    return folder


def test_at_80_columns_lines_break_between_words_and_paths_never(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines, _ = printed(RUNS, state, monkeypatch, capsys)

    *results_, database, command = lines
    table = f"    .state/warehouse/{LONG.replace('.', '/')}"
    assert [line for line in results_ if len(line) > 80] == [table]
    assert "  verdict  passed: accuracy 0.9643 reaches the threshold 0.8; nothing to compare" in lines
    assert "           with on the same rows" in lines
    assert not [line for line in lines if line != line.rstrip()]
    assert database == f"MLflow  sqlite:///{state}/mlflow.db"
    assert command == "        ml-pipeline ui"


def test_in_a_pipe_a_result_is_one_line(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines, _ = printed(RUNS, state, monkeypatch, capsys)

    assert f"  verdict  {VERDICT}" in lines
    assert not [line for line in lines if line != line.rstrip()]


def test_two_verdicts_are_told_apart_by_their_task(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, _ = printed(RUNS, state, monkeypatch, capsys)

    heads = [line for line in lines if line and not line.startswith((" ", "report", "MLflow"))]
    assert heads == ["training.compare", "validation.validate"]


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (CheckFailedError("too low"), "; report: .state/report.html"),
        (InputError("threshold: wrong"), ""),
        (RuntimeError("no memory"), " (--verbose shows the traceback)"),
    ],
)
def test_the_failure_comes_last_and_a_failed_check_names_the_report(
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    report: str,
) -> None:
    failed = TaskRun(job="training", task="compare", state="FAILED", error=error)
    lines, errors = printed([failed], state, monkeypatch, capsys)

    assert len(errors) == 1
    assert re.fullmatch(rf"error: my\.toml: .*{re.escape(str(error))}{re.escape(report)}", errors[0])
    assert lines[-2].strip() == "ml-pipeline ui"


def test_help_groups_the_commands_and_shows_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"], standalone_mode=False)
    text = capsys.readouterr().out
    head, *sections = re.split(r"^(?=[A-Z].*:$)", text, flags=re.MULTILINE)
    names = re.compile(r"^  ([a-z-]+) ", flags=re.MULTILINE)
    places = {section.splitlines()[0]: names.findall(section) for section in sections}

    assert "Usage: " in head
    assert "..." not in text.replace("[ARGS]...", "")
    assert places["On this machine:"] == ["init", "check", "jobs", "run", "ui"]
    assert places["In a workspace:"] == ["launch"]
    shown = [name for found in places.values() for name in found]
    assert sorted(shown) == sorted(cli.commands)
    for name, command in cli.commands.items():
        (sentence,) = re.findall(rf"^  {name} +(.*(?:\n {{10,}}.*)*)", text, flags=re.MULTILINE)
        assert " ".join(sentence.split()) == command.get_short_help_str(limit=1000), name


def test_a_character_that_the_font_of_a_plot_lacks_is_no_warning() -> None:
    from ml_pipeline.reports import figures

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quieten(verbose=False)
        figures.png(_titled("日本"))
    assert [str(warning.message) for warning in caught if "Glyph" in str(warning.message)] == []


def test_the_first_plot_on_a_machine_prints_nothing(caplog: pytest.LogCaptureFixture) -> None:
    quieten(verbose=False)
    # As matplotlib does once building its cache of fonts takes five seconds.
    logging.getLogger("matplotlib.font_manager").warning("Matplotlib is building the font cache")
    assert caplog.messages == []


def _titled(title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.suptitle(title)
    return figure
