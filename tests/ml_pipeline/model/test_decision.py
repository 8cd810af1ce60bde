import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_pipeline.model import decision
from ml_pipeline.model.bootstrap import Difference
from ml_pipeline.model.decision import Verdict, decide
from ml_pipeline.registry.evidence import RivalRow

ROUNDING = 1e-12
"""The largest fall that is taken for rounding."""


def rival(
    difference: float, name: str = "the champion", *, value: float = 0.9, low: float = -1, high: float = 1
) -> RivalRow:
    verdict = Difference(value=difference, low=low, high=high).verdict
    row = {"value": value, "difference": difference, "low": low, "high": high}
    return RivalRow(name=name, run_id=f"id of {name}", verdict=verdict, **row)


def judge(value: float, *rivals: RivalRow, threshold: float = 0.8, tolerance: float = 0.01) -> Verdict:
    return decide("f1", value, rivals, threshold=threshold, tolerance=tolerance)


def hundredths(mine: int, other: int) -> RivalRow:
    return rival(mine / 100 - other / 100, value=other / 100)


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


@given(mine=st.integers(0, 100), other=st.integers(0, 100), tolerance=st.integers(0, 100))
def test_a_model_may_fall_by_the_tolerance_and_no_further(mine: int, other: int, tolerance: int) -> None:
    verdict = judge(mine / 100, hundredths(mine, other), threshold=0, tolerance=tolerance / 100)

    assert verdict.passed is (other - mine <= tolerance)


@pytest.mark.parametrize(
    ("difference", "passed"),
    [(0.0, True), (-ROUNDING, True), (-2 * ROUNDING, False), (-0.001, False), (0.001, True)],
    ids=["level", "rounding", "more than rounding", "below", "above"],
)
def test_without_tolerance_a_model_may_not_fall(difference: float, passed: bool) -> None:
    assert judge(0.9, rival(difference), tolerance=0).passed is passed


def test_however_much_better_a_model_is_it_passes() -> None:
    assert judge(0.9, rival(0.5)).passed


@pytest.mark.parametrize(
    ("difference", "low", "high", "passed"),
    [
        pytest.param(-0.005, -0.009, -0.001, True, id="surely worse, within the tolerance"),
        pytest.param(-0.02, -0.1, 0.1, False, id="perhaps not worse, beyond the tolerance"),
    ],
)
def test_the_tolerance_decides_not_chance(difference: float, low: float, high: float, passed: bool) -> None:
    assert judge(0.9, rival(difference, low=low, high=high)).passed is passed


@given(st.lists(st.integers(-30, 30), max_size=8), st.integers())
def test_the_order_of_the_rivals_changes_nothing(thousandths: list[int], seed: int) -> None:
    rivals = [rival(difference / 1000, f"run {i}") for i, difference in enumerate(thousandths)]
    shuffled = random.Random(seed).sample(rivals, len(rivals))

    verdict = judge(0.9, *rivals)

    assert verdict.passed is judge(0.9, *shuffled).passed is all(difference >= -10 for difference in thousandths)


