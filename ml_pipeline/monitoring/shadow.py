"""How a challenger in shadow does beside the champion on the same rows, and whether it may be promoted."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest, hypergeom

from ml_pipeline.data import columns, histograms, tables
from ml_pipeline.data.features import Features
from ml_pipeline.names import BATCH_COLUMN, CHAMPION_PREDICTION
from ml_pipeline.registry import models

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_MOST_RANGES = 10


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """Rows of one class: the true one where labels are there, else the one that the champion predicts."""

    name: str
    rows: int
    agreed: int
    champion_right: int | None = None
    """Rows on which the champion is right and the challenger is not; ``None`` without labels."""
    challenger_right: int | None = None
    """Rows on which the challenger is right and the champion is not."""

    def worse(self, significance: float) -> bool:
        """Whether the challenger is worse on this class by more than chance (exact McNemar test, McNemar 1947)."""
        if not self.champion_right or self.challenger_right is None:
            return False
        differ = self.champion_right + self.challenger_right
        return bool(binomtest(self.champion_right, differ, alternative="greater").pvalue < significance)


@dataclass(frozen=True, kw_only=True)
class RangeRow:
    """Rows on which a feature's value lies in one range."""

    feature: str
    range: str
    rows: int
    agreed: int


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """What one batch says of a challenger."""

    version: int
    rows: int
    agreed: int
    interval: tuple[float, float]
    """Of the share of rows on which both agree (Wilson's score interval, Wilson 1927)."""
    classes: list[ClassRow]
    ranges: list[RangeRow]
    """Where they agree less than elsewhere, by more than chance; the worst first."""
    labelled: bool
    reasons: tuple[str, ...]
    """Why it may not be promoted."""

    @property
    def passed(self) -> bool:
        """Whether it may be promoted."""
        return not self.reasons

    @property
    def reason(self) -> str:
        """The verdict in words."""
        agreed = f"version {self.version} agrees with the champion on {self.agreed:,} of {self.rows:,} rows"
        return "; ".join((agreed, *self.reasons)) if self.reasons else f"{agreed}; it may be promoted"

    def as_report(self) -> dict[str, Any]:
        """As the batch's report shows it."""
        kind = "true class" if self.labelled else "class by the champion"
        return {
            "agreement": self.agreed / self.rows,
            "interval": self.interval,
            "verdict": "passed" if self.passed else "failed",
            "reason": self.reason,
            "by_class": [_class_cells(kind, row) for row in self.classes],
            "by_feature": [
                {"feature": row.feature, "range": row.range} | _shares(row.rows, row.agreed) for row in self.ranges
            ],
        }


def _class_cells(kind: str, row: ClassRow) -> dict[str, Any]:
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

    Args:
        shadow_table: The challenger's predictions beside the champion's.
        day: The batch.
        target: Column of the true class; rows that have none are judged by agreement alone.
        minimum_agreement: Share of rows on which both must agree; the interval's lower bound is what counts.
        significance: Probability of calling a challenger worse that is not, over all classes; one minus it is the
            interval's confidence.
    """
    if not tables.exists(shadow_table):
        return None
    rows = tables.read(shadow_table).where(f"{BATCH_COLUMN} = DATE'{day}'")
    head = rows.select("model_name", "model_version").first()
    if head is None:
        return None
    labelled = target in rows.columns
    classes = _classes(rows, target if labelled else None)
    total, agreed = sum(row.rows for row in classes), sum(row.agreed for row in classes)
    low, high = binomtest(agreed, total).proportion_ci(1 - significance, method="wilson")
    reasons = [
        f"worse on class '{row.name}': there the champion alone is right on {row.champion_right:,} rows, "
        f"it alone on {row.challenger_right:,}"
        for row in classes
        if row.worse(significance / len(classes))
    ]
    if low < minimum_agreement:
        reasons.insert(0, f"that may be as few as {low:.1%}, below the minimum agreement {minimum_agreement:.1%}")
    signature = models.signature(f"models:/{head['model_name']}/{head['model_version']}")
    return Shadow(
        version=int(head["model_version"]),
        rows=total,
        agreed=agreed,
        interval=(float(low), float(high)),
        classes=classes,
        ranges=_ranges(rows, Features.of_model(signature), significance) if agreed < total else [],
        labelled=labelled,
        reasons=tuple(reasons),
    )


def note(model: str, shadow: Shadow) -> None:
    """Keep the verdict with the challenger's version, where promotion looks for it."""
    version = models.version(model, str(shadow.version))
    verdict = "passed" if shadow.passed else "failed"
    models.set_version_tags(version, {models.SHADOW: verdict, f"{models.SHADOW}_reason": shadow.reason})


def _agree() -> Any:
    from pyspark.sql import functions as F

    return F.col("prediction").eqNullSafe(F.col(CHAMPION_PREDICTION))


def _classes(rows: DataFrame, target: str | None) -> list[ClassRow]:
    """Count, for each class, rows and agreement, in one pass."""
    from pyspark.sql import functions as F

    def text(column: str) -> Any:
        return F.col(column).cast("string")

    known = F.lit(None).cast("string") if target is None else text(columns.quote(target))
    counts = (
        rows.select(
            F.coalesce(known, F.concat(text(CHAMPION_PREDICTION), F.lit("" if target is None else " (no label)"))),
            _agree(),
            text("prediction").eqNullSafe(known),
            text(CHAMPION_PREDICTION).eqNullSafe(known),
        )
        .toDF("class", "agree", "challenger", "champion")
        .groupBy("class", "agree", "challenger", "champion")
        .count()
        .collect()
    )
    by_class: dict[str, list[Any]] = {}
    for row in counts:
        by_class.setdefault(str(row["class"]), []).append(row)

    def total(found: Sequence[Any], *keys: str, without: str = "") -> int:
        return sum(r["count"] for r in found if all(r[key] for key in keys) and not (without and r[without]))

    return [
        ClassRow(
            name=name,
            rows=total(found),
            agreed=total(found, "agree"),
            champion_right=total(found, "champion", without="challenger") if target else None,
            challenger_right=total(found, "challenger", without="champion") if target else None,
        )
        for name, found in sorted(by_class.items())
    ]


def _ranges(rows: DataFrame, features: Features, significance: float) -> list[RangeRow]:
    """Ranges of features on which champion and challenger agree less than elsewhere.

    By chance alone the rows on which they differ are a draw without replacement (Fisher's exact test, Fisher 1922); the
    significance is shared among all ranges (Bonferroni).
    """
    chosen = rows.select(*features.columns(rows, where="the batch"), _agree().alias("__agree"))
    bins = histograms.bins(chosen, features.kinds)
    everywhere = histograms.count(chosen, features.kinds, bins)
    differing = histograms.count(chosen.where("NOT __agree"), features.kinds, bins)
    found = histograms.join(everywhere, differing, bins)
    tests = sum(int((one.training > 0).sum()) for one in found)
    unlike: list[tuple[float, RangeRow]] = []
    for one in found:
        total, differ = int(one.training.sum()), int(one.batch.sum())
        for name, among, apart in zip(one.bins, one.training.tolist(), one.batch.tolist(), strict=True):
            if apart and hypergeom.sf(apart - 1, total, differ, among) < significance / tests:
                row = RangeRow(feature=one.feature, range=name, rows=among, agreed=among - apart)
                unlike.append((apart / among, row))
    return [row for _, row in sorted(unlike, key=lambda item: -item[0])[:_MOST_RANGES]]
