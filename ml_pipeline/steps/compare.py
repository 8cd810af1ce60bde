"""Compares a run with every finished run of its branch and with the champion, and decides whether it may go on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from ml_pipeline.data import hashing, tables
from ml_pipeline.data.columns import quote
from ml_pipeline.data.features import Features
from ml_pipeline.entry_point import Results
from ml_pipeline.errors import CheckFailedError, PipelineError
from ml_pipeline.model import predictor
from ml_pipeline.model.bootstrap import MOST_ROWS, RESAMPLES, Measured, f1_verdicts, measure
from ml_pipeline.model.decision import Limits, OnInconclusive, decide, rival
from ml_pipeline.model.metrics import Classes, Metric, Responses, by_class
from ml_pipeline.names import CHAMPION, DEVELOPMENT, GIT_COMMIT, PASSED, REASON, VALIDATE, VALIDATION_SIDE
from ml_pipeline.registry import evidence, models, runs
from ml_pipeline.registry.evidence import ComparedChampion, Comparison, Evaluation, RivalRow, TableVersion
from ml_pipeline.settings.types import Significance, Threshold, Tolerance

if TYPE_CHECKING:
    from ml_pipeline.registry import Run

MOST_RUNS = 25
"""Runs of the branch that are compared one by one: its best. What isn't below the best is not below any other."""


def compare(
    *,
    experiment: str,
    model: str,
    metric: Metric,
    threshold: Threshold,
    tolerance: Tolerance,
    significance: Significance,
    on_inconclusive: OnInconclusive,
    job_run_id: str,
) -> Results:
    """Compare the job run's model with the champion and the branch's finished runs, on the same validation rows.

    The verdict goes into the run's tags: ``validate`` (passed, failed or inconclusive), ``validate.reason``,
    ``validate.compared_with``, and ``development`` = passed on the CI's run that did not fail, which is the only one of
    its commit with that tag.

    Raises:
        CheckFailedError: the model is rejected.
    """
    from ml_pipeline.reports import figures

    run = runs.the_run(experiment, job_run_id=job_run_id)
    limits = Limits(
        metric=metric,
        threshold=threshold,
        tolerance=tolerance,
        significance=significance,
        on_inconclusive=on_inconclusive,
    )
    mine = measured(run, metric)
    champion, left_out = _champion(run, mine, model, limits)
    rivals = [champion[0]] if champion else []
    rivals += _branch(experiment, run, mine, limits, besides={row.run_id for row in rivals})
    decision = decide(limits, mine, rivals, left_out=left_out)
    Comparison(**decision.model_dump(), champion=champion[1] if champion else None).log(run)
    picture = figures.comparison(mine.value, rivals, metric=metric, threshold=threshold)
    runs.log_figures(run, {"comparison": picture})
    compared_with = ", ".join(other.run_id for other in rivals)
    runs.set_tags(run, decision.tags(VALIDATE) | {f"{VALIDATE}.compared_with": compared_with})
    if not decision.passed:
        raise CheckFailedError(f"the model is rejected: {decision.reason}")
    if run.data.tags[REASON] == "ci":
        runs.hand_over_tag(experiment, run, DEVELOPMENT, PASSED, among=GIT_COMMIT)
    return decision.results


def measured(run: Run, metric: str) -> Measured:
    """The metric of a run on its validation rows.

    Raises:
        CheckFailedError: the run measured another metric, or an earlier release measured it too differently.
    """
    evaluation, where = Evaluation.read(run), f"run {run.info.run_id}"
    if evaluation.metric != metric:
        raise CheckFailedError(f"{where} measured {evaluation.metric}, not {metric}; train it anew")
    side = TableVersion.find(run, VALIDATION_SIDE)
    # Earlier releases kept no count.
    rows = evaluation.rows or len(evaluation.labels) or (side.taken if side else 0)
    if not rows:
        raise CheckFailedError(f"{where} does not say how many rows it was measured on; train it anew")
    if len(evaluation.bootstrap) != RESAMPLES:
        resamples = len(evaluation.bootstrap)
        raise CheckFailedError(f"{where} has {resamples:,} resamples; expected {RESAMPLES:,}; train it anew")
    return Measured(evaluation.value, np.asarray(evaluation.bootstrap), min(rows, MOST_ROWS))


def _branch(
    experiment: str,
    run: Run,
    mine: Measured,
    limits: Limits,
    *,
    besides: Collection[str],
) -> list[RivalRow]:
    """The best runs of the branch; they share the significance, so that many of them reject no more."""
    same_rows = evidence.same_rows(run, VALIDATION_SIDE)
    others: list[tuple[Run, Measured]] = []
    for other in runs.of_branch(experiment, run, limits.metric, most=MOST_RUNS, **same_rows):
        if other.info.run_id in besides:
            continue
        try:
            others.append((other, measured(other, limits.metric)))
        except PipelineError as error:
            print(f"run {other.info.run_name} is left out of the comparison: {error}", flush=True)
    share = limits.shared(len(others))
    return [rival(f"run {other.info.run_name}", other.info.run_id, mine, theirs, share) for other, theirs in others]


def _champion(
    run: Run, mine: Measured, model: str, limits: Limits
) -> tuple[tuple[RivalRow, ComparedChampion] | None, str]:
    """The champion on the rows that the run was measured on, or why it is left out.

    Neither, if there is none, or if the run is its own.
    """
    champion = models.version_by_alias(model, CHAMPION)
    if champion is None or champion.run_id == run.info.run_id:
        return None, ""
    side = TableVersion.read(run, VALIDATION_SIDE)
    rows = tables.read(side.table, version=side.version)
    served = predictor.load(models.version_uri(champion))
    evaluation = Evaluation.read(run)
    classes = Classes(tuple(evaluation.classes))
    name, run_id = f"the champion, version {champion.version}", str(champion.run_id)
    if misfit := served.misfit(rows, classes):
        return None, f"{name} is left out of the comparison: {misfit}"
    target = run.data.params["target"]
    columns = Features(served.kinds).columns(rows, where=f"table {side.table}")
    # The rows that the run measured itself on: only then are both resampled alike.
    frame = hashing.sampled(rows, [*columns, rows[quote(target)]], side.sample)
    truth = classes.encode(frame[target])
    responses = Responses.of(served.model, frame[list(served.kinds)], classes)
    theirs = measure(limits.metric, responses, truth)
    row = rival(name, run_id, mine, theirs, limits)
    compared = ComparedChampion(
        version=str(champion.version),
        run_id=run_id,
        per_class=by_class(responses, truth),
        verdicts=f1_verdicts(truth, evaluation.labels, responses, significance=limits.significance),
    )
    return (row, compared), ""
