"""How often the verdict is wrong: equal models that fail, and worse models that do not.

Tables and models are simulated, and measured and judged by the code of ``compare`` and ``validate``. The worse model
answers some rows at random, as many as put it below the tolerance by twice the half width of the interval: that is what
a table of this size can resolve.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import t as student

from ml_pipeline.model import bootstrap
from ml_pipeline.model.bootstrap import Measured, measure
from ml_pipeline.model.decision import Limits, decide, rival
from ml_pipeline.model.metrics import Classes, Responses, metric_value

SIGNIFICANCE = 0.05
TOLERANCE = 0.02
MOST_EQUAL, LEAST_WORSE = 0.05, 0.90
"""Share of the tables on which an equal model, and a worse one, may and must fail."""
SIZES = (25, 100, 500, 2500)
SHARES = {
    "accuracy": (0.5, 0.3, 0.2),
    "f1_macro": (0.6, 0.3, 0.1),
    "balanced_accuracy": (0.7, 0.3),
    "roc_auc": (0.7, 0.3),
    "neg_log_loss": (0.5, 0.3, 0.2),
}
"""Metrics, each with the shares of the classes."""
BRANCH = 10
"""Equal runs of the branch that a model is compared with."""
RESAMPLES = 100
"""Of the bootstrap: enough for its standard error, and ten times as fast as the pipeline's."""
PILOT = 60
"""Tables that show how much a difference varies."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The rows of a simulated table."""

    truth: NDArray[np.int64]
    signal: Array
    """What each model sees of each class."""

    @classmethod
    def draw(cls, shares: tuple[float, ...], rows: int, random: np.random.Generator) -> Table:
        """Rows whose classes have these shares, two rows of each class at least."""
        counts = [max(2, round(share * rows)) for share in shares]
        truth = np.repeat(np.arange(len(shares)), counts)
        random.shuffle(truth)
        noise = random.normal(size=(len(truth), len(shares)))
        return cls(truth, 2.0 * np.eye(len(shares))[truth] + noise)

    def answers(self, random: np.random.Generator, *, harm: float = 0.0) -> Responses:
        """What a model answers that sees the signal with noise of its own, and a share of the rows not at all."""
        seen = self.signal + 0.7 * random.normal(size=self.signal.shape)
        blind = random.random(len(seen)) < harm
        seen[blind] = random.permutation(seen)[blind]
        probabilities = np.exp(seen - seen.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        classes = Classes(tuple(range(self.signal.shape[1])))
        return Responses(classes, probabilities.argmax(axis=1), probabilities)


def value(metric: str, table: Table, answers: Responses) -> float:
    """The metric on the whole table."""
    return metric_value(metric, answers, np.arange(len(table.truth)), table.truth)


def resolvable_harm(metric: str, rows: int, random: np.random.Generator) -> float | None:
    """The least harm that the table can resolve; ``None`` if it can resolve none."""
    shares = SHARES[metric]
    population = Table.draw(shares, 40_000, random)
    best = value(metric, population, population.answers(random))
    quantile = float(student.ppf(1 - SIGNIFICANCE / 2, rows - 1))
    for harm in np.linspace(0.02, 1, 50):
        fall = best - value(metric, population, population.answers(random, harm=harm))
        if fall <= TOLERANCE:
            continue
        tables = [Table.draw(shares, rows, random) for _ in range(PILOT)]
        leads = [
            value(metric, table, table.answers(random, harm=harm)) - value(metric, table, table.answers(random))
            for table in tables
        ]
        half = quantile * float(np.sqrt(np.var(leads, ddof=1) + 2 / rows**2))
        if fall >= TOLERANCE + 2 * half:
            return float(harm)
    return None


def fails(metric: str, mine: Measured, *others: Measured) -> bool:
    """Whether a model fails against others that share the significance."""
    limits = Limits(metric=metric, threshold=-np.inf, tolerance=TOLERANCE, significance=SIGNIFICANCE)
    share = limits.shared(len(others))
    rivals = [rival(f"run {number}", str(number), mine, other, share) for number, other in enumerate(others)]
    return not decide(limits, mine, rivals).passed


def simulate(case: tuple[str, int, int]) -> tuple[float, float | None, float]:
    """The share of the tables on which an equal model, a worse one, and one among equal runs of its branch fail."""
    metric, rows, tables = case
    bootstrap.RESAMPLES = RESAMPLES
    random = np.random.default_rng([rows, list(SHARES).index(metric)])
    harm = resolvable_harm(metric, rows, random)
    equal, worse, among = [], [], []
    for number in range(tables):
        table = Table.draw(SHARES[metric], rows, random)
        ask: Callable[..., Measured] = lambda harm=0.0, table=table: measure(  # noqa: E731  bound to this table
            metric, table.answers(random, harm=harm), table.truth
        )
        served, mine = ask(), ask()
        equal.append(fails(metric, mine, served))
        if harm is not None:
            worse.append(fails(metric, ask(harm), served))
        if number % 4 == 0:
            among.append(fails(metric, mine, *(ask() for _ in range(BRANCH))))
    return float(np.mean(equal)), float(np.mean(worse)) if worse else None, float(np.mean(among))


def main() -> None:
    """Print both error rates of each metric and size, and judge them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=100, help="simulated tables of each metric and size")
    arguments = parser.parse_args()
    cases = [(metric, rows, arguments.tables) for metric, rows in itertools.product(SHARES, SIZES)]
    with ProcessPoolExecutor() as pool:
        rates = list(track(pool.map(simulate, cases), "simulating", total=len(cases)))
    print(f"{'metric':<18} {'rows':>6} {'equal fails':>12} {'worse fails':>12} {'fails among ' + str(BRANCH):>15}")
    kept = True
    for (metric, rows, _), (equal, worse, among) in zip(cases, rates, strict=True):
        good = equal <= MOST_EQUAL and among <= MOST_EQUAL and (worse is None or worse >= LEAST_WORSE)
        kept &= good
        shown = "too small" if worse is None else f"{worse:.0%}"
        print(f"{metric:<18} {rows:>6} {equal:>12.0%} {shown:>12} {among:>15.0%} {'' if good else 'NOT KEPT'}")
    print(f"limits: an equal model fails on at most {MOST_EQUAL:.0%}, a worse one on at least {LEAST_WORSE:.0%}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
