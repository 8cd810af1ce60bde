from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from ml_pipeline.data import session, tables
from ml_pipeline.data.hashing import Sample, sampled
from ml_pipeline.errors import InputError
from ml_pipeline.model import search as model_search
from ml_pipeline.model.metrics import Classes
from ml_pipeline.registry import models, tracking
from ml_pipeline.registry.evidence import Comparison, Evaluation, PerClass, TableVersion
from ml_pipeline.registry.runs import matching, read_file, search

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tests.ml_pipeline.conftest import State

NO_GRID = {"class": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3}}
LOGISTIC = {"class": "sklearn.linear_model.LogisticRegression", "grid": {"C": [0.1, 1.0]}}
SVC = {"class": "sklearn.svm.LinearSVC"}
PLACES: tuple[model_search.Place, ...] = ("driver", "workers")
MULTINOMIAL = {"class": "sklearn.naive_bayes.MultinomialNB"}


def mixed(rows: int = 240) -> str:
    """Numbers, whole numbers, text and booleans, each with missing values, and a category that is rare."""
    draw = random.Random(7)
    lines = ["amount,count,colour,flag,answer"]
    for i in range(rows):
        amount, flag = draw.uniform(-1, 1), draw.random() < 0.5
        colour = draw.choice(["red", "green", "blue, dark"]) if i % 60 else f"only {i}"
        answer = "yes" if amount + (0.4 if colour == "red" else 0) > 0 else "no"
        values = [f"{amount:.4f}", str(i % 9), f'"{colour}"', str(flag).lower()]
        values = ["" if draw.random() < 0.1 and n else value for n, value in enumerate(values)]
        lines.append(",".join([*values, answer]))
    return "\n".join(lines) + "\n"


def trained(state: State, *, run_id: str = "1", **settings: Any) -> Run:
    state.step("split", **settings)
    state.step("prepare", run_id=run_id, **settings)
    state.step("train", run_id=run_id, **settings)
    return state.newest()


def model_of(run: Run) -> Any:
    return models.load_model(models.run_uri(run))[0]


@pytest.fixture(scope="module")
def iris(new_state: Callable[[], State]) -> tuple[State, Run]:
    state = new_state()
    return state, trained(state)


@pytest.fixture
def iris_run(iris: tuple[State, Run]) -> Run:
    iris[0].activate()
    return iris[1]


def test_the_run_holds_what_was_trained(iris_run: Run) -> None:
    assert iris_run.info.status == "FINISHED"
    params = iris_run.data.params
    assert params["estimator"] == "sklearn.tree.DecisionTreeClassifier"
    assert params["max_depth"] == "3"
    assert params["criterion"] in ("gini", "entropy")
    assert params["target"] == "target"
    assert params["features"].startswith("sepal length (cm), ")
    assert (params["metric"], params["folds"], params["seed"]) == ("accuracy", "3", "21")


def test_a_hyper_parameter_named_like_a_parameter_of_the_run_keeps_both(state: State) -> None:
    chosen = {"parameters": {"metric": "manhattan", "n_neighbors": 3}, "grid": {}}
    state.run(
        "datasets", "training", estimator={"class": "sklearn.neighbors.KNeighborsClassifier", **chosen}
    ).succeeded()
    params = state.newest().data.params
    assert (params["metric"], params["estimator__metric"], params["n_neighbors"]) == ("accuracy", "manhattan", "3")


def test_the_run_holds_its_metrics(iris: tuple[State, Run], iris_run: Run) -> None:
    metrics = iris_run.data.metrics
    train, validation = iris[0].frame("train"), iris[0].frame("validation")
    assert (metrics["train_rows"], metrics["validation_rows"]) == (len(train), len(validation))
    assert 0.8 < metrics["cv_accuracy"] <= 1
    assert metrics["cv_accuracy_std"] >= 0
    assert metrics["training_seconds"] > 0
    model = model_of(iris_run)
    right = model.predict(validation.drop(columns="target")) == validation["target"]
    assert metrics["validation_accuracy"] == pytest.approx(right.mean())