@given(st.lists(st.floats(-1, 1), max_size=5), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_greater_tolerance_refuses_no_more(differences: list[float], tolerances: list[float]) -> None:
    rivals = [rival(difference) for difference in differences]

    passed = [judge(0.9, *rivals, tolerance=tolerance).passed for tolerance in sorted(tolerances)]

    assert all(less <= more for less, more in pairwise(passed))


def test_a_pass_tells_what_it_reached_and_was_compared_with() -> None:
    verdict = judge(
        0.91234, rival(0.01234, "the champion, version 3", low=0.001), rival(-0.005, "run b", value=0.91734)
    )

    assert verdict == Verdict(
        passed=True,
        reason="f1 0.9123 reaches the threshold 0.8; "
        "0.0123 above the champion, version 3 (0.9000; better); 0.0050 below run b (0.9173; indistinguishable)",
    )


def test_a_pass_without_rivals_says_so() -> None:
    assert judge(0.9).reason == "f1 0.9000 reaches the threshold 0.8; nothing to compare with on the same rows"


def test_a_pass_names_the_first_three_rivals() -> None:
    reason = judge(0.9, *(rival(0, f"run {name}") for name in "abcd")).reason

    assert reason.partition("; ")[2] == "; ".join(
        f"level with run {name} (0.9000; indistinguishable)" for name in "abc"
    )


def test_a_model_that_misses_the_threshold_is_told_by_how_much_it_should_be_better() -> None:
    assert judge(0.79, threshold=0.85) == Verdict(passed=False, reason="f1 0.7900 misses the threshold 0.85")


def test_a_model_that_misses_the_threshold_fails_even_if_it_beats_every_rival() -> None:
    assert judge(0.7, rival(0.2)) == Verdict(passed=False, reason="f1 0.7000 misses the threshold 0.8")


def test_a_model_that_falls_is_refused_with_rival_metric_and_tolerance() -> None:
    verdict = judge(0.85, rival(0.01, "run a"), rival(-0.05, "run b", high=-0.01), rival(-0.01, "run c"))

    assert verdict == Verdict(
        passed=False, reason="f1 0.8500 is 0.0500 below run b (0.9000; worse), by more than the tolerance 0.01"
    )


def test_a_model_is_told_of_both_that_it_misses_and_that_it_falls() -> None:
    assert judge(0.75, rival(-0.15), tolerance=0.1).reason == (
        "f1 0.7500 misses the threshold 0.8; "
        "f1 0.7500 is 0.1500 below the champion (0.9000; indistinguishable), by more than the tolerance 0.1"
    )


@pytest.mark.parametrize(
    ("count", "named", "more"),
    [
        (1, "a", ""),
        (2, "ab", ""),
        (3, "abc", ""),
        (4, "abc", " and 1 more"),
        (6, "abc", " and 3 more"),
    ],
)
def test_of_many_rivals_three_are_named_and_the_others_counted(count: int, named: str, more: str) -> None:
    reason = judge(0.85, *(rival(-0.05, f"run {name}") for name in "abcdef"[:count])).reason

    fallen = "; ".join(f"0.0500 below run {name} (0.9000; indistinguishable)" for name in named)
    assert reason == f"f1 0.8500 is {fallen}{more}, by more than the tolerance 0.01"


@pytest.mark.parametrize(("passed", "word"), [(True, "passed"), (False, "failed")])
def test_the_word_of_a_verdict(passed: bool, word: str) -> None:
    assert Verdict(passed=passed, reason="").word == word


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


@pytest.mark.parametrize(("significance", "low", "high"), [(0.1, 5.0, 95.0), (0.2, 10.0, 90.0)])
def test_the_interval_leaves_out_half_the_significance_on_each_side(
    significance: float, low: float, high: float
) -> None:
    mine, other = 0.9, 0.7
    resampled = np.arange(101.0)

    difference = Difference.between((mine, resampled + 3), (other, np.full(101, 3.0)), significance=significance)

    assert [difference.low, difference.high] == pytest.approx([low, high])
    assert difference.value == mine - other


def test_the_difference_is_paired() -> None:
    resampled = np.random.default_rng(0).random(100)

    difference = Difference.between((0.6, resampled + 0.01), (0.5, resampled), significance=0.05)

    assert [difference.low, difference.high] == pytest.approx([0.01, 0.01])


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=30), st.floats(0.001, 0.499))
def test_swapping_two_models_turns_the_difference_around(
    resampled: list[tuple[float, float]], significance: float
) -> None:
    mine, other = ((column[0], np.array(column)) for column in zip(*resampled, strict=True))

    there = Difference.between(mine, other, significance=significance)
    back = Difference.between(other, mine, significance=significance)

    assert there.low <= there.high
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_a_rival_holds_its_own_value_and_how_much_better_the_model_is() -> None:
    mine, theirs = (0.9, np.array([0.92, 0.9, 0.88])), (0.95, np.array([0.96, 0.95, 0.94]))

    difference = Difference.between(mine, theirs, significance=0.05)
    assert difference.value == pytest.approx(-0.05)
    assert decision.rival("the champion", "abc", mine, theirs, significance=0.05).model_dump() == {
        "name": "the champion",
        "run_id": "abc",
        "value": 0.95,
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "verdict": "worse",
    }


@pytest.mark.parametrize(
    ("compared", "text"),
    [
        pytest.param(rival(0.0, "run b"), "level with run b (0.9000; indistinguishable)", id="level"),
        pytest.param(rival(0.025, "run b", low=0.01), "0.0250 above run b (0.9000; better)", id="above"),
        pytest.param(rival(-0.025, "run b", high=-0.01), "0.0250 below run b (0.9000; worse)", id="below"),
    ],
)
def test_a_rival_says_where_the_model_stands(compared: RivalRow, text: str) -> None:
    assert str(compared) == text
