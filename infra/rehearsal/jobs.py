"""Jobs: what they are made of, what is refused, and their endpoints."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from flask import Blueprint, request

from infra.rehearsal import clusters, permissions, pools, shapes
from infra.rehearsal.api import (
    USER,
    ApiError,
    Document,
    body,
    flag,
    invalid,
    not_implemented,
    now,
    number,
    page,
    text,
    versioned,
)
from infra.rehearsal.files import Files
from infra.rehearsal.store import Store
from ml_pipeline.settings import quartz

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


class Rules:
    """What a job must be.

    Args:
        store: Where instance pools and clusters are found.
        files: Where wheels are found.
    """

    def __init__(self, store: Store, files: Files) -> None:
        self._store = store
        self._files = files

    def checked(self, given: Document) -> Document:
        """A job's settings, which hold as a whole.

        Raises:
            ApiError: Databricks would reject them, the rehearsal workspace ignores one, or a task's wheel is missing.
        """
        settings: Document = shapes.shaped(given, shapes.JOB)
        for field in _NOT_HONOURED:
            if settings.get(field):
                raise not_implemented(f"the field {field} of a job")
        for name, key in _KEYED.items():
            _unique(settings.get(name) or [], key, name)
        shared = [cluster["job_cluster_key"] for cluster in settings.get("job_clusters") or []]
        for cluster in settings.get("job_clusters") or []:
            self._check_cluster(cluster.get("new_cluster") or {}, f"job cluster '{cluster['job_cluster_key']}'")
        tasks = settings.get("tasks") or []
        self._check_graph(tasks)
        for task in tasks:
            self._check_task(task, shared)
        _check_schedule(settings.get("schedule"))
        for key in ("timeout_seconds", "max_concurrent_runs"):
            if settings.get(key, 0) < 0:
                raise invalid(f"{key} must not be negative")
        return settings

    @staticmethod
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

    def _check_task(self, task: Document, shared: list[str]) -> None:
        where = f"task '{task['task_key']}'"
        if task.get("disabled"):
            raise not_implemented(f"the field disabled of a task ({task['task_key']})")
        if task.get("run_if", "ALL_SUCCESS") not in RUN_IF:
            raise invalid(f"{where}: run_if {task['run_if']} is unknown; accepted: {', '.join(RUN_IF)}")
        if "job_cluster_key" in task and task["job_cluster_key"] not in shared:
            raise invalid(f"{where}: job_cluster_key '{task['job_cluster_key']}' is not one of the job's clusters")
        if "new_cluster" in task:
            self._check_cluster(task["new_cluster"], where)
        if task.get("existing_cluster_id"):
            try:
                clusters.cluster(self._store, task["existing_cluster_id"])
            except ApiError as error:
                raise invalid(f"{where}: {error.message}") from None
        self._check_work(task, where)
        for library in task.get("libraries") or []:
            if "whl" in library and self._wheel_is_missing(library["whl"]):
                raise invalid(f"{where}: library {library['whl']} does not exist in the workspace")

    def _check_work(self, task: Document, where: str) -> None:
        if "run_job_task" in task:
            try:
                job(self._store, task["run_job_task"].get("job_id"))
            except ApiError as error:
                raise invalid(f"{where}: {error.message}") from None
        if "python_wheel_task" in task:
            wheel = task["python_wheel_task"]
            for key in ("package_name", "entry_point"):
                if not wheel.get(key):
                    raise invalid(f"{where}: python_wheel_task must have a {key}")
            if wheel.get("parameters") and wheel.get("named_parameters"):
                raise invalid(f"{where}: python_wheel_task has parameters and named_parameters; only one is accepted")

    def _wheel_is_missing(self, path: str) -> bool:
        try:
            return self._files.library(path) is None
        except ApiError:
            return True

    def _check_cluster(self, cluster: Document, where: str) -> None:
        for key in ("instance_pool_id", "driver_instance_pool_id"):
            if cluster.get(key):
                try:
                    pools.pool(self._store, cluster[key])
                except ApiError as error:
                    raise invalid(f"{where}: {error.message}") from None
        if cluster.get("instance_pool_id") and (cluster.get("node_type_id") or cluster.get("driver_node_type_id")):
            raise invalid(f"{where}: the node type can't be given where an instance pool is: the pool has its own")
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


def job(store: Store, job_id: object) -> Document:
    """A job.

    Raises:
        ApiError: there is none with this id.
    """
    found = store.get("jobs", job_id)
    if found is None:
        # Databricks answers so, with 400, and the provider looks for the words.
        raise ApiError(400, "INVALID_PARAMETER_VALUE", f"Job {job_id} does not exist.")
    return found


def asked_job(store: Store, given: Mapping[str, Any]) -> Document:
    """The job that a request names.

    Raises:
        ApiError: it names none, or there is none.
    """
    if "job_id" not in given:
        raise invalid("Missing required field: job_id")
    return job(store, number(given["job_id"], "job_id"))


def blueprint(store: Store, rules: Rules, cancel_all: Callable[[int], None]) -> Blueprint:
    """The endpoints of jobs.

    Args:
        store: Where jobs are kept.
        rules: What a job must be.
        cancel_all: Cancels the runs of a job.
    """
    routes = versioned("jobs", "2.0", "2.1", "2.2")

    @routes.post("/create")
    def create() -> Document:
        settings = rules.checked(body())
        settings.setdefault("name", _UNTITLED)
        new = {"job_id": store.number(), "creator_user_name": USER, "run_as_user_name": USER, "created_time": now()}
        store.put("jobs", new["job_id"], new | {"settings": settings})
        return {"job_id": new["job_id"]}

    @routes.get("/get")
    def get() -> Document:
        return asked_job(store, request.args)

    @routes.get("/list")
    def list_() -> Document:
        name, limit = request.args.get("name"), number(request.args.get("limit", 20), "limit")
        if not 1 <= limit <= 100:
            raise invalid("limit must be between 1 and 100")
        found = [one for one in store.all("jobs") if not name or one["settings"]["name"].lower() == name.lower()]
        shown, more = page(found[::-1], limit=limit)
        if not flag(request.args.get("expand_tasks")):
            shown = [one | {"settings": without(one["settings"], ("tasks", "job_clusters"))} for one in shown]
        return {"jobs": shown, **more} if shown else more

    _changing(routes, store, rules, cancel_all)
    return routes


def _changing(routes: Blueprint, store: Store, rules: Rules, cancel_all: Callable[[int], None]) -> None:
    @routes.post("/reset")
    def reset() -> Document:
        given = shapes.shaped(body(), shapes.CHANGE)
        if "new_settings" not in given:
            raise invalid("Missing required field: new_settings")
        old = asked_job(store, given)
        settings = rules.checked(given["new_settings"])
        settings.setdefault("name", _UNTITLED)
        store.put("jobs", old["job_id"], old | {"settings": settings})
        return {}

    @routes.post("/update")
    def update() -> Document:
        given = shapes.shaped(body(), shapes.CHANGE)
        with store.locked():
            old = asked_job(store, given)
            settings = without(old["settings"], given.get("fields_to_remove", []))
            settings = rules.checked(merged(settings, given.get("new_settings", {})))
            settings.setdefault("name", _UNTITLED)
            store.put("jobs", old["job_id"], old | {"settings": settings})
        return {}

    @routes.post("/delete")
    def delete() -> Document:
        gone = asked_job(store, body())["job_id"]
        cancel_all(gone)
        store.delete("jobs", gone)
        permissions.forget(store, "jobs", gone)
        return {}