def test_the_run_holds_its_evidence(iris_run: Run) -> None:
    evaluation = Evaluation.read(iris_run)
    assert evaluation.classes == [0, 1, 2]
    assert evaluation.metric == "accuracy"
    assert evaluation.value == iris_run.data.metrics["validation_accuracy"]
    assert min(evaluation.bootstrap) <= evaluation.value <= max(evaluation.bootstrap)
    assert len(evaluation.labels) == iris_run.data.metrics["validation_rows"]
    per_class = PerClass.read(iris_run).classes
    assert list(per_class) == ["0", "1", "2"]
    assert sum(row.rows for row in per_class.values()) == iris_run.data.metrics["validation_rows"]
    for picture in ("confusion_matrix", "per_class", "feature_importance"):
        png = read_file(iris_run, f"{picture}.png")
        assert png is not None
        assert png.startswith(b"\x89PNG")


def test_the_run_says_which_version_of_which_table_it_read(iris_run: Run) -> None:
    inputs = {item.tags[0].value: item.dataset for item in iris_run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation"}
    for context, side in (("training", "train"), ("validation", "validation")):
        assert inputs[context].name == f"local.test.{side}"
        source = json.loads(inputs[context].source)
        # MLflow leaves out a version that is 0.
        assert str(source.get("delta_table_version", 0)) == iris_run.data.tags[f"{side}_version"]
        assert Path(source["path"]) == Path(tables.where(f"local.test.{side}"))
        assert iris_run.data.tags[f"{side}_fingerprint"].endswith(inputs[context].digest)


def test_the_model_has_a_signature_and_an_example(iris: tuple[State, Run], iris_run: Run) -> None:
    from mlflow.models import get_model_info
    from mlflow.models.utils import load_serving_example

    uri = models.run_uri(iris_run)
    signature = get_model_info(uri).signature
    assert [column.name for column in signature.inputs.inputs] == iris_run.data.params["features"].split(", ")
    assert {column.type.name for column in signature.inputs.inputs} == {"double"}
    assert [column.type.name for column in signature.outputs.inputs] == ["long"]
    example = json.loads(load_serving_example(uri))["dataframe_split"]
    assert len(example["data"]) == 5
    frame = pd.DataFrame(example["data"], columns=example["columns"])
    assert set(model_of(iris_run).predict(frame)) <= {0, 1, 2}
    artifacts = iris[0].folder / "artifacts"
    assert next(artifacts.rglob("MLmodel"), None) is not None


@pytest.mark.slow
def test_the_same_rows_in_another_order_give_the_same_metric_to_the_last_digit(state: State) -> None:
    settings: dict[str, Any] = {
        "source": state.csv(mixed(120)),
        "target": "answer",
        "estimator": {"class": "sklearn.ensemble.RandomForestClassifier", "parameters": {"n_estimators": 5}},
    }
    first = trained(state, **settings)
    # Files that hold the same rows in another order, and in another number of them.
    for side in ("train", "validation"):
        name = f"local.test.{side}"
        rows, (_, fingerprint) = tables.read(name).toPandas(), tables.last_write(name)
        shuffled = session.spark().createDataFrame(rows[::-1], tables.read(name).schema).repartition(3)
        writer = shuffled.write.format("delta").mode("overwrite").option("userMetadata", fingerprint)
        writer.save(tables.where(name))
    state.step("prepare", run_id="2", **settings)
    state.step("train", run_id="2", **settings)
    second = state.newest()
    assert (first.data.tags["train_version"], second.data.tags["train_version"]) == ("0", "1")
    for run in (first, second):
        run.data.metrics.pop("training_seconds")
    assert first.data.metrics == second.data.metrics
    assert Evaluation.read(first) == Evaluation.read(second)


@pytest.mark.slow
def test_mixed_columns_with_missing_values_and_unseen_categories(state: State) -> None:
    run = trained(
        state,
        source=state.csv(mixed()),
        target="answer",
        metric="f1",
        positive_class="no",
        estimator=LOGISTIC,
    )
    assert run.data.params["features"] == "amount, count, colour, flag"
    assert Evaluation.read(run).classes == ["yes", "no"]
    per_class = PerClass.read(run).classes
    assert run.data.metrics["validation_f1"] == pytest.approx(per_class["no"].f1)
    assert run.data.metrics["validation_f1"] > 0.8
    _, signature = models.load_model(models.run_uri(run))
    kinds = {column.name: column.type.name for column in signature.inputs.inputs}
    assert kinds == {"amount": "double", "count": "double", "colour": "string", "flag": "double"}
    strange = pd.DataFrame(
        {
            "amount": [0.9, float("nan")],
            "count": [float("nan"), 1e9],
            "colour": ["never seen", None],
            "flag": [1.0, float("nan")],
        }
    )
    answers = list(model_of(run).predict(strange))
    assert answers[0] == "yes"
    assert set(answers) <= {"yes", "no"}


@pytest.mark.slow
def test_a_metric_that_wants_probabilities_of_many_classes(state: State) -> None:
    run = trained(state, metric="neg_log_loss", estimator=LOGISTIC, threshold=-1.0)
    value = run.data.metrics["validation_neg_log_loss"]
    assert -1 < value < 0
    from sklearn.metrics import log_loss

    validation = state.frame("validation")
    probabilities = model_of(run).predict_proba(validation.drop(columns="target"))
    assert value == pytest.approx(-log_loss(validation["target"], probabilities))


WRONG_PARAMETERS: list[Any] = [
    pytest.param({"class": "sklearn.tree.DecisionTreeClasifier"}, {}, "DecisionTreeClassifier", id="unknown class"),
    pytest.param({"class": "absent.module.Class"}, {}, "'absent.module.Class' can't be imported", id="unknown module"),
    pytest.param({"class": "sklearn.linear_model.LinearRegression"}, {}, "is not a classifier", id="a regressor"),
    pytest.param({"class": "sklearn.preprocessing.StandardScaler"}, {}, "is not a classifier", id="a transformer"),
    pytest.param({"class": "json.dumps"}, {}, "is not a scikit-learn estimator", id="a function"),
    pytest.param(
        {**NO_GRID, "parameters": {"depth": 3}}, {}, r"parameters\.depth: .*no such parameter", id="unknown parameter"
    ),
    pytest.param({**NO_GRID, "grid": {"depth": [3]}}, {}, r"grid\.depth: .*no such parameter", id="unknown in grid"),
    pytest.param(
        {**NO_GRID, "parameters": {"max_depth": "three"}}, {}, r"parameters\.max_depth: must be", id="wrong value"
    ),
    pytest.param(
        {**NO_GRID, "grid": {"max_depth": [3, "three"]}}, {}, r"grid\.max_depth: must be", id="wrong value in grid"
    ),
    pytest.param(NO_GRID, {"metric": "acuracy"}, "metric: is not a scikit-learn scorer.*accuracy", id="unknown metric"),
    pytest.param(NO_GRID, {"metric": "r2"}, "metric: is for regression", id="regression metric"),
    pytest.param(
        NO_GRID, {"metric": "neg_root_mean_squared_error"}, "metric: is for regression", id="regression error"
    ),
]


@pytest.mark.parametrize(("estimator", "changes", "match"), WRONG_PARAMETERS)
def test_a_wrong_parameter_is_refused_before_anything_runs(
    state: State, estimator: dict[str, Any], changes: dict[str, Any], match: str
) -> None:
    with state.refuses(match):
        state.step("train", estimator=estimator, **changes)


@pytest.fixture(scope="module")
def prepared(new_state: Callable[[], State]) -> State:
    state = new_state()
    state.step("split")
    return state


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        pytest.param({"metric": "f1"}, "metric: 'f1' does not fit 3 classes", id="f1 on three classes"),
        pytest.param(
            {"metric": "neg_log_loss", "estimator": SVC}, "metric: 'neg_log_loss' does not fit", id="log loss"
        ),
        pytest.param({"estimator": MULTINOMIAL}, "estimator: .*MultinomialNB can't learn this: ", id="fit fails"),
        pytest.param({"positive_class": "1"}, "positive_class: '1': accepted: .*has two", id="positive of three"),
    ],
)
def test_what_does_not_fit_leaves_a_failed_run_without_a_model(
    prepared: State, changes: Mapping[str, Any], match: str
) -> None:
    state = prepared.activate()
    run_id = str(len(state.found()) + 1)
    state.step("prepare", run_id=run_id, **changes)
    with state.refuses(match):
        state.step("train", run_id=run_id, **changes)
    run = state.newest()
    assert run.info.status == "FAILED"
    assert tracking.client().list_artifacts(run.info.run_id) == []
    assert tracking.client().search_logged_models([run.info.experiment_id], max_results=1) == []


