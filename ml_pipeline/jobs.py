"""The declaration: every job of the flow, its tasks, their order and their parameters.

This is the one place that describes the flow. ``infra`` renders it as Databricks jobs, ``local.runner`` runs it on this
machine. A new step is one module in ``steps`` with a function, and one ``Task`` here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ml_pipeline.graph import Job, JobParameter, Task, check_started, in_order
from ml_pipeline.names import BATCH_INFERENCE, DATASETS, PROMOTION, TRAINING, VALIDATION

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
_JOB_RUN: dict[str, object] = {"job_run_id": "{{job.run_id}}"}


def encode(value: object) -> str:
    """A setting as a named parameter: text as it is, else JSON without defaults; ``None`` is the empty string."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} can't be a parameter")
    return dump(mode="json", by_alias=True, exclude_defaults=True)


def _step(name: str, parameters: Mapping[str, object], **options: Any) -> Task:
    """The task of a step: the function of this name in the module of this name."""
    encoded = {parameter: encode(value) for parameter, value in parameters.items()}
    return Task(name=name, entry_point=f"ml_pipeline.steps.{name}:{name}", parameters=encoded, **options)


def _references(*parameters: JobParameter) -> dict[str, object]:
    return {parameter.name: f"{{{{job.parameters.{parameter.name}}}}}" for parameter in parameters}


def declare(settings: PipelineSettings) -> tuple[Job, ...]:
    """Every job of one pipeline in one environment, in flow order."""
    flow = _Flow(settings)
    declared = (flow.datasets(), flow.training(), flow.validation(), flow.promotion(), flow.batch_inference())
    jobs = in_order(declared, what="job")
    check_started(jobs)
    return jobs


class _Flow:
    """The jobs of the standard flow, and the parameters that several of their tasks share."""

    def __init__(self, settings: PipelineSettings) -> None:
        self._settings = settings
        self._reason = JobParameter(
            name="reason", default=settings.reason, description="Why it runs: feature, ci or retraining"
        )
        self._columns = self._of("target", "key", "features")
        self._transform = self._of("transform") if settings.transform else {}
        self._model = {"experiment": settings.experiment, "model": self._named(settings.model)}
        self._decision = self._of("metric", "threshold", "tolerance", "significance", "on_inconclusive")
        self._batch = {
            **self._tables("predictions", "quarantine"),
            "shadow_table": self._named("shadow_predictions"),
            **_references(BATCH_DATE),
        }

    def _named(self, name: str) -> str:
        return f"{self._settings.schema_name}.{name}"

    def _tables(self, *names: str) -> dict[str, object]:
        return {f"{name}_table": self._named(name) for name in names}

    def _of(self, *names: str) -> dict[str, object]:
        return {name: getattr(self._settings, name) for name in names}

    def datasets(self) -> Job:
        inference = self._settings.batch_inference
        scored = {"scored": self._settings.scored == self._settings.source, "probabilities": inference.probabilities}
        tables = self._tables("train_validation", "test")
        checked = ("positive_class", "test_share", "stratify", "folds")
        return Job(
            name=DATASETS,
            description="Splits the source by hash into the train-validation and the test table",
            tasks=(_step("split", self._of("source", *checked) | self._columns | self._transform | scored | tables),),
        )

    def training(self) -> Job:
        parameters = (GIT_BRANCH, GIT_COMMIT, PULL_REQUEST, self._reason, RUN_BY)
        prepare = _step(
            "prepare",
            self._tables("train_validation", "train", "validation")
            | self._columns
            | self._of("folds", "validation_share", "stratify", "experiment")
            | _JOB_RUN
            | _references(*parameters),
        )
        search = ("estimator", "metric", "folds", "seed", "n_jobs", "search_on", "max_training_rows", "experiment")
        train = _step(
            "train",
            self._columns | self._of("positive_class", *search) | _JOB_RUN,
            depends_on=("prepare",),
            timeout_seconds=3 * 3600,
        )
        compare = _step("compare", self._model | self._decision | _JOB_RUN, depends_on=("train",), max_retries=0)
        return Job(
            name=TRAINING,
            description="Prepares tables, trains a model and compares it with the branch's runs and the champion",
            depends_on=(DATASETS,),
            parameters=parameters,
            max_concurrent_runs=10,
            tasks=(prepare, train, compare),
        )

    def validation(self) -> Job:
        parameters = self._tables("test") | self._model | self._decision | _references(GIT_COMMIT)
        return Job(
            name=VALIDATION,
            description="Scores the test table with the model that the CI built; the challenger if it passes",
            depends_on=(TRAINING,),
            parameters=(GIT_COMMIT,),
            tasks=(_step("validate", parameters, max_retries=0),),
        )

    def promotion(self) -> Job:
        return Job(
            name=PROMOTION,
            description="Makes the challenger the champion and remembers the one before",
            depends_on=(VALIDATION,),
            parameters=(RUN_BY,),
            tasks=(_step("promote", {"model": self._model["model"]} | _references(RUN_BY) | _JOB_RUN),),
        )

    def batch_inference(self) -> Job:
        settings, inference = self._settings, self._settings.batch_inference
        scoring = {
            "source": settings.scored,
            "model": self._model["model"],
            "mode": inference.mode,
            "probabilities": inference.probabilities,
            "checks": settings.checks,
            **self._transform,
        }
        watch = self._watch()
        return Job(
            name=BATCH_INFERENCE,
            description="Scores a batch with the champion into the predictions table",
            depends_on=(PROMOTION,),
            parameters=(BATCH_DATE,),
            tasks=(_step("score", scoring | _JOB_RUN | self._batch, timeout_seconds=3 * 3600), *watch),
            timeout_seconds=4 * 3600 + sum(task.timeout_seconds for task in watch if task.run_job),
        )

    def _watch(self) -> tuple[Task, ...]:
        watching = self._settings.watching
        if not watching:
            return ()
        agreement = {"minimum_agreement": self._settings.batch_inference.minimum_agreement}
        limits = {"monitoring": watching} | agreement | self._of("significance")
        measured = self._tables("monitoring") | self._of("target", "key", "metric")
        parameters = self._model | self._batch | measured | limits | _JOB_RUN
        monitor = _step("monitor", parameters, depends_on=("score",), max_retries=0)
        if watching.on_drift != "retrain":
            return (monitor,)
        retrain = Task(
            name="retrain",
            run_job=TRAINING,
            parameters={self._reason.name: "retraining"},
            depends_on=(monitor.name,),
            run_if="AT_LEAST_ONE_FAILED",
            timeout_seconds=self.training().timeout_seconds,
            # The tasks of that job try again by themselves.
            max_retries=0,
        )
        return (monitor, retrain)
