"""Runs the deployed job of an environment, by name: one file for every environment, and for Airflow 2 and 3.

The settings of the environment are in the JSON file of the same name, which the stack writes. Parsing needs only this
file: the task looks up the connection and calls the workspace when it runs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.providers.databricks.operators.databricks import (
    XCOM_RUN_ID_KEY,
    XCOM_RUN_PAGE_URL_KEY,
    DatabricksRunNowOperator,
)
from airflow.timetables.trigger import CronTriggerTimetable

try:
    from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG
    from airflow.triggers.temporal import TimeDeltaTrigger

SETTINGS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

BATCH_DATE = "{{ ds if ds is defined else dag_run.run_after | ds }}"
"""The day of the batch: the day for which the run is scheduled, in UTC, as with Databricks' own schedule.

A run that a person starts in Airflow 3 may have no logical date.
"""
LIMIT = timedelta(seconds=SETTINGS["timeout_seconds"])
"""The longest time that a run is followed."""
ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
"""Life cycle states of runs that have ended; the provider rejects some of the others."""
GRACE = timedelta(hours=1)
"""A run that starts shortly after midnight still belongs to the day before."""


class RunDeployedJob(DatabricksRunNowOperator):
    """Starts the job and waits for its end without holding a worker.

    The end of a run is final, since the job's tasks have retries of their own. The retries of this task are for runs
    that could not be started or followed.
    """

    def execute(self, context: Any) -> None:
        """Start the job and follow its run."""
        # Airflow 3.0 stores the operator's link when the task ends, and fails the task if there is none.
        context["ti"].xcom_push(key=XCOM_RUN_PAGE_URL_KEY, value="")
        reject_late_start(context)
        self.json["idempotency_token"] = idempotency_token(context)
        super().execute(context)
        self.follow(context)

    def follow(self, context: Any, event: Any = None) -> None:  # noqa: ARG002 (Airflow passes the trigger's event)
        """End the task as the run ended, or continue here after a while.

        The provider's own trigger does not work in Airflow 3.0, whose triggerer can't look up a connection.
        """
        run_id = context["ti"].xcom_pull(task_ids=self.task_id, key=XCOM_RUN_ID_KEY)
        run = self._hook.get_run(run_id)
        state = run["state"]
        if state["life_cycle_state"] not in ENDED:
            age = datetime.now(UTC) - datetime.fromtimestamp(run["start_time"] / 1000, UTC)
            if age > LIMIT:
                raise AirflowFailException(f"Job run {run_id} has not ended after {age}; it continues in the workspace")
            period = timedelta(seconds=self.polling_period_seconds)
            # The timeout is for a triggerer that does not work.
            self.defer(trigger=TimeDeltaTrigger(period), method_name="follow", timeout=LIMIT)
        result = state.get("result_state")
        if result == "SUCCESS_WITH_FAILURES":
            # A success for Databricks, but a failure for the provider.
            self.log.warning("Job run %s succeeded with failures: other tasks of the job handled them", run_id)
        elif result != "SUCCESS":
            raise AirflowFailException(f"Job run {run_id} failed: {state}, errors of its tasks: {self.errors(run)}")

    def errors(self, run: Any) -> dict[str, Any]:
        """Errors of the failed tasks, since the state of a run does not include them."""
        failed = [task for task in run.get("tasks", ()) if task["state"].get("result_state") == "FAILED"]
        return {task["task_key"]: self._hook.get_run_output(task["run_id"]).get("error") for task in failed}


def reject_late_start(context: Any) -> None:
    """Don't start a scheduled run on a later day: today's rows would replace the batch of its day.

    Airflow starts the last missed run as soon as a DAG appears or is enabled again, even with ``catchup=False``.
    """
    dag_run = context["dag_run"]
    now, scheduled = datetime.now(UTC), dag_run.logical_date
    # A person may start or clear a run of any day.
    if dag_run.run_type != "scheduled" or dag_run.clear_number:
        return
    if now.date() == scheduled.astimezone(UTC).date() or now - scheduled <= GRACE:
        return
    message = (
        f"The run scheduled for {scheduled.astimezone(UTC):%Y-%m-%d %H:%M} UTC is too late: today's rows would replace "
        "the batch of that day. To run it anyway, clear the task."
    )
    if context["ti"].try_number > 1:
        # Not skipped, which counts as a success: an earlier attempt may have started a run that failed.
        raise AirflowFailException(f"{message} First check whether an earlier attempt started a run in the workspace.")
    raise AirflowSkipException(message)


def idempotency_token(context: Any) -> str:
    """The same for all retries: a retry gets the run that an earlier attempt started, even if it has ended.

    If a person clears the task, or deletes the DAG run and starts it again, the job runs again: clearing changes
    ``max_tries`` but retries don't, and ``start_date`` differs between DAG runs with the same id.
    """
    ti, dag_run = context["ti"], context["dag_run"]
    attempts = (ti.dag_id, dag_run.run_id, dag_run.start_date, ti.max_tries)
    return str(uuid5(NAMESPACE_OID, " ".join(map(str, attempts))))


with DAG(
    dag_id=SETTINGS["dag_id"],
    description=SETTINGS["description"],
    tags=SETTINGS["tags"],
    # A DAG file can set Airflow's own pause only once; the environment file pauses the schedule instead.
    is_paused_upon_creation=False,
    # With this timetable the logical date is the trigger's time in both versions; with a cron text only in Airflow 3.
    schedule=None if SETTINGS["paused"] else CronTriggerTimetable(SETTINGS["cron"], timezone=SETTINGS["time_zone"]),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
):
    RunDeployedJob(
        task_id="run_job",
        job_name=SETTINGS["job_name"],
        job_parameters={"batch_date": BATCH_DATE},
        databricks_conn_id=SETTINGS["connection"],
        wait_for_termination=False,
        deferrable=False,
        polling_period_seconds=60,
        retries=SETTINGS["retries"],
        retry_delay=timedelta(minutes=5),
    )