def test_what_comes_after_a_failed_training_is_skipped(prepared: State) -> None:
    outcome = prepared.activate().run("training", metric="f1")
    assert outcome.states == {"prepare": "SUCCESS", "train": "FAILED", "compare": "SKIPPED"}
    assert isinstance(outcome.error("train"), InputError)


FOREST = {
    "class": "sklearn.ensemble.RandomForestClassifier",
    "parameters": {"n_estimators": 5, "n_jobs": -1},
    "grid": {"max_depth": [1, 2, 3]},
}


class OwnThreads(DecisionTreeClassifier):  # type: ignore[misc]
    """A classifier whose number of threads, as it was asked for, decides what it answers."""

    def __init__(self, *, n_jobs: int = 8, max_depth: int | None = None) -> None:
        super().__init__(max_depth=max_depth)
        self.n_jobs = n_jobs

    def fit(self, rows: Any, target: Any) -> OwnThreads:
        super().fit(rows, target)
        self.fitted_with_ = self.n_jobs
        return self


def grid_search(estimator: Any, grid: Mapping[str, list[Any]], *, metric: Any = None, n_jobs: int = 2) -> GridSearchCV:
    pipeline = Pipeline([("columns", "passthrough"), ("estimator", estimator)])
    names = {f"estimator__{name}": values for name, values in grid.items()}
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    scoring = metric and model_search.Scoring(metric, Classes((0, 1, 2)))
    return GridSearchCV(pipeline, names, scoring=scoring, cv=folds, n_jobs=n_jobs, error_score="raise")


