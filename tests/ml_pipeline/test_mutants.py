"""What else mutation testing (``make mutation``) found that no test noticed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from ml_pipeline.data import hashing, session, tables
from ml_pipeline.errors import CheckFailedError
from ml_pipeline.model.bootstrap import RESAMPLES
from ml_pipeline.names import CHAMPION
from ml_pipeline.registry import models
from ml_pipeline.registry.evidence import Comparison, Evaluation
from ml_pipeline.registry.runs import (
    create_run,
    log_metrics,
    log_params,
    read_file,
    resumed,
    set_tags,
    the_run,
)
from ml_pipeline.reports import figures
from ml_pipeline.steps import compare

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.entities import Run

    from tests.ml_pipeline.conftest import State

pytestmark = pytest.mark.slow

EXPERIMENT = "/Shared/test"
MODEL = "local.test.model"
TARGET = "the `kind`"


def finished(
    name: str,
    value: float,
    *,
    rows: int | None = 1000,
    resamples: int = RESAMPLES,
    params: dict[str, str] | None = None,
    **tags: str,
) -> Run:
    """A run as training leaves it."""
    default = {"git_branch": "main", "git_commit": "c1", "validation_fingerprint": "2-ab", "reason": "ci"}
    run = create_run(EXPERIMENT, name=name, tags=default | {"job_run_id": name} | tags)
    with resumed(run):
        log_params({"metric": "accuracy", "target": TARGET} | (params or {}))
        log_metrics({"validation_accuracy": value})
    Evaluation(metric="accuracy", value=value, bootstrap=[value] * resamples, classes=["a", "b"], rows=rows).log(run)
    return the_run(EXPERIMENT, job_run_id=name)


def compared(name: str, **changes: Any) -> dict[str, str]:
    arguments = {"threshold": 0.7, "tolerance": 0.01, "significance": 0.05, "on_inconclusive": "pass", **changes}
    return compare.compare(experiment=EXPERIMENT, model=MODEL, metric="accuracy", job_run_id=name, **arguments)


@pytest.mark.usefixtures("state")
def test_a_comparison_is_told_in_tags_a_file_and_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    worse, better = finished("worse", 0.8), finished("better", 0.9)
    set_tags(worse, {"development": "passed"})
    finished("another branch", 0.99, git_branch="other")
    finished("other rows", 0.99, validation_fingerprint="3-ab")
    finished("another metric", 0.99, params={"metric": "f1"})
    mine = finished("mine", 0.895)
    shown: list[Any] = []
    draw = figures.comparison

    def drawn(*arguments: Any, **options: Any) -> Figure:
        shown.append((arguments, options))
        return draw(*arguments, **options)

    monkeypatch.setattr(figures, "comparison", drawn)

    made = compared("mine")

    reason = (
        "accuracy 0.8950 reaches the threshold 0.7; "
        "0.0050 below run better (0.9000; worse); 0.0950 above run worse (0.8000; better)"
    )
    assert made == {"verdict": f"passed: {reason}"}
    tags = the_run(EXPERIMENT, job_run_id="mine").data.tags
    assert (tags["validate"], tags["validate.reason"]) == ("passed", reason)
    assert tags["validate.compared_with"] == f"{better.info.run_id}, {worse.info.run_id}"
    assert tags["development"] == "passed"
    assert "development" not in the_run(EXPERIMENT, job_run_id="worse").data.tags
    content = json.loads(read_file(mine, "comparison.json") or b"")
    rows = content.pop("rivals")
    assert content == {
        "version": 2,
        "metric": "accuracy",
        "value": 0.895,
        "low": pytest.approx(0.8922, abs=1e-4),
        "high": pytest.approx(0.8978, abs=1e-4),
        "rows": 1000,
        "threshold": 0.7,
        "tolerance": 0.01,
        "significance": 0.05,
        "champion": None,
        "verdict": "passed",
        "reason": reason,
        "warning": "",
    }
    assert [(row["name"], row["run_id"]) for row in rows] == [
        ("run better", better.info.run_id),
        ("run worse", worse.info.run_id),
    ]
    ((arguments, options),) = shown
    assert arguments == (0.895, Comparison.read(mine).rivals)
    assert options == {"metric": "accuracy", "threshold": 0.7}
    assert read_file(mine, "comparison.png")


def test_only_the_best_runs_are_compared_with(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MOST_RUNS", 2)
    runs = {name: finished(name, value) for name, value in (("b", 0.8), ("a", 0.9), ("c", 0.7))}
    finished("mine", 0.85, reason="feature")
    with state.refuses(
        r"^the model is rejected: accuracy 0.8500 is worse by more than the tolerance 0.01 than run a", CheckFailedError
    ):
        compared("mine", significance=0.5)
    tags = the_run(EXPERIMENT, job_run_id="mine").data.tags
    assert (tags["validate"], "development" in tags) == ("failed", False)
    assert tags["validate.compared_with"] == f"{runs['a'].info.run_id}, {runs['b'].info.run_id}"


def test_another_runs_wrong_metric_is_refused(state: State) -> None:
    run = finished("mine", 0.9)
    expected = f"^run {run.info.run_id} measured accuracy, not f1; train it anew$"
    with state.refuses(expected, CheckFailedError):
        compare.measured(run, "f1")
    measured = compare.measured(run, "accuracy")
    assert (measured.value, measured.rows, type(measured.resampled)) == (0.9, 1000, np.ndarray)


def test_a_run_that_does_not_say_how_many_rows_it_was_measured_on_is_left_out(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    finished("earlier", 0.99, rows=None)
    finished("other", 0.99, resamples=500)
    run = finished("mine", 0.85)
    assert compared("mine")["verdict"].startswith("passed: ")
    said = capsys.readouterr().out
    assert "run earlier is left out of the comparison: run " in said
    assert " does not say how many rows it was measured on; train it anew\n" in said
    assert f" has 500 resamples; expected {RESAMPLES:,}; train it anew\n" in said
    assert Comparison.read(run).rivals == []
    with state.refuses("^run .* does not say how many rows it was measured on; train it anew$", CheckFailedError):
        compared("earlier")


@pytest.mark.usefixtures("state")
def test_the_rows_of_an_earlier_release_are_those_of_its_table() -> None:
    table: Any = {"validation_table": "t", "validation_version": "0", "validation_fingerprint": "2500-ab"}
    assert compare.measured(finished("earlier", 0.9, rows=None, **table), "accuracy").rows == 2500


def test_the_champion_is_measured_on_the_version_of_the_table_that_the_run_read(state: State) -> None:
    from mlflow.models import infer_signature
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeClassifier

    rows = pd.DataFrame({"size": range(10), "more `size`": range(10), TARGET: ["a"] * 6 + ["b"] * 4})
    table, features = "local.test.validation", rows.columns[:2]
    for part in (rows, rows.assign(**{TARGET: "b"}), rows[["size", TARGET]]):
        tables.replace(
            session.spark().createDataFrame(part).coalesce(1), table, hashing.Digest(len(part), str(id(part)))
        )
    first = finished("first", 0.6, git_branch="other")
    with resumed(first):
        model = make_pipeline(DecisionTreeClassifier()).fit(rows[features], ["a"] * 5 + ["b"] * 5)
        signature = infer_signature(rows[features].astype(float), np.array(["a"]))
        models.log_model(model, signature=signature, example=rows[features].astype(float), types={})
    models.move_alias(CHAMPION, models.register(first, MODEL, tags={}))
    own = finished("first again", 0.6, validation_table=table, validation_version="0")
    assert compared("first", threshold=0.5)["verdict"].endswith("nothing to compare with on the same rows")

    highs = []
    for significance in (0.05, 0.001):
        with state.refuses(r"of the champion, version 1 \(0.9000; difference -0.3000", CheckFailedError):
            compared("first again", threshold=0.5, significance=significance, on_inconclusive="fail")
        comparison = Comparison.read(own)
        (row,), champion = comparison.rivals, comparison.champion
        assert champion is not None
        assert (champion.version, champion.run_id) == ("1", first.info.run_id)
        assert {name: (one.recall, one.rows) for name, one in champion.per_class.items()} == {
            "a": (pytest.approx(5 / 6), 6),
            "b": (1, 4),
        }
        assert (row.name, row.run_id, row.value) == ("the champion, version 1", first.info.run_id, 0.9)
        assert row.difference == pytest.approx(-0.3)
        assert row.low < row.high
        highs.append(row.high)
    assert highs[0] < highs[1]

    finished("last", 0.6, validation_table=table, validation_version="2")
    compared("last", threshold=0.5)
    reason = the_run(EXPERIMENT, job_run_id="last").data.tags["validate.reason"]
    assert "the champion, version 1 is left out of the comparison: the table lacks the column 'more `size`'" in reason
