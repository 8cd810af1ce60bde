"""The limits of a batch: what is measured of it, and whether that is past what is allowed."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence

from ml_pipeline.data.histograms import Histogram
from ml_pipeline.monitoring.drift import Drift, missing_chance
from ml_pipeline.monitoring.findings import FEWEST, Finding
from ml_pipeline.names import PREDICTION


def drift(drifts: Sequence[Drift], limit: float) -> list[Finding]:
    """How far each feature, and the predictions, lie from the training rows."""
    measures = []
    for one in drifts:
        who = "the predictions have" if one.feature == PREDICTION else f"feature '{one.feature}' has"
        detail = f"{who} drifted (population stability index {one.psi:.2f} > {limit:g})" if one.alarm else ""
        rows = int(one.histogram.batch.sum())
        measures.append(
            Finding(
                kind="drift",
                feature=one.feature,
                measure="psi",
                value=one.psi,
                threshold=limit,
                alarm=one.alarm,
                p_value=one.p_value,
                rows=rows,
                detail=detail,
            )
        )
        others = {"jensen_shannon": one.jensen_shannon, "wasserstein": one.wasserstein}
        measures += [
            Finding(kind="drift", feature=one.feature, measure=name, value=value, rows=rows)
            for name, value in others.items()
            if value is not None
        ]
    return measures


def missing(compared: Sequence[Histogram], limit: float, significance: float) -> list[Finding]:
    """Share of missing values of each feature; past the limit where chance does not explain it (Bonferroni)."""
    measures = []
    for one in compared:
        before, now = one.missing
        increase = now - before
        p_value = missing_chance(one) if increase > limit else 1.0
        alarm = increase > limit and p_value < significance / len(compared)
        who = "the predictions" if one.feature == PREDICTION else f"feature '{one.feature}'"
        measures.append(
            Finding(
                kind="missing",
                feature=one.feature,
                measure="missing_share",
                value=now,
                threshold=before + limit,
                alarm=alarm,
                p_value=p_value,
                rows=int(one.batch[-1]),
                of_rows=int(one.batch.sum()),
                detail=f"{now:.1%} of {who} is missing, {before:.1%} of the training rows' (increase > {limit:.1%})"
                if alarm
                else "",
            )
        )
    return measures


def quarantine(rows: int, set_aside: int, limit: float) -> Finding:
    """Share of the batch's rows that were set aside."""
    share = set_aside / (set_aside + rows)
    return Finding(
        kind="quarantine",
        measure="quarantine_share",
        value=share,
        threshold=limit,
        alarm=share > limit,
        rows=set_aside,
        of_rows=set_aside + rows,
        detail=f"{share:.1%} of the rows were set aside (> {limit:.1%})" if share > limit else "",
    )


def row_count(rows: int, before: Sequence[float], limit: float) -> Finding:
    """Rows of the batch, against the median of the batches before once there are enough of them."""
    finding = Finding(kind="rows", measure="rows", value=rows, rows=rows)
    if len(before) < FEWEST:
        return finding
    usual = statistics.median(before)
    alarm = abs(rows - usual) > limit * usual
    detail = f"{rows:,} rows, where {usual:,.0f} are usual (a change of more than {limit:.0%})" if alarm else ""
    nearest = usual * (1 + limit) if rows > usual else usual * (1 - limit)
    return Finding(kind="rows", measure="rows", value=rows, rows=rows, threshold=nearest, alarm=alarm, detail=detail)


def lateness(day: datetime.date, committed: datetime.datetime, limit: float | None) -> Finding:
    """Hours from the end of the batch's day (UTC) until its predictions were there; none where they were early."""
    ended = datetime.datetime.combine(day, datetime.time(), datetime.UTC) + datetime.timedelta(days=1)
    # Spark hands a time over in this machine's time zone, without saying so.
    hours = max(0.0, (committed.astimezone(datetime.UTC) - ended).total_seconds() / 3600)
    late = limit is not None and hours > limit
    detail = f"the predictions came {hours:.1f} hours after the end of the day (> {limit:g})" if late else ""
    return Finding(kind="lateness", measure="hours", value=hours, threshold=limit, alarm=late, detail=detail)
