"""The endpoints of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, request

from infra.rehearsal import shapes
from infra.rehearsal.access import denied
from infra.rehearsal.api import (
    USER,
    Document,
    asked,
    body,
    caller,
    flag,
    invalid,
    missing,
    not_implemented,
    number,
    page,
    required,
    versioned,
)
from infra.rehearsal.jobs import asked_job, checked
from infra.rehearsal.run_state import became, ended, graph, latest
from infra.rehearsal.runs import Runs
from infra.rehearsal.store import Store
from infra.rehearsal.task_process import output

_SEE = "CAN_VIEW"
_OWN = ("settings", "idempotency_token", "repair_history", "run_as")
"""What is kept of a run that Databricks doesn't show, or not unless it is asked."""
_INNER = ("resolved", "started")
"""The same of a task."""


def _shown(run: Document) -> Document:
    tasks = [{key: value for key, value in task.items() if key not in _INNER} for task in run["tasks"]]
    return {key: value for key, value in run.items() if key not in _OWN} | {"tasks": tasks}


def _history(run: Document) -> Document:
    *past, last = run["repair_history"]
    return {"repair_history": [*past, last | became(run)]}


def _run_of_task(run: Document, task: Document) -> Document:
    """A task's run as a run of its own, which is how Databricks shows it by its own id."""
    kept = ("job_id", "creator_user_name", "run_type", "trigger", "format", "job_clusters", "job_parameters")
    own = {"run_name": task["task_key"], "parent_run_id": run["run_id"], "tasks": [task]}
    settings = ("task_key", "depends_on", "libraries", "python_wheel_task", "run_job_task", "run_if")
    shared = {key: run[key] for key in kept}
    return shared | {key: value for key, value in task.items() if key not in (*settings, *_INNER)} | own


def blueprint(runs: Runs) -> Blueprint:
    """The endpoints of runs."""
    routes = versioned("jobs", "2.0", "2.1", "2.2")
    routes.name = "runs"
    for add in (_add_starting, _add_reading, _add_ending):
        add(routes, runs.workspace.store, runs)
    return routes


def _add_starting(routes: Blueprint, store: Store, runs: Runs) -> None:
    @routes.post("/run-now")
    def run_now() -> Document:
        given = shapes.honoured(body(), shapes.RUN_NOW)
        found = asked_job(runs.workspace, given, "CAN_MANAGE_RUN")
        settings = found["settings"] | {key: given[key] for key in ("queue",) if key in given}
        if not settings.get("tasks"):
            raise invalid("The job has no task.")
        if given.get("only"):
            settings["tasks"] = _only(settings["tasks"], given["only"])
        run = runs.start(
            found["job_id"],
            settings,
            parameters=given.get("job_parameters", {}),
            overriding=_overriding(given),
            token=given.get("idempotency_token"),
            creator=caller(),
        )
        return {"run_id": run["run_id"], "number_in_job": run["number_in_job"]}

    @routes.post("/runs/submit")
    def submit() -> Document:
        settings = checked(runs.workspace, body())
        if not settings.get("tasks"):
            raise invalid("Missing required field: tasks")
        token = settings.pop("idempotency_token", None)
        return {"run_id": runs.start(None, settings, parameters={}, token=token, creator=caller())["run_id"]}

    @routes.post("/runs/repair")
    def repair() -> Document:
        given = shapes.honoured(body(), shapes.REPAIR)
        with store.lock:
            run = _the_run(runs, given, "CAN_MANAGE_RUN")
            if not ended(run):
                raise invalid("Only a run that has ended can be repaired.")
            previous = run["repair_history"][-1].get("id")
            if previous and given.get("latest_repair_id") != previous:
                raise invalid(f"latest_repair_id must be {previous}, that of the last repair")
            keys = _again(run, given)
            if not keys:
                raise invalid("There is no task to run again.")
            parameters = given.get("job_parameters", {})
            return {"repair_id": runs.repair(run["run_id"], keys, parameters=parameters, overriding=_overriding(given))}


def _add_reading(routes: Blueprint, store: Store, runs: Runs) -> None:
    @routes.get("/runs/get")
    def get() -> Document:
        given = asked()
        task = _the_task(runs, given.get("run_id"), _SEE)
        if task:
            return _run_of_task(*task)
        run = _the_run(runs, given, _SEE)
        return _shown(run) | (_history(run) if flag(given.get("include_history")) else {})

    @routes.get("/runs/list")
    def list_() -> Document:
        limit = number(request.args.get("limit", 20), "limit") or 25
        if not 1 <= limit <= 26:
            raise invalid("limit must be between 1 and 25")
        found = [run for run in _asked_for(store) if _may(runs, _SEE, run)]
        shown, more = page(found[::-1], limit=limit)
        whole = flag(request.args.get("expand_tasks"))
        listed = [
            {k: v for k, v in _shown(run).items() if whole or k not in ("tasks", "job_clusters")} for run in shown
        ]
        return {"runs": listed, **more} if listed else more

    @routes.get("/runs/get-output")
    def get_output() -> Document:
        given = asked()
        task = _the_task(runs, given.get("run_id"), _SEE)
        if task is None:
            _the_run(runs, given, _SEE)
            raise invalid(
                "Retrieving the output of runs with multiple tasks is not supported."
                " Please retrieve the output of each individual task run instead."
            )
        return {"metadata": _run_of_task(*task), **output(task[1], runs.workspace.log(task[1]))}

    @routes.get("/runs/export")
    def export() -> Document:
        raise not_implemented("jobs/runs/export: there are no notebooks")


