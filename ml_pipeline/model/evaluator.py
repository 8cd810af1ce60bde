"""What computes a model's answers: scikit-learn, or array code that was seen to answer the same.

Which of them is decided when a model is logged (`choose`), and followed when it scores (`build`). An evaluator is
pickled to the workers; with array code they don't import scikit-learn, which takes seconds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ml_pipeline.model.compiled_forest import Forest
from ml_pipeline.model.kernels import Boosting, Linear
from ml_pipeline.model.preparation import Columns, Preparation

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Answers = tuple[NDArray[Any], NDArray[np.float64] | None]
    """Labels, (rows,), and if asked for scores, (rows, classes): probabilities, else decision values, else none."""

SKLEARN = "sklearn"
FOREST = "compiled_forest"
BOOSTING = "compiled_boosting"
LINEAR = "linear"
WORTHWHILE_ROWS = 1_000
"""With fewer training rows a model stays with scikit-learn: small data never win back what compilation costs."""

_log = logging.getLogger(__name__)


class Evaluator(Protocol):
    """Answers a batch of columns."""

    def __call__(self, columns: Columns, *, scores: bool) -> Answers:
        """Labels, and if asked for scores."""


class Kernel(Protocol):
    """An estimator as arrays: answers features that are prepared."""

    def __call__(
        self, features: NDArray[np.float64], *, scores: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
        """Positions of the classes, and if asked for scores."""


@dataclass(frozen=True)
class Plain:
    """The model's own answers, by scikit-learn, on one core."""

    model: Any

    def __call__(self, columns: Columns, *, scores: bool) -> Answers:
        """As an `Evaluator` does."""
        import pandas as pd

        rows = pd.DataFrame({name: pd.Series(values) for name, values in columns.items()}, copy=False)
        model = self.model
        if not len(rows):
            return model.classes_[:0], np.empty((0, 0)) if scores else None
        with _one_thread(model):
            labels = model.predict(rows)
            if not scores:
                return labels, None
            scorer = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
            known = getattr(model, scorer)(rows) if hasattr(model, scorer) else np.empty((len(rows), 0))
        return labels, np.asarray(known, dtype=float).reshape(len(rows), -1)


@contextlib.contextmanager
def _one_thread(model: Any) -> Iterator[None]:
    # Spark runs one task a core: threads of the model's own would fight for the same cores.
    parameters = model.get_params()
    threads = {name: parameters[name] for name in parameters if name == "n_jobs" or name.endswith("__n_jobs")}
    model.set_params(**dict.fromkeys(threads, 1))
    try:
        yield
    finally:
        model.set_params(**threads)


@dataclass(frozen=True)
class Fast:
    """Answers by array code."""

    preparation: Preparation
    kernel: Kernel
    classes: NDArray[Any]

    def __call__(self, columns: Columns, *, scores: bool) -> Answers:
        """As an `Evaluator` does."""
        features = self.preparation(columns)
        if not len(features):
            return self.classes[:0], np.empty((0, 0)) if scores else None
        positions, values = self.kernel(features, scores=scores)
        return self.classes.take(positions, axis=0), values if scores else None


_KERNELS: dict[str, Callable[[Any], Kernel | None]] = {FOREST: Forest.of, BOOSTING: Boosting.of, LINEAR: Linear.of}
"""What makes arrays of a fitted estimator, by the evaluator's name."""


def build(model: Any, evaluator: str) -> Evaluator:
    """What answers for a fitted model: the evaluator that was chosen, or scikit-learn where it can't be had here."""
    fast = _fast(model).get(evaluator)
    if fast is None:
        return Plain(model)
    if evaluator != LINEAR and importlib.util.find_spec("numba") is None:
        _log.warning("numba is not installed: scikit-learn evaluates the model (install 'ml-pipeline[fast]')")
        return Plain(model)
    return fast


def _fast(model: Any) -> dict[str, Fast]:
    """The model as arrays, by the evaluator's name; nothing if a part of it is not known here."""
    from sklearn.pipeline import Pipeline

    preparation = Preparation.of(model[0]) if type(model) is Pipeline and len(model) == 2 else None
    if preparation is None:
        return {}
    kernels = {name: of(model[-1]) for name, of in _KERNELS.items()}
    return {name: Fast(preparation, kernel, model.classes_) for name, kernel in kernels.items() if kernel is not None}


def choose(model: Any, validation: pd.DataFrame, *, train_rows: int) -> tuple[str, str]:
    """The evaluator of a fitted model, and why.

    Array code is taken only if it gives scikit-learn's labels and scores, bit for bit, on every row.
    """
    if train_rows < WORTHWHILE_ROWS:
        return SKLEARN, f"{train_rows:,} training rows, below {WORTHWHILE_ROWS:,}"
    known = _fast(model)
    if not known:
        return SKLEARN, "only scikit-learn evaluates a model of this kind"
    (name, fast), *_ = known.items()
    columns = {str(column): values.to_numpy() for column, values in validation.items()}
    try:
        mine = fast(columns, scores=True)
    except ImportError:
        return SKLEARN, "numba is not installed (the extra 'fast')"
    pairs: Any = zip(mine, Plain(model)(columns, scores=True), strict=True)
    if not all(ours.dtype == theirs.dtype and np.array_equal(ours, theirs) for ours, theirs in pairs):
        return SKLEARN, f"{name} disagrees on the {len(validation):,} validation rows"
    return name, f"it agrees bit for bit on {len(validation):,} validation rows"
