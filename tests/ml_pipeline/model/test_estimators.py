"""Classifiers that TOML declares: what is built of it, what is wrapped, and how each goes through the whole flow."""

from __future__ import annotations

import pickle
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from ml_pipeline import entry_point
from ml_pipeline.data import tables
from ml_pipeline.data.features import Features
from ml_pipeline.errors import InputError
from ml_pipeline.jobs import encode
from ml_pipeline.model import evaluator, predictor, search
from ml_pipeline.model.adapted import Adapted, adapt
from ml_pipeline.model.estimators import Estimator
from ml_pipeline.model.metrics import Classes
from ml_pipeline.registry import models
from ml_pipeline.settings.pipeline import EstimatorSettings

if TYPE_CHECKING:
    from tests.ml_pipeline.conftest import State

KINDS = {"number": "double", "other": "double", "text": "string"}
TREE = "sklearn.tree.DecisionTreeClassifier"
FOREST: dict[str, Any] = {"class": "sklearn.ensemble.RandomForestClassifier", "parameters": {"n_estimators": 3}}
XGBOOST: dict[str, Any] = {"class": "xgboost.XGBClassifier", "parameters": {"n_estimators": 3, "n_jobs": 1}}
LIGHTGBM: dict[str, Any] = {
    "class": "lightgbm.LGBMClassifier",
    "parameters": {"n_estimators": 3, "n_jobs": 1, "verbosity": -1, "min_child_samples": 2},
}
LINEAR: dict[str, Any] = {"class": "sklearn.linear_model.LogisticRegression"}


