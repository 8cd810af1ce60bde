from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import get_scorer

from ml_pipeline.data import batches, histograms, session, tables
from ml_pipeline.errors import CheckFailedError
from ml_pipeline.monitoring import drift, findings
from ml_pipeline.registry import runs, tracking
from ml_pipeline.reports import scorecard

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame, SparkSession

    from tests.ml_pipeline.conftest import State

DAY = "2026-01-02"
CSV_SETTINGS: dict[str, Any] = {"key": ["id"], "target": "label", "features": ["size", "color"], "threshold": 0.1}


def monitoring(**changes: Any) -> dict[str, Any]:
    return {"monitoring": changes}


def watch(state: State, day: str = DAY, **changes: Any) -> dict[str, str]:
    return state.step("monitor", parameters={"batch_date": day}, **monitoring() | changes)


def found_of(state: State, day: str = DAY) -> pd.DataFrame:
    frame = state.frame("monitoring")
    return frame[frame["batch_date"].astype(str) == day].reset_index(drop=True)


def rescore(state: State, change: Callable[[pd.DataFrame], pd.DataFrame], day: str = DAY) -> None:
    """Put a batch into the predictions table, made of the one that is there."""
    frame = state.frame("predictions")
    kept = frame[frame["batch_date"].astype(str) == DAY].drop(columns="batch_date").reset_index(drop=True)
    rows = session.spark().createDataFrame(change(kept)).coalesce(1)
    batches.replace(rows, "local.test.predictions", column="batch_date", value=day)


def mixed(spark: SparkSession, rows: int, *, seed: int = 0) -> DataFrame:
    random = np.random.default_rng(seed)
    number = random.normal(size=rows)
    number[random.random(rows) < 0.1] = np.nan
    shares = 1 / np.arange(1, 201)
    text = random.choice([f"c{i}" for i in range(200)], rows, p=shares / shares.sum()).astype(object)
    text[random.random(rows) < 0.05] = None
    frame = pd.DataFrame({"a.b (cm)": number, "few": random.integers(0, 3, rows).astype(float), "text": text})
    made = spark.createDataFrame(frame, "`a.b (cm)` double, few double, text string")
    return made.repartition(3)


KINDS = {"a.b (cm)": "double", "few": "double", "text": "string"}


def test_sparks_histograms_are_those_of_numpy(spark: SparkSession) -> None:
    rows = mixed(spark, 4000)
    bins = histograms.bins(rows, KINDS)
    counts = histograms.count(rows, KINDS, bins)
    frame = rows.toPandas()
    for name in ("a.b (cm)", "few"):
        values = frame[name].dropna().to_numpy()
        edges = np.asarray(bins.edges[name])
        expected = np.histogram(values, np.concatenate([[-np.inf], np.nextafter(edges, np.inf), [np.inf]]))[0]
        assert counts[name].tolist() == [*expected, frame[name].isna().sum()]
    # Tenths, to the precision of the quantiles.
    assert np.abs(counts["a.b (cm)"][:-1] / counts["a.b (cm)"][:-1].sum() - 0.1).max() < 0.02
    assert bins.edges["few"][1:] == (0.0, 1.0, 2.0)
    common = frame["text"].value_counts()
    common = common[common >= 40]
    assert set(bins.categories["text"]) == set(common.index)
    assert counts["text"][:-2].tolist() == [common[name] for name in bins.categories["text"]]
    assert counts["text"][-2:].tolist() == [
        frame["text"].notna().sum() - common.sum(),
        frame["text"].isna().sum(),
    ]


