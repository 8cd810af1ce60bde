"""Batch inference: scores a batch's rows, each exactly once.

A batch is one commit of the predictions table, the last thing that a run writes. What else it writes (the rows that
failed their checks, the challenger's predictions) is keyed by batch too and comes before: a run that was killed leaves
nothing that the next one does not replace.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Literal

from ml_pipeline import names
from ml_pipeline.data import batches, quality, schema, sources, tables
from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import quote
from ml_pipeline.data.features import Features, added, refuse_names, transformed
from ml_pipeline.entry_point import Results
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.model import predictor
from ml_pipeline.registry import models
from ml_pipeline.settings.pipeline import Checks, Source
from ml_pipeline.settings.types import Day

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from ml_pipeline.data.columns import Reading
    from ml_pipeline.model.predictor import Predictor
    from ml_pipeline.registry import ModelVersion


def score(
    *,
    source: Source,
    model: str,
    mode: Literal["champion", "shadow"],
    probabilities: bool,
    checks: Checks,
    transform: str = "",
    predictions_table: str,
    quarantine_table: str,
    shadow_table: str,
    batch_date: Day,
    job_run_id: str,
) -> Results:
    """Score a batch with the champion; the predictions of the same batch, if there are any, are replaced in one commit.

    In shadow the challenger scores the same rows in the same pass, and its predictions go to the shadow table.

    Raises:
        InputError: there is no champion, no row, or the rows don't fit checks or signature; nothing is written then.
        CheckFailedError: more rows fail their checks than may; nothing is written then.
        PipelineError: another run is at work on this batch, or wrote it meanwhile.
    """
    where, day = f"source {source}", batch_date.isoformat()
    with batches.claimed(predictions_table, day), sources.reading(where):
        began = tables.latest_version(predictions_table)
        write = functools.partial(_write, day=day, note=f"job run {job_run_id}")
        versions = _versions(model, shadow=mode == "shadow")
        predictors = {alias: predictor.load(models.version_uri(version)) for alias, version in versions.items()}
        rows = sources.read_source(source)
        taken = (*added(probabilities=probabilities), names.ANSWER)
        refuse_names(rows.columns, taken, where=where)
        readings = _readings(rows, source, [*predictors.values()], checks, predictions_table)
        features = [name for one in predictors.values() for name in one.kinds]
        checked = quality.check(rows, checks, readings, features=features, where=where)
        with tables.kept(checked.rows, needed=checked.any):
            counts = checked.judge(checks.max_quarantine_share, where=where)
            good = transformed(checked.good, transform, where=where)
            refuse_names(good.columns, taken, where=where)
            apart = _take_out_unfit(good, predictors, versions)
            answers = predictor.answers(good, predictors, where=where, scores=probabilities)
            answered = good.withColumn(names.ANSWER, answers)
            if not counts.rows if counts else good.isEmpty():
                raise InputError(f"{where}: is empty; accepted: at least one row")
            if counts and counts.rows == counts.failed:
                raise CheckFailedError(f"{where}: no row is left to score: {counts}")
            bad = checked.bad if counts and counts.failed else None
            results = write(bad, quarantine_table, str(counts))
            with tables.kept(answered, needed=len(versions) > 1):
                # The champion's last: they are the commit that makes the batch.
                for alias, table in ((names.CHALLENGER, shadow_table), (names.CHAMPION, predictions_table)):
                    batch, by = None, ""
                    if version := versions.get(alias):
                        batch = _predictions(answered, good.columns, alias, version, scores=probabilities)
                        by = f"by {model} version {version.version}"
                    results |= write(batch, table, by, since=began if alias == names.CHAMPION else None)
    if mode == "shadow" and names.CHALLENGER not in versions:
        why = apart or f"model {model} has no alias '{names.CHALLENGER}'"
        results["shadow"] = f"{why}: the champion scored alone"
    return results


def _readings(
    rows: DataFrame, source: Source, predictors: list[Predictor], checks: Checks, predictions_table: str
) -> dict[str, Reading]:
    """How to read the batch's columns: as what the models, the predictions so far and the settings have them."""
    # The champion's, which comes first, count most.
    kinds = [one.kinds.items() for one in reversed(predictors)]
    types = [one.types.items() for one in reversed(predictors)]
    before = tables.read(predictions_table) if tables.exists(predictions_table) else None
    return schema.of_batch(
        rows,
        source,
        kinds=dict(itertools.chain(*kinds)),
        model=dict(itertools.chain(*types)),
        table=schema.types_of(before) if before is not None else {},
        checked={name: check.type for name, check in checks.columns.items() if check.type},
    )


def _take_out_unfit(rows: DataFrame, predictors: dict[str, Predictor], versions: dict[str, ModelVersion]) -> str:
    """Take out a challenger that can't read the rows as the champion does; returns why it can't, empty if it can."""
    challenger = predictors.get(names.CHALLENGER)
    misfit = Features(challenger.kinds).misfit(rows) if challenger else ""
    if not misfit:
        return ""
    del predictors[names.CHALLENGER]
    return f"the challenger, version {versions.pop(names.CHALLENGER).version}, can't score: the batch {misfit}"


def _write(batch: DataFrame | None, table: str, text: str, *, day: str, note: str, since: int | None = None) -> Results:
    """Replace a table's batch, or remove it; fail if another run wrote the batch after the version ``since``."""
    if batch is None:
        batches.drop(table, value=day)
        return {}
    written = batches.replace(batch, table, value=day, since=since, note=note)
    return {table: f"batch {day}, {written}, {text}"}


def _versions(model: str, *, shadow: bool) -> dict[str, ModelVersion]:
    """The versions that score, by alias, the champion first."""
    versions = {names.CHAMPION: models.champion(model)}
    challenger = models.version_by_alias(model, names.CHALLENGER) if shadow else None
    return versions if challenger is None else {**versions, names.CHALLENGER: challenger}


def _predictions(
    answered: DataFrame, columns: list[str], alias: str, version: ModelVersion, *, scores: bool
) -> DataFrame:
    """One version's predictions, with the columns of the source."""
    answers = [F.col(f"{names.ANSWER}.{alias}.{name}") for name in (names.PREDICTION, names.SCORES)[: 1 + scores]]
    if alias != names.CHAMPION:
        champion = F.col(f"{names.ANSWER}.{names.CHAMPION}.{names.PREDICTION}")
        answers.append(champion.alias(names.CHAMPION_PREDICTION))
    by = {names.MODEL_NAME: version.name, names.MODEL_VERSION: int(version.version), names.RUN_ID: str(version.run_id)}
    constants = [F.lit(value).alias(name) for name, value in by.items()]
    return answered.select(*map(quote, columns), *answers, *constants)
