"""Whether values are what their column's check asks for, and why not: what the Python workers of a batch's checks run.

The checking is pydantic's, a column at a time: its compiled core walks a whole list in one call, and names what failed
by its place. Good values cost no Python at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Optional

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ml_pipeline.data.columns import LARGEST
from ml_pipeline.data.rules import NOT_FINITE, REQUIRED, Rule, shown

_TYPES = {"long": int, "double": float, "boolean": bool}


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
    columns: list[Any] = [list[optional]]
    if rule.check.accepted:
        convert = float if rule.kind == "double" else int if rule.kind == "long" else lambda value: value
        accepted: Any = Literal[tuple(convert(value) for value in rule.check.accepted)]
        columns.append(list[Optional[accepted]])  # noqa: UP045
    return [TypeAdapter(column, config=strict) for column in columns]


def _reasons(
    rule: Rule, adapters: Sequence[TypeAdapter[list[Any]]], values: list[Any], texts: list[Any]
) -> Iterator[tuple[int, str]]:
    unread = {row: text for row, text in enumerate(texts) if text is not None}
    for row, text in unread.items():
        values[row] = None
        if text:
            yield row, f"{shown(text) if rule.from_text else text} {rule.unreadable}"
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
        return REQUIRED
    if failed == "literal_error":
        return f"{shown(value)} {rule.other}"
    if failed == "greater_than_equal" and rule.check.minimum is not None and value < rule.check.minimum:
        return f"{value} {rule.below}"
    if failed == "less_than_equal" and rule.check.maximum is not None and value > rule.check.maximum:
        return f"{value} {rule.above}"
    return f"{value} {NOT_FINITE}"
