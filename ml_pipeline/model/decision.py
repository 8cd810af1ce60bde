"""Whether a model may go on: its metric against the threshold, and against its rivals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ml_pipeline.model.bootstrap import Difference, Measured, rows_needed
from ml_pipeline.names import FAILED, INCONCLUSIVE, PASSED
from ml_pipeline.registry.evidence import Decision, Outcome, RivalRow

OnInconclusive = Literal["pass", "fail"]
_ROOM = 1e-12
"""Of rounding: 0.95 - 0.94 is a little more than 0.01 in binary fractions."""
_MOST_NAMED = 3


def rival(
    name: str, run_id: str, mine: Measured, theirs: Measured, *, tolerance: float, significance: float
) -> RivalRow:
    """The comparison of a model, measured as ``mine``, with another one on the same rows.

    It is a test for non-inferiority whose margin is the tolerance: the model failed if the whole interval of the
    difference is below the margin, and passed if it is above (Food and Drug Administration, Non-Inferiority Clinical
    Trials to Establish Effectiveness, 2016). An equal model fails in at most ``significance / 2`` of all tables.
    """
    lead = Difference.between(mine, theirs, significance=significance)
    outcome: Outcome = INCONCLUSIVE
    if lead.high < -tolerance - _ROOM:
        outcome = FAILED
    elif lead.low >= -tolerance - _ROOM:
        outcome = PASSED
    return RivalRow(
        name=name,
        run_id=run_id,
        value=theirs.value,
        difference=lead.value,
        low=lead.low,
        high=lead.high,
        verdict=lead.verdict,
        outcome=outcome,
        rows_needed=rows_needed(mine, theirs, tolerance=tolerance, significance=significance),
    )


def decide(
    metric: str,
    mine: Measured,
    rivals: Sequence[RivalRow],
    *,
    threshold: float,
    tolerance: float,
    significance: float,
    on_inconclusive: OnInconclusive = "pass",
    left_out: str = "",
    side: str = "",
) -> Decision:
    """Reject a model that misses the threshold, or that is provably worse than a rival by more than the tolerance.

    Of a metric the greater value is better. The threshold is a limit of the measured value. A rival that the rows can't
    decide about makes the verdict ``inconclusive``, or ``failed`` if ``on_inconclusive`` is ``fail``.

    Args:
        metric: Its name.
        mine: The model's.
        rivals: The other models on the same rows.
        threshold: The least value that is accepted.
        tolerance: How far the model may fall below a rival.
        significance: Of the intervals.
        on_inconclusive: What becomes of a model that the rows can't decide about.
        left_out: Who could not be compared, and why; part of the reason.
        side: Put before the metric in the reason, such as ``test``.
    """
    measured = f"{side} {metric} {mine.value:.4f}".lstrip()
    low, high = mine.interval(metric, significance)
    failed, open_ = ([rival for rival in rivals if rival.outcome == outcome] for outcome in (FAILED, INCONCLUSIVE))
    reasons = [f"{measured} misses the threshold {threshold:g}"] if mine.value < threshold else []
    if failed:
        reasons.append(_worse(measured, failed, tolerance))
    verdict: Outcome = FAILED if reasons else PASSED
    if open_ and not reasons:
        reasons = [_undecided(measured, mine.rows, open_, tolerance)]
        verdict = INCONCLUSIVE
        if on_inconclusive == "fail":
            verdict = FAILED
            reasons.append('on_inconclusive = "fail" rejects it')
    if verdict == PASSED:
        compared = map(str, rivals[:_MOST_NAMED]) if rivals else ["nothing to compare with on the same rows"]
        reasons = [f"{measured} reaches the threshold {threshold:g}", *compared]
    warning = ""
    if low < threshold <= mine.value:
        warning = (
            f"{mine.rows:,} rows are too few to show that {metric} reaches the threshold {threshold:g}: "
            f"its interval is {low:.4f} to {high:.4f}"
        )
    return Decision(
        metric=metric,
        value=mine.value,
        low=low,
        high=high,
        rows=mine.rows,
        threshold=threshold,
        tolerance=tolerance,
        significance=significance,
        rivals=list(rivals),
        verdict=verdict,
        reason="; ".join([*reasons, *([left_out] if left_out else [])]),
        warning=warning,
    )


def _worse(measured: str, rivals: Sequence[RivalRow], tolerance: float) -> str:
    needed = max(rival.value for rival in rivals) - tolerance
    return (
        f"{measured} is worse by more than the tolerance {tolerance:g} than {_named(rivals, _MOST_NAMED)}; "
        f"at least {needed:.4f} is needed"
    )


def _undecided(measured: str, rows: int, rivals: Sequence[RivalRow], tolerance: float) -> str:
    # Two digits, for it is an estimate.
    needed = int(float(f"{max(rival.rows_needed or 0 for rival in rivals):.2g}"))
    remedy = f"about {needed:,} rows would show it" if needed else "set a tolerance above 0"
    return (
        f"{rows:,} rows can't show whether {measured} is within the tolerance {tolerance:g} of {_named(rivals, 1)}; "
        f"{remedy}"
    )


def _named(rivals: Sequence[RivalRow], most: int) -> str:
    some = "; ".join(f"{rival.name} ({rival.value:.4f}; {rival.change})" for rival in rivals[:most])
    return f"{some} and {len(rivals) - most} more" if len(rivals) > most else some
