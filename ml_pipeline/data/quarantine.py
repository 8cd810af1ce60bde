"""The rows of a batch that failed their checks, and why."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from ml_pipeline.data import tables
from ml_pipeline.names import BATCH_COLUMN, REASONS

_MOST_REASONS = 10
_EVERY_ROW = ""


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """A batch's rows that were set aside."""

    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """The commonest reasons, and how many rows have each."""


def read(table: str, day: datetime.date) -> Quarantine:
    """Count the rows of a batch in the quarantine table."""
    from pyspark.sql import functions as F

    if not tables.exists(table):
        return Quarantine()
    rows = tables.read(table).where(f"{BATCH_COLUMN} = DATE'{day}'")
    # Each row counts once for itself, and once for each of its reasons: one pass tells both.
    reasons = F.concat(F.array(F.lit(_EVERY_ROW)), F.coalesce(REASONS, F.array().cast("array<string>")))
    counted = rows.select(F.explode(reasons).alias("reason")).groupBy("reason").count()
    common = counted.orderBy(F.col("count").desc(), "reason").limit(_MOST_REASONS + 1).collect()
    counts = {row["reason"]: int(row["count"]) for row in common}
    return Quarantine(rows=counts.pop(_EVERY_ROW, 0), reasons=counts)
