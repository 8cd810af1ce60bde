"""Reads a column's values as the type that a check declares; Spark does it, with its own casts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.data.columns import quote

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

TEXT = ("string", "varchar", "char")
_WHOLE = ("byte", "short", "integer", "long")
_NUMBERS = (*_WHOLE, "float", "double", "decimal")
_TIMES = ("timestamp", "timestamp_ntz")
KINDS = {
    **dict.fromkeys(TEXT, "string"),
    **dict.fromkeys(_WHOLE, "long"),
    **dict.fromkeys(("float", "double", "decimal"), "double"),
    **dict.fromkeys(_TIMES, "timestamp"),
    "boolean": "boolean",
    "date": "date",
}
"""What a column without a declared type is, by Spark's name of its own type."""
READABLE = {
    "boolean": ("boolean", *TEXT),
    "long": (*_NUMBERS, *TEXT),
    "double": (*_NUMBERS, *TEXT),
    "string": (*TEXT, *_NUMBERS, "boolean", "date", *_TIMES),
    "date": ("date", *TEXT),
    "timestamp": (*_TIMES, "date", *TEXT),
}
"""For each type that can be declared, the types of columns that can be read as it."""
# Spark's cast takes more: '1d' and '0x1p3' for numbers, '2026-01-02 and more' and '2026' for dates, and a mere '12:30'
# for that time of the day on which it is read.
_FORMS = {
    "long": r"^\s*[+-]?\d+(\.0*)?\s*$",
    "double": r"(?i)^\s*(nan|[+-]?(inf|infinity|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?))\s*$",
    "date": r"^\s*\d{4}-\d{1,2}-\d{1,2}\s*$",
    "timestamp": r"^\s*\d{4}-\d{1,2}-\d{1,2}([T ].*)?$",
}
_SPARK_TYPES = {"long": "bigint"}


def name(rows: DataFrame, column: str) -> str:
    """Spark's name of a column's type, without its parameters."""
    return rows.schema[column].dataType.typeName()


def read(rows: DataFrame, column: str, type_: str | None) -> Column:
    """A column's values as a type; NULL where there is none, or one that can't be read so.

    Whole numbers may be written as ``3.0``; dates are ``YYYY-MM-DD``.

    Args:
        rows: The rows.
        column: One of their columns, whose type is among ``READABLE[type_]``.
        type_: The declared type; the column's own where there is none.
    """
    from pyspark.sql import functions as F

    value, own = F.col(quote(column)), name(rows, column)
    if type_ is None or type_ == "string":
        return value if type_ is None or own in TEXT else value.cast("string")
    if own in TEXT:
        form = _FORMS.get(type_)
        value = value if form is None else F.when(value.rlike(form), value)
        if type_ == "long":
            # Not by way of a double, which is not exact.
            value = F.regexp_replace(value, r"\.0*\s*$", "")
    elif type_ == "long" and own not in _WHOLE:
        return F.when(value == F.floor(value), value.try_cast("bigint"))
    return value.try_cast(_SPARK_TYPES.get(type_, type_))


def missing(rows: DataFrame, column: str, type_: str | None) -> Column:
    """Whether there is no value: NULL, NaN among numbers, blank text where the declared type is another than text."""
    from pyspark.sql import functions as F

    value, own = F.col(quote(column)), name(rows, column)
    absent = value.isNull()
    if own in ("float", "double"):
        return absent | F.isnan(value)
    if own in TEXT and type_ not in (None, "string"):
        blank = F.trim(value) == ""
        return absent | blank | (F.lower(F.trim(value)) == "nan") if type_ in ("long", "double") else absent | blank
    return absent
