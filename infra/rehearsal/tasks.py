"""Tasks of a run: carried out, with their retries."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from infra.rehearsal import environments, task_process
from infra.rehearsal.api import Document, now
from infra.rehearsal.files import Files
from infra.rehearsal.references import reference_values, substitute
from infra.rehearsal.run_state import ended, hinders, latest, state
from infra.rehearsal.store import Store
from infra.rehearsal.task_log import Logs
from infra.rehearsal.task_process import Stop


class Tasks:
    """Carries out tasks, each in a process of this machine.

    Args:
        store: Where runs are kept.
        files: Where wheels are found.
        logs: Where a task's output goes.
        folder: The state folder.
        host: URL of the rehearsal workspace.
        token: What opens it.
        start: Starts a run of a job, with values of its parameters; returns its id.
        cancel: Cancels a run.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        logs: Logs,
        folder: Path,
        *,
        host: str,
        token: str,
        start: Callable[[Document, Mapping[str, str]], int],
        cancel: Callable[[int], None],
    ) -> None:
        self._store = store
        self._files = files
        self._logs = logs
        self._folder = folder
        self._host = host
        self._start = start
        self._cancel = cancel
        self._own = {
            "DATABRICKS_HOST": host,
            "DATABRICKS_TOKEN": token,
            "MLFLOW_TRACKING_URI": host,
            "MLFLOW_REGISTRY_URI": host,
            "MLFLOW_TRACKING_TOKEN": token,
            "ML_PIPELINE_STATE": str(folder / "lakehouse"),
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

    def _attempts(self, run_id: int, task: Document, stop: Stop) -> str:
        most = int(task.get("max_retries") or 0)
        pause = int(task.get("min_retry_interval_millis") or 0) / 1000
        for attempt in itertools.count():
            result = self._attempt_once(run_id, task, stop)
            again = result == "FAILED" or (result == "TIMEDOUT" and task.get("retry_on_timeout"))
            if not again or stop.result() or attempt == most:
                return result

            def add(run: Document) -> None:
                number = latest(run)[task["task_key"]]["attempt_number"] + 1
                run["tasks"].append(new_attempt(self._store, run, task, number) | state("WAITING_FOR_RETRY"))

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

    def _attempt_once(self, run_id: int, task: Document, stop: Stop) -> str:
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
        code, stopped = task_process.run(
            task, arguments, python=python, log=self._logs.file(record), own=self._own, stop=stop
        )
        result = stopped or ("SUCCESS" if code == 0 else "FAILED")
        messages = {
            "FAILED": "Workload failed, see run output for details",
            "TIMEDOUT": "Timed out",
            "CANCELED": "Run cancelled.",
        }
        if not self.closing:
            self._note(run_id, key, {**state("TERMINATED", result, messages.get(result, "")), "end_time": now()})
        return result

    def _run_job(self, run_id: int, task: Document, stop: Stop) -> str:
        """Start a run of another job, and wait for its end."""
        run, called = self._store.get("runs", run_id), task["run_job_task"]
        job = self._store.get("jobs", called["job_id"])
        assert run is not None
        if job is None:
            why = f"Job {called['job_id']} does not exist."
            self._note(run_id, task["task_key"], {**state("TERMINATED", "FAILED", why), "end_time": now()})
            return "FAILED"
        values = reference_values(self._host, run, task)
        given = {name: substitute(str(value), values) for name, value in (called.get("job_parameters") or {}).items()}
        other = self._start(job, given)
        self._note(run_id, task["task_key"], {**state("RUNNING"), "resolved": given, "started": other})
        seconds = int(task.get("timeout_seconds") or 0)
        deadline = time.monotonic() + seconds if seconds else float("inf")
        stopped = None
        while (found := self._store.get("runs", other)) and not ended(found) and not self.closing:
            stopped = stopped or stop.result(deadline)
            if stopped and found["status"]["state"] != "TERMINATING":
                self._cancel(other)
            time.sleep(0.1)
        became = found["state"].get("result_state", "FAILED") if found else "FAILED"
        fine = became in ("SUCCESS", "SUCCESS_WITH_FAILURES")
        result = stopped or ("SUCCESS" if fine else "FAILED")
        message = "" if result == "SUCCESS" else f"Run {other} of job {job['job_id']} is {became}"
        if not self.closing:
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
        values = reference_values(self._host, run, task)
        named = {**(wheel.get("named_parameters") or {}), **(overriding.get("python_named_params") or {})}
        plain = overriding.get("python_params") or wheel.get("parameters") or []
        given = [*map(str, plain), *(f"--{name}={value}" for name, value in named.items())]
        return [substitute(argument, values) for argument in given]


def new_attempt(store: Store, run: Document, task: Document, attempt: int) -> Document:
    """An attempt of a task, noted in the run's last repair."""
    task_run_id = store.number()
    store.put("task_runs", task_run_id, {"run_id": run["run_id"]})
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
