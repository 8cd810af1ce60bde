"""Names that two modules share: tags, columns, artifacts."""

from __future__ import annotations

PREDICTION = "prediction"
"""What the predictions are called among the features; no feature may have that name."""

BATCH_COLUMN = "batch_date"
ADDED = ("prediction", "model_name", "model_version", "run_id", BATCH_COLUMN)
"""Columns that a predictions table has beside those of its source; none of the source's may have such a name."""
INTERNAL = ("__answer", "__agree", "__label", "__other")
"""Columns that a step has for a while beside those of a source."""

CHAMPION_PREDICTION = "champion_prediction"
"""What the champion said of the same row, in the shadow table."""
ANSWER = "__answer"
SCORES = "scores"
"""The column that it has too where probabilities are configured."""
