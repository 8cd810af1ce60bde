"""What computes a model's answers: scikit-learn, or compiled code that was seen to answer the same.

Which of them is decided when a model is logged (`choose`), and followed when it scores (`build`).
"""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.model.compiled_forest import Forest, compiled

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SKLEARN = "sklearn"
FOREST = "compiled_forest"
WORTHWHILE_ROWS = 1_000
"""With fewer training rows a model stays with scikit-learn: small data never win back what compilation costs."""
_WARM_UP_ROWS = 50_000
"""Rows that a process answers with scikit-learn before it compiles anything."""

_log = logging.getLogger(__name__)


class Plain:
    """The model's own answers, by scikit-learn, on one core."""

    def __init__(self, model: Any) -> None:
        # Spark runs one task a core: threads of the model's own would fight for the same cores.
        threads = [name for name in model.get_params() if name == "n_jobs" or name.endswith("__n_jobs")]
        self._model = model.set_params(**dict.fromkeys(threads, 1))

    def __call__(self, rows: pd.DataFrame, *, scores: bool) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Labels, (rows,), and if asked for scores, (rows, classes): probabilities, else decision values, else none."""
        if not len(rows):
            return self._model.classes_[:0], np.empty((0, 0)) if scores else None
        labels = self._model.predict(rows)
        if not scores:
            return labels, None
        scorer = "predict_proba" if hasattr(self._model, "predict_proba") else "decision_function"
        known = getattr(self._model, scorer)(rows) if hasattr(self._model, scorer) else np.empty((len(rows), 0))
        return labels, np.asarray(known, dtype=float).reshape(len(rows), -1)


class Compiled:
    """A forest's answers by compiled code; what is missing or infinite goes to scikit-learn."""

    def __init__(self, model: Any, forest: Forest, *, warm_up_rows: int) -> None:
        self._plain, self._model, self._forest = Plain(model), model, forest
        self._numbers = _Numbers.of(model)
        self._ahead = warm_up_rows

    def __call__(self, rows: pd.DataFrame, *, scores: bool) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """As `Plain` does."""
        self._ahead -= len(rows)
        probabilities = None
        if self._ahead < 0 and len(rows):
            features = self._numbers.transform(rows) if self._numbers else self._model[:-1].transform(rows)
            # Categories may come as a sparse matrix, which is for scikit-learn.
            if isinstance(features, np.ndarray):
                probabilities = self._forest.probabilities(features)
        if probabilities is None:
            return self._plain(rows, scores=scores)
        labels = self._model.classes_.take(np.argmax(probabilities, axis=1), axis=0)
        return labels, probabilities if scores else None


class _Numbers:
    """Imputation and standardization of number columns, with scikit-learn's operations in scikit-learn's order."""

    def __init__(self, columns: list[str], fill: NDArray[Any], mean: NDArray[Any], scale: NDArray[Any]) -> None:
        self._columns, self._fill, self._mean, self._scale = columns, fill, mean, scale

    @classmethod
    def of(cls, model: Any) -> _Numbers | None:
        """The steps before the estimator, if they are imputer and scaler of numbers and nothing else."""
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        columns = model[0]
        if len(model) != 2 or type(columns) is not ColumnTransformer or len(columns.transformers_) != 1:
            return None
        _, steps, names = columns.transformers_[0]
        if type(steps) is not Pipeline or [type(step) for _, step in steps.steps] != [SimpleImputer, StandardScaler]:
            return None
        imputer, scaler = steps[0], steps[1]
        plain = np.isnan(imputer.missing_values) and not imputer.add_indicator and scaler.with_mean and scaler.with_std
        if not plain or np.isnan(imputer.statistics_).any():
            return None
        return cls(list(names), imputer.statistics_, scaler.mean_, scaler.scale_)

    def transform(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Standardized numbers, (rows, features)."""
        numbers = np.array(rows[self._columns], dtype=np.float64, order="C")
        numbers = np.where(np.isnan(numbers), self._fill, numbers)
        numbers -= self._mean
        numbers /= self._scale
        return numbers


def build(model: Any, evaluator: str, *, warm_up_rows: int = _WARM_UP_ROWS) -> Plain | Compiled:
    """What answers for a fitted model: the evaluator that was chosen, or scikit-learn where it can't be had here.

    Scikit-learn answers the first rows too, before anything is compiled.
    """
    forest = _forest(model) if evaluator == FOREST else None
    if forest is None:
        return Plain(model)
    if importlib.util.find_spec("numba") is None:
        _log.warning("numba is not installed: scikit-learn evaluates the model (install 'ml-pipeline[fast]')")
        return Plain(model)
    return Compiled(model, forest, warm_up_rows=warm_up_rows)


def _forest(model: Any) -> Forest | None:
    from sklearn.pipeline import Pipeline

    return Forest.of(model[-1]) if type(model) is Pipeline and len(model) > 1 else None


def choose(model: Any, validation: pd.DataFrame, *, train_rows: int) -> tuple[str, str]:
    """The evaluator of a fitted model, and why.

    The compiled one is taken only if it gives scikit-learn's labels and probabilities, bit for bit, on every row.
    """
    if train_rows < WORTHWHILE_ROWS:
        return SKLEARN, f"{train_rows:,} training rows, below {WORTHWHILE_ROWS:,}"
    if _forest(model) is None:
        return SKLEARN, "the model is no forest of decision trees"
    try:
        compiled()
    except ImportError:
        return SKLEARN, "numba is not installed (the extra 'fast')"
    expected = Plain(model)(validation, scores=True)
    found = build(model, FOREST, warm_up_rows=0)(validation, scores=True)
    pairs: Any = zip(found, expected, strict=True)
    if not all(mine.dtype == theirs.dtype and np.array_equal(mine, theirs) for mine, theirs in pairs):
        return SKLEARN, f"the compiled forest disagrees on the {len(validation):,} validation rows"
    return FOREST, f"it agrees bit for bit on {len(validation):,} validation rows"
