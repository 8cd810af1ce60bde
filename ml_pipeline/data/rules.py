"""The checks of a batch's columns, held against the columns that there are."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.data import column_types
from ml_pipeline.errors import InputError
from ml_pipeline.settings.pipeline import Checks, ColumnCheck

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

REQUIRED = "no value, required"
NOT_FINITE = "is no finite number of 32 bits"
_LONGEST = 60
_LISTED = 10
_FITTING = {
    "boolean": "true, false",
    "long": "whole numbers",
    "double": "numbers",
    "string": "text",
    "date": "text such as '2026-01-02'",
    "timestamp": "no list of values",
    "other": "no list of values",
}


@dataclass(frozen=True)
class Rule:
    """What one column's values must be, and what is said of those that are not."""

    column: str
    kind: str
    """The type that the values are read as; ``other`` where it is none that can be declared."""
    check: ColumnCheck
    from_text: bool
    """Whether the values come as text."""

    @property
    def unreadable(self) -> str:
        """What is said of a value of another type."""
        return f"is no {self.check.type}"

    @property
    def below(self) -> str:
        """What is said of a value that is too small."""
        return f"is below minimum {_number(self.check.minimum)}"

    @property
    def above(self) -> str:
        """What is said of a value that is too great."""
        return f"is above maximum {_number(self.check.maximum)}"

    @property
    def other(self) -> str:
        """What is said of a value that is not accepted."""
        accepted = self.check.accepted or []
        more = ", ..." if len(accepted) > _LISTED else ""
        return f"is not one of {', '.join(map(shown, accepted[:_LISTED]))}{more}"

    @property
    def phrases(self) -> list[str]:
        """All that can be said of this column's values."""
        said = {
            REQUIRED: self.check.required,
            self.unreadable: self.check.type,
            NOT_FINITE: self.kind == "double",
            self.below: self.check.minimum is not None,
            self.above: self.check.maximum is not None,
            self.other: self.check.accepted,
        }
        return [phrase for phrase, possible in said.items() if possible]


def shown(value: object) -> str:
    """A value as a message has it."""
    if isinstance(value, bool):
        return str(value).lower()
    cut = isinstance(value, str) and len(value) > _LONGEST
    return f"{str(value)[:_LONGEST]!r}..." if cut else repr(value)


def _number(bound: float | None) -> str:
    return repr(bound).removesuffix(".0")


def of(rows: DataFrame, checks: Checks, where: str) -> list[Rule]:
    """The rule of each column that the checks name.

    Raises:
        InputError: a column isn't there, or is of a type that its check can't be made on.
    """
    return [_rule(rows, column, check, where) for column, check in checks.columns.items()]


def _rule(rows: DataFrame, column: str, check: ColumnCheck, where: str) -> Rule:
    _check_there(rows, f"checks.columns.{column}", column, where)
    own = column_types.name(rows, column)
    called = f"checks.columns.{column}: column '{column}' of {where} is {rows.schema[column].dataType.simpleString()}"
    if check.type and own not in column_types.READABLE[check.type]:
        known = ", ".join(name for name in column_types.READABLE[check.type] if name not in ("varchar", "char"))
        raise InputError(f"{called}, which can't be read as {check.type}; accepted: {known}")
    kind = check.type or column_types.KINDS.get(own, "other")
    if (check.minimum is not None or check.maximum is not None) and kind not in ("long", "double"):
        raise InputError(
            f"{called}, which has no minimum and maximum; accepted: a number, or text with type = 'long' or 'double'"
        )
    for value in check.accepted or ():
        if not _fits(value, kind):
            raise InputError(f"{called}, to be compared as {kind}, which {value!r} is not; accepted: {_FITTING[kind]}")
    return Rule(column, kind, check, own in column_types.TEXT)


def _fits(value: object, kind: str) -> bool:
    if kind in ("long", "double"):
        return isinstance(value, int | float) and not isinstance(value, bool) and (kind == "double" or value % 1 == 0)
    if kind == "date":
        return isinstance(value, str) and _is_day(value)
    return isinstance(value, {"boolean": bool, "string": str}.get(kind, ()))


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _check_there(rows: DataFrame, setting: str, column: str, where: str) -> None:
    if column not in rows.columns:
        raise InputError(f"{setting}: {where} has no column '{column}'; accepted: {', '.join(rows.columns)}")


def check_key(rows: DataFrame, checks: Checks, where: str) -> None:
    """Whether rows can be told apart by the columns of ``unique``.

    Raises:
        InputError: a column isn't there, or is nested.
    """
    for column in checks.unique:
        _check_there(rows, "checks.unique", column, where)
        if column_types.name(rows, column) not in (*column_types.KINDS, "binary"):
            found = rows.schema[column].dataType.simpleString()
            raise InputError(
                f"checks.unique: column '{column}' of {where} is {found}; accepted: numbers, text, booleans, times"
            )
