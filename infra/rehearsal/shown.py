"""How pages show states, times and sizes."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint

from infra.rehearsal.api import Document, now

_KINDS = {
    "SUCCESS": "good",
    "FINISHED": "good",
    "passed": "good",
    "failed": "bad",
    "inconclusive": "busy",
    **dict.fromkeys(("FAILED", "INTERNAL_ERROR", "TIMEDOUT", "KILLED"), "bad"),
    **dict.fromkeys(("RUNNING", "PENDING", "QUEUED", "TERMINATING"), "busy"),
}


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


def result(run: Document) -> str:
    """The state of a run or a task in one word: its result once it has one."""
    return str(run["state"].get("result_state") or run["state"]["life_cycle_state"])


def kind(word: str) -> str:
    """The class of a state, which gives it its colour."""
    return _KINDS.get(word, "other")


def size(number: int) -> str:
    """A number of bytes for a person."""
    amount = float(number)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def pages(name: str) -> Blueprint:
    """A blueprint whose templates have these filters."""
    routes = Blueprint(name, __name__)
    for helper in (duration, moment, result, kind, size):
        routes.add_app_template_filter(helper)
    return routes
