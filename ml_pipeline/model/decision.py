"""Whether a model may go on: its metric against the threshold, and against its rivals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ml_pipeline.model.bootstrap import MOST_ROWS, Difference, Measured, rows_needed
from ml_pipeline.names import FAILED, INCONCLUSIVE, PASSED
from ml_pipeline.registry.evidence import Decision, Outcome, RivalRow
from ml_pipeline.wording import counted, number

OnInconclusive = Literal["pass", "fail"]
_ROOM = 1e-12
"""Of rounding: 0.95 - 0.94 is a little more than 0.01 in binary fractions."""
_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a model must keep to."""

    metric: str
    """Its name; the greater value is better."""
    threshold: float
    """The least value that is accepted."""
    tolerance: float
    """How far the model may fall below a rival."""
    significance: float
    """Of the intervals."""
    on_inconclusive: OnInconclusive = "pass"
    """What becomes of a model that the rows can't decide about."""

    def shared(self, count: int) -> Limits:
        """The limits of a comparison with so many rivals, which share the significance (Bonferroni)."""
        return replace(self, significance=self.significance / max(1, count))


def rival(name: str, run_id: str, mine: Measured, theirs: Measured, limits: Limits) -> RivalRow:
    """The comparison of a model, measured as ``mine``, with another one on the same rows.

    It is a test for non-inferiority whose margin is the tolerance: the model failed if the whole interval of the
    difference is below the margin, and passed if it is above (Food and Drug Administration, Non-Inferiority Clinical
    Trials to Establish Effectiveness, 2016). An equal model fails in at most ``significance / 2`` of all tables.
    """
    tolerance, significance = limits.tolerance, limits.significance
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
    limits: Limits, mine: Measured, rivals: Sequence[RivalRow], *, left_out: str = "", side: str = ""
) -> Decision:
    """Reject a model that misses the threshold, or that is provably worse than a rival by more than the tolerance.

    The threshold is a limit of the measured value. A rival that the rows can't decide about makes the verdict
    ``inconclusive``, or ``failed`` if ``on_inconclusive`` is ``fail``.

    Args:
        limits: What the model must keep to.
        mine: Its metric.
        rivals: The other models on the same rows.
        left_out: Who could not be compared, and why; part of the reason.
        side: Put before the metric in the reason, such as ``test``.
    """
    metric, threshold, significance = limits.metric, limits.threshold, limits.significance
    measured = f"{side} {metric} {number(mine.value)}".lstrip()
    low, high = mine.interval(metric, significance)
    failed, open_ = ([rival for rival in rivals if rival.outcome == outcome] for outcome in (FAILED, INCONCLUSIVE))
    reasons = [f"{measured} misses the threshold {threshold:g}"] if mine.value < threshold else []
    if failed:
        reasons.append(_worse(measured, failed, limits.tolerance))
    verdict: Outcome = FAILED if reasons else PASSED
    if open_ and not reasons:
        reasons = [_undecided(measured, mine.rows, open_, limits.tolerance)]
        verdict = INCONCLUSIVE
        if limits.on_inconclusive == "fail":
            verdict = FAILED
            reasons.append('on_inconclusive = "fail" rejects it')
    if verdict == PASSED:
        compared = map(str, rivals[:_MOST_NAMED]) if rivals else ["nothing to compare with on the same rows"]
        reasons = [f"{measured} reaches the threshold {threshold:g}", *compared]
    warning = ""
    if low < threshold <= mine.value:
        warning = (
            f"{counted(mine.rows, 'row')} can't show that {metric} reaches the threshold {threshold:g}: "
            f"its interval is {number(low)} to {number(high)}"
        )
    return Decision(
        metric=metric,
        value=mine.value,
        low=low,
        high=high,
        rows=mine.rows,
        threshold=threshold,
        tolerance=limits.tolerance,
        significance=significance,
        rivals=list(rivals),
        verdict=verdict,
        reason="; ".join([*reasons, *([left_out] if left_out else [])]),
        warning=warning,
    )


def _worse(measured: str, rivals: Sequence[RivalRow], tolerance: float) -> str:
    # From there on, the interval of the difference would reach the tolerance.
    enough = max(rival.value - tolerance - (rival.high - rival.difference) for rival in rivals)
    return (
        f"{measured} is worse by more than the tolerance {tolerance:g} than {_named(rivals, _MOST_NAMED)}; "
        f"about {number(enough)} would not fail"
    )


def _undecided(measured: str, rows: int, rivals: Sequence[RivalRow], tolerance: float) -> str:
    hardest = max(rivals, key=lambda rival: rival.rows_needed or math.inf)
    return (
        f"{counted(rows, 'row')} can't show whether {measured} is within the tolerance {tolerance:g} of "
        f"{_named(rivals, 1)}; {_remedy(hardest)}"
    )


def _remedy(hardest: RivalRow) -> str:
    """What would decide. Estimates have two digits; a tolerance is rounded up, because a little less would not do."""
    if hardest.rows_needed and hardest.rows_needed <= MOST_ROWS:
        needed = int(float(f"{hardest.rows_needed:.2g}"))
        return f"a table of about {needed:,} rows would, if the difference stays the same"
    shown = -hardest.low
    digits = 1 - math.floor(math.log10(shown))
    return f"the least tolerance that they can show is {math.ceil(shown * 10**digits) / 10**digits:g}"


def _named(rivals: Sequence[RivalRow], most: int) -> str:
    some = "; ".join(f"{rival.name} ({number(rival.value)}; {rival.change})" for rival in rivals[:most])
    return f"{some} and {len(rivals) - most} more" if len(rivals) > most else some
