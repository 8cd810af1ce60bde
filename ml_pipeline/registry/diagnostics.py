"""What training leaves for the scorecard to draw: sums and curves of the validation table, no row of it."""

from __future__ import annotations

from typing import ClassVar

from ml_pipeline.registry.evidence import Document
from ml_pipeline.settings.types import Settings


class Confusion(Settings):
    """Rows of one class that the model took for another."""

    true: str
    predicted: str
    rows: int


class Curve(Settings):
    """A curve of two rates, both from 0 to 1."""

    x: list[float]
    y: list[float]
    area: float
    """Under the curve; of precision and recall, the average precision."""


class CalibrationBin(Settings):
    """Rows with similar probabilities: what the model predicted, and how often it happened."""

    predicted: float
    observed: float
    low: float
    """Bounds of the interval of ``observed``."""
    high: float
    rows: int


class Importance(Settings):
    """By how much the metric drops when a feature's values are shuffled."""

    feature: str
    drop: float
    deviation: float


class Candidate(Settings):
    """One point of the grid: its cross-validated metric, and the mean time of a fit."""

    parameters: dict[str, str]
    mean: float
    deviation: float
    seconds: float


class Diagnostics(Document):
    """How the model behaves on the validation table, and what the search tried."""

    NAME: ClassVar[str] = "diagnostics"

    classes: list[str] = []
    """Of the matrix, in its order."""
    matrix: list[list[int]] = []
    """Rows by true and predicted class; empty if there are too many classes to read one."""
    confusions: list[Confusion] = []
    """The most frequent ones, the worst first."""
    positive: str = ""
    """The class that the curves are of; empty unless there are two classes."""
    roc: Curve | None = None
    """True positive rate over false positive rate."""
    precision_recall: Curve | None = None
    """Precision over recall."""
    calibration: list[CalibrationBin] = []
    """Of the positive class, else of the predicted class; empty if the model has no probabilities."""
    importance: list[Importance] = []
    """The greatest drop first."""
    candidates: list[Candidate] = []
    """The best first."""
    candidates_left_out: int = 0
