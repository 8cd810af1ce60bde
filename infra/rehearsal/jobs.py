"""Jobs: what they are made of, what is rejected, and their endpoints."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from flask import Blueprint, request

from infra.rehearsal import shapes
from infra.rehearsal.access import named
from infra.rehearsal.api import (
    USER,
    ApiError,
    Document,
    body,
    caller,
    flag,
    invalid,
    not_implemented,
    now,
    number,
    page,
    required,
    text,
    versioned,
)
from infra.rehearsal.tasks import Workspace
from ml_pipeline.settings import quartz
from ml_pipeline.settings.workspace import APPLICATION_ID

RUN_IF = ("ALL_SUCCESS", "ALL_DONE", "NONE_FAILED", "AT_LEAST_ONE_SUCCESS", "ALL_FAILED", "AT_LEAST_ONE_FAILED")
_UNTITLED = "Untitled"
"""What Databricks calls a job that has no name."""
_KEY = re.compile(r"[\w-]{1,100}")
_KEYED = {
    "tasks": "task_key",
    "job_clusters": "job_cluster_key",
    "parameters": "name",
    "environments": "environment_key",
}
"""Lists of a job's settings whose entries have a name, and what holds it."""
_NOT_HONOURED = ("access_control_list", "environment_variables")


def checked(workspace: Workspace, given: Document) -> Document:
    """The settings of a job that Databricks would accept, whose wheels exist, and whose settings are all known here."""
    settings: Document = shapes.shaped(given, shapes.JOB)
    for field in _NOT_HONOURED:
        if settings.get(field):
            raise not_implemented(f"the field {field} of a job")
    for name, key in _KEYED.items():
        _unique(settings.get(name) or [], key, name)
    shared = settings.get("job_clusters") or []
    for cluster in shared:
        where = f"job cluster '{cluster['job_cluster_key']}'"
        _check_cluster(workspace, cluster.get("new_cluster") or {}, where, settings.get("tags") or {})
    _check_run_as(settings.get("run_as") or {})
    tasks = settings.get("tasks") or []
    _check_graph(tasks)
    for task in tasks:
        _check_task(workspace, task, [cluster["job_cluster_key"] for cluster in shared], settings.get("tags") or {})
    _check_schedule(settings.get("schedule"))
    for key in ("timeout_seconds", "max_concurrent_runs"):
        if settings.get(key, 0) < 0:
            raise invalid(f"{key} must not be negative")
    return settings


def _check_graph(tasks: list[Document]) -> None:
    graph = {task["task_key"]: [one.get("task_key") for one in task.get("depends_on") or []] for task in tasks}
    for key, before in graph.items():
        if not _KEY.fullmatch(key):
            raise invalid(f"task_key '{key}' holds more than letters, digits, '-' and '_', or is longer than 100")
        for other in before:
            if other not in graph:
                raise invalid(f"Invalid task dependency: task '{key}' depends on unknown task '{other}'")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise invalid(f"Invalid task dependencies: a cycle, {' -> '.join(map(str, error.args[1]))}") from None


def _check_task(workspace: Workspace, task: Document, shared: list[str], tags: Document) -> None:
    where = f"task '{task['task_key']}'"
    if task.get("disabled"):
        raise not_implemented(f"the field disabled of a task ({task['task_key']})")
    if task.get("run_if", "ALL_SUCCESS") not in RUN_IF:
        raise invalid(f"{where}: run_if {task['run_if']} is unknown; accepted: {', '.join(RUN_IF)}")
    if "job_cluster_key" in task and task["job_cluster_key"] not in shared:
        raise invalid(f"{where}: job_cluster_key '{task['job_cluster_key']}' is not one of the job's clusters")
    if "new_cluster" in task:
        _check_cluster(workspace, task["new_cluster"], where, tags)
    if task.get("existing_cluster_id"):
        _check_known(workspace, "clusters", task["existing_cluster_id"], where)
    if "run_job_task" in task:
        _check_known(workspace, "jobs", task["run_job_task"].get("job_id"), where)
    if "python_wheel_task" in task:
        _check_wheel_task(task["python_wheel_task"], where)
    for library in task.get("libraries") or []:
        if "whl" in library and _wheel_is_missing(workspace, library["whl"]):
            raise invalid(f"{where}: library {library['whl']} does not exist in the workspace")


def _check_run_as(run_as: Document) -> None:
    if not run_as:
        return
    _, name = named(run_as)
    if "group_name" in run_as or ("service_principal_name" in run_as and not re.fullmatch(APPLICATION_ID, name)):
        raise invalid(f"run_as: {name:.128} is not a user's name or the application id of a service principal")
    # Databricks' SDK, the documentation of JobRunAs. The role of a service principal's user is not known here.
    if run_as.get("user_name", caller()) != caller() and caller() != USER:
        raise ApiError(403, "PERMISSION_DENIED", "Only a workspace admin can let a job run as another user.")


def _check_known(workspace: Workspace, kind: str, key: object, where: str) -> None:
    try:
        workspace.store.find(kind, key)
    except ApiError as error:
        raise invalid(f"{where}: {error.message}") from None


def _check_wheel_task(wheel: Document, where: str) -> None:
    for key in ("package_name", "entry_point"):
        if not wheel.get(key):
            raise invalid(f"{where}: python_wheel_task must have a {key}")
    if wheel.get("parameters") and wheel.get("named_parameters"):
        raise invalid(f"{where}: python_wheel_task has parameters and named_parameters; only one is accepted")


def _wheel_is_missing(workspace: Workspace, path: str) -> bool:
    try:
        return workspace.files.library(path) is None
    except ApiError:
        return True


