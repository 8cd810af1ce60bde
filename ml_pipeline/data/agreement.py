"""How often a challenger's predictions in shadow agree with the champion's: counts of one batch."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.data import columns, histograms, tables
from ml_pipeline.data import functions as F
from ml_pipeline.data.histograms import Histogram
from ml_pipeline.names import AGREE, BATCH_COLUMN, CHAMPION_PREDICTION, MODEL_NAME, MODEL_VERSION, PREDICTION

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from ml_pipeline.data.features import Features


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Rows of one class: the true one if labels are there, else the one that the champion predicts."""

    name: str
    rows: int = 0
    agreed: int = 0
    champion_right: int | None = None
    """Rows on which only the champion is right; ``None`` without labels."""
    challenger_right: int | None = None
    """Rows on which only the challenger is right."""


@dataclass(frozen=True)
class ShadowBatch:
    """A batch of the shadow table, scored by one challenger."""

    _rows: DataFrame
    model: str
    version: int
    labelled: bool
    """Whether the rows hold the true class."""

    @classmethod
    def read(cls, table: str, day: datetime.date, *, target: str) -> ShadowBatch | None:
        """The batch of a day; ``None`` if no challenger scored it."""
        if not tables.exists(table):
            return None
        rows = tables.read(table).where(f"{BATCH_COLUMN} = DATE'{day}'")
        head = rows.select(MODEL_NAME, MODEL_VERSION).first()
        return None if head is None else cls(rows, head[0], int(head[1]), target in rows.columns)

    def classes(self, target: str) -> list[ClassCounts]:
        """Count, for each class, rows and agreement, in one pass."""

        def text(column: str) -> Any:
            return F.col(column).cast("string")

        truth = text(columns.quote(target)) if self.labelled else F.lit(None).cast("string")
        predicted = F.concat(text(CHAMPION_PREDICTION), F.lit(" (no label)" if self.labelled else ""))
        selected = self._rows.select(
            F.coalesce(truth, predicted),
            _agree(),
            text(PREDICTION).eqNullSafe(truth),
            text(CHAMPION_PREDICTION).eqNullSafe(truth),
        ).toDF("class", "agree", "challenger", "champion")
        counts = selected.groupBy(*selected.columns).count().collect()
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        for name, agree, challenger, champion, count in counts:
            totals[str(name)].update(
                rows=count,
                agreed=count * agree,
                champion=count * (champion and not challenger),
                challenger=count * (challenger and not champion),
            )
        return [
            ClassCounts(
                name=name,
                rows=total["rows"],
                agreed=total["agreed"],
                champion_right=total["champion"] if self.labelled else None,
                challenger_right=total["challenger"] if self.labelled else None,
            )
            for name, total in sorted(totals.items())
        ]

    def histograms(self, features: Features) -> list[Histogram]:
        """For each feature all rows (as ``training``) beside those on which the two differ (as ``batch``)."""
        chosen = self._rows.select(*features.columns(self._rows, where="the batch"), _agree().alias(AGREE))
        bins = histograms.bins(chosen, features.kinds)
        everywhere = histograms.count(chosen, features.kinds, bins)
        differing = histograms.count(chosen.where(f"NOT {AGREE}"), features.kinds, bins)
        return histograms.join(everywhere, differing, bins)


def _agree() -> Any:
    return F.col(PREDICTION).eqNullSafe(F.col(CHAMPION_PREDICTION))