def test_few_rows_are_counted_as_many_are(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mixed(spark, 500)
    bins, counts = histograms.bins_and_count(rows, KINDS)
    again = histograms.count(rows, KINDS, bins)
    for name in KINDS:
        assert counts[name].tolist() == again[name].tolist()
    assert bins.categories == histograms.bins(rows, KINDS).categories
    monkeypatch.setattr(histograms, "MOST_VALUES", 300)
    assert histograms.small(rows, KINDS) is None
    many, _ = histograms.bins_and_count(rows, KINDS)
    assert many.categories == bins.categories


def test_fresh_samples_through_spark_raise_no_alarm(spark: SparkSession) -> None:
    bins, before = histograms.bins_and_count(mixed(spark, 4000), KINDS)
    alarms = 0
    for seed in range(1, 9):
        now = histograms.count_any(mixed(spark, 200, seed=seed), KINDS, bins)
        compared = drift.compare(histograms.join(before, now, bins), limit=0.2, significance=0.05)
        alarms += any(one.alarm for one in compared)
    assert alarms <= 1


def test_nothing_at_all_is_no_drift(spark: SparkSession) -> None:
    rows = mixed(spark, 50)
    bins, before = histograms.bins_and_count(rows.limit(0), KINDS)
    now = histograms.count(rows, KINDS, bins)
    for one in drift.compare(histograms.join(before, now, bins), limit=0.2, significance=0.05):
        assert not one.alarm
        assert one.histogram.batch.sum() == 50


def test_a_batch_like_the_training_rows_passes(flown: State) -> None:
    found = found_of(flown)
    assert not found["alarm"].any()
    assert set(found["kind"]) == {"drift", "missing", "quarantine", "rows", "lateness"}
    psi = found[found["measure"] == "psi"].set_index("feature")
    assert list(psi.index) == [*flown.newest().data.params["features"].split(", "), "prediction"]
    assert (psi["threshold"] == 0.2).all()
    assert set(found["run_id"]) == {flown.newest().info.run_id}
    assert set(found["model_version"]) == {1}
    (run,) = flown.batch_runs()
    assert run.info.run_name == f"batch {DAY}"
    assert run.info.status == "FINISHED"
    tags = {"monitor": "passed", "batch_date": DAY, "model_version": "1", "monitor.latest": "true"}
    assert run.data.tags.items() >= tags.items()
    assert run.data.tags["job_run_id"]
    assert run.data.metrics["rows"] == 150
    assert run.data.metrics["psi.petal length _cm_"] == pytest.approx(psi.loc["petal length (cm)", "value"])
    files = {item.path for item in tracking.client().list_artifacts(run.info.run_id)}
    assert files == {"batch_report.html", "batch_report.md", "drift.png"}


def test_the_report_takes_the_newest_training_run(flown: State) -> None:
    batch = flown.batch_runs()[0]
    card = scorecard.collect("/Shared/test", "local.test.model")
    assert card.run.info.run_id == flown.newest().info.run_id != batch.info.run_id
    with flown.refuses("no finished run"):
        scorecard.collect("/Shared/test", "local.test.model", run_id=batch.info.run_id)


@pytest.mark.slow
def test_the_same_batch_again_replaces_itself_and_drift_is_named(flown: State) -> None:
    column = "petal length (cm)"
    rescore(flown, lambda rows: rows.assign(**{column: rows[column] + 3}))
    with flown.refuses(
        rf"^batch {DAY}: feature 'petal length \(cm\)' has drifted \(population stability index \d+\.\d\d > 0.2\)$",
        CheckFailedError,
    ):
        watch(flown)
    found = found_of(flown)
    assert found[found["alarm"]]["feature"].tolist() == [column]
    assert len(found[found["measure"] == "rows"]) == 1
    latest, before = flown.batch_runs()
    assert latest.data.tags["monitor"] == "failed"
    assert column in latest.data.tags["monitor.reason"]
    assert latest.data.tags["monitor.latest"] == "true"
    assert "monitor.latest" not in before.data.tags
    markdown = runs.read_file(latest, "batch_report.md")
    assert markdown is not None
    assert markdown.decode().startswith(f"# local.test.model, batch {DAY}: failed")

    def lacking(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[rows.index % 4 == 0, "sepal width (cm)"] = np.nan
        return rows.assign(**{column: rows[column] - 3})

    rescore(flown, lacking)
    with flown.refuses(r"25.3% of feature 'sepal width \(cm\)' is missing, 0.0% of the training", CheckFailedError):
        watch(flown)
    assert watch(flown, **monitoring(max_drift=50.0, max_missing_increase=1.0))["verdict"].startswith("passed")


@pytest.mark.slow
def test_history_and_quarantine(flown: State) -> None:
    days = [f"2026-01-0{i}" for i in range(3, 6)]
    for day in days:
        rescore(flown, lambda rows: rows, day)
    loose = monitoring(max_drift=50.0, max_missing_increase=1.0)
    for day in days[:2]:
        watch(flown, day, **loose)
    rescore(flown, lambda rows: rows.head(40), days[2])
    with flown.refuses("40 rows, where 150 are usual", CheckFailedError):
        watch(flown, days[2], **loose)
    files = {item.path for item in tracking.client().list_artifacts(flown.batch_runs()[0].info.run_id)}
    assert "drift_history.png" in files
    aside = [("a", ["size: is missing", "color: not accepted"]), ("b", ["size: is missing"])] * 10
    rows = session.spark().createDataFrame(aside, "id string, quarantine_reasons array<string>")
    batches.replace(rows, "local.test.quarantine", column="batch_date", value=DAY)
    with flown.refuses("11.8% of the rows were quarantined", CheckFailedError):
        watch(flown)
    text = (runs.read_file(flown.batch_runs()[0], "batch_report.md") or b"").decode()
    assert "| size: is missing | 20 |" in text
    assert "| color: not accepted | 10 |" in text


def test_one_row_is_no_drift_and_an_absent_batch_is_refused(flown: State) -> None:
    rescore(flown, lambda rows: rows.head(1), "2026-01-09")
    assert watch(flown, "2026-01-09")["verdict"].startswith("passed")
    with flown.refuses("has no batch 2026-02-01; score it first"):
        watch(flown, "2026-02-01")


def test_training_rows_need_not_be_there_any_more(flown: State) -> None:
    for file in Path(tables.where("local.test.train")).glob("*.parquet"):
        file.unlink()
    assert watch(flown)["verdict"].startswith("passed")


def test_lateness_counts_from_the_end_of_the_day() -> None:
    day = datetime.date(2026, 1, 2)
    at = datetime.datetime(2026, 1, 5, 1, tzinfo=datetime.UTC)
    late = findings.lateness(day, at, 48.0)
    assert late.value == 49
    assert late.alarm
    assert not findings.lateness(day, at, 49.0).alarm
    behind = findings.lateness(day, at - datetime.timedelta(days=30), 48.0)
    assert (behind.value, behind.alarm) == (0, False)


def test_predictions_that_came_late_are_refused(flown: State) -> None:
    with flown.refuses(rf"^batch {DAY}: the predictions came [\d.]+ hours after the end", CheckFailedError):
        watch(flown, **monitoring(max_lateness_hours=48.0))


@pytest.mark.parametrize(
    ("rows", "before", "alarm"),
    [(10, [100, 100], False), (49, [100, 90, 110], True), (50, [100, 90, 110], False), (151, [100] * 5, True)],
)
def test_row_counts_have_a_rule_once_there_are_three_batches(rows: int, before: list[float], alarm: bool) -> None:
    assert findings.row_count(rows, before, 0.5).alarm is alarm


def test_history_looks_back_no_further_than_it_needs(state: State) -> None:
    table, start = "local.test.monitoring", datetime.date(2025, 1, 1)
    assert findings.before(table, start) is None
    one = findings.Finding(kind="rows", measure="rows", value=5.0)
    kept = {"model_version": 1, "run_id": "r", "job_run_id": "j"}
    for day in (0, 200, 201, 202):
        findings.write([one], table, day=start + datetime.timedelta(days=day), **kept)  # type: ignore[arg-type]
    near = findings.before(table, start + datetime.timedelta(days=203))
    assert near is not None
    assert len(near) == 3
    few = findings.before(table, start + datetime.timedelta(days=202))
    assert few is not None
    assert len(few) == 3
    assert not state.found()


@pytest.fixture
def labelled(flown: State) -> State:
    """Predictions with a key, of two batches."""
    for i, day in enumerate((DAY, "2026-01-03")):
        rescore(flown, lambda rows, i=i: rows.assign(id=pd.Series([f"{i}-{at}" for at in range(len(rows))])), day)  # type: ignore[misc]
    return flown


def labels(state: State, rows: dict[str, Any], name: str = "labels.csv") -> dict[str, Any]:
    text = "id,target\n" + "".join(f"{key},{value}\n" for key, value in rows.items())
    return {"key": ["id"], **monitoring(labels=state.csv(text, name))}


def realised(state: State, day: str) -> list[tuple[str, float, int, int]]:
    found = found_of(state, day)
    found = found[found["kind"] == "performance"].sort_values("scored_date")
    return [
        (str(row["scored_date"]), round(row["value"], 4), row["rows"], row["of_rows"]) for _, row in found.iterrows()
    ]


@pytest.mark.slow
def test_labels_that_arrive_late_and_in_parts(labelled: State) -> None:
    predicted = labelled.frame("predictions").set_index("id")["prediction"].to_dict()
    wrong = {key: (value + 1) % 3 for key, value in predicted.items()}
    watch(labelled, **labels(labelled, {}))
    assert realised(labelled, DAY) == []
    first = {f"0-{i}": wrong[f"0-{i}"] if i < 10 else predicted[f"0-{i}"] for i in range(100)}
    watch(labelled, "2026-01-03", **labels(labelled, first))
    assert realised(labelled, "2026-01-03") == [(DAY, 0.9, 100, 150)]
    again = labels(labelled, first)
    watch(labelled, "2026-01-03", **again)
    assert realised(labelled, "2026-01-03") == [(DAY, 0.9, 100, 150)]
    rescore(labelled, lambda rows: rows.assign(id=pd.Series([f"2-{i}" for i in range(len(rows))])), "2026-01-04")
    watch(labelled, "2026-01-04", **again)
    assert realised(labelled, "2026-01-04") == []
    every = first | {f"0-{i}": predicted[f"0-{i}"] for i in range(100, 150)} | {"1-0": wrong["1-0"]}
    watch(labelled, "2026-01-04", **labels(labelled, every))
    assert realised(labelled, "2026-01-04") == [(DAY, 0.9333, 150, 150), ("2026-01-03", 0.0, 1, 150)]
    found = found_of(labelled, "2026-01-04")
    (low,) = found.loc[(found["kind"] == "performance") & (found["rows"] == 150), "low"]
    assert 0.85 < low < 0.9333
    run = labelled.batch_runs()[0]
    text = (runs.read_file(run, "batch_report.md") or b"").decode()
    assert "Realised metric" in text
    assert f"batch {DAY}, model version 1: accuracy 0.9333" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("id,target\n0-1,0\n0-1,1\n", "id '0-1' has more than one label: '0' and '1'", id="contradiction"),
        pytest.param("id,class\n0-1,0\n", "has no column 'target'; accepted: id, class", id="column"),
    ],
)
def test_labels_that_make_no_sense_are_refused(labelled: State, text: str, match: str) -> None:
    with labelled.refuses(f"monitoring.labels: source csv .*{match}"):
        watch(labelled, key=["id"], **monitoring(labels=labelled.csv(text, "labels.csv")))


