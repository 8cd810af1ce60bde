"""The scoring function: models' answers to rows, computed in Spark's Python workers.

Only the features leave the JVM, as Arrow batches; whatever else a row holds waits for them there.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml_pipeline.data import functions as F
from ml_pipeline.data import hashing, session, sources
from ml_pipeline.data.columns import quote
from ml_pipeline.data.features import Features
from ml_pipeline.model import evaluator
from ml_pipeline.model.metrics import Classes, Responses, type_of
from ml_pipeline.names import ANSWER, EVALUATOR, PREDICTION, SCORES
from ml_pipeline.registry import models

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import Column, DataFrame

    from ml_pipeline.registry import ModelSignature

_MODELS_A_WORKER = 4
_BATCH_VALUES = 400_000
_BATCH_ROWS = (1_000, 50_000)
"""Least and most rows of a batch: between them the values of a batch, which a worker holds several times, decide."""


@dataclass(frozen=True)
class Predictor:
    """A fitted model and what is needed to score with it."""

    model: Any
    signature: ModelSignature
    evaluator: str = evaluator.SKLEARN

    @functools.cached_property
    def content(self) -> bytes:
        """The model, serialized."""
        from pyspark import cloudpickle

        return cloudpickle.dumps(self.model)  # type: ignore[no-any-return, no-untyped-call]

    @functools.cached_property
    def key(self) -> str:
        """Identifies the model by its content: a name may come to stand for another model while a worker lives."""
        return f"{self.evaluator}-{hashlib.sha256(self.content).hexdigest()}"


def load(uri: str) -> Predictor:
    """The predictor of a logged model, with the evaluator that its run names.

    Raises:
        PipelineError: there is no such model, or it can't be read.
    """
    model, signature = models.load_model(uri)
    return Predictor(model, signature, models.tag_of_model(uri, EVALUATOR) or evaluator.SKLEARN)


def answers(rows: DataFrame, predictors: Mapping[str, Predictor], *, where: str, scores: bool = False) -> Column:
    """Several models' answers to each row, in one pass over the rows; the models' features may differ.

    Returns:
        A struct with a field for each predictor's name: a struct with ``prediction``, of the target's type, and if
        asked for ``scores``: the model's probabilities in the order of its classes, its decision values where it gives
        none, or an empty list where it gives neither.

    Raises:
        InputError: a feature is missing, or of another type. Of an infinite one Spark tells where the answers are
            computed, inside ``tables.reading``.
    """
    features = {name: Features(models.input_kinds(one.signature)) for name, one in predictors.items()}
    columns = {name: of.columns(rows, where=where, must_be_finite=True) for name, of in features.items()}
    widest = max(len({column for of in features.values() for column in of.kinds}), 1)
    batch = min(max(_BATCH_VALUES // widest, _BATCH_ROWS[0]), _BATCH_ROWS[1])
    rows.sparkSession.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", batch)
    # One function for each model rather than one for all: Spark runs them in one pass, on the same batches, and plain
    # columns cross several times faster than a struct of them.
    fields = [
        _function(rows, one, list(features[name].kinds), scores=scores)(*columns[name]).alias(name)
        if scores
        else F.struct(_function(rows, one, list(features[name].kinds))(*columns[name]).alias(PREDICTION)).alias(name)
        for name, one in predictors.items()
    ]
    return F.struct(*fields)


def responses(
    rows: DataFrame, uri: str, *, target: str, classes: Classes, where: str
) -> tuple[Responses, NDArray[np.int64]]:
    """A logged model's answers to labelled rows, by the function that batch inference scores with, and the truth.

    Raises:
        InputError: the rows can't be read, or don't fit the model.
    """
    predictor = load(uri)
    answered = rows.withColumn(ANSWER, answers(rows, {"model": predictor}, where=where, scores=True)["model"])
    columns = [F.col(quote(target)).alias("truth"), F.col(f"{ANSWER}.{PREDICTION}"), F.col(f"{ANSWER}.{SCORES}")]
    with sources.reading(where):
        frame = hashing.to_pandas(answered, columns, order_by=rows.columns)
    known = Responses.of_scores(
        classes,
        classes.encode(frame[PREDICTION], strict=False),
        np.stack(frame[SCORES].to_list()),
        predictor.model.classes_,
        sure=hasattr(predictor.model, "predict_proba"),
    )
    return known, classes.encode(frame["truth"])


def _function(rows: DataFrame, predictor: Predictor, names: list[str], *, scores: bool = False) -> Any:
    """The function of one model's features that Spark runs: a prediction, or a struct with its scores."""
    from pyspark.sql.pandas.functions import pandas_udf

    type_ = type_of(predictor.model.classes_)
    content = rows.sparkSession.sparkContext.broadcast(_Unpickled(predictor.content))
    shipped = _Shipped(predictor.key, predictor.evaluator, content)

    # Spark reads the annotations, where pandas allows no type of what a series holds.
    def predicted(*columns: pd.Series) -> pd.Series:  # type: ignore[type-arg]
        labels, _ = _answer(shipped, names, columns, scores=False)
        return pd.Series(labels)  # type: ignore[no-any-return]

    def scored(*columns: pd.Series) -> pd.DataFrame:  # type: ignore[type-arg]
        labels, values = _answer(shipped, names, columns, scores=True)
        return pd.DataFrame({PREDICTION: pd.Series(labels), SCORES: list(values)})

    if scores:
        return pandas_udf(scored, f"{PREDICTION} {type_}, {SCORES} array<double>")  # type: ignore[call-overload]
    return pandas_udf(predicted, type_)  # type: ignore[call-overload]


@dataclass(frozen=True)
class _Unpickled:
    """Serialized content that becomes what it holds when a worker reads the broadcast."""

    content: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.content,)


@dataclass(frozen=True)
class _Shipped:
    """A model on its way to the workers, the same as another one with its key."""

    key: str
    evaluator: str = field(compare=False)
    model: Broadcast[Any] = field(compare=False)


@functools.lru_cache(_MODELS_A_WORKER)
def _loaded(shipped: _Shipped) -> tuple[evaluator.Plain | evaluator.Compiled, Any]:
    """A model's evaluator and the control of its threads, once in a worker process for all its tasks and batches."""
    from threadpoolctl import ThreadpoolController

    ready = evaluator.build(shipped.model.value, shipped.evaluator)
    return ready, ThreadpoolController()


def _answer(shipped: _Shipped, names: list[str], columns: tuple[pd.Series[Any], ...], *, scores: bool) -> Any:
    ready, threads = _loaded(shipped)
    with threads.limit(limits=1):
        return ready(pd.DataFrame(dict(zip(names, columns, strict=True)), copy=False), scores=scores)


def start_worker() -> None:
    """Let Spark start a Python worker, and it import its libraries, ahead of the first task that needs them."""

    def started(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import sklearn.compose
        import sklearn.ensemble  # noqa: F401

        yield from batches

    session.spark().range(0, 1, 1, 1).mapInPandas(started, "id bigint").collect()
