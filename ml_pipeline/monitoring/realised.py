"""The realised metric of batches whose true classes have arrived, whenever they do."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.data import columns, sources, tables
from ml_pipeline.errors import InputError
from ml_pipeline.model.bootstrap import measure
from ml_pipeline.model.metrics import Classes, Responses
from ml_pipeline.monitoring import findings
from ml_pipeline.monitoring.findings import Finding
from ml_pipeline.names import BATCH_COLUMN, SCORES
from ml_pipeline.registry import runs

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from ml_pipeline.settings.pipeline import Source

_MOST_ROWS = 200_000
"""Rows of a batch that are measured at most; of more, those with the least hashes."""
_LABEL = "__label"


def measured(
    labels: Source,
    *,
    predictions_table: str,
    monitoring_table: str,
    day: datetime.date,
    key: Sequence[str],
    target: str,
    metric: str,
    significance: float,
) -> list[Finding]:
    """The metric of each batch that has more labels than when it was last measured, and of this batch if it has any.

    Batches all of whose rows were labelled are not read again.

    Args:
        labels: Rows with the key and the target; a row without a target is one whose label has not arrived.
        predictions_table: The predictions.
        monitoring_table: What has been measured before.
        day: The batch that is watched.
        key: Columns that identify a row.
        target: Column of the true class.
        metric: Name of the scorer.
        significance: 1 - probability that the interval holds the metric.

    Raises:
        InputError: labels or predictions lack a column, or a key has two labels.
    """
    known = findings.performances(monitoring_table, day)
    predictions = tables.read(predictions_table)
    complete = {row["scored_date"] for row in known if row["rows"] == row["of_rows"]} - {day}
    if complete:
        dates = ", ".join(f"DATE'{date}'" for date in sorted(complete))
        predictions = predictions.where(f"{BATCH_COLUMN} NOT IN ({dates})")
    truth = _labels(labels, key=key, target=target)
    for column in key:
        if column not in predictions.columns:
            raise InputError(
                f"key: table {predictions_table} has no column '{column}', by which labels are matched; "
                f"accepted: {', '.join(predictions.columns)}"
            )
    with sources.reading(f"source {labels}"):
        matched = predictions.join(truth, on=list(key), how="left")
        recorded = {
            (row["scored_date"], row["scored_version"]): row["rows"] for row in sorted(known, key=lambda r: r["rows"])
        }
        touched = [batch for batch in _counts(matched) if batch["labelled"] > recorded.get(_of(batch), 0)]
        return [
            _measure(matched, batch, metric=metric, significance=significance)
            for batch in sorted(touched, key=lambda batch: batch["date"])
        ]


def _of(batch: dict[str, Any]) -> tuple[datetime.date, int]:
    return batch["date"], batch["version"]


def _counts(matched: DataFrame) -> list[dict[str, Any]]:
    from pyspark.sql import functions as F

    label = F.col(_LABEL)
    counted = matched.groupBy(F.col(BATCH_COLUMN).alias("date"), F.col("model_version").alias("version"), "run_id").agg(
        F.count(label).alias("labelled"), F.count(F.lit(1)).alias("rows")
    )
    return [row.asDict() for row in counted.collect()]


def _labels(labels: Source, *, key: Sequence[str], target: str) -> DataFrame:
    """One row for each key that has a label."""
    from pyspark.sql import functions as F

    where = f"monitoring.labels: source {labels}"
    rows = sources.read_source(labels)
    for column in (*key, target):
        if column not in rows.columns:
            raise InputError(f"{where}: has no column '{column}'; accepted: {', '.join(rows.columns)}")
    value = F.col(columns.quote(target))
    grouped = (
        rows.where(value.isNotNull())
        .groupBy(*map(columns.quote, key))
        .agg(F.min(value).alias(_LABEL), F.max(value).alias("__other"))
    )
    with sources.reading(where):
        twice = grouped.where(F.col(_LABEL) != F.col("__other")).first()
    if twice is not None:
        named = ", ".join(f"{column} {twice[column]!r}" for column in key)
        raise InputError(
            f"{where}: {named} has more than one label: {twice[_LABEL]!r} and {twice['__other']!r}; accepted: one a row"
        )
    return grouped.drop("__other")


def _measure(matched: DataFrame, batch: dict[str, Any], *, metric: str, significance: float) -> Finding:
    from pyspark.sql import functions as F

    of_batch = matched.where(
        (F.col(BATCH_COLUMN) == F.lit(batch["date"]))
        & (F.col("model_version") == batch["version"])
        & F.col(_LABEL).isNotNull()
    )
    # Else it is a column of the source.
    scored = dict(matched.dtypes).get(SCORES) == "array<double>"
    columns = ["prediction", _LABEL, *([SCORES] if scored else [])]
    # An order by hash: the rows are those of a random sample, and the same each time.
    ordered = of_batch.orderBy(F.xxhash64("prediction", _LABEL, F.monotonically_increasing_id()))
    frame = ordered.select(*columns).limit(_MOST_ROWS).toPandas()
    value = low = high = None
    text = f"batch {batch['date']}, model version {batch['version']}: "
    try:
        responses, truth = _responses(frame, runs.run(batch["run_id"]))
        value, resampled = measure(metric, responses, truth)
        low, high = map(float, np.quantile(resampled, [significance / 2, 1 - significance / 2]))
        text += f"{metric} {value:.4f} [{low:.4f}, {high:.4f}]"
    except InputError as error:
        # A metric that these labels don't allow, or that probabilities are missing for, is no reason to stop.
        kept = "" if scored else "; with 'probabilities = true' in [batch_inference] they are kept"
        text += f"{metric} can't be computed: {error}{kept}"
    return Finding(
        kind="performance",
        measure=metric,
        value=value,
        low=low,
        high=high,
        rows=batch["labelled"],
        of_rows=batch["rows"],
        scored_date=batch["date"],
        scored_version=batch["version"],
        detail=f"{text}, on {batch['labelled']:,} of {batch['rows']:,} rows",
    )


def _responses(frame: pd.DataFrame, run: Any) -> tuple[Responses, Any]:
    """A batch's answers, and its true classes; a class that the model doesn't know is always a mistake."""
    known = runs.read_json(run, "evaluation")["classes"]
    labels = _as(frame[_LABEL].tolist(), known)
    new = sorted({value for value in labels if value not in known}, key=str)
    classes = Classes((*known, *new))
    answered = _as(frame["prediction"].tolist(), known)
    encoded, truth = classes.encode(answered, strict=False), classes.encode(labels)
    # A batch of a time when they were not kept has none.
    if SCORES not in frame or frame[SCORES].isna().any() or not len(frame):
        return Responses(classes, encoded), truth
    scores, model_classes = np.stack(frame[SCORES].to_list()), sorted(known)
    # Decision values have no such sums, on all rows.
    sure = scores.shape[1] == len(known) and bool((scores >= 0).all()) and np.allclose(scores.sum(axis=1), 1)
    return Responses.of_scores(classes, encoded, scores, model_classes, sure=sure), truth


def _as(values: Sequence[Any], classes: Sequence[Any]) -> list[Any]:
    """Values as the model's classes have them: labels may come as text, or whole numbers as doubles."""
    known = {_text(value): value for value in classes}
    return [known.get(_text(value), value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
