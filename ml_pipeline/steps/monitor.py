"""Compares a batch with the rows that the champion was trained on, and with the batches before.

What is found is kept in the monitoring table and in an MLflow run of the batch; only then is a batch past a limit
refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.data import histograms, tables
from ml_pipeline.data.features import Features
from ml_pipeline.data.histograms import Histogram
from ml_pipeline.entry_point import Made
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.model.metrics import Metric
from ml_pipeline.monitoring import drift, findings, limits
from ml_pipeline.monitoring.drift import Drift
from ml_pipeline.monitoring.findings import Finding
from ml_pipeline.names import BATCH_COLUMN, PREDICTION
from ml_pipeline.registry import models, runs
from ml_pipeline.reports import batch_report
from ml_pipeline.settings.pipeline import Monitoring
from ml_pipeline.settings.types import ClassName, Columns, Day, Significance

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from pyspark.sql import DataFrame

    from ml_pipeline.monitoring.shadow import Shadow

JOB = "batch_inference"
"""Tag ``job`` of the MLflow runs of batches."""
_MOST_REASONS = 10
_EVERY_ROW = ""


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """A batch's rows that were set aside."""

    rows: int = 0
    reasons: dict[str, int] | None = None
    """The commonest reasons, and how many rows have each."""


def monitor(
    *,
    experiment: str,
    model: str,
    predictions_table: str,
    quarantine_table: str,
    shadow_table: str,
    monitoring_table: str,
    batch_date: Day,
    target: str,
    key: Columns,
    positive_class: ClassName = "",  # noqa: ARG001
    metric: Metric,
    monitoring: Monitoring,
    minimum_agreement: float,
    significance: Significance,
    job_run_id: str,
) -> Made:
    """Watch a batch: drift of features and predictions, missing values, quarantine, row count, lateness, labels.

    Raises:
        InputError: there is no such batch, or labels contradict each other.
        CheckFailedError: the batch is past a limit; everything has been written then.
    """
    batch = tables.read(predictions_table).where(f"{BATCH_COLUMN} = DATE'{batch_date}'")
    head = batch.select("model_version", "run_id", "_metadata.file_modification_time").first()
    if head is None:
        raise InputError(f"table {predictions_table} has no batch {batch_date}; score it first")
    version, run_id, committed = head
    with ThreadPoolExecutor(2) as pool:
        set_aside = pool.submit(_quarantine, quarantine_table, batch_date)
        earlier = pool.submit(findings.before, monitoring_table, batch_date)
        compared = _compare(batch, run_id, f"models:/{model}/{version}")
        quarantine, history = set_aside.result(), earlier.result()
    # Half of the probability of a false alarm for values that drift, half for values that go missing.
    drifts = drift.compare(compared, limit=monitoring.max_drift, significance=significance / 2)
    rows = int(compared[0].batch.sum())
    usual = [] if history is None else history.loc[history["measure"] == "rows", "value"].tolist()
    found = [
        *limits.drift(drifts, monitoring.max_drift),
        *limits.missing(compared, monitoring.max_missing_increase, significance / 2),
        limits.quarantined(rows, quarantine.rows, monitoring.max_quarantine_share),
        limits.row_count(rows, usual, monitoring.max_row_count_change),
        limits.lateness(batch_date, committed, monitoring.max_lateness_hours),
    ]
    beside = _shadow(
        model, shadow_table, batch_date, target=target, minimum_agreement=minimum_agreement, significance=significance
    )
    if monitoring.labels:
        from ml_pipeline.monitoring import realised

        found += realised.measured(
            monitoring.labels,
            predictions_table=predictions_table,
            monitoring_table=monitoring_table,
            day=batch_date,
            key=key,
            target=target,
            metric=metric,
            significance=significance,
        )
    alarms = [finding.detail for finding in found if finding.alarm]
    report = batch_report.BatchReport(
        model=model,
        model_version=version,
        run_id=run_id,
        day=batch_date,
        rows=rows,
        quarantined=quarantine.rows,
        reasons=quarantine.reasons or {},
        findings=found,
        drifts=drifts,
        history=_series(history, drifts, batch_date),
        limit=monitoring.max_drift,
        shadow=beside.as_report() if beside else None,
    )
    with ThreadPoolExecutor(1) as pool:
        # Delta commits while the pictures are drawn.
        written = pool.submit(
            findings.write,
            found,
            monitoring_table,
            day=batch_date,
            model_version=version,
            run_id=run_id,
            job_run_id=job_run_id,
        )
        run = _record(experiment, report, alarms, job_run_id=job_run_id)
        made = written.result()
    if alarms:
        raise CheckFailedError(f"batch {batch_date}: {'; '.join(alarms)}")
    said = {} if beside is None else {"challenger in shadow": beside.reason}
    return said | {
        monitoring_table: f"batch {batch_date}, {made}",
        "verdict": "passed: no measure of the batch is past its limit",
        "batch's MLflow run": run.info.run_id,
    }


