"""The checks that each row of a batch goes through before it is scored.

Spark reads values as their declared type and counts shared keys; pydantic checks the values, in Spark's Python workers.
Of the libraries that say why a row fails it is the one that adds nothing to install, and given a column at a time it is
fast: where rows fail, pandera takes three times as long.

What counts as what:
    A number's NaN, and blank text where another type is declared, is no value.
    Infinity, and what lies beyond the numbers of 32 bits, fails in any checked column of fractions, bounds or none:
    scikit-learn refuses the whole batch for one such value.
    Text is compared as it is, case and spaces included.
    A key without a value in each of its columns is shared with none.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ml_pipeline.data import columns, rules, sources, tables
from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import quote
from ml_pipeline.data.rules import RowChecks, Rule
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


def check(rows: DataFrame, checks: Checks, *, where: str) -> DataFrame:
    """Say of each row of a batch why it fails, if it does.

    Returns:
        The rows as they came, with the column ``quarantine_reasons``, an array of texts which is NULL for a good row.
        The same rows, without it, where nothing is to be checked. Keep it (``persist``) for what follows: counting,
        good and bad rows would each check anew.

    Raises:
        InputError: a column isn't there, or is of a type that its check can't be made on. No row is read for it.
    """
    for name in (REASONS, _ALONE, _SHARED):
        if name in map(str.lower, rows.columns):
            raise InputError(f"{where}: column '{name}' has the name of one that the checks add; rename it")
    # Fractions are checked for infinity wherever their column is named.
    found = [rule for rule in _rules(rows, checks, where) if rule.check != ColumnCheck() or rule.kind == "double"]
    rules.check_key(rows, checks, where)
    reasons = _failed(rows, found) if found else F.lit(None).cast("array<string>")
    if not checks.unique:
        return rows.withColumn(REASONS, reasons) if found else rows
    counted = _count_shared(rows, checks)
    shared = F.concat(F.lit(f"{_unique(checks)}: shared by "), F.col(_SHARED).cast("string"), F.lit(" rows"))
    both = F.concat(F.coalesce(reasons, F.array().cast("array<string>")), F.array(shared))
    return counted.withColumn(REASONS, F.when(F.col(_SHARED) > 1, both).otherwise(reasons)).drop(_ALONE, _SHARED)


def good(checked: DataFrame, checks: Checks) -> DataFrame:
    """The rows that passed, without the reasons; a column with a declared type has it."""
    if REASONS not in checked.columns:
        return checked
    passed = checked.where(F.col(REASONS).isNull()).drop(REASONS)
    typed = {name: check.type for name, check in checks.columns.items() if check.type}
    return passed.select(
        *(
            columns.read(passed, name, typed[name]).alias(name) if name in typed else F.col(quote(name))
            for name in passed.columns
        )
    )


def bad(checked: DataFrame) -> DataFrame:
    """The rows that failed, as they came, with their reasons; none where nothing was checked."""
    if REASONS not in checked.columns:
        return checked.withColumn(REASONS, F.lit(None).cast("array<string>")).where(F.lit(False))
    return checked.where(F.col(REASONS).isNotNull())


def judge(checked: DataFrame, checks: Checks, *, where: str) -> QualityResult | None:
    """Count what failed, in one pass whose answer is one row; ``None`` where nothing was checked, and so no row read.

    Raises:
        CheckFailedError: a greater share of the rows failed than may.
        InputError: the rows can't be read.
    """
    if REASONS not in checked.columns:
        return None
    reasons = F.col(REASONS)
    kinds = {
        f"{rule.column}: {phrase}": _has(f"{rule.column}: ", phrase)
        for rule in _rules(checked, checks, where)
        for phrase in rule.phrases.values()
    }
    if checks.unique:
        kinds[_unique(checks)] = _has(f"{_unique(checks)}: shared by ", " rows")
    with sources.reading(where):
        counts = checked.agg(F.count(F.lit(1)), F.count(reasons), *map(F.count_if, kinds.values())).first()
    assert counts is not None, "an aggregate has a row"
    total, failed, *each = counts
    found = sorted(zip(kinds, each, strict=True), key=lambda item: -item[1])
    result = QualityResult(total, failed, {kind: count for kind, count in found if count})
    if total and failed / total > checks.max_quarantine_share:
        raise CheckFailedError(
            f"{where}: {failed / total:.2%} are too many, "
            f"max_quarantine_share is {checks.max_quarantine_share:.2%}: {result}"
        )
    return result


def _has(start: str, end: str) -> Column:
    return F.exists(REASONS, lambda reason: reason.startswith(start) & reason.endswith(end))


def _unique(checks: Checks) -> str:
    return f"unique ({', '.join(checks.unique)})"


def _rules(rows: DataFrame, checks: Checks, where: str) -> list[Rule]:
    return [rules.rule_of(rows, column, check, where) for column, check in checks.columns.items()]


def _failed(rows: DataFrame, checked: list[Rule]) -> Column:
    """Why each row fails, computed in the Python workers; NULL where it passes."""
    from pyspark.sql.pandas.functions import pandas_udf

    # Names of our own: people's may hold what pandas or Spark don't take in a struct.
    fields = [field for place, rule in enumerate(checked) for field in _sent(rows, rule, place)]

    def failed(batches: Iterator[pd.DataFrame]) -> Iterator[pd.Series]:  # type: ignore[type-arg]
        compiled = RowChecks(checked)
        for batch in batches:
            # What is missing is None, whether pandas calls it so or, as pandas 3 does in text, NaN.
            objects = [batch[name].to_numpy(dtype=object, na_value=None) for name in batch.columns]  # type: ignore[arg-type]
            lists = [column.tolist() for column in objects]
            yield pd.Series(compiled.reasons(lists[::2], lists[1::2]), dtype=object)

    return pandas_udf(failed, "array<string>")(F.struct(*fields))  # type: ignore[call-overload, no-any-return]


def _sent(rows: DataFrame, rule: Rule, place: int) -> tuple[Column, Column]:
    """A column's values and texts, as ``RowChecks.reasons`` takes them."""
    type_ = rule.check.type
    value, absent = columns.read(rows, rule.column, type_), columns.missing(rows, rule.column, type_)
    text = F.when(absent, "")
    if type_:
        # A cast that fails nowhere, so that no message is without the value that it is about.
        text = text.when(value.isNull(), F.col(quote(rule.column)).cast("string"))
    if rule.kind == "long":
        # pandas would make doubles of them, were one missing.
        value = F.coalesce(value.cast("bigint"), F.lit(0))
    elif rule.kind == "double":
        value = value.cast("double")
    elif rule.kind in ("date", "timestamp"):
        # pandas knows no year 1 and no year 9999.
        value = value.cast("string")
    elif rule.kind == "other":
        value = F.lit("")
    return value.alias(f"value{place}"), text.alias(f"text{place}")


def _count_shared(rows: DataFrame, checks: Checks) -> DataFrame:
    """Add how many rows have a row's key."""
    from pyspark.sql import Window

    types = {name: check.type for name, check in checks.columns.items()}
    keys = [columns.read(rows, name, types.get(name)) for name in checks.unique]
    absent = F.lit(False)
    for name, key in zip(checks.unique, keys, strict=True):
        absent = absent | key.isNull() | columns.missing(rows, name, types.get(name))
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
