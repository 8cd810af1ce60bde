"""The pages, for a person to look at: what there is, and how a run goes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter

from flask import Blueprint, render_template

from infra.rehearsal.api import Document, now
from infra.rehearsal.run_state import ended, graph, latest
from infra.rehearsal.runs import Runs
from infra.rehearsal.task_process import output

_MOST_RUNS = 50
_BOX = (190, 46)
_GAP = (60, 18)


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
    return list(boxes.values()), wide, max(rows.values(), default=1) * (_BOX[1] + _GAP[1])


def duration(run: Document) -> str:
    """How long a run or a task took, or has been running."""
    if not run["start_time"]:
        return "-"
    seconds = ((run["end_time"] or now()) - run["start_time"]) / 1000
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def moment(milliseconds: int) -> str:
    """A point in time for a person, in UTC."""
    if not milliseconds:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def said(run: Document) -> str:
    """The state of a run or a task in one word: its result once it has one."""
    return str(run["state"].get("result_state") or run["state"]["life_cycle_state"])


def blueprint(runs: Runs) -> Blueprint:
    """The pages."""
    routes, store = Blueprint("pages", __name__, template_folder="templates"), runs.workspace.store
    for helper in (duration, moment, said):
        routes.add_app_template_filter(helper)

    def newest(job_id: int | None = None) -> list[Document]:
        found = store.all("runs")[::-1]
        return [run for run in found if job_id in (None, run["job_id"])][:_MOST_RUNS]

    @routes.get("/")
    def overview() -> str:
        shown = newest()
        last = {run["job_id"]: run for run in reversed(shown)}
        busy = not all(map(ended, shown))
        kept = {"pools": store.all("pools"), "jobs": store.all("jobs")}
        return render_template("overview.html", runs=shown, latest=last, busy=busy, **kept)

    @routes.get("/jobs/<int:job_id>")
    def show_job(job_id: int) -> str:
        found, shown = store.find("jobs", job_id), newest(job_id)
        return render_template("job.html", job=found, runs=shown, busy=not all(map(ended, shown)))

    @routes.get("/jobs/<int:_job_id>/runs/<int:run_id>")
    def show_run(_job_id: int, run_id: int) -> str:
        run = store.find("runs", run_id)
        boxes, width, height = picture(list(latest(run).values()))
        attempts = [(task, output(task, runs.workspace.log(task))["logs"]) for task in run["tasks"]]
        drawn = {"boxes": boxes, "width": width, "height": height, "box": _BOX, "states": latest(run)}
        return render_template("run.html", run=run, attempts=attempts, busy=not ended(run), **drawn)

    return routes
