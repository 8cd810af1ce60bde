"""Batch inference: scores a batch's rows, each exactly once.

A batch is one commit of the predictions table, the last thing that a run writes. What else it writes (the rows that
failed their checks, the challenger's predictions) is keyed by batch too and comes before: a run that was killed leaves
nothing that the next one does not replace.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

from ml_pipeline.data import quality, sources, tables
from ml_pipeline.data.columns import quote, with_constants
from ml_pipeline.data.features import Features, added, refuse_names
from ml_pipeline.entry_point import Made
from ml_pipeline.errors import InputError
from ml_pipeline.model import predictor
from ml_pipeline.names import ANSWER, BATCH_COLUMN, CHAMPION_PREDICTION, SCORES
from ml_pipeline.registry import models
from ml_pipeline.settings.pipeline import Checks, Source
from ml_pipeline.settings.types import Day

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from pyspark.sql import DataFrame


def score(
    *,
    source: Source,
    model: str,
    mode: Literal["champion", "shadow"],
    probabilities: bool,
    checks: Checks,
    predictions_table: str,
    quarantine_table: str,
    shadow_table: str,
    batch_date: Day,
    job_run_id: str,
) -> Made:
    """Score a batch with the champion; the predictions of the same batch, if there are any, are replaced in one commit.

    In shadow the challenger scores the same rows in the same pass, and what it says goes to the shadow table.

    Raises:
        InputError: there is no champion, no row, or the rows don't fit checks or signature; nothing is written then.
        CheckFailedError: more rows fail their checks than may; nothing is written then.
        PipelineError: another run is at work on this batch, or wrote it meanwhile.
    """
    where, day = f"source {source}", batch_date.isoformat()
    made: Made = {}

    def write(batch: DataFrame | None, table: str, what: str, *, since: int | None = None) -> None:
        if batch is None:
            tables.drop_batch(table, column=BATCH_COLUMN, value=day)
            return
        written = tables.replace_batch(
            batch, table, column=BATCH_COLUMN, value=day, since=since, note=f"job run {job_run_id}"
        )
        made[table] = f"batch {day}, {written}, {what}"

    with tables.claimed(predictions_table, day), sources.reading(where):
        began = tables.latest_version(predictions_table)
        versions = _versions(model, shadow=mode == "shadow")
        predictors = {alias: predictor.load(models.version_uri(version)) for alias, version in versions.items()}
        kinds = [Features.of_model(one.signature).kinds.items() for one in predictors.values()]
        typed = [name for name, check in checks.columns.items() if check.type]
        rows = Features(dict(itertools.chain(*kinds))).read(source, into=predictions_table, typed=typed)
        refuse_names(rows.columns, (*added(probabilities=probabilities), ANSWER), where=where)
        checked = quality.check(rows, checks, where=where)
        with tables.kept(checked, needed=checked is not rows):
            verdict = quality.judge(checked, checks, where=where)
            good = quality.good(checked, checks)
            answered = good.withColumn(ANSWER, predictor.answers(good, predictors, where=where, scores=probabilities))
            if good.isEmpty():
                raise InputError(f"{where}: is empty; accepted: at least one row")
            write(quality.bad(checked) if verdict and verdict.failed else None, quarantine_table, str(verdict))
            with tables.kept(answered, needed=len(versions) > 1):
                for alias, table, since in (
                    (models.CHALLENGER, shadow_table, None),
                    (models.CHAMPION, predictions_table, began),
                ):
                    if alias in versions:
                        version = versions[alias]
                        said = _predictions(answered, rows.columns, alias, version, scores=probabilities)
                        write(said, table, f"by {model} version {version.version}", since=since)
                    else:
                        write(None, table, "")
    if mode == "shadow" and models.CHALLENGER not in versions:
        made["shadow"] = f"model {model} has no alias '{models.CHALLENGER}': the champion scored alone"
    return made


def _versions(model: str, *, shadow: bool) -> dict[str, ModelVersion]:
    """The versions that score, by alias, the champion first."""
    versions = {models.CHAMPION: models.champion(model)}
    challenger = models.version_by_alias(model, models.CHALLENGER) if shadow else None
    return versions if challenger is None else {**versions, models.CHALLENGER: challenger}


def _predictions(
    answered: DataFrame, columns: list[str], alias: str, version: ModelVersion, *, scores: bool
) -> DataFrame:
    """What one version says of each row, with the row's own columns."""
    from pyspark.sql import functions as F

    said = [f"{ANSWER}.{alias}.{name}" for name in ("prediction", SCORES)[: 1 + scores]]
    beside = [] if alias == models.CHAMPION else [F.col(f"{ANSWER}.{models.CHAMPION}.prediction")]
    return with_constants(
        answered.select(*map(quote, columns), *said, *(each.alias(CHAMPION_PREDICTION) for each in beside)),
        model_name=version.name,
        model_version=int(version.version),
        run_id=str(version.run_id),
    )
