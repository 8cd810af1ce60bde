"""Runs in an Airflow environment: prints how the delivered DAG decides about attempts, without a workspace.

The clock stands at NOW.
"""

import importlib.util
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NOW = datetime(2026, 1, 3, 0, 30, tzinfo=UTC)


def context(
    *,
    scheduled: str = "2026-01-02T06:00:00+00:00",
    run_type: str = "scheduled",
    clear_number: int = 0,
    try_number: int = 1,
    max_tries: int = 1,
    start_date: datetime = NOW,
) -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="dag", try_number=try_number, max_tries=max_tries)
    logical_date = datetime.fromisoformat(scheduled)
    dag_run = SimpleNamespace(
        run_id="run", run_type=run_type, clear_number=clear_number, start_date=start_date, logical_date=logical_date
    )
    return {"ti": ti, "dag_run": dag_run}


def main(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("*.py")
    spec = importlib.util.spec_from_file_location("delivered", file)
    assert spec
    assert spec.loader
    dag = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dag)
    vars(dag)["datetime"] = SimpleNamespace(now=NOW.astimezone)

    def started(**about: Any) -> str:
        try:
            dag.reject_late_start(context(**about))
        except Exception as error:
            return type(error).__name__
        return "started"

    def token(**about: Any) -> str:
        return str(dag.idempotency_token(context(**about)))

    return {
        "late": started(),
        "late by less than an hour": started(scheduled="2026-01-02T23:45:00+00:00"),
        "late on the same day": started(scheduled="2026-01-03T00:00:00+00:00"),
        "late on the same day elsewhere": started(scheduled="2026-01-03T01:00:00+09:00"),
        "late retry": started(try_number=2),
        "started by a person": started(run_type="manual"),
        "cleared by a person": started(clear_number=1, try_number=2),
        "token": len(token()),
        "token of a retry": token(try_number=2) == token(),
        "token after clearing": token(max_tries=2) == token(),
        "token of another DAG run": token(start_date=NOW.replace(hour=1)) == token(),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