@pytest.mark.slow
def test_a_metric_that_needs_probabilities_says_so(labelled: State) -> None:
    predicted = labelled.frame("predictions").set_index("id")["prediction"].to_dict()
    given = labels(labelled, predicted)
    watch(labelled, metric="neg_log_loss", **given)
    found = found_of(labelled)
    (said,) = found.loc[found["scored_date"].astype(str) == DAY, "detail"]
    assert "neg_log_loss can't be computed" in said
    assert "; with 'probabilities = true' in [batch_inference] they are kept" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "metric"),
    [
        ("sklearn.linear_model.LogisticRegression", "neg_log_loss"),
        ("sklearn.svm.LinearSVC", "top_k_accuracy"),
    ],
)
def test_a_metric_of_scores_is_measured_where_they_are_kept(estimator: str, metric: str, state: State) -> None:
    kept: dict[str, Any] = {"estimator": {"class": estimator}, "batch_inference": {"probabilities": True}}
    state.run("datasets", "training", "validation", "promotion", **kept).succeeded()
    state.step("score", parameters={"batch_date": DAY}, **kept)
    rescore(state, lambda rows: rows.assign(id=pd.Series([f"0-{i}" for i in range(len(rows))])))
    truth = state.frame("predictions").set_index("id")["target"].to_dict()
    watch(state, metric=metric, **kept, **labels(state, truth))
    found = found_of(state)
    (value,) = found.loc[found["kind"] == "performance", "value"]
    model = mlflow.sklearn.load_model("models:/local.test.model@champion")
    rows = state.frame("predictions")
    assert value == pytest.approx(get_scorer(metric)(model, rows, rows["target"]), abs=1e-9)


