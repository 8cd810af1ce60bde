"""Typed settings of one environment: the ``[pipeline]`` table of ``environments/NAME.toml``.

Strict on purpose: an unknown key, a wrong type or a value out of range is refused with the file, the key and what is
accepted, before anything runs or is deployed.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from ml_pipeline.errors import InputError

_Models = tuple[type[BaseModel], ...]

_INTEGERS = "whole numbers of 64 bits, as TOML has them"
# pydantic writes no more than some 250 of them as JSON.
_LEVELS = 100

TABLES = ("pipeline", "workspace", "compute", "schedule", "catalog", "permissions", "state")
"""The tables that an environment file may hold; those beside ``pipeline`` belong to the deployment."""

DEFAULT_FOLDER = "/Shared"
"""Folder of a workspace in which each environment has one of its own, where ``[workspace]`` names no other."""

Reason = Literal["feature", "ci", "retraining"]
Share = Annotated[float, Field(gt=0, lt=1)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]


def matching(pattern: str, accepted: str) -> AfterValidator:
    """Of a text that must match a pattern from end to end; the message says in words which texts do."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {accepted}")
        return text

    return AfterValidator(check)


Identifier = Annotated[
    str,
    matching(
        "[a-z][a-z0-9_]{0,254}",
        "up to 255 lower-case letters, digits and underscores that begin with a letter, such as 'churn_model'",
    ),
]
SchemaName = Annotated[
    str, matching(r"[A-Za-z0-9_-]{1,255}\.[A-Za-z0-9_-]{1,255}", "a catalog and a schema, such as 'lake.churn'")
]


def _some(number: int) -> int:
    if number == 0:
        raise ValueError("must not be 0; accepted: -1 for one of each core, or a number of processes")
    return number


def _distinct(columns: list[str]) -> list[str]:
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise ValueError(f"names {', '.join(map(repr, repeated))} more than once")
    return columns


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Columns = Annotated[list[NonEmpty], AfterValidator(_distinct)]
ClassName = Annotated[str, BeforeValidator(_as_text)]
Folds = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Threshold = Annotated[float, Field(allow_inf_nan=False)]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Significance = Annotated[float, Field(gt=0, lt=0.5)]
Bound = Annotated[float, Field(allow_inf_nan=False)]
Rows = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Base of all settings: immutable, strict, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        use_attribute_docstrings=True,
        # A hyper-parameter may well be infinite.
        ser_json_inf_nan="constants",
    )


class Source(Settings):
    """Where rows come from: exactly one of a scikit-learn data set, a CSV or Parquet path, a Delta table."""

    sklearn: Literal["iris", "wine", "breast_cancer", "digits"] | None = None
    """A data set that scikit-learn ships; its target column is called ``target``."""
    csv: NonEmpty | None = None
    """Path of a CSV file (or a folder of them) with a header line."""
    parquet: NonEmpty | None = None
    """Path of a Parquet file or folder."""
    table: NonEmpty | None = None
    """Name (``catalog.schema.table``) or path of a Delta table."""
    separator: NonEmpty = ","
    """What separates the columns of a CSV file."""
    null_value: str = ""
    """The text that stands for a missing value in a CSV file, beside the empty one."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        kinds = ("sklearn", "csv", "parquet", "table")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"names {' and '.join(given) or 'no source'}; accepted: exactly one of {', '.join(kinds)}")
        return self

    def __str__(self) -> str:
        kind, value = next((kind, value) for kind, value in self if value is not None)
        return f"{kind} {value}"

    def relative_to(self, folder: Path) -> Self:
        """The same source with a relative path made absolute, counted from a folder."""
        paths = {kind: getattr(self, kind) for kind in ("csv", "parquet", "table")}
        changed = {
            kind: str(folder / path)
            for kind, path in paths.items()
            if path is not None and (kind != "table" or "/" in path) and ":" not in path
        }
        return self.model_copy(update=changed)


class Estimator(Settings):
    """A classifier with scikit-learn's interface, and the grid of hyper-parameters to search."""

    class_: NonEmpty = Field(alias="class")
    """Dotted path of the class, such as ``sklearn.ensemble.RandomForestClassifier``."""
    parameters: dict[str, Any] = {}
    """Fixed arguments of the class."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """For each hyper-parameter the values to try; all combinations are cross-validated."""


ColumnType = Literal["boolean", "long", "double", "string", "date", "timestamp"]


class ColumnCheck(Settings):
    """What a value of one column must be. A row with another value is set aside, in the quarantine table."""

    required: bool = False
    """Whether a row without a value fails."""
    type: ColumnType | None = None
    """What the value must be; one that comes as text and can be read as it, is."""
    minimum: Bound | None = None
    """The least value."""
    maximum: Bound | None = None
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
    """The rows to score; the pipeline's own source where it is left out."""
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
    """Where the true classes arrive, later than the batch: rows with the columns of ``key`` and the target."""