needs_joblibspark = pytest.mark.skipif(importlib.util.find_spec("joblibspark") is None, reason="joblibspark is missing")


@pytest.mark.slow
@needs_joblibspark
@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        # Its own threads would add up probabilities in the order in which they end, which is another each time.
        (RandomForestClassifier(n_estimators=7, random_state=3), {"max_depth": [1, 2, None]}),
        (LogisticRegression(max_iter=30), {"C": [0.01, 0.1, 1.0, 10.0]}),
    ],
    ids=["forest", "logistic"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_on_workers_gives_what_the_driver_gives_to_the_last_digit(estimator: Any, grid: Any) -> None:
    rows, target = load_wine(return_X_y=True, as_frame=True)
    found = {}
    for place in PLACES:
        searched = grid_search(estimator, grid, metric="neg_log_loss")
        model = model_search.fit(searched, rows, target, on=place)
        results = {k: list(v) for k, v in searched.cv_results_.items() if not k.endswith("_time")}
        found[place] = results, searched.best_params_, searched.best_index_, model.predict_proba(rows).tolist()
        assert model["estimator"].get_params() == {**estimator.get_params(), **one_level(searched.best_params_)}
    assert found["driver"] == found["workers"]


def one_level(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("estimator__"): value for name, value in params.items()}


@pytest.mark.slow
@needs_joblibspark
@pytest.mark.usefixtures("spark")
def test_on_a_worker_an_estimator_has_one_core_and_on_the_driver_its_own_number() -> None:
    rows, target = load_wine(return_X_y=True, as_frame=True)
    found = {}
    for place in PLACES:
        searched = grid_search(OwnThreads(), {"max_depth": [1, 2]}, n_jobs=-1 if place == "workers" else 1)
        searched.set_params(scoring=_threads)
        model = model_search.fit(searched, rows, target, on=place)
        found[place] = set(searched.cv_results_["mean_test_score"]), model["estimator"].fitted_with_
    assert found == {"driver": ({8.0}, 8), "workers": ({1.0}, 8)}


def _threads(model: Any, *_: Any) -> float:
    return float(model["estimator"].fitted_with_)


@needs_joblibspark
@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("n_jobs", [-1, -2, 1, 100])
def test_there_are_as_many_jobs_as_spark_has_task_slots(n_jobs: int) -> None:
    slots = os.cpu_count() or 1
    workers = model_search._workers(model_search.Progress(1))
    assert workers.effective_n_jobs(n_jobs) == {-1: slots, -2: max(1, slots - 1), 1: 1, 100: slots}[n_jobs]


@needs_joblibspark
@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("place", ["driver", "workers"])
def test_the_driver_says_how_far_a_search_is(
    place: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_search, "_PAUSE", 0)
    rows, target = load_wine(return_X_y=True, as_frame=True)
    searched = grid_search(RandomForestClassifier(2), {"max_depth": [1, 2]}, metric="accuracy", n_jobs=1)
    if place == "workers":
        searched.set_params(n_jobs=2)
    model_search.fit(searched, rows, target, on=place)
    said = capfd.readouterr().out.splitlines()
    assert said[-1] == "fit 6 of 6"
    assert all(re.fullmatch(r"fit \d of 6", line) for line in said)


@pytest.mark.slow
@needs_joblibspark
def test_training_on_workers_logs_what_training_on_the_driver_logs(state: State) -> None:
    settings: dict[str, Any] = {"estimator": FOREST, "n_jobs": 2}
    runs = [trained(state, run_id=place, search_on=place, **settings) for place in PLACES]
    for run in runs:
        run.data.metrics.pop("training_seconds")
    assert runs[0].data.metrics == runs[1].data.metrics
    assert runs[0].data.params == runs[1].data.params
    assert Evaluation.read(runs[0]) == Evaluation.read(runs[1])
    assert model_of(runs[1])["estimator"].n_jobs == -1


@pytest.mark.slow
@needs_joblibspark
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"metric": "neg_log_loss", "estimator": SVC}, "metric: 'neg_log_loss' does not fit"),
        ({"estimator": MULTINOMIAL}, "estimator: .*MultinomialNB can't learn this: "),
    ],
    ids=["the metric", "the estimator"],
)
def test_an_error_on_a_worker_is_told_as_on_the_driver(prepared: State, changes: Mapping[str, Any], match: str) -> None:
    state = prepared.activate()
    messages = []
    for place in PLACES:
        run_id = str(len(state.found()) + 1)
        state.step("prepare", run_id=run_id, **changes)
        with pytest.raises(InputError, match=match) as caught:
            state.step("train", run_id=run_id, search_on=place, n_jobs=2, **changes)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_without_joblibspark_a_search_on_workers_is_refused_before_anything_runs(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not Path(path, "joblibspark").is_dir()])
    for name in [name for name in sys.modules if name.partition(".")[0] == "joblibspark"]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    with state.refuses(
        r"search_on: 'workers' needs the package joblibspark.*; accepted: .*ml-pipeline\[spark\].*driver"
    ):
        state.step("train", search_on="workers")


