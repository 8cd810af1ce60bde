"""What a model answers, what a scikit-learn scorer makes of it, and how certain that is.

Scorers see classes as 0 … k-1 with the positive class last, so that each works on text labels too (``f1`` takes 1 for
the positive class), and its sign is scikit-learn's: greater is better.
"""

from __future__ import annotations

import difflib
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import sklearn
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer, get_scorer_names, precision_recall_fscore_support
from sklearn.utils.metaestimators import available_if

from ml_pipeline.errors import InputError
from ml_pipeline.registry.evidence import ClassMetrics

Scores = NDArray[np.float64]
"""Probabilities or decision values, (rows, classes)."""
Values = NDArray[np.float64]
"""Values of a metric."""
_IMPORTANCE_ROWS = 2000


def _classification_metric(name: str) -> str:
    if name not in get_scorer_names():
        close = difflib.get_close_matches(name, get_scorer_names(), n=5, cutoff=0.4)
        raise ValueError(f"is not a scikit-learn scorer; accepted: {', '.join(close or get_scorer_names())}")
    numbers = np.array([[0.1], [0.7], [1.3]])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            get_scorer(name)(DummyRegressor().fit(numbers, numbers[:, 0]), numbers, numbers[:, 0])
    except (ValueError, AttributeError, TypeError):
        return name
    raise ValueError("is for regression or clustering; accepted: a scorer for classes, such as accuracy, f1_macro")


Metric = Annotated[str, AfterValidator(_classification_metric)]
"""Name of a scikit-learn scorer."""


@dataclass(frozen=True)
class Classes:
    """The values of the target, in the order in which scorers see them."""

    values: tuple[Any, ...]

    @classmethod
    def of(cls, target: ArrayLike, *, positive: str = "") -> Classes:
        """The distinct values of a target, sorted, the positive one last; by default it is the greater of two.

        Raises:
            InputError: the positive class is not among them, or there are more than two.
        """
        values = np.unique(np.asarray(target)).tolist()
        if positive:
            found = cls(tuple(values)).named(positive)
            if len(values) != 2 or not found:
                raise InputError(
                    f"positive_class: '{positive}': accepted: one of the target's values where it has two; "
                    f"it has {', '.join(map(repr, values[:20]))}"
                )
            values = [value for value in values if value not in found] + found
        return cls(tuple(values))

    def named(self, text: str) -> list[Any]:
        """The class that a text stands for, as a key of a TOML table does; none if there is no such class."""
        return [value for value in self.values if _same(value, text)]

    def encode(self, labels: ArrayLike, *, strict: bool = True) -> NDArray[np.int64]:
        """Positions of labels among the classes.

        Unless strict, a label outside the classes becomes -1: a champion may predict a class that no longer exists.

        Raises:
            InputError: a label is not among the classes.
        """
        encoded: NDArray[np.int64] = pd.Index(self.values).get_indexer(pd.Index(np.asarray(labels)))
        if strict and (encoded < 0).any():
            unknown = np.asarray(labels)[encoded < 0].tolist()[0]
            raise InputError(
                f"target: {unknown!r} is not a class of the model; accepted: {', '.join(map(repr, self.values))}"
            )
        return encoded

    def comparable(self, others: ArrayLike) -> bool:
        """Whether labels of other classes can be compared with these: 1.0 is 1, but "1" or true is another value."""
        mine, theirs = (type_of(classes).replace("double", "long") for classes in (self.values, others))
        return mine == theirs

    def arrange(self, scores: Scores, model_classes: ArrayLike) -> Scores:
        """Bring a model's scores into this order of classes; a class that the model doesn't know scores 0.

        Raises:
            InputError: there are more or fewer scores than the model has classes, as in one-against-one voting.
        """
        theirs = np.asarray(model_classes).tolist()
        if scores.ndim > 1 and scores.shape[1] != len(theirs):
            raise InputError(
                f"estimator: it answers with {scores.shape[1]} scores for {len(theirs)} classes; "
                "accepted: one that scores each class"
            )
        if scores.ndim == 1:
            known = {theirs[0]: -scores, theirs[-1]: scores}
            return known.get(self.values[-1], np.zeros(len(scores)))
        arranged = np.zeros((len(scores), len(self.values)))
        for column, value in enumerate(self.values):
            if value in theirs:
                arranged[:, column] = scores[:, theirs.index(value)]
        return arranged

    def probabilities(self, scores: Scores, model_classes: ArrayLike) -> Scores:
        """A model's probabilities, one column for each class; what it gave to a class that is gone is shared out."""
        arranged = self.arrange(scores, model_classes)
        if set(np.asarray(model_classes).tolist()) <= set(self.values):
            return arranged
        total = arranged.sum(axis=1, keepdims=True)
        even = np.full_like(arranged, 1 / len(self.values))
        return np.divide(arranged, total, where=total > 0, out=even)

    def decisions(self, scores: Scores, model_classes: ArrayLike) -> Scores:
        """A model's decision values: one column for each class, or for two classes those of the second."""
        arranged = self.arrange(scores, model_classes)
        return arranged[:, 1] if arranged.ndim > 1 and len(self.values) == 2 else arranged


def type_of(classes: ArrayLike) -> str:
    """The type of classes by the name that it has in both Spark and MLflow."""
    return {"i": "long", "u": "long", "f": "double", "b": "boolean"}.get(np.asarray(classes).dtype.kind, "string")


