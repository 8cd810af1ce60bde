"""Typed settings of a pipeline: ``ml_pipeline/pipelines/NAME/pipeline.toml`` with an environment's overrides.

Strict on purpose: an unknown key, a wrong type or a value out of range is rejected with the file, the key and what is
accepted, before anything runs or is deployed.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from ml_pipeline.settings import batch_days, types
from ml_pipeline.settings.quartz import checked
from ml_pipeline.settings.types import Columns, NonEmpty, Settings


def _as_table(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class SourceColumn(Settings):
    """The type of a source's column, and how it is written as text."""

    type: types.SourceType
    """``string``, ``long``, ``double``, ``decimal(DIGITS,SCALE)``, ``boolean``, ``date`` or ``timestamp``."""
    format: NonEmpty | None = None
    """Spark's pattern of a date or a timestamp, such as ``dd.MM.yyyy``; ISO 8601 if left out."""

    @model_validator(mode="after")
    def _dated(self) -> Self:
        if self.format and self.type not in ("date", "timestamp"):
            raise ValueError(f"type '{self.type}' has no format; accepted: date, timestamp")
        if self.format:
            _check_format(self.format, self.type)
        return self


def _check_format(format_: str, type_: str) -> None:
    """Reject letters that Spark does not read, or that mean something else (Spark SQL guide, datetime patterns)."""
    letters = set(re.sub("'[^']*'", "", format_))
    days, times = set("yMd"), set("aHhKkmsSVzOXx")
    problem = ""
    if not days <= letters:
        problem = f"lacks {', '.join(sorted(days - letters))}: y is the year, M the month, d the day"
    elif unknown := {letter for letter in letters if letter.isalpha()} - days - times - set("L"):
        problem = f"has {', '.join(sorted(unknown))}, which Spark does not read"
    elif type_ == "date" and letters & times:
        problem = "has the time of a day; declare a timestamp"
    elif letters & set("#{}"):
        problem = "has one of #{}"
    if problem:
        raise ValueError(f"format '{format_}' {problem}; expected one such as 'dd.MM.yyyy'")


class Source(Settings):
    """Where rows come from: exactly one of a scikit-learn data set, a CSV or Parquet path, a Delta table."""

    sklearn: Literal["iris", "wine", "breast_cancer", "digits"] | None = None
    """A data set that scikit-learn ships; its target column is called ``target``."""
    csv: NonEmpty | None = None
    """Path of a CSV file (or a folder of them) with a header line."""
    parquet: NonEmpty | None = None
    """Path of a Parquet file or folder."""
    table: NonEmpty | None = None
    """Name (``catalog.schema.table``) of a Delta table, or its path, which has a ``/``, such as ``./rows``."""
    separator: NonEmpty = ","
    """What separates the columns of a CSV file."""
    null_value: str = ""
    """The text that stands for a missing value in a CSV file, beside the empty one."""
    encoding: Literal["UTF-8", "ISO-8859-1", "US-ASCII", "UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32"] = "UTF-8"
    """Character encoding of a CSV file; these are the ones that Spark decodes (Spark SQL guide, CSV files)."""
    decimal: Literal[".", ","] = "."
    """Decimal separator of the numbers in a CSV file."""
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    """What encloses a CSV file's text that holds separators or line ends; inside, it is doubled."""
    columns: dict[NonEmpty, Annotated[SourceColumn, BeforeValidator(_as_table)]] = {}
    """Types of columns, by name; those of other columns are found at the first reading, and kept."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        kinds = ("sklearn", "csv", "parquet", "table")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"names {' and '.join(given) or 'no source'}; accepted: exactly one of {', '.join(kinds)}")
        return self

    @property
    def kind(self) -> str:
        """``sklearn``, ``csv``, ``parquet`` or ``table``."""
        return next(kind for kind, value in self if value is not None)

    def __str__(self) -> str:
        return f"{self.kind} {getattr(self, self.kind)}"

    def like(self, other: Source, *, without: str) -> Source:
        """This source, written as another of its kind where it does not say itself how.

        Args:
            other: Whose dialect and types of columns it takes over.
            without: A column whose type it does not take over.
        """
        if self.kind != other.kind:
            return self
        given = self.model_fields_set | {self.kind, "columns"}
        dialect = {name: value for name, value in other if name not in given}
        columns = {name: column for name, column in other.columns.items() if name != without}
        return self.model_copy(update={**dialect, "columns": columns | self.columns})


def _as_pairs(value: Any) -> Any:
    """Tables of named estimators as lists of (name, estimator), because jobs pass tables as JSON with sorted keys."""
    if isinstance(value, list):
        return [_as_pairs(each) for each in value]
    if is_estimator(value) and isinstance(value.get("parameters"), dict):
        return {**value, "parameters": _each_as_pairs(value["parameters"])}
    if isinstance(value, dict) and any(map(is_estimator, value.values())):
        return [[name, _as_pairs(each)] for name, each in value.items()]
    return value


def _each_as_pairs(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: _as_pairs(value) for name, value in parameters.items()}


def is_estimator(value: Any) -> bool:
    """Whether a value of ``estimator.parameters`` is itself an estimator: a table with ``class``."""
    return isinstance(value, dict) and isinstance(value.get("class"), str)


class EstimatorSettings(Settings):
    """A classifier with scikit-learn's interface, and the grid of hyper-parameters to search."""

    class_: NonEmpty = Field(alias="class")
    """Dotted path of the class, such as ``sklearn.ensemble.RandomForestClassifier``."""
    parameters: Annotated[dict[str, Any], AfterValidator(_each_as_pairs)] = {}
    """Fixed arguments of the class. An argument that is an estimator is a table with ``class`` and ``parameters``; one
    that is a list of named estimators is a table of such tables."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """For each hyper-parameter the values to try; all combinations are cross-validated. ``NAME__PARAMETER`` is a
    parameter of a nested estimator, as in scikit-learn."""


class ColumnCheck(Settings):
    """What a value of one column must be. A row with another value is set aside, in the quarantine table."""

    required: bool = False
    """Whether a row without a value fails."""
    type: types.ColumnType | None = None
    """What the value must be; one that comes as text and can be read as it, is."""
    minimum: types.Bound | None = None
    """The least value."""
    maximum: types.Bound | None = None
    """The greatest value."""
    accepted: Annotated[list[str | int | float | bool], Field(min_length=1)] | None = None
    """The values there are."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")
        ranged = self.minimum is not None or self.maximum is not None
        if ranged and self.type not in (None, "long", "double"):
            raise ValueError(f"type '{self.type}' has no minimum and maximum; accepted: long, double")
        return self


