"""The declaration: every job of the flow, its tasks, their order and their parameters.

This is the one place that describes the flow. ``infra`` renders it as Databricks jobs, ``local.runner`` runs it on this
machine. A new step is one module in ``steps`` with a function, and one ``Task`` here.
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
    """Every job of one pipeline in one environment, in flow order."""
    flow = _Flow(settings)
    jobs = in_order(
        (flow.datasets(), flow.training(), flow.validation(), flow.promotion(), flow.batch_inference()), what="job"
    )
    check_started(jobs)
    return jobs


class _Flow:
    """The jobs of the standard flow, and the parameters that several of their tasks share."""

    def __init__(self, settings: PipelineSettings) -> None:
        self._settings = settings
        self._reason = JobParameter(
            name="reason", default=settings.reason, description="Why it runs: feature, ci or retraining"
        )
        self._columns = {"target": settings.target, "key": settings.key, "features": settings.features}
        self._model = {"experiment": settings.experiment, "model": self._named(settings.model)}
        self._decision = {
            name: getattr(settings, name) for name in ("metric", "threshold", "tolerance", "significance")
        }
        self._batch = {
            "predictions_table": self._named("predictions"),
            "quarantine_table": self._named("quarantine"),
            "shadow_table": self._named("shadow_predictions"),
            "batch_date": _reference(BATCH_DATE),
        }

    def _named(self, name: str) -> str:
        return f"{self._settings.schema_name}.{name}"

    def datasets(self) -> Job:
        settings, inference = self._settings, self._settings.batch_inference
        split = Task(
            name="split",
            entry_point="ml_pipeline.steps.split:split",
            parameters=_parameters(
                source=settings.source,
                **self._columns,
                test_share=settings.test_share,
                scored=inference.source in (None, settings.source),
                probabilities=inference.probabilities,
                train_validation_table=self._named("train_validation"),
                test_table=self._named("test"),
            ),
        )
        return Job(
            name="datasets",
            description="Splits the source by hash into the train-validation and the test table",
            tasks=(split,),
        )

    def training(self) -> Job:
        return Job(
            name="training",
            description="Prepares tables, trains a model and compares it with the branch's runs and the champion",
            depends_on=("datasets",),
            parameters=(GIT_BRANCH, GIT_COMMIT, PULL_REQUEST, self._reason, RUN_BY),
            max_concurrent_runs=10,
            tasks=(self._prepare(), self._train(), self._compare()),
        )

    def _prepare(self) -> Task:
        settings = self._settings
        return Task(
            name="prepare",
            entry_point="ml_pipeline.steps.prepare:prepare",
            parameters=_parameters(
                train_validation_table=self._named("train_validation"),
                train_table=self._named("train"),
                validation_table=self._named("validation"),
                **self._columns,
                folds=settings.folds,
                validation_share=settings.validation_share,
                experiment=settings.experiment,
                job_run_id=JOB_RUN_ID,
                git_branch=_reference(GIT_BRANCH),
                git_commit=_reference(GIT_COMMIT),
                pull_request=_reference(PULL_REQUEST),
                reason=_reference(self._reason),
                run_by=_reference(RUN_BY),
            ),
        )

    def _train(self) -> Task:
        settings = self._settings
        shared = ("estimator", "metric", "folds", "seed", "n_jobs", "search_on", "max_training_rows", "experiment")
        return Task(
            name="train",
            entry_point="ml_pipeline.steps.train:train",
            depends_on=("prepare",),
            timeout_seconds=3 * 3600,
            parameters=_parameters(
                **self._columns,
                positive_class=settings.positive_class,
                **{name: getattr(settings, name) for name in shared},
                job_run_id=JOB_RUN_ID,
            ),
        )

    def _compare(self) -> Task:
        return Task(
            name="compare",
            entry_point="ml_pipeline.steps.compare:compare",
            depends_on=("train",),
            max_retries=0,
            parameters=_parameters(**self._model, **self._decision, job_run_id=JOB_RUN_ID),
        )

    def validation(self) -> Job:
        validate = Task(
            name="validate",
            entry_point="ml_pipeline.steps.validate:validate",
            max_retries=0,
            parameters=_parameters(
                test_table=self._named("test"), **self._model, **self._decision, git_commit=_reference(GIT_COMMIT)
            ),
        )
        return Job(
            name="validation",
            description="Scores the test table with the model that the CI built; the challenger if it passes",
            depends_on=("training",),
            parameters=(GIT_COMMIT,),
            tasks=(validate,),
        )

    def promotion(self) -> Job:
        promote = Task(
            name="promote",
            entry_point="ml_pipeline.steps.promote:promote",
            parameters=_parameters(model=self._model["model"], run_by=_reference(RUN_BY), job_run_id=JOB_RUN_ID),
        )
        return Job(
            name="promotion",
            description="Makes the challenger the champion and remembers the one before",
            depends_on=("validation",),
            parameters=(RUN_BY,),
            tasks=(promote,),
        )

    def batch_inference(self) -> Job:
        settings, inference = self._settings, self._settings.batch_inference
        score = Task(
            name="score",
            entry_point="ml_pipeline.steps.score:score",
            timeout_seconds=3 * 3600,
            parameters=_parameters(
                source=inference.source or settings.source,
                model=self._model["model"],
                mode=inference.mode,
                probabilities=inference.probabilities,
                checks=settings.checks,
                job_run_id=JOB_RUN_ID,
                **self._batch,
            ),
        )
        watch = self._watch()
        return Job(
            name="batch_inference",
            description="Scores a batch with the champion into the predictions table",
            depends_on=("promotion",),
            parameters=(BATCH_DATE,),
            tasks=(score, *watch),
            timeout_seconds=4 * 3600 + sum(task.timeout_seconds for task in watch if task.run_job),
        )

    def _watch(self) -> tuple[Task, ...]:
        settings, watching = self._settings, self._settings.watching
        if not watching:
            return ()
        monitor = Task(
            name="monitor",
            entry_point="ml_pipeline.steps.monitor:monitor",
            depends_on=("score",),
            max_retries=0,
            parameters=_parameters(
                **self._model,
                **self._batch,
                monitoring_table=self._named("monitoring"),
                target=settings.target,
                key=settings.key,
                metric=settings.metric,
                monitoring=watching,
                minimum_agreement=settings.batch_inference.minimum_agreement,
                significance=settings.significance,
                job_run_id=JOB_RUN_ID,
            ),
        )
        if watching.on_drift != "retrain":
            return (monitor,)
        retrain = Task(
            name="retrain",
            run_job="training",
            parameters={self._reason.name: "retraining"},
            depends_on=(monitor.name,),
            run_if="AT_LEAST_ONE_FAILED",
            timeout_seconds=self.training().timeout_seconds,
            # The tasks of that job try again by themselves.
            max_retries=0,
        )
        return (monitor, retrain)
