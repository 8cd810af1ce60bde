"""A survey of a source: types, missing and different values, key candidates and classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.data import columns, hashing, schema, sources
from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import KINDS, quote
from ml_pipeline.data.features import refuse_names
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from ml_pipeline.settings.pipeline import Source

_MOST_CLASSES = 20
_FREE_TEXT, _FEW_TEXTS = 0.5, 50
"""Text with more different values than the second, and than this share of the rows, is a name or a comment."""
_KEY = re.compile(r"(?i)(^|[^a-z])(id|key|uuid|guid|number|nr|no)$|[a-z]Id$")


@dataclass(frozen=True)
class ColumnSurvey:
    """One column of a source."""

    type: str
    present: int
    distinct: int
    """About how many different values there are (Spark's ``approx_count_distinct``)."""
    least: object
    greatest: object
    """The range of numbers; ``None`` for other columns."""


@dataclass(frozen=True)
class Survey:
    """All columns of a source, by name."""

    rows: int
    columns: dict[str, ColumnSurvey]
    classes: dict[Any, int]
    """The rows of each class of the target."""
    keys: list[str]
    """Columns that have a value of its own in each row, the most plausible key first."""
    learnable: dict[Any, int]
    """The rows of each class that training gets, which is what test and validation table leave of it."""

    def reason_to_leave_out(self, name: str) -> str:
        """Why a column should not be learned from; empty if nothing speaks against it."""
        column = self.columns[name]
        if not column.present:
            return "no value"
        if KINDS.get(column.type.partition("(")[0], "") == "":
            return f"type {column.type}"
        if column.distinct < 2 and column.present == self.rows:
            return "constant"
        if column.type == "string" and column.distinct > max(_FEW_TEXTS, _FREE_TEXT * column.present):
            return "almost each row has a text of its own"
        return ""

    @property
    def key(self) -> str | None:
        """The column that identifies a row, if one is plausible."""
        return _plausible(self.keys)


def of(source: Source, target: str, *, test_share: float, validation_share: float) -> Survey:
    """Look at all rows of a source.

    Raises:
        InputError: the source can't be read, lacks the target, has a column named as one that scoring adds, or the
            target holds no classes.
    """
    where = f"source {source}"
    read = sources.read_source(source)
    columns.require(read, [target], where=f"--target: {where}")
    refuse_names(read.columns, where=where)
    rows = schema.apply(read, schema.of_training(read, source, computed=read.columns, target=target, before={}))
    with sources.reading(where):
        total, found = _columns(rows)
        if not total:
            raise InputError(f"{where}: is empty; accepted: at least one row")
        classes = _classes(rows, target, found[target], where)
        likely = [name for name, one in found.items() if name != target and _may_be_key(one, total)]
        keys = [name for name in likely if columns.shared(rows, [name]) is None]
        keys.sort(key=lambda name: not _KEY.search(name))
        key = _plausible(keys)
        in_test, in_validation = (
            hashing.bucket(rows, [key] if key else rows.columns, salt=salt) < share
            for salt, share in (("test", test_share), ("validation", validation_share))
        )
        left = rows.where(~in_test & ~in_validation).groupBy(quote(target)).count()
        counted = dict(map(tuple, left.collect()))
    return Survey(total, found, classes, keys, {value: counted.get(value, 0) for value in classes})


def _plausible(keys: list[str]) -> str | None:
    return next((name for name in keys if _KEY.search(name)), None)


def _may_be_key(column: ColumnSurvey, rows: int) -> bool:
    # The count of different values is off by a few percent.
    return column.type in ("string", "long") and column.present == rows and column.distinct > 0.8 * rows


def _columns(rows: DataFrame) -> tuple[int, dict[str, ColumnSurvey]]:
    types = schema.types_of(rows)
    counts = [F.count(F.lit(1))]
    for name in rows.columns:
        value = F.when(~columns.missing(rows, name, None), columns.as_text(rows, name))
        number = F.col(quote(name)) if types[name] in ("long", "double") else F.lit(None)
        counts += [F.count(value), F.approx_count_distinct(value, 0.02), F.min(number), F.max(number)]
    total, *each = rows.agg(*counts).collect()[0]
    return total, {
        name: ColumnSurvey(types[name], *each[4 * place : 4 * place + 4]) for place, name in enumerate(rows.columns)
    }


def _classes(rows: DataFrame, target: str, column: ColumnSurvey, where: str) -> dict[Any, int]:
    counted = rows.where(F.col(quote(target)).isNotNull()).groupBy(quote(target)).count().limit(1_001).collect()
    classes: dict[Any, int] = dict(map(tuple, counted))
    numbers = column.type in ("long", "double") or column.type.startswith("decimal")
    if column.type not in ("long", "string", "boolean") or len(classes) > (_MOST_CLASSES if numbers else 1_000):
        raise InputError(
            f"--target: column '{target}' of {where} is a quantity: {column.distinct:,} different values of type "
            f"{column.type}; a pipeline predicts classes, such as text, booleans or a few whole numbers"
        )
    if column.present < rows.count():
        raise InputError(f"--target: column '{target}' of {where} has rows without a value; expected one in each")
    if len(classes) < 2:
        raise InputError(f"--target: column '{target}' of {where} is constant; expected two classes or more")
    return dict(sorted(classes.items(), key=lambda item: item[1]))
