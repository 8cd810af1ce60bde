"""The search for the hyper-parameters of an estimator.

The search runs in processes of the driver, or on the cluster's workers. Both give the same digits.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import joblib
import numpy as np
from pydantic import AfterValidator
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

from ml_pipeline.data import session
from ml_pipeline.data.features import Features
from ml_pipeline.model.adapted import points
from ml_pipeline.model.estimators import Estimator
from ml_pipeline.model.metrics import Classes, Encoded, metric_value

if TYPE_CHECKING:
    import pandas as pd

_MOST_CATEGORIES = 50
"""Categories of a text column that get a column of their own; the rarest share one."""
_PAUSE = 5.0
"""Seconds between two words about how far a search is."""


def _available(place: str) -> str:
    if place == "workers" and importlib.util.find_spec("joblibspark") is None:
        raise ValueError(
            "'workers' needs the package joblibspark, which Databricks Runtime ML has and this Python lacks; accepted: "
            "the wheel installed with its extra, 'ml-pipeline[spark]', or driver"
        )
    return place


Place = Annotated[Literal["driver", "workers"], AfterValidator(_available)]
"""Where a search fits its models."""


@dataclass(frozen=True)
class Scoring:
    """A metric as the search calls it, wherever that is."""

    metric: str
    classes: Classes

    def __call__(self, model: Any, rows: pd.DataFrame, target: pd.Series[Any]) -> float:
        """The metric of a fitted model."""
        return metric_value(self.metric, Encoded(model, self.classes), rows, self.classes.encode(target))


def check_metric(metric: str, classes: Classes) -> None:
    """Reject, with an ``InputError`` and before a search, a metric that can't be computed for so many classes."""
    rows = np.zeros((2 * len(classes.values), 1))
    target = np.asarray(classes.values)[np.arange(len(rows)) % len(classes.values)]
    guesser = DummyClassifier(strategy="uniform", random_state=0).fit(rows, target)
    metric_value(metric, Encoded(guesser, classes), rows, classes.encode(target))


def grid(
    estimator: Estimator, features: Features, *, metric: str, folds: int, seed: int, n_jobs: int, classes: Classes
) -> GridSearchCV:
    """The search for the best of an estimator's grid, behind the preparation of its features.

    Raises:
        InputError: a class weight is for a class that the target does not have.
    """
    classifier, values = estimator.build(seed=seed, classes=classes)
    takes_missing = all(get_tags(each).input_tags.allow_nan for each in points(classifier, values))
    impute = [] if takes_missing else [("impute", SimpleImputer(strategy="median", keep_empty_features=True))]
    numbers = Pipeline([*impute, ("scale", StandardScaler())])
    # The encoder takes a missing value as a category, and the rarest and unknown ones together.
    text = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_MOST_CATEGORIES, sparse_output=False)
    steps = (("numbers", numbers, features.numbers), ("text", text, features.text))
    columns = ColumnTransformer([(name, step, on) for name, step, on in steps if on])
    return GridSearchCV(
        Pipeline([("columns", columns), ("estimator", classifier)]),
        {f"estimator__{name}": tries for name, tries in values.items()},
        scoring=Scoring(metric, classes),
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
        n_jobs=n_jobs,
        error_score="raise",
    )


class Progress:
    """Prints now and then how many fits are done."""

    def __init__(self, fits: int) -> None:
        self._fits = fits
        self._done = 0
        self._told = time.monotonic()

    def add(self, fits: int) -> None:
        """Count fits."""
        self._done += fits
        if time.monotonic() - self._told > _PAUSE:
            self._told = time.monotonic()
            print(f"fit {self._done} of {self._fits}", flush=True)


def fit(search: GridSearchCV, rows: pd.DataFrame, target: pd.Series[Any], *, on: Place) -> Any:
    """Search (``grid``) on the driver or the workers; the best model, which the driver fits on all rows."""
    # LightGBM 4.6 takes the names that it gives to columns for those of a data frame.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    progress = Progress(len(ParameterGrid(search.param_grid)) * search.cv.get_n_splits())
    if on == "driver":
        if search.n_jobs == 1:  # Several processes would each count their own fits.
            search.set_params(scoring=_counted(search.scoring, progress))
        return search.fit(rows, target).best_estimator_
    pipeline = search.estimator
    # Each task has one core of a worker, where the estimator's own processes or threads would be too many.
    parameters = pipeline.get_params()
    alone = {name: 1 for name in parameters if re.fullmatch("estimator__(.+__)?n_jobs", name)}
    search.set_params(estimator=clone(pipeline).set_params(**alone), refit=False)
    with joblib.parallel_config(_workers(progress)):
        search.fit(rows, target)
    return clone(pipeline).set_params(**search.best_params_).fit(rows, target)


def _counted(scoring: Callable[..., float], progress: Progress) -> Callable[..., float]:
    def counted(*arguments: Any) -> float:
        progress.add(1)
        return scoring(*arguments)

    return counted


def _outcome(work: Callable[[], Any]) -> Any:
    """What a worker sends back: what fits gave, or the error that they raised."""
    try:
        return work()
    except Exception as error:
        return error


def _workers(progress: Progress) -> joblib.parallel.ParallelBackendBase:
    """What joblib sends fits to Spark with."""
    from joblibspark.backend import SparkDistributedBackend

    class Workers(SparkDistributedBackend):  # type: ignore[misc]
        """joblib-spark's backend, with its errors and its progress.

        Up to joblib-spark 0.6 an error of a fit fails its Spark task, which Spark tries again; joblib since 1.4 takes
        what arrives for a result, and joblib-spark can't end the other fits with joblib since 1.5.
        """

        supports_retrieve_callback = True

        def effective_n_jobs(self, n_jobs: int | None) -> int:
            slots = int(super().effective_n_jobs(-1))
            return max(1, slots + 1 + n_jobs) if n_jobs and n_jobs < 0 else min(n_jobs or 1, slots)

        def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Any:
            return super().apply_async(functools.partial(_outcome, func), callback)

        apply_async = submit
        """The name up to joblib 1.4."""

        def retrieve_result_callback(self, out: Any) -> Any:
            error = getattr(out, "exc", out)
            if isinstance(error, BaseException):
                raise error
            progress.add(len(out))
            return out

        def abort_everything(self, **_: Any) -> None:
            self.terminate()

    session.spark()
    # Both are so on every cluster of ours, and say nothing of the search.
    for message in ("Spark (local mode|version) does.*stage-level", "Spark session is not provided"):
        warnings.filterwarnings("ignore", message=message)
    return Workers()
