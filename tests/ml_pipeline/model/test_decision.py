import random
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_pipeline.errors import InputError
from ml_pipeline.model import bootstrap, decision
from ml_pipeline.model.bootstrap import Difference, Measured
from ml_pipeline.model.decision import Limits, OnInconclusive, decide
from ml_pipeline.model.metrics import Classes, Responses
from ml_pipeline.registry.evidence import Decision, RivalRow

ROWS = 1000
LIMITS = Limits(metric="f1", threshold=0.8, tolerance=0.01, significance=0.05)
ROUNDING = 1e-12
"""The largest fall that is taken for rounding."""


def measured(value: float, resampled: Any = 0.0, rows: int = ROWS) -> Measured:
    return Measured(value, np.full(10, value) if np.isscalar(resampled) else np.asarray(resampled), rows)


def rival(
    difference: float,
    name: str = "the champion",
    *,
    value: float = 0.9,
    outcome: str | None = "passed",
    half: float = 0.5,
    **fields: Any,
) -> RivalRow:
    low, high = difference - half, difference + half
    row: dict[str, Any] = {"value": value, "difference": difference, "low": low, "high": high, "outcome": outcome}
    row |= {"rows_needed": 4321, **fields}
    verdict = Difference(value=difference, low=low, high=high).verdict
    return RivalRow(name=name, run_id=f"id of {name}", verdict=verdict, **row)


def judge(
    value: float,
    *rivals: RivalRow,
    threshold: float = 0.8,
    tolerance: float = 0.01,
    on_inconclusive: OnInconclusive = "pass",
    **options: Any,
) -> Decision:
    limits = replace(LIMITS, threshold=threshold, tolerance=tolerance, on_inconclusive=on_inconclusive)
    return decide(limits, measured(value), rivals, **options)


def outcome(difference: float, *, noise: float = 0.0, rows: int = ROWS, tolerance: float = 0.01) -> str | None:
    """Of a model with this difference, whose resamples deviate from it by so much."""
    resampled = difference + noise * np.tile([-1.0, 1.0], 50)
    mine, theirs = Measured(0.5 + difference, resampled, rows), Measured(0.5, np.zeros(100), rows)
    return decision.rival("other", "id", mine, theirs, replace(LIMITS, tolerance=tolerance)).outcome


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        (0.8, True),
        (np.nextafter(0.8, 1), True),
        (np.nextafter(0.8, 0), False),
        (0.81, True),
        (0.79, False),
        (-0.8, False),
    ],
    ids=["exactly", "a hair above", "a hair below", "above", "below", "wrong sign"],
)
def test_a_model_must_reach_the_threshold(value: float, passed: bool) -> None:
    assert judge(float(value)).passed is passed


@pytest.mark.parametrize(("value", "passed"), [(-0.5, True), (-0.4, True), (-0.6, False)])
def test_of_a_negative_metric_too_the_greater_is_the_better(value: float, passed: bool) -> None:
    assert judge(value, threshold=-0.5).passed is passed


@pytest.mark.parametrize(
    ("difference", "noise", "expected"),
    [
        pytest.param(-0.005, 0.001, "passed", id="surely worse, within the tolerance"),
        pytest.param(-0.02, 0.02, "inconclusive", id="measured beyond the tolerance, by chance"),
        pytest.param(-0.02, 0.001, "failed", id="surely worse, beyond the tolerance"),
        pytest.param(0.0, 0.02, "inconclusive", id="measured level, by chance"),
        pytest.param(0.0, 0.001, "passed", id="level"),
        pytest.param(0.05, 0.02, "passed", id="surely better"),
        pytest.param(0.03, 0.05, "inconclusive", id="measured better, by chance"),
    ],
)
def test_evidence_decides(difference: float, noise: float, expected: str) -> None:
    assert outcome(difference, noise=noise) == expected