def _shadow(model: str, table: str, day: datetime.date, **rule: Any) -> Shadow | None:
    """How the challenger did, where one scored the batch too; its version is tagged with the verdict."""
    if not tables.exists(table):
        return None
    from ml_pipeline.monitoring import shadow

    found = shadow.compare(table, day, **rule)
    if found:
        shadow.note(model, found)
    return found


def _compare(batch: DataFrame, run_id: str, uri: str) -> list[Histogram]:
    """The histograms of each feature and of the predictions, in the batch and in the training rows."""
    from pyspark.sql import functions as F

    run = runs.run(run_id)
    features = Features.of_model(models.signature(uri))
    bins, before = histograms.of_data(runs.read_json(run, histograms.REFERENCE))
    if reference := _answers(run):
        bins.categories[PREDICTION] = tuple(reference)
        before[PREDICTION] = np.array([*reference.values(), 0, 0], dtype=np.int64)
    answered = F.col(PREDICTION).cast("string").alias(PREDICTION)
    scored = batch.select(*features.columns(batch, where="the batch"), answered)
    counted = histograms.count_any(scored, {**features.kinds, PREDICTION: "string"}, bins)
    return histograms.join(before, counted, bins)


def _answers(run: Run) -> dict[str, int]:
    """How often the model predicted each class on its validation rows, from precision and recall of each class.

    A model need not predict a class as often as it occurs, so that its own answers are what a batch's are compared
    with. Nothing where they can't be told; the true classes of the training rows then take their place.
    """
    per_class = runs.read_json(run, "per_class")
    right = {name: row["recall"] * row["rows"] for name, row in per_class.items()}
    counts = {name: round(right[name] / row["precision"]) if row["precision"] else 0 for name, row in per_class.items()}
    if sum(counts.values()) != round(sum(row["rows"] for row in per_class.values())):
        return {}
    # As Spark has a boolean as text.
    return {{"True": "true", "False": "false"}.get(name, name): count for name, count in counts.items()}


def _quarantine(table: str, day: datetime.date) -> Quarantine:
    from pyspark.sql import functions as F

    if not tables.exists(table):
        return Quarantine()
    rows = tables.read(table).where(f"{BATCH_COLUMN} = DATE'{day}'")
    # Each row counts once for itself, and once for each of its reasons: one pass tells both.
    reasons = F.concat(F.array(F.lit(_EVERY_ROW)), F.coalesce("quarantine_reasons", F.array().cast("array<string>")))
    counted = rows.select(F.explode(reasons).alias("reason")).groupBy("reason").count()
    common = counted.orderBy(F.col("count").desc(), "reason").limit(_MOST_REASONS + 1).collect()
    counts = {row["reason"]: int(row["count"]) for row in common}
    return Quarantine(rows=counts.pop(_EVERY_ROW, 0), reasons=counts)


def _series(
    history: pd.DataFrame | None, drifts: Sequence[Drift], day: datetime.date
) -> dict[str, list[tuple[datetime.date, float]]]:
    series: dict[str, list[tuple[datetime.date, float]]] = {}
    for one in sorted(drifts, key=lambda one: -one.psi):
        past: Any = []
        if history is not None:
            of_feature = history[(history["measure"] == "psi") & (history["feature"] == one.feature)]
            past = zip(of_feature[BATCH_COLUMN], of_feature["value"], strict=True)
        series[one.feature] = [*past, (day, one.psi)]
    return series


def _record(experiment: str, report: batch_report.BatchReport, alarms: Sequence[str], *, job_run_id: str) -> Run:
    """The batch's MLflow run, with its pictures and its report; of several of the same batch it is the latest."""
    pictures = batch_report.pictures(report)
    reason = "; ".join(alarms) or "no measure is past its limit"
    tags = {
        "job": JOB,
        BATCH_COLUMN: report.day.isoformat(),
        "model_version": str(report.model_version),
        "training_run_id": report.run_id,
        "monitor": report.verdict,
        "monitor.reason": reason[:5000],
        "job_run_id": job_run_id,
    }
    run = runs.record_run(experiment, name=f"batch {report.day}", tags=tags, metrics=_metrics(report.findings))
    for picture in pictures:
        runs.log_picture(run, picture.title, picture.png)
    runs.log_texts(run, batch_report.render(report, pictures))
    runs.hand_over_tag(experiment, run, "monitor.latest", "true", among=BATCH_COLUMN)
    return run


def _metrics(found: Sequence[Finding]) -> Mapping[str, float]:
    metrics = {"alarms": float(sum(finding.alarm for finding in found))}
    for finding in found:
        if finding.value is not None and finding.scored_date is None:
            parts = (finding.measure, finding.feature) if finding.feature else (finding.measure,)
            metrics[".".join(parts)] = finding.value
    realised = [finding for finding in found if finding.scored_date and finding.value is not None]
    if realised:
        last = realised[-1]
        assert last.value is not None
        metrics[f"realised_{last.measure}"] = last.value
    return metrics
