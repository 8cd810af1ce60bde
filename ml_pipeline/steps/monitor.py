"""Compares a batch with the rows that the champion was trained on, and with the batches before.

The findings are kept in the monitoring table and in an MLflow run of the batch; only then is a batch past a limit
rejected.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.data import histograms, quality, tables
from ml_pipeline.data.features import Features
from ml_pipeline.data.histograms import Histogram
from ml_pipeline.entry_point import Results
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.model.metrics import Metric
from ml_pipeline.monitoring import drift, findings
from ml_pipeline.monitoring.drift import Drift
from ml_pipeline.monitoring.findings import Finding
from ml_pipeline.names import BATCH_COLUMN, BATCH_INFERENCE, JOB_RUN_ID, MODEL_VERSION, PREDICTION, RUN_ID
from ml_pipeline.registry import models, runs
from ml_pipeline.registry.evidence import PerClass, Reference
from ml_pipeline.reports import batch_report
from ml_pipeline.settings.pipeline import Monitoring
from ml_pipeline.settings.types import Columns, Day, Significance

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from ml_pipeline.monitoring.shadow import Shadow
    from ml_pipeline.registry import Run


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
    metric: Metric,
    monitoring: Monitoring,
    minimum_agreement: float,
    significance: Significance,
    job_run_id: str,
) -> Results:
    """Watch a batch: drift of features and predictions, missing values, quarantine, row count, lateness, labels.

    Raises:
        InputError: there is no such batch, or labels contradict each other.
        CheckFailedError: the batch is past a limit; everything has been written then.
    """
    batch = _Batch.read(predictions_table, batch_date)
    with ThreadPoolExecutor(2) as pool:
        quarantining = pool.submit(quality.quarantined, quarantine_table, batch_date)
        earlier = pool.submit(findings.before, monitoring_table, batch_date)
        compared = _compare(batch, f"models:/{model}/{batch.version}")
        (set_aside, reasons), history = quarantining.result(), earlier.result()
    rows = int(compared[0].batch.sum())
    usual = [] if history is None else history.loc[history["measure"] == "rows", "value"].tolist()
    # Half of the probability of a false alarm for values that drift, half for values that go missing.
    drifts = drift.compare(compared, limit=monitoring.max_drift, significance=significance / 2)
    measures = [
        *findings.drift(drifts, monitoring.max_drift),
        *findings.missing(compared, monitoring.max_missing_increase, significance / 2),
        findings.quarantine(rows, set_aside, monitoring.max_quarantine_share),
        findings.row_count(rows, usual, monitoring.max_row_count_change),
        findings.lateness(batch_date, batch.committed, monitoring.max_lateness_hours),
    ]
    rule: dict[str, Any] = {"target": target, "significance": significance}
    shadow = _shadow(shadow_table, batch_date, minimum_agreement=minimum_agreement, **rule)
    if monitoring.labels:
        from ml_pipeline.monitoring import realised

        places: dict[str, Any] = {"predictions_table": predictions_table, "monitoring_table": monitoring_table}
        measures += realised.measured(monitoring.labels, day=batch_date, key=key, metric=metric, **places, **rule)
    report = batch_report.BatchReport(
        model=model,
        model_version=batch.version,
        run_id=batch.run_id,
        day=batch_date,
        rows=rows,
        quarantined=set_aside,
        reasons=reasons,
        findings=measures,
        drifts=drifts,
        history=_series(history, drifts, batch_date),
        limit=monitoring.max_drift,
        shadow=shadow,
    )
    with ThreadPoolExecutor(1) as pool:
        # Delta commits while the pictures are drawn.
        kept: dict[str, Any] = {"model_version": batch.version, "run_id": batch.run_id, "job_run_id": job_run_id}
        writing = pool.submit(findings.write, measures, monitoring_table, day=batch_date, **kept)
        run = _record(experiment, report, job_run_id=job_run_id)
        written = writing.result()
    if report.alarms:
        raise CheckFailedError(f"batch {batch_date}: {'; '.join(report.alarms)}")
    return ({"challenger in shadow": shadow.reason} if shadow else {}) | {
        monitoring_table: f"batch {batch_date}, {written}",
        "verdict": "passed: no measure of the batch is past its limit",
        "batch's MLflow run": run.info.run_id,
    }


@dataclass(frozen=True)
class _Batch:
    """A batch of predictions, and the model that scored it."""

    rows: DataFrame
    version: int
    run_id: str
    committed: datetime.datetime

    @classmethod
    def read(cls, table: str, day: datetime.date) -> _Batch:
        """The batch of a day."""
        rows = tables.read(table).where(f"{BATCH_COLUMN} = DATE'{day}'")
        head = rows.select(MODEL_VERSION, RUN_ID, "_metadata.file_modification_time").first()
        if head is None:
            raise InputError(f"table {table} has no batch {day}; score it first")
        return cls(rows, *head)


def _shadow(table: str, day: datetime.date, **rule: Any) -> Shadow | None:
    """How the challenger did, if one scored the batch too."""
    if not tables.exists(table):
        return None
    from ml_pipeline.monitoring import shadow

    return shadow.compare(table, day, **rule)


def _compare(batch: _Batch, uri: str) -> list[Histogram]:
    """The histograms of each feature and of the predictions, in the batch and in the training rows."""
    run = runs.run(batch.run_id)
    features = Features(models.input_kinds(models.signature(uri)))
    reference = Reference.read(run)
    bins = histograms.Bins(edges={**reference.edges}, categories={**reference.categories})
    before = {name: np.asarray(rows, dtype=np.int64) for name, rows in reference.rows.items()}
    # A model need not predict a class as often as it occurs, so that its own predictions are the reference. If they
    # is unknown, the true classes of the training rows take their place.
    if predicted := drift.predicted(PerClass.read(run).classes):
        bins.categories[PREDICTION] = tuple(predicted)
        before[PREDICTION] = np.array([*predicted.values(), 0, 0], dtype=np.int64)
    answered = batch.rows[PREDICTION].cast("string").alias(PREDICTION)
    scored = batch.rows.select(*features.columns(batch.rows, where="the batch"), answered)
    counted = histograms.count_any(scored, {**features.kinds, PREDICTION: "string"}, bins)
    return histograms.join(before, counted, bins)


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


def _record(experiment: str, report: batch_report.BatchReport, *, job_run_id: str) -> Run:
    """The batch's MLflow run, with its pictures and its report; of several of the same batch it is the latest."""
    reason = "; ".join(report.alarms) or "no measure is past its limit"
    tags = {
        "job": BATCH_INFERENCE,
        BATCH_COLUMN: report.day.isoformat(),
        MODEL_VERSION: str(report.model_version),
        "training_run_id": report.run_id,
        "monitor": report.verdict,
        "monitor.reason": reason[:5000],
        JOB_RUN_ID: job_run_id,
    }
    run = runs.record_run(experiment, name=f"batch {report.day}", tags=tags, metrics=_metrics(report.findings))
    texts = {name: text.encode() for name, text in batch_report.render(report).items()}
    runs.log_files(run, batch_report.pictures(report) | texts)
    runs.hand_over_tag(experiment, run, "monitor.latest", "true", among=BATCH_COLUMN)
    return run


def _metrics(measures: Sequence[Finding]) -> Mapping[str, float]:
    metrics = {"alarms": float(sum(finding.alarm for finding in measures))}
    for finding in measures:
        if finding.value is not None:
            name = f"{finding.measure}.{finding.feature}" if finding.feature else finding.measure
            # Of several batches' realised metrics, that of the last batch stays.
            metrics[f"realised_{name}" if finding.scored_date else name] = finding.value
    return metrics
