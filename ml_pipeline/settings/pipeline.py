"""Typed settings of a pipeline: ``ml_pipeline/pipelines/NAME/pipeline.toml`` with an environment's overrides.

Strict on purpose: an unknown key, a wrong type or a value out of range is rejected with the file, the key and what is
accepted, before anything runs or is deployed.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ml_pipeline.settings import batch_days, types
from ml_pipeline.settings.quartz import checked
from ml_pipeline.settings.types import Columns, NonEmpty, Settings, exactly_one


def _as_table(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class SourceColumn(Settings):
    """The type of a column, and the format of its text."""

    type: types.SourceType
    """``string``, ``long``, ``double``, ``decimal(DIGITS,SCALE)``, ``boolean``, ``date`` or ``timestamp``."""
    format: NonEmpty | None = None
    """Spark's pattern of a date or a timestamp, such as ``dd.MM.yyyy``; default: ISO 8601."""

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


_Column = Annotated[SourceColumn, BeforeValidator(_as_table, json_schema_input_type=types.SourceType | SourceColumn)]


class Source(Settings):
    """Where rows come from: exactly one of a scikit-learn data set, a CSV or Parquet path, a Delta table."""

    model_config = ConfigDict(json_schema_extra=exactly_one("sklearn", "csv", "parquet", "table"))

    sklearn: Literal["iris", "wine", "breast_cancer", "digits"] | None = None
    """A data set that scikit-learn ships; its target column is called ``target``."""
    csv: NonEmpty | None = None
    """Path of a CSV file with a header line, or of a folder of such files."""
    parquet: NonEmpty | None = None
    """Path of a Parquet file or folder."""
    table: NonEmpty | None = None
    """Name of a Delta table (``catalog.schema.table``), or its path, which has a slash."""
    separator: NonEmpty = ","
    """Separator of the columns in a CSV file."""
    null_value: str = ""
    """Text that marks a missing value in a CSV file, in addition to the empty text."""
    encoding: Literal["UTF-8", "ISO-8859-1", "US-ASCII", "UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32"] = "UTF-8"
    """Character encoding of a CSV file."""
    decimal: Literal[".", ","] = "."
    """Decimal separator of the numbers in a CSV file."""
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    """Character that encloses text with separators or line ends in a CSV file. Inside the text it is doubled."""
    columns: dict[NonEmpty, _Column] = {}
    """Types of columns by name, as a text or as a table with a format. The first training infers and keeps the
    others."""

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
    """Arguments of the class. A nested estimator is a table with ``class`` and ``parameters``; a list of named
    estimators is a table of such tables."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """Values to try for each hyper-parameter; all combinations are cross-validated. ``NAME__PARAMETER`` is a
    parameter of a nested estimator, as in scikit-learn."""


class ColumnCheck(Settings):
    """The check of one column. A row that fails it goes to the quarantine table."""

    required: bool = False
    """Whether a row without a value fails."""
    type: types.ColumnType | None = None
    """Type of the value. Text that can be read as this type is converted."""
    minimum: types.Bound | None = None
    """The least value."""
    maximum: types.Bound | None = None
    """The greatest value."""
    accepted: Annotated[list[str | int | float | bool], Field(min_length=1)] | None = None
    """List of the values that are accepted."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")
        ranged = self.minimum is not None or self.maximum is not None
        if ranged and self.type not in (None, "long", "double"):
            raise ValueError(f"type '{self.type}' has no minimum and maximum; accepted: long, double")
        return self


class Checks(Settings):
    """The checks of each row of a batch before it is scored."""

    columns: dict[NonEmpty, ColumnCheck] = {}
    """The checks of each column, by its name."""
    unique: Columns = []
    """Columns that identify a row of a batch. All rows that share their values go to the quarantine table."""
    max_quarantine_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of a batch's rows that may fail. Above it the batch stops, and nothing is scored."""


class BatchInference(Settings):
    """The rows that batch inference scores, and the models that score them."""

    source: Source | None = None
    """Source of the rows to score; default: the pipeline's source. A source of the same kind inherits the keys that
    it does not set (``separator``, ``decimal``, ``columns`` and so on)."""
    mode: Literal["champion", "shadow"] = "champion"
    """With ``shadow`` the challenger scores the same rows as the champion; only the champion's predictions are
    served."""
    probabilities: bool = False
    """Whether predictions include the probability of each class."""
    minimum_agreement: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Share of a batch's rows on which a challenger must agree with the champion to be promoted, chance excluded."""


