"""Trains a scikit-learn pipeline by a cross-validated grid search and logs it, with its evidence, to MLflow."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ml_pipeline.data import hashing, histograms, sampling, tables
from ml_pipeline.data.columns import quote
from ml_pipeline.data.features import Features
from ml_pipeline.data.sampling import Sample
from ml_pipeline.entry_point import Made
from ml_pipeline.errors import InputError
from ml_pipeline.model import evaluator, search
from ml_pipeline.model.bootstrap import MOST_ROWS, measure
from ml_pipeline.model.estimator import Estimator
from ml_pipeline.model.metrics import Classes, Encoded, Metric, Responses, by_class, score
from ml_pipeline.model.search import Place, Scoring
from ml_pipeline.names import PREDICTION
from ml_pipeline.registry import models, runs
from ml_pipeline.settings.types import ClassName, Columns, Folds, Rows, Seed

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

_MLFLOW_TYPES = {"i": "long", "u": "long", "f": "double", "b": "boolean"}
_MOST_CATEGORIES = 50
"""Categories of a text column that get a column of their own; the rarest share one."""
_IMPORTANCE_ROWS = 2000


def train(
    *,
    target: str,
    key: Columns,
    features: Columns,
    positive_class: ClassName = "",
    estimator: Estimator,
    metric: Metric,
    folds: Folds,
    seed: Seed,
    n_jobs: int,
    search_on: Place = "driver",
    max_training_rows: Rows = 1_000_000,
    experiment: str,
    job_run_id: str,
) -> Made:
    """Search the grid on the train table, evaluate the best model on the validation table, log all of it.

    Of a table that holds more rows than ``max_training_rows``, a sample is taken.

    Raises:
        InputError: estimator, metric and data do not fit together.
    """
    announced = runs.the_run(experiment, finished=False, job_run_id=job_run_id)
    with runs.resumed(announced) as run:
        began = time.monotonic()
        samples = {side: _sample(announced, side, key=key, most=max_training_rows) for side in ("train", "validation")}
        read = functools.partial(_read, announced, target=target, key=key)
        chosen, rows = read("train", features=features, sample=samples["train"])
        if samples["train"]:
            _check_sample(announced, rows[target], samples["train"], folds=folds)
        classes = Classes.of(rows[target], positive=positive_class)
        _check_metric(metric, classes)
        grid = _search(estimator, chosen, metric=metric, folds=folds, seed=seed, n_jobs=n_jobs, classes=classes)
        # Spark has little else to do while the search runs.
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(read, "validation", features=list(chosen.kinds), sample=samples["validation"])
            counting = reader.submit(_reference, announced, chosen, target=target)
            try:
                model = search.fit(grid, rows[list(chosen.kinds)], rows[target], on=search_on)
            except (ValueError, TypeError) as error:
                said = str(error).splitlines()[-1]
                raise InputError(f"estimator: {estimator.class_} can't learn this: {said}") from error
            _, validation = reading.result()
            reference = counting.result()
        for side, frame in (("train", rows), ("validation", validation)):
            _log_dataset(announced, side, frame, target=target)
        truth = classes.encode(validation[target])
        responses = Responses.of(model, validation[list(chosen.kinds)], classes)
        value, resampled = measure(metric, responses, truth)
        runs.log_params(
            {
                "estimator": estimator.class_,
                **estimator.parameters,
                **{name.removeprefix("estimator__"): value for name, value in grid.best_params_.items()},
                "features": ", ".join(chosen.kinds),
                "target": target,
                "metric": metric,
                "folds": folds,
                "seed": seed,
            }
        )
        best = grid.best_index_
        runs.log_metrics(
            {
                f"validation_{metric}": value,
                f"cv_{metric}": grid.cv_results_["mean_test_score"][best],
                f"cv_{metric}_std": grid.cv_results_["std_test_score"][best],
                "train_rows": len(rows),
                "train_table_rows": _table_rows(announced, "train"),
                "validation_rows": len(validation),
                "validation_table_rows": _table_rows(announced, "validation"),
                "training_seconds": time.monotonic() - began,
            }
        )
        _log_evidence(
            run,
            model=model,
            chosen=chosen,
            validation=validation,
            responses=responses,
            truth=truth,
            metric=metric,
        )
        runs.log_json(
            run,
            "evaluation",
            {
                "metric": metric,
                "value": value,
                "classes": list(classes.values),
                "bootstrap": resampled.tolist(),
                "labels": responses.labels[:MOST_ROWS].tolist(),
            },
        )
        runs.log_json(run, histograms.REFERENCE, reference)
        evaluates, why = evaluator.choose(model, validation[list(chosen.kinds)], train_rows=len(rows))
        runs.set_tags(run, {evaluator.TAG: evaluates, f"{evaluator.TAG}.reason": why})
        type_ = _MLFLOW_TYPES.get(np.asarray(classes.values).dtype.kind, "string")
        models.log_model(model, signature=chosen.signature(type_), example=rows[list(chosen.kinds)].head(5))
    sampled = {f"{side} rows": str(sample) for side, sample in samples.items() if sample}
    return {"MLflow run": run.info.run_id, f"validation {metric}": f"{value:.4f}", **sampled}


def _sample(run: Run, side: str, *, key: list[str], most: int) -> Sample | None:
    """What to take of a side; says so, and leaves it with the run, by which others find the same rows."""
    sample = Sample.needed(run.data.tags[f"{side}_fingerprint"], most=most, by=key)
    runs.set_tags(run, {f"{side}_sample": sampling.tag(sample)})
    if sample:
        print(f"{side}: {sample} (max_training_rows)", flush=True)
    return sample


def _table_rows(run: Run, side: str) -> int:
    return hashing.Digest.parse(run.data.tags[f"{side}_fingerprint"]).rows


def _check_sample(run: Run, target: pd.Series[Any], sample: Sample, *, folds: int) -> None:
    """Refuse a sample in which a class of the table is too rare to be cross-validated."""
    counts, known = target.value_counts(), int(run.data.tags["classes"])
    rare = f"class {counts.index[-1]!r} has {counts.iloc[-1]} rows, fewer than the {folds} folds"
    if len(counts) < known:
        rare = f"{known - len(counts)} of {known} classes have no row"
    elif counts.iloc[-1] >= folds:
        return
    raise InputError(
        f"max_training_rows: in the sample of table {run.data.tags['train_table']} ({sample}), {rare}; "
        "accepted: a greater max_training_rows, or more rows of the rare class"
    )


def _read(
    run: Run, side: str, *, target: str, key: list[str], features: list[str], sample: Sample | None
) -> tuple[Features, pd.DataFrame]:
    from pyspark.sql import functions as F

    table, version = run.data.tags[f"{side}_table"], int(run.data.tags[f"{side}_version"])
    rows = tables.read(table, version=version)
    chosen = Features.of(rows, target=target, key=key, features=features, where=f"table {table}")
    columns = chosen.columns(rows, where=f"table {table}")
    return chosen, sampling.to_pandas(rows, [*columns, F.col(quote(target))], sample)


def _reference(run: Run, chosen: Features, *, target: str) -> dict[str, Any]:
    """What a batch will be compared with: the histograms of the train table, and of the target as text.

    They go with the run, since the table stays: where the model is served it may be out of reach, or vacuumed away.
    """
    from pyspark.sql import functions as F

    table, version = run.data.tags["train_table"], int(run.data.tags["train_version"])
    rows = tables.read(table, version=version)
    answered = F.col(quote(target)).cast("string").alias(PREDICTION)
    kinds = {**chosen.kinds, PREDICTION: "string"}
    return histograms.as_data(
        *histograms.bins_and_count(rows.select(*chosen.columns(rows, where=f"table {table}"), answered), kinds)
    )


def _log_dataset(run: Run, side: str, rows: pd.DataFrame, *, target: str) -> None:
    table, version = run.data.tags[f"{side}_table"], int(run.data.tags[f"{side}_version"])
    fingerprint = run.data.tags[f"{side}_fingerprint"]
    context = {"train": "training"}.get(side, side)
    runs.log_dataset(table, version, fingerprint, rows, target=target, context=context)


def _check_metric(metric: str, classes: Classes) -> None:
    """Refuse, before the search, a metric that can't be computed for so many classes."""
    rows = np.zeros((2 * len(classes.values), 1))
    target = np.asarray(classes.values)[np.arange(len(rows)) % len(classes.values)]
    guesser = DummyClassifier(strategy="uniform", random_state=0).fit(rows, target)
    score(metric, Encoded(guesser, classes), rows, classes.encode(target))


