"""The scoring function, and batch inference with it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BeforeValidator

from ml_pipeline import tables, tracking
from ml_pipeline.data_preparation import Made
from ml_pipeline.errors import InputError
from ml_pipeline.features import Features
from ml_pipeline.settings import Source

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from pyspark.sql import Column, DataFrame


def _iso_day(text: object) -> object:
    if isinstance(text, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError("is no day; accepted: YYYY-MM-DD")
    return text


Day = Annotated[datetime.date, BeforeValidator(_iso_day)]
"""A day, ``YYYY-MM-DD``."""
BATCH_COLUMN = "batch_date"
_ANSWER = "__answer"
ADDED = ("prediction", "model_name", "model_version", "run_id", BATCH_COLUMN)
"""Columns that a predictions table has beside those of its source."""

_SPARK_TYPES = {"i": "bigint", "u": "bigint", "f": "double", "b": "boolean"}


def answer(rows: DataFrame, model: Any, signature: ModelSignature, *, where: str, scores: bool = False) -> Column:
    """The scoring function: a model's answer to each row, as a column of structs.

    Args:
        rows: Rows that hold the model's features.
        model: A fitted scikit-learn model.
        signature: The model's signature.
        where: What the rows are called in messages.
        scores: Whether the answer has ``scores`` too: the model's probabilities in the order of its classes, its
            decision values where it gives none, or an empty list where it gives neither.

    Returns:
        A struct with ``prediction``, of the target's type.

    Raises:
        InputError: a feature is missing, or of another type.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.functions import pandas_udf

    features = Features.of_model(signature).columns(rows, where=where)
    # Spark runs one task a core: threads of the model's own would fight for the same cores.
    threads = [name for name in model.get_params() if name == "n_jobs" or name.endswith("__n_jobs")]
    model.set_params(**dict.fromkeys(threads, 1))
    scorer = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
    type_ = _SPARK_TYPES.get(np.asarray(model.classes_).dtype.kind, "string")

    def predicted(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            out = pd.DataFrame({"prediction": model.predict(batch) if len(batch) else []})
            if scores:
                known = len(batch) and hasattr(model, scorer)
                values = getattr(model, scorer)(batch) if known else np.empty((len(batch), 0))
                out["scores"] = list(np.asarray(values, dtype=float).reshape(len(batch), -1))
            yield out

    schema = f"prediction {type_}" + (", scores array<double>" if scores else "")
    return pandas_udf(predicted, schema)(F.struct(*features))  # type: ignore[call-overload, no-any-return]


def start_worker() -> None:
    """Let Spark start a Python worker, and it import its libraries, ahead of the first task that needs them."""

    def started(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import sklearn.compose
        import sklearn.ensemble  # noqa: F401

        yield from batches

    tables.session().range(0, 1, 1, 1).mapInPandas(started, "id bigint").collect()


def score(*, source: Source, model: str, predictions_table: str, batch_date: Day) -> Made:
    """Score a batch with the champion; the predictions of the same batch, if there are any, are replaced in one commit.

    Raises:
        InputError: there is no champion, no row, or the rows don't fit the model's signature; nothing is written then.
    """
    where = f"source {source}"
    rows = tables.read_source(source)
    for column in (*ADDED, _ANSWER):
        if column in rows.columns:
            raise InputError(f"{where}: column '{column}' has the name of one that scoring adds; rename it")
    champion = tracking.champion(model)
    fitted, signature = tracking.load_model(tracking.version_uri(champion))
    answered = rows.withColumn(_ANSWER, answer(rows, fitted, signature, where=where))
    predictions = answered.select(*map(tables.quote, rows.columns), f"{_ANSWER}.prediction")
    stamped = tables.with_constants(
        predictions, model_name=model, model_version=int(champion.version), run_id=str(champion.run_id)
    )
    with tables.reading(where):
        if rows.isEmpty():
            raise InputError(f"{where}: is empty; accepted: at least one row")
        written = tables.replace_batch(stamped, predictions_table, column=BATCH_COLUMN, value=batch_date.isoformat())
    return {predictions_table: f"batch {batch_date}, {written}, by {model} version {champion.version}"}
