"""Which columns a model learns from, how they become what scikit-learn takes, and whether rows can be learned from.

Numbers and booleans become doubles, and so do dates and times, as days since 1970-01-01; text stays text. A missing
value is NaN in the one and ``None`` in the other.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ml_pipeline.data import columns, hashing, sources
from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import quote
from ml_pipeline.data.hashing import Profile
from ml_pipeline.errors import InputError, cause
from ml_pipeline.names import ADDED, CHAMPION_PREDICTION, REASONS, SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_ACCEPTED = "accepted: numbers, text, booleans, dates and times"
_DAY = 86_400e6
"""Microseconds of a day."""
_TAKEN_AS = {**dict.fromkeys(("long", "double", "boolean", "date", "timestamp"), "double"), "string": "string"}
_MOST_CLASSES = 1000
_FEW_CLASSES, _RARE = 10, 5
"""More numbers than these are quantities if most of them occur in fewer rows than cross-validation needs."""


def added(*, probabilities: bool) -> tuple[str, ...]:
    """Every column that scoring adds to its source's, in whatever table."""
    return (*ADDED, *([SCORES] if probabilities else []), CHAMPION_PREDICTION, REASONS)


def refuse_names(columns: Iterable[str], names: Iterable[str] = ADDED, *, where: str) -> None:
    """Reject, with an ``InputError``, columns named as one that scoring adds; to Spark upper and lower case are one."""
    folded = {name.casefold() for name in names}
    for column in columns:
        if column.casefold() in folded:
            raise InputError(f"{where}: column '{column}' has the name of one that scoring adds; rename it")


def transformed(rows: DataFrame, transform: str, *, where: str) -> DataFrame:
    """The rows with the columns that the pipeline's own function adds; as they are without one.

    Raises:
        InputError: the function can't be imported, fails, drops a column, or changes the number of rows.
    """
    if not transform:
        return rows
    module, _, name = transform.rpartition(".")
    try:
        result: DataFrame = getattr(importlib.import_module(module), name)(rows)
        dropped = [column for column in rows.columns if column not in result.columns]
        # Spark computes a column only if it is asked for: what fails must fail here.
        values = [F.xxhash64(F.col(quote(name))) for name in result.columns if name not in rows.columns]
        counted = result.agg(F.count(F.lit(1)), *map(F.max, values)).first()
        before, after = rows.count(), int(counted[0]) if counted else 0
    except Exception as error:
        raise InputError(
            f"transform: '{transform}' fails on {where}: {type(error).__name__}: {cause(error)}"
        ) from error
    if dropped:
        raise InputError(
            f"transform: '{transform}' drops the columns {', '.join(dropped)}; expected all columns of its input"
        )
    if before != after:
        raise InputError(f"transform: '{transform}' returns {after:,} of {before:,} rows; expected the same rows")
    return result


def kind(rows: DataFrame, column: str) -> str:
    """``double`` or ``string`` for what a column becomes, else the name of its own type."""
    name = columns.type_name(rows, column)
    return _TAKEN_AS.get(columns.KINDS.get(name, ""), name)


@dataclass(frozen=True)
class Features:
    """Columns by name, in the model's order, each a ``double`` or a ``string``."""

    kinds: dict[str, str]

    @classmethod
    def of(cls, rows: DataFrame, *, target: str, key: list[str], features: list[str], where: str) -> Features:
        """The features of a table with a target.

        Raises:
            InputError: a column is absent, of a type that can't be learned from, or named as one that scoring adds.
        """
        for setting, names in (("target", [target]), ("key", key), ("features", features)):
            columns.require(rows, names, where=f"{setting}: {where}")
        own = rows.schema[target].dataType.simpleString()
        if kind(rows, target) not in _TAKEN_AS.values() or columns.is_dated(rows, target):
            raise InputError(
                f"target: column '{target}' of {where} is {own}; accepted: whole numbers, text and booleans"
            )
        chosen = features or [column for column in rows.columns if column not in (target, *key)]
        if not chosen:
            raise InputError(f"features: {where} has no column beside target and key; accepted: at least one")
        refuse_names([target, *key, *chosen], where=where)
        for column in chosen:
            if kind(rows, column) not in _TAKEN_AS.values():
                raise InputError(
                    f"features: column '{column}' of {where} is {kind(rows, column)}; {_ACCEPTED}. "
                    "List the columns to learn from in 'features' to leave it out"
                )
        return cls({column: kind(rows, column) for column in chosen})

    @property
    def numbers(self) -> list[str]:
        """Columns that are doubles."""
        return [name for name, kind in self.kinds.items() if kind == "double"]

    @property
    def text(self) -> list[str]:
        """Columns that are text."""
        return [name for name, kind in self.kinds.items() if kind == "string"]

    def misfit(self, rows: DataFrame) -> str:
        """Why a table's columns are not these; empty if they are."""
        missing = [column for column in self.kinds if column not in rows.columns]
        if missing:
            return (
                f"lacks the column {', '.join(map(repr, missing))}, which the model's signature asks for; "
                f"it has: {', '.join(rows.columns)}"
            )
        for column, expected in self.kinds.items():
            if kind(rows, column) != expected:
                found = rows.schema[column].dataType.simpleString()
                accepted = "a number, a boolean, a date or a time" if expected == "double" else "text"
                return (
                    f"has the column '{column}' as {found}, which does not fit the model's signature; "
                    f"accepted: {accepted}"
                )
        return ""

    def columns(self, rows: DataFrame, *, where: str) -> list[Column]:
        """The features as columns of a table.

        Raises:
            InputError: the table lacks a column, or has it with another type.
        """
        if misfit := self.misfit(rows):
            raise InputError(f"{where} {misfit}")
        return [_value(rows, column, kind).alias(column) for column, kind in self.kinds.items()]