@pytest.mark.parametrize(("side", "expected"), [(-0.5, "inconclusive"), (0.5, "failed")], ids=["touches", "beyond"])
def test_the_margin_itself_is_allowed(side: float, expected: str) -> None:
    half = Difference.between(measured(0.5), measured(0.5), significance=0.05).high
    assert outcome(-0.01 - half - side * 1e-9) == expected
    assert outcome(half - 0.01 - ROUNDING / 2) == "passed"
    assert outcome(half - 0.01 - 1e-9) == "inconclusive"


@pytest.mark.parametrize("rows", [1, 2, 8, 25])
def test_few_rows_show_nothing(rows: int) -> None:
    assert outcome(0.0, rows=rows) == "inconclusive"
    assert outcome(-0.04, rows=rows) == "inconclusive"


def test_without_tolerance_a_model_must_be_better() -> None:
    assert [outcome(difference, tolerance=0) for difference in (0.0, 0.1, -0.1)] == ["inconclusive", "passed", "failed"]


@given(st.lists(st.sampled_from(["passed", "failed", "inconclusive"]), max_size=8), st.integers())
def test_the_order_of_the_rivals_changes_nothing(outcomes: list[str], seed: int) -> None:
    rivals = [rival(0.0, f"run {number}", outcome=one) for number, one in enumerate(outcomes)]
    shuffled = random.Random(seed).sample(rivals, len(rivals))

    verdict = judge(0.9, *rivals).verdict

    worst = next((one for one in ("failed", "inconclusive") if one in outcomes), "passed")
    assert verdict == judge(0.9, *shuffled).verdict == worst


