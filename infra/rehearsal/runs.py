"""Runs: what they look like, and how their tasks become processes of this machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from infra.rehearsal import environments, launch
from infra.rehearsal.api import USER, Document, invalid, now
from infra.rehearsal.store import Store
from infra.rehearsal.workspace import Files

_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
_FAILURES = ("FAILED", "TIMEDOUT", "CANCELED", "UPSTREAM_FAILED", "UPSTREAM_CANCELED")
_PATIENCE = 5.0
"""Seconds that a task's processes have to end before they are killed."""
_MOST_LOG = 5 * 1024 * 1024
"""What of a log is shown: its last part."""
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


def state(life: str, result: str | None = None, message: str = "", *, code: str | None = None) -> Document:
    """The state of a run or of a task, in the older form and in the newer."""
    older = {"life_cycle_state": life, "state_message": message, "user_cancelled_or_timedout": False}
    newer: Document = {"state": _STATES_V2.get(life, life)}
    if result:
        older |= {"result_state": result, "user_cancelled_or_timedout": result in ("CANCELED", "TIMEDOUT")}
    if life in _ENDED:
        known = _CODES[result] if result else ("INTERNAL_ERROR", "INTERNAL_ERROR")
        newer["termination_details"] = {"code": code or known[0], "type": known[1], "message": message}
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


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Replace references to what is known; others stay as they are, as on Databricks."""
    return _REFERENCE.sub(lambda match: values.get(match[1], match[0]), text)


@dataclass
class _Stop:
    """Tells the threads of a run to end, and why."""

    deadline: float = float("inf")
    event: threading.Event = field(default_factory=threading.Event)

    def result(self, deadline: float = float("inf")) -> str | None:
        """What a task becomes that has to end now; ``None`` if it may go on."""
        if self.event.is_set():
            return "CANCELED"
        return "TIMEDOUT" if time.monotonic() > min(self.deadline, deadline) else None


class Runs:
    """Starts runs, follows them and ends them.

    Args:
        store: Where runs are kept.
        files: Where wheels are found.
        folder: The state folder.
        host: URL of the stand-in.
        token: What opens it.
    """

    def __init__(self, store: Store, files: Files, folder: Path, *, host: str, token: str) -> None:
        self._store = store
        self._files = files
        self._folder = folder
        self._host = host
        self._token = token
        self._stops: dict[int, _Stop] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._closing = False
        for run in self._active():
            self._store.change("runs", run["run_id"], _interrupted)

    def _active(self, job_id: int | None = None) -> list[Document]:
        found = (run for run in self._store.all("runs") if not ended(run))
        return [run for run in found if job_id is None or run["job_id"] == job_id]

    def start(
        self,
        job_id: int | None,
        settings: Document,
        *,
        parameters: Mapping[str, str],
        overriding: Document | None = None,
        token: str | None = None,
        trigger: str = "ONE_TIME",
    ) -> Document:
        """Start a run, or let it wait for the others of its job.

        Args:
            job_id: The job; ``None`` for a run without one.
            settings: What to run.
            parameters: Values of job parameters.
            overriding: Parameters of wheel tasks, as older callers give them.
            token: Names the run, so that asking twice starts it once.
            trigger: What starts it.

        Raises:
            ApiError: a parameter is not the job's.
        """
        declared = {entry["name"]: str(entry.get("default", "")) for entry in settings.get("parameters") or []}
        _check_parameters(parameters, declared)
        with self._store.locked():
            for run in self._store.all("runs"):
                if token and run["idempotency_token"] == token:
                    return run
            run = self._new(job_id, settings, token)
            values = self._values(run)
            given = [
                {"name": name, "default": default, "value": str(parameters.get(name, substitute(default, values)))}
                for name, default in declared.items()
            ]
            run |= {"job_parameters": given, "overriding_parameters": overriding or {}, "trigger": trigger}
            others = len(self._active(job_id)) if job_id else 0
            if others >= int(settings.get("max_concurrent_runs") or 1) and job_id:
                self._hold_back(run, settings)
            self._store.put("runs", run["run_id"], run)
            if run["state"]["life_cycle_state"] == "PENDING":
                self._launch(run["run_id"])
        return run

    @staticmethod
    def _hold_back(run: Document, settings: Document) -> None:
        queued = (settings.get("queue") or {}).get("enabled")
        why = "The job has as many active runs as max_concurrent_runs allows."
        held = state("QUEUED") if queued else state("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", why)
        run |= held
        if not queued:
            run["end_time"] = now()
            for task in run["tasks"]:
                task.update(held)

    def _new(self, job_id: int | None, settings: Document, token: str | None) -> Document:
        run_id = self._store.number()
        run: Document = {
            "job_id": job_id or self._store.number(),
            "run_id": run_id,
            "number_in_job": run_id,
            "original_attempt_run_id": run_id,
            "attempt_number": 0,
            "run_name": settings.get("name") or settings.get("run_name") or "Untitled",
            "run_type": "JOB_RUN" if job_id else "SUBMIT_RUN",
            "trigger": "ONE_TIME",
            "format": "MULTI_TASK",
            "creator_user_name": USER,
            "start_time": now(),
            "end_time": 0,
            "setup_duration": 0,
            "execution_duration": 0,
            "cleanup_duration": 0,
            "run_duration": 0,
            "idempotency_token": token,
            "settings": settings,
            "repair_history": [{"type": "ORIGINAL", "start_time": now(), "task_run_ids": []}],
            "job_clusters": settings.get("job_clusters") or [],
            **state("PENDING"),
        }
        run["run_page_url"] = f"{self._host}/jobs/{run['job_id']}/runs/{run_id}"
        run["tasks"] = [self._attempt(run, task, 0) for task in settings["tasks"]]
        return run

    def _attempt(self, run: Document, task: Document, attempt: int) -> Document:
        task_run_id = self._store.number()
        self._store.put("task_runs", task_run_id, {"run_id": run["run_id"]})
        run["repair_history"][-1]["task_run_ids"].append(task_run_id)
        waiting = state("BLOCKED" if task.get("depends_on") and not attempt else "PENDING")
        times = dict.fromkeys(("start_time", "end_time", "setup_duration", "execution_duration", "cleanup_duration"), 0)
        own = {
            "run_id": task_run_id,
            "attempt_number": attempt,
            "run_page_url": run["run_page_url"],
            **times,
            **waiting,
        }
        return task | own

    def _values(self, run: Document, task: Document | None = None) -> dict[str, str]:
        """What each reference stands for."""
        start = datetime.fromtimestamp(run["start_time"] / 1000, UTC)
        values = {
            "workspace.id": "1",
            "workspace.url": self._host,
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
            values[f"job.start_time.{part}"] = str(getattr(start, part))
        values |= {f"job.parameters.{entry['name']}": entry["value"] for entry in run.get("job_parameters") or []}
        if task:
            values |= {
                "task.name": task["task_key"],
                "task.run_id": str(task["run_id"]),
                "task.execution_count": str(task["attempt_number"] + 1),
            }
        return values

    def repair(self, run_id: int, keys: set[str], *, parameters: Mapping[str, str], overriding: Document) -> int:
        """Run tasks of a run again that has ended; returns the repair's id.

        Args:
            run_id: The run.
            keys: The tasks.
            parameters: Values of job parameters that take the place of the run's.
            overriding: Parameters of wheel tasks that do.

        Raises:
            ApiError: a parameter is not the job's.
        """
        repair_id = self._store.number()

        def again(run: Document) -> None:
            _check_parameters(parameters, [entry["name"] for entry in run["job_parameters"]])
            for entry in run["job_parameters"]:
                entry["value"] = parameters.get(entry["name"], entry["value"])
            run["overriding_parameters"] |= overriding
            run["repair_history"][-1] |= became(run)
            run["repair_history"].append({"type": "REPAIR", "id": repair_id, "start_time": now(), "task_run_ids": []})
            for task in run["settings"]["tasks"]:
                if task["task_key"] in keys:
                    before = latest(run)[task["task_key"]]["attempt_number"]
                    run["tasks"].append(self._attempt(run, task, before + 1))
            run |= {**state("PENDING"), "end_time": 0}

        with self._store.locked():
            self._store.change("runs", run_id, again)
            self._launch(run_id, keys)
        return repair_id

    def cancel(self, run_id: int) -> None:
        """Let a run end; it takes a moment."""

        def end(run: Document) -> None:
            if run["state"]["life_cycle_state"] == "QUEUED":
                run |= {**state("TERMINATED", "CANCELED", "Run cancelled."), "end_time": now()}
                for task in run["tasks"]:
                    task.update(state("TERMINATED", "CANCELED", "Run cancelled."))
            elif not ended(run):
                run |= state("TERMINATING", message="Cancelling")

        with self._store.locked():
            self._store.change("runs", run_id, end)
            if run_id in self._stops:
                self._stops[run_id].event.set()

    def cancel_all(self, job_id: int | None, *, queued: bool = False) -> None:
        """Let every run of a job end, or every one that is queued."""
        for run in self._active(job_id):
            if not queued or run["state"]["life_cycle_state"] == "QUEUED":
                self.cancel(run["run_id"])

    def close(self) -> None:
        """End all runs and their processes."""
        with self._store.locked():
            self._closing = True
            threads = list(self._threads.values())
            for stop in self._stops.values():
                stop.event.set()
        for thread in threads:
            thread.join(2 * _PATIENCE)

    def _launch(self, run_id: int, keys: set[str] | None = None) -> None:
        self._stops[run_id] = _Stop()
        self._threads[run_id] = threading.Thread(target=self._run, args=(run_id, keys), daemon=True)
        self._threads[run_id].start()

    def _run(self, run_id: int, keys: set[str] | None) -> None:
        run = self._store.get("runs", run_id)
        assert run is not None, "a run is kept before it is launched"
        settings, stop = run["settings"], self._stops[run_id]
        if settings.get("timeout_seconds"):
            stop.deadline = time.monotonic() + settings["timeout_seconds"]
        self._store.change(
            "runs", run_id, lambda run: run.update(state("RUNNING")) if not stop.event.is_set() else None
        )
        tasks = {task["task_key"]: task for task in settings["tasks"]}
        results: dict[str, Future[str]] = {}
        with ThreadPoolExecutor(len(tasks)) as pool:
            # A task waits in its thread for those before it, which have theirs: it comes after them in the pool.
            for key in TopologicalSorter(graph(tasks.values())).static_order():
                if keys is None or key in keys:
                    before = [results[other] for other in graph([tasks[key]])[key]]
                    results[key] = pool.submit(self._task, run_id, tasks[key], before, stop)
                else:
                    results[key] = Future()
                    results[key].set_result(latest(run)[key]["state"].get("result_state", "FAILED"))
        with self._store.locked():
            if not self._closing:
                self._store.change("runs", run_id, lambda run: _conclude(run, stop))
            del self._stops[run_id], self._threads[run_id]
            self._launch_queued(run["job_id"])

    def _launch_queued(self, job_id: int) -> None:
        active = self._active(job_id)
        waiting = [run for run in active if run["state"]["life_cycle_state"] == "QUEUED"]
        if waiting and not self._closing:
            first = waiting[0]
            if len(active) - len(waiting) < int(first["settings"].get("max_concurrent_runs") or 1):
                self._store.put("runs", first["run_id"], first | state("PENDING"))
                self._launch(first["run_id"])

    def _task(self, run_id: int, task: Document, before: list[Future[str]], stop: _Stop) -> str:
        """Carry out a task with its retries; returns its result."""
        key = task["task_key"]
        try:
            hindered = hinders(task.get("run_if") or "ALL_SUCCESS", [other.result() for other in before])
            if hindered:
                if stop.result():
                    hindered = "CANCELED"
                self._note(run_id, key, {**state("TERMINATED", hindered), "end_time": now()})
                return hindered
            result = self._attempts(run_id, task, stop)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self._note(
                run_id, key, {**state("INTERNAL_ERROR", "FAILED", why, code="INTERNAL_ERROR"), "end_time": now()}
            )
            return "FAILED"
        return "FAILED" if result == "INTERNAL_ERROR" else result

    def _attempts(self, run_id: int, task: Document, stop: _Stop) -> str:
        most = int(task.get("max_retries") or 0)
        pause = int(task.get("min_retry_interval_millis") or 0) / 1000
        for attempt in itertools.count():
            result = self._attempt_once(run_id, task, stop)
            again = result == "FAILED" or (result == "TIMEDOUT" and task.get("retry_on_timeout"))
            if not again or stop.result() or attempt == most:
                return result

            def add(run: Document) -> None:
                number = latest(run)[task["task_key"]]["attempt_number"] + 1
                run["tasks"].append(self._attempt(run, task, number) | state("WAITING_FOR_RETRY"))

            self._store.change("runs", run_id, add)
            stop.event.wait(min(pause, max(0.0, stop.deadline - time.monotonic())))
        raise AssertionError("counting has no end")

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

    def _attempt_once(self, run_id: int, task: Document, stop: _Stop) -> str:
        key = task["task_key"]
        ended_early = stop.result()
        if ended_early:
            self._note(run_id, key, {**state("TERMINATED", ended_early), "end_time": now()})
            return ended_early
        record = self._note(run_id, key, {**state("PENDING"), "start_time": now()})
        if "run_job_task" in task:
            return self._run_job(run_id, record, stop)
        try:
            python = environments.interpreter(self._folder / "environments", self._wheels(task))
        except environments.InstallationError as error:
            why = f"Library installation failed: {error}"
            failed = state("INTERNAL_ERROR", "FAILED", why, code="LIBRARY_INSTALLATION_ERROR")
            self._note(run_id, key, {**failed, "end_time": now()})
            # As on Databricks, the same wheel would fail again.
            return "INTERNAL_ERROR"
        run = self._store.get("runs", run_id)
        assert run is not None
        arguments = self._arguments(run, record)
        self._note(run_id, key, {**state("RUNNING"), "resolved": arguments})
        code, stopped = self._process(python, task, arguments, self.log(record), stop)
        result = stopped or ("SUCCESS" if code == 0 else "FAILED")
        messages = {
            "FAILED": "Workload failed, see run output for details",
            "TIMEDOUT": "Timed out",
            "CANCELED": "Run cancelled.",
        }
        if not self._closing:
            self._note(run_id, key, {**state("TERMINATED", result, messages.get(result, "")), "end_time": now()})
        return result

    def _run_job(self, run_id: int, task: Document, stop: _Stop) -> str:
        """Start a run of another job, and wait for its end."""
        run, called = self._store.get("runs", run_id), task["run_job_task"]
        job = self._store.get("jobs", called["job_id"])
        assert run is not None
        if job is None:
            why = f"Job {called['job_id']} does not exist."
            self._note(run_id, task["task_key"], {**state("TERMINATED", "FAILED", why), "end_time": now()})
            return "FAILED"
        values = self._values(run, task)
        given = {name: substitute(str(value), values) for name, value in (called.get("job_parameters") or {}).items()}
        other = self.start(job["job_id"], job["settings"], parameters=given, trigger="RUN_JOB_TASK")["run_id"]
        self._note(run_id, task["task_key"], {**state("RUNNING"), "resolved": given, "started": other})
        seconds = int(task.get("timeout_seconds") or 0)
        deadline = time.monotonic() + seconds if seconds else float("inf")
        stopped = None
        while (found := self._store.get("runs", other)) and not ended(found) and not self._closing:
            stopped = stopped or stop.result(deadline)
            if stopped and found["status"]["state"] != "TERMINATING":
                self.cancel(other)
            time.sleep(0.1)
        became = found["state"].get("result_state", "FAILED") if found else "FAILED"
        fine = became in ("SUCCESS", "SUCCESS_WITH_FAILURES")
        result = stopped or ("SUCCESS" if fine else "FAILED")
        message = "" if result == "SUCCESS" else f"Run {other} of job {job['job_id']} is {became}"
        if not self._closing:
            self._note(run_id, task["task_key"], {**state("TERMINATED", result, message), "end_time": now()})
        return result

    def _wheels(self, task: Document) -> list[Path]:
        if "python_wheel_task" not in task:
            raise environments.InstallationError(
                "the rehearsal workspace runs nothing but a python_wheel_task and a run_job_task"
            )
        wheels = []
        for library in task.get("libraries") or []:
            wheel = self._files.library(library["whl"]) if "whl" in library else None
            if wheel is None:
                raise environments.InstallationError(f"{library} is not a wheel in the workspace")
            wheels.append(wheel)
        return wheels

    def _arguments(self, run: Document, task: Document) -> list[str]:
        wheel, overriding = task["python_wheel_task"], run["overriding_parameters"]
        values = self._values(run, task)
        named = {**(wheel.get("named_parameters") or {}), **(overriding.get("python_named_params") or {})}
        plain = overriding.get("python_params") or wheel.get("parameters") or []
        given = [*map(str, plain), *(f"--{name}={value}" for name, value in named.items())]
        return [substitute(argument, values) for argument in given]

    def log(self, task: Document) -> Path:
        """Where an attempt of a task writes its output."""
        kept = self._store.get("task_runs", task["run_id"]) or {}
        folder = self._folder / "runs" / str(kept["run_id"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{task['task_key']}-{task['attempt_number']}.log"

    def _process(
        self, python: Path, task: Document, arguments: list[str], log: Path, stop: _Stop
    ) -> tuple[int, str | None]:
        """Run a task's process; returns its exit code, and why it was ended if it was."""
        wheel = task["python_wheel_task"]
        # -P: the launcher's own folder is none of the task's business.
        command = [str(python), "-P", str(launch.__file__), wheel["package_name"], wheel["entry_point"], *arguments]
        seconds = int(task.get("timeout_seconds") or 0)
        deadline = time.monotonic() + seconds if seconds else float("inf")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=self._environment(python),
                start_new_session=True,
            )
            while process.poll() is None:
                stopped = stop.result(deadline)
                if stopped:
                    _end(process)
                    return process.returncode, stopped
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        return process.returncode, None

    def _environment(self, python: Path) -> dict[str, str]:
        """What a task's process inherits: nothing that leads to another workspace."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DATABRICKS_", "MLFLOW_", "_MLFLOW_", "PYTHON", "SPARK_"))
        }
        return inherited | {
            "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "VIRTUAL_ENV": str(python.parent.parent),
            "PYTHONUNBUFFERED": "1",
            "DATABRICKS_HOST": self._host,
            "DATABRICKS_TOKEN": self._token,
            "MLFLOW_TRACKING_URI": self._host,
            "MLFLOW_REGISTRY_URI": self._host,
            "MLFLOW_TRACKING_TOKEN": self._token,
            "ML_PIPELINE_STATE": str(self._folder / "lakehouse"),
        }

    def output(self, task: Document) -> Document:
        """What a task wrote, and what of it tells why it failed."""
        log = self.log(task)
        content = log.read_bytes() if log.exists() else b""
        logs = content[-_MOST_LOG:].decode(errors="replace")
        shown: Document = {"logs": logs, "logs_truncated": len(content) > _MOST_LOG}
        if "started" in task:
            shown["run_job_output"] = {"run_id": task["started"]}
        if task["state"].get("result_state") in ("FAILED", "TIMEDOUT"):
            shown |= why(logs, task["state"]["state_message"])
        return shown


def why(logs: str, message: str) -> dict[str, str]:
    """The error of a failed task and where it came from, as far as its log tells."""
    lines = [line for line in logs.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(error|exception)\b", line, re.IGNORECASE)]
    start = logs.rfind("Traceback (most recent call last)")
    error = (errors or lines or [message])[-1]
    return {"error": error, "error_trace": logs[start:] if start >= 0 else error}


def _check_parameters(given: Iterable[str], declared: Iterable[str]) -> None:
    known = list(declared)
    for name in given:
        if name not in known:
            raise invalid(f"Job parameter '{name}' is not defined in the job; defined: {', '.join(known) or 'none'}")


def _interrupted(run: Document) -> None:
    message = "The rehearsal workspace ended while this was active."
    for task in run["tasks"]:
        if not ended(task):
            task |= {**state("INTERNAL_ERROR", "FAILED", message, code="INTERNAL_ERROR"), "end_time": now()}
    run |= {**state("INTERNAL_ERROR", "FAILED", message, code="INTERNAL_ERROR"), "end_time": now()}


def _conclude(run: Document, stop: _Stop) -> None:
    """Sum up a run: as Databricks does, by the tasks that no other comes after."""
    tasks = latest(run)
    before = {other for others in graph(tasks.values()).values() for other in others}
    results = {key: task["state"]["result_state"] for key, task in tasks.items()}
    leaves = [result for key, result in results.items() if key not in before]
    failed = [key for key, result in results.items() if result == "FAILED"]
    stopped = stop.result()
    interrupted = set(results.values()) & {"CANCELED", "TIMEDOUT"}
    if stopped and interrupted:
        outcome = state("TERMINATED", stopped, "Run cancelled." if stopped == "CANCELED" else "Timed out")
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
    end = now()
    duration = end - run["start_time"]
    run |= {**outcome, "end_time": end, "run_duration": duration, "execution_duration": duration}


def _end(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it started: kindly, then not."""
    for how, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
