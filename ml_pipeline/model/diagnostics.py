"""How a model behaves on rows with known classes: the most frequent confusions, curves, calibration; and its search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

from ml_pipeline.model.metrics import Responses, Values
from ml_pipeline.registry.diagnostics import CalibrationBin, Candidate, Confusion, Curve, Diagnostics, Importance

if TYPE_CHECKING:
    from sklearn.model_selection import GridSearchCV

_MOST_CLASSES = 40
"""Classes of a matrix that a person can still read."""
_MOST_CONFUSIONS, _MOST_FEATURES, _MOST_CANDIDATES = 20, 25, 200
_MOST_POINTS = 100
"""Points of a curve: more than a picture of it shows."""
_BINS = 10


def diagnose(
    responses: Responses,
    truth: NDArray[np.int64],
    features: Sequence[str],
    importance: tuple[Values, Values],
    search: GridSearchCV,
) -> Diagnostics:
    """What the scorecard draws of a model, of its responses to rows of these true classes, and of its search."""
    return Diagnostics(
        **_confusions(responses, truth),
        **_curves(responses, truth),
        calibration=_calibration(responses, truth),
        importance=_importances(features, *importance),
        **_candidates(search),
    )


def _confusions(responses: Responses, truth: NDArray[np.int64]) -> dict[str, Any]:
    """Rows by true and predicted class, and the most frequent confusions."""
    names = [str(value) for value in responses.classes.values]
    matrix = confusion_matrix(truth, responses.labels, labels=range(len(names)))
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(wrong, axis=None, kind="stable")[::-1][:_MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(names)) for place in worst if wrong.flat[place]]
    some = [Confusion(true=names[i], predicted=names[j], rows=int(wrong[i, j])) for i, j in pairs]
    if len(names) > _MOST_CLASSES:
        return {"confusions": some}
    return {"classes": names, "matrix": matrix.tolist(), "confusions": some}


def _curves(responses: Responses, truth: NDArray[np.int64]) -> dict[str, Any]:
    """ROC and precision-recall of the second of two classes; nothing for more classes or without scores."""
    scores = responses.decisions if responses.probabilities is None else responses.probabilities[:, -1]
    if len(responses.classes.values) != 2 or scores is None or len(np.unique(truth)) != 2:
        return {}
    false_positives, true_positives, _ = roc_curve(truth, scores)
    precision, recall, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
    area = float(auc(false_positives, true_positives))
    return {
        "positive": str(responses.classes.values[-1]),
        "roc": _curve(false_positives, true_positives, area),
        "precision_recall": _curve(recall[::-1], precision[::-1], float(average_precision_score(truth, scores))),
    }


def _curve(x: Values, y: Values, area: float) -> Curve:
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    return Curve(x=x[places].round(4).tolist(), y=y[places].round(4).tolist(), area=area)


def _calibration(responses: Responses, truth: NDArray[np.int64]) -> list[CalibrationBin]:
    """Predicted probability and observed share by tenths of the probability; nothing without probabilities.

    With more than two classes it is the probability of the predicted class, and the share of rows on which that is
    right (Guo et al., On calibration of modern neural networks, 2017). Intervals are Wilson's (1927).
    """
    if responses.probabilities is None:
        return []
    if len(responses.classes.values) == 2:
        probability, happened = responses.probabilities[:, 1], truth == 1
    else:
        probability = responses.probabilities[np.arange(len(truth)), responses.labels]
        happened = responses.labels == truth
    places = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    return [_bin(probability[places == i], happened[places == i]) for i in np.unique(places)]


def _bin(probability: Values, happened: NDArray[np.bool_]) -> CalibrationBin:
    rows, count = len(happened), int(happened.sum())
    interval = binomtest(count, rows).proportion_ci(0.95, method="wilson")
    return CalibrationBin(
        predicted=float(probability.mean()),
        observed=count / rows,
        low=float(interval.low),
        high=float(interval.high),
        rows=rows,
    )


def _importances(features: Sequence[str], drops: Values, deviations: Values) -> list[Importance]:
    """The most important features."""
    order = np.argsort(-drops, kind="stable")[:_MOST_FEATURES]
    return [Importance(feature=features[i], drop=float(drops[i]), deviation=float(deviations[i])) for i in order]


def _candidates(search: GridSearchCV) -> dict[str, Any]:
    """The grid that was searched, the best point first."""
    results = search.cv_results_
    order = np.argsort(results["rank_test_score"], kind="stable")
    some = [
        Candidate(
            parameters={
                name.removeprefix("estimator__"): str(value)[:200] for name, value in results["params"][i].items()
            },
            mean=float(results["mean_test_score"][i]),
            deviation=float(results["std_test_score"][i]),
            seconds=float(results["mean_fit_time"][i]),
        )
        for i in order[:_MOST_CANDIDATES]
    ]
    return {"candidates": some, "candidates_left_out": max(0, len(order) - _MOST_CANDIDATES)}