@given(st.floats(-0.5, 0.5), st.floats(0, 0.3), st.integers(2, 5000), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_greater_tolerance_rejects_no_more(
    difference: float, noise: float, rows: int, tolerances: list[float]
) -> None:
    order = ["failed", "inconclusive", "passed"]

    outcomes = [outcome(difference, noise=noise, rows=rows, tolerance=tolerance) for tolerance in sorted(tolerances)]

    assert all(order.index(str(less)) <= order.index(str(more)) for less, more in pairwise(outcomes))


def test_a_pass_tells_what_it_reached_and_was_compared_with() -> None:
    decided = judge(
        0.91234, rival(0.01234, "the champion, version 3", half=0.001), rival(-0.005, "run b", value=0.91734)
    )

    assert (decided.verdict, decided.passed) == ("passed", True)
    assert decided.reason == (
        "f1 0.9123 reaches the threshold 0.8; "
        "0.0123 above the champion, version 3 (0.9000; better); 0.0050 below run b (0.9173; indistinguishable)"
    )
    assert decided.tags("test") == {"test": "passed", "test.reason": decided.reason}
    assert decided.results == {"verdict": f"passed: {decided.reason}"}


def test_a_pass_without_rivals_says_so() -> None:
    assert judge(0.9).reason == "f1 0.9000 reaches the threshold 0.8; nothing to compare with on the same rows"


def test_a_pass_names_the_first_three_rivals() -> None:
    reason = judge(0.9, *(rival(0, f"run {name}") for name in "abcd")).reason

    assert reason.partition("; ")[2] == "; ".join(
        f"level with run {name} (0.9000; indistinguishable)" for name in "abc"
    )


@pytest.mark.parametrize("rivals", [[], [rival(0.2)], [rival(0.2, outcome="inconclusive")]])
def test_a_model_that_misses_the_threshold_fails_even_if_it_beats_every_rival(rivals: list[RivalRow]) -> None:
    decided = judge(0.79, *rivals, threshold=0.85)

    assert (decided.verdict, decided.passed) == ("failed", False)
    assert decided.reason == "f1 0.7900 misses the threshold 0.85"


def test_a_rejection_names_the_evidence_and_what_is_needed() -> None:
    decided = judge(
        0.85,
        rival(0.01, "run a", value=0.84),
        rival(-0.05, "run b", half=0.02, outcome="failed"),
        rival(-0.01, "run c", outcome="inconclusive"),
        side="test",
    )

    assert decided.verdict == "failed"
    assert decided.reason == (
        "test f1 0.8500 is worse by more than the tolerance 0.01 than "
        "run b (0.9000; difference -0.0500, interval -0.0700 to -0.0300); about 0.8700 would not fail"
    )


def test_a_rejection_names_both_the_threshold_and_the_rival() -> None:
    reason = judge(0.75, rival(-0.15, outcome="failed"), tolerance=0.1).reason

    assert reason.startswith("f1 0.7500 misses the threshold 0.8; f1 0.7500 is worse by more than the tolerance 0.1")


@pytest.mark.parametrize(
    ("count", "named", "more"), [(1, "a", ""), (3, "abc", ""), (4, "abc", " and 1 more"), (6, "abc", " and 3 more")]
)
def test_of_many_rivals_three_are_named_and_the_others_counted(count: int, named: str, more: str) -> None:
    rivals = [rival(-0.05, f"run {name}", half=0.02, outcome="failed") for name in "abcdef"[:count]]

    fallen = "; ".join(f"run {name} (0.9000; difference -0.0500, interval -0.0700 to -0.0300)" for name in named)
    assert f" than {fallen}{more}; about 0.8700 would not fail" in judge(0.85, *rivals).reason


def test_an_inconclusive_verdict_says_how_many_rows_would_tell() -> None:
    undecided = rival(0.0, "the champion, version 3", outcome="inconclusive", half=0.02, rows_needed=4321)

    decided = judge(0.9, rival(0.1, "run a"), undecided)

    assert (decided.verdict, decided.passed) == ("inconclusive", True)
    assert decided.reason == (
        "1,000 rows can't show whether f1 0.9000 is within the tolerance 0.01 of the champion, version 3 (0.9000; "
        "difference 0.0000, interval -0.0200 to +0.0200); "
        "a table of about 4,300 rows would, if the difference stays the same"
    )


def test_an_inconclusive_verdict_fails_if_the_settings_say_so() -> None:
    undecided = rival(0.0, outcome="inconclusive", rows_needed=4321)

    decided = judge(0.9, undecided, on_inconclusive="fail")

    assert (decided.verdict, decided.passed) == ("failed", False)
    assert decided.reason.endswith(
        'a table of about 4,300 rows would, if the difference stays the same; on_inconclusive = "fail" rejects it'
    )


@pytest.mark.parametrize("tolerance", [0.0, 0.0001])
def test_if_no_table_decides_the_remedy_is_a_tolerance(tolerance: float) -> None:
    mine, theirs = measured(0.9, np.tile([0.85, 0.95], 5)), measured(0.9, np.full(10, 0.9))

    def judged(tolerance: float) -> Decision:
        limits = replace(LIMITS, tolerance=tolerance)
        return decide(limits, mine, [decision.rival("other", "id", mine, theirs, limits)])

    (enough,) = re.findall(r"; the least tolerance that they can show is (\S+)$", judged(tolerance).reason)
    assert judged(float(enough)).verdict == "passed"
    assert judged(0.98 * float(enough)).verdict == "inconclusive"


def test_who_was_left_out_is_part_of_the_reason() -> None:
    assert judge(0.9, left_out="the champion is left out").reason.endswith("; the champion is left out")


@pytest.mark.parametrize(("rows", "warned"), [(8, True), (25, True), (50, False)])
def test_a_table_that_is_too_small_for_the_threshold_is_warned_of(rows: int, warned: bool) -> None:
    decided = decide(replace(LIMITS, metric="accuracy", threshold=0.9), measured(1.0, rows=rows), [])

    assert (decided.verdict, bool(decided.warning)) == ("passed", warned)
    assert decided.high == 1
    if warned:
        expected = f"{rows} rows can't show that accuracy reaches the threshold 0.9: its interval is 0."
        assert decided.warning.startswith(expected)
        assert decided.results["warning"] == decided.warning


def test_a_single_row_is_no_plural() -> None:
    assert decide(LIMITS, measured(1.0, rows=1), []).warning.startswith("1 row can't show that f1 ")


@pytest.mark.parametrize(
    ("needed", "remedy"),
    [
        (1234, "a table of about 1,200 rows would, if the difference stays the same"),
        (20_000, "a table of about 20,000 rows would, if the difference stays the same"),
        (20_001, "the least tolerance that they can show is 0.13"),
        (None, "the least tolerance that they can show is 0.13"),
    ],
)
def test_an_inconclusive_verdict_asks_for_what_can_be_had(needed: int | None, remedy: str) -> None:
    undecided = rival(0.0, outcome="inconclusive", rows_needed=needed, half=0.12301)
    assert judge(0.9, undecided).reason.endswith(f"; {remedy}")


@pytest.mark.parametrize("difference", [-0.1, -0.02, 0.0, 0.02])
def test_more_rows_are_needed_the_closer_the_difference_is_to_the_tolerance(difference: float) -> None:
    mine = measured(0.5 + difference, 0.5 + difference + np.tile([-0.05, 0.05], 5))

    needed = bootstrap.rows_needed(mine, measured(0.5), tolerance=0.03, significance=0.05)

    of_an_equal_model = bootstrap.rows_needed(
        measured(0.5, mine.resampled), measured(0.5), tolerance=abs(difference + 0.03), significance=0.05
    )
    assert needed == of_an_equal_model


def test_an_empty_table_measures_nothing() -> None:
    responses = Responses(Classes(("a", "b")), np.zeros(0, np.int64), None)
    with pytest.raises(InputError, match=r"^accuracy can't be measured: the table has no rows$"):
        bootstrap.measure("accuracy", responses, np.zeros(0, np.int64))


@pytest.mark.parametrize(
    ("metric", "value", "high"),
    [("accuracy", 1.0, 1.0), ("neg_log_loss", -0.001, 0.0), ("positive_likelihood_ratio", 12.0, 12.320)],
)
def test_an_interval_ends_at_the_best_value_of_the_metric(metric: str, value: float, high: float) -> None:
    low, top = measured(value, rows=10).interval(metric, 0.05)
    assert low < value <= top == pytest.approx(high, abs=0.001)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.03, "better"),
        (-0.03, -0.01, "worse"),
        (-0.01, 0.01, "indistinguishable"),
        (0.0, 0.02, "indistinguishable"),
        (-0.02, 0.0, "indistinguishable"),
        (0.0, 0.0, "indistinguishable"),
    ],
)
def test_a_difference_is_real_where_its_interval_leaves_zero_out(low: float, high: float, verdict: str) -> None:
    assert Difference(value=0.0, low=low, high=high).verdict == verdict


