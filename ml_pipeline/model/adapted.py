"""What some classifiers need around them: classes as numbers, or rows held out for early stopping."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from ml_pipeline import errors
from ml_pipeline.model.metrics import type_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.utils import Tags

_EARLY_STOPPING = ("early_stopping_rounds", "early_stopping_round")
"""The parameter of XGBoost, LightGBM and CatBoost, and the other name that LightGBM has for it."""
_HELD_OUT = 10
"""Of so many rows of a class, one is held out: scikit-learn's own boosters hold out a tenth."""
_TRIAL_CLASSES = 3
"""Classes in a trial fit: more than two, because some parameters are for two, or for more."""
_TRIAL_ROWS = 50
"""Rows of each class in a trial fit: enough for an inner cross-validation."""


def stops_early(estimator: Any) -> bool:
    """Whether an estimator ends its training by rows that its ``fit`` must be given."""
    takes_rows = "eval_set" in inspect.signature(estimator.fit).parameters
    return takes_rows and any(estimator.get_params().get(name) for name in _EARLY_STOPPING)


def bare(estimator: Any) -> Any:
    """The estimator without what ``adapt`` puts around it."""
    return estimator.estimator if isinstance(estimator, Adapted) else estimator


class Adapted(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that gets what it needs to be fitted, and answers with the classes of the target.

    Its parameters are those of the classifier, so that a grid has the same names with and without it.
    """

    def __init__(self, estimator: Any, *, seed: int, encode: bool = False) -> None:
        """Wrap a classifier, which sees classes as 0 … k-1 if they are encoded."""
        self.estimator = estimator
        self.seed = seed
        self.encode = encode

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The classifier's parameters."""
        return self.estimator.get_params(deep=deep)  # type: ignore[no-any-return]

    def set_params(self, **params: Any) -> Self:
        """Set the classifier's parameters; those of a fitted one may be for its prediction (``n_jobs``)."""
        for each in (self.estimator, getattr(self, "estimator_", None)):
            if each is not None:
                each.set_params(**params)
        return self

    def __sklearn_clone__(self) -> Adapted:
        return Adapted(clone(self.estimator), seed=self.seed, encode=self.encode)

    def __sklearn_tags__(self) -> Tags:
        return get_tags(self.estimator)

    def fit(self, rows: Any, target: Any) -> Self:
        """Fit the classifier."""
        self.classes_, codes = np.unique(np.asarray(target), return_inverse=True)
        self.estimator_ = clone(self.estimator)
        labels = np.asarray(target)
        if self.encode:
            labels = codes
            positions = {value: place for place, value in enumerate(self.classes_.tolist())}
            weights = _class_weights(self.estimator_)
            self.estimator_.set_params(
                **{name: {positions.get(key): weight for key, weight in of.items()} for name, of in weights.items()}
            )
        if not stops_early(self.estimator_):
            self.estimator_.fit(rows, labels)
            return self
        held = self._held_out(codes)
        # XGBoost prints the metric of each round by default.
        quiet = {"verbose": False} if "verbose" in inspect.signature(self.estimator_.fit).parameters else {}
        self.estimator_.fit(rows[~held], labels[~held], eval_set=[(rows[held], labels[held])], **quiet)
        return self

    def _held_out(self, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows of each class that has more than one."""
        random, held = np.random.default_rng(self.seed), np.zeros(len(codes), bool)
        for code in range(len(self.classes_)):
            places = random.permutation(np.flatnonzero(codes == code))
            held[places[: -(-len(places) // _HELD_OUT) if len(places) > 1 else 0]] = True
        return held

    def predict(self, rows: Any) -> NDArray[Any]:
        """Classes of the target."""
        labels = self.estimator_.predict(rows)
        return self.classes_[np.asarray(labels, np.int64)] if self.encode else labels  # type: ignore[no-any-return]

    @available_if(lambda self: hasattr(self._asked(), "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, rows: Any) -> NDArray[np.float64]:
        """Probabilities, in the order of ``classes_``."""
        return self.estimator_.predict_proba(rows)  # type: ignore[no-any-return]

    @available_if(lambda self: hasattr(self._asked(), "decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, rows: Any) -> NDArray[np.float64]:
        """Decision values, in the order of ``classes_``."""
        return self.estimator_.decision_function(rows)  # type: ignore[no-any-return]

    def _asked(self) -> Any:
        return getattr(self, "estimator_", self.estimator)


def _class_weights(estimator: Any) -> dict[str, dict[Any, float]]:
    """The class weights of an estimator and those in it, by the parameter's name."""
    parameters = estimator.get_params().items()
    return {k: v for k, v in parameters if k.rpartition("__")[2] == "class_weight" and isinstance(v, dict)}


def points(estimator: Any, grid: Mapping[str, Sequence[Any]]) -> list[Any]:
    """The estimator as it is, and with each value of a grid; combinations of values are left out."""
    changes = [{name: value} for name, values in grid.items() for value in values]
    return [clone(estimator).set_params(**change) for change in ({}, *changes)]


def adapt(search: GridSearchCV, rows: pd.DataFrame, target: pd.Series[Any], *, seed: int) -> GridSearchCV:
    """The search with its classifier wrapped if that stops early, or can't take the classes as they are."""
    pipeline = search.estimator
    tries = points(pipeline, search.param_grid)
    encode = any(_wants_numbers(each, rows, target, seed=seed) for each in tries)
    if encode or any(stops_early(each[-1]) for each in tries):
        pipeline.set_params(estimator=Adapted(bare(pipeline[-1]), seed=seed, encode=encode))
    return search


def _wants_numbers(pipeline: Pipeline, rows: pd.DataFrame, target: pd.Series[Any], *, seed: int) -> bool:
    """Whether a few rows can't be learned with their classes as they are, and this differs with 0 … k-1."""
    labels = np.asarray(target)
    classes = np.unique(labels)
    if np.array_equal(classes, np.arange(len(classes))) and classes.dtype.kind in "iu":
        return False
    few = np.concatenate([np.flatnonzero(labels == value)[:_TRIAL_ROWS] for value in classes[-_TRIAL_CLASSES:]])
    # A weight may be for a class that is not among them.
    unweighted = clone(pipeline).set_params(**dict.fromkeys(_class_weights(pipeline)))
    problems = []
    for encode in (False, True):
        inner = Adapted(clone(bare(unweighted[-1])), seed=seed, encode=encode)
        problems.append(_problem(clone(unweighted).set_params(estimator=inner), rows.iloc[few], labels[few]))
        if not problems[0]:
            return False
    return problems[0] != problems[1]


def _problem(pipeline: Pipeline, rows: pd.DataFrame, labels: NDArray[Any]) -> str:
    """What keeps a classifier from learning rows and answering with their classes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = pipeline.fit(rows, labels).predict(rows)
    except Exception as error:  # If encoding does not help, the search raises it again.
        return errors.cause(error)
    known = type_of(answers) == type_of(labels) and set(answers) <= set(labels)
    return "" if known else "other classes"
