"""What Spark's Python workers run to score; to import it takes NumPy alone."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.data.columns import INFINITE, LARGEST
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from ml_pipeline.model.evaluator import Answers, Evaluator

_MODELS = 4
"""Models that a worker keeps, for all its tasks and batches."""
_LOADED: dict[str, tuple[Evaluator, Any]] = {}


@dataclass(frozen=True)
class Shipped:
    """An evaluator on its way to the workers, and the columns that it takes."""

    key: str
    content: bytes
    kinds: dict[str, str]
    where: str
    """The rows, for messages."""

    def answer(self, columns: Sequence[Any], *, scores: bool) -> Answers:
        """Answer a batch of columns: series of pandas, or Arrow arrays.

        Raises:
            InputError: a number is infinite.
        """
        batch = {
            name: np.asarray(values) if kind == "double" else values
            for (name, kind), values in zip(self.kinds.items(), columns, strict=True)
        }
        for name, values in batch.items():
            # They ignore NaN.
            if (
                self.kinds[name] == "double"
                and max(np.fmax.reduce(values, initial=0), -np.fmin.reduce(values, initial=0)) > LARGEST
            ):
                raise InputError(f"column '{name}' of {self.where} {INFINITE}")
        evaluator, threads = self._loaded()
        with threads.limit(limits=1):
            return evaluator(batch, scores=scores)

    def _loaded(self) -> tuple[Evaluator, Any]:
        from threadpoolctl import ThreadpoolController

        if self.key not in _LOADED:
            if len(_LOADED) == _MODELS:
                del _LOADED[next(iter(_LOADED))]
            evaluator = pickle.loads(self.content)  # noqa: S301 (the driver's own)
            _LOADED[self.key] = evaluator, ThreadpoolController()
        return _LOADED[self.key]
