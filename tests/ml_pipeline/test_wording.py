import pytest

from ml_pipeline.wording import counted, number, signed


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0.0, "0.0000", "0.0000"),
        (-0.0, "0.0000", "0.0000"),
        (0.95 - 0.94 - 0.01, "0.0000", "0.0000"),
        (0.12345, "0.1235", "+0.1235"),
        (-0.5, "-0.5000", "-0.5000"),
        (0.001, "0.0010", "+0.0010"),
        (0.000521, "0.00052", "+0.00052"),
        (-0.0000321, "-3.2e-05", "-3.2e-05"),
        (36.04368, "36.0437", "+36.0437"),
        (1234567.8, "1.235e+06", "+1.235e+06"),
        (float("inf"), "inf", "+inf"),
        (float("nan"), "nan", "+nan"),
    ],
)
def test_a_number_shows_what_it_is(value: float, plain: str, with_sign: str) -> None:
    assert (number(value), signed(value)) == (plain, with_sign)


@pytest.mark.parametrize(("count", "text"), [(0, "0 rows"), (1, "1 row"), (2500, "2,500 rows")])
def test_a_count_has_its_noun(count: int, text: str) -> None:
    assert counted(count, "row") == text
