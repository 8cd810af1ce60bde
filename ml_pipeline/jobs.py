"""The declaration: every job of the flow, its tasks, their order and their parameters.

This is the one place where the flow is described. ``infra`` renders it as Databricks jobs, ``local_runner`` runs it on
this machine. A new step is one module with a function, and one ``Task`` here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ml_pipeline.graph import Job, JobParameter, Task, check_started, in_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_pipeline.settings.pipeline import PipelineSettings

GIT_BRANCH = JobParameter(
    name="git_branch", default="local", description="Branch that is built; runs are compared within it"
)
GIT_COMMIT = JobParameter(
    name="git_commit", default="local", description="Commit that is built; validation finds the CI's run by it"
)
PULL_REQUEST = JobParameter(name="pull_request", default="", description="Number of the pull request, if any")
RUN_BY = JobParameter(name="run_by", default="", description="Who asked for the run, if not its MLflow user")
BATCH_DATE = JobParameter(
    name="batch_date",
    default="{{job.start_time.iso_date}}",
    description="Day of the batch (YYYY-MM-DD), the key of its predictions",
)
JOB_RUN_ID = "{{job.run_id}}"


def deployed_name(*, environment: str, instance: str = "", job: str) -> str:
    """Name of a declared job where it is deployed, such as ``dev-training`` or ``dev-pr-12-training``."""
    return "-".join(part for part in (environment, instance, job) if part)


def encode(value: object) -> str:
    """A setting as a named parameter: text as it is, everything else as JSON; ``None`` becomes the empty string."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} can't be a parameter")
    return dump(mode="json", by_alias=True, exclude_none=True)


def _parameters(**values: object) -> Mapping[str, str]:
    return {name: encode(value) for name, value in values.items()}


def _reference(parameter: JobParameter) -> str:
    return f"{{{{job.parameters.{parameter.name}}}}}"


