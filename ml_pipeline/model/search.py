"""The estimator that the settings name, and the search for its hyper-parameters.

The search runs in processes of the driver, or on the cluster's workers. Both give the same digits.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import inspect
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import joblib
import numpy as np
from pydantic import AfterValidator, model_validator
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import all_estimators

from ml_pipeline.data import session
from ml_pipeline.data.features import Features
from ml_pipeline.model.metrics import Classes, Encoded, metric_value
from ml_pipeline.settings.pipeline import EstimatorSettings

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


class Estimator(EstimatorSettings):
    """A classifier that exists, with hyper-parameters that it has."""

    @model_validator(mode="after")
    def _exists(self) -> Self:
        kind = self._class()
        known = sorted(_bare(kind).get_params(deep=False))
        for table, names in (("parameters", self.parameters), ("grid", self.grid)):
            for name in names:
                if name not in known:
                    raise ValueError(
                        f"{table}.{name}: {kind.__name__} has no such parameter; accepted: {', '.join(known)}"
                    )
        for table, tries in (("parameters", self.parameters), *(("grid", point) for point in self._one_by_one())):
            self._check_values(table, kind(**{**self.parameters, **tries}))
        return self

    def _class(self) -> type[Any]:
        module, _, name = self.class_.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError):
            found = None
        if not (isinstance(found, type) and issubclass(found, BaseEstimator) and is_classifier(_bare(found))):
            paths = {f"{kind.__module__.partition('._')[0]}.{name}" for name, kind in all_estimators("classifier")}
            close = difflib.get_close_matches(self.class_, sorted(paths), n=3, cutoff=0.3)
            reason = "is no class that can be imported" if found is None else "is no classifier"
            raise ValueError(
                f"class: '{self.class_}' {reason}; accepted: the dotted path of a classifier with scikit-learn's "
                f"interface, such as {', '.join(close) or 'sklearn.ensemble.RandomForestClassifier'}"
            )
        return found

    def _one_by_one(self) -> list[dict[str, Any]]:
        return [{name: value} for name, values in self.grid.items() for value in values]

    @staticmethod
    def _check_values(table: str, estimator: Any) -> None:
        try:
            estimator._validate_params()  # noqa: SLF001 (scikit-learn's check has no public name)
        except AttributeError:
            return  # Not every library checks its parameters as scikit-learn does; fitting will.
        except ValueError as error:
            raise ValueError(f"{table}: {error}") from error

    def build(self, *, seed: int) -> Any:
        """The estimator, seeded where it takes a seed and none is given."""
        estimator = self._class()(**self.parameters)
        unseeded = "random_state" in estimator.get_params() and "random_state" not in {**self.parameters, **self.grid}
        return estimator.set_params(random_state=seed) if unseeded else estimator


def _bare(kind: type[Any]) -> Any:
    required = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    return kind(**dict.fromkeys(required))


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
    """The search for the best of an estimator's grid, behind the preparation of its features."""
    numbers = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    # The encoder takes a missing value as a category, and the rarest and unknown ones together.
    text = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_MOST_CATEGORIES, sparse_output=False)
    steps = (("numbers", numbers, features.numbers), ("text", text, features.text))
    columns = ColumnTransformer([(name, step, on) for name, step, on in steps if on])
    return GridSearchCV(
        Pipeline([("columns", columns), ("estimator", estimator.build(seed=seed))]),
        {f"estimator__{name}": values for name, values in estimator.grid.items()},
        scoring=Scoring(metric, classes),
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
        n_jobs=n_jobs,
        error_score="raise",
    )


class Progress:
    """Says now and then how many fits are done."""

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
    progress = Progress(len(ParameterGrid(search.param_grid)) * search.cv.get_n_splits())
    if on == "driver":
        if search.n_jobs == 1:  # Several processes would each count their own fits.
            search.set_params(scoring=_counted(search.scoring, progress))
        return search.fit(rows, target).best_estimator_
    pipeline = search.estimator
    # Each task has one core of a worker, where the estimator's own processes or threads would be too many.
    alone = {"estimator__n_jobs": 1} if "n_jobs" in pipeline["estimator"].get_params() else {}
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