def _same(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return value == text
    if isinstance(value, bool):
        return str(value).lower() == text.lower()
    try:
        return bool(float(text) == value)
    except ValueError:
        return False


def _only_decides(encoded: Encoded) -> bool:
    return hasattr(encoded.model, "decision_function") and not hasattr(encoded.model, "predict_proba")


class Encoded(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted model as scorers see it: classes encoded, and in our order."""

    def __init__(self, model: Any, classes: Classes) -> None:
        self.model = model
        self.classes = classes

    @property
    def classes_(self) -> NDArray[np.int64]:
        """What marks an estimator as fitted."""
        return np.arange(len(self.classes.values))

    def predict(self, rows: Any) -> NDArray[np.int64]:
        """Labels, encoded."""
        return self.classes.encode(self.model.predict(rows), strict=False)

    @available_if(lambda self: hasattr(self.model, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, rows: Any) -> Scores:
        """Probabilities, one column for each class."""
        return self.classes.probabilities(self.model.predict_proba(rows), self.model.classes_)

    @available_if(_only_decides)  # type: ignore[untyped-decorator]
    def decision_function(self, rows: Any) -> Scores:
        """Decision values, where there are no probabilities: a column a class, or for two classes the second's."""
        return self.classes.decisions(self.model.decision_function(rows), self.model.classes_)


@dataclass(frozen=True)
class Responses(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model's answers to some rows, in the guise of an estimator that scorers accept: ``X`` are row numbers."""

    classes: Classes
    labels: NDArray[np.int64]
    probabilities: Scores | None = None
    """One column for each class."""
    decisions: Scores | None = None
    """One column for each class, or for two classes those of the second."""

    @classmethod
    def of(cls, model: Any, rows: Any, classes: Classes) -> Responses:
        """Ask a model everything that a scorer may want to know of rows."""
        encoded = Encoded(model, classes)
        probabilities = encoded.predict_proba(rows) if hasattr(encoded, "predict_proba") else None
        decisions = encoded.decision_function(rows) if hasattr(encoded, "decision_function") else None
        return cls(classes, encoded.predict(rows), probabilities, decisions)

    @classmethod
    def of_scores(
        cls, classes: Classes, labels: NDArray[np.int64], scores: Scores, model_classes: ArrayLike, *, sure: bool
    ) -> Responses:
        """What batch inference made of rows.

        Args:
            classes: The classes that are measured.
            labels: The predictions, encoded.
            scores: (rows, classes), (rows, 1) of a model that only decides between two, (rows, 0) of one without.
            model_classes: The model's own classes, in its order.
            sure: Whether the scores are probabilities; else they are decision values.
        """
        if sure:
            return cls(classes, labels, probabilities=classes.probabilities(scores, model_classes))
        if not scores.shape[1]:
            return cls(classes, labels)
        each = scores[:, 0] if scores.shape[1] == 1 else scores
        return cls(classes, labels, decisions=classes.decisions(each, model_classes))

    @property
    def classes_(self) -> NDArray[np.int64]:
        """What marks an estimator as fitted."""
        return np.arange(len(self.classes.values))

    def predict(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels, encoded."""
        return self.labels[rows]

    @available_if(lambda self: self.probabilities is not None)  # type: ignore[untyped-decorator]
    def predict_proba(self, rows: NDArray[np.int64]) -> Scores:
        """Probabilities, where the model gives them."""
        assert self.probabilities is not None
        return self.probabilities[rows]

    @available_if(lambda self: self.decisions is not None)  # type: ignore[untyped-decorator]
    def decision_function(self, rows: NDArray[np.int64]) -> Scores:
        """Decision values, where the model gives them and no probabilities."""
        assert self.decisions is not None
        return self.decisions[rows]


def metric_value(metric: str, model: Encoded | Responses, rows: Any, truth: NDArray[np.int64]) -> float:
    """The metric of a model on rows; greater is better.

    Rows are what the model takes: a table of features, or row numbers for responses. True classes are encoded.

    Raises:
        InputError: the metric can't be computed for this target or this kind of model.
    """
    try:
        with warnings.catch_warnings(), sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
            # A class without predictions counts as 0, which is what scikit-learn warns of.
            warnings.simplefilter("ignore")
            value = float(scorer(metric)(model, rows, truth))
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"metric: '{metric}' does not fit {len(model.classes.values)} classes and this estimator "
            f"({str(error).splitlines()[0]}); accepted: one that does, such as accuracy or f1_macro"
        ) from error
    if not np.isfinite(value):
        raise InputError(f"metric: '{metric}' is {value} on these rows; accepted: a metric that is defined on them")
    return value


@functools.cache
def scorer(metric: str) -> Callable[..., float]:
    """The scikit-learn scorer of this name."""
    return get_scorer(metric)  # type: ignore[no-any-return]


def by_class(responses: Responses, truth: NDArray[np.int64]) -> dict[str, ClassMetrics]:
    """Precision, recall, F1 and number of rows of each class; of a class that is never predicted, 0."""
    names = [str(value) for value in responses.classes.values]
    columns = precision_recall_fscore_support(truth, responses.labels, labels=range(len(names)), zero_division=0)
    rows = zip(*(map(float, column) for column in columns), strict=True)
    return {
        name: ClassMetrics(precision=precision, recall=recall, f1=f1, rows=count)
        for name, (precision, recall, f1, count) in zip(names, rows, strict=True)
    }


def importance(
    metric: str, model: Any, rows: pd.DataFrame, truth: NDArray[np.int64], classes: Classes
) -> tuple[Values, Values]:
    """By how much the metric drops when a feature's values are shuffled, with its standard deviation, by feature."""
    drops = permutation_importance(
        model,
        rows[:_IMPORTANCE_ROWS],
        truth[:_IMPORTANCE_ROWS],
        scoring=lambda model, rows, truth: metric_value(metric, Encoded(model, classes), rows, truth),
        n_repeats=3,
        random_state=0,
    )
    return drops.importances_mean, drops.importances_std
