"""The scoring function: models' answers to rows, computed in Spark's Python workers.

Only the features leave the JVM, as Arrow batches; whatever else a row holds waits for them there.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ml_pipeline.data import functions as F
from ml_pipeline.data import hashing, session, sources
from ml_pipeline.data.columns import quote
from ml_pipeline.data.features import Features
from ml_pipeline.model import evaluator
from ml_pipeline.model.metrics import Classes, Responses, type_of
from ml_pipeline.model.worker import Shipped
from ml_pipeline.names import ANSWER, EVALUATOR, PREDICTION, SCORES
from ml_pipeline.registry import models

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from ml_pipeline.model.evaluator import Evaluator
    from ml_pipeline.registry import ModelSignature

_BATCH_VALUES = 400_000
_BATCH_ROWS = (1_000, 50_000)
"""Least and most rows of a batch: between them the values of a batch, which a worker holds several times, decide."""


@dataclass(frozen=True)
class Predictor:
    """A fitted model and what is needed to score with it."""

    model: Any
    signature: ModelSignature
    evaluator: str = evaluator.SKLEARN
    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The types of the columns that the model was trained beside."""

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """The columns that the model takes."""
        return models.input_kinds(self.signature)

    @functools.cached_property
    def built(self) -> Evaluator:
        """What answers for the model."""
        return evaluator.build(self.model, self.evaluator)

    @functools.cached_property
    def content(self) -> bytes:
        """What answers for the model, serialized."""
        from pyspark import cloudpickle

        return cloudpickle.dumps(self.built)  # type: ignore[no-any-return, no-untyped-call]

    def misfit(self, rows: DataFrame, classes: Classes) -> str:
        """Why the model can't be measured on labelled rows; empty if it can."""
        own = self.model.classes_
        if not classes.comparable(own):
            return f"its classes are of type {type_of(own)}, and now they are of type {type_of(classes.values)}"
        misfit = Features(self.kinds).misfit(rows)
        return misfit and f"the table {misfit}"

    def shipped(self, where: str) -> Shipped:
        """What goes to the workers, which know it by its content: a name may come to stand for another model."""
        return Shipped(hashlib.sha256(self.content).hexdigest(), self.content, self.kinds, where)


def load(uri: str) -> Predictor:
    """The predictor of a logged model, with the evaluator that its run names.

    Raises:
        PipelineError: there is no such model, or it can't be read.
    """
    model, signature = models.load_model(uri)
    by = models.tag_of_model(uri, EVALUATOR) or evaluator.SKLEARN
    return Predictor(model, signature, by, models.column_types(uri))


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
    columns = {name: Features(one.kinds).columns(rows, where=where) for name, one in predictors.items()}
    widest = max(len({column for one in predictors.values() for column in one.kinds}), 1)
    batch = min(max(_BATCH_VALUES // widest, _BATCH_ROWS[0]), _BATCH_ROWS[1])
    rows.sparkSession.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", batch)
    # One function for each model rather than one for all: Spark runs them in one pass, on the same batches, and plain
    # columns cross several times faster than a struct of them.
    functions = {name: _function(one, where=where, scores=scores) for name, one in predictors.items()}
    answered = {name: function(*columns[name]).alias(name) for name, function in functions.items()}
    fields = (
        answered.values()
        if scores
        else [F.struct(each.alias(PREDICTION)).alias(name) for name, each in answered.items()]
    )
    return F.struct(*fields)


def responses(
    rows: DataFrame, predictor: Predictor, *, target: str, classes: Classes, where: str
) -> tuple[Responses, NDArray[np.int64]]:
    """A model's answers to labelled rows, by the function that batch inference scores with, and the truth.

    Raises:
        InputError: the rows can't be read, or don't fit the model.
    """
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


def _function(predictor: Predictor, *, where: str, scores: bool) -> Any:
    """The function of one model's features that Spark runs: a prediction, or a struct with its scores."""
    from pyspark.sql.pandas.functions import pandas_udf

    type_ = type_of(predictor.model.classes_)
    if scores:
        type_ = f"{PREDICTION} {type_}, {SCORES} array<double>"
    shipped = predictor.shipped(where)
    if hasattr(F, "arrow_udf") and isinstance(predictor.built, evaluator.Fast):
        return F.arrow_udf(_arrow(shipped, scores=scores), type_)
    return pandas_udf(_pandas(shipped, scores=scores), type_)  # type: ignore[call-overload]


# Spark reads the annotations, where pandas allows no type of what a series holds.
def _pandas(shipped: Shipped, *, scores: bool) -> Any:
    def predicted(*columns: pd.Series) -> pd.Series:  # type: ignore[type-arg]
        labels, _ = shipped.answer(columns, scores=False)
        return pd.Series(labels)

    def scored(*columns: pd.Series) -> pd.DataFrame:  # type: ignore[type-arg]
        labels, values = shipped.answer(columns, scores=True)
        assert values is not None
        return pd.DataFrame({PREDICTION: pd.Series(labels), SCORES: list(values)})

    return scored if scores else predicted


def _arrow(shipped: Shipped, *, scores: bool) -> Any:
    """The same with Arrow arrays, which Spark 4.1 and later pass on without a conversion to pandas."""

    def answered(*columns: pa.Array) -> pa.Array:
        labels, values = shipped.answer(columns, scores=scores)
        if values is None:
            return pa.array(labels)
        ends = np.arange(len(labels) + 1, dtype=np.int32) * np.int32(values.shape[1])
        lists = pa.ListArray.from_arrays(ends, values.reshape(-1))
        return pa.StructArray.from_arrays([pa.array(labels), lists], [PREDICTION, SCORES])

    return answered


def start_worker() -> None:
    """Let Spark start a Python worker, and it import its libraries, ahead of the first task that needs them."""

    def started(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import sklearn.compose
        import sklearn.ensemble  # noqa: F401

        yield from batches

    session.spark().range(0, 1, 1, 1).mapInPandas(started, "id bigint").collect()
