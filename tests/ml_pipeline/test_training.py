from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from ml_pipeline import tables, tracking
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tests.ml_pipeline.conftest import State

NO_GRID = {"class": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3}}
LOGISTIC = {"class": "sklearn.linear_model.LogisticRegression", "grid": {"C": [0.1, 1.0]}}
SVC = {"class": "sklearn.svm.LinearSVC"}
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
    return tracking.load_model(tracking.run_uri(run))[0]


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
    evaluation = tracking.read_json(iris_run, "evaluation")
    assert evaluation["classes"] == [0, 1, 2]
    assert evaluation["metric"] == "accuracy"
    assert evaluation["value"] == iris_run.data.metrics["validation_accuracy"]
    assert min(evaluation["bootstrap"]) <= evaluation["value"] <= max(evaluation["bootstrap"])
    per_class = tracking.read_json(iris_run, "per_class")
    assert list(per_class) == ["0", "1", "2"]
    assert sum(row["rows"] for row in per_class.values()) == iris_run.data.metrics["validation_rows"]
    for picture in ("confusion_matrix", "per_class", "feature_importance"):
        png = tracking.read_file(iris_run, f"{picture}.png")
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

    uri = tracking.run_uri(iris_run)
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
        shuffled = tables.session().createDataFrame(rows[::-1], tables.read(name).schema).repartition(3)
        writer = shuffled.write.format("delta").mode("overwrite").option("userMetadata", fingerprint)
        writer.save(tables.where(name))
    state.step("prepare", run_id="2", **settings)
    state.step("train", run_id="2", **settings)
    second = state.newest()
    assert (first.data.tags["train_version"], second.data.tags["train_version"]) == ("0", "1")
    for run in (first, second):
        run.data.metrics.pop("training_seconds")
    assert first.data.metrics == second.data.metrics
    assert tracking.read_json(first, "evaluation") == tracking.read_json(second, "evaluation")


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
    evaluation = tracking.read_json(run, "evaluation")
    assert evaluation["classes"] == ["yes", "no"]
    per_class = tracking.read_json(run, "per_class")
    assert run.data.metrics["validation_f1"] == pytest.approx(per_class["no"]["f1"])
    assert run.data.metrics["validation_f1"] > 0.8
    _, signature = tracking.load_model(tracking.run_uri(run))
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
    pytest.param({"class": "absent.module.Class"}, {}, "is no class that can be imported", id="unknown module"),
    pytest.param({"class": "sklearn.linear_model.LinearRegression"}, {}, "is no classifier", id="a regressor"),
    pytest.param({"class": "sklearn.preprocessing.StandardScaler"}, {}, "is no classifier", id="a transformer"),
    pytest.param({"class": "json.dumps"}, {}, "is no classifier", id="a function"),
    pytest.param(
        {**NO_GRID, "parameters": {"depth": 3}}, {}, r"parameters\.depth: .*no such parameter", id="unknown parameter"
    ),
    pytest.param({**NO_GRID, "grid": {"depth": [3]}}, {}, r"grid\.depth: .*no such parameter", id="unknown in grid"),
    pytest.param({**NO_GRID, "parameters": {"max_depth": "three"}}, {}, "parameters: .*max_depth", id="wrong value"),
    pytest.param({**NO_GRID, "grid": {"max_depth": [3, "three"]}}, {}, "grid: .*max_depth", id="wrong value in grid"),
    pytest.param(NO_GRID, {"metric": "acuracy"}, "metric: is no scikit-learn scorer.*accuracy", id="unknown metric"),
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
