"""Processes of tasks: started, followed and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.rehearsal import launch
from infra.rehearsal.api import Document

PATIENCE = 5.0
"""Seconds that a task's processes have to end before they are killed."""


@dataclass
class Stop:
    """Tells the threads of a run to end, and why."""

    deadline: float = float("inf")
    event: threading.Event = field(default_factory=threading.Event)

    def result(self, deadline: float = float("inf")) -> str | None:
        """What a task becomes that has to end now; ``None`` if it may go on."""
        if self.event.is_set():
            return "CANCELED"
        return "TIMEDOUT" if time.monotonic() > min(self.deadline, deadline) else None


def run(
    task: Document, arguments: list[str], *, python: Path, log: Path, own: Mapping[str, str], stop: Stop
) -> tuple[int, str | None]:
    """Run a task's process.

    Args:
        task: The task.
        arguments: What its entry point gets.
        python: The interpreter of its environment.
        log: Where its output goes.
        own: Variables that it does not inherit.
        stop: Ends it early.

    Returns:
        Its exit code, and why it was ended if it was.
    """
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
            env={**_environment(python), **own},
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


def _environment(python: Path) -> dict[str, str]:
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
    }


def _end(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it started: kindly, then not."""
    for how, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
