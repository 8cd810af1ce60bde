"""Columns: their quoted names, and the numbers that scikit-learn accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


LARGEST = 3.4028234663852886e38
"""The greatest finite number of 32 bits: scikit-learn's trees refuse what lies beyond, as they refuse infinity."""
INFINITE = f"holds infinity, or a number beyond {LARGEST:.2g}; accepted: finite numbers, or no value"


def with_constants(rows: DataFrame, **values: str | int) -> DataFrame:
    """Add columns that hold the same value in each row."""
    from pyspark.sql import functions as F

    return rows.withColumns({name: F.lit(value) for name, value in values.items()})


def quote(column: str) -> str:
    """A column's name as Spark takes it literally, whatever characters it holds."""
    return "`" + column.replace("`", "``") + "`"


def may_be_infinite(rows: DataFrame, name: str) -> bool:
    """Whether a column has a type that holds infinity."""
    return rows.schema[name].dataType.typeName() in ("float", "double")


def infinite(name: str) -> Column:
    """Whether a column of fractions holds infinity, or a number beyond ``LARGEST``."""
    from pyspark.sql import functions as F

    value = F.col(quote(name))
    # To Spark, NaN is greater than any number.
    return ~F.isnan(value) & (F.abs(value) > LARGEST)


def finite(rows: DataFrame, name: str, *, where: str) -> Column:
    """A column's values, of which an infinite one ends whatever reads them; ``reading`` says why."""
    from pyspark.sql import functions as F

    value = F.col(quote(name))
    if not may_be_infinite(rows, name):
        return value
    return F.when(infinite(name), F.raise_error(F.lit(f"column '{name}' of {where} {INFINITE}"))).otherwise(value)
