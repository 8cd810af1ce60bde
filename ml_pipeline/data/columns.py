"""Columns: their quoted names, the numbers that scikit-learn accepts, and values as the type that a check declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.data import functions as F
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import Column, DataFrame

LARGEST = 3.4028234663852886e38
"""The greatest finite number of 32 bits: scikit-learn's trees refuse what lies beyond, as they refuse infinity."""
INFINITE = f"holds infinity, or a number beyond {LARGEST:.2g}; accepted: finite numbers, or no value"
TEXT = ("string", "varchar", "char")
WHOLE = ("byte", "short", "integer", "long")
_NUMBERS = (*WHOLE, "float", "double", "decimal")
_TIMES = ("timestamp", "timestamp_ntz")
KINDS = {
    **dict.fromkeys(TEXT, "string"),
    **dict.fromkeys(WHOLE, "long"),
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


def quote(column: str) -> str:
    """A column's name as Spark takes it literally, whatever characters it holds."""
    return "`" + column.replace("`", "``") + "`"


def require(rows: DataFrame, names: Iterable[str], *, where: str, why: str = "") -> None:
    """Reject rows that lack a column with an ``InputError``, in which ``where`` names the setting and the rows."""
    for name in names:
        if name not in rows.columns:
            raise InputError(f"{where} has no column '{name}'{why}; accepted: {', '.join(rows.columns)}")


def may_be_infinite(rows: DataFrame, name: str) -> bool:
    """Whether a column has a type that holds infinity."""
    return type_name(rows, name) in ("float", "double")


def infinite(name: str) -> Column:
    """Whether a column of fractions holds infinity, or a number beyond ``LARGEST``."""
    value = F.col(quote(name))
    # To Spark, NaN is greater than any number.
    return ~F.isnan(value) & (F.abs(value) > LARGEST)


def type_name(rows: DataFrame, column: str) -> str:
    """Spark's name of a column's type, without its parameters."""
    return rows.schema[column].dataType.typeName()


def read(rows: DataFrame, column: str, type_: str | None) -> Column:
    """A column's values as a type that ``READABLE`` has for the column's own; NULL if there is none, or it doesn't fit.

    Whole numbers may be written as ``3.0``; dates are ``YYYY-MM-DD``. Without a type the values stay as they are.
    """
    value, own = F.col(quote(column)), type_name(rows, column)
    if type_ is None or type_ == "string":
        return value if type_ is None or own in TEXT else value.cast("string")
    if own in TEXT:
        form = _FORMS.get(type_)
        value = value if form is None else F.when(value.rlike(form), value)
        if type_ == "long":
            # Not by way of a double, which is not exact.
            value = F.regexp_replace(value, r"\.0*\s*$", "")
    elif type_ == "long" and own not in WHOLE:
        return F.when(value == F.floor(value), value.try_cast("bigint"))
    return value.try_cast(_SPARK_TYPES.get(type_, type_))


def missing(rows: DataFrame, column: str, type_: str | None) -> Column:
    """Whether there is no value: NULL, NaN among numbers, blank text where the declared type is another than text."""
    value, own = F.col(quote(column)), type_name(rows, column)
    absent = value.isNull()
    if own in ("float", "double"):
        return absent | F.isnan(value)
    if own in TEXT and type_ not in (None, "string"):
        blank = F.trim(value) == ""
        return absent | blank | (F.lower(F.trim(value)) == "nan") if type_ in ("long", "double") else absent | blank
    return absent
