"""Columns: their quoted names, the numbers that scikit-learn accepts, and values as the type that a check declares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ml_pipeline.data import functions as F
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

LARGEST = 3.4028234663852886e38
"""The greatest finite number of 32 bits: scikit-learn's trees reject what lies beyond, and infinity."""
INFINITE = f"holds infinity, or a number beyond {LARGEST:.2g}; accepted: finite numbers, or no value"
UNDECODED = "\ufffd"
"""What a decoder writes for bytes that are not text in the encoding (Unicode: replacement character)."""
TEXT = ("string", "varchar", "char")
WHOLE = ("byte", "short", "integer", "long")
_NUMBERS = (*WHOLE, "float", "double", "decimal")
NESTED = ("array", "map", "struct")
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
    "boolean": ("boolean", *_NUMBERS, *TEXT),
    "long": (*_NUMBERS, *TEXT),
    "double": (*_NUMBERS, "boolean", *TEXT),
    "decimal": (*_NUMBERS, *TEXT),
    "string": (*TEXT, *_NUMBERS, "boolean", "date", *_TIMES),
    "date": ("date", *_TIMES, *TEXT),
    **dict.fromkeys(_TIMES, (*_TIMES, "date", *TEXT)),
}
"""For each type that can be declared, the types of columns that can be read as it."""
NUMBER = r"(?i)^\s*[+-]?(inf|infinity|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*$"
"""A number as text, with a decimal point."""
# Spark's cast takes more: '1d' and '0x1p3' for numbers, '2026-01-02 and more' and '2026' for dates, and a mere '12:30'
# for that time of the day on which it is read.
_FORMS = {
    "long": r"^\s*[+-]?\d+(\.0*)?\s*$",
    "double": NUMBER,
    "decimal": r"(?i)^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$",
    "date": r"^\s*\d{4}-\d{1,2}-\d{1,2}([T ]00:00(:00(\.0+)?)?)?\s*$",
    **dict.fromkeys(_TIMES, r"^\s*\d{4}-\d{1,2}-\d{1,2}([T ].*)?$"),
}
_SPARK_TYPES = {"long": "bigint"}
_MOST_DIGITS = 38
"""Of a decimal of Spark."""
_EXACT = 2.0**53
"""Up to here a double holds each whole number."""


def holds(wide: str, narrow: str) -> bool:
    """Whether a type holds each value of another; both are types that can be declared, or Spark's names."""
    if wide == narrow:
        return True
    one, other = (re.fullmatch(r"decimal\((\d+),(\d+)\)", type_) for type_ in (wide, narrow))
    if one and other:
        (digits, scale), (its_digits, its_scale) = map(int, one.groups()), map(int, other.groups())
        return its_scale <= scale and its_digits - its_scale <= digits - scale
    return (wide, narrow) in {("double", "long"), ("timestamp", "date")}


def widest(one: DataType, other: DataType) -> DataType:
    """The narrowest type that holds the values of two: numbers become fractions, anything else text.

    Nested columns that differ become text too, as JSON.
    """
    from pyspark.sql.types import DecimalType, DoubleType, LongType, NullType, StringType

    kinds = {one.typeName(), other.typeName()}
    if isinstance(one, NullType):
        return other
    if one.simpleString() == other.simpleString() or isinstance(other, NullType):
        return one
    if kinds <= set(WHOLE):
        return LongType()
    if kinds <= {*WHOLE, "float", "double"}:
        return DoubleType()
    if isinstance(one, DecimalType) and isinstance(other, DecimalType):
        scale = max(one.scale, other.scale)
        digits = scale + max(one.precision - one.scale, other.precision - other.scale)
        if digits <= _MOST_DIGITS:
            return DecimalType(digits, scale)
    return StringType()


@dataclass(frozen=True)
class Reading:
    """The type that a column's values are read as, and how text is written that holds them."""

    type: str
    """A type that can be declared (``READABLE``), ``decimal`` with its digits, or Spark's name of the column's own."""
    format: str | None = None
    """Spark's pattern of a date or a timestamp; ISO 8601 if left out."""
    decimal: str = "."
    """The decimal separator of numbers."""
    encoding: str | None = None
    """The encoding that a file's text was decoded from; what could not be decoded is not text."""

    @property
    def base(self) -> str:
        """The type without its digits."""
        return self.type.partition("(")[0]


def quote(column: str) -> str:
    """A column's name as Spark takes it literally, whatever characters it holds."""
    return "`" + column.replace("`", "``") + "`"


class Named(Protocol):
    """Something that has columns."""

    @property
    def columns(self) -> list[str]:
        """Their names."""


def require(rows: Named, names: Iterable[str], *, where: str, why: str = "") -> None:
    """Reject rows that lack a column with an ``InputError``, in which ``where`` names the setting and the rows."""
    for name in names:
        if name not in rows.columns:
            raise InputError(f"{where} has no column '{name}'{why}; accepted: {', '.join(rows.columns)}")


