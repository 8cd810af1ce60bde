"""Dynamic value references, such as ``{{job.run_id}}``, in the parameters of jobs and tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from infra.rehearsal.api import Document

_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def substitute(text: str, known: Mapping[str, str]) -> str:
    """Replace references to what is known; others stay as they are, as on Databricks."""
    return _REFERENCE.sub(lambda match: known.get(match[1], match[0]), text)


def reference_values(host: str, run: Document, task: Document | None = None) -> dict[str, str]:
    """What each reference of a run, or of one of its tasks, stands for."""
    start = datetime.fromtimestamp(run["start_time"] / 1000, UTC)
    found = {
        "workspace.id": "1",
        "workspace.url": host,
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
        found[f"job.start_time.{part}"] = str(getattr(start, part))
    found |= {f"job.parameters.{entry['name']}": entry["value"] for entry in run.get("job_parameters") or []}
    if task:
        found |= {
            "task.name": task["task_key"],
            "task.run_id": str(task["run_id"]),
            "task.execution_count": str(task["attempt_number"] + 1),
        }
    return found
