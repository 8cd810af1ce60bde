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
from ml_pipeline.reports.card import Picture
from ml_pipeline.reports.rendering import render as render_template

if TYPE_CHECKING:
    from ml_pipeline.monitoring.shadow import Shadow

FILES = ("batch_report.md", "batch_report.html")


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
    def features(self) -> list[Drift]:
        """The features and the predictions, those that drifted first, and then by their index."""
        return sorted(self.drifts, key=lambda one: (not one.alarm, -one.psi))

    @property
    def predictions(self) -> list[tuple[str, float, float]]:
        """Each class with its share of the training rows' answers and of the batch's."""
        histograms = [one.histogram for one in self.drifts if one.feature == PREDICTION]
        return [
            row
            for histogram in histograms
            for row in zip(histogram.bins, shares(histogram.training), shares(histogram.batch), strict=True)
            if row[1] or row[2]
        ]

    @property
    def limits(self) -> list[Finding]:
        """Measures of the batch as a whole."""
        return [finding for finding in self.findings if finding.kind in ("quarantine", "rows", "lateness")]

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


def pictures(report: BatchReport) -> list[Picture]:
    """The distributions of the features that drifted most, and how drift went over the batches before."""
    from ml_pipeline.reports import figures

    drawn = [Picture(title="drift", png=figures.png(figures.drift(report.features)))]
    if any(len(points) > 1 for points in report.history.values()):
        history = figures.png(figures.history(report.history, limit=report.limit))
        drawn.append(Picture(title="drift_history", png=history))
    return drawn


def render(report: BatchReport, drawn: Sequence[Picture]) -> dict[str, str]:
    """The report's files by name; the page carries its pictures, the Markdown refers to none."""
    return {name: render_template(name, report=report, pictures=drawn) for name in FILES}
