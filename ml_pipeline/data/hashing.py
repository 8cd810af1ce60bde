"""Hashes of rows: digests of tables, sides of a split, an order and samples that depend on rows alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import NESTED, TEXT, WHOLE, infinite, may_be_infinite, quote, type_name

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame


_BUCKETS = 1_000_000
_DATED = (*TEXT, "date", "timestamp", "timestamp_ntz")
_ALL_ROWS = "all"


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

    Returns:
        The profile of each side: the present values of ``columns``, rows by the value of ``by``, and a column of
        ``finite`` that holds infinity. ``None`` if there are more than ``most`` groups.
    """

    def present(name: str) -> Column:
        value = F.col(quote(name))
        return F.count(F.when(~F.isnan(value), value) if may_be_infinite(rows, name) else value)

    # The sum is the same in any order, and unlike a xor it doesn't lose a row that occurs twice. It is in three parts
    # that don't overflow: Spark adds longs many times faster than decimals.
    hashed = F.xxhash64(*hashable(rows))
    parts = [F.shiftright(hashed, 44), *(F.shiftright(hashed, bits).bitwiseAND(2**22 - 1) for bits in (22, 0))]
    schema = F.xxhash64(F.lit(rows.schema.simpleString()))
    # One number for all columns: a table may have hundreds. For a text, Spark would sort the rows by group.
    ordered = sorted(finite)
    places = [F.when(infinite(name), F.lit(ordered.index(name))) for name in finite if may_be_infinite(rows, name)]
    worst = F.max(F.coalesce(*places, F.lit(None).cast("int")))
    counts = (F.count(F.lit(1)), *map(F.sum, parts), F.first(schema), worst, *map(present, columns))
    found = rows.groupBy(sides, by).agg(*counts).limit(2 * most + 1).collect()
    if len({group for _, group, *_ in found}) > most:
        return None
    return {side: _sum_up([row for row in found if row[0] is side], columns, ordered) for side in (True, False)}


def _sum_up(found: Sequence[Sequence[Any]], columns: Sequence[str], finite: Sequence[str]) -> Profile:
    content = sum((row[3] << 44) + (row[4] << 22) + row[5] for row in found)
    worst = next((finite[row[7]] for row in found if row[7] is not None), None)
    counts = {name: sum(row[at] for row in found) for at, name in enumerate(columns, 8)}
    groups = {row[1]: row[2] for row in found}
    hash_ = f"{content % 2**64:016x}{found[0][6] % 2**64:016x}" if found else ""
    return Profile(Digest(sum(groups.values()), hash_), counts, groups, worst)


def hashable(rows: DataFrame) -> list[Column]:
    """The columns by name, as Spark can hash them; it hashes no map."""
    return [
        F.to_json(F.struct(quote(name))) if type_name(rows, name) in NESTED else F.col(quote(name))
        for name in sorted(rows.columns)
    ]


def bucket(rows: DataFrame, columns: list[str], *, salt: str) -> Column:
    """A number in [0, 1) for each row, from a hash of its values alone.

    The hash takes the values as canonical text, so that it stays the same when a later row widens a column's type: 1,
    1.0 and "1" are the same, and so are a date, its midnight and the text of either.

    The order in which the columns are given plays no role. Another salt gives another, independent number.
    """

    def canonical(name: str) -> Column:
        value = F.col(quote(name))
        if type_name(rows, name) in NESTED:
            return F.to_json(F.struct(value))
        text = value.cast("string")
        number = value.cast("double") if type_name(rows, name) in WHOLE else text.try_cast("double")
        # Adding zero turns -0.0 into 0.0.
        forms = [(number + F.lit(0.0)).cast("string"), F.lower(F.trim(text)), F.lit("\0")]
        if type_name(rows, name) in _DATED:
            # A time without a date would be one of today.
            dated = F.when(F.trim(text).rlike(r"^\d{4}-\d{1,2}-\d{1,2}([ Tt]|$)"), text.try_cast("timestamp"))
            forms.insert(1, dated.cast("string"))
        return F.coalesce(*forms)

    digest = F.xxhash64(F.lit(salt), *(canonical(name) for name in sorted(columns)))
    return F.pmod(digest, F.lit(_BUCKETS)) / F.lit(float(_BUCKETS))


def to_pandas(rows: DataFrame, columns: Sequence[Column | str], *, order_by: list[str] | None = None) -> pd.DataFrame:
    """Columns of the rows as pandas, in an order that depends on the rows alone and not on how Spark read them.

    The order is that of a hash of the columns in ``order_by``, or of all columns of the rows.
    """
    hashed = rows.select(*map(quote, order_by)) if order_by else rows
    frame = rows.select(*columns, F.xxhash64(*hashable(hashed))).toPandas()
    # By its place: whatever its name, a column of the rows may have it too.
    order = frame.iloc[:, -1].argsort(kind="stable")
    return frame.iloc[order, :-1].reset_index(drop=True)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows that stand for all rows of a table: those whose hash is the least.

    Rows that come later push some of them out, and leave the others.
    """

    rows: int
    of: int
    by: tuple[str, ...]
    """The columns that are hashed; all where empty."""

    @classmethod
    def needed(cls, fingerprint: str, *, most: int, by: Sequence[str]) -> Sample | None:
        """The sample to take of rows with this fingerprint; ``None`` where all of them may be taken."""
        count = Digest.parse(fingerprint).rows
        return cls(rows=most, of=count, by=tuple(sorted(by))) if count > most else None

    @classmethod
    def parse(cls, text: str) -> Sample | None:
        """The sample that ``tag`` wrote; ``None`` if it is all rows, or if nothing was written."""
        if text in ("", _ALL_ROWS):
            return None
        kept = json.loads(text)
        return cls(rows=kept["rows"], of=kept["of"], by=tuple(kept["by"]))

    @property
    def share(self) -> float:
        """Share of the rows whose hash is looked at: a few too many, since a hash is not spread quite evenly."""
        return (self.rows + 6 * math.sqrt(self.rows) + 6) / self.of

    def __str__(self) -> str:
        by = ", ".join(self.by) or "the whole row"
        return f"{self.rows:,} of {self.of:,} rows, sampled by a hash of {by}"


def tag(sample: Sample | None) -> str:
    """A sample as it is kept with a run: runs with the same fingerprint and the same tag saw the same rows."""
    return json.dumps({"rows": sample.rows, "of": sample.of, "by": sample.by}) if sample else _ALL_ROWS


def sampled(rows: DataFrame, columns: Sequence[Column | str], sample: Sample | None) -> pd.DataFrame:
    """Columns of the sampled rows as pandas, in the order that all rows have there."""
    if sample is None:
        return to_pandas(rows, columns)
    place = bucket(rows, [*sample.by] or rows.columns, salt="sample")
    frame = to_pandas(rows.where(place < sample.share), [*columns, place])
    least = frame.iloc[:, -1].argsort(kind="stable")[: sample.rows]
    return frame.iloc[least.sort_values(), :-1].reset_index(drop=True)