def _value(rows: DataFrame, column: str, kind: str) -> Column:
    value = F.col(quote(column))
    if not columns.is_dated(rows, column):
        return value.cast(kind)
    if columns.type_name(rows, column) == "date":
        return F.unix_date(value).cast(kind)
    return F.unix_micros(value.cast("timestamp")) / _DAY


def check(
    rows: DataFrame, sides: Column, *, target: str, key: list[str], features: Features, where: str
) -> dict[bool, Profile]:
    """Whether rows can be learned from, and what they are on both sides of a split.

    Raises:
        InputError: there is no row; the target or the key is missing in one; a feature has no value in any, or
            infinity in one; the target holds no classes, or one.
    """
    used = list(dict.fromkeys([target, *key, *features.kinds]))
    with sources.reading(where):
        profiles = hashing.profile(
            rows, sides, columns=used, by=rows[quote(target)], most=_MOST_CLASSES, finite=list(features.kinds)
        )
    if profiles is None:
        raise _quantities(target, where)
    total = sum(profile.digest.rows for profile in profiles.values())
    if not total:
        raise InputError(f"{where}: is empty; accepted: at least one row")
    for column in used:
        count = sum(profile.present[column] for profile in profiles.values())
        if column in features.kinds and not count:
            raise InputError(f"features: column '{column}' of {where} has no value in any row; leave it out")
        if column in (target, *key) and count < total:
            setting = "target" if column == target else "key"
            raise InputError(
                f"{setting}: column '{column}' of {where} has no value in {total - count:,} of {total:,} rows; "
                "accepted: a value in each"
            )
    for profile in profiles.values():
        if profile.infinite is not None:
            raise InputError(f"features: column '{profile.infinite}' of {where} {columns.INFINITE}")
    classes = [value for profile in profiles.values() for value in profile.groups]
    fractional = [value for value in classes if isinstance(value, float | Decimal) and value % 1]
    if fractional:
        raise _quantities(target, where, f", such as {fractional[0]}")
    rows_of: Counter[object] = sum((Counter(profile.groups) for profile in profiles.values()), Counter())
    rare = sum(count < _RARE for count in rows_of.values())
    numbers = all(isinstance(value, int) and not isinstance(value, bool) for value in classes)
    if numbers and len(rows_of) > _FEW_CLASSES and 2 * rare > len(rows_of):
        raise _quantities(target, where, f", {len(rows_of):,} different numbers in {total:,} rows")
    if len(set(classes)) < 2:
        raise InputError(
            f"target: column '{target}' of {where} is constant ({classes[0]!r}); accepted: two classes or more"
        )
    return profiles


def check_folds(groups: Mapping[Any, int], *, target: str, folds: int, where: str) -> None:
    """Reject, with an ``InputError``, a class with fewer rows to train on than the cross-validation has folds."""
    for value in sorted(groups, key=str):
        if groups[value] < folds:
            raise InputError(
                f"folds: class {value!r} of column '{target}' has {groups[value]} rows to train on in {where}, "
                f"fewer than the {folds} folds; accepted: more rows of it, or fewer folds"
            )


def _quantities(target: str, where: str, example: str = "") -> InputError:
    return InputError(
        f"target: column '{target}' of {where} holds quantities{example}; a classifier predicts classes: "
        f"text, whole numbers or booleans, at most {_MOST_CLASSES} of them, with several rows each"
    )