def _check_cluster(workspace: Workspace, cluster: Document, where: str, tags: Document) -> None:
    for key in ("instance_pool_id", "driver_instance_pool_id"):
        if cluster.get(key):
            _check_known(workspace, "pools", cluster[key], where)
    if cluster.get("instance_pool_id") and (cluster.get("node_type_id") or cluster.get("driver_node_type_id")):
        raise invalid(f"{where}: the node type can't be given where an instance pool is: the pool has its own")
    if cluster.get("instance_pool_id"):
        # Provider's documentation, instance_pool.md: the same tag on both is an error; job.md: a job's tags are its
        # clusters' too.
        pool = workspace.store.find("pools", cluster["instance_pool_id"]).get("custom_tags") or {}
        if repeated := pool.keys() & {*tags, *(cluster.get("custom_tags") or {})}:
            raise invalid(f"{where}: the instance pool has the custom tags {', '.join(sorted(repeated))} already")
    if not cluster.get("spark_version"):
        raise invalid(f"{where}: Missing required field: spark_version")
    if not cluster.get("instance_pool_id") and not cluster.get("node_type_id"):
        raise invalid(f"{where}: neither node_type_id nor instance_pool_id is given")


def _unique(entries: Iterable[Document], key: str, what: str) -> None:
    seen: set[str] = set()
    for entry in entries:
        name = text(entry, key)
        if name in seen:
            raise invalid(f"Duplicate {key} in {what}: {name}")
        seen.add(name)


def _check_schedule(schedule: Document | None) -> None:
    if not schedule:
        return
    cron, zone = text(schedule, "quartz_cron_expression"), text(schedule, "timezone_id")
    try:
        quartz.checked(cron)
    except ValueError as error:
        raise invalid(f"Invalid quartz cron expression: '{cron}': {error}") from None
    if zone not in zoneinfo.available_timezones():
        raise invalid(f"Invalid timezone_id: '{zone}'")


def merged(old: Document, new: Document) -> Document:
    """Settings with those of an update: entries with a name are merged by it, everything else is replaced."""
    result = old | new
    for name, key in _KEYED.items():
        if name in old and name in new:
            by_name = {text(entry, key): entry for entry in (*old[name], *new[name])}
            result[name] = list(by_name.values())
    return result


def without(settings: Document, fields: Iterable[str]) -> Document:
    """Settings without some fields, given as ``field`` or ``list/name of an entry``."""
    result = dict(settings)
    for field in fields:
        name, _, entry = field.partition("/")
        if not entry:
            result.pop(name, None)
        elif name in _KEYED:
            result[name] = [one for one in result.get(name) or [] if one.get(_KEYED[name]) != entry]
        else:
            raise invalid(f"fields_to_remove: '{field}' can't be removed")
    return result


def asked_job(workspace: Workspace, given: Mapping[str, Any], level: str) -> Document:
    """The job that a request names, if who asks has the level."""
    found = workspace.store.find("jobs", number(required(given, "job_id"), "job_id"))
    workspace.access.need(level, "jobs", found["job_id"])
    return found


def blueprint(workspace: Workspace, cancel_all: Callable[[int], None]) -> Blueprint:
    """The endpoints of jobs; `cancel_all` cancels the runs of one."""
    store = workspace.store
    routes = versioned("jobs", "2.0", "2.1", "2.2")

    def keep(own: Document, given: Document) -> None:
        settings = checked(workspace, given)
        settings.setdefault("name", _UNTITLED)
        store.put("jobs", own["job_id"], own | {"settings": settings})

    def shown(job: Document) -> Document:
        run_as = job["settings"].get("run_as")
        return job | {"run_as_user_name": named(run_as)[1] if run_as else workspace.access.owner(job["job_id"])}

    @routes.post("/create")
    def create() -> Document:
        new = {"job_id": store.number(), "creator_user_name": caller(), "created_time": now()}
        keep(new, body())
        return {"job_id": new["job_id"]}

    @routes.get("/get")
    def get() -> Document:
        return shown(asked_job(workspace, request.args, "CAN_VIEW"))

    @routes.get("/list")
    def list_() -> Document:
        name, limit = request.args.get("name"), number(request.args.get("limit", 20), "limit")
        if not 1 <= limit <= 100:
            raise invalid("limit must be between 1 and 100")
        found = [one for one in store.all("jobs") if not name or one["settings"]["name"].lower() == name.lower()]
        found = [one for one in found if workspace.access.may("CAN_VIEW", "jobs", one["job_id"])]
        kept, more = page(found[::-1], limit=limit)
        listed = [*map(shown, kept)]
        if not flag(request.args.get("expand_tasks")):
            listed = [one | {"settings": without(one["settings"], ("tasks", "job_clusters"))} for one in listed]
        return {"jobs": listed, **more} if listed else more

    @routes.post("/reset")
    def reset() -> Document:
        given = shapes.shaped(body(), shapes.CHANGE)
        settings = required(given, "new_settings")
        with store.lock:
            old = asked_job(workspace, given, "CAN_MANAGE")
            # The principal stays if the new settings name none (databricks/cli, acceptance/bundle/run_as/job_default).
            kept = {key: old["settings"][key] for key in ("run_as",) if key in old["settings"]}
            keep(old, kept | settings)
        return {}

    @routes.post("/update")
    def update() -> Document:
        given = shapes.shaped(body(), shapes.CHANGE)
        with store.lock:
            old = asked_job(workspace, given, "CAN_MANAGE")
            settings = without(old["settings"], given.get("fields_to_remove", []))
            keep(old, merged(settings, given.get("new_settings", {})))
        return {}

    @routes.post("/delete")
    def delete() -> Document:
        gone = asked_job(workspace, body(), "CAN_MANAGE")["job_id"]
        cancel_all(gone)
        store.delete("jobs", gone)
        store.delete("permissions", f"jobs/{gone}")
        return {}

    return routes
