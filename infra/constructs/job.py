"""A declared job, as a Databricks job."""

from __future__ import annotations

from collections.abc import Mapping

from infra import distribution
from infra.bindings import (
    Construct,
    Job,
    JobEmailNotifications,
    JobHealth,
    JobHealthRules,
    JobJobCluster,
    JobParameter,
    JobQueue,
    JobRunAs,
    JobSchedule,
    JobTask,
    JobTaskDependsOn,
    JobTaskEmailNotifications,
    JobTaskLibrary,
    JobTaskPythonWheelTask,
    JobTaskRunJobTask,
    RegisteredModel,
    Token,
)
from infra.constructs.cluster_pool import Machines
from infra.constructs.wheel import Wheel
from infra.environment.environment import Environment
from ml_pipeline import graph

_CLUSTER = "main"
_ENTRY_POINT = "run-task"
_SLOW = 0.8
"""Share of a job's timeout after which a run counts as slow."""


class DeployedJob(Construct):
    """One Databricks job; its tasks share a cluster, so that libraries are installed once a run.

    ``known`` are the jobs that came before; tasks may start runs of them.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        job: graph.Job,
        environment: Environment,
        machines: Machines,
        wheel: Wheel,
        after: RegisteredModel,
        known: Mapping[str, Job],
        scheduled: bool,
        tags: Mapping[str, str],
    ) -> None:
        super().__init__(scope, job.name)
        workspace, schedule = environment.workspace, environment.schedule
        # A run whose failure another task takes care of is not a failed run, which the job would notify about.
        handled = {name for task in job.tasks if task.run_if != "ALL_SUCCESS" for name in task.depends_on}
        self.job = Job(
            self,
            "job",
            name=environment.job_name(job.name),
            description=job.description,
            tags=dict(tags),
            parameter=[JobParameter(name=p.name, default=p.default) for p in job.parameters],
            max_concurrent_runs=job.max_concurrent_runs,
            queue=JobQueue(enabled=True),
            timeout_seconds=job.timeout_seconds,
            health=JobHealth(
                rules=[
                    JobHealthRules(
                        metric="RUN_DURATION_SECONDS", op="GREATER_THAN", value=int(_SLOW * job.timeout_seconds)
                    )
                ]
            ),
            email_notifications=JobEmailNotifications(
                on_failure=workspace.notify, on_duration_warning_threshold_exceeded=workspace.notify
            )
            if workspace.notify
            else None,
            run_as=JobRunAs(service_principal_name=workspace.run_as) if workspace.run_as else None,
            schedule=JobSchedule(
                quartz_cron_expression=schedule.cron,
                timezone_id=schedule.time_zone,
                # Kept where another engine is chosen: the way there and back changes one word of the plan.
                pause_status="UNPAUSED" if environment.scheduled_by("databricks") else "PAUSED",
            )
            if scheduled and schedule
            else None,
            job_cluster=[JobJobCluster(job_cluster_key=_CLUSTER, new_cluster=machines.cluster())],
            # The provider keeps tasks in the order of their keys: any other shows as a change in each plan.
            task=[
                _task(task, wheel, known, workspace.notify if task.name in handled else None)
                for task in sorted(job.tasks, key=lambda task: task.name)
            ],
            depends_on=[wheel.file, after],
        )


def _task(task: graph.Task, wheel: Wheel, known: Mapping[str, Job], notify: list[str] | None) -> JobTask:
    return JobTask(
        task_key=task.name,
        depends_on=[JobTaskDependsOn(task_key=name) for name in sorted(task.depends_on)] or None,
        run_if=task.run_if if task.run_if != "ALL_SUCCESS" else None,
        job_cluster_key=None if task.run_job else _CLUSTER,
        library=None if task.run_job else [JobTaskLibrary(whl=wheel.path)],
        python_wheel_task=None
        if task.run_job
        else JobTaskPythonWheelTask(
            package_name=distribution.PACKAGE,
            entry_point=_ENTRY_POINT,
            named_parameters={"entry-point": task.entry_point, **task.parameters},
        ),
        run_job_task=JobTaskRunJobTask(
            job_id=Token.as_number(known[task.run_job].id), job_parameters=dict(task.parameters)
        )
        if task.run_job
        else None,
        email_notifications=JobTaskEmailNotifications(on_failure=notify) if notify else None,
        timeout_seconds=task.timeout_seconds,
        max_retries=task.max_retries,
        min_retry_interval_millis=1000 * task.min_retry_interval_seconds if task.max_retries else None,
        # A run that takes too long once takes too long again.
        retry_on_timeout=False if task.max_retries else None,
    )
