"""The estimator that the settings name."""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import all_estimators

from ml_pipeline.settings import pipeline

if TYPE_CHECKING:
    pass


class Estimator(pipeline.EstimatorSettings):
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
