"""How far a batch's values lie from the training rows', from two histograms of the same bins: no Spark.

The distances are the population stability index (Siddiqi, Credit Risk Scorecards, 2006, chapter 9; a symmetrised
Kullback-Leibler divergence), the Jensen-Shannon distance (Lin, Divergence measures based on the Shannon entropy, 1991)
and, for numbers, the Wasserstein distance (Villani, Optimal Transport, 2009, chapter 6).

The index of a small sample is above zero by chance alone: by about (bins - 1) (1/n + 1/m) for n and m rows. Divided by
(1/n + 1/m) it follows a chi-squared distribution with bins - 1 degrees of freedom (Yurdakul, Statistical properties of
the population stability index, 2018). An alarm needs both: an index past the limit, and more than chance explains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from ml_pipeline.data.histograms import Counts, Histogram
from ml_pipeline.registry.evidence import ClassMetrics

_SMOOTHING = 0.5
"""Added to each count, so that a bin without rows has a logarithm (Jeffreys' prior of a multinomial)."""
_BEYOND_DOUBT = 1e-12
_SEED = 20_000


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far one feature of a batch lies from the training data."""

    histogram: Histogram
    psi: float
    """Population stability index, 0 or more."""
    chance: float
    """What the index of such samples of one distribution is on average."""
    p_value: float
    """Probability of an index as great among samples of one distribution."""
    jensen_shannon: float
    """Jensen-Shannon distance, from 0 to 1."""
    wasserstein: float | None
    """Wasserstein distance in standard deviations of the training data; ``None`` where it isn't defined."""
    alarm: bool

    @property
    def feature(self) -> str:
        """The feature's name."""
        return self.histogram.feature


def psi(training: ArrayLike, batch: ArrayLike) -> Any:
    """Population stability index of counts, along their last axis: the sum of (p - q) ln(p / q) over the bins."""
    p, q = _smooth(batch), _smooth(training)
    return ((p - q) * np.log(p / q)).sum(axis=-1)


def _smooth(counts: ArrayLike) -> NDArray[np.float64]:
    smoothed = np.asarray(counts, dtype=float) + _SMOOTHING
    return smoothed / smoothed.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def compare(histograms: Sequence[Histogram], *, limit: float, significance: float) -> list[Drift]:
    """Measure each feature, and raise an alarm where it has drifted.

    The limit is that of the population stability index. The significance is the probability of any alarm on a batch
    from the training distribution. It is divided by the number of features (Bonferroni), which holds however the
    features depend on each other.
    """
    level = significance / max(1, len(histograms))
    return [_measure(histogram, limit=limit, level=level) for histogram in histograms]


def _measure(histogram: Histogram, *, limit: float, level: float) -> Drift:
    held = (histogram.training + histogram.batch) > 0
    training, batch = histogram.training[held], histogram.batch[held]
    n, m = int(batch.sum()), int(training.sum())
    if not n or not m or len(batch) < 2:
        value, chance, p_value = 0.0, 0.0, 1.0
    else:
        value, noise, free = float(psi(training, batch)), 1 / n + 1 / m, len(batch) - 1
        chance = free * noise
        p_value = float(chdtrc(free, value / noise))
        if value > limit and _BEYOND_DOUBT < p_value < level:
            p_value = _simulated(training, batch, value, level=level)
    return Drift(
        histogram=histogram,
        psi=value,
        chance=chance,
        p_value=p_value,
        jensen_shannon=_jensen_shannon(training, batch),
        wasserstein=_wasserstein(histogram),
        alarm=value > limit and p_value < level,
    )


def _simulated(training: Counts, batch: Counts, value: float, *, level: float) -> float:
    """The p-value by simulation, which holds where bins with few rows make the chi-squared one too small.

    Both samples are drawn from what they have in common (parametric bootstrap: Efron and Tibshirani, An Introduction
    to the Bootstrap, 1993, chapter 16), so often that the level can be reached several times over.
    """
    random = np.random.default_rng(_SEED)
    pooled = (training + batch) / (training.sum() + batch.sum())
    draws = int(np.ceil(max(1000, 10 / level)))
    drawn = psi(random.multinomial(training.sum(), pooled, draws), random.multinomial(batch.sum(), pooled, draws))
    return float((1 + (drawn >= value).sum()) / (1 + draws))


def predicted(per_class: Mapping[str, ClassMetrics]) -> dict[str, int]:
    """How often a model predicted each class, from precision and recall of each; nothing if that can't be computed."""
    right = {name: row.recall * row.rows for name, row in per_class.items()}
    counts = {name: round(right[name] / row.precision) if row.precision else 0 for name, row in per_class.items()}
    if sum(counts.values()) != round(sum(row.rows for row in per_class.values())):
        return {}
    # As Spark has a boolean as text.
    return {{"True": "true", "False": "false"}.get(name, name): count for name, count in counts.items()}


def missing_chance(histogram: Histogram) -> float:
    """Probability that chance alone leaves a batch so many missing values (Fisher's exact test, one-sided)."""
    from scipy.stats import hypergeom

    lacking, n = int(histogram.batch[-1]), int(histogram.batch.sum())
    everywhere, total = lacking + int(histogram.training[-1]), n + int(histogram.training.sum())
    return float(hypergeom.sf(lacking - 1, total, everywhere, n))


def _jensen_shannon(training: Counts, batch: Counts) -> float:
    """Root of the Jensen-Shannon divergence to base 2: 0 for equal shares, 1 for shares without a bin in common."""
    from scipy.spatial.distance import jensenshannon

    return float(jensenshannon(training, batch, base=2)) if training.sum() and batch.sum() else 0.0


def _wasserstein(histogram: Histogram) -> float | None:
    """Area between the two cumulative distributions of the values that are there, over the training deviation.

    A bin stands for its middle, the two outer ones for their bound: it is a lower estimate, from the histogram alone.
    """
    from scipy.stats import wasserstein_distance

    edges = np.asarray(histogram.edges)
    training, batch = histogram.training[:-1], histogram.batch[:-1]
    if len(edges) < 2 or not training.sum() or not batch.sum():
        return None
    middles = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    shares = training / training.sum()
    deviation = float(np.sqrt(max(0.0, shares @ middles**2 - (shares @ middles) ** 2)))
    return float(wasserstein_distance(middles, middles, batch, training)) / deviation if deviation > 0 else None
