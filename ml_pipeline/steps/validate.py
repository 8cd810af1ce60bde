"""Validates the CI's model on the test table, with the scoring function that batch inference uses."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml_pipeline.data import hashing, sources, tables
from ml_pipeline.data.columns import quote
from ml_pipeline.entry_point import Made
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.model import predictor
from ml_pipeline.model.bootstrap import measure
from ml_pipeline.model.decision import Rival, decide
from ml_pipeline.model.metrics import Classes, Metric, Responses, score
from ml_pipeline.registry import models, runs
from ml_pipeline.settings.types import Significance, Threshold, Tolerance

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def validate(
    *,
    test_table: str,
    experiment: str,
    model: str,
    metric: Metric,
    threshold: Threshold,
    tolerance: Tolerance,
    significance: Significance,
    git_commit: str,
) -> Made:
    """Measure the model that the CI built of a commit on the test table; register it as challenger if it passes.

    The verdict goes into the run's tags ``test`` (passed or failed) and ``test.reason``, and into the
    version's ``test`` and ``test_reason``.

    Raises:
        CheckFailedError: the model misses the threshold, or falls below the champion by more than the tolerance.
    """
    run = runs.the_run(experiment, git_commit=git_commit, development="passed")
    classes = Classes(tuple(runs.read_json(run, "evaluation")["classes"]))
    target = run.data.params["target"]
    version, fingerprint = tables.last_write(test_table) if tables.exists(test_table) else (0, "")
    rows = tables.read(test_table, version=version)
    if target not in rows.columns:
        raise InputError(f"target: table {test_table} has no column '{target}'; accepted: {', '.join(rows.columns)}")

    def answers(uri: str) -> tuple[Responses, NDArray[np.int64]]:
        return _answers(rows, uri, target=target, classes=classes, where=f"table {test_table}")

    responses, truth = answers(models.run_uri(run))
    value = score(metric, responses, np.arange(len(truth)), truth)
    champion = models.version_by_alias(model, models.CHAMPION)
    rivals = []
    if champion is not None and champion.run_id != run.info.run_id:
        theirs = measure(metric, *answers(models.version_uri(champion)))
        name = f"the champion, version {champion.version}"
        mine = measure(metric, responses, truth)
        rivals.append(Rival.of(name, str(champion.run_id), mine, theirs, significance=significance))
    verdict = decide(f"test {metric}", value, rivals, threshold=threshold, tolerance=tolerance)
    tags = {"test": verdict.word, "test.reason": verdict.reason}
    at = {"test_table": test_table, "test_version": str(version), "test_fingerprint": fingerprint}
    runs.set_tags(run, {**tags, **at})
    runs.set_metric(run, f"test_{metric}", value)
    outcome: dict[str, Any] = {"metric": metric, "value": value, "rivals": [rival.as_row() for rival in rivals]}
    runs.log_json(run, "test", outcome | asdict(verdict))
    if not verdict.passed:
        raise CheckFailedError(f"the model is refused: {verdict.reason}")
    registered = models.register(run, model, tags={**tags, **at, "git_commit": git_commit})
    models.move_alias(models.CHALLENGER, registered)
    return {"verdict": f"{verdict.word}: {verdict.reason}", model: f"version {registered.version} is the challenger"}


def _answers(
    rows: DataFrame, uri: str, *, target: str, classes: Classes, where: str
) -> tuple[Responses, NDArray[np.int64]]:
    """A model's answers to a table's rows by the scoring function, and the true classes."""
    loaded = predictor.load(uri)
    fitted = loaded.model
    from pyspark.sql import functions as F

    answers = predictor.answers(rows, {"model": loaded}, where=where, scores=True)
    answered = rows.withColumn("__answer", answers["model"])
    columns = [F.col(quote(target)).alias("truth"), F.col("__answer.prediction"), F.col("__answer.scores")]
    with sources.reading(where):
        frame = hashing.to_pandas(answered, columns, order_by=rows.columns)
    truth = classes.encode(frame["truth"])
    responses = Responses.of_scores(
        classes,
        classes.encode(frame["prediction"], strict=False),
        np.stack(frame["scores"].to_list()),
        fitted.classes_,
        sure=hasattr(fitted, "predict_proba"),
    )
    return responses, truth
