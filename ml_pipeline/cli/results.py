"""The output of ``ml-pipeline run``: each task as it runs, then the results of all tasks, then the errors."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ml_pipeline.cli import options
from ml_pipeline.cli.guard import explain
from ml_pipeline.data import tables
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.local.runner import TaskRun
from ml_pipeline.names import BATCH_INFERENCE, TRAINING, VALIDATION

_LONGEST_NAME = 36
"""Columns of a result's name; the value of a longer name is on the next line."""


class Follower:
    """Shows each task as it runs: a line when it ends, and on a terminal a moving one meanwhile."""

    _COLOURS = {"SUCCESS": "green", "FAILED": "red", "SKIPPED": "yellow", "EXCLUDED": "dim"}  # noqa: RUF012 (a constant)

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")

    def __call__(self, job: str, task: str, run: TaskRun | None) -> None:
        """Show that a task starts (``None``), or how it ended."""
        if run is None:
            self._status.update(f"RUNNING {job}.{task}")
            self._status.start()
            return
        self._status.stop()
        state = f"[{self._COLOURS[run.state]}]{run.state:<8}[/]"
        remark = f"after {run.because}" if run.because else f"{run.seconds:6.1f} s"
        if run.state == "EXCLUDED":
            remark = "nothing failed before it"
        self._console.print(f"{state} {f'{job}.{task}':<24} {remark}", soft_wrap=True)


def report(console: Console, chosen: options.Chosen, runs: Sequence[TaskRun], state: Path) -> int:
    """Print the results and write the reports; then print the errors, each with the report that has the details.

    Returns:
        The exit code: that of the first error, or 0.
    """
    reports: dict[str, list[str]] = {}
    try:
        for run in runs:
            if run.made:
                console.print(f"\n[bold]{escape(f'{run.job}.{run.task}')}[/]", soft_wrap=True)
                _print_results(console, run.made)
        reports = _write(chosen, runs, state)
        console.print()
        _print_places(console, {**reports, "MLflow": _mlflow(state)})
    finally:
        if any(run.error for run in runs):
            console.print()
        verbose = "--verbose" in sys.argv[1:]
        codes = [
            explain(run.error, verbose=verbose, where=f"{chosen.file}: ", report=_of(run, reports))
            for run in runs
            if run.error
        ]
    return codes[0] if codes else 0


def _print_results(console: Console, results: Mapping[str, str]) -> None:
    """Print the results of a task in two columns, and below a table its folder. A value breaks between words only."""
    column = max((len(name) for name in results if len(name) <= _LONGEST_NAME), default=0) + 2
    for name, value in results.items():
        label, indent = f"  {name:<{column}}", " " * (column + 2)
        if len(name) >= column:
            console.print(escape(label), soft_wrap=True)
            label = indent = " " * 4
        wrapper = textwrap.TextWrapper(
            console.width,
            initial_indent=label,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        console.print(escape(wrapper.fill(value)), soft_wrap=True)
        for place in _places(name):
            console.print(f"    {escape(place)}", soft_wrap=True)


def _print_places(console: Console, places: Mapping[str, Sequence[str]]) -> None:
    """Print where to find something: paths, addresses and commands, which never break."""
    column = max(map(len, places)) + 2
    for name, lines in places.items():
        for number, line in enumerate(lines):
            label = "" if number else name
            console.print(escape(f"{label:<{column}}{line}"), soft_wrap=True)


def _places(name: str) -> list[str]:
    """The folder of a table, if the result is one."""
    is_table = name.count(".") == 2 and Path(tables.where(name)).is_dir()
    return [_shown(Path(tables.where(name)))] if is_table else []


def _shown(path: Path) -> str:
    """A path as a person types it: relative if it is below the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _mlflow(state: Path) -> list[str]:
    """The address of MLflow's database, and the command that shows it."""
    from ml_pipeline.registry import tracking

    default = state == options.DEFAULT_STATE.resolve()
    command = "ml-pipeline ui" if default else f"ml-pipeline ui --state {shlex.quote(_shown(state))}"
    return [tracking.local_uri(state), command]


def _write(chosen: options.Chosen, runs: Sequence[TaskRun], state: Path) -> dict[str, list[str]]:
    """Write the reports of training and of the batch into the state folder; return their paths by name."""
    written: dict[str, list[Path]] = {}
    if any(run.job == TRAINING and run.state != "SKIPPED" for run in runs):
        written["report"] = _write_scorecard(chosen, state)
    if any(run.task == "monitor" and _decided(run) for run in runs):
        written["batch report"] = _write_batch_report(chosen.places["experiment"], state)
    return {name: [_shown(file) for file in files] for name, files in written.items() if files}


def _write_scorecard(chosen: options.Chosen, state: Path) -> list[Path]:
    from ml_pipeline.reports.scorecard import collect, write

    try:
        card = collect(**chosen.places)
    except InputError:
        return []  # No run has finished; the error of the failed task explains it.
    return write(card, state)


def _write_batch_report(experiment: str, state: Path) -> list[Path]:
    from ml_pipeline.registry import runs
    from ml_pipeline.reports.batch_report import FILES

    (newest,) = runs.search(experiment, runs.matching(job=BATCH_INFERENCE), most=1)
    texts = {name: runs.read_file(newest, name) for name in FILES}
    for name, text in texts.items():
        if text:
            (state / name).write_bytes(text)
    return [state / name for name, text in texts.items() if text]


def _decided(run: TaskRun) -> bool:
    """Whether a task has a verdict: it succeeded, or a check failed."""
    return run.state == "SUCCESS" or isinstance(run.error, CheckFailedError)


def _of(run: TaskRun, reports: Mapping[str, Sequence[str]]) -> str:
    """The page with the details of a failed check, if there is one."""
    name = {TRAINING: "report", VALIDATION: "report", BATCH_INFERENCE: "batch report"}.get(run.job, "")
    return next((file for file in reports.get(name, []) if file.endswith(".html") and _decided(run)), "")
