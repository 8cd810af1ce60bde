"""Runs in an Airflow environment: ``dag.test()`` of DAGs of a folder, one after the other.

The second argument is a list of runs in JSON. The keys of a run: ``dag_id`` (default: the only DAG), ``logical_date``
(default: none), ``scheduled`` (as if the scheduler had started it) and ``lost`` (the first question for the state of
the job run gets no answer).
"""

import json
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow.exceptions import AirflowException
from airflow.models.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.providers.databricks.hooks.databricks import DatabricksHook
from airflow.version import version
from sqlalchemy import event

DATE = "execution_date" if version.startswith("2.") else "logical_date"


def main(folder: Path, runs: list[dict[str, Any]]) -> None:
    dags = DagBag(str(folder), include_examples=False).dags
    for run in runs:
        (dag,) = [dag for dag in dags.values() if dag.dag_id == run.get("dag_id", dag.dag_id)]
        (task,) = dag.tasks
        task.retry_delay, task.polling_period_seconds = timedelta(0), 1
        when = datetime.fromisoformat(run["logical_date"]) if run.get("logical_date") else None
        with ExitStack() as stack:
            if run.get("scheduled"):
                event.listen(DagRun, "before_insert", scheduled)
                stack.callback(event.remove, DagRun, "before_insert", scheduled)
            if run.get("lost"):
                stack.enter_context(lost())
            print(f"the DAG {dag.dag_id} is {dag.test(**{DATE: when}).state}", flush=True)


def scheduled(_mapper: object, _connection: object, dag_run: DagRun) -> None:
    dag_run.run_type = "scheduled"


def lost() -> Any:
    errors = [AirflowException("connection lost")]
    get_run = DatabricksHook.get_run

    def answer(hook: DatabricksHook, run_id: int) -> Any:
        if errors:
            raise errors.pop()
        return get_run(hook, run_id)

    return patch.object(DatabricksHook, "get_run", answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
