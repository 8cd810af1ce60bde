"""Trains a scikit-learn pipeline by a cross-validated grid search and logs it, with its evidence, to MLflow."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline import errors
from ml_pipeline.data import hashing, histograms, schema, tables
from ml_pipeline.data.columns import quote
from ml_pipeline.data.features import Features
from ml_pipeline.entry_point import Results
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.model import evaluator, metrics, search
from ml_pipeline.model.adapted import adapt
from ml_pipeline.model.bootstrap import MOST_ROWS, measure
from ml_pipeline.model.diagnostics import diagnose
from ml_pipeline.model.estimators import Estimator
from ml_pipeline.model.metrics import Classes, Metric, Responses
from ml_pipeline.model.search import Place
from ml_pipeline.names import CLASSES, EVALUATOR, PREDICTION, TRAIN_SIDE, VALIDATION_SIDE
from ml_pipeline.registry import models, runs
from ml_pipeline.registry.evidence import Evaluation, PerClass, Reference, TableVersion
from ml_pipeline.settings.types import ClassName, Columns, Folds, Rows, Seed
from ml_pipeline.wording import number

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.model_selection import GridSearchCV

    from ml_pipeline.registry import Run


@dataclass(frozen=True)
class _Trained:
    """A model and the features of the rows that it was trained and is evaluated on."""

    model: Any
    features: Features
    classes: Classes
    rows: pd.DataFrame
    validation: pd.DataFrame
    truth: np.ndarray[Any, Any]
    """The true classes of the validation rows, encoded."""

    @functools.cached_property
    def responses(self) -> Responses:
        """The model's answers to the validation rows."""
        return Responses.of(self.model, self.validation, self.classes)


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
) -> Results:
    """Search the grid on the train table, evaluate the best model on the validation table, log all of it.

    Of a table that holds more rows than ``max_training_rows``, a sample is taken.

    Raises:
        InputError: estimator, metric and data do not fit together.
    """
    announced = runs.the_run(experiment, finished=False, job_run_id=job_run_id)
    with runs.resumed(announced) as run:
        began = time.monotonic()
        sides = [_sampled(announced, side, key=key, most=max_training_rows) for side in (TRAIN_SIDE, VALIDATION_SIDE)]
        read = functools.partial(_read, target=target, key=key)
        chosen, rows = read(sides[0], features=features)
        _check_sample(announced, rows[target], sides[0], folds=folds)
        classes = Classes.of(rows[target], positive=positive_class)
        search.check_metric(metric, classes)
        grid = search.grid(estimator, chosen, metric=metric, folds=folds, seed=seed, n_jobs=n_jobs, classes=classes)
        grid = adapt(grid, rows[list(chosen.kinds)], rows[target], seed=seed)
        # Spark has little else to do while the search runs.
        with ThreadPoolExecutor(1) as reader:
            used = list(chosen.kinds)
            reading = reader.submit(read, sides[1], features=used)
            counting = reader.submit(_reference, sides[0], chosen, target=target)
            try:
                model = search.fit(grid, rows[used], rows[target], on=search_on)
            except Exception as error:
                # Not Spark's own errors on the workers, nor those of the machine.
                spark = type(error).__module__.startswith(("py4j", "pyspark"))
                if spark or isinstance(error, PipelineError | OSError | MemoryError) or errors.explain(error):
                    raise
                raise InputError(f"estimator: {estimator.class_} can't learn this: {errors.cause(error)}") from error
            _, validation = reading.result()
            reference = counting.result()
        trained = _Trained(model, chosen, classes, rows[used], validation[used], classes.encode(validation[target]))
        for side, frame in zip(sides, (rows, validation), strict=True):
            context = "training" if side.side == TRAIN_SIDE else side.side
            runs.log_dataset(side.table, side.version, side.fingerprint, frame, target=target, context=context)
        own = {"target": target, "metric": metric, "folds": folds, "seed": seed, "features": ", ".join(chosen.kinds)}
        runs.log_params(own | _parameters(estimator, grid, besides=own))
        evaluation = _evaluate(trained, metric)
        runs.log_metrics(
            {f"validation_{metric}": evaluation.value, **_cross_validated(grid, metric), **_sizes(trained, sides)}
            | {"training_seconds": time.monotonic() - began}
        )
        for document in (evaluation, reference):
            document.log(run)
        _log_figures(run, trained, grid, metric)
        _log_model(run, trained, sides[0])
    sampled = {f"{side.side} rows": str(side.sample) for side in sides if side.sample}
    return {"MLflow run": run.info.run_id, f"validation {metric}": number(evaluation.value), **sampled}


def _sampled(run: Run, side: str, *, key: list[str], most: int) -> TableVersion:
    """A side with the sample to take of it; the run keeps it, so that later steps find the same rows."""
    table = TableVersion.read(run, side)
    table = dataclasses.replace(table, sample=hashing.Sample.needed(table.fingerprint, most=most, by=key))
    table.log_sample(run)
    if table.sample:
        print(f"{side}: {table.sample} (max_training_rows)", flush=True)
    return table


