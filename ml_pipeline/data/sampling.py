"""How many rows of a table the driver takes: all of them, or a sample that depends on the rows alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.data import hashing

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame

_WHOLE = "all"


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
        count = hashing.Digest.parse(fingerprint).rows
        return cls(rows=most, of=count, by=tuple(sorted(by))) if count > most else None

    @classmethod
    def parse(cls, text: str) -> Sample | None:
        """The sample that ``tag`` wrote; ``None`` if it is all rows, or if nothing was written."""
        if text in ("", _WHOLE):
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
    return json.dumps({"rows": sample.rows, "of": sample.of, "by": sample.by}) if sample else _WHOLE


def to_pandas(rows: DataFrame, columns: Sequence[Column | str], sample: Sample | None) -> pd.DataFrame:
    """Columns of the sampled rows as pandas, in the order that all rows have there."""
    if sample is None:
        return hashing.to_pandas(rows, columns)
    place = hashing.bucket(rows, [*sample.by] or rows.columns, salt="sample")
    frame = hashing.to_pandas(rows.where(place < sample.share), [*columns, place])
    least = frame.iloc[:, -1].argsort(kind="stable")[: sample.rows]
    return frame.iloc[least.sort_values(), :-1].reset_index(drop=True)