def shared(rows: DataFrame, key: list[str]) -> tuple[Any, ...] | None:
    """The values of a key that more than one row has, and how many have it; ``None`` if each row has its own."""
    count = "_".join((*key, "rows"))  # No column of the key has a name as long.
    counted = rows.groupBy(*map(quote, key)).agg(F.count(F.lit(1)).alias(count))
    found = counted.where(F.col(quote(count)) > 1).first()
    return None if found is None else tuple(found)


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


def is_dated(rows: DataFrame, column: str) -> bool:
    """Whether a column has dates or times."""
    return type_name(rows, column) in ("date", *_TIMES)


def canonical(rows: DataFrame, column: str) -> str:
    """The type that a column is kept as: whole numbers and fractions have one type each, whatever their size."""
    own = rows.schema[column].dataType
    kind = KINDS.get(own.typeName(), "")
    return kind if kind and own.typeName() not in ("decimal", "timestamp_ntz") else own.simpleString()


def converts(rows: DataFrame, column: str, reading: Reading) -> bool:
    """Whether reading a column as a type can find values that are not of it."""
    own = type_name(rows, column)
    if own in TEXT and reading.encoding:
        return True
    return canonical(rows, column) != reading.type and not (reading.type == "double" and own in (*WHOLE, "boolean"))


def read(rows: DataFrame, column: str, reading: Reading | None) -> Column:
    """A column's values as a type; NULL if there is none, or if it is not one of the type.

    Whole numbers may be written as ``3.0``; dates are ``YYYY-MM-DD``. Without a type the values stay as they are.
    """
    value, own = F.col(quote(column)), type_name(rows, column)
    if reading is None or reading.base not in READABLE:
        return value
    type_ = _SPARK_TYPES.get(reading.type, reading.type)
    if own not in READABLE[reading.base]:
        return F.lit(None).cast(type_)
    if reading.type == "string":
        return _text(value, own, reading)
    if own in TEXT:
        if reading.format:
            return F.try_to_timestamp(F.trim(value), F.lit(reading.format)).cast(type_)
        value = _written(value, reading)
    elif reading.type == "long" and own not in WHOLE:
        value = F.when(value == F.floor(value), value)
    elif reading.type == "boolean" and own in _NUMBERS:
        value = F.when(value.isin(0, 1), value)
    elif reading.type == "date" and own in _TIMES:
        value = F.when(value == F.date_trunc("day", value), value)
    found = value.try_cast(type_)
    if reading.base != "decimal":
        return found
    # A cast rounds what has more digits than the type.
    digits, scale = map(int, reading.type.removeprefix("decimal(").removesuffix(")").split(","))
    return F.when(found == value.try_cast(f"decimal(38,{38 - digits + scale})"), found)


def _written(value: Column, reading: Reading) -> Column:
    """Text that holds a value of the type as Spark casts it; NULL for other text."""
    if reading.decimal != "." and reading.base in ("long", "double", "decimal"):
        value = F.when(~value.contains("."), F.replace(value, F.lit(reading.decimal), F.lit(".")))
    form = _FORMS.get(reading.base)
    value = value if form is None else F.when(value.rlike(form), F.trim(value))
    # Not by way of a double, which is not exact.
    return F.regexp_replace(value, r"\.0*$", "") if reading.type == "long" else value


def _text(value: Column, own: str, reading: Reading) -> Column:
    if own in TEXT:
        return F.when(~value.contains(UNDECODED), value) if reading.encoding else value
    if own in ("float", "double"):
        # A column of whole numbers has fractions as soon as one value is missing.
        whole = (value == F.floor(value)) & (F.abs(value) < _EXACT)
        return F.when(whole, value.cast("bigint").cast("string")).when(~F.isnan(value), value.cast("string"))
    return value.cast("string")


def as_text(rows: DataFrame, column: str) -> Column:
    """A column's values as text, whatever their type; whole numbers have no fraction, even among fractions."""
    value, own = F.col(quote(column)), type_name(rows, column)
    return F.to_json(value) if own in NESTED else _text(value, own, Reading("string"))


def missing(rows: DataFrame, column: str, reading: Reading | None) -> Column:
    """Whether there is no value: NULL, NaN among numbers, blank text where the type is another than text."""
    value, own = F.col(quote(column)), type_name(rows, column)
    absent = value.isNull()
    if own in ("float", "double"):
        return absent | F.isnan(value)
    if own in TEXT and reading and reading.type != "string":
        bare = F.trim(value)
        numbers = reading.base in ("long", "double", "decimal")
        return absent | (bare == "") | ((F.lower(bare) == "nan") if numbers else F.lit(False))
    return absent
