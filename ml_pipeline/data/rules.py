"""What a column's values must be, as Spark expressions that say why a value fails."""

from __future__ import annotations

import datetime
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.data import columns
from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import LARGEST, Reading
from ml_pipeline.errors import InputError
from ml_pipeline.settings.pipeline import ColumnCheck

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

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
    """The checks of one column."""

    column: str
    kind: str
    """The type that the values are compared as; ``other`` if none that can be declared."""
    check: ColumnCheck
    reading: Reading
    """How the values are read."""
    converts: bool
    """Whether the column's own type holds values that can't be read."""
    computed: bool
    """Whether a model computes with the values, or a check names them: fractions have to be finite then."""

    @functools.cached_property
    def phrases(self) -> dict[str, str]:
        """The end of the reason of a value that fails, for each way in which one of this column can."""
        check, accepted, type_ = self.check, self.check.accepted or [], self.reading.type
        more = ", ..." if len(accepted) > _LISTED else ""
        possible = {
            "required": (check.required, "no value, required"),
            "type": (
                self.converts,
                f"is not text in {self.reading.encoding}" if type_ == "string" else f"is not a {type_}",
            ),
            "finite": (self.kind == "double" and self.computed, "is not a finite number of 32 bits"),
            "minimum": (check.minimum is not None, f"is below minimum {_number(check.minimum)}"),
            "maximum": (check.maximum is not None, f"is above maximum {_number(check.maximum)}"),
            "accepted": (accepted, f"is not one of {', '.join(map(_shown, accepted[:_LISTED]))}{more}"),
        }
        return {failure: phrase for failure, (fails, phrase) in possible.items() if fails}

    def reasons(self, rows: DataFrame) -> list[Column]:
        """Why a row's value fails: columns of text, each NULL if it does not."""
        value = columns.read(rows, self.column, self.reading)
        absent = columns.missing(rows, self.column, self.reading)
        if self.kind == "double":
            value = value.cast("double")
        own = F.col(columns.quote(self.column)).cast("string")
        is_text = columns.type_name(rows, self.column) in columns.TEXT
        number = F.trim(own) if is_text else value.cast("string")
        text = _quoted(own)
        failing = [("required", absent, F.lit("")), ("type", ~absent & value.isNull(), text if is_text else own)]
        failing += [(failure, ~absent & fails, number) for failure, fails in self._outside(value)]
        reason = F.when(F.lit(False), F.lit(""))
        for failure, fails, shown in failing:
            if failure in self.phrases:
                reason = reason.when(fails, self._reason(failure, shown))
        if not self.check.accepted:
            return [reason]
        other = ~absent & ~value.isin(self._accepted())
        shown = number if self.kind in ("long", "double", "boolean") else text
        return [reason, F.when(other, self._reason("accepted", shown))]

    def _outside(self, value: Column) -> list[tuple[str, Column]]:
        """The ways to be out of range; the first counts."""
        least, greatest = self.check.minimum, self.check.maximum
        if self.kind == "long":
            # The whole numbers within the bounds are the same, and Spark compares them without rounding.
            least = None if least is None else max(math.ceil(least), -(2**63))
            greatest = None if greatest is None else min(math.floor(greatest), 2**63 - 1)
        is_double = self.kind == "double"
        fails = [("finite", F.abs(value) == math.inf)] if is_double else []
        fails += [] if least is None else [("minimum", value < least)]
        fails += [] if greatest is None else [("maximum", value > greatest)]
        return [*fails, ("finite", F.abs(value) > LARGEST)] if is_double else fails

    def _accepted(self) -> list[Any]:
        convert: dict[str, Any] = {"double": float, "long": int, "date": datetime.date.fromisoformat}
        return [convert.get(self.kind, lambda value: value)(value) for value in self.check.accepted or []]

    def _reason(self, failure: str, value: Column) -> Column:
        start, end = f"{self.column}: ", self.phrases[failure]
        return F.lit(start + end) if failure == "required" else F.concat(F.lit(start), value, F.lit(f" {end}"))


def _quoted(text: Column) -> Column:
    """Text in a message: of one line, and cut if it is long."""
    line = F.regexp_replace(text, r"\p{Cntrl}", columns.UNDECODED)
    short = F.concat(F.lit("'"), F.substring(line, 1, _LONGEST), F.lit("'"))
    return F.when(F.length(line) > _LONGEST, F.concat(short, F.lit("..."))).otherwise(short)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _number(bound: float | None) -> str:
    return repr(bound).removesuffix(".0")


def of_column(
    rows: DataFrame, column: str, check: ColumnCheck, reading: Reading, *, computed: bool, where: str
) -> Rule:
    """The rule of a column that the checks name, or that is read as another type than its own.

    Raises:
        InputError: the column is of a type that its check can't be made on.
    """
    own = columns.type_name(rows, column)
    found = f"checks.columns.{column}: column '{column}' of {where} is {rows.schema[column].dataType.simpleString()}"
    if check.type and own not in columns.READABLE[check.type]:
        known = ", ".join(name for name in columns.READABLE[check.type] if name not in ("varchar", "char"))
        raise InputError(f"{found}, which can't be read as {check.type}; accepted: {known}")
    kind = reading.base if reading.base in columns.READABLE else "other"
    kind = {"decimal": "double", "timestamp_ntz": "timestamp"}.get(kind, kind)
    if (check.minimum is not None or check.maximum is not None) and kind not in ("long", "double"):
        raise InputError(
            f"{found}, which has no minimum and maximum; accepted: a number, or text with type = 'long' or 'double'"
        )
    for value in check.accepted or ():
        if not _fits(value, kind):
            raise InputError(f"{found}, to be compared as {kind}, which {value!r} is not; accepted: {_FITTING[kind]}")
    return Rule(column, kind, check, reading, columns.converts(rows, column, reading), computed)


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