class Answers(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A class of a user's own, with an estimator, an argument that is required, and others by keyword."""

    def __init__(self, estimator: Any, *, least: int = 1, **_: Any) -> None:
        self.estimator = estimator
        self.least = least

    def fit(self, rows: Any, target: Any) -> Answers:
        assert len(rows) >= self.least, "too few rows"
        self.estimator_ = clone(self.estimator).fit(rows, target)
        self.classes_ = self.estimator_.classes_
        return self

    def predict(self, rows: Any) -> Any:
        return self.estimator_.predict(rows)


class WantsWords(DecisionTreeClassifier):  # type: ignore[misc]
    """A classifier that takes nothing but text as classes."""

    def fit(self, rows: Any, target: Any) -> WantsWords:
        assert all(isinstance(value, str) for value in target), "classes must be words"
        super().fit(rows, target)
        return self


def table(rows: int = 90) -> tuple[pd.DataFrame, pd.Series[Any]]:
    random = np.random.default_rng(0)
    made = pd.DataFrame(random.normal(size=(rows, 2)), columns=["number", "other"])
    target = pd.Series(np.where(made["number"] > 0, "yes", np.where(made["number"] < -1, "maybe", "no")), dtype=object)
    made.loc[random.random(rows) < 0.1, "number"] = np.nan
    made["text"] = random.choice(np.array(["x", "y", None], dtype=object), rows)
    return made, target


def declared(toml: str | dict[str, Any]) -> Estimator:
    """As a job passes it to the step that trains."""
    content = tomllib.loads(textwrap.dedent(toml)) if isinstance(toml, str) else toml
    return Estimator.model_validate_json(encode(EstimatorSettings.model_validate(content)))


def fitted(estimator: Estimator, target: pd.Series[Any] | None = None) -> tuple[Any, Any]:
    """The best model, and the search for it."""
    rows, text = table()
    target = text if target is None else target
    classes = Classes.of(target)
    found = search.grid(estimator, Features(KINDS), metric="accuracy", folds=2, seed=3, n_jobs=1, classes=classes)
    found = adapt(found, rows, target, seed=3)
    return search.fit(found, rows, target, on="driver"), found


def refused(estimator: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        entry_point._value("estimator", encode(EstimatorSettings.model_validate(estimator)), Estimator)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_named_estimators_are_a_table_and_keep_their_order() -> None:
    estimator = declared(
        """
        class = "sklearn.ensemble.VotingClassifier"

        [parameters]
        voting = "soft"

        [parameters.estimators]
        zebra = { class = "sklearn.ensemble.RandomForestClassifier", parameters = { n_estimators = 7 } }
        ant = { class = "sklearn.linear_model.LogisticRegression", parameters = { random_state = 5 } }

        [grid]
        zebra__max_depth = [2, 4]
        """
    )
    built, grid = estimator.build(seed=9, classes=Classes(("a", "b")))
    assert type(built) is VotingClassifier
    assert [(name, type(each)) for name, each in built.estimators] == [
        ("zebra", RandomForestClassifier),
        ("ant", LogisticRegression),
    ]
    parameters = built.get_params()
    assert (parameters["voting"], parameters["zebra__n_estimators"]) == ("soft", 7)
    assert (parameters["zebra__random_state"], parameters["ant__random_state"]) == (9, 5)
    assert grid == {"zebra__max_depth": [2, 4]}
    _, found = fitted(estimator)
    assert set(found.best_params_) == {"estimator__zebra__max_depth"}


def test_estimators_nest_in_parameters_in_lists_and_in_the_grid() -> None:
    estimator = declared(
        {
            "class": "sklearn.pipeline.Pipeline",
            "parameters": {
                "steps": {
                    "scale": {"class": "sklearn.preprocessing.MinMaxScaler"},
                    "calibrate": {
                        "class": "sklearn.calibration.CalibratedClassifierCV",
                        "parameters": {"cv": 2, "estimator": FOREST},
                    },
                }
            },
            "grid": {"calibrate__estimator": [FOREST, LINEAR], "calibrate__method": ["sigmoid"]},
        }
    )
    built, grid = estimator.build(seed=0, classes=Classes(("a", "b")))
    assert type(built) is Pipeline
    assert [name for name, _ in built.steps] == ["scale", "calibrate"]
    assert [type(each) for each in grid["calibrate__estimator"]] == [RandomForestClassifier, LogisticRegression]
    model, _ = fitted(estimator)
    assert set(model.predict(table()[0])) <= {"yes", "no", "maybe"}


WRONG: list[Any] = [
    ({"class": "sklearn.tree.Tree"}, "estimator.class: 'sklearn.tree.Tree' can't be imported; accepted: the dotted"),
    ({"class": "absent.Model"}, "estimator.class: 'absent.Model' can't be imported; accepted: "),
    (
        {"class": "lightgbm.LGBClassifier"},
        "estimator.class: 'lightgbm.LGBClassifier' can't be imported; accepted: the dotted path of a class with "
        "scikit-learn's interface, such as lightgbm.LGBMClassifier",
    ),
    ({"class": "Model"}, "estimator.class: 'Model' can't be imported; accepted: "),
    ({"class": "json.dumps"}, "estimator.class: 'json.dumps' is not a scikit-learn estimator; accepted: "),
    (
        {"class": "sklearn.linear_model.LinearRegression"},
        "estimator.class: 'sklearn.linear_model.LinearRegression' is not a classifier; accepted: ",
    ),
    (
        {"class": TREE, "parameters": {"depth": 3}},
        "estimator.parameters.depth: DecisionTreeClassifier has no such parameter; accepted: ccp_alpha, class_weight, ",
    ),
    (
        {"class": TREE, "parameters": {"max_depth": "three"}},
        "estimator.parameters.max_depth: must be an int in the range [1, inf) or None (given: 'three')",
    ),
    (
        {"class": TREE, "grid": {"max_depth": [3, "three"]}},
        "estimator.grid.max_depth: must be an int in the range [1, inf) or None (given: 'three')",
    ),
    (
        {"class": "sklearn.ensemble.VotingClassifier"},
        "estimator.parameters.estimators: is missing; VotingClassifier requires it",
    ),
    (
        {"class": "sklearn.calibration.CalibratedClassifierCV", "parameters": {"estimator": {**FOREST, "depth": 3}}},
        "estimator.parameters.estimator.depth: unknown key; accepted: class, parameters",
    ),
    (
        {
            "class": "sklearn.ensemble.VotingClassifier",
            "parameters": {"estimators": {"a": LINEAR, "b": {"klass": "x"}}},
        },
        "estimator.parameters.estimators.b.class: is missing; accepted: the dotted path of a class",
    ),
    (
        {
            "class": "sklearn.ensemble.VotingClassifier",
            "parameters": {"estimators": {"a": LINEAR, "b": {"class": TREE, "parameters": {"depth": 1}}}},
        },
        "estimator.parameters.estimators.b.parameters.depth: DecisionTreeClassifier has no such parameter; ",
    ),
    (
        {
            "class": "sklearn.ensemble.VotingClassifier",
            "parameters": {"estimators": {"a": LINEAR}},
            "grid": {"b__C": [1.0]},
        },
        "estimator.grid.b__C: there is no estimator 'b'; accepted: a",
    ),
    (
        {
            "class": "sklearn.ensemble.VotingClassifier",
            "parameters": {"estimators": {"a": LINEAR}},
            "grid": {"a__depth": [1]},
        },
        "estimator.grid.a__depth: LogisticRegression has no such parameter; accepted: C, class_weight, ",
    ),
    (
        {"class": f"{__name__}.Answers", "parameters": {"estimator": FOREST, "least": 0}, "grid": {"absent": [1]}},
        "estimator.grid.absent: Invalid parameter 'absent' for estimator Answers",
    ),
]


@pytest.mark.parametrize(("estimator", "message"), WRONG)
def test_an_error_names_the_key(estimator: dict[str, Any], message: str) -> None:
    assert refused(estimator).startswith(message)


def test_an_error_in_the_module_of_a_class_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_model.py").write_text("import absent_library")
    monkeypatch.syspath_prepend(tmp_path)
    assert "can't be imported (ModuleNotFoundError: No module named 'absent_library')" in refused(
        {"class": "broken_model.Model"}
    )


def test_what_a_class_takes_by_keyword_is_passed_on() -> None:
    estimator = declared({**LIGHTGBM, "grid": {"feature_fraction": [0.5, 1.0]}})
    built, _ = estimator.build(seed=0, classes=Classes((0, 1)))
    assert built.get_params()["verbosity"] == -1
    _, found = fitted(estimator)
    assert [each["estimator__feature_fraction"] for each in found.cv_results_["params"]] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ((0, 1), {"0": 1.0, "1": 5.0}, {0: 1.0, 1: 5.0}),
        ((False, True), {"false": 1.0, "true": 5.0}, {False: 1.0, True: 5.0}),
        (("no", "yes"), {"yes": 5.0, "no": 1.0}, {"no": 1.0, "yes": 5.0}),
    ],
)
def test_class_weights_are_for_the_classes_as_they_are(values: Any, weights: Any, expected: Any) -> None:
    member = {**FOREST, "parameters": {"class_weight": weights}}
    estimator = declared(
        {
            "class": "sklearn.ensemble.VotingClassifier",
            "parameters": {"estimators": {"forest": member}},
            "grid": {"forest__class_weight": ["balanced", weights]},
        }
    )
    built, grid = estimator.build(seed=0, classes=Classes(values))
    assert built.get_params()["forest__class_weight"] == expected
    assert grid["forest__class_weight"] == ["balanced", expected]
    assert [type(key) for key in built.get_params()["forest__class_weight"]] == [type(key) for key in expected]


