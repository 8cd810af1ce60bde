"""Runs the deployed job of an environment, by name: one file for every environment, and for Airflow 2 and 3.

What differs lies beside it in a JSON file of its name, which the stack writes. To parse the DAG takes that file and
nothing else: the connection is looked up, and the workspace asked, when a run starts.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowException, TaskDeferred
from airflow.providers.databricks.operators.databricks import DatabricksRunNowOperator
from airflow.timetables.trigger import CronTriggerTimetable

try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG

SETTINGS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

BATCH_DATE = "{{ ds if ds is defined else dag_run.run_after | ds }}"
"""The day of the batch: that for which the run is scheduled, in UTC, as it is with Databricks' own schedule.

A run that somebody starts in Airflow 3 may have no logical date.
"""


class RunDeployedJob(DatabricksRunNowOperator):
    """Starts the job and waits for its end without holding a worker."""

    def execute(self, context: Any) -> None:
        """Start the job; a run that is to be waited for ends this method by an exception."""
        try:
            super().execute(context)
        except TaskDeferred as deferred:
            # Airflow 3 holds a task that waits to no other time limit than this.
            deferred.timeout = self.execution_timeout
            raise
        # A run that has ended before it could be waited for: the provider takes any such end for a success.
        state = self._hook.get_run_state(self.run_id)
        if not state.is_successful:
            raise AirflowException(f"Job run {self.run_id} failed with terminal state: {state}")


with DAG(
    dag_id=SETTINGS["dag_id"],
    description=SETTINGS["description"],
    tags=SETTINGS["tags"],
    # Not Airflow's own pause, which whoever deploys can set once only: the file of the environment has the last word.
    is_paused_upon_creation=False,
    # Of a trigger the logical date is the time it is for in both versions; of a plain cron text only in Airflow 3.
    schedule=None if SETTINGS["paused"] else CronTriggerTimetable(SETTINGS["cron"], timezone=SETTINGS["time_zone"]),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
):
    RunDeployedJob(
        task_id="run_job",
        job_name=SETTINGS["job_name"],
        job_parameters={"batch_date": BATCH_DATE},
        # The provider repeats a request that got no answer: that must not start a second run.
        idempotency_token="{{ macros.uuid.uuid4() }}",  # noqa: S106 (it opens nothing)
        databricks_conn_id=SETTINGS["connection"],
        deferrable=True,
        polling_period_seconds=15,
        retries=SETTINGS["retries"],
        retry_delay=timedelta(minutes=5),
        execution_timeout=timedelta(seconds=SETTINGS["timeout_seconds"]),
    )