class Checks(Settings):
    """The checks that each row of a batch goes through before it is scored."""

    columns: dict[NonEmpty, ColumnCheck] = {}
    """The checks of each column, by its name."""
    unique: Columns = []
    """Columns whose values together no two rows of a batch may share; rows that do are set aside, all of them."""
    max_quarantine_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of a batch's rows that may fail; past it the batch stops and nothing is scored."""


class BatchInference(Settings):
    """What batch inference scores, and with which models."""

    source: Source | None = None
    """The rows to score; the pipeline's own source where it is left out. Of another file of the same kind, what is not
    given here (``separator``, ``decimal``, ``columns`` and so on) is as in the pipeline's own."""
    mode: Literal["champion", "shadow"] = "champion"
    """In shadow the challenger scores the same rows beside the champion, whose predictions alone are served."""
    probabilities: bool = False
    """Whether predictions come with the probability of each class."""
    minimum_agreement: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Share of a batch's rows on which a challenger must surely agree with the champion to be promoted."""


class Monitoring(Settings):
    """How a batch is compared with what the champion was trained on."""

    max_drift: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """Population stability index of a feature, or of the predictions, past which a batch has drifted."""
    max_missing_increase: Annotated[float, Field(ge=0, le=1)] = 0.05
    """By how much the share of missing values of a feature may exceed that of the training rows."""
    max_quarantine_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of a batch's rows that may have been set aside."""
    max_row_count_change: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    """By what share of the median of the batches before a batch's row count may differ from it."""
    max_lateness_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Hours after the end of the batch's day by which its predictions must be there; left out: whenever."""
    on_drift: Literal["fail", "retrain"] = "fail"
    """What a batch past a limit leads to: the task fails, or it fails and the training job is started."""
    labels: Source | None = None
    """Where the true classes arrive, later than the batch: rows with the columns of ``key`` and the target. What is not
    given here is as in the pipeline's own source, as for a batch."""


class Schedule(Settings):
    """When batch inference runs where it is deployed."""

    cron: Annotated[str, AfterValidator(checked)]
    """Quartz cron expression, as Databricks takes it: seconds first. It fires once a day at most."""
    time_zone: types.TimeZone = "UTC"

    @model_validator(mode="after")
    def _one_batch_a_day(self) -> Self:
        batch_days.check(self.cron, self.time_zone)
        return self