def declare(settings: PipelineSettings) -> tuple[Job, ...]:
    """Every job of one environment, in flow order."""
    schema = settings.schema_name
    train_validation_table, test_table = f"{schema}.train_validation", f"{schema}.test"
    train_table, validation_table = f"{schema}.train", f"{schema}.validation"
    batch = {
        "predictions_table": f"{schema}.predictions",
        "quarantine_table": f"{schema}.quarantine",
        "shadow_table": f"{schema}.shadow_predictions",
        "batch_date": _reference(BATCH_DATE),
    }
    reason = JobParameter(name="reason", default=settings.reason, description="Why it runs: feature, ci or retraining")
    columns = {"target": settings.target, "key": settings.key, "features": settings.features}
    model = {"experiment": settings.experiment, "model": f"{schema}.{settings.model}"}
    decision = {
        "metric": settings.metric,
        "threshold": settings.threshold,
        "tolerance": settings.tolerance,
        "significance": settings.significance,
    }
    inference = settings.batch_inference
    git = {"git_branch": _reference(GIT_BRANCH), "git_commit": _reference(GIT_COMMIT)}

    datasets = Job(
        name="datasets",
        description="Splits the source by hash into the train-validation and the test table",
        tasks=(
            Task(
                name="split",
                entry_point="ml_pipeline.steps.split:split",
                parameters=_parameters(
                    source=settings.source,
                    **columns,
                    test_share=settings.test_share,
                    scored=inference.source in (None, settings.source),
                    probabilities=inference.probabilities,
                    train_validation_table=train_validation_table,
                    test_table=test_table,
                ),
            ),
        ),
    )
    training = Job(
        name="training",
        description="Prepares tables, trains a model and compares it with the branch's runs and the champion",
        depends_on=(datasets.name,),
        parameters=(GIT_BRANCH, GIT_COMMIT, PULL_REQUEST, reason, RUN_BY),
        max_concurrent_runs=10,
        tasks=(
            Task(
                name="prepare",
                entry_point="ml_pipeline.steps.prepare:prepare",
                parameters=_parameters(
                    train_validation_table=train_validation_table,
                    train_table=train_table,
                    validation_table=validation_table,
                    **columns,
                    folds=settings.folds,
                    validation_share=settings.validation_share,
                    experiment=settings.experiment,
                    job_run_id=JOB_RUN_ID,
                    **git,
                    pull_request=_reference(PULL_REQUEST),
                    reason=_reference(reason),
                    run_by=_reference(RUN_BY),
                ),
            ),
            Task(
                name="train",
                entry_point="ml_pipeline.steps.train:train",
                depends_on=("prepare",),
                timeout_seconds=3 * 3600,
                parameters=_parameters(
                    **columns,
                    positive_class=settings.positive_class,
                    estimator=settings.estimator,
                    metric=settings.metric,
                    folds=settings.folds,
                    seed=settings.seed,
                    n_jobs=settings.n_jobs,
                    search_on=settings.search_on,
                    max_training_rows=settings.max_training_rows,
                    experiment=settings.experiment,
                    job_run_id=JOB_RUN_ID,
                ),
            ),
            Task(
                name="compare",
                entry_point="ml_pipeline.steps.compare:compare",
                depends_on=("train",),
                max_retries=0,
                parameters=_parameters(**model, **decision, job_run_id=JOB_RUN_ID),
            ),
        ),
    )
    validation = Job(
        name="validation",
        description="Scores the test table with the model that the CI built; the challenger if it passes",
        depends_on=(training.name,),
        parameters=(GIT_COMMIT,),
        tasks=(
            Task(
                name="validate",
                entry_point="ml_pipeline.steps.validate:validate",
                max_retries=0,
                parameters=_parameters(test_table=test_table, **model, **decision, git_commit=git["git_commit"]),
            ),
        ),
    )
    promotion = Job(
        name="promotion",
        description="Makes the challenger the champion and remembers the one before",
        depends_on=(validation.name,),
        parameters=(RUN_BY,),
        tasks=(
            Task(
                name="promote",
                entry_point="ml_pipeline.steps.promote:promote",
                parameters=_parameters(model=model["model"], run_by=_reference(RUN_BY), job_run_id=JOB_RUN_ID),
            ),
        ),
    )
    watching = settings.watching
    watch: list[Task] = []
    if watching:
        monitor = Task(
            name="monitor",
            entry_point="ml_pipeline.steps.monitor:monitor",
            depends_on=("score",),
            max_retries=0,
            parameters=_parameters(
                **model,
                **batch,
                monitoring_table=f"{schema}.monitoring",
                target=settings.target,
                key=settings.key,
                positive_class=settings.positive_class,
                metric=settings.metric,
                monitoring=watching,
                minimum_agreement=inference.minimum_agreement,
                significance=settings.significance,
                job_run_id=JOB_RUN_ID,
            ),
        )
        watch.append(monitor)
        if watching.on_drift == "retrain":
            retrain = Task(
                name="retrain",
                run_job=training.name,
                parameters={reason.name: "retraining"},
                depends_on=(monitor.name,),
                run_if="AT_LEAST_ONE_FAILED",
                timeout_seconds=training.timeout_seconds,
                # The tasks of that job try again by themselves.
                max_retries=0,
            )
            watch.append(retrain)
    batch_inference = Job(
        name="batch_inference",
        description="Scores a batch with the champion into the predictions table",
        depends_on=(promotion.name,),
        parameters=(BATCH_DATE,),
        tasks=(
            Task(
                name="score",
                entry_point="ml_pipeline.steps.score:score",
                timeout_seconds=3 * 3600,
                parameters=_parameters(
                    source=inference.source or settings.source,
                    model=model["model"],
                    mode=inference.mode,
                    probabilities=inference.probabilities,
                    checks=settings.checks,
                    job_run_id=JOB_RUN_ID,
                    **batch,
                ),
            ),
            *watch,
        ),
        timeout_seconds=4 * 3600 + sum(task.timeout_seconds for task in watch if task.run_job),
    )
    flow = in_order((datasets, training, validation, promotion, batch_inference), what="job")
    check_started(flow)
    return flow
