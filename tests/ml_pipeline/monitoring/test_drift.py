from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_pipeline.data.histograms import LEAST, RARE, Counts, Histogram, bin_names, edges_of, place
from ml_pipeline.monitoring import drift
from ml_pipeline.monitoring.drift import Drift

LIMIT, SIGNIFICANCE = 0.2, 0.05


def of_numbers(name: str, training: NDArray[Any], batch: NDArray[Any]) -> Histogram:
    given = training[~np.isnan(training)]
    quantiles = np.quantile(given, np.linspace(0, 1, 11), method="inverted_cdf").tolist() if len(given) else []
    edges = edges_of(quantiles)

    def counted(values: NDArray[Any]) -> Counts:
        return np.bincount(place(values, edges), minlength=len(edges) + 2).astype(np.int64)

    names = bin_names(edges)
    return Histogram(feature=name, bins=names, training=counted(training), batch=counted(batch), edges=edges)


def of_counts(training: list[int], batch: list[int]) -> Histogram:
    names = tuple(map(str, range(len(training))))
    return Histogram(feature="text", bins=names, training=np.array(training), batch=np.array(batch))


def compared(*histograms: Histogram) -> list[Drift]:
    return drift.compare(histograms, limit=LIMIT, significance=SIGNIFICANCE)


def test_the_index_is_the_formula() -> None:
    p, q = np.array([0.2, 0.8]), np.array([0.5, 0.5])
    found = drift.psi(q * 1e9, p * 1e9)
    assert found == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=1e-6)


def test_distances_of_equal_and_of_disjoint_shares() -> None:
    same, apart = compared(of_counts([50, 50, 0], [5, 5, 0]), of_counts([50, 0, 0], [0, 50, 0]))
    assert same.jensen_shannon == pytest.approx(0)
    assert apart.jensen_shannon == pytest.approx(1)
    assert apart.alarm
    assert not same.alarm


def test_the_distances_are_those_of_their_formulas() -> None:
    training, batch = np.array([10, 20, 30, 40, 5]), np.array([0, 5, 5, 20, 1])
    names = tuple(map(str, range(5)))
    (one,) = compared(Histogram(feature="x", bins=names, training=training, batch=batch, edges=(0.0, 1.0, 3.0)))
    p, q = training / training.sum(), batch / batch.sum()
    middle = (p + q) / 2
    divergence = [(side[side > 0] * np.log2(side[side > 0] / middle[side > 0])).sum() for side in (p, q)]
    assert one.jensen_shannon == pytest.approx(np.sqrt(sum(divergence) / 2))
    assert one.jensen_shannon == pytest.approx(0.29502306528525596)
    # Earlier releases computed it by hand, and wrote it to people's monitoring tables.
    assert one.wasserstein == pytest.approx(0.46398036356916883)


def test_the_wasserstein_distance_of_a_shift_is_near_the_shift() -> None:
    random = np.random.default_rng(0)
    training = random.uniform(0, 1, 20_000)
    (found,) = compared(of_numbers("x", training, random.uniform(0.2, 1.2, 20_000)))
    # In standard deviations; the outer bins have no middle, so that the estimate is a little low.
    assert found.wasserstein == pytest.approx(0.2 * np.sqrt(12), rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [30, 100, 300])
@pytest.mark.parametrize("training_rows", [60, 2000])
def test_fresh_samples_raise_an_alarm_in_five_of_a_hundred_at_most(rows: int, training_rows: int) -> None:
    random = np.random.default_rng(rows + training_rows)
    shares = 1 / np.arange(1, 13) ** 2.0
    shares /= shares.sum()
    alarms, tries = 0, 300
    for _ in range(tries):
        histograms = [
            of_numbers(f"x{i}", random.lognormal(size=training_rows), random.lognormal(size=rows)) for i in range(4)
        ]
        for _ in range(2):
            training, batch = random.multinomial(training_rows, shares), random.multinomial(rows, shares)
            own = training >= max(LEAST, RARE * training_rows)
            sides = ([*side[own], side[~own].sum(), 0] for side in (training, batch))
            histograms.append(of_counts(*sides))
        alarms += any(one.alarm for one in compared(*histograms))
    # A hundred tries may have seven by bad luck alone where five are the mean: three hundred say more.
    assert alarms <= 0.05 * tries + 2 * np.sqrt(0.05 * 0.95 * tries)


@pytest.mark.parametrize("rows", [100, 1000])
def test_the_one_feature_of_ten_that_has_drifted_is_named(rows: int) -> None:
    random = np.random.default_rng(rows)
    training = random.normal(size=(10, 2000))
    batch = random.normal(size=(10, rows))
    batch[7] += 1
    found = compared(*(of_numbers(f"x{i}", training[i], batch[i]) for i in range(10)))
    assert [one.feature for one in found if one.alarm] == ["x7"]


def test_a_new_category_and_missing_values_are_found() -> None:
    category, missing = compared(of_counts([500, 500, 0, 0], [40, 40, 20, 0]), of_counts([990, 10], [60, 40]))
    assert category.alarm
    assert missing.alarm
    assert missing.histogram.missing == (0.01, 0.4)
    assert drift.missing_chance(missing.histogram) < 1e-6
    assert drift.missing_chance(of_counts([90, 10], [9, 1])) > 0.5


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_a_constant_that_moves_either_way_is_found(shift: float) -> None:
    constant = np.full(500, 3.0)
    same, moved = compared(
        of_numbers("same", constant, constant[:100]), of_numbers("x", constant, constant[:100] + shift)
    )
    assert not same.alarm
    assert moved.alarm
    assert moved.wasserstein is None


@pytest.mark.parametrize(
    ("training", "batch"),
    [
        pytest.param([], [1.0, 2.0], id="no training rows"),
        pytest.param([1.0, 2.0, 3.0], [], id="no batch"),
        pytest.param([np.nan] * 5, [np.nan] * 3, id="nothing but missing"),
        pytest.param([1.0, 2.0, 3.0] * 50, [9.0], id="one row"),
        pytest.param([1.0, np.inf, -np.inf] * 50, [np.inf, 2.0, -np.inf], id="infinite"),
    ],
)
def test_too_little_raises_no_alarm(training: list[float], batch: list[float]) -> None:
    (found,) = compared(of_numbers("x", np.array(training), np.array(batch)))
    assert not found.alarm
    assert np.isfinite([found.psi, found.p_value, found.jensen_shannon]).all()


def test_bins_in_words() -> None:
    assert bin_names(()) == ("any value", "(missing)")
    assert bin_names((1.0, 2.5)) == ("up to 1", "1 to 2.5", "above 2.5", "(missing)")
    assert bin_names(edges_of([0.0, 0.0, 1.0, 2.0]))[:3] == ("below 0", "0", "0 to 1")
    assert bin_names(edges_of([3.0] * 11)) == ("below 3", "3", "above 3", "(missing)")
