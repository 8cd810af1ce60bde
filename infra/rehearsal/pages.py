"""The pages of jobs and runs: deployed jobs, failures first, and the tasks and logs of a run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from graphlib import TopologicalSorter

from flask import Blueprint, Response

from infra.rehearsal import shown
from infra.rehearsal.api import Document
from infra.rehearsal.run_state import ended, graph, latest
from infra.rehearsal.runs import Runs
from infra.rehearsal.sign_in import page
from infra.rehearsal.task_process import output

_MOST_RUNS = 50
_MOST_FAILURES = 5
_BOX = (190, 46)
_GAP = (60, 18)
_MARGIN = 48
"""Pixels of a page beside the picture."""


@dataclass(frozen=True)
class Box:
    """A task in the picture of a run's tasks."""

    key: str
    x: int
    y: int
    before: tuple[Box, ...]


def picture(tasks: list[Document]) -> tuple[list[Box], int, int]:
    """Where each task is drawn, from left to right by what comes before it; and the picture's width and height."""
    before = graph(tasks)
    boxes: dict[str, Box] = {}
    rows: dict[int, int] = {}
    columns: dict[str, int] = {}
    for key in TopologicalSorter(before).static_order():
        column = max((columns[other] + 1 for other in before[key]), default=0)
        row = rows.get(column, 0)
        columns[key], rows[column] = column, row + 1
        place = (column * (_BOX[0] + _GAP[0]), row * (_BOX[1] + _GAP[1]))
        boxes[key] = Box(key, *place, tuple(boxes[other] for other in before[key]))
    wide = max(columns.values(), default=0) * (_BOX[0] + _GAP[0]) + _BOX[0]
    high = max(rows.values(), default=1) * (_BOX[1] + _GAP[1]) - _GAP[1]
    return list(boxes.values()), wide, high


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attempt of a task, with its log."""

    task: Document
    log: str
    error: str
    is_cut: bool
    """Whether the beginning of the log is left out."""

    @property
    def order(self) -> tuple[int, int]:
        """Failed attempts come first, the newest before the others; then those that are running."""
        word = shown.result(self.task)
        rank = 0 if word in ("FAILED", "TIMEDOUT", "INTERNAL_ERROR") else 1 if shown.kind(word) == "busy" else 2
        return rank, -self.task["attempt_number"] if rank == 0 else 0


def attempts(runs: Runs, run: Document) -> list[Attempt]:
    """The attempts of a run's tasks, a failing one first."""
    found = []
    for task in run["tasks"]:
        written = output(task, runs.workspace.log(task))
        one = Attempt(
            task=task, log=written["logs"], error=written.get("error", ""), is_cut=bool(written["logs_truncated"])
        )
        found.append(one)
    return sorted(found, key=lambda one: one.order)


def blueprint(runs: Runs) -> Blueprint:
    """The pages."""
    routes, store = shown.pages("pages"), runs.workspace.store

    def newest(job_id: int | None = None) -> list[Document]:
        found = store.all("runs")[::-1]
        return [run for run in found if job_id in (None, run["job_id"])][:_MOST_RUNS]

    @routes.app_context_processor
    def connection() -> Document:
        file = runs.workspace.folder / "token"
        return {"host": runs.workspace.host, "token_file": shlex.quote(str(file)) if file.exists() else ""}

    @routes.get("/")
    def overview() -> Response:
        recent = newest()
        last = {run["job_id"]: run for run in reversed(recent)}
        broken = [run for run in reversed(last.values()) if shown.kind(shown.result(run)) == "bad"]
        kept: Document = {"pools": store.all("pools"), "jobs": store.all("jobs")}
        failures = [(run, attempts(runs, run)[0]) for run in broken[:_MOST_FAILURES]]
        busy = not all(map(ended, recent))
        return page("overview.html", runs=recent, latest=last, failures=failures, busy=busy, here="jobs", **kept)

    @routes.get("/jobs/<int:job_id>")
    def show_job(job_id: int) -> Response:
        found, recent = store.find("jobs", job_id), newest(job_id)
        return page("job.html", job=found, runs=recent, busy=not all(map(ended, recent)), here="jobs")

    @routes.get("/jobs/<int:_job_id>/runs/<int:run_id>")
    def show_run(_job_id: int, run_id: int) -> Response:
        run = store.find("runs", run_id)
        boxes, width, height = picture(list(latest(run).values()))
        is_wide = width > 768 - _MARGIN
        drawn: Document = {"boxes": boxes, "width": width, "height": height, "box": _BOX, "states": latest(run)}
        return page(
            "run.html",
            run=run,
            attempts=attempts(runs, run),
            busy=not ended(run),
            is_wide=is_wide,
            is_job=store.get("jobs", run["job_id"]) is not None,
            here="jobs",
            **drawn,
        )

    return routes
