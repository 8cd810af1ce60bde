"""What is printed of a run in a workspace: which task is in which state, and for how long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    from databricks.sdk.service.jobs import Run, RunState, RunTask

ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
"""Life cycle states after which nothing comes."""
_SILENT = ("BLOCKED", "TERMINATING")
"""States of a task that tell nothing that the next one doesn't."""
_NOT_RUN = ("UPSTREAM_FAILED", "UPSTREAM_CANCELED", "EXCLUDED", "DISABLED", "MAXIMUM_CONCURRENT_RUNS_REACHED")
_COLOURS = {"SUCCESS": "green", "SKIPPED": "yellow", "PENDING": "dim", "QUEUED": "dim", "RUNNING": "cyan"}


class Follower:
    """Tells what changed in a run since it was last looked at."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._seen: dict[int, str] = {}
        self._began: dict[int, float] = {}
        self.running: list[str] = []
        """Tasks that ran when it was last looked at."""

    def changes(self, run: Run) -> list[tuple[str, int | None]]:
        """A line for each task that is in another state now; with it the task's run id where that has failed."""
        told: list[tuple[str, int | None]] = []
        tasks = run.tasks or []
        self.running = [self._name(task) for task in tasks if life_of(task.state) == "RUNNING"]
        for task in tasks:
            state, key = state_of(task.state), task.run_id or 0
            if self._seen.get(key) == state:
                continue
            self._seen[key] = state
            if state in _SILENT:
                continue
            self._began.setdefault(key, time.monotonic())
            ended = life_of(task.state) in ENDED
            skipped = state in _NOT_RUN
            failed = key if ended and not skipped and state not in ("SUCCESS", "CANCELED") else None
            shown = "SKIPPED" if skipped else state
            colour = _COLOURS.get(shown, "red")
            said = self._after(task, tasks) if skipped else f"{self._seconds(task, key, ended=ended):6.1f} s"
            told.append((f"[{colour}]{shown:<8}[/] {escape(f'{self._name(task):<24}')} {escape(said)}", failed))
        return told

    def _name(self, task: RunTask) -> str:
        again = f" (attempt {task.attempt_number + 1})" if task.attempt_number else ""
        return f"{self._job}.{task.task_key}{again}"

    def _seconds(self, task: RunTask, key: int, *, ended: bool) -> float:
        if ended and task.start_time and task.end_time:
            return max(task.end_time - task.start_time, 0) / 1000
        return time.monotonic() - self._began[key]

    def _after(self, task: RunTask, tasks: Sequence[RunTask]) -> str:
        before = {dependency.task_key for dependency in task.depends_on or ()}
        # Of several attempts the last one counts.
        states = {each.task_key: state_of(each.state) for each in tasks if each.task_key in before}
        failed = [f"{self._job}.{name}" for name, state in states.items() if state != "SUCCESS"]
        return f"after {failed[0]}" if failed else "nothing failed before it"


def life_of(state: RunState | None) -> str:
    """The life cycle state by its name."""
    return state.life_cycle_state.value if state and state.life_cycle_state else "UNKNOWN"


def state_of(state: RunState | None) -> str:
    """The result of what has ended, and until then the life cycle state."""
    life = life_of(state)
    return state.result_state.value if state and life in ENDED and state.result_state else life
