from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV

from ml_pipeline.model.diagnostics import diagnose
from ml_pipeline.model.metrics import Classes, Responses
from ml_pipeline.registry.diagnostics import Diagnostics

NAMES = np.array([f"class {number:02}" for number in range(50)])


def diagnosed(classes: int, model: Any = None, *, rows: int = 2000, grid: int = 3) -> tuple[Diagnostics, Any, Any]:
    features, numbers = make_classification(
        rows, 12, n_informative=9, n_redundant=0, n_classes=classes, n_clusters_per_class=1, flip_y=0.3, random_state=3
    )
    target = NAMES[numbers]
    search = GridSearchCV(
        model or LogisticRegression(max_iter=300), {"tol": [0.1 / (i + 1) for i in range(grid)]}, cv=2
    )
    search.fit(features[: rows // 2], target[: rows // 2])
    known = Classes.of(target)
    responses = Responses.of(search.best_estimator_, features[rows // 2 :], known)
    truth = known.encode(target[rows // 2 :])
    drops = np.linspace(0, 0.3, 30)
    names = [f"feature {number}" for number in range(30)]
    return diagnose(responses, truth, names, (drops, drops / 10), search), responses, truth


def test_two_classes_have_curves_of_few_points() -> None:
    document, responses, truth = diagnosed(2)
    assert document.positive == "class 01"
    assert document.roc
    assert document.precision_recall
    assert document.roc.area == pytest.approx(roc_auc_score(truth, responses.probabilities[:, 1]))
    for curve in (document.roc, document.precision_recall):
        assert len(curve.x) == len(curve.y) <= 100
        assert curve.x == sorted(curve.x)
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area, abs=0.01)
    assert (document.roc.x[0], document.roc.y[0], document.roc.x[-1], document.roc.y[-1]) == (0, 0, 1, 1)
    assert np.sum(document.matrix) == len(truth) == sum(part.rows for part in document.calibration)


def test_a_model_without_probabilities_has_curves_but_no_calibration() -> None:
    document, _, _ = diagnosed(2, RidgeClassifier())
    assert document.roc
    assert document.calibration == []


def test_many_classes_have_the_probability_of_the_predicted_class_and_no_curve() -> None:
    document, responses, truth = diagnosed(6)
    assert (document.roc, document.precision_recall, document.positive) == (None, None, "")
    right = responses.labels == truth
    observed = sum(part.observed * part.rows for part in document.calibration) / len(truth)
    assert observed == pytest.approx(right.mean())
    assert all(part.low < part.observed <= part.high for part in document.calibration)
    wrong = sum(sum(row) for row in document.matrix) - np.trace(document.matrix)
    assert 0 < sum(pair.rows for pair in document.confusions) <= wrong
    assert document.confusions == sorted(document.confusions, key=lambda pair: -pair.rows)


def test_more_classes_than_a_matrix_can_show_leave_the_most_frequent_confusions() -> None:
    document, _, _ = diagnosed(45, rows=4000)
    assert (document.matrix, document.classes) == ([], [])
    assert len(document.confusions) == 20


def test_the_best_candidates_and_the_most_important_features_are_kept() -> None:
    document, _, _ = diagnosed(2, RidgeClassifier(), rows=80, grid=203)
    means = [candidate.mean for candidate in document.candidates]
    assert means == sorted(means, reverse=True)
    assert (len(means), document.candidates_left_out) == (200, 3)
    assert document.candidates[0].parameters.keys() == {"tol"}
    assert [row.feature for row in document.importance] == [f"feature {number}" for number in range(29, 4, -1)]


def test_a_single_true_class_has_no_curve() -> None:
    responses = Responses(Classes(("a", "b")), np.zeros(5, int), np.full((5, 2), 0.5))
    search = GridSearchCV(LogisticRegression(), {}, cv=2).fit([[0.0], [1.0]] * 4, [0, 1] * 4)
    document = diagnose(responses, np.zeros(5, int), ["x"], (np.zeros(1), np.zeros(1)), search)
    assert document.roc is None
    assert [part.rows for part in document.calibration] == [5]
