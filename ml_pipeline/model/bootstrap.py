"""How certain a metric, or a difference of two, is: the paired bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from ml_pipeline.errors import InputError
from ml_pipeline.model.metrics import Responses, Values, metric_value
from ml_pipeline.wording import signed

RESAMPLES = 1000
"""Bootstrap resamples of the validation rows. Fixed, as is their seed, so that any two runs are resampled alike."""
SEED = 20_000
MOST_ROWS = 20_000
"""Rows that the bootstrap takes at most: its cost grows with them, and a slightly wide interval misleads nobody."""
POWER = 0.9
_PSEUDO = 2
_BEST = {"positive_likelihood_ratio": math.inf}


def bootstrap(metric: str, responses: Responses, truth: NDArray[np.int64]) -> Values:
    """The metric on resamples of the rows, drawn with replacement within each class.

    The resamples depend on the true classes alone. Two models on the same rows are therefore resampled alike, and the
    difference of their metrics is a paired bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapters 8 and 13; for comparing classifiers: Koehn, Statistical significance tests for machine translation
    evaluation, 2004).

    Returns:
        ``RESAMPLES`` values of the metric.
    """
    random = np.random.default_rng(SEED)
    # Rows come in the order of their hash, so the first ones are a random sample.
    strata = [np.flatnonzero(truth[:MOST_ROWS] == value) for value in np.unique(truth[:MOST_ROWS])]
    values = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = np.concatenate([random.choice(stratum, len(stratum)) for stratum in strata])
        values[i] = metric_value(metric, responses, rows, truth[rows])
    return values


class Measured(NamedTuple):
    """A metric of a model on the rows of a table."""

    value: float
    resampled: Values
    """The metric on the bootstrap's resamples of the rows."""
    rows: int
    """Rows that were resampled."""

    def interval(self, metric: str, significance: float) -> tuple[float, float]:
        """Bounds that hold the metric with probability 1 - significance; the upper one is at most its best value."""
        half = _half_width(self.resampled, self.rows, significance)
        # scikit-learn's scorers of losses are negated.
        best = 0.0 if metric.startswith("neg_") else _BEST.get(metric, 1.0)
        return self.value - half, max(self.value, min(self.value + half, best))


def measure(metric: str, responses: Responses, truth: NDArray[np.int64]) -> Measured:
    """The metric of a model's responses, and how certain it is.

    Raises:
        InputError: there are no rows, or the metric can't be computed for this target or this kind of model.
    """
    if not len(truth):
        raise InputError(f"{metric} can't be measured: the table has no rows")
    # A prediction outside the classes is wrong, whatever the truth; scorers expect one of the classes.
    wrong = (truth + 1) % len(responses.classes.values)
    responses = replace(responses, labels=np.where(responses.labels < 0, wrong, responses.labels))
    value = metric_value(metric, responses, np.arange(len(truth)), truth)
    return Measured(value, bootstrap(metric, responses, truth), min(len(truth), MOST_ROWS))


def _quantile(rows: int, significance: float) -> float:
    return float(student.ppf(1 - significance / 2, max(1, rows - 1)))


def _variance(resampled: Values, rows: int) -> float:
    """The variance of a metric, without the bootstrap's bias of (n - 1)/n."""
    return float(np.var(resampled)) * rows / max(1, rows - 1)


def _half_width(resampled: Values, rows: int, significance: float) -> float:
    """Half of an interval: Student's quantile of the bootstrap's standard error.

    Percentiles of resamples are too narrow on small tables, and have no width if no row differs: equal models would
    seem different. A row more on either side, as in the interval of Bonett and Price for paired proportions, adds 2/n²
    to the variance (Adjusted Wald confidence interval for a difference of binomial proportions based on paired data,
    2012; Hesterberg, What teachers should know about the bootstrap, 2015, on the quantile and the bias). The row counts
    as one that changes the metric by 1/n, as a prediction does; of unbounded metrics, it may change it by more.
    """
    return _quantile(rows, significance) * math.sqrt(_variance(resampled, rows) + _PSEUDO / rows**2)