SAMPLED: dict[str, Any] = {"target": "answer", "estimator": LOGISTIC, "max_training_rows": 60}


@pytest.mark.slow
def test_of_a_large_table_the_driver_takes_a_sample_and_says_so(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**SAMPLED, "source": state.csv(mixed(600))}
    state.step("split", **settings)
    state.step("prepare", **settings)
    capsys.readouterr()
    made = state.step("train", **settings)
    said = capsys.readouterr().out
    run = state.newest()
    tables_rows = {side: len(state.frame(side)) for side in ("train", "validation")}
    assert min(tables_rows.values()) > 60
    for side, rows in tables_rows.items():
        metrics = run.data.metrics
        assert (metrics[f"{side}_rows"], metrics[f"{side}_table_rows"]) == (60, rows)
        assert json.loads(run.data.tags[f"{side}_sample"]) == {"rows": 60, "of": rows, "by": []}
        sample = f"60 of {rows} rows, sampled by a hash of the whole row"
        assert made[f"{side} rows"] == sample
        assert f"{side}: {sample} (max_training_rows)\n" in said
    assert sum(row.rows for row in PerClass.read(run).classes.values()) == 60


def test_all_rows_are_taken_of_a_table_that_is_small_enough(iris_run: Run) -> None:
    metrics = iris_run.data.metrics
    assert metrics["train_rows"] == metrics["train_table_rows"]
    assert iris_run.data.tags["validation_sample"] == "all"
    assert TableVersion.read(iris_run, "validation").sample is None


@pytest.mark.usefixtures("spark")
def test_a_sample_has_the_column_that_is_named_like_one_of_its_own() -> None:
    rows = session.spark().createDataFrame([(i, -i) for i in range(30)], "__place long, __order long")
    frame = sampled(rows, rows.columns, Sample(rows=10, of=30, by=("__place",)))
    assert list(frame.columns) == rows.columns
    assert len(set(frame["__place"]) & set(range(30))) == 10
    assert list(frame["__order"]) == list(-frame["__place"])


def numbered(rows: range) -> Any:
    return session.spark().createDataFrame([(i, f"row {i}") for i in rows], "id long, text string")


