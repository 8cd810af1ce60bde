"""The types and checks that each row of a batch is held to before it is scored.

What counts as what:
    A number's NaN, and blank text where another type is expected, is a missing value.
    Infinity, and what lies beyond the numbers of 32 bits, fails in a column of fractions that a model computes with, or
    that a check names: scikit-learn rejects the whole batch for one such value.
    Text is compared as it is, case and spaces included.
    A key without a value in each of its columns is shared with none.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.data import columns, rules, schema, sources, tables
from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import Reading
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.names import BATCH_COLUMN, REASONS
from ml_pipeline.settings.pipeline import Checks, ColumnCheck

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_ALONE, _SHARED = f"__{REASONS}_alone", f"__{REASONS}_shared"
_NAMED, _MOST_REASONS = 5, 10


@dataclass(frozen=True)
class QualityResult:
    """How many rows of a batch failed their checks, and why."""

    rows: int
    failed: int
    reasons: dict[str, int]
    """The commonest reasons first, each with the rows that have it."""

    def __str__(self) -> str:
        named = ", ".join(f"{reason} ({count:,})" for reason, count in list(self.reasons.items())[:_NAMED])
        return f"{self.failed:,} of {self.rows:,} rows failed their checks" + (f": {named}" if named else "")


@dataclass(frozen=True)
class Checked:
    """The rows of a batch, as they came, with why each of them fails."""

    rows: DataFrame
    """With the column ``quarantine_reasons``, an array of texts, NULL for a good row; without it, no row can fail."""
    readings: Mapping[str, Reading]
    kinds: dict[str, Callable[[Column], Column]]
    """For each kind of reason, whether a reason is of it."""

    @property
    def any(self) -> bool:
        """Whether a row can fail."""
        return REASONS in self.rows.columns

    @property
    def good(self) -> DataFrame:
        """The rows that passed, each column of its type."""
        passed = self.rows.where(F.col(REASONS).isNull()).drop(REASONS) if self.any else self.rows
        return schema.apply(passed, self.readings)

    @property
    def bad(self) -> DataFrame:
        """The rows that failed, with their reasons; their values are text, which holds whatever came."""
        failed = self.rows.where(F.col(REASONS).isNotNull())
        return failed.select(*(columns.as_text(failed, name).alias(name) for name in self.readings), REASONS)

    def judge(self, most: float, *, where: str) -> QualityResult | None:
        """Count what failed, in one pass whose answer is one row; ``None`` if no row can fail, and so none is read.

        Raises:
            CheckFailedError: a greater share of the rows failed than ``most``.
            InputError: the rows can't be read.
        """
        if not self.any:
            return None
        with sources.reading(where):
            each = (F.count_if(F.exists(REASONS, is_of)) for is_of in self.kinds.values())
            counts = self.rows.agg(F.count(F.lit(1)), F.count(REASONS), *each).first()
        assert counts is not None, "an aggregate has a row"
        total, failed, *numbers = counts
        found = sorted(zip(self.kinds, numbers, strict=True), key=lambda item: -item[1])
        result = QualityResult(total, failed, {kind: count for kind, count in found if count})
        if total and failed / total > most:
            raise CheckFailedError(
                f"{where}: {failed / total:.2%} are too many, max_quarantine_share is {most:.2%}: {result}; "
                f"such as: {', '.join(self._examples(list(result.reasons)[:_NAMED]))}"
            )
        return result

    def _examples(self, kinds: list[str]) -> list[str]:
        """The reason of a row, with its value, for each kind."""
        reasons = (F.try_element_at(F.filter(REASONS, self.kinds[kind]), F.lit(1)) for kind in kinds)
        row = self.rows.where(F.col(REASONS).isNotNull()).agg(*(F.min(reason) for reason in reasons)).first()
        return [*(row or ())]


def check(
    rows: DataFrame, checks: Checks, readings: Mapping[str, Reading], *, features: Collection[str] = (), where: str
) -> Checked:
    """Find why each row of a batch fails, if it does: by the type of each column, and by the checks.

    Raises:
        InputError: a column isn't there, or is of a type that its check can't be made on. No row is read for it.
    """
    for name in (REASONS, _ALONE, _SHARED):
        if name in map(str.lower, rows.columns):
            raise InputError(f"{where}: column '{name}' has the name of one that the checks add; rename it")
    for name in checks.columns:
        columns.require(rows, [name], where=f"checks.columns.{name}: {where}")
    each = (
        rules.of_column(
            rows,
            name,
            checks.columns.get(name, ColumnCheck()),
            reading,
            computed=name in checks.columns or name in features,
            where=where,
        )
        for name, reading in readings.items()
    )
    # Fractions are checked for infinity wherever the checks name their column.
    found = [
        rule
        for rule in each
        if rule.converts or rule.check != ColumnCheck() or (rule.kind == "double" and rule.column in checks.columns)
    ]
    columns.require(rows, checks.unique, where=f"checks.unique: {where}")
    for name in checks.unique:
        if columns.type_name(rows, name) not in (*columns.KINDS, "binary"):
            raise InputError(
                f"checks.unique: column '{name}' of {where} is {rows.schema[name].dataType.simpleString()}; "
                "accepted: numbers, text, booleans, times"
            )
    reasons = [reason for rule in found for reason in rule.reasons(rows)]
    kinds = {
        f"{rule.column}: {text}": _is_of(f"{rule.column}: ", text) for rule in found for text in rule.phrases.values()
    }
    if not checks.unique:
        checked = rows.withColumn(REASONS, _all(reasons)) if found else rows
        return Checked(checked, readings, kinds)
    unique = f"unique ({', '.join(checks.unique)})"
    counted = _count_shared(rows, checks, readings)
    shared = F.concat(F.lit(f"{unique}: shared by "), F.col(_SHARED).cast("string"), F.lit(" rows"))
    reasons.append(F.when(F.col(_SHARED) > 1, shared))
    checked = counted.withColumn(REASONS, _all(reasons)).drop(_ALONE, _SHARED)
    return Checked(checked, readings, kinds | {unique: _is_of(f"{unique}: shared by ", " rows")})


def _all(reasons: list[Column]) -> Column:
    """The reasons that there are, NULL if there is none."""
    return F.nullif(F.array_compact(F.array(*reasons)), F.array().cast("array<string>"))


def _is_of(start: str, end: str) -> Callable[[Column], Column]:
    return lambda reason: reason.startswith(start) & reason.endswith(end)


def _count_shared(rows: DataFrame, checks: Checks, readings: Mapping[str, Reading]) -> DataFrame:
    """Add how many rows have a row's key."""
    from pyspark.sql import Window

    keys = [columns.read(rows, name, readings[name]) for name in checks.unique]
    absent = F.lit(False)
    for name, key in zip(checks.unique, keys, strict=True):
        absent = absent | key.isNull() | columns.missing(rows, name, readings[name])
    # Without a number of its own, each row without a key would go to the same task.
    alone = rows.withColumn(_ALONE, F.when(absent, F.monotonically_increasing_id()))
    return alone.withColumn(_SHARED, F.count(F.lit(1)).over(Window.partitionBy(*keys, _ALONE)))


def quarantined(table: str, day: datetime.date) -> tuple[int, dict[str, int]]:
    """How many rows of a batch are in the quarantine table, and how many of them have each of the commonest reasons."""
    if not tables.exists(table):
        return 0, {}
    rows = tables.read(table).where(f"{BATCH_COLUMN} = DATE'{day}'")
    # Each row counts once for itself, as "", and once for each of its reasons: one pass tells both.
    reasons = F.concat(F.array(F.lit("")), F.coalesce(REASONS, F.array().cast("array<string>")))
    counted = rows.select(F.explode(reasons).alias("reason")).groupBy("reason").count()
    common = counted.orderBy(F.col("count").desc(), "reason").limit(_MOST_REASONS + 1).collect()
    counts = {row["reason"]: int(row["count"]) for row in common}
    return counts.pop("", 0), counts
