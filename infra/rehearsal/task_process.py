"""Processes of tasks: the Python environment, the start, the end, and what the log tells.

An environment has a task's wheels on top of the libraries of this interpreter, which stand for those of the cluster's
runtime.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.rehearsal import launch
from infra.rehearsal.api import Document

PATIENCE = 5.0
"""Seconds that a task's processes have to end before they are killed."""
_MOST_LOG = 5 * 1024 * 1024
"""What of a log is shown: its last part."""
_LOCK = threading.Lock()


class InstallationError(Exception):
    """A library can't be installed."""


def interpreter(folder: Path, wheels: Iterable[Path]) -> Path:
    """The Python of an environment that has these wheels; it is made if it isn't there.

    Raises:
        InstallationError: one can't be installed.
    """
    ordered = sorted(wheels)
    content = hashlib.sha256(sys.prefix.encode())
    for wheel in ordered:
        content.update(wheel.name.encode() + b"\0" + hashlib.sha256(wheel.read_bytes()).digest())
    made = folder / content.hexdigest()[:16]
    with _LOCK:
        if not made.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as part:
                _make(Path(part) / "environment", ordered)
                # Only what is complete gets its name, under which it is found again.
                shutil.move(Path(part) / "environment", made)
    return made / "bin" / "python"


def _make(environment: Path, wheels: list[Path]) -> None:
    _call([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    # Behind the environment's own folder in the search order: the wheel wins over what this interpreter has.
    packages.joinpath("runtime.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    python, uv = str(environment / "bin" / "python"), Path(sys.executable).parent / "uv"
    if not wheels:
        return
    install = [str(uv), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python]
    if not uv.exists():
        install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    _call([*install, *map(str, wheels)])


def _call(command: list[str]) -> None:
    # What is set for this interpreter must not reach into the one that is made.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise InstallationError((done.stderr or done.stdout).strip())


def deadline(seconds: int | None) -> float:
    """When a time limit ends, on the monotonic clock: never, if there is none."""
    return time.monotonic() + seconds if seconds else float("inf")


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
    wheel, limit = task["python_wheel_task"], deadline(task.get("timeout_seconds"))
    # -P: the task must not see the launcher's own folder.
    command = [str(python), "-P", str(launch.__file__), str(os.getpid()), wheel["package_name"], wheel["entry_point"]]
    command += arguments
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
            stopped = stop.result(limit)
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


def output(task: Document, log: Path) -> Document:
    """What a task wrote, and what of it tells why it failed and where the error came from."""
    content = log.read_bytes() if log.exists() else b""
    logs = content[-_MOST_LOG:].decode(errors="replace")
    shown: Document = {"logs": logs, "logs_truncated": len(content) > _MOST_LOG}
    if "started" in task:
        shown["run_job_output"] = {"run_id": task["started"]}
    if task["state"].get("result_state") in ("FAILED", "TIMEDOUT"):
        lines = [line for line in logs.splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]*(error|exception)\b", line, re.IGNORECASE)]
        start = logs.rfind("Traceback (most recent call last)")
        error = (errors or lines or [task["state"]["state_message"]])[-1]
        shown |= {"error": error, "error_trace": logs[start:] if start >= 0 else error}
    return shown
