"""The states of runs and of their tasks, how one follows from others, and what references to a run stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from infra.rehearsal.api import Document, now

_ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
_FAILURES = ("FAILED", "TIMEDOUT", "CANCELED", "UPSTREAM_FAILED", "UPSTREAM_CANCELED")
_STATES_V2 = {"WAITING_FOR_RETRY": "WAITING", **dict.fromkeys(_ENDED, "TERMINATED")}
_CODES = {
    "SUCCESS": ("SUCCESS", "SUCCESS"),
    "FAILED": ("RUN_EXECUTION_ERROR", "CLIENT_ERROR"),
    "TIMEDOUT": ("CANCELED", "CLIENT_ERROR"),
    "CANCELED": ("USER_CANCELED", "SUCCESS"),
    "EXCLUDED": ("SKIPPED", "SUCCESS"),
    "UPSTREAM_FAILED": ("SKIPPED", "CLIENT_ERROR"),
    "UPSTREAM_CANCELED": ("SKIPPED", "SUCCESS"),
    "SUCCESS_WITH_FAILURES": ("SUCCESS_WITH_FAILURES", "SUCCESS"),
    "MAXIMUM_CONCURRENT_RUNS_REACHED": ("MAX_CONCURRENT_RUNS_EXCEEDED", "CLIENT_ERROR"),
}
MESSAGES = {
    "FAILED": "Workload failed, see run output for details",
    "TIMEDOUT": "Timed out",
    "CANCELED": "Run cancelled.",
}
_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def state(life: str, result: str | None = None, message: str = "", *, code: str | None = None) -> Document:
    """The state of a run or of a task, in the older form and in the newer; and when it ended, if it did."""
    older = {"life_cycle_state": life, "state_message": message, "user_cancelled_or_timedout": False}
    newer: Document = {"state": _STATES_V2.get(life, life)}
    if result:
        older |= {"result_state": result, "user_cancelled_or_timedout": result in ("CANCELED", "TIMEDOUT")}
    if life in _ENDED:
        known = _CODES[result] if result else ("INTERNAL_ERROR", "INTERNAL_ERROR")
        newer["termination_details"] = {"code": code or known[0], "type": known[1], "message": message}
        return {"state": older, "status": newer, "end_time": now()}
    return {"state": older, "status": newer}


def ended(run: Document) -> bool:
    """Whether a run or a task is over."""
    return run["state"]["life_cycle_state"] in _ENDED


def latest(run: Document) -> dict[str, Document]:
    """The last attempt of each task of a run."""
    return {task["task_key"]: task for task in run["tasks"]}


def became(run: Document) -> Document:
    """What has become of a run, as its history of repairs has it."""
    return {key: run[key] for key in ("end_time", "state", "status")}


def graph(tasks: Iterable[Document]) -> dict[str, list[str]]:
    """For each task, those that come before it."""
    return {task["task_key"]: [one["task_key"] for one in task.get("depends_on") or []] for task in tasks}


def hinders(run_if: str, before: Sequence[str]) -> str | None:
    """What becomes of a task that may not run, by the results of those before it; ``None`` if it may."""
    counted = [result for result in before if result != "EXCLUDED"]
    failed = [result in _FAILURES for result in counted]
    upstream = "UPSTREAM_CANCELED" if "CANCELED" in counted else "UPSTREAM_FAILED"
    if not before or run_if == "ALL_DONE":
        return None
    if not counted:
        return "EXCLUDED"
    if run_if in ("ALL_FAILED", "AT_LEAST_ONE_FAILED"):
        wanted = all(failed) if run_if == "ALL_FAILED" else any(failed)
        return None if wanted else "EXCLUDED"
    if run_if == "AT_LEAST_ONE_SUCCESS":
        return None if "SUCCESS" in counted else upstream
    return upstream if any(failed) else None


def conclude(run: Document, stopped: str | None) -> None:
    """Sum up a run as Databricks does, by the tasks that no other comes after.

    Args:
        run: The run, whose tasks have ended.
        stopped: Result of a task that has to end now; ``None`` if nothing ends the run.
    """
    tasks = latest(run)
    before = {other for others in graph(tasks.values()).values() for other in others}
    results = {key: task["state"]["result_state"] for key, task in tasks.items()}
    leaves = [result for key, result in results.items() if key not in before]
    failed = [key for key, result in results.items() if result == "FAILED"]
    interrupted = set(results.values()) & {"CANCELED", "TIMEDOUT"}
    if stopped and interrupted:
        outcome = state("TERMINATED", stopped, MESSAGES[stopped])
    elif any(result in _FAILURES for result in leaves):
        key = failed[0] if failed else next(key for key, result in results.items() if result in _FAILURES)
        said = tasks[key]["state"]["state_message"]
        code = tasks[key]["status"]["termination_details"]["code"]
        message = f"Task {key} failed with message: {said}."
        if "UPSTREAM_FAILED" in results.values():
            message += " This caused all downstream tasks to get skipped."
        # A run whose tasks fail ends so, although the tasks themselves are TERMINATED.
        outcome = state("INTERNAL_ERROR", "FAILED", message, code=code)
    elif any(result in _FAILURES for result in results.values()):
        outcome = state("TERMINATED", "SUCCESS_WITH_FAILURES")
    else:
        outcome = state("TERMINATED", "SUCCESS")
    run |= outcome
    run["run_duration"] = run["execution_duration"] = run["end_time"] - run["start_time"]


def interrupt(run: Document) -> None:
    """Let a run, and its tasks that are active, be interrupted by the end of the server."""
    message = "The rehearsal workspace ended while this was active."
    for one in (*run["tasks"], run):
        if not ended(one):
            one.update(state("INTERNAL_ERROR", "FAILED", message, code="INTERNAL_ERROR"))


def substitute(text: str, known: Mapping[str, str]) -> str:
    """Replace references, such as ``{{job.run_id}}``, to what is known; others stay as they are, as on Databricks."""
    return _REFERENCE.sub(lambda match: known.get(match[1], match[0]), text)


def reference_values(host: str, run: Document, task: Document | None = None) -> dict[str, str]:
    """What each reference of a run, or of one of its tasks, stands for."""
    start = datetime.fromtimestamp(run["start_time"] / 1000, UTC)
    found = {
        "workspace.id": "1",
        "workspace.url": host,
        "job.id": str(run["job_id"]),
        "job.name": run["run_name"],
        "job.run_id": str(run["run_id"]),
        "job.repair_count": str(len(run["repair_history"]) - 1),
        "job.start_time.iso_date": start.date().isoformat(),
        "job.start_time.iso_datetime": start.strftime("%Y-%m-%dT%H:%M:%S"),
        "job.start_time.timestamp_ms": str(run["start_time"]),
        "job.trigger.type": run["trigger"].lower(),
    }
    for part in ("year", "month", "day", "hour", "minute", "second"):
        found[f"job.start_time.{part}"] = str(getattr(start, part))
    found |= {f"job.parameters.{entry['name']}": entry["value"] for entry in run.get("job_parameters") or []}
    if task:
        found |= {"task.name": task["task_key"], "task.run_id": str(task["run_id"])}
        found["task.execution_count"] = str(task["attempt_number"] + 1)
    return found
