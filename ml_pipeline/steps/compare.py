"""Compares a run with every finished run of its branch and with the champion, and says whether it may go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.data import sampling, tables
from ml_pipeline.data.columns import quote
from ml_pipeline.data.features import Features
from ml_pipeline.data.sampling import Sample
from ml_pipeline.entry_point import Made
from ml_pipeline.errors import CheckFailedError
from ml_pipeline.model.bootstrap import MOST_ROWS, Measured, f1_leads, measure
from ml_pipeline.model.decision import Rival, decide
from ml_pipeline.model.metrics import Classes, Metric, Responses, by_class
from ml_pipeline.registry import models, runs
from ml_pipeline.settings.types import Significance, Threshold, Tolerance

if TYPE_CHECKING:
    from mlflow.entities import Run

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
    job_run_id: str,
) -> Made:
    """Compare the job run's model with the champion and the branch's finished runs, on the same validation rows.

    The verdict goes into the run's tags: ``validate`` (passed or failed), ``validate.reason``,
    ``validate.compared_with``, and ``development`` = passed on the CI's run that passed, which is the only one of its
    commit with that tag.

    Raises:
        CheckFailedError: the model is refused.
    """
    from ml_pipeline.reports import figures

    run = runs.the_run(experiment, job_run_id=job_run_id)
    mine = measured(run, metric)
    champion = _champion(run, mine, model, metric, significance=significance)
    rivals = [
        *([champion.rival] if champion else []),
        *_branch(run, mine, experiment, metric, significance=significance),
    ]
    verdict = decide(metric, mine[0], rivals, threshold=threshold, tolerance=tolerance)
    rows = [rival.as_row() for rival in rivals]
    runs.log_json(
        run,
        "comparison",
        {"metric": metric, "value": mine[0], "threshold": threshold, "tolerance": tolerance}
        | {"significance": significance, "rivals": rows, "champion": champion.as_row() if champion else None}
        | asdict(verdict),
    )
    picture = figures.comparison(mine[0], rows, metric=metric, threshold=threshold)
    runs.log_figures(run, {"comparison": picture})
    runs.set_tags(
        run,
        {
            "validate": verdict.word,
            "validate.reason": verdict.reason,
            "validate.compared_with": ", ".join(rival.run_id for rival in rivals),
        },
    )
    if not verdict.passed:
        raise CheckFailedError(f"the model is refused: {verdict.reason}")
    if run.data.tags["reason"] == "ci":
        runs.hand_over_tag(experiment, run, "development", "passed", among="git_commit")
    return {"verdict": f"{verdict.word}: {verdict.reason}"}


def measured(run: Run, metric: str) -> Measured:
    """What a run measured on its validation rows."""
    evaluation = runs.read_json(run, "evaluation")
    if evaluation["metric"] != metric:
        raise CheckFailedError(f"run {run.info.run_id} measured {evaluation['metric']}, not {metric}; train it anew")
    return evaluation["value"], np.asarray(evaluation["bootstrap"])


def _branch(run: Run, mine: Measured, experiment: str, metric: str, *, significance: float) -> list[Rival]:
    same = ("git_branch", "validation_fingerprint", "validation_sample")
    tags = {name: run.data.tags[name] for name in same if name in run.data.tags}
    found = runs.search(
        experiment,
        f"attributes.status = 'FINISHED' and attributes.run_id != '{run.info.run_id}' and params.metric = "
        f"{runs.quoted(metric)} and {runs.matching(**tags)}",
        order_by=f"metrics.`validation_{metric}` DESC",
        most=MOST_RUNS,
    )
    return [
        Rival.of(
            f"run {other.info.run_name}", other.info.run_id, mine, measured(other, metric), significance=significance
        )
        for other in found
    ]


@dataclass(frozen=True, kw_only=True)
class _Champion:
    rival: Rival
    version: str
    per_class: Mapping[str, Mapping[str, float]]
    verdicts: Mapping[str, str]
    """Of the run's F1 of each class; empty where the run kept no labels."""

    def as_row(self) -> dict[str, Any]:
        row = {"version": self.version, "run_id": self.rival.run_id}
        return row | {"per_class": self.per_class, "verdicts": self.verdicts}


def _champion(run: Run, mine: Measured, model: str, metric: str, *, significance: float) -> _Champion | None:
    champion = models.version_by_alias(model, models.CHAMPION)
    if champion is None or champion.run_id == run.info.run_id:
        return None
    table, version = run.data.tags["validation_table"], int(run.data.tags["validation_version"])
    rows = tables.read(table, version=version)
    fitted, signature = models.load_model(models.version_uri(champion))
    features = Features.of_model(signature)
    target = run.data.params["target"]
    columns = features.columns(rows, where=f"the champion's input, table {table}")
    # The rows that the run measured itself on: only then are both resampled alike.
    frame = sampling.to_pandas(rows, [*columns, rows[quote(target)]], Sample.of_run(run, "validation"))
    evaluation = runs.read_json(run, "evaluation")
    classes = Classes(tuple(evaluation["classes"]))
    truth = classes.encode(frame[target])
    responses = Responses.of(fitted, frame[list(features.kinds)], classes)
    theirs = measure(metric, responses, truth)
    name = f"the champion, version {champion.version}"
    rival = Rival.of(name, str(champion.run_id), mine, theirs, significance=significance)
    per_class, verdicts = by_class(responses, truth), {}
    if "labels" in evaluation:
        compared = truth[:MOST_ROWS], np.asarray(evaluation["labels"]), responses.labels[:MOST_ROWS]
        leads = f1_leads(*compared, classes=len(per_class), significance=significance)
        verdicts = {name: lead.verdict for name, lead in zip(per_class, leads, strict=True)}
    return _Champion(rival=rival, version=str(champion.version), per_class=per_class, verdicts=verdicts)
