"""Predictions compared with true classes that arrive later, and with a challenger's predictions in shadow."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline import names
from ml_pipeline.data import columns, histograms, schema, sources, tables
from ml_pipeline.data import functions as F
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame

    from ml_pipeline.data.features import Features
    from ml_pipeline.data.histograms import Histogram
    from ml_pipeline.settings.pipeline import Source

_MOST_ROWS = 200_000
"""Rows of a batch that are taken at most; of more, those with the least hashes."""


@dataclass(frozen=True)
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
    _labels: DataFrame
    _where: str
    scored: bool
    """Whether there are scores; else the column of that name, if any, is one of the source."""

    @classmethod
    def read(
        cls, labels: Source, predictions_table: str, *, key: Sequence[str], target: str, without: Set[datetime.date]
    ) -> Matched:
        """Match labels with predictions by their key; a row without a target has no label yet.

        Raises:
            InputError: labels or predictions lack a column, or a key has two labels.
        """
        predictions = tables.read(predictions_table)
        if dates := ", ".join(f"DATE'{date}'" for date in sorted(without)):
            predictions = predictions.where(f"{names.BATCH_COLUMN} NOT IN ({dates})")
        where = f"key: table {predictions_table}"
        columns.require(predictions, key, where=where, why=", by which labels are matched")
        types = {name: columns.canonical(predictions, name) for name in key}
        truth = _labels(labels, types, target=target)
        matched = predictions.join(truth, on=list(key), how="left")
        scored = dict(matched.dtypes).get(names.SCORES) == "array<double>"
        return cls(matched, truth, f"monitoring.labels: source {labels}", scored=scored)

    def batches(self) -> list[LabelledBatch]:
        """The batches, by version, in the order of their days."""
        scored_by = (names.BATCH_COLUMN, names.MODEL_VERSION, names.RUN_ID)
        counted = self._rows.groupBy(*scored_by).agg(F.count(names.LABEL), F.count(F.lit(1)))
        batches = sorted((LabelledBatch(*row) for row in counted.collect()), key=lambda batch: batch.day)
        if batches and not any(batch.labelled for batch in batches) and (first := self._labels.first()) is not None:
            named = ", ".join(f"{name} {first[name]!r}" for name in first.asDict() if name != names.LABEL)
            print(f"{self._where}: no label has the key of a prediction; the first one has {named}", flush=True)
        return batches

    def frame(self, batch: LabelledBatch) -> pd.DataFrame:
        """The labelled rows of a batch: predictions, labels, and scores if there are any."""
        of_day = self._rows.where(F.col(names.BATCH_COLUMN) == F.lit(batch.day))
        of_batch = of_day.where((F.col(names.MODEL_VERSION) == batch.version) & F.col(names.LABEL).isNotNull())
        selected = [names.PREDICTION, names.LABEL, *([names.SCORES] if self.scored else [])]
        # An order by hash: the rows are those of a random sample, and the same each time.
        ordered = of_batch.orderBy(F.xxhash64(names.PREDICTION, names.LABEL, F.monotonically_increasing_id()))
        return ordered.select(*selected).limit(_MOST_ROWS).toPandas()


def _labels(labels: Source, key: Mapping[str, str], *, target: str) -> DataFrame:
    """One row for each key that has a label; the key's columns have the types that are given."""
    where = f"monitoring.labels: source {labels}"
    rows = sources.read_source(labels)
    columns.require(rows, (*key, target), where=f"{where}:")
    readings = schema.of_columns(rows, labels, key)
    with sources.reading(where):
        for name in (name for name in key if columns.converts(rows, name, readings[name])):
            wrong = rows.where(schema.unreadable(rows, name, readings[name])).select(columns.quote(name))
            if (example := wrong.first()) is not None:
                print(
                    f"{where}: {wrong.count():,} labels are ignored, because their {name} is not a "
                    f"{readings[name].type}, such as {example[0]!r}",
                    flush=True,
                )
    rows = schema.apply(rows, readings)
    for name in key:
        rows = rows.where(F.col(columns.quote(name)).isNotNull())
    value = F.col(columns.quote(target))
    by_key = rows.where(value.isNotNull()).groupBy(*map(columns.quote, key))
    grouped = by_key.agg(F.min(value).alias(names.LABEL), F.max(value).alias(names.OTHER_LABEL))
    with sources.reading(where):
        twice = grouped.where(F.col(names.LABEL) != F.col(names.OTHER_LABEL)).first()
    if twice is not None:
        named = ", ".join(f"{column} {twice[column]!r}" for column in key)
        raise InputError(
            f"{where}: {named} has more than one label: {twice[names.LABEL]!r} and {twice[names.OTHER_LABEL]!r}; "
            "accepted: one a row"
        )
    return grouped.drop(names.OTHER_LABEL)


@dataclass(frozen=True)
class ClassCounts:
    """Rows of one class: the true one if labels are there, else the one that the champion predicts."""

    name: str
    rows: int
    agreed: int
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
        rows = tables.read(table).where(f"{names.BATCH_COLUMN} = DATE'{day}'")
        head = rows.select(names.MODEL_NAME, names.MODEL_VERSION).first()
        return None if head is None else cls(rows, head[0], int(head[1]), target in rows.columns)

    def classes(self, target: str) -> list[ClassCounts]:
        """Count, for each class, rows and agreement, in one pass."""

        def text(column: str) -> Column:
            return F.col(column).cast("string")

        truth = text(columns.quote(target)) if self.labelled else F.lit(None).cast("string")
        predicted = F.concat(text(names.CHAMPION_PREDICTION), F.lit(" (no label)" if self.labelled else ""))
        champion = text(names.CHAMPION_PREDICTION).eqNullSafe(truth)
        challenger = text(names.PREDICTION).eqNullSafe(truth)
        alone = (F.count_if(champion & ~challenger), F.count_if(challenger & ~champion)) if self.labelled else ()
        by_class = self._rows.groupBy(F.coalesce(truth, predicted).alias("class"))
        counted = by_class.agg(F.count(F.lit(1)), F.count_if(_agree()), *alone).collect()
        return sorted((ClassCounts(str(name), *counts) for name, *counts in counted), key=lambda row: row.name)

    def histograms(self, features: Features) -> list[Histogram]:
        """For each feature all rows (as ``training``) beside those on which the two differ (as ``batch``)."""
        chosen = self._rows.select(*features.columns(self._rows, where="the batch"), _agree().alias(names.AGREE))
        bins = histograms.bins(chosen, features.kinds)
        everywhere = histograms.count(chosen, features.kinds, bins)
        differing = histograms.count(chosen.where(f"NOT {names.AGREE}"), features.kinds, bins)
        return histograms.join(everywhere, differing, bins)


def _agree() -> Column:
    return F.col(names.PREDICTION).eqNullSafe(F.col(names.CHAMPION_PREDICTION))
