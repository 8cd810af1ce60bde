"""Validates the CI's model on the test table, with the scoring function that batch inference uses."""

from __future__ import annotations

import functools

from ml_pipeline.data import tables
from ml_pipeline.entry_point import Results
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.model import predictor
from ml_pipeline.model.bootstrap import measure
from ml_pipeline.model.decision import Limits, OnInconclusive, decide, rival
from ml_pipeline.model.metrics import Classes, Metric
from ml_pipeline.names import CHALLENGER, CHAMPION, GIT_COMMIT, TEST, TEST_SIDE
from ml_pipeline.registry import models, runs, tracking
from ml_pipeline.registry.evidence import Evaluation, TableVersion, Validation
from ml_pipeline.settings.types import Significance, Threshold, Tolerance


def validate(
    *,
    test_table: str,
    experiment: str,
    model: str,
    metric: Metric,
    threshold: Threshold,
    tolerance: Tolerance,
    significance: Significance,
    on_inconclusive: OnInconclusive,
    git_commit: str,
) -> Results:
    """Measure the model that the CI built of a commit on the test table; register it as challenger if it passes.

    The verdict goes into the run's tags ``test`` (passed, failed or inconclusive) and ``test.reason``, and into the
    version's ``test`` and ``test_reason``.

    Raises:
        CheckFailedError: the model misses the threshold, or falls below the champion by more than the tolerance.
    """
    run = runs.the_run(experiment, git_commit=git_commit, development="passed")
    target = run.data.params["target"]
    version, fingerprint = tables.last_write(test_table) if tables.exists(test_table) else (0, "")
    side = TableVersion(side=TEST_SIDE, table=test_table, version=version, fingerprint=fingerprint)
    rows = tables.read(test_table, version=version)
    if target not in rows.columns:
        raise InputError(f"target: table {test_table} has no column '{target}'; accepted: {', '.join(rows.columns)}")
    limits = Limits(
        metric=metric,
        threshold=threshold,
        tolerance=tolerance,
        significance=significance,
        on_inconclusive=on_inconclusive,
    )
    classes = Classes(tuple(Evaluation.read(run).classes))
    ask = functools.partial(predictor.responses, rows, target=target, classes=classes, where=f"table {test_table}")
    responses, truth = ask(predictor.load(models.run_uri(run)))
    mine = measure(metric, responses, truth)
    champion = models.version_by_alias(model, CHAMPION)
    rivals, left_out = [], ""
    if champion is not None and champion.run_id != run.info.run_id:
        name = f"the champion, version {champion.version}"
        served = predictor.load(models.version_uri(champion))
        if misfit := served.misfit(rows, classes):
            left_out = f"{name} is left out of the comparison: {misfit}"
        else:
            theirs = measure(metric, *ask(served))
            rivals.append(rival(name, str(champion.run_id), mine, theirs, limits))
    decision = decide(limits, mine, rivals, left_out=left_out, side="test")
    tags = decision.tags(TEST) | side.tags
    runs.set_tags(run, tags)
    tracking.client().log_metric(run.info.run_id, f"test_{metric}", mine.value)
    Validation(**decision.model_dump()).log(run)
    if not decision.passed:
        raise CheckFailedError(f"the model is rejected: {decision.reason}")
    registered = models.register(run, model, tags={**tags, GIT_COMMIT: git_commit})
    models.move_alias(CHALLENGER, registered)
    return {**decision.results, model: f"version {registered.version} is the challenger"}
