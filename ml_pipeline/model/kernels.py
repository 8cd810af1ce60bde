"""Boosted trees and linear models of scikit-learn as arrays; their answers are the same, bit for bit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from ml_pipeline.model.compiled_forest import NODE, Tree, Trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Answers = tuple[NDArray[np.int64], NDArray[np.float64] | None]

_DOUBLE_NODE = np.dtype([("threshold", "f8"), ("feature", "u4"), ("child", "u4")])
Link = Literal["none", "logistic", "softmax"]
"""What makes probabilities of decision values."""


def _probabilities(link: Link, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities, (rows, classes), of decision values, (rows, columns), with scikit-learn's operations."""
    if link == "none":
        return raw
    if link == "softmax":
        powers = np.exp(raw - raw.max(axis=1).reshape((-1, 1)))
        powers /= powers.sum(axis=1).reshape((-1, 1))
        return powers  # type: ignore[no-any-return]
    from scipy.special import expit

    known = expit(raw)
    if known.shape[1] > 1:
        known /= known.sum(axis=1).reshape((-1, 1))
        return known  # type: ignore[no-any-return]
    return np.hstack([1 - known, known])


@dataclass(frozen=True)
class Boosting:
    """Gradient boosting: trees that add to the decision values of a class."""

    trees: Trees
    start: NDArray[np.float64]
    histogram: bool

    @classmethod
    def of(cls, estimator: Any) -> Self | None:
        """The trees of a fitted classifier; ``None`` where it is of another kind."""
        from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

        if type(estimator) is GradientBoostingClassifier and estimator.loss == "log_loss":
            if estimator.init not in (None, "zero"):
                return None
            stages = estimator.estimators_
            known = [Tree.of(tree.tree_) for tree in stages.ravel()]
            scaled = [dataclasses.replace(tree, values=tree.values * estimator.learning_rate) for tree in known]
            start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_)))[0]  # noqa: SLF001
            return cls(Trees.of(scaled, NODE, columns=stages.shape[1]), start, histogram=False)
        if type(estimator) is HistGradientBoostingClassifier and estimator.is_categorical_ is None:
            predictors = [tree.nodes for stage in estimator._predictors for tree in stage]  # noqa: SLF001
            start = estimator._baseline_prediction[0]  # noqa: SLF001
            trees = Trees.of([_histogram_tree(nodes) for nodes in predictors], _DOUBLE_NODE, columns=len(start))
            return cls(trees, start, histogram=True)
        return None

    def __call__(self, features: NDArray[np.float64], *, scores: bool) -> Answers:
        """Each row's class, and if asked for its class probabilities."""
        best, raw = self.trees(features, self.start)
        if raw.shape[1] == 1:
            best = (raw[:, 0] > 0 if self.histogram else raw[:, 0] >= 0).astype(np.int64)
        if not scores:
            return best, None
        # Sums of a row round in another way in the other memory order.
        raw = np.asfortranarray(raw) if self.histogram else raw
        return best, _probabilities("logistic" if raw.shape[1] == 1 else "softmax", raw)


def _histogram_tree(nodes: NDArray[Any]) -> Tree:
    left = np.where(nodes["is_leaf"], -1, nodes["left"].astype(np.int64))
    split = (left, nodes["right"], nodes["feature_idx"], nodes["num_threshold"], nodes["missing_go_to_left"])
    return Tree(*split, nodes["value"].reshape(-1, 1), int(nodes["depth"].max()))


@dataclass(frozen=True)
class Linear:
    """A linear model."""

    coefficients: NDArray[np.float64]
    """(columns, features)"""
    intercept: NDArray[np.float64]
    link: Link

    @classmethod
    def of(cls, estimator: Any) -> Self | None:
        """The coefficients of a fitted classifier; ``None`` where it is of another kind."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import LinearSVC

        link: Link = "none"
        if type(estimator) is LogisticRegression:
            # Newer releases have no `multi_class`.
            how, few = getattr(estimator, "multi_class", "auto"), len(estimator.classes_) == 2
            separate = how in ("ovr", "warn") or (how != "multinomial" and (few or estimator.solver == "liblinear"))
            link = "logistic" if separate else "softmax"
        elif type(estimator) is not LinearSVC:
            return None
        return cls(estimator.coef_, estimator.intercept_, link)

    def __call__(self, features: NDArray[np.float64], *, scores: bool) -> Answers:
        """Each row's class, and if asked for its probabilities, or decision values if it has none.

        Raises:
            ValueError: a value is infinite.
        """
        if not np.isfinite(features).all():
            # As scikit-learn.
            raise ValueError("Input X contains infinity or a value too large for dtype('float64').")
        raw = features @ self.coefficients.T + self.intercept
        best = np.argmax(raw, axis=1) if raw.shape[1] > 1 else (raw[:, 0] > 0).astype(np.int64)
        if not scores:
            return best, None
        if self.link == "softmax" and raw.shape[1] == 1:
            raw = np.hstack([-raw, raw])
        return best, _probabilities(self.link, raw)
