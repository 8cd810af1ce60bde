"""Whether a model may go on: its metric against the threshold and against its rivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml_pipeline.model.bootstrap import Difference, Measured
from ml_pipeline.names import FAILED, PASSED
from ml_pipeline.registry.evidence import RivalRow


def rival(name: str, run_id: str, mine: Measured, theirs: Measured, *, significance: float) -> RivalRow:
    """The comparison of a model, measured as ``mine``, with another one on the same rows."""
    lead = Difference.between(mine, theirs, significance=significance)
    bounds = {"difference": lead.value, "low": lead.low, "high": lead.high}
    return RivalRow(name=name, run_id=run_id, value=theirs[0], verdict=lead.verdict, **bounds)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a model may go on, and why."""

    passed: bool
    reason: str

    @property
    def word(self) -> str:
        """``passed`` or ``failed``."""
        return PASSED if self.passed else FAILED

    def tags(self, name: str) -> dict[str, str]:
        """As tags of a run."""
        return {name: self.word, f"{name}.reason": self.reason}


def decide(
    metric: str, value: float, rivals: Sequence[RivalRow], *, threshold: float, tolerance: float, left_out: str = ""
) -> Verdict:
    """Reject a model that misses the threshold, or that falls below a rival by more than the tolerance.

    Of a metric the greater value is better. The tolerance is a safeguard that holds even above the threshold.

    Args:
        metric: Its name.
        value: The model's.
        rivals: The other models on the same rows.
        threshold: The least value that is accepted.
        tolerance: How far the model may fall below a rival.
        left_out: Who could not be compared, and why; part of the reason.
    """
    # A hair's breadth of room: 0.95 - 0.94 is a little more than 0.01 in binary fractions.
    room = tolerance + 1e-12
    below = [other for other in rivals if other.difference < -room]
    reasons = [f"{metric} {value:.4f} misses the threshold {threshold:g}"] if value < threshold else []
    if below:
        worst = below[:3]
        more = f" and {len(below) - len(worst)} more" if len(below) > len(worst) else ""
        reasons.append(
            f"{metric} {value:.4f} is {'; '.join(map(str, worst))}{more}, by more than the tolerance {tolerance:g}"
        )
    passed = not reasons
    if passed:
        compared = map(str, rivals[:3]) if rivals else ["nothing to compare with on the same rows"]
        reasons = [f"{metric} {value:.4f} reaches the threshold {threshold:g}", *compared]
    return Verdict(passed=passed, reason="; ".join([*reasons, *([left_out] if left_out else [])]))
