"""The checks of a batch's columns: validated against the table's columns, and run by Spark's Python workers.

The checking of values is pydantic's, a column at a time: its compiled core walks a whole list in one call, and names
what failed by its place. Good values cost no Python at all.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ml_pipeline.data import columns
from ml_pipeline.data.columns import LARGEST
from ml_pipeline.errors import InputError
from ml_pipeline.settings.pipeline import Checks, ColumnCheck

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LONGEST = 60
_LISTED = 10
_TYPES = {"long": int, "double": float, "boolean": bool}
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

    @functools.cached_property
    def phrases(self) -> dict[str, str]:
        """What is said of a value that fails, for each way in which one of this column can."""
        check, accepted = self.check, self.check.accepted or []
        more = ", ..." if len(accepted) > _LISTED else ""
        possible = {
            "required": (check.required, "no value, required"),
            "type": (check.type, f"is no {check.type}"),
            "finite": (self.kind == "double", "is no finite number of 32 bits"),
            "minimum": (check.minimum is not None, f"is below minimum {_number(check.minimum)}"),
            "maximum": (check.maximum is not None, f"is above maximum {_number(check.maximum)}"),
            "accepted": (accepted, f"is not one of {', '.join(map(shown, accepted[:_LISTED]))}{more}"),
        }
        return {failure: phrase for failure, (fails, phrase) in possible.items() if fails}


def shown(value: object) -> str:
    """A value as a message has it."""
    if isinstance(value, bool):
        return str(value).lower()
    cut = isinstance(value, str) and len(value) > _LONGEST
    return f"{str(value)[:_LONGEST]!r}..." if cut else repr(value)


def _number(bound: float | None) -> str:
    return repr(bound).removesuffix(".0")


def rule_of(rows: DataFrame, column: str, check: ColumnCheck, where: str) -> Rule:
    """The rule of a column that the checks name.

    Raises:
        InputError: the column isn't there, or is of a type that its check can't be made on.
    """
    columns.require(rows, [column], where=f"checks.columns.{column}: {where}")
    own = columns.type_name(rows, column)
    called = f"checks.columns.{column}: column '{column}' of {where} is {rows.schema[column].dataType.simpleString()}"
    if check.type and own not in columns.READABLE[check.type]:
        known = ", ".join(name for name in columns.READABLE[check.type] if name not in ("varchar", "char"))
        raise InputError(f"{called}, which can't be read as {check.type}; accepted: {known}")
    kind = check.type or columns.KINDS.get(own, "other")
    if (check.minimum is not None or check.maximum is not None) and kind not in ("long", "double"):
        raise InputError(
            f"{called}, which has no minimum and maximum; accepted: a number, or text with type = 'long' or 'double'"
        )
    for value in check.accepted or ():
        if not _fits(value, kind):
            raise InputError(f"{called}, to be compared as {kind}, which {value!r} is not; accepted: {_FITTING[kind]}")
    return Rule(column, kind, check, own in columns.TEXT)


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


def check_key(rows: DataFrame, checks: Checks, where: str) -> None:
    """Reject, with an ``InputError``, columns of ``unique`` that aren't there, or that are nested."""
    columns.require(rows, checks.unique, where=f"checks.unique: {where}")
    for column in checks.unique:
        if columns.type_name(rows, column) not in (*columns.KINDS, "binary"):
            found = rows.schema[column].dataType.simpleString()
            raise InputError(
                f"checks.unique: column '{column}' of {where} is {found}; accepted: numbers, text, booleans, times"
            )


class RowChecks:
    """The checks of several columns, compiled once for each worker."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(rule, _adapters(rule)) for rule in rules]

    def reasons(self, values: Sequence[list[Any]], texts: Sequence[list[Any]]) -> list[list[str] | None]:
        """Why each row fails.

        Args:
            values: For each rule the rows' values; what is there counts only where the text is ``None``.
            texts: For each rule and row ``None`` where there is a value, the empty text where there is none, and what
                could not be read as the column's type where there is one of another type.

        Returns:
            For each row its reasons in the order of the rules, ``None`` where it has none.
        """
        found: list[list[str] | None] = [None] * len(values[0])
        for (rule, adapters), column, unread in zip(self._rules, values, texts, strict=True):
            for row, reason in _reasons(rule, adapters, column, unread):
                reasons = found[row] = found[row] or []
                reasons.append(f"{rule.column}: {reason}")
        return found


def _adapters(rule: Rule) -> list[TypeAdapter[list[Any]]]:
    strict = ConfigDict(strict=True)
    type_: Any = _TYPES.get(rule.kind, str)
    least, greatest = rule.check.minimum, rule.check.maximum
    if rule.kind == "long":
        # The whole numbers within the bounds are the same, and pydantic takes no other bounds for them.
        least = None if least is None else math.ceil(least)
        greatest = None if greatest is None else math.floor(greatest)
        type_ = Annotated[int, Field(ge=least, le=greatest)]
    elif rule.kind == "double":
        least = -LARGEST if least is None else max(least, -LARGEST)
        greatest = LARGEST if greatest is None else min(greatest, LARGEST)
        type_ = Annotated[float, Field(ge=least, le=greatest, allow_inf_nan=False)]
    optional: Any = type_ if rule.check.required else Optional[type_]  # noqa: UP045
    accepting: list[Any] = [list[optional]]
    if rule.check.accepted:
        convert = float if rule.kind == "double" else int if rule.kind == "long" else lambda value: value
        accepted: Any = Literal[tuple(convert(value) for value in rule.check.accepted)]
        accepting.append(list[Optional[accepted]])  # noqa: UP045
    return [TypeAdapter(column, config=strict) for column in accepting]


def _reasons(
    rule: Rule, adapters: Sequence[TypeAdapter[list[Any]]], values: list[Any], texts: list[Any]
) -> Iterator[tuple[int, str]]:
    unread = {row: text for row, text in enumerate(texts) if text is not None}
    for row, text in unread.items():
        values[row] = None
        if text:
            yield row, f"{shown(text) if rule.from_text else text} {rule.phrases['type']}"
    for adapter in adapters:
        try:
            adapter.validate_python(values)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=False):
                row = int(item["loc"][0])
                if not unread.get(row):
                    yield row, _reason(rule, item["type"], item["input"])


def _reason(rule: Rule, failed: str, value: Any) -> str:
    if value is None:
        return rule.phrases["required"]
    if failed == "literal_error":
        return f"{shown(value)} {rule.phrases['accepted']}"
    failure = "finite"
    if failed == "greater_than_equal" and rule.check.minimum is not None and value < rule.check.minimum:
        failure = "minimum"
    if failed == "less_than_equal" and rule.check.maximum is not None and value > rule.check.maximum:
        failure = "maximum"
    return f"{value} {rule.phrases[failure]}"
