"""The logs of tasks: where they are, and what they tell."""

from __future__ import annotations

import re
from pathlib import Path

from infra.rehearsal.api import Document
from infra.rehearsal.store import Store

_MOST_LOG = 5 * 1024 * 1024
"""What of a log is shown: its last part."""


class Logs:
    """The logs below the state folder.

    Args:
        store: Where runs are kept.
        folder: The state folder.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def file(self, task: Document) -> Path:
        """Where an attempt of a task writes its output."""
        kept = self._store.get("task_runs", task["run_id"]) or {}
        folder = self._folder / "runs" / str(kept["run_id"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{task['task_key']}-{task['attempt_number']}.log"

    def output(self, task: Document) -> Document:
        """What a task wrote, and what of it tells why it failed."""
        log = self.file(task)
        content = log.read_bytes() if log.exists() else b""
        logs = content[-_MOST_LOG:].decode(errors="replace")
        shown: Document = {"logs": logs, "logs_truncated": len(content) > _MOST_LOG}
        if "started" in task:
            shown["run_job_output"] = {"run_id": task["started"]}
        if task["state"].get("result_state") in ("FAILED", "TIMEDOUT"):
            shown |= _error(logs, task["state"]["state_message"])
        return shown


def _error(logs: str, message: str) -> dict[str, str]:
    """The error of a failed task and where it came from, as far as its log tells."""
    lines = [line for line in logs.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(error|exception)\b", line, re.IGNORECASE)]
    start = logs.rfind("Traceback (most recent call last)")
    error = (errors or lines or [message])[-1]
    return {"error": error, "error_trace": logs[start:] if start >= 0 else error}
