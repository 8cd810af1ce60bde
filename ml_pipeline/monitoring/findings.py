"""What is measured of a batch, whether that is past its limit, and the table that keeps it: a row for each measure."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ml_pipeline.data import batches, session, tables
from ml_pipeline.data.histograms import Histogram
from ml_pipeline.monitoring.drift import Drift, missing_chance
from ml_pipeline.names import BATCH_COLUMN, PREDICTION

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
    """``None`` where it can't be measured; ``detail`` gives the reason."""
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


def drift(drifts: Sequence[Drift], limit: float) -> list[Finding]:
    """How far each feature, and the predictions, lie from the training rows."""
    measures = []
    for one in drifts:
        of: dict[str, Any] = {"kind": "drift", "feature": one.feature, "rows": int(one.histogram.batch.sum())}
        who = _who(one.feature, "have", "has")
        detail = f"{who} drifted (population stability index {one.psi:.2f} > {limit:g})" if one.alarm else ""
        index: dict[str, Any] = {"measure": "psi", "value": one.psi, "threshold": limit, "p_value": one.p_value}
        measures.append(Finding(**of, **index, alarm=one.alarm, detail=detail))
        others = {"jensen_shannon": one.jensen_shannon, "wasserstein": one.wasserstein}
        measures += [Finding(**of, measure=name, value=value) for name, value in others.items() if value is not None]
    return measures


def missing(compared: Sequence[Histogram], limit: float, significance: float) -> list[Finding]:
    """Share of missing values of each feature; past the limit where chance does not explain it (Bonferroni)."""
    measures = []
    for one in compared:
        before, now = one.missing
        p_value = missing_chance(one) if now - before > limit else 1.0
        who = _who(one.feature, "is", "is")
        finding = Finding(
            kind="missing",
            feature=one.feature,
            measure="missing_share",
            value=now,
            threshold=before + limit,
            alarm=now - before > limit and p_value < significance / len(compared),
            p_value=p_value,
            rows=int(one.batch[-1]),
            of_rows=int(one.batch.sum()),
        )
        detail = f"{now:.1%} of {who} missing, {before:.1%} of the training rows' (increase > {limit:.1%})"
        measures.append(replace(finding, detail=detail) if finding.alarm else finding)
    return measures


def _who(feature: str, plural: str, singular: str) -> str:
    return f"the predictions {plural}" if feature == PREDICTION else f"feature '{feature}' {singular}"


def quarantine(rows: int, set_aside: int, limit: float) -> Finding:
    """Share of the batch's rows that were quarantined."""
    share = set_aside / (set_aside + rows)
    detail = f"{share:.1%} of the rows were quarantined (> {limit:.1%})"
    of: dict[str, Any] = {"kind": "quarantine", "rows": set_aside, "of_rows": set_aside + rows}
    return _limited("quarantine_share", share, limit, detail, **of)


def row_count(rows: int, before: Sequence[float], limit: float) -> Finding:
    """Rows of the batch, against the median of the batches before once there are enough of them."""
    finding = Finding(kind="rows", measure="rows", value=rows, rows=rows)
    if len(before) < FEWEST:
        return finding
    usual = statistics.median(before)
    alarm = abs(rows - usual) > limit * usual
    detail = f"{rows:,} rows, where {usual:,.0f} are usual (a change of more than {limit:.0%})" if alarm else ""
    nearest = usual * (1 + limit) if rows > usual else usual * (1 - limit)
    return replace(finding, threshold=nearest, alarm=alarm, detail=detail)


def lateness(day: datetime.date, committed: datetime.datetime, limit: float | None) -> Finding:
    """Hours from the end of the batch's day (UTC) until its predictions were there; none where they were early."""
    ended = datetime.datetime.combine(day, datetime.time(), datetime.UTC) + datetime.timedelta(days=1)
    # Spark hands a time over in this machine's time zone, without saying so.
    hours = max(0.0, (committed.astimezone(datetime.UTC) - ended).total_seconds() / 3600)
    detail = f"the predictions came {hours:.1f} hours after the end of the day (> {limit or 0:g})"
    return _limited("hours", hours, limit, detail, kind="lateness")


def _limited(measure: str, value: float, limit: float | None, detail: str, **others: Any) -> Finding:
    alarm = limit is not None and value > limit
    return Finding(measure=measure, value=value, threshold=limit, alarm=alarm, detail=detail if alarm else "", **others)


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
    return str(batches.replace(rows, table, value=day.isoformat()))


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
