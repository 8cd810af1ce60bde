"""What is found of a batch, and the table that keeps it: a row for each measure."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.data import session, tables
from ml_pipeline.names import BATCH_COLUMN

if TYPE_CHECKING:
    import pandas as pd

_SCHEMA = (
    "model_version bigint, run_id string, kind string, feature string, measure string, value double, "
    "threshold double, alarm boolean, p_value double, low double, high double, rows bigint, of_rows bigint, "
    "scored_date date, scored_version bigint, detail string, job_run_id string, monitored_at timestamp"
)
_WINDOW = datetime.timedelta(days=60)
"""How far back batches are looked at, so that a long history costs no more than a short one …"""
FEWEST = 3
"""… where it holds so many batches; else, all of them are."""
HISTORY = 30
"""Batches before this one that it is compared with at most."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One measure of a batch."""

    kind: str
    """``drift``, ``missing``, ``quarantine``, ``rows``, ``lateness`` or ``performance``."""
    measure: str
    value: float | None
    """``None`` where it can't be measured; ``detail`` says why."""
    threshold: float | None = None
    """The limit that the measure has."""
    alarm: bool = False
    """Whether it is past the limit."""
    feature: str | None = None
    p_value: float | None = None
    """Probability of such a value by chance."""
    low: float | None = None
    high: float | None = None
    """Bounds of the value's interval."""
    rows: int | None = None
    """Rows that the value is of."""
    of_rows: int | None = None
    """Rows that there are."""
    scored_date: datetime.date | None = None
    """Of a performance: the batch whose labels have arrived."""
    scored_version: int | None = None
    """Of a performance: the version of the model that scored that batch."""
    detail: str = ""
    """The finding in words."""


def write(
    findings: Sequence[Finding], table: str, *, day: datetime.date, model_version: int, run_id: str, job_run_id: str
) -> str:
    """Keep what is found of a batch, in one commit, in place of what was found of it before.

    Returns:
        How many rows were written, in which version.
    """
    import pandas as pd

    frame = pd.DataFrame([asdict(finding) for finding in findings]).astype(object)
    frame = frame.where(frame.notna(), None)
    now = datetime.datetime.now(datetime.UTC)
    frame = frame.assign(model_version=model_version, run_id=run_id, job_run_id=job_run_id, monitored_at=now)
    names = [column.split(" ")[0] for column in _SCHEMA.split(", ")]
    rows = session.spark().createDataFrame(frame[names], _SCHEMA).coalesce(1)
    return str(tables.replace_batch(rows, table, column=BATCH_COLUMN, value=day.isoformat()))


def before(table: str, day: datetime.date) -> pd.DataFrame | None:
    """Row counts and drift of the batches before a day, the oldest first; ``None`` where there are none."""
    if not tables.exists(table):
        return None
    earlier = tables.read(table).where(f"{BATCH_COLUMN} < DATE'{day}' AND measure IN ('rows', 'psi')")
    earlier = earlier.select(BATCH_COLUMN, "measure", "feature", "value")
    history = earlier.where(f"{BATCH_COLUMN} >= DATE'{day - _WINDOW}'").toPandas()
    if history[BATCH_COLUMN].nunique() < FEWEST:
        history = earlier.toPandas()
    recent = sorted(history[BATCH_COLUMN].unique())[-HISTORY:]
    return history[history[BATCH_COLUMN].isin(recent)].sort_values(BATCH_COLUMN, kind="stable")


def performances(table: str, day: datetime.date) -> list[dict[str, Any]]:
    """What other batches' runs recorded of realised performance."""
    if not tables.exists(table):
        return []
    # Delta knows of each file whether the column has a value in it, and reads no other.
    kept = tables.read(table).where(f"scored_date IS NOT NULL AND {BATCH_COLUMN} <> DATE'{day}'")
    columns = ("scored_date", "scored_version", "measure", "value", "low", "high", "rows", "of_rows", "detail")
    return [row.asDict() for row in kept.select(*columns).collect()]
