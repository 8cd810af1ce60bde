"""The pictures that go with a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay

_MINE, _OTHER, _BAD = "#1f77b4", "#9aa5b1", "#d62728"
_MOST_BARS = 25


def confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """How many rows of each class were taken for which, on the validation table."""
    side = 3.2 + 0.35 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        truth,
        predicted,
        labels=range(len(classes)),
        display_labels=classes,
        include_values=len(classes) <= _MOST_BARS,
        cmap="Blues",
        colorbar=False,
        ax=axes,
        xticks_rotation=45 if max(map(len, classes)) > 3 else 0,
    )
    axes.set(title="Validation rows by class", xlabel="predicted", ylabel="true")
    return figure


def per_class(figures: Mapping[str, Mapping[str, float]]) -> Figure:
    """Precision, recall and F1 of each class, on the validation table."""
    figure = Figure(figsize=(7, 1.6 + 0.5 * len(figures)), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(figures))
    for i, name in enumerate(("precision", "recall", "f1")):
        axes.barh(at + (i - 1) * 0.26, [row[name] for row in figures.values()], 0.24, label=name)
    axes.set(yticks=at, yticklabels=list(figures), xlim=(0, 1), title="Validation, by class")
    axes.invert_yaxis()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def importance(features: Sequence[str], means: NDArray[Any], deviations: NDArray[Any], *, metric: str) -> Figure:
    """How much the metric drops when a feature's values are shuffled; the most important features only."""
    order = np.argsort(means, kind="stable")[::-1][:_MOST_BARS]
    figure = Figure(figsize=(7, 1.4 + 0.32 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.barh([features[i] for i in order], means[order], xerr=deviations[order], color=_MINE)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(title="Permutation importance on the validation table", xlabel=f"drop in {metric}")
    return figure


def comparison(mine: float, rivals: Sequence[Mapping[str, Any]], *, metric: str, threshold: float) -> Figure:
    """A model among those that it is compared with: the metric of each, and the interval of the difference.

    Args:
        mine: The new model's metric.
        rivals: Each with ``name``, ``value`` and the ``low`` and ``high`` bounds of the difference to it.
        metric: The metric's name.
        threshold: What a model must reach.
    """
    shown = rivals[:_MOST_BARS]
    figure = Figure(figsize=(7.5, 1.8 + 0.34 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.scatter([mine], [0], color=_MINE, zorder=3)
    for at, rival in enumerate(shown, start=1):
        # The interval of my lead, seen from my value: where it crosses my line, chance explains the difference.
        axes.plot([mine - rival["high"], mine - rival["low"]], [at, at], color=_OTHER, linewidth=2)
        axes.scatter([rival["value"]], [at], color=_OTHER, zorder=3)
    axes.axvline(mine, color=_MINE, linewidth=1, linestyle=":")
    axes.axvline(threshold, color=_BAD, linewidth=1, label="threshold")
    axes.set(
        yticks=range(len(shown) + 1),
        yticklabels=["this run", *(rival["name"] for rival in shown)],
        xlabel=metric,
        title="On the same rows, with the interval of the difference",
    )
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return figure