class PipelineSettings(Settings):
    """The ``[pipeline]`` table."""

    schema_name: SchemaName = Field(alias="schema")
    """``catalog.schema`` of every table and of the model."""
    experiment: NonEmpty
    """MLflow experiment; on Databricks an absolute workspace path."""
    model: Identifier = "model"
    """Name of the registered model within the schema."""
    source: Source
    target: NonEmpty
    """Column to predict."""
    key: Columns = []
    """Columns that identify a row; the whole row where the list is empty."""
    features: Columns = []
    """Columns to learn from; all but target and key where the list is empty."""
    positive_class: ClassName = ""
    """For two classes and metrics such as ``f1``: the class that counts as positive; the greater one if left out."""
    test_share: Share = 0.2
    """Share of the source's rows that becomes the test table."""
    validation_share: Share = 0.2
    """Share of the train-validation table's rows that becomes the validation table."""
    estimator: Estimator
    folds: Folds = 5
    """Folds of the cross-validation."""
    metric: NonEmpty
    """Name of a scikit-learn scorer, which also says which direction is better."""
    threshold: Threshold
    """The metric that a model must reach at least, in the scorer's sign (greater is better)."""
    tolerance: Tolerance = 0.0
    """How far below the champion, or the branch's best run, a model may fall."""
    significance: Significance = 0.05
    """Probability of calling a difference real that is chance."""
    seed: Seed = 0
    """Seed of the cross-validation, and of the estimator where it takes a ``random_state`` and none is given."""
    n_jobs: Annotated[int, AfterValidator(_some)] = -1
    """Processes of the search, as scikit-learn counts them: -1 is one for each core."""
    search_on: Literal["driver", "workers"] = "driver"
    """Where the hyper-parameter search fits its models: in processes of the driver, or on the cluster's workers."""
    max_training_rows: Rows = 1_000_000
    """Rows that the driver takes of the train and of the validation table at most; of more, a sample by hash."""
    reason: Reason = "feature"
    """Why runs of this environment train, unless a run says otherwise."""
    checks: Checks = Checks()
    batch_inference: BatchInference = BatchInference()
    monitoring: Monitoring | None = None
    """How a batch is watched; where the table is missing, only a batch that is scored in shadow is."""

    @property
    def watching(self) -> Monitoring | None:
        """How batches are watched, if they are: a challenger in shadow is judged by what a watched batch shows."""
        return self.monitoring or (Monitoring() if self.batch_inference.mode == "shadow" else None)

    @model_validator(mode="after")
    def _labels_need_key(self) -> Self:
        if self.monitoring and self.monitoring.labels and not self.key:
            raise ValueError("monitoring.labels: rows are told apart by 'key', which is missing; accepted: a key")
        return self

    @field_validator("key", "features")
    @classmethod
    def _apart_from_target(cls, columns: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("target") in columns:
            raise ValueError(f"names the target '{info.data['target']}'; accepted: other columns")
        return columns


def read(file: Path) -> dict[str, Any]:
    """An environment file's tables, as they are.

    Raises:
        InputError: the file can't be read, is no TOML, or has an unknown table or no ``[pipeline]``.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        numbers = [(key, value) for key, value in leaves(content) if isinstance(value, int)]
    except OSError as error:
        raise InputError(f"{file}: can't be read: {error.strerror}") from error
    except RecursionError:
        raise InputError(f"{file}: is nested too deeply; accepted: {_LEVELS} levels of tables and lists") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is not valid TOML: {error}") from error
    except ValueError:
        # Python's limit of digits, which the parser passes on.
        raise InputError(f"{file}: holds a number of thousands of digits; accepted: {_INTEGERS}") from None
    for key, value in numbers:
        if not -(2**63) <= value < 2**63:
            raise InputError(f"{file}: {_one_line(key)}: is too great a number; accepted: {_INTEGERS}")
    for table in content:
        if table not in TABLES:
            raise InputError(f"{file}: {_one_line(table)}: unknown table{suggest(table, TABLES)}")
    if not isinstance(content.get("pipeline"), dict):
        raise InputError(f"{file}: the table [pipeline] is missing")
    return content


def load(file: Path, *, instance: str = "") -> PipelineSettings:
    """Read the settings of an environment's pipeline.

    Relative paths in the file are counted from its own folder. Where the environment is deployed, ``[catalog]`` gives
    the schema, and a relative experiment lies in the environment's folder of the workspace.

    Args:
        file: The environment file.
        instance: Name of an isolated copy of the environment, which has a schema and an experiment of its own.

    Raises:
        InputError: the file can't be read, is no TOML, or a key is missing, unknown or has a wrong value.
    """
    content = read(file)
    for key, text in leaves(content["pipeline"], "pipeline"):
        if isinstance(text, str) and "{{" in text:
            raise InputError(f"{file}: {_one_line(key)}: holds '{{{{', by which Databricks refers to values of a run")
    try:
        settings = PipelineSettings.model_validate(_placed(content, file, instance))
    except ValidationError as error:
        raise InputError(f"{file}: " + explain(error, PipelineSettings, prefix="pipeline")) from None
    return _with_absolute_paths(settings, file.resolve().parent)


def _with_absolute_paths(settings: PipelineSettings, folder: Path) -> PipelineSettings:
    scored, watched = settings.batch_inference.source, settings.monitoring
    labels = watched and watched.labels
    return settings.model_copy(
        update={
            "source": settings.source.relative_to(folder),
            "batch_inference": settings.batch_inference.model_copy(
                update={"source": scored and scored.relative_to(folder)}
            ),
            "monitoring": watched and watched.model_copy(update={"labels": labels and labels.relative_to(folder)}),
        }
    )


def full_name(environment: str, instance: str = "") -> str:
    """What the names of all that an environment, or an isolated copy of it, deploys start with."""
    return f"{environment}-{instance}" if instance else environment


def own_folder(folder: str, environment: str, instance: str = "") -> str:
    """The folder of a workspace that an environment, or an isolated copy of it, makes and removes."""
    return f"{folder}/ml-pipeline-{full_name(environment, instance)}"


def _placed(content: dict[str, Any], file: Path, instance: str) -> dict[str, Any]:
    pipeline, catalog, workspace = content["pipeline"], content.get("catalog"), content.get("workspace")
    placed = dict(pipeline)
    if isinstance(catalog, dict):
        if "schema" in pipeline:
            raise InputError(f"{file}: pipeline.schema: [catalog] says it already; accepted: one of the two")
        suffix = f"_{instance.replace('-', '_')}" if instance else ""
        placed["schema"] = f"{catalog.get('name')}.{catalog.get('schema')}{suffix}"
    experiment = pipeline.get("experiment")
    if isinstance(workspace, dict) and isinstance(experiment, str) and experiment:
        if not all(map(_is_name, experiment.removeprefix("/").split("/"))):
            raise InputError(
                f"{file}: pipeline.experiment: must be a path in the workspace without '.', '..' and empty parts, "
                f"such as 'churn' or '/Shared/churn' (given: {experiment!r})"
            )
        if not experiment.startswith("/"):
            folder = workspace.get("folder", DEFAULT_FOLDER)
            placed["experiment"] = f"{own_folder(folder, file.stem, instance)}/{experiment}"
        elif instance:
            placed["experiment"] = f"{experiment}-{instance}"
    return placed


def _is_name(part: str) -> bool:
    return part.isprintable() and part.strip() == part and part not in ("", ".", "..")


def leaves(value: object, key: str = "", *, level: int = 0) -> Iterator[tuple[str, object]]:
    """All texts, numbers and dates below a value, and the names of tables' keys, each with its dotted key."""
    if level > _LEVELS:
        raise RecursionError
    if isinstance(value, dict):
        for name, inner in value.items():
            inner_key = f"{key}.{name}" if key else name
            yield inner_key, name
            yield from leaves(inner, inner_key, level=level + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, key, level=level + 1)
    else:
        yield key, value


def explain(error: ValidationError, model: type[BaseModel] | None = None, *, prefix: str = "") -> str:
    """One line for all that is wrong: which key, why, what was given and what is accepted.

    Args:
        error: What pydantic found.
        model: The model that was validated; its keys are suggested for unknown ones.
        prefix: Dotted path of the table that was validated.
    """
    found = error.errors(include_url=False)
    # A misspelt key is both unknown and missing: only the first says what to do.
    found = [item for item in found if item["type"] == "extra_forbidden"] or found
    lines: dict[str, str] = {}
    for item in found:
        path = item["loc"]
        keys, models, tag = _place(model, path)
        if item["type"] == "extra_forbidden":
            models = _place(model, path[:-1])[1]
        key = ".".join(part for part in (prefix, *keys, tag if "union_tag" in item["type"] else "") if part)
        lines.setdefault(key, _explain_one(item, str(path[-1]) if path else "", models, tag))
    return _one_line("; ".join(f"{key}: {line}" if key else line for key, line in lines.items()))


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _explain_one(item: Any, name: str, models: _Models, tag: str) -> str:
    kind, given = item["type"], item["input"]
    if kind == "extra_forbidden":
        return "unknown key" + suggest(name, tuple(_fields(models)))
    if kind == "union_tag_not_found":
        return f"is missing; accepted: {' or '.join(map(repr, _tags(models, tag)))}"
    if kind == "union_tag_invalid":
        return f"must be {' or '.join(map(repr, _tags(models, tag)))} (given: {given[tag]!r})"
    if kind == "missing":
        return "is missing"
    if "a valid dictionary" in item["msg"]:
        return f"must be a table (given: {given!r})"
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("should", "must", 1)
    return message if isinstance(given, dict | BaseModel) else f"{message} (given: {given!r})"


def _place(model: type[BaseModel] | None, path: tuple[int | str, ...]) -> tuple[list[str], _Models, str]:
    """What pydantic's path is in the file: the keys, the models that a table there may have, what tells them apart."""
    keys: list[str] = []
    models: _Models = (model,) if model else ()
    tag, chosen = "", False
    for part in path:
        if tag:
            models, tag = tuple(each for each in models if part in _tags((each,), tag)), ""
            continue
        keys.append(str(part))
        # The keys of such a table are the author's own, as are the names of columns.
        if chosen:
            chosen = False
            continue
        field = _fields(models).get(str(part))
        annotation = field.annotation if field else None
        candidates = (annotation, *get_args(annotation))
        models = tuple(each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel))
        tag = str(field.discriminator or "") if field else ""
        chosen = get_origin(annotation) is dict
    return keys, models, tag


def _fields(models: _Models) -> dict[str, FieldInfo]:
    return {field.alias or name: field for model in models for name, field in model.model_fields.items()}


def _tags(models: _Models, tag: str) -> list[str]:
    return [value for model in models for value in get_args(model.model_fields[tag].annotation)]


def suggest(name: str, known: tuple[str, ...]) -> str:
    """What to say of an unknown name: the known one that is closest, and all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    guess = f", did you mean '{close[0]}'?" if close else ""
    return f"{guess}; accepted: {', '.join(known)}" if known else guess


def find(environment: str, *, folder: Path) -> Path:
    """The file of an environment, given by its name or its path.

    Raises:
        InputError: there is no such file; the message lists the environments that there are.
    """
    path = Path(environment)
    if path.suffix == ".toml" or len(path.parts) > 1:
        if not path.is_file():
            raise InputError(f"{path}: no such environment file")
        return path
    named = folder / f"{environment}.toml"
    if not named.is_file():
        known = sorted(file.stem for file in folder.glob("*.toml"))
        raise InputError(
            f"environment '{environment}': no file {named}; accepted: "
            f"{', '.join(known) or 'none is there'}, or the path of a .toml file"
        )
    return named
