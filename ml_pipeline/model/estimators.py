"""The classifier that the settings declare, and the estimators in it, built from their classes and parameters."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import model_validator
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.utils import all_estimators

from ml_pipeline import errors
from ml_pipeline.errors import InputError
from ml_pipeline.model.adapted import Adapted, bare, stops_early
from ml_pipeline.model.metrics import Classes
from ml_pipeline.settings.messages import KeyValueError, suggest
from ml_pipeline.settings.pipeline import EstimatorSettings, is_estimator

_Path = tuple[str, ...]
_KEYS = ("class", "parameters")


class Estimator(EstimatorSettings):
    """A classifier that exists, with hyper-parameters that it takes."""

    @model_validator(mode="after")
    def _exists(self) -> Self:
        builder = _Builder()
        self._check_grid(builder, self._build(builder))
        return self

    def build(self, *, seed: int, classes: Classes) -> tuple[Any, dict[str, list[Any]]]:
        """The classifier, and its grid.

        Estimators that take a ``random_state``, and are not given one, get the seed.

        Raises:
            InputError: a class weight is for a class that the target does not have.
        """
        builder = _Builder(seed, classes)
        try:
            return self._build(builder), {
                name: [builder.value(value, ("grid", name)) for value in values] for name, values in self.grid.items()
            }
        except KeyValueError as error:
            raise InputError(f"estimator.{'.'.join(error.path)}: {error}") from error

    def _build(self, builder: _Builder) -> Any:
        estimator = builder.estimator({"class": self.class_, "parameters": self.parameters}, ())
        if not is_classifier(estimator):
            raise KeyValueError(("class",), f"'{self.class_}' is not a classifier; accepted: {_similar(self.class_)}")
        return estimator

    def _check_grid(self, builder: _Builder, estimator: Any) -> None:
        """Reject values of the grid that the classifier, or an estimator in it, does not take."""
        for name, values in self.grid.items():
            path, known = ("grid", name), estimator.get_params()
            prefix, _, last = name.rpartition("__")
            owner = known.get(prefix) if prefix else estimator
            if not isinstance(owner, BaseEstimator):
                nested = tuple(key for key, value in known.items() if isinstance(value, BaseEstimator))
                raise KeyValueError(path, f"there is no estimator '{prefix}'" + suggest(prefix, nested))
            if name not in known:
                _check_name(type(bare(owner)), last, path)
            for value in values:
                built = builder.value(value, path)
                try:
                    point = clone(owner).set_params(**{last: built})
                except ValueError as error:
                    raise KeyValueError(path, errors.cause(error)) from error
                _check_values(point, path)


@dataclass(frozen=True)
class _Builder:
    """Makes estimators of tables."""

    seed: int = 0
    classes: Classes | None = None
    """The classes of the target, if they are known already."""

    def estimator(self, table: Mapping[str, Any], path: _Path) -> Any:
        """The estimator of a table with ``class`` and ``parameters``.

        Raises:
            KeyValueError: there is no such class, or it does not take these parameters.
        """
        for key in table:
            if key not in _KEYS:
                raise KeyValueError((*path, key), "unknown key" + suggest(key, _KEYS))
        kind, given = _class(table["class"], (*path, "class")), table.get("parameters", {})
        path = (*path, "parameters")
        if not isinstance(given, dict):
            raise KeyValueError(path, f"must be a table (given: {given!r})")
        for name in given:
            _check_name(kind, name, (*path, name))
        for name, parameter in inspect.signature(kind).parameters.items():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.default is parameter.empty and name not in given:
                raise KeyValueError((*path, name), f"is missing; {kind.__name__} requires it")
        parameters = {name: self.value(value, (*path, name)) for name, value in given.items()}
        try:
            estimator = clone(kind(**parameters))
            unseeded = "random_state" in estimator.get_params(deep=False) and "random_state" not in parameters
        except Exception as error:
            raise KeyValueError(path, f"{kind.__name__} does not take them: {errors.cause(error)}") from error
        _check_values(estimator, path)
        if unseeded:
            estimator.set_params(random_state=self.seed)
        return Adapted(estimator, seed=self.seed) if stops_early(estimator) else estimator

    def value(self, value: Any, path: _Path) -> Any:
        """The value of a parameter."""
        if is_estimator(value):
            return self.estimator(value, path)
        if isinstance(value, list):
            return [self._item(each, path) for each in value]
        if isinstance(value, dict) and path[-1].rpartition("__")[2] == "class_weight" and self.classes:
            return {self._class(name, (*path, name), self.classes): weight for name, weight in value.items()}
        return value

    def _item(self, value: Any, path: _Path) -> Any:
        match value:
            case [str(name), dict(table)]:
                if not is_estimator(table):
                    raise KeyValueError((*path, name, "class"), "is missing; accepted: the dotted path of a class")
                return name, self.estimator(table, (*path, name))
        return self.value(value, path)

    @staticmethod
    def _class(text: str, path: _Path, classes: Classes) -> Any:
        found = classes.named(text)
        if not found:
            known = ", ".join(map(str, classes.values[:20]))
            raise KeyValueError(path, f"is not a class of the target; accepted: {known}")
        return found[0]


def _class(name: str, path: _Path) -> type[Any]:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        # A mistake in the class's own module is another one than a wrong path.
        missing = error.name if isinstance(error, ModuleNotFoundError) else ""
        wrong_path = isinstance(error, ValueError | AttributeError) or f"{module}.".startswith(f"{missing or '.'}.")
        reason = "" if wrong_path else f" ({type(error).__name__}: {errors.cause(error)})"
        raise KeyValueError(path, f"'{name}' can't be imported{reason}; accepted: {_similar(name)}") from error
    if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
        raise KeyValueError(path, f"'{name}' is not a scikit-learn estimator; accepted: {_similar(name)}")
    return found


def _similar(name: str) -> str:
    module, known = name.rpartition(".")[0], all_estimators("classifier")
    paths = {f"{kind.__module__.partition('._')[0]}.{each}" for each, kind in known}
    imported = vars(sys.modules[module]) if module in sys.modules else {}
    paths |= {f"{module}.{each}" for each, kind in imported.items() if _is_classifier(kind)}
    close = difflib.get_close_matches(name, sorted(paths), n=3, cutoff=0.3)
    example = ", ".join(close) or "sklearn.ensemble.RandomForestClassifier"
    return f"the dotted path of a class with scikit-learn's interface, such as {example}"


def _is_classifier(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, ClassifierMixin)


def _check_name(kind: type[Any], name: str, path: _Path) -> None:
    """Reject a parameter that the class takes neither by its signature nor as a keyword argument."""
    parameters = inspect.signature(kind).parameters.values()
    known = sorted(each.name for each in parameters if each.kind is not each.VAR_KEYWORD)
    if name not in known and len(known) == len(parameters):
        raise KeyValueError(path, f"{kind.__name__} has no such parameter; accepted: {', '.join(known)}")


def _check_values(estimator: Any, path: _Path) -> None:
    """Reject values by scikit-learn's own check, which not every library has; fitting checks the others."""
    try:
        estimator._validate_params()  # noqa: SLF001 (scikit-learn's check has no public name)
    except AttributeError:
        return
    except ValueError as error:
        found = re.fullmatch(r"The '(\w+)' parameter of \w+ (must be .+)\. Got (.+) instead\.", str(error), re.DOTALL)
        if found is None:
            raise KeyValueError(path, str(error)) from error
        key = (*path, found[1]) if path[-1] == "parameters" else path
        raise KeyValueError(key, f"{found[2]} (given: {found[3]})") from error
