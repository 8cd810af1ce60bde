"""How certain a metric, or a difference of two, is: the paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml_pipeline.model.metrics import Responses, Values, metric_value

RESAMPLES = 1000
"""Bootstrap resamples of the validation rows. Fixed, as is their seed, so that any two runs are resampled alike."""
SEED = 20_000
MOST_ROWS = 20_000
"""Rows that the bootstrap takes at most: its cost grows with them, and a slightly wide interval misleads nobody."""


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


Measured = tuple[float, Values]
"""A metric, and its values on the bootstrap's resamples of the same rows."""


def measure(metric: str, responses: Responses, truth: NDArray[np.int64]) -> Measured:
    """The metric of a model's responses, and how certain it is."""
    # A prediction that is none of the classes is wrong, whatever the truth; scorers want it to be some class.
    wrong = (truth + 1) % len(responses.classes.values)
    responses = replace(responses, labels=np.where(responses.labels < 0, wrong, responses.labels))
    return metric_value(metric, responses, np.arange(len(truth)), truth), bootstrap(metric, responses, truth)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better one model is than another on the same rows."""

    value: float
    low: float
    high: float
    """Bounds of the interval that holds the difference with probability 1 - significance."""

    @classmethod
    def between(cls, mine: Measured, other: Measured, *, significance: float) -> Difference:
        """The difference of two metrics, with the percentile interval of their paired bootstrap."""
        low, high = np.quantile(mine[1] - other[1], [significance / 2, 1 - significance / 2])
        return cls(value=mine[0] - other[0], low=float(low), high=float(high))

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where chance does not explain the difference, else ``indistinguishable``."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "indistinguishable"

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}], {self.verdict}"


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