class Monitoring(Settings):
    """The limits of a batch, compared with the training rows of the champion."""

    max_drift: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """Greatest population stability index of a feature or of the predictions. Above it the batch has drifted."""
    max_missing_increase: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Greatest increase in the share of missing values of a feature, compared with the training rows."""
    max_quarantine_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Greatest share of a batch's rows in the quarantine table."""
    max_row_count_change: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    """Greatest change of the row count, as a share of the median of earlier batches."""
    max_lateness_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Hours after the end of the batch's day (UTC) until its predictions must exist; default: no limit."""
    on_drift: Literal["fail", "retrain"] = "fail"
    """Reaction to a batch above a limit: the task fails (``fail``), or it fails and starts the training job
    (``retrain``)."""
    labels: Source | None = None
    """Source of the true classes, which arrive after the batch: rows with the columns of ``key`` and the target. It
    inherits keys like the source of batches."""


class Schedule(Settings):
    """The times of batch inference in a deployed environment."""

    cron: Annotated[str, AfterValidator(checked)]
    """Quartz cron expression, seconds first, such as ``0 0 6 * * ?``. It fires at most once a day."""
    time_zone: types.TimeZone = "UTC"
    """Time zone of the expression, such as ``Europe/Berlin``."""

    @model_validator(mode="after")
    def _one_batch_a_day(self) -> Self:
        batch_days.check(self.cron, self.time_zone)
        return self


class Pipeline(Settings):
    """A pipeline file: what to learn, from which rows, and the quality that a model must reach."""

    experiment: NonEmpty | None = None
    """MLflow experiment, in the environment's folder of the workspace unless it is an absolute path; default: the
    name of the pipeline."""
    model: types.Identifier = "model"
    """Name of the registered model within the schema."""
    source: Source
    target: NonEmpty
    """Column to predict."""
    key: Columns = []
    """Columns that identify a row; default: the whole row."""
    features: Columns = []
    """Columns to learn from; default: all except target and key."""
    transform: NonEmpty | None = None
    """Function that adds columns to the rows, as ``module.function``. It takes and returns a Spark DataFrame with
    the same rows, and runs in training and in scoring."""
    positive_class: types.ClassName = ""
    """Positive class of metrics for two classes, such as ``f1``; default: the greater one."""
    test_share: types.Share = 0.2
    """Share of the source's rows in the test table."""
    validation_share: types.Share = 0.2
    """Share of the train-validation table's rows in the validation table."""
    stratify: bool = False
    """Give each class the same share of the tables; set it before the first split, so that no row changes sides."""
    estimator: EstimatorSettings
    folds: types.Folds = 5
    """Number of folds of the cross-validation."""
    metric: NonEmpty
    """Name of a scikit-learn scorer, such as ``accuracy``; greater is better."""
    threshold: types.Threshold
    """The metric that a model must reach at least, in the scorer's sign (greater is better)."""
    tolerance: types.Tolerance = 0.01
    """How far below the champion, or a run of the branch, a model may fall: the margin of a non-inferiority test."""
    significance: types.Significance = 0.05
    """Probability of calling a difference real that is chance."""
    on_inconclusive: Literal["pass", "fail"] = "pass"
    """Whether a model passes if the table has too few rows to show that it is worse than the tolerance allows."""
    seed: types.Seed = 0
    """Seed of the cross-validation, and of the estimator where it takes a ``random_state`` and none is given."""
    n_jobs: types.Processes = -1
    """Number of processes of the search; -1 is one for each core."""
    search_on: Literal["driver", "workers"] = "driver"
    """Where the search fits its models: in processes of the driver, or on the workers of the cluster."""
    max_training_rows: types.Rows = 1_000_000
    """Greatest number of rows that the driver reads from the train and the validation table. Of more rows it reads
    a sample."""
    reason: types.Reason = "ci"
    """Reason of a training run, unless the run sets another one. Validation accepts only runs with ``ci``."""
    checks: Checks = Checks()
    batch_inference: BatchInference = BatchInference()
    monitoring: Annotated[
        Monitoring | None,
        BeforeValidator(
            lambda given: None if given is False else given, json_schema_input_type=Monitoring | Literal[False]
        ),
    ] = None
    """Limits of a batch. Without this table, or with ``false`` in an environment, only batches in shadow are
    monitored."""
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
