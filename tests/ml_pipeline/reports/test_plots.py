from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_pipeline.reports.plots import MINUS, Axis, Mark, Plot, line, number, short, signed, trend

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@given(VALUES)
def test_an_axis_holds_its_values_between_few_round_ticks(values: list[float]) -> None:
    axis = Axis.around(values)
    room = 1e-6 * (axis.high - axis.low)
    assert axis.low - room <= min(values) <= max(values) <= axis.high + room
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 7
    assert len({text for _, text in ticks}) == len(ticks)
    assert (ticks[0][0], ticks[-1][0]) == (0, 100)


def test_ticks_of_large_numbers_are_short() -> None:
    assert [text for _, text in Axis.around([0.0, -1.2e7]).ticks()] == [
        f"{MINUS}1.5e7",
        f"{MINUS}1e7",
        f"{MINUS}5e6",
        "0",
    ]


def test_differences_that_are_rounding_have_an_axis_with_numbers() -> None:
    texts = [text for _, text in Axis.around([0.0, 1e-17]).ticks(sign=True)]
    assert texts == [f"{MINUS}0.0010", f"{MINUS}0.0005", "0.0000", "+0.0005", "+0.0010"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04171, "+0.0417"),
        (-0.04171, f"{MINUS}0.0417"),
        (-0.00001, f"{MINUS}1e{MINUS}05"),
        (0.0, "0.0000"),
        (None, ""),
    ],
)
def test_a_difference_has_a_sign_unless_it_is_none(value: float | None, text: str) -> None:
    assert signed(value) == text
    assert number(value) == text.removeprefix("+")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1234, "1.2k"), (45_678, "45k"), (999_999, "999k"), (2_500_000, "2.5M")]
)
def test_a_count_is_short(count: int, text: str) -> None:
    assert short(count) == text


def test_the_limit_and_what_lies_below_it_are_in_sight() -> None:
    plot = Plot(title="", marks=[Mark(label="", value=0.9, low=0.88, high=0.92, kind="mine")], limit=0.8)
    assert plot.axis.low < 0.8
    assert plot.axis.high >= 0.92


def test_a_line_has_its_origin_below_left() -> None:
    assert line([0, 0.5, 1], [0, 0.75, 1]) == "0.00,100.00 50.00,25.00 100.00,0.00"
    assert line([0, 1], [1, 0], steps=True) == "0.00,0.00 0.00,100.00 100.00,100.00 100.00,100.00"


def test_a_trend_goes_from_left_to_right() -> None:
    points = trend([(0.8, "other", "a"), (0.9, "mine", "b")], Axis.around([0.8, 0.9]))
    assert [(point.x, point.y, point.label) for point in points] == [(2, 100, "a"), (98, 0, "b")]
