"""The DAG that runs a deployed job, as two objects of the bucket that Airflow reads."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from infra.bindings import AwsProvider, Construct, Job, S3Object
from infra.environment.environment import Environment
from ml_pipeline import graph
from ml_pipeline.settings.environment import Schedule
from ml_pipeline.settings.quartz import as_cron

_DAGS = Path(__file__).parents[1] / "dags"
_WAITING = 3600
"""Seconds that a run may wait in Databricks' queue before Airflow gives up; its own time limit is the job's."""


class DeliveredDag(Construct):
    """The DAG's file, and beside it the environment's settings; both are named after the job.

    So environments and their copies can share an Airflow, and each destroys what is its own.
    """

    def __init__(
        self, scope: Construct, *, job: graph.Job, environment: Environment, schedule: Schedule, after: Job
    ) -> None:
        super().__init__(scope, "dag")
        airflow = schedule.airflow
        assert airflow is not None, "engine 'airflow' comes with its table"
        name = environment.job_name(job.name)
        settings = {
            "dag_id": name,
            "description": job.description,
            "tags": [environment.project, environment.full_name],
            "job_name": name,
            "cron": as_cron(schedule.cron),
            "time_zone": schedule.time_zone,
            "paused": not environment.scheduled_by("airflow"),
            "connection": airflow.connection,
            "retries": airflow.retries,
            "timeout_seconds": job.timeout_seconds + _WAITING,
        }
        delivered = partial(
            S3Object,
            self,
            provider=AwsProvider(self, "aws", region=airflow.region),
            bucket=airflow.bucket,
            kms_key_id=airflow.kms_key_id,
        )
        place, content = f"{airflow.prefix}/{name}", json.dumps(settings, indent=2) + "\n"
        dag = (_DAGS / f"{job.name}.py").read_text(encoding="utf-8")
        # One after the other: the job's own schedule is paused by then, and the DAG finds its settings.
        written = delivered(
            "json", key=f"{place}.json", content=content, content_type="application/json", depends_on=[after]
        )
        delivered("py", key=f"{place}.py", content=dag, content_type="text/x-python", depends_on=[written])