def rows_needed(mine: Measured, other: Measured, *, tolerance: float, significance: float) -> int | None:
    """Rows that decide, nine times of ten, if the true difference is the measured one; ``None`` if it is the margin.

    That is the sample size of a test for non-inferiority: the distance from the margin is as wide as the quantiles of
    significance and power together, in standard errors (Chow, Shao, Wang and Lokhnygina, Sample Size Calculations in
    Clinical Research, 2017, section 3.1), which shrink with the rows as those of ``_half_width`` do.
    """
    rows, normal = min(mine.rows, other.rows), NormalDist()
    quantiles = (normal.inv_cdf(1 - significance / 2) + normal.inv_cdf(POWER)) ** 2
    of_a_row = quantiles * _variance(mine.resampled - other.resampled, rows) * rows
    distance = (mine.value - other.value + tolerance) ** 2
    needed = of_a_row + math.sqrt(of_a_row**2 + 4 * distance * _PSEUDO * quantiles)
    return math.ceil(needed / (2 * distance)) if distance and math.isfinite(needed / distance) else None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better one model is than another on the same rows."""

    value: float
    low: float
    high: float
    """Bounds of the interval that holds the difference with probability 1 - significance."""

    @classmethod
    def between(cls, mine: Measured, other: Measured, *, significance: float) -> Difference:
        """The difference of two metrics, with the interval of their paired bootstrap."""
        value = mine.value - other.value
        half = _half_width(mine.resampled - other.resampled, min(mine.rows, other.rows), significance)
        return cls(value=value, low=value - half, high=value + half)

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where chance does not explain the difference, else ``indistinguishable``."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "indistinguishable"

    def __str__(self) -> str:
        return f"{signed(self.value)} [{signed(self.low)}, {signed(self.high)}], {self.verdict}"


def f1_leads(
    truth: NDArray[np.int64], mine: NDArray[np.int64], other: NDArray[np.int64], *, classes: int, significance: float
) -> list[Difference]:
    """How much better one model's F1 of each class is than another's, with the interval of a paired bootstrap.

    Rows are drawn from all rows, not within each class: resamples that lack a class of two or three rows are why so few
    rows show nothing. The significance is shared among the classes (Bonferroni).
    """
    answers = np.column_stack([truth, mine, other])
    # Rows with the same three answers are alike, so that how many of each are drawn is all there is to draw.
    kinds, counts = np.unique(answers, axis=0, return_counts=True)
    true, first, second = kinds.T

    def f1(labels: NDArray[np.int64], drawn: NDArray[np.int64]) -> Values:
        known, hits = labels >= 0, labels == true
        named = np.bincount(labels[known], drawn[known], classes) + np.bincount(true, drawn, classes)
        right = 2 * np.bincount(true[hits], drawn[hits], classes)
        return np.divide(right, named, where=named > 0, out=np.zeros(classes))

    def lead(drawn: NDArray[np.int64]) -> Values:
        return f1(first, drawn) - f1(second, drawn)

    random = np.random.default_rng(SEED)
    shares = counts / len(answers)
    resampled = [lead(random.multinomial(len(answers), shares)) for _ in range(RESAMPLES)]
    level = significance / classes
    low, high = np.quantile(resampled, [level / 2, 1 - level / 2], axis=0)
    return [
        Difference(value=float(value), low=float(least), high=float(most))
        for value, least, most in zip(lead(counts), low, high, strict=True)
    ]


def f1_verdicts(
    truth: NDArray[np.int64], labels: Sequence[int], other: Responses, *, significance: float
) -> dict[str, str]:
    """Whether a model's F1 of each class is better or worse than another's, by class; empty without labels."""
    if not labels:
        return {}
    names = [str(value) for value in other.classes.values]
    answers = truth[:MOST_ROWS], np.asarray(labels), other.labels[:MOST_ROWS]
    leads = f1_leads(*answers, classes=len(names), significance=significance)
    return {name: lead.verdict for name, lead in zip(names, leads, strict=True)}