def taken(rows: range, most: int, *, by: tuple[str, ...] = ("id",)) -> list[int]:
    sample = Sample.needed(f"{len(rows)}-ab", most=most, by=by)
    # Spread differently each time: which rows are taken depends on them alone.
    frame = sampled(numbered(rows).repartition(3), ["id"], sample)
    return [int(value) for value in frame["id"]]


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
def test_a_sample_has_as_many_rows_as_asked_for_and_keeps_most_when_rows_are_added() -> None:
    before, after = taken(range(2000), 500), taken(range(2200), 500)
    assert len(set(before)) == len(set(after)) == 500
    assert before == taken(range(2000), 500)
    # A tenth more rows: of the 500, some 45 make room.
    assert 425 < len(set(before) & set(after)) < 490
    assert set(taken(range(2000), 100)) < set(before)
    assert set(taken(range(2000), 500, by=("text",))) != set(before)
    assert len(taken(range(2000), 1)) == 1
    assert len(taken(range(2000), 1999)) == 1999
    # Neither the first rows nor those of one side of another split.
    assert 850 < sum(before) / 500 < 1150


@pytest.mark.usefixtures("spark")
def test_a_sample_is_in_the_order_that_all_rows_have() -> None:
    rows = numbered(range(300))
    everything = list(sampled(rows, ["id"], None)["id"])
    assert everything == taken(range(300), 300)
    some = taken(range(300), 50)
    assert some == [value for value in everything if value in set(some)]


@pytest.mark.usefixtures("spark")
def test_rows_that_are_equal_do_not_make_a_sample_greater() -> None:
    rows = session.spark().createDataFrame([(1, "same")] * 500, "id long, text string")
    assert len(sampled(rows, ["id"], Sample(rows=20, of=500, by=()))) == 20


def rare(*, rare_rows: int, rows: int = 300) -> str:
    answers = ["rare" if i < rare_rows else ("yes", "no")[i % 2] for i in range(rows)]
    return "number,answer\n" + "".join(f"{i},{answer}\n" for i, answer in enumerate(answers))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("most", "rare_rows", "match"),
    [
        (10, 20, "(1 of 3 classes have no row|class 'rare' has [12] rows, fewer than the 3 folds)"),
        (3, 20, "of 3 classes have no row|has 1 rows"),
    ],
)
def test_a_class_that_is_too_rare_in_the_sample_is_refused(state: State, most: int, rare_rows: int, match: str) -> None:
    settings: dict[str, Any] = {**SAMPLED, "source": state.csv(rare(rare_rows=rare_rows)), "max_training_rows": most}
    state.step("split", **settings)
    state.step("prepare", **settings)
    with state.refuses(rf"max_training_rows: in the sample of table local\.test\.train \({most} of .*{match}"):
        state.step("train", **settings)


@pytest.mark.slow
def test_runs_are_compared_on_the_rows_that_they_measured(state: State) -> None:
    settings = {**SAMPLED, "source": state.csv(mixed(600)), "threshold": 0.5, "tolerance": 0.3}
    git = [{"git_branch": "main", "git_commit": f"c{i}"} for i in range(4)]
    state.run("datasets", "training", "validation", "promotion", parameters=git[0], **settings).succeeded()
    champion = state.newest()
    # The champion is measured anew on the rows of the run that it is compared with: here on those of its own.
    state.run("training", parameters=git[1], **settings).succeeded()
    same = Comparison.read(state.newest()).rivals
    assert [rival.run_id for rival in same] == [champion.info.run_id]
    assert {rival.value for rival in same} == {champion.data.metrics["validation_accuracy"]}
    state.run("training", parameters=git[2], **{**settings, "max_training_rows": 61}).succeeded()
    other = Comparison.read(state.newest()).rivals
    assert [rival.name for rival in other] == ["the champion, version 1"]


@pytest.mark.parametrize("branch", ["it's", 'so "called"'])
def test_the_runs_of_a_branch_are_found_by_a_name_with_quotes(branch: str, state: State) -> None:
    state.step("split")
    state.step("prepare", parameters={"git_branch": branch})
    assert len(search("/Shared/test", matching(git_branch=branch), most=2)) == 1
    assert search("/Shared/test", matching(git_branch="other"), most=2) == []


def test_a_name_that_can_not_be_searched_for_is_refused() -> None:
    with pytest.raises(InputError, match="""so "called", it's: holds both kinds of quotes"""):
        matching(git_branch="""so "called", it's""")