def test_a_difference_shows_signs() -> None:
    assert str(Difference(value=0.0123, low=-0.01, high=0.03456)) == "+0.0123 [-0.0100, +0.0346], indistinguishable"


@pytest.mark.parametrize(("significance", "quantile"), [(0.05, 1.9600), (0.1, 1.6449), (0.01, 2.5758)])
def test_the_interval_of_many_rows_is_that_of_the_normal_distribution(significance: float, quantile: float) -> None:
    resampled = np.random.default_rng(0).normal(0.1, 0.02, 100_000)
    rows = 10**7

    difference = Difference.between(
        Measured(0.9, resampled, rows), Measured(0.8, np.zeros(100_000), rows), significance=significance
    )

    assert difference.value == pytest.approx(0.1)
    assert (difference.high - difference.low) / 2 == pytest.approx(quantile * 0.02, rel=0.01)


def test_the_interval_of_few_rows_is_wider() -> None:
    resampled = np.tile([-0.02, 0.02], 50)
    widths = [
        Difference.between(measured(0.5, resampled, rows), measured(0.5, np.zeros(100), rows), significance=0.05).high
        for rows in (5, 25, 100, 10_000)
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == pytest.approx(1.96 * 0.02, rel=0.01)


def test_the_interval_of_proportions_is_nearly_that_of_bonett_and_price() -> None:
    # Of 50 rows, the first model alone is right on 3, and the second alone on 7.
    rows, first, second = 50, 3, 7
    random = np.random.default_rng(0)
    drawn = random.multinomial(rows, [first / rows, second / rows, 1 - (first + second) / rows], 20_000)
    resampled = (drawn[:, 0] - drawn[:, 1]) / rows

    difference = Difference.between(
        Measured(0.8, resampled, rows), Measured(0.88, np.zeros(20_000), rows), significance=0.05
    )

    p12, p21 = (first + 1) / (rows + 2), (second + 1) / (rows + 2)
    half = 1.96 * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / (rows + 2))
    assert (difference.high - difference.low) / 2 == pytest.approx(half, rel=0.1)