class Pipeline(Settings):
    """A pipeline's file: what is learned, from which rows, and what it must reach."""

    experiment: NonEmpty | None = None
    """MLflow experiment, in the environment's folder of the workspace unless it is an absolute path; the pipeline's
    name if left out."""
    model: types.Identifier = "model"
    """Name of the registered model within the schema."""
    source: Source
    target: NonEmpty
    """Column to predict."""
    key: Columns = []
    """Columns that identify a row; the whole row where the list is empty."""
    features: Columns = []
    """Columns to learn from; all but target and key where the list is empty."""
    transform: NonEmpty | None = None
    """A function that adds columns to the source's rows, as ``module.function``; it takes and returns a DataFrame of
    Spark, with the same rows. It runs in ``split`` and in ``score``, so that training and scoring have the same."""
    positive_class: types.ClassName = ""
    """For two classes and metrics such as ``f1``: the class that counts as positive; the greater one if left out."""
    test_share: types.Share = 0.2
    """Share of the source's rows that becomes the test table."""
    validation_share: types.Share = 0.2
    """Share of the train-validation table's rows that becomes the validation table."""
    stratify: bool = False
    """Give each class the same share of the tables; set it before the first split, so that no row changes sides."""
    estimator: EstimatorSettings
    folds: types.Folds = 5
    """Folds of the cross-validation."""
    metric: NonEmpty
    """Name of a scikit-learn scorer; greater is better."""
    threshold: types.Threshold
    """The metric that a model must reach at least, in the scorer's sign (greater is better)."""
    tolerance: types.Tolerance = 0.01
    """How far below the champion, or a run of the branch, a model may fall: the margin of a non-inferiority test."""
    significance: types.Significance = 0.05
    """Probability of calling a difference real that is chance."""
    on_inconclusive: Literal["pass", "fail"] = "pass"
    """What becomes of a model if the table has too few rows to show whether it is worse than the tolerance allows."""
    seed: types.Seed = 0
    """Seed of the cross-validation, and of the estimator where it takes a ``random_state`` and none is given."""
    n_jobs: types.Processes = -1
    """Processes of the search, as scikit-learn counts them: -1 is one for each core."""
    search_on: Literal["driver", "workers"] = "driver"
    """Where the hyper-parameter search fits its models: in processes of the driver, or on the cluster's workers."""
    max_training_rows: types.Rows = 1_000_000
    """Rows that the driver takes of the train and of the validation table at most; of more, a sample by hash."""
    reason: types.Reason = "ci"
    """Why runs of this environment train, unless a run sets another reason; validation takes runs with ``ci`` only."""
    checks: Checks = Checks()
    batch_inference: BatchInference = BatchInference()
    monitoring: Annotated[Monitoring | None, BeforeValidator(lambda given: None if given is False else given)] = None
    """How a batch is watched; without it, or with ``false`` in an environment, only one that is scored in shadow is."""
    schedule: Schedule | None = None

    @property
    def watching(self) -> Monitoring | None:
        """How batches are watched, if they are: a challenger in shadow is judged by what a watched batch shows."""
        watching = self.monitoring or (Monitoring() if self.batch_inference.mode == "shadow" else None)
        if not watching or not watching.labels:
            return watching
        return watching.model_copy(update={"labels": watching.labels.like(self.source, without="")})

    @property
    def scored(self) -> Source:
        """The source of batches."""
        own = self.batch_inference.source
        return own.like(self.source, without=self.target) if own else self.source

    @model_validator(mode="after")
    def _labels_need_key(self) -> Self:
        if self.monitoring and self.monitoring.labels and not self.key:
            raise ValueError("monitoring.labels: rows are matched by 'key', which is missing; accepted: a key")
        return self

    @field_validator("key", "features")
    @classmethod
    def _apart_from_target(cls, columns: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("target") in columns:
            raise ValueError(f"names the target '{info.data['target']}'; accepted: other columns")
        return columns


class PipelineSettings(Pipeline):
    """The settings of a pipeline in an environment, which gives it its places."""

    schema_name: types.SchemaName = Field(alias="schema")
    """``catalog.schema`` of every table and of the model."""
    experiment: NonEmpty
    """MLflow experiment; on Databricks an absolute workspace path."""
