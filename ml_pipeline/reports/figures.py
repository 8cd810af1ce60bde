"""The pictures that go with a run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay

from ml_pipeline.data import histograms
from ml_pipeline.registry.evidence import ClassMetrics, RivalRow

if TYPE_CHECKING:
    from ml_pipeline.monitoring.drift import Drift

_MINE, _OTHER, _BAD = "#1f77b4", "#9aa5b1", "#d62728"
_MOST_BARS = 25
_MOST_LABELS = 60
_MOST_FEATURES = 12


def _label(name: str) -> str:
    """A name as it is written: short, and a dollar does not begin a formula."""
    return (name if len(name) <= 34 else f"{name[:33]}…").replace("$", r"\$")


def confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """How many rows of each class were taken for which, on the validation table."""
    # What is larger than a page shows the pattern, without names: a matrix of 1,000 classes would take gigabytes.
    named = len(classes) <= _MOST_LABELS
    side = 3.2 + 0.35 * min(len(classes), _MOST_LABELS)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        truth,
        predicted,
        labels=range(len(classes)),
        display_labels=[_label(name) for name in classes] if named else None,
        include_values=len(classes) <= _MOST_BARS,
        cmap="Blues",
        colorbar=False,
        ax=axes,
        xticks_rotation=45 if max(map(len, classes)) > 3 else 0,
    )
    axes.set(title="Validation rows by class", xlabel="predicted", ylabel="true")
    if not named:
        axes.set(xticks=[], yticks=[])
    return figure


def per_class(figures: Mapping[str, ClassMetrics]) -> Figure:
    """Precision, recall and F1 of each class, on the validation table; of many classes, those with the least F1."""
    if len(figures) > _MOST_BARS:
        figures = dict(sorted(figures.items(), key=lambda item: item[1].f1)[:_MOST_BARS])
    figure = Figure(figsize=(7, 1.6 + 0.5 * len(figures)), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(figures))
    for i, name in enumerate(("precision", "recall", "f1")):
        axes.barh(at + (i - 1) * 0.26, [getattr(row, name) for row in figures.values()], 0.24, label=name)
    axes.set(yticks=at, yticklabels=[_label(name) for name in figures], xlim=(0, 1), title="Validation, by class")
    axes.invert_yaxis()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def importance(features: Sequence[str], means: NDArray[Any], deviations: NDArray[Any], *, metric: str) -> Figure:
    """How much the metric drops when a feature's values are shuffled; the most important features only."""
    order = np.argsort(means, kind="stable")[::-1][:_MOST_BARS]
    figure = Figure(figsize=(7, 1.4 + 0.32 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(order)), means[order], xerr=deviations[order], color=_MINE)
    axes.set_yticks(range(len(order)), [_label(features[i]) for i in order])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(title="Permutation importance on the validation table", xlabel=f"drop in {metric}")
    return figure


def comparison(mine: float, rivals: Sequence[RivalRow], *, metric: str, threshold: float) -> Figure:
    """A model among those that it is compared with: the metric of each, and the interval of the difference."""
    shown = rivals[:_MOST_BARS]
    figure = Figure(figsize=(7.5, 1.8 + 0.34 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.scatter([mine], [0], color=_MINE, zorder=3)
    for at, rival in enumerate(shown, start=1):
        # The interval of my lead, seen from my value: where it crosses my line, chance explains the difference.
        axes.plot([mine - rival.high, mine - rival.low], [at, at], color=_OTHER, linewidth=2)
        axes.scatter([rival.value], [at], color=_OTHER, zorder=3)
    axes.axvline(mine, color=_MINE, linewidth=1, linestyle=":")
    axes.axvline(threshold, color=_BAD, linewidth=1, label="threshold")
    axes.set(
        yticks=range(len(shown) + 1),
        yticklabels=["this run", *(_label(rival.name) for rival in shown)],
        xlabel=metric,
        title="On the same rows, with the interval of the difference",
    )
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return figure


def drift(features: Sequence[Drift]) -> Figure:
    """Shares of the batch's rows by bin, as bars, beside those of the training rows, as steps; a feature a line."""
    shown = features[:_MOST_FEATURES]
    # One pair of axes for all of them, with a fixed layout: a pair for each takes longer to draw than to compute.
    figure = Figure(figsize=(7.5, 0.9 + 0.62 * max(1, len(shown))))
    axes = figure.subplots()
    figure.subplots_adjust(left=0.36, right=0.98, top=1 - 0.45 / figure.get_figheight(), bottom=0.05)
    for line, one in enumerate(shown):
        training, batch = histograms.shares(one.histogram.training), histograms.shares(one.histogram.batch)
        bins = len(batch)
        at, foot = (np.arange(bins) + 0.5) / bins, float(len(shown) - 1 - line)
        highest = max(*batch, *training, 1e-9) / 0.85
        color = _BAD if one.alarm else _MINE
        axes.bar(at, batch / highest, 0.8 / bins, bottom=foot, color=color, alpha=0.75)
        axes.stairs(training / highest + foot, np.linspace(0, 1, bins + 1), baseline=foot, color="black", linewidth=0.9)
    axes.set(
        xlim=(0, 1), ylim=(0, max(1, len(shown))), xticks=[], title="Batch (bars) and training rows (steps), by bin"
    )
    names = [f"{_label(one.feature)}\nPSI {one.psi:.3f}" for one in shown]
    axes.set_yticks(len(shown) - 1 - np.arange(len(shown)) + 0.4, names, fontsize=8)
    return figure


def history(series: Mapping[str, Sequence[tuple[Any, float]]], *, limit: float) -> Figure:
    """The population stability index of features over the batches: dates and indices of each, the batch itself last."""
    figure = Figure(figsize=(7.5, 2.6))
    axes = figure.subplots()
    figure.subplots_adjust(left=0.1, right=0.66, top=0.88, bottom=0.2)
    dates = sorted({date for points in series.values() for date, _ in points})
    for name, points in list(series.items())[:8]:
        axes.plot(
            [dates.index(date) for date, _ in points], [value for _, value in points], marker=".", label=_label(name)
        )
    axes.axhline(limit, color=_BAD, linewidth=1, linestyle=":", label="limit")
    some = sorted({0, len(dates) // 2, len(dates) - 1})
    axes.set_xticks(some, [str(dates[i]) for i in some], fontsize=8)
    axes.set_title("Population stability index over the batches", fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def png(figure: Figure) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue()
