"""The report of a batch, as Markdown and as one self-contained HTML page, both from the same data.

It holds figures, pictures and the verdict; no row of data.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.data.histograms import shares
from ml_pipeline.monitoring.drift import Drift
from ml_pipeline.monitoring.findings import Finding
from ml_pipeline.names import FAILED, PASSED, PREDICTION
from ml_pipeline.reports.plots import Axis, Mark, Plot, Point, trend
from ml_pipeline.reports.rendering import render as render_template

if TYPE_CHECKING:
    from ml_pipeline.monitoring.shadow import Shadow

FILES = ("batch_report.md", "batch_report.html")
_LABELS = {
    "rows": "scored rows",
    "quarantine_share": "quarantined rows",
    "hours": "hours until the predictions were there",
}
_MOST_SERIES = 6


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """The content of the report of one batch."""

    model: str
    model_version: int
    run_id: str
    """The training run of the model."""
    day: datetime.date
    rows: int
    quarantined: int
    reasons: Mapping[str, int]
    """The commonest reasons of the quarantine, and how many rows have each."""
    findings: Sequence[Finding]
    drifts: Sequence[Drift]
    history: Mapping[str, Sequence[tuple[datetime.date, float]]]
    """For each feature the population stability index of this batch and of those before, the greatest first."""
    limit: float
    """Population stability index past which a feature has drifted."""
    shadow: Shadow | None = None
    """How a challenger answered to the same rows."""

    @property
    def alarms(self) -> list[str]:
        """What is past its limit, in words."""
        return [finding.detail for finding in self.findings if finding.alarm]

    @property
    def verdict(self) -> str:
        """``passed`` or ``failed``."""
        return FAILED if self.alarms else PASSED

    @property
    def drifted(self) -> list[str]:
        """The features that drifted, by name."""
        return [label(one) for one in self.features if one.alarm]

    @property
    def features(self) -> list[Drift]:
        """The features and the predictions, those that drifted first, and then by their index."""
        return sorted(self.drifts, key=lambda one: (not one.alarm, -one.psi))

    @property
    def predictions(self) -> list[tuple[str, float, float]]:
        """Each class with its share of the training rows' predictions and of the batch's."""
        return [row for one in self.drifts if one.feature == PREDICTION for row in bins(one)]

    @property
    def limits(self) -> list[tuple[str, str, str, bool]]:
        """Measures of the batch as a whole: a label, the value, its limit, and whether it is past that."""
        shown = [finding for finding in self.findings if finding.kind in ("quarantine", "rows", "lateness")]
        return [
            (_LABELS[one.measure], _amount(one, one.value), _amount(one, one.threshold), one.alarm) for one in shown
        ]

    @property
    def trends(self) -> list[tuple[str, Axis, list[Point]]]:
        """For each feature that has a history its name, and its index over the batches on the scale that all share."""
        series = {name: points for name, points in list(self.history.items())[:_MOST_SERIES] if len(points) > 1}
        axis = Axis.around([0.0, self.limit, *(value for points in series.values() for _, value in points)], ticks=2)
        return [
            (_named(name), axis, trend([(value, "", str(day)) for day, value in points], axis))
            for name, points in series.items()
        ]

    @property
    def realised_plot(self) -> Plot:
        """The realised metric of each batch, with its interval."""
        marks = [
            Mark(
                label=f"{one.scored_date}, version {one.scored_version}",
                value=one.value,
                low=one.low,
                high=one.high,
                kind="mine",
            )
            for one in self.realised
            if one.value is not None
        ]
        return Plot(title="", marks=marks, limit=None)

    @property
    def realised(self) -> list[Finding]:
        """The batches whose labels have arrived."""
        return [finding for finding in self.findings if finding.kind == "performance"]

    @property
    def by_version(self) -> list[tuple[int, float, int]]:
        """Each model version with its metric, the mean of the batches above weighted by their labels, and how many."""
        sums: dict[int, list[tuple[float, int]]] = defaultdict(list)
        for finding in self.realised:
            if finding.value is not None and finding.scored_version is not None:
                sums[finding.scored_version].append((finding.value, finding.rows or 0))
        totals = {version: sum(rows for _, rows in values) for version, values in sums.items()}
        return [
            (version, sum(value * rows for value, rows in sums[version]) / total, total)
            for version, total in sorted(totals.items())
        ]


def label(drift: Drift) -> str:
    """The name of what drifted, as a person knows it."""
    return _named(drift.feature)


def _named(feature: str) -> str:
    return "predictions" if feature == PREDICTION else feature


def bins(drift: Drift) -> list[tuple[str, float, float]]:
    """The bins of a feature in words, with their share of the training rows and of the batch; empty ones left out."""
    one = drift.histogram
    rows = zip(one.bins, shares(one.training), shares(one.batch), strict=True)
    return [(name, float(before), float(now)) for name, before, now in rows if before or now]


def _amount(finding: Finding, value: float | None) -> str:
    if value is None:
        return ""
    if finding.measure == "quarantine_share":
        rows = (
            f" ({finding.rows:,} of {finding.of_rows:,})" if finding.rows is not None and value == finding.value else ""
        )
        return f"{value:.1%}{rows}"
    return f"{value:,.0f}" if finding.measure == "rows" else f"{value:.1f}"


def pictures(report: BatchReport) -> dict[str, bytes]:
    """Pictures for MLflow, by file name: the features that drifted most, and drift over the batches before."""
    from ml_pipeline.reports import figures

    drawn = {"drift.png": figures.png(figures.drift(report.features))}
    if report.trends:
        drawn["drift_history.png"] = figures.png(figures.history(report.history, limit=report.limit))
    return drawn


def render(report: BatchReport) -> dict[str, str]:
    """The report's files by name."""
    return {name: render_template(name, report=report, label=label, bins=bins) for name in FILES}