def test_the_difference_is_paired() -> None:
    resampled = np.random.default_rng(0).random(100)

    difference = Difference.between(
        Measured(0.6, resampled + 0.01, 10**6), Measured(0.5, resampled, 10**6), significance=0.05
    )

    assert [difference.low, difference.high] == pytest.approx([0.1, 0.1], abs=1e-5)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=30), st.floats(0.001, 0.499))
def test_swapping_two_models_turns_the_difference_around(
    resampled: list[tuple[float, float]], significance: float
) -> None:
    mine, other = (Measured(column[0], np.array(column), 30) for column in zip(*resampled, strict=True))

    there = Difference.between(mine, other, significance=significance)
    back = Difference.between(other, mine, significance=significance)

    assert there.low <= there.high
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


@pytest.mark.parametrize("deviation", [0.0, 0.004, 0.05])
@pytest.mark.parametrize("tolerance", [0.005, 0.01, 0.1])
def test_with_the_rows_that_are_needed_an_equal_model_passes_nine_times_of_ten(
    deviation: float, tolerance: float
) -> None:
    rows = 10_000
    resampled = np.tile([-deviation, deviation], 50)
    needed = bootstrap.rows_needed(
        Measured(0.5, resampled, rows), Measured(0.5, np.zeros(100), rows), tolerance=tolerance, significance=0.05
    )

    assert needed is not None
    # The deviation of the difference shrinks with the root of the rows.
    scaled = deviation * np.sqrt(rows / needed)
    drawn = np.random.default_rng(0).normal(0, np.hypot(scaled, np.sqrt(2) / needed), 1000)
    passed = np.mean([outcome(value, noise=scaled, rows=needed, tolerance=tolerance) == "passed" for value in drawn])
    assert passed == pytest.approx(0.9, abs=0.035)


def test_no_number_of_rows_decides_about_a_difference_that_is_the_margin() -> None:
    assert bootstrap.rows_needed(measured(0.5), measured(0.5), tolerance=0, significance=0.05) is None


def test_a_rival_holds_its_own_value_and_how_much_better_the_model_is() -> None:
    mine, theirs = measured(0.9, [0.92, 0.9, 0.88]), measured(0.95, [0.96, 0.95, 0.94])

    difference = Difference.between(mine, theirs, significance=0.05)
    assert difference.value == pytest.approx(-0.05)
    row = decision.rival("the champion", "abc", mine, theirs, LIMITS)
    assert row.model_dump() == {
        "name": "the champion",
        "run_id": "abc",
        "value": 0.95,
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "verdict": "worse",
        "outcome": "failed",
        "rows_needed": bootstrap.rows_needed(mine, theirs, tolerance=0.01, significance=0.05),
    }


@pytest.mark.parametrize(
    ("compared", "text"),
    [
        pytest.param(rival(0.0, "run b"), "level with run b (0.9000; indistinguishable)", id="level"),
        pytest.param(rival(1e-16, "run b"), "level with run b (0.9000; indistinguishable)", id="rounding"),
        pytest.param(
            rival(-3.21e-5, "run b"), "3.2e-05 below run b (0.9000; indistinguishable)", id="less than four decimals"
        ),
        pytest.param(rival(0.025, "run b", half=0.01), "0.0250 above run b (0.9000; better)", id="above"),
        pytest.param(rival(-0.025, "run b", half=0.01), "0.0250 below run b (0.9000; worse)", id="below"),
    ],
)
def test_a_rival_says_where_the_model_stands(compared: RivalRow, text: str) -> None:
    assert str(compared) == text