def _check_sample(run: Run, target: pd.Series[Any], side: TableVersion, *, folds: int) -> None:
    """Reject a sample in which a class of the table is too rare to be cross-validated."""
    if side.sample is None:
        return
    counts, known = target.value_counts(), int(run.data.tags[CLASSES])
    rare = f"class {counts.index[-1]!r} has {counts.iloc[-1]} rows, fewer than the {folds} folds"
    if len(counts) < known:
        rare = f"{known - len(counts)} of {known} classes have no row"
    elif counts.iloc[-1] >= folds:
        return
    raise InputError(
        f"max_training_rows: in the sample of table {side.table} ({side.sample}), {rare}; "
        "accepted: a greater max_training_rows, or more rows of the rare class"
    )


def _read(side: TableVersion, *, target: str, key: list[str], features: list[str]) -> tuple[Features, pd.DataFrame]:
    rows, where = tables.read(side.table, version=side.version), f"table {side.table}"
    chosen = Features.of(rows, target=target, key=key, features=features, where=where)
    return chosen, hashing.sampled(rows, [*chosen.columns(rows, where=where), rows[quote(target)]], side.sample)


def _reference(side: TableVersion, chosen: Features, *, target: str) -> Reference:
    """The histograms of the train table, and of the target as text."""
    rows = tables.read(side.table, version=side.version)
    answered = rows[quote(target)].cast("string").alias(PREDICTION)
    selected = rows.select(*chosen.columns(rows, where=f"table {side.table}"), answered)
    bins, counts = histograms.bins_and_count(selected, {**chosen.kinds, PREDICTION: "string"})
    content = dataclasses.asdict(bins) | {"rows": {name: rows.tolist() for name, rows in counts.items()}}
    return Reference.model_validate(content, strict=False)


def _evaluate(trained: _Trained, metric: str) -> Evaluation:
    mine = measure(metric, trained.responses, trained.truth)
    return Evaluation(
        metric=metric,
        value=mine.value,
        classes=list(trained.classes.values),
        bootstrap=mine.resampled.tolist(),
        rows=len(trained.truth),
        labels=trained.responses.labels[:MOST_ROWS].tolist(),
    )


def _parameters(estimator: Estimator, grid: GridSearchCV, *, besides: Collection[str]) -> dict[str, Any]:
    """The estimator and its parameters; one that has the name of a parameter of the run keeps its prefix."""
    best = {name.removeprefix("estimator__"): value for name, value in grid.best_params_.items()}
    taken = {"estimator", *besides}
    chosen = {**estimator.parameters, **best}.items()
    return {"estimator": estimator.class_} | {f"estimator__{k}" if k in taken else k: v for k, v in chosen}


def _cross_validated(grid: GridSearchCV, metric: str) -> dict[str, float]:
    found, best = grid.cv_results_, grid.best_index_
    return {f"cv_{metric}": found["mean_test_score"][best], f"cv_{metric}_std": found["std_test_score"][best]}


def _sizes(trained: _Trained, sides: list[TableVersion]) -> dict[str, float]:
    frames = (trained.rows, trained.validation)
    taken = {f"{side.side}_rows": len(frame) for side, frame in zip(sides, frames, strict=True)}
    return {**taken, **{f"{side.side}_table_rows": side.rows for side in sides}}


def _log_figures(run: Run, trained: _Trained, grid: GridSearchCV, metric: str) -> None:
    """Log how the model does on each class, how much each feature matters, and what the search tried."""
    from ml_pipeline.reports import figures

    per_class = metrics.by_class(trained.responses, trained.truth)
    PerClass(classes=per_class).log(run)
    importance = metrics.importance(metric, trained.model, trained.validation, trained.truth, trained.classes)
    features, names = list(trained.features.kinds), [str(value) for value in trained.classes.values]
    diagnose(trained.responses, trained.truth, features, importance, grid).log(run)
    pictures = {
        "confusion_matrix": figures.confusion_matrix(trained.truth, trained.responses.labels, names),
        "per_class": figures.per_class(per_class),
        "feature_importance": figures.importance(features, *importance, metric=metric),
    }
    runs.log_figures(run, pictures)


def _log_model(run: Run, trained: _Trained, side: TableVersion) -> None:
    """Log the model, what computes its predictions, and the types of the columns that it was trained beside."""
    chosen, reason = evaluator.choose(trained.model, trained.validation, train_rows=len(trained.rows))
    runs.set_tags(run, {EVALUATOR: chosen, f"{EVALUATOR}.reason": reason})
    signature = models.signature_of(trained.features.kinds, metrics.type_of(trained.classes.values))
    types = schema.types_of(tables.read(side.table, version=side.version))
    models.log_model(trained.model, signature=signature, example=trained.rows.head(5), types=types)
