"""How a challenger in shadow does beside the champion on the same rows, and whether it may be promoted."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest, hypergeom

from ml_pipeline.data.features import Features
from ml_pipeline.data.outcomes import ClassCounts, ShadowBatch
from ml_pipeline.names import FAILED, PASSED
from ml_pipeline.registry import models

_MOST_RANGES = 10


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """How a challenger did on one batch."""

    version: int
    rows: int
    agreed: int
    interval: tuple[float, float]
    """Of the share of rows on which both agree (Wilson's score interval, Wilson 1927)."""
    by_class: list[dict[str, Any]]
    """Rows and agreement by class, as the report shows them."""
    by_feature: list[dict[str, Any]]
    """Where they agree less than elsewhere, by more than chance; the worst first."""
    reasons: tuple[str, ...]
    """Why it may not be promoted."""

    @property
    def verdict(self) -> str:
        """Whether it may be promoted: ``passed`` or ``failed``."""
        return FAILED if self.reasons else PASSED

    @property
    def reason(self) -> str:
        """The verdict in words."""
        agreed = f"version {self.version} agrees with the champion on {self.agreed:,} of {self.rows:,} rows"
        return "; ".join((agreed, *self.reasons)) if self.reasons else f"{agreed}; it may be promoted"

    @property
    def agreement(self) -> float:
        """Share of rows on which both agree."""
        return self.agreed / self.rows


def _class_cells(kind: str, row: ClassCounts) -> dict[str, Any]:
    cells = {kind: row.name} | _shares(row.rows, row.agreed)
    if row.champion_right is None:
        return cells
    return cells | {"only champion right": row.champion_right, "only challenger right": row.challenger_right}


def _shares(rows: int, agreed: int) -> dict[str, Any]:
    return {"rows": f"{rows:,}", "differ": f"{rows - agreed:,}", "agreement": f"{agreed / rows:.1%}"}


def compare(
    shadow_table: str, day: datetime.date, *, target: str, minimum_agreement: float, significance: float
) -> Shadow | None:
    """Compare what champion and challenger said of one batch; ``None`` where no challenger scored it.

    The challenger's version is tagged with the verdict.

    Rows without a true class are judged by agreement alone, whose interval's lower bound must reach the minimum. The
    significance is the probability of calling a challenger worse that is not, over all classes, and one minus the
    interval's confidence.
    """
    batch = ShadowBatch.read(shadow_table, day, target=target)
    if batch is None:
        return None
    classes = batch.classes(target)
    total, agreed = sum(row.rows for row in classes), sum(row.agreed for row in classes)
    low, high = binomtest(agreed, total).proportion_ci(1 - significance, method="wilson")
    kind = "true class" if batch.labelled else "class by the champion"
    reasons = [
        f"worse on class '{row.name}': there the champion alone is right on {row.champion_right:,} rows, "
        f"it alone on {row.challenger_right:,}"
        for row in classes
        if _worse(row, significance / len(classes))
    ]
    if low < minimum_agreement:
        reasons.insert(0, f"that may be as few as {low:.1%}, below the minimum agreement {minimum_agreement:.1%}")
    signature = models.signature(f"models:/{batch.model}/{batch.version}")
    shadow = Shadow(
        version=batch.version,
        rows=total,
        agreed=agreed,
        interval=(float(low), float(high)),
        by_class=[_class_cells(kind, row) for row in classes],
        by_feature=_ranges(batch, Features(models.input_kinds(signature)), significance) if agreed < total else [],
        reasons=tuple(reasons),
    )
    # Promotion looks for the verdict there.
    version = models.version(batch.model, str(batch.version))
    models.set_version_tags(version, {models.SHADOW: shadow.verdict, f"{models.SHADOW}_reason": shadow.reason})
    return shadow


def _worse(row: ClassCounts, significance: float) -> bool:
    """Whether the challenger is worse on this class by more than chance (exact McNemar test, McNemar 1947)."""
    if not row.champion_right or row.challenger_right is None:
        return False
    differ = row.champion_right + row.challenger_right
    return bool(binomtest(row.champion_right, differ, alternative="greater").pvalue < significance)


def _ranges(batch: ShadowBatch, features: Features, significance: float) -> list[dict[str, Any]]:
    """Ranges of features on which champion and challenger agree less than elsewhere.

    By chance alone the rows on which they differ are a draw without replacement (Fisher's exact test, Fisher 1922); the
    significance is shared among all ranges (Bonferroni).
    """
    histograms = batch.histograms(features)
    tests = sum(int((one.training > 0).sum()) for one in histograms)
    unlike: list[tuple[float, dict[str, Any]]] = []
    for one in histograms:
        total, differ = int(one.training.sum()), int(one.batch.sum())
        for name, among, apart in zip(one.bins, one.training.tolist(), one.batch.tolist(), strict=True):
            if apart and hypergeom.sf(apart - 1, total, differ, among) < significance / tests:
                row = {"feature": one.feature, "range": name} | _shares(among, among - apart)
                unlike.append((apart / among, row))
    return [row for _, row in sorted(unlike, key=lambda item: -item[0])[:_MOST_RANGES]]
