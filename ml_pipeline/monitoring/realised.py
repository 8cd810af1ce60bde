"""The realised metric of batches whose true classes have arrived, whenever they do."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.data import sources
from ml_pipeline.data.outcomes import LabelledBatch, Matched
from ml_pipeline.errors import InputError
from ml_pipeline.model.bootstrap import measure
from ml_pipeline.model.metrics import Classes, Responses
from ml_pipeline.monitoring import findings
from ml_pipeline.monitoring.findings import Finding
from ml_pipeline.names import LABEL, PREDICTION, SCORES
from ml_pipeline.registry import runs
from ml_pipeline.registry.evidence import Evaluation
from ml_pipeline.wording import number

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.registry import Run
    from ml_pipeline.settings.pipeline import Source


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

    The monitoring table holds what was measured before; batches all of whose rows were labelled are not read again. A
    row without a target is one whose label has not arrived. The interval holds the metric with probability
    1 - significance.

    Raises:
        InputError: labels or predictions lack a column, or a key has two labels.
    """
    known = findings.performances(monitoring_table, day)
    complete = {row["scored_date"] for row in known if row["rows"] == row["of_rows"]} - {day}
    matched = Matched.read(labels, predictions_table, key=key, target=target, without=complete)
    recorded = {
        (row["scored_date"], row["scored_version"]): row["rows"] for row in sorted(known, key=lambda row: row["rows"])
    }
    with sources.reading(f"source {labels}"):
        return [
            _measure(matched, batch, metric=metric, significance=significance)
            for batch in matched.batches()
            if batch.labelled > recorded.get((batch.day, batch.version), 0)
        ]


def _measure(matched: Matched, batch: LabelledBatch, *, metric: str, significance: float) -> Finding:
    value = low = high = None
    text = f"batch {batch.day}, model version {batch.version}: "
    try:
        responses, truth = _responses(matched.frame(batch), runs.run(batch.run_id))
        measured = measure(metric, responses, truth)
        value, (low, high) = measured.value, measured.interval(metric, significance)
        text += f"{metric} {number(value)} [{number(low)}, {number(high)}]"
    except InputError as error:
        # A metric that these labels don't allow, or that probabilities are missing for, does not stop the others.
        kept = "" if matched.scored else "; with 'probabilities = true' in [batch_inference] they are kept"
        text += f"{metric} can't be computed: {error}{kept}"
    return Finding(
        kind="performance",
        measure=metric,
        value=value,
        low=low,
        high=high,
        rows=batch.labelled,
        of_rows=batch.rows,
        scored_date=batch.day,
        scored_version=batch.version,
        detail=f"{text}, on {batch.labelled:,} of {batch.rows:,} rows",
    )


def _responses(frame: pd.DataFrame, run: Run) -> tuple[Responses, Any]:
    """A batch's answers, and its true classes; a class that the model doesn't know is always a mistake."""
    known = Evaluation.read(run).classes
    labels = _as(frame[LABEL].tolist(), known)
    new = sorted({value for value in labels if value not in known}, key=str)
    classes = Classes((*known, *new))
    answered = _as(frame[PREDICTION].tolist(), known)
    encoded, truth = classes.encode(answered, strict=False), classes.encode(labels)
    # A batch of a time when they were not kept has none.
    if SCORES not in frame or frame[SCORES].isna().any() or not len(frame):
        return Responses(classes, encoded), truth
    scores, model_classes = np.stack(frame[SCORES].to_list()), sorted(known)
    # Decision values have no such sums, on all rows.
    sure = scores.shape[1] == len(known) and bool((scores >= 0).all()) and np.allclose(scores.sum(axis=1), 1)
    return Responses.of_scores(classes, encoded, scores, model_classes, sure=sure), truth


def _as(values: Sequence[Any], classes: Sequence[Any]) -> list[Any]:
    """Values as the model's classes have them: labels may come as text, padded, or whole numbers as doubles."""
    exact, known = {value: value for value in classes}, {_text(value): value for value in classes}
    if not any(isinstance(value, str) for value in classes):
        # Of the numbers 0 and 1, and of booleans, each may be written as the other.
        known |= {words: known[digit] for words, digit in (("false", "0"), ("true", "1")) if digit in known}
    return [exact.get(value, known.get(_text(value), known.get(_text(value).lower(), value))) for value in values]


def _text(value: Any) -> str:
    text = str(int(value) if isinstance(value, bool | np.bool_) else value).strip()
    return text.partition(".")[0] if re.fullmatch(r"[+-]?\d+\.0*", text) else text