@pytest.mark.slow
def test_text_features_booleans_and_a_new_category(state: State) -> None:
    random = np.random.default_rng(0)
    colors = random.choice(["red", "green"], 400)
    frame = pd.DataFrame({"id": range(400), "size": random.normal(size=400), "color": colors})
    frame["label"] = np.where((frame["size"] > 0) ^ (random.random(400) < 0.1), "yes", "no")
    source = state.csv(frame.to_csv(index=False))
    state.run("datasets", "training", "validation", "promotion", source=source, **CSV_SETTINGS).succeeded()
    batch = frame.head(120).assign(color=np.where(np.arange(120) % 3 == 0, "blue", colors[:120]))
    changes: dict[str, Any] = {
        **CSV_SETTINGS,
        "batch_inference": {"source": state.csv(batch.to_csv(index=False), "batch.csv")},
    }
    state.step("score", parameters={"batch_date": DAY}, **changes)
    with state.refuses("^batch 2026-01-02: feature 'color' has drifted [^;]*$", CheckFailedError):
        watch(state, **changes)
    tags = state.batch_runs()[0].data.tags
    assert tags["monitor"] == "failed"
    assert json.dumps(tags["monitor.reason"]).count("drifted") == 1
    assert os.environ["ML_PIPELINE_STATE"] == str(state.folder)
