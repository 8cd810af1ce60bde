"""Tasks of a run: carried out, with their retries."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from infra.rehearsal import task_process
from infra.rehearsal.access import Access, denied
from infra.rehearsal.api import ApiError, Document, now, token_of
from infra.rehearsal.files import Files
from infra.rehearsal.privileges import Privileges
from infra.rehearsal.run_state import MESSAGES, ended, hinders, latest, reference_values, state, substitute
from infra.rehearsal.secret_scopes import Secrets
from infra.rehearsal.store import Store
from infra.rehearsal.task_process import InstallationError, Stop, deadline

TIMES = ("start_time", "end_time", "setup_duration", "execution_duration", "cleanup_duration")
"""What both a run and a task have of times, in milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What runs and tasks need of the rehearsal workspace."""

    store: Store
    files: Files
    access: Access
    privileges: Privileges
    folder: Path
    """The state folder."""
    host: str
    token: str

    def log(self, task: Document) -> Path:
        """Where an attempt of a task writes its output."""
        kept = self.store.get("task_runs", task["run_id"]) or {}
        folder = self.folder / "runs" / str(kept["run_id"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{task['task_key']}-{task['attempt_number']}.log"


class Tasks:
    """Carries out tasks, each in a process of this machine.

    Args:
        workspace: Where they run.
        start: Starts a run of a job.
        cancel: Cancels a run.
    """

    def __init__(self, workspace: Workspace, *, start: Callable[..., Document], cancel: Callable[[int], None]) -> None:
        self._workspace = workspace
        self._store = workspace.store
        self._start = start
        self._cancel = cancel
        self._own = {
            "DATABRICKS_HOST": workspace.host,
            "MLFLOW_TRACKING_URI": "databricks",
            "MLFLOW_REGISTRY_URI": "databricks-uc",
            "ML_PIPELINE_STATE": str(workspace.folder / "lakehouse"),
        }
        self.closing = False
        """Whether the server ends: what becomes of a task then is not noted."""

    def carry_out(self, run_id: int, task: Document, before: list[Future[str]], stop: Stop) -> str:
        """Carry out a task with its retries; returns its result."""
        key = task["task_key"]
        try:
            hindered = hinders(task.get("run_if") or "ALL_SUCCESS", [other.result() for other in before])
            if hindered:
                if stop.result():
                    hindered = "CANCELED"
                self._note(run_id, key, state("TERMINATED", hindered))
                return hindered
            result = self._attempts(run_id, task, stop)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self._note(run_id, key, state("INTERNAL_ERROR", "FAILED", why, code="INTERNAL_ERROR"))
            return "FAILED"
        return "FAILED" if result == "INTERNAL_ERROR" else result

    def _attempts(self, run_id: int, task: Document, stop: Stop) -> str:
        left, pause = task.get("max_retries", 0), task.get("min_retry_interval_millis", 0) / 1000
        while True:
            result = self._attempt_once(run_id, task, stop)
            again = result == "FAILED" or (result == "TIMEDOUT" and task.get("retry_on_timeout"))
            if not again or stop.result() or not left:
                return result
            left -= 1

            def add(run: Document) -> None:
                number = latest(run)[task["task_key"]]["attempt_number"] + 1
                run["tasks"].append(new_attempt(self._store, run, task, number) | state("WAITING_FOR_RETRY"))

            self._store.change("runs", run_id, add)
            stop.event.wait(min(pause, max(0.0, stop.deadline - time.monotonic())))

    def _note(self, run_id: int, key: str, what: Document) -> Document:
        """Note what has become of the last attempt of a task; returns it."""
        noted: Document = {}

        def note(run: Document) -> None:
            nonlocal noted
            noted = latest(run)[key]
            noted |= what
            if what.get("end_time") and noted["start_time"]:
                noted["execution_duration"] = what["end_time"] - noted["start_time"]

        self._store.change("runs", run_id, note)
        return noted

    def _attempt_once(self, run_id: int, task: Document, stop: Stop) -> str:
        key = task["task_key"]
        ended_early = stop.result()
        if ended_early:
            self._note(run_id, key, state("TERMINATED", ended_early))
            return ended_early
        record = self._note(run_id, key, {**state("PENDING"), "start_time": now()})
        if "run_job_task" in task:
            return self._run_job(run_id, record, stop)
        run = self._store.find("runs", run_id)
        try:
            variables = self._cluster(run, task)
        except ApiError as error:
            reason = "UNAUTHORIZED_ERROR" if error.status == 403 else "CLUSTER_ERROR"
            self._note(run_id, key, state("INTERNAL_ERROR", "FAILED", error.message, code=reason))
            return "INTERNAL_ERROR"
        try:
            python = task_process.interpreter(self._workspace.folder / "environments", self._wheels(run, task))
        except InstallationError as error:
            why = f"Library installation failed: {error}"
            self._note(run_id, key, state("INTERNAL_ERROR", "FAILED", why, code="LIBRARY_INSTALLATION_ERROR"))
            # As on Databricks, the same wheel would fail again.
            return "INTERNAL_ERROR"
        arguments = self._arguments(run, record)
        self._note(run_id, key, {**state("RUNNING"), "resolved": arguments})
        own = variables | self._own | {"DATABRICKS_TOKEN": token_of(self._workspace.token, run["run_as"])}
        log = self._workspace.log(record)
        code, stopped = task_process.run(task, arguments, python=python, log=log, own=own, stop=stop)
        result = stopped or ("SUCCESS" if code == 0 else "FAILED")
        if not self.closing:
            self._note(run_id, key, state("TERMINATED", result, MESSAGES.get(result, "")))
        return result

    def _run_job(self, run_id: int, task: Document, stop: Stop) -> str:
        """Start a run of another job, and wait for its end."""
        run, called = self._store.find("runs", run_id), task["run_job_task"]
        job = self._store.get("jobs", called["job_id"])
        if job is None:
            why = f"Job {called['job_id']} does not exist."
            self._note(run_id, task["task_key"], state("TERMINATED", "FAILED", why))
            return "FAILED"
        try:
            self._workspace.access.need("CAN_MANAGE_RUN", "jobs", job["job_id"], who=run["run_as"])
        except ApiError as error:
            denial = state("TERMINATED", "FAILED", error.message, code="UNAUTHORIZED_ERROR")
            self._note(run_id, task["task_key"], denial)
            return "FAILED"
        values = reference_values(self._workspace.host, run, task)
        given = {name: substitute(str(value), values) for name, value in (called.get("job_parameters") or {}).items()}
        started = {"parameters": given, "trigger": "RUN_JOB_TASK", "creator": run["run_as"]}
        other = self._start(job["job_id"], job["settings"], **started)["run_id"]
        self._note(run_id, task["task_key"], {**state("RUNNING"), "resolved": given, "started": other})
        limit, stopped = deadline(task.get("timeout_seconds")), None
        while (found := self._store.get("runs", other)) and not ended(found) and not self.closing:
            stopped = stopped or stop.result(limit)
            if stopped and found["status"]["state"] != "TERMINATING":
                self._cancel(other)
            time.sleep(0.1)
        became = found["state"].get("result_state", "FAILED") if found else "FAILED"
        result = stopped or ("SUCCESS" if became in ("SUCCESS", "SUCCESS_WITH_FAILURES") else "FAILED")
        message = "" if result == "SUCCESS" else f"Run {other} of job {job['job_id']} is {became}"
        if not self.closing:
            self._note(run_id, task["task_key"], state("TERMINATED", result, message))
        return result

    def _cluster(self, run: Document, task: Document) -> dict[str, str]:
        """The environment variables of the task's cluster.

        Raises:
            ApiError: whoever the run is as can't have the cluster, or a secret that it names.
        """
        who = run["run_as"]
        clusters = {one["job_cluster_key"]: one.get("new_cluster") or {} for one in run["job_clusters"]}
        cluster = task.get("new_cluster") or clusters.get(task.get("job_cluster_key"), {})
        pools = (cluster.get("instance_pool_id"), cluster.get("driver_instance_pool_id"))
        wanted = [("instance-pools", pool) for pool in pools] + [("clusters", task.get("existing_cluster_id"))]
        for kind, object_id in wanted:
            if object_id:
                self._workspace.access.need("CAN_ATTACH_TO", kind, object_id, who=who)
        secrets = Secrets(self._store)
        # Spark's properties are those of this machine; the secrets that they name are checked all the same.
        secrets.resolved(cluster.get("spark_conf") or {}, who=who)
        return secrets.resolved(cluster.get("spark_env_vars") or {}, who=who)

    def _wheels(self, run: Document, task: Document) -> list[Path]:
        if "python_wheel_task" not in task:
            raise InstallationError("the rehearsal workspace runs nothing but a python_wheel_task and a run_job_task")
        wheels = []
        for library in task.get("libraries") or []:
            wheel = self._workspace.files.library(library["whl"]) if "whl" in library else None
            if wheel is None:
                raise InstallationError(f"{library} is not a wheel in the workspace")
            if not self._reads(library["whl"], run["run_as"]):
                raise InstallationError(denied("CAN_READ", library["whl"], who=run["run_as"]).message)
            wheels.append(wheel)
        return wheels

    def _reads(self, path: str, who: str) -> bool:
        if path.startswith("/Volumes/"):
            volume = ".".join(path.split("/")[2:5])
            return self._workspace.privileges.may("volumes", volume, "READ_VOLUME", who=who)
        return self._workspace.access.may_path("CAN_READ", path, who=who)

    def _arguments(self, run: Document, task: Document) -> list[str]:
        wheel, overriding = task["python_wheel_task"], run["overriding_parameters"]
        values = reference_values(self._workspace.host, run, task)
        named = {**(wheel.get("named_parameters") or {}), **(overriding.get("python_named_params") or {})}
        plain = overriding.get("python_params") or wheel.get("parameters") or []
        given = [*map(str, plain), *(f"--{name}={value}" for name, value in named.items())]
        return [substitute(argument, values) for argument in given]


def new_attempt(store: Store, run: Document, task: Document, attempt: int) -> Document:
    """An attempt of a task, noted in the run's last repair."""
    task_run_id = store.number()
    store.put("task_runs", task_run_id, {"run_id": run["run_id"]})
    run["repair_history"][-1]["task_run_ids"].append(task_run_id)
    own = {"run_id": task_run_id, "attempt_number": attempt, "run_page_url": run["run_page_url"]}
    waiting = state("BLOCKED" if task.get("depends_on") and not attempt else "PENDING")
    return task | own | dict.fromkeys(TIMES, 0) | waiting
