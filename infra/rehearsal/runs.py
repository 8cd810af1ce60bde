"""Runs: started, repaired, cancelled, and followed to their end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from graphlib import TopologicalSorter

from infra.rehearsal.access import named
from infra.rehearsal.api import Document, invalid, now
from infra.rehearsal.run_state import (
    MESSAGES,
    became,
    conclude,
    ended,
    graph,
    interrupt,
    latest,
    reference_values,
    state,
    substitute,
)
from infra.rehearsal.task_process import PATIENCE, Stop, deadline
from infra.rehearsal.tasks import TIMES, Tasks, Workspace, new_attempt


class Runs:
    """Starts runs, follows them and ends them."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._store = workspace.store
        self._tasks = Tasks(workspace, start=self.start, cancel=self.cancel)
        self._stops: dict[int, Stop] = {}
        self._threads: dict[int, threading.Thread] = {}
        for run in self._active():
            self._store.change("runs", run["run_id"], interrupt)

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
        creator: str,
    ) -> Document:
        """Start a run, or let it wait for the others of its job.

        Args:
            job_id: The job; ``None`` for a run without one.
            settings: What to run.
            parameters: Values of job parameters.
            overriding: Parameters of wheel tasks, as older callers give them.
            token: Names the run, so that asking twice starts it once.
            trigger: What starts it.
            creator: Who starts it.
        """
        declared = {entry["name"]: str(entry.get("default", "")) for entry in settings.get("parameters") or []}
        _check_parameters(parameters, declared)
        with self._store.lock:
            for run in self._store.all("runs"):
                # Of this job; of a run without one, of whoever starts it.
                same = run["job_id"] == job_id if job_id else run["creator_user_name"] == creator
                if token and run["idempotency_token"] == token and same:
                    return run
            run = self._new(job_id, settings, token, creator)
            values = reference_values(self.workspace.host, run)
            given = []
            for name, default in declared.items():
                value = str(parameters.get(name, substitute(default, values)))
                given.append({"name": name, "default": default, "value": value})
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
            for task in run["tasks"]:
                task.update(held)

    def _new(self, job_id: int | None, settings: Document, token: str | None, creator: str) -> Document:
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
            "creator_user_name": creator,
            "run_as": self._identity(job_id, settings, creator),
            **dict.fromkeys((*TIMES, "run_duration"), 0),
            "start_time": now(),
            "idempotency_token": token,
            "settings": settings,
            "repair_history": [{"type": "ORIGINAL", "start_time": now(), "task_run_ids": []}],
            "job_clusters": settings.get("job_clusters") or [],
            **state("PENDING"),
        }
        run["run_page_url"] = f"{self.workspace.host}/jobs/{run['job_id']}/runs/{run_id}"
        run["tasks"] = [new_attempt(self._store, run, task, 0) for task in settings["tasks"]]
        return run

    def _identity(self, job_id: int | None, settings: Document, creator: str) -> str:
        """Whose rights the run has, whoever starts it (docs.databricks.com, "Jobs access control", "Job owner")."""
        if settings.get("run_as"):
            return named(settings["run_as"])[1]
        return self.workspace.access.owner(job_id) if job_id else creator

    def repair(self, run_id: int, keys: set[str], *, parameters: Mapping[str, str], overriding: Document) -> int:
        """Run tasks of a run again that has ended; returns the repair's id.

        Args:
            run_id: The run.
            keys: The tasks.
            parameters: Values of job parameters that take the place of the run's.
            overriding: Parameters of wheel tasks that do.
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
                    run["tasks"].append(new_attempt(self._store, run, task, before + 1))
            run |= {**state("PENDING"), "end_time": 0}

        with self._store.lock:
            self._store.change("runs", run_id, again)
            self._launch(run_id, keys)
        return repair_id

    def cancel(self, run_id: int) -> None:
        """Let a run end; it takes a moment."""

        def end(run: Document) -> None:
            if run["state"]["life_cycle_state"] == "QUEUED":
                for one in (run, *run["tasks"]):
                    one.update(state("TERMINATED", "CANCELED", MESSAGES["CANCELED"]))
            elif not ended(run):
                run |= state("TERMINATING", message="Cancelling")

        with self._store.lock:
            self._store.change("runs", run_id, end)
            if run_id in self._stops:
                self._stops[run_id].event.set()

    def cancel_all(
        self, job_id: int | None, *, queued: bool = False, may: Callable[[Document], bool] = lambda _run: True
    ) -> None:
        """Let every run of a job end, or every one that is queued, if whoever asks may."""
        for run in filter(may, self._active(job_id)):
            if not queued or run["state"]["life_cycle_state"] == "QUEUED":
                self.cancel(run["run_id"])

    def close(self) -> None:
        """End all runs and their processes."""
        with self._store.lock:
            self._tasks.closing = True
            threads = list(self._threads.values())
            for stop in self._stops.values():
                stop.event.set()
        for thread in threads:
            thread.join(2 * PATIENCE)

    def _launch(self, run_id: int, keys: set[str] | None = None) -> None:
        self._stops[run_id] = Stop()
        self._threads[run_id] = threading.Thread(target=self._run, args=(run_id, keys), daemon=True)
        self._threads[run_id].start()

    def _run(self, run_id: int, keys: set[str] | None) -> None:
        run = self._store.find("runs", run_id)
        settings, stop = run["settings"], self._stops[run_id]
        stop.deadline = deadline(settings.get("timeout_seconds"))
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
                    results[key] = pool.submit(self._tasks.carry_out, run_id, tasks[key], before, stop)
                else:
                    results[key] = Future()
                    results[key].set_result(latest(run)[key]["state"].get("result_state", "FAILED"))
        with self._store.lock:
            if not self._tasks.closing:
                self._store.change("runs", run_id, lambda run: conclude(run, stop.result()))
            del self._stops[run_id], self._threads[run_id]
            self._launch_queued(run["job_id"])

    def _launch_queued(self, job_id: int) -> None:
        active = self._active(job_id)
        waiting = [run for run in active if run["state"]["life_cycle_state"] == "QUEUED"]
        if waiting and not self._tasks.closing:
            first = waiting[0]
            if len(active) - len(waiting) < int(first["settings"].get("max_concurrent_runs") or 1):
                self._store.put("runs", first["run_id"], first | state("PENDING"))
                self._launch(first["run_id"])


def _check_parameters(given: Iterable[str], declared: Iterable[str]) -> None:
    known = list(declared)
    for name in given:
        if name not in known:
            raise invalid(f"Job parameter '{name}' is not defined in the job; defined: {', '.join(known) or 'none'}")
