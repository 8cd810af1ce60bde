"""Which rows go to which side of a split: a hash of each row decides, so that a row stays on its side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ml_pipeline.data import functions as F
from ml_pipeline.data import hashing, tables

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_MOST_STRATA = 1001
"""More classes are an error that ``features.check`` reports."""
_EXACT = 100_000
"""Up to so many different rows of a class its share is exact, to one row."""


def chosen(
    rows: DataFrame, columns: list[str], *, salt: str, share: float, stratify: str, inside: str, outside: str
) -> Column:
    """Whether a row is on the side that has this share of the rows.

    A row is on the side if the hash of its columns is below a limit: the share, or with ``stratify`` the quantile of
    its class. Rows that were split before stay on their sides: of each class, the limit lies above the hashes of all
    rows that are on the side, and below those of the others. Only a row that changes its class can change its side.

    Args:
        rows: All rows.
        columns: What is hashed.
        salt: Makes the choice independent of others.
        share: Of the rows, between 0 and 1.
        stratify: The column with the class; empty if classes don't matter.
        inside: Table that holds the side, if there was a split before.
        outside: Table that holds the other side.
    """
    number = hashing.bucket(rows, columns, salt=salt)
    if not stratify:
        return number < share
    wanted = _by_class(rows, stratify, F.percentile_approx(number, F.lit(share), F.lit(_EXACT)))
    least = _before(inside, columns, stratify, salt, F.max)
    most = _before(outside, columns, stratify, salt, F.min)
    limits = {
        stratum: max(min(limit, math.nextafter(most.get(stratum, 1.0), 0.0)), least.get(stratum, 0.0))
        for stratum, limit in wanted.items()
    }
    pairs = [F.lit(value) for pair in limits.items() for value in pair]
    if not pairs:
        return number < share
    return number <= F.coalesce(F.try_element_at(F.create_map(*pairs), _stratum(rows, stratify)), F.lit(share))


def _stratum(rows: DataFrame, target: str) -> Column:
    """A class by its hash, which stays the same if the type of the target is widened."""
    return hashing.bucket(rows, [target], salt="stratum")


def _by_class(rows: DataFrame, target: str, value: Column) -> dict[float, float]:
    groups = rows.groupBy(_stratum(rows, target)).agg(value).limit(_MOST_STRATA)
    return {stratum: limit for stratum, limit in groups.collect() if stratum is not None}


def _before(
    table: str, columns: list[str], target: str, salt: str, bound: Callable[[Column], Column]
) -> dict[float, float]:
    if not tables.exists(table):
        return {}
    rows = tables.read(table)
    if not {*columns, target} <= {*rows.columns}:
        return {}
    return _by_class(rows, target, bound(hashing.bucket(rows, columns, salt=salt)))