def _add_ending(routes: Blueprint, store: Store, runs: Runs) -> None:
    @routes.post("/runs/cancel")
    def cancel() -> Document:
        given = body()
        task = _the_task(runs, given.get("run_id"), "CAN_MANAGE_RUN")
        runs.cancel((task[0] if task else _the_run(runs, given, "CAN_MANAGE_RUN"))["run_id"])
        return {}

    @routes.post("/runs/cancel-all")
    def cancel_all() -> Document:
        given = body()
        queued = flag(given.get("all_queued_runs"))
        every = queued and "job_id" not in given
        job_id = None if every else asked_job(runs.workspace, given, "CAN_MANAGE_RUN")["job_id"]
        runs.cancel_all(job_id, queued=queued, may=lambda run: _may(runs, "CAN_MANAGE_RUN", run))
        return {}

    @routes.post("/runs/delete")
    def delete() -> Document:
        run = _the_run(runs, body(), "CAN_MANAGE")
        if not ended(run):
            raise invalid(f"Run {run['run_id']} is still active; cancel it first.")
        store.delete("runs", run["run_id"])
        for task in run["tasks"]:
            store.delete("task_runs", task["run_id"])
        return {}


def _asked_for(store: Store) -> list[Document]:
    """The runs that the query of a list asks for."""
    active, completed = (flag(request.args.get(key)) for key in ("active_only", "completed_only"))
    if active and completed:
        raise invalid("active_only and completed_only can't both be true")
    found = [run for run in store.all("runs") if not ((active and ended(run)) or (completed and not ended(run)))]
    if "job_id" in request.args:
        found = [run for run in found if str(run["job_id"]) == request.args["job_id"]]
    for key, keep in (("start_time_from", 1), ("start_time_to", -1)):
        if key in request.args:
            border = number(request.args[key], key)
            found = [run for run in found if (run["start_time"] - border) * keep >= 0]
    if "run_type" in request.args:
        found = [run for run in found if run["run_type"] == request.args["run_type"]]
    return found


def _may(runs: Runs, level: str, run: Document) -> bool:
    """Whether who asks has a level for a run's job; a run without a job is its creator's."""
    if caller() == USER:
        return True
    if run["run_type"] == "SUBMIT_RUN":
        return bool(run["creator_user_name"] == caller())
    known = runs.workspace.store.get("jobs", run["job_id"]) is not None
    return known and runs.workspace.access.may(level, "jobs", run["job_id"])


def _allowed(runs: Runs, level: str, run_id: object) -> Document:
    run = runs.workspace.store.find("runs", run_id)
    if not _may(runs, level, run):
        raise denied(level, f"job {run['job_id']}")
    return run


def _the_run(runs: Runs, given: Mapping[str, Any], level: str) -> Document:
    return _allowed(runs, level, number(required(given, "run_id"), "run_id"))


def _the_task(runs: Runs, task_run_id: object, level: str) -> tuple[Document, Document] | None:
    kept = runs.workspace.store.get("task_runs", task_run_id)
    if kept is None:
        return None
    run = _allowed(runs, level, kept["run_id"])
    return run, next(task for task in run["tasks"] if str(task["run_id"]) == str(task_run_id))


def _again(run: Document, given: Document) -> set[str]:
    """The tasks that a repair runs again."""
    tasks = latest(run)
    keys = set(given.get("rerun_tasks", []))
    for key in keys - set(tasks):
        raise missing(f"The run has no task '{key}'.")
    if keys and given.get("rerun_all_failed_tasks"):
        raise invalid("Only one of rerun_tasks and rerun_all_failed_tasks can be given.")
    if given.get("rerun_all_failed_tasks"):
        fine = ("SUCCESS", "EXCLUDED")
        keys |= {key for key, task in tasks.items() if task["state"].get("result_state") not in fine}
    if given.get("rerun_dependent_tasks"):
        keys |= _downstream(keys, graph(tasks.values()))
    return keys


def _downstream(keys: set[str], before: Mapping[str, list[str]]) -> set[str]:
    found = set(keys)
    for _ in before:
        found |= {key for key, others in before.items() if found & set(others)}
    return found


def _only(tasks: list[Document], only: list[str]) -> list[Document]:
    """The tasks that a run is to run: ``+task`` is one with all before it, ``task+`` with all after it."""
    before = graph(tasks)
    after = {key: [other for other, others in before.items() if key in others] for key in before}
    keys: set[str] = set()
    for given in only:
        key = given.removeprefix("+").removesuffix("+")
        if key not in before:
            raise invalid(f"only: the job has no task '{key}'.")
        keys.add(key)
        if given.startswith("+"):
            keys |= _downstream({key}, after)
        if given.endswith("+"):
            keys |= _downstream({key}, before)
    # What isn't run can't be waited for.
    return [
        task | {"depends_on": [one for one in task.get("depends_on", []) if one["task_key"] in keys]}
        for task in tasks
        if task["task_key"] in keys
    ]


def _overriding(given: Document) -> Document:
    """Parameters of wheel tasks, as older callers give them."""
    return {key: given[key] for key in ("python_named_params", "python_params") if key in given}