@pytest.mark.parametrize(
    ("estimator", "key"),
    [
        ({"class": TREE, "parameters": {"class_weight": {"2": 1.0}}}, "estimator.parameters.class_weight.2"),
        ({"class": TREE, "grid": {"class_weight": [{"2": 1.0}]}}, "estimator.grid.class_weight.2"),
    ],
)
def test_a_weight_of_an_unknown_class_is_rejected(estimator: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as caught:
        declared(estimator).build(seed=0, classes=Classes((0, 1)))
    assert str(caught.value) == f"{key}: is not a class of the target; accepted: 0, 1"


TARGETS: dict[str, Callable[[pd.Series[Any]], pd.Series[Any]]] = {
    "text": lambda text: text,
    "booleans": lambda text: text == "yes",
    "numbers with gaps": lambda text: text.map({"no": 3, "maybe": 5, "yes": 9}),
    "doubles": lambda text: text.map({"no": 1.0, "maybe": 2.0, "yes": 3.0}),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("nested", [False, True])
def test_classes_come_back_as_they_are_from_a_classifier_that_wants_numbers(kind: str, nested: bool) -> None:
    calibrated = {"class": "sklearn.calibration.CalibratedClassifierCV", "parameters": {"cv": 2, "estimator": XGBOOST}}
    target = TARGETS[kind](table()[1])
    model, found = fitted(declared({**(calibrated if nested else XGBOOST), "grid": {}}), target)
    model = pickle.loads(pickle.dumps(model))
    rows = table()[0]
    predicted = model.predict(rows)
    assert model.classes_.tolist() == sorted(set(target))
    assert {type(value) for value in predicted.tolist()} == {type(value) for value in target.tolist()}
    assert (predicted == target).mean() > 0.8
    best = model.classes_[model.predict_proba(rows).argmax(axis=1)]
    assert (best == predicted).all()
    assert found.best_score_ > 0.7


def test_a_classifier_that_takes_the_classes_is_left_alone() -> None:
    _, text = table()
    for estimator, target in ((LIGHTGBM, text), (FOREST, text), (LINEAR, text == "yes")):
        assert not isinstance(fitted(declared(estimator), target)[0][-1], Adapted)
    in_order = text.map({"no": 0, "maybe": 1, "yes": 2})
    assert not isinstance(fitted(declared(XGBOOST), in_order)[0][-1], Adapted)


def test_a_classifier_that_wants_words_gets_words() -> None:
    model, _ = fitted(declared({"class": f"{__name__}.WantsWords"}))
    assert type(model[-1]) is WantsWords


def test_one_value_of_the_grid_that_wants_numbers_is_enough() -> None:
    """MLPClassifier takes text, but not with early stopping in scikit-learn 1.6."""
    parameters = {"max_iter": 30, "hidden_layer_sizes": [4]}
    mlp = {"class": "sklearn.neural_network.MLPClassifier", "parameters": parameters}
    with pytest.warns(match="Maximum iterations"):
        model, found = fitted(declared({**mlp, "grid": {"early_stopping": [False, True]}}))
    assert set(model.predict(table()[0])) <= {"yes", "no", "maybe"}
    assert not np.isnan(found.cv_results_["mean_test_score"]).any()


def test_encoded_class_weights_are_those_of_the_classes() -> None:
    estimator = Adapted(
        RandomForestClassifier(2, class_weight={"b": 2.0, "a": 1.0}, random_state=0), seed=0, encode=True
    )
    estimator.fit(np.arange(8.0).reshape(-1, 1), np.array(["a", "b"] * 4, dtype=object))
    assert estimator.estimator_.class_weight == {0: 1.0, 1: 2.0}
    assert estimator.get_params()["class_weight"] == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize("base", [XGBOOST, LIGHTGBM], ids=["xgboost", "lightgbm"])
@pytest.mark.parametrize("where", ["parameters", "grid", "nested"])
def test_a_booster_that_stops_early_is_given_rows_to_stop_by(
    base: dict[str, Any], where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    many = {**base["parameters"], "n_estimators": 400, "learning_rate": 0.5}
    booster = {**base, "parameters": {**many, "early_stopping_rounds": 2}}
    if where == "grid":
        booster = {**base, "parameters": many, "grid": {"early_stopping_rounds": [2, 3]}}
    if where == "nested":
        booster = {"class": "sklearn.ensemble.VotingClassifier", "parameters": {"estimators": {"one": booster}}}
    model, _ = fitted(declared(booster))
    inner = model[-1].estimators_[0] if where == "nested" else model[-1]
    booster_ = inner.estimator_
    rounds = booster_.best_iteration if base is XGBOOST else booster_.best_iteration_
    assert 0 < rounds < 100
    assert set(model.predict(table()[0])) <= {"yes", "no", "maybe"}
    assert capfd.readouterr().out == ""


def test_each_class_keeps_most_of_its_rows_and_one_of_ten_is_held_out() -> None:
    codes = np.repeat([0, 1, 2, 3], [100, 11, 2, 1])
    adapted = Adapted(LogisticRegression(), seed=0)
    adapted.classes_ = np.arange(4)
    held = adapted._held_out(codes)
    assert np.bincount(codes[held], minlength=4).tolist() == [10, 2, 1, 0]
    assert (held == adapted._held_out(codes)).all()


@pytest.mark.parametrize(
    ("estimator", "takes"),
    [
        (XGBOOST, True),
        (LIGHTGBM, True),
        ({"class": "sklearn.ensemble.HistGradientBoostingClassifier"}, True),
        ({**FOREST, "grid": {"max_depth": [1, 2]}}, True),
        (LINEAR, False),
        ({"class": "sklearn.ensemble.VotingClassifier", "parameters": {"estimators": {"a": XGBOOST}}}, True),
        (
            {"class": "sklearn.ensemble.VotingClassifier", "parameters": {"estimators": {"a": XGBOOST, "b": LINEAR}}},
            False,
        ),
    ],
)
def test_missing_numbers_reach_an_estimator_that_takes_them(estimator: dict[str, Any], takes: bool) -> None:
    grid = search.grid(
        declared(estimator),
        Features(KINDS),
        metric="accuracy",
        folds=2,
        seed=0,
        n_jobs=1,
        classes=Classes(("maybe", "no", "yes")),
    )
    columns = grid.estimator[0].fit(table()[0])
    assert np.isnan(columns.transform(table()[0])).any() == takes


TREES: list[tuple[str, Any]] = [
    (evaluator.BOOSTING, HistGradientBoostingClassifier(max_iter=4, random_state=0)),
    (evaluator.FOREST, RandomForestClassifier(7, random_state=0)),
    (evaluator.FOREST, ExtraTreesClassifier(7, random_state=0)),
    (evaluator.FOREST, DecisionTreeClassifier(random_state=0)),
]


@pytest.mark.parametrize(("name", "estimator"), TREES, ids=str)
@pytest.mark.parametrize("informative", [False, True])
def test_array_code_sends_missing_values_where_scikit_learn_does(name: str, estimator: Any, informative: bool) -> None:
    """If a value is missing says all, a tree splits by that alone, with an infinite threshold."""
    pytest.importorskip("numba")
    random = np.random.default_rng(1)
    rows = pd.DataFrame(random.normal(size=(400, 3)), columns=["a", "b", "c"])
    rows[random.random(rows.shape) < 0.3] = np.nan
    target = np.where(rows["a"].isna() if informative else rows["b"] > 0, "yes", np.where(rows["c"] > 0, "no", "maybe"))
    if not informative:
        rows = rows.fillna(0.5)  # A tree that saw no missing value sends it to the greater child.
    path = f"{type(estimator).__module__.partition('._')[0]}.{type(estimator).__name__}"
    grid = search.grid(
        declared({"class": path}),
        Features(dict.fromkeys("abc", "double")),
        metric="accuracy",
        folds=2,
        seed=0,
        n_jobs=1,
        classes=Classes.of(target),
    )
    model = grid.estimator.set_params(estimator=clone(estimator)).fit(rows, target)
    batch = pd.DataFrame(random.normal(size=(333, 3)), columns=["a", "b", "c"])
    batch[random.random(batch.shape) < 0.3] = np.nan
    columns = {str(column): values.to_numpy() for column, values in batch.items()}
    fast = evaluator.build(model, name)
    assert isinstance(fast, evaluator.Fast)
    mine, plain = (each(columns, scores=True) for each in (fast, evaluator.Plain(model)))
    assert mine[0].tolist() == plain[0].tolist()
    assert mine[1] is not None
    assert plain[1] is not None
    assert mine[1].tobytes() == plain[1].tobytes()
    assert evaluator.choose(model, batch, train_rows=5000)[0] == name


FLOWS: dict[str, dict[str, Any]] = {
    "logistic": {**LINEAR, "grid": {"C": [0.1, 1.0]}},
    "histogram boosting": {
        "class": "sklearn.ensemble.HistGradientBoostingClassifier",
        "parameters": {"max_iter": 5, "min_samples_leaf": 2},
    },
    "extra trees": {
        "class": "sklearn.ensemble.ExtraTreesClassifier",
        "parameters": {"n_estimators": 5, "class_weight": {"yes": 1.0, "no": 1.0, "maybe": 2.0}},
    },
    "svc": {"class": "sklearn.svm.SVC"},
    "neighbours": {"class": "sklearn.neighbors.KNeighborsClassifier"},
    "neural network": {
        "class": "sklearn.neural_network.MLPClassifier",
        "parameters": {"hidden_layer_sizes": [8], "max_iter": 400, "early_stopping": True, "n_iter_no_change": 400},
    },
    "voting": {
        "class": "sklearn.ensemble.VotingClassifier",
        "parameters": {"estimators": {"forest": FOREST, "boosting": XGBOOST}},
        "grid": {"forest__max_depth": [3]},
    },
    "stacking": {
        "class": "sklearn.ensemble.StackingClassifier",
        "parameters": {"cv": 2, "estimators": {"forest": FOREST, "boosting": LIGHTGBM}, "final_estimator": LINEAR},
    },
    "calibration": {
        "class": "sklearn.calibration.CalibratedClassifierCV",
        "parameters": {"cv": 2, "estimator": XGBOOST},
    },
    "own preprocessing": {
        "class": "sklearn.pipeline.Pipeline",
        "parameters": {
            "steps": {"powers": {"class": "sklearn.preprocessing.PolynomialFeatures"}, "model": LINEAR},
        },
        "grid": {"powers__degree": [1, 2], "model__C": [0.1, 1.0]},
    },
    "xgboost": {**XGBOOST, "parameters": {**XGBOOST["parameters"], "early_stopping_rounds": 2}},
    "lightgbm": {**LIGHTGBM, "parameters": {**LIGHTGBM["parameters"], "early_stopping_rounds": 2}},
}


@pytest.fixture(scope="module")
def split(new_state: Callable[[], State]) -> tuple[State, dict[str, Any]]:
    """Data with text classes, missing values and a text column, split once."""
    state = new_state()
    rows, target = table(150)
    settings: dict[str, Any] = {
        "source": state.csv(rows.assign(answer=target).to_csv(index=False)),
        "target": "answer",
        "threshold": 0.3,
        "tolerance": 1.0,
        "folds": 2,
        "batch_inference": {"probabilities": True},
    }
    state.step("split", **settings)
    return state, settings


def test_a_classifier_that_wants_numbers_goes_through_the_flow(split: tuple[State, dict[str, Any]]) -> None:
    state, settings = split[0].activate(), {**split[1], "estimator": FLOWS["xgboost"]}
    state.run("training", "validation", "promotion", "batch_inference", **settings).succeeded()
    assert state.newest().data.metrics["test_accuracy"] > 0.6
    predictions = state.frame("predictions")
    assert (predictions["prediction"] == predictions["answer"]).mean() > 0.6
    best = np.array(["maybe", "no", "yes"])[np.stack(predictions["scores"].to_list()).argmax(axis=1)]
    assert (best == predictions["prediction"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FLOWS.keys() - {"xgboost"}))
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_each_classifier_is_trained_and_scores_on_workers(split: tuple[State, dict[str, Any]], name: str) -> None:
    state, settings = split[0].activate(), {**split[1], "estimator": FLOWS[name]}
    state.step("prepare", run_id=name, **settings)
    state.step("train", run_id=name, **settings)
    run = state.newest()
    assert run.data.params["estimator"] == FLOWS[name]["class"]
    uri, classes = models.run_uri(run), Classes(("maybe", "no", "yes"))
    rows = tables.read("local.test.test")
    found, truth = predictor.responses(rows, predictor.load(uri), target="answer", classes=classes, where="table test")
    model = models.load_model(uri)[0]
    expected = classes.encode(model.predict(state.frame("test")[list(KINDS)]))
    assert sorted(found.labels) == sorted(expected)
    assert (found.labels == truth).mean() > 0.6
    assert hasattr(found, "predict_proba") == hasattr(model, "predict_proba")
