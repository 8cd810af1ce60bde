"""True classes that arrive after their batch was scored, matched with its predictions."""

from __future__ import annotations

import datetime
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.data import columns, sources, tables
from ml_pipeline.data import functions as F
from ml_pipeline.errors import InputError
from ml_pipeline.names import BATCH_COLUMN, LABEL, MODEL_VERSION, OTHER_LABEL, PREDICTION, RUN_ID, SCORES

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from ml_pipeline.settings.pipeline import Source

_MOST_ROWS = 200_000
"""Rows of a batch that are taken at most; of more, those with the least hashes."""


@dataclass(frozen=True, kw_only=True)
class LabelledBatch:
    """How many rows of a batch have a label, of those that one version scored."""

    day: datetime.date
    version: int
    run_id: str
    labelled: int
    rows: int


@dataclass(frozen=True)
class Matched:
    """Predictions with their labels, where they have arrived."""

    _rows: DataFrame
    scored: bool
    """Whether there are scores; else the column of that name, if any, is one of the source."""

    @classmethod
    def read(
        cls,
        labels: Source,
        predictions_table: str,
        *,
        key: Sequence[str],
        target: str,
        without: Set[datetime.date],
    ) -> Matched:
        """Match labels with predictions by their key.

        Args:
            labels: Rows with the key and the target; a row without a target has no label yet.
            predictions_table: The predictions.
            key: Columns that identify a row.
            target: Column of the true class.
            without: Batches that are left out.

        Raises:
            InputError: labels or predictions lack a column, or a key has two labels.
        """
        predictions = tables.read(predictions_table)
        if dates := ", ".join(f"DATE'{date}'" for date in sorted(without)):
            predictions = predictions.where(f"{BATCH_COLUMN} NOT IN ({dates})")
        truth = _labels(labels, key=key, target=target)
        where = f"key: table {predictions_table}"
        columns.require(predictions, key, where=where, why=", by which labels are matched")
        matched = predictions.join(truth, on=list(key), how="left")
        return cls(matched, scored=dict(matched.dtypes).get(SCORES) == "array<double>")

    def batches(self) -> list[LabelledBatch]:
        """The batches, by version, in the order of their days."""
        counted = self._rows.groupBy(BATCH_COLUMN, MODEL_VERSION, RUN_ID).agg(F.count(LABEL), F.count(F.lit(1)))
        batches = [
            LabelledBatch(day=day, version=version, run_id=run_id, labelled=labelled, rows=rows)
            for day, version, run_id, labelled, rows in counted.collect()
        ]
        return sorted(batches, key=lambda batch: batch.day)

    def frame(self, batch: LabelledBatch) -> pd.DataFrame:
        """The labelled rows of a batch: predictions, labels, and scores if there are any."""
        of_batch = self._rows.where(
            (F.col(BATCH_COLUMN) == F.lit(batch.day))
            & (F.col(MODEL_VERSION) == batch.version)
            & F.col(LABEL).isNotNull()
        )
        selected = [PREDICTION, LABEL, *([SCORES] if self.scored else [])]
        # An order by hash: the rows are those of a random sample, and the same each time.
        ordered = of_batch.orderBy(F.xxhash64(PREDICTION, LABEL, F.monotonically_increasing_id()))
        return ordered.select(*selected).limit(_MOST_ROWS).toPandas()


def _labels(labels: Source, *, key: Sequence[str], target: str) -> DataFrame:
    """One row for each key that has a label."""
    where = f"monitoring.labels: source {labels}"
    rows = sources.read_source(labels)
    columns.require(rows, (*key, target), where=f"{where}:")
    value = F.col(columns.quote(target))
    grouped = (
        rows.where(value.isNotNull())
        .groupBy(*map(columns.quote, key))
        .agg(F.min(value).alias(LABEL), F.max(value).alias(OTHER_LABEL))
    )
    with sources.reading(where):
        twice = grouped.where(F.col(LABEL) != F.col(OTHER_LABEL)).first()
    if twice is not None:
        named = ", ".join(f"{column} {twice[column]!r}" for column in key)
        raise InputError(
            f"{where}: {named} has more than one label: {twice[LABEL]!r} and {twice[OTHER_LABEL]!r}; "
            "accepted: one a row"
        )
    return grouped.drop(OTHER_LABEL)
