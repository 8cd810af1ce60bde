"""Whether a model may go on: its metric against the threshold and against its rivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml_pipeline.model.bootstrap import Difference, Measured
from ml_pipeline.names import FAILED, PASSED
from ml_pipeline.registry.evidence import RivalRow


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A model that another one is compared with, on the same rows."""

    name: str
    run_id: str
    value: float
    difference: Difference
    """How much better than this rival the new model is."""

    @classmethod
    def of(cls, name: str, run_id: str, mine: Measured, theirs: Measured, *, significance: float) -> Rival:
        """Compare."""
        difference = Difference.between(mine, theirs, significance=significance)
        return cls(name=name, run_id=run_id, value=theirs[0], difference=difference)

    def __str__(self) -> str:
        lead = f"{abs(self.difference.value):.4f} {'below' if self.difference.value < 0 else 'above'}"
        if self.difference.value == 0:
            lead = "level with"
        return f"{lead} {self.name} ({self.value:.4f}; {self.difference.verdict})"

    def as_row(self) -> RivalRow:
        """As evidence."""
        lead = self.difference
        bounds = {"difference": lead.value, "low": lead.low, "high": lead.high}
        return RivalRow(name=self.name, run_id=self.run_id, value=self.value, verdict=lead.verdict, **bounds)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a model may go on, and why."""

    passed: bool
    reason: str

    @property
    def word(self) -> str:
        """``passed`` or ``failed``."""
        return PASSED if self.passed else FAILED


def decide(metric: str, value: float, rivals: Sequence[Rival], *, threshold: float, tolerance: float) -> Verdict:
    """Refuse a model that misses the threshold, or falls below a rival by more than the tolerance.

    Args:
        metric: Name of the scorer; greater is better.
        value: The model's metric.
        rivals: The champion and the runs of the branch.
        threshold: What the model must reach at least.
        tolerance: How far below a rival it may fall; a safeguard that holds even above the threshold.
    """
    # A hair's breadth of room: 0.95 - 0.94 is a little more than 0.01 in binary fractions.
    room = tolerance + 1e-12
    below = [rival for rival in rivals if rival.difference.value < -room]
    reasons = [f"{metric} {value:.4f} misses the threshold {threshold:g}"] if value < threshold else []
    if below:
        worst = [below[0], *(rival for rival in below[1:3])]
        more = f" and {len(below) - len(worst)} more" if len(below) > len(worst) else ""
        reasons.append(
            f"{metric} {value:.4f} is {'; '.join(map(str, worst))}{more}, by more than the tolerance {tolerance:g}"
        )
    if reasons:
        return Verdict(passed=False, reason="; ".join(reasons))
    compared = "; ".join(map(str, rivals[:3])) or "nothing to compare with on the same rows"
    return Verdict(passed=True, reason=f"{metric} {value:.4f} reaches the threshold {threshold:g}; {compared}")