def _search(
    estimator: Estimator,
    chosen: Features,
    *,
    metric: str,
    folds: int,
    seed: int,
    n_jobs: int,
    classes: Classes,
) -> GridSearchCV:
    numbers = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    # The encoder takes a missing value as a category, and the rarest and unknown ones together.
    text = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_MOST_CATEGORIES, sparse_output=False)
    columns = ColumnTransformer(
        [
            (name, step, on)
            for name, step, on in (("numbers", numbers, chosen.numbers), ("text", text, chosen.text))
            if on
        ]
    )
    return GridSearchCV(
        Pipeline([("columns", columns), ("estimator", estimator.build(seed=seed))]),
        {f"estimator__{name}": values for name, values in estimator.grid.items()},
        scoring=Scoring(metric, classes),
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
        n_jobs=n_jobs,
        error_score="raise",
    )


def _log_evidence(
    run: Run,
    *,
    model: Any,
    chosen: Features,
    validation: pd.DataFrame,
    responses: Responses,
    truth: np.ndarray[Any, Any],
    metric: str,
) -> None:
    from ml_pipeline.reports import figures

    names = [str(value) for value in responses.classes.values]
    per_class = by_class(responses, truth)
    some = slice(0, _IMPORTANCE_ROWS)
    importance = permutation_importance(
        model,
        validation[list(chosen.kinds)][some],
        truth[some],
        scoring=lambda model, rows, truth: score(metric, Encoded(model, responses.classes), rows, truth),
        n_repeats=3,
        random_state=0,
    )
    runs.log_json(run, "per_class", per_class)
    runs.log_figures(
        run,
        {
            "confusion_matrix": figures.confusion_matrix(truth, responses.labels, names),
            "per_class": figures.per_class(per_class),
            "feature_importance": figures.importance(
                list(chosen.kinds), importance.importances_mean, importance.importances_std, metric=metric
            ),
        },
    )
