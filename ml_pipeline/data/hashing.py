"""Hashes of rows: digests of tables, sides of a split, an order that depends on rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.data.columns import infinite, may_be_infinite, quote

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame


_BUCKETS = 1_000_000


@dataclass(frozen=True)
class Digest:
    """What rows are, in any order: how many, and a hash of all of them and of their columns."""

    rows: int
    hash: str

    @property
    def text(self) -> str:
        """As it is kept with a table's commit."""
        return f"{self.rows}-{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """What was kept with a commit."""
        rows, _, hash_ = text.partition("-")
        return cls(int(rows), hash_)


@dataclass(frozen=True)
class Profile:
    """What one pass over rows tells of them."""

    digest: Digest
    present: dict[str, int]
    """For each column that was asked for, how many rows have a value (which NaN is not)."""
    groups: dict[Any, int]
    """For each value of what the rows are grouped by, how many have it."""
    infinite: str | None
    """A column, of those that must not, that holds infinity or a number beyond ``LARGEST``."""


def profile(
    rows: DataFrame, sides: Column, *, columns: Sequence[str], by: Column, most: int, finite: Sequence[str] = ()
) -> dict[bool, Profile] | None:
    """Digest both sides of a split, and count values, in one pass.

    Args:
        rows: The rows.
        sides: Whether a row is on the one side or on the other.
        columns: Columns whose values are counted.
        by: What the rows are grouped by.
        most: How many groups there may be.
        finite: Columns that must not hold infinity.

    Returns:
        The profile of each side; ``None`` where there are more groups.
    """
    from pyspark.sql import functions as F

    def present(name: str) -> Column:
        value = F.col(quote(name))
        return F.count(F.when(~F.isnan(value), value) if may_be_infinite(rows, name) else value)

    # The sum is the same in any order, and unlike a xor it doesn't lose a row that occurs twice.
    content = F.sum(F.xxhash64(*hashable(rows)).cast("decimal(38,0)"))
    schema = F.xxhash64(F.lit(rows.schema.simpleString()))
    # One name for all columns, rather than a count of each: a table may have hundreds.
    named = [F.when(infinite(name), F.lit(name)) for name in finite if may_be_infinite(rows, name)]
    worst = F.max(F.coalesce(*named, F.lit(None).cast("string")))
    counts = (F.count(F.lit(1)), content, F.first(schema), worst, *map(present, columns))
    grouped = rows.groupBy(sides, by).agg(*counts)
    found = grouped.limit(2 * most + 1).collect()
    if len({group for _, group, *_ in found}) > most:
        return None
    return {side: _sum_up([row for row in found if row[0] is side], columns) for side in (True, False)}


def _sum_up(found: Sequence[Sequence[Any]], columns: Sequence[str]) -> Profile:
    content, counts = 0, dict.fromkeys(columns, 0)
    for _, _, _, summed, _, _, *present in found:
        content += int(summed)
        counts = {name: counts[name] + count for name, count in zip(columns, present, strict=True)}
    groups = {group: count for _, group, count, *_ in found}
    worst = next((row[5] for row in found if row[5] is not None), None)
    hash_ = f"{content % 2**64:016x}{found[0][4] % 2**64:016x}" if found else ""
    return Profile(Digest(sum(groups.values()), hash_), counts, groups, worst)


def hashable(rows: DataFrame) -> list[Column]:
    """The columns by name, as Spark can hash them; it hashes no map."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType

    nested = (ArrayType, MapType, StructType)
    return [
        F.to_json(F.struct(quote(field.name))) if isinstance(field.dataType, nested) else F.col(quote(field.name))
        for field in sorted(rows.schema, key=lambda field: field.name)
    ]


def bucket(rows: DataFrame, columns: list[str], *, salt: str) -> Column:
    """A number in [0, 1) for each row, from a hash of its values alone.

    The hash takes the values as canonical text, so that it stays the same when a later row widens a column's type: 1,
    1.0 and "1" are the same, and so are a date, its midnight and the text of either.

    Args:
        rows: The rows.
        columns: Columns that decide; the order in which they are given plays no role.
        salt: Another salt gives another, independent number.
    """
    from pyspark.sql import functions as F

    def canonical(name: str) -> Column:
        value = F.col(quote(name))
        if rows.schema[name].dataType.typeName() in ("array", "map", "struct"):
            return F.to_json(F.struct(value))
        text = value.cast("string")
        # Adding zero turns -0.0 into 0.0.
        number = (text.try_cast("double") + F.lit(0.0)).cast("string")
        forms = [number, F.lower(F.trim(text)), F.lit("\0")]
        if rows.schema[name].dataType.typeName() in ("string", "varchar", "char", "date", "timestamp", "timestamp_ntz"):
            # A time without a date would be one of today.
            dated = F.when(F.trim(text).rlike(r"^\d{4}-\d{1,2}-\d{1,2}([ Tt]|$)"), text.try_cast("timestamp"))
            forms.insert(1, dated.cast("string"))
        return F.coalesce(*forms)

    digest = F.xxhash64(F.lit(salt), *(canonical(name) for name in sorted(columns)))
    return F.pmod(digest, F.lit(_BUCKETS)) / F.lit(float(_BUCKETS))


def to_pandas(rows: DataFrame, columns: Sequence[Column | str], *, order_by: list[str] | None = None) -> pd.DataFrame:
    """Columns of the rows as pandas, in an order that depends on the rows alone and not on how Spark read them.

    Args:
        rows: The rows.
        columns: What to take of them.
        order_by: The columns whose hash gives the order; all where left out.
    """
    from pyspark.sql import functions as F

    hashed = rows.select(*map(quote, order_by)) if order_by else rows
    frame = rows.select(*columns, F.xxhash64(*hashable(hashed))).toPandas()
    # By its place: whatever its name, a column of the rows may have it too.
    order = frame.iloc[:, -1].argsort(kind="stable")
    return frame.iloc[order, :-1].reset_index(drop=True)
