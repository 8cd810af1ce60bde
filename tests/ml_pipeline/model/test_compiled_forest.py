from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from ml_pipeline.model import compiled_forest, evaluator, preparation
from ml_pipeline.model.compiled_forest import Forest

FORESTS: list[Any] = [
    DecisionTreeClassifier(random_state=0),
    DecisionTreeClassifier(max_depth=1),
    DecisionTreeClassifier(max_leaf_nodes=7, splitter="random", random_state=0),
    RandomForestClassifier(9, random_state=0),
    RandomForestClassifier(9, max_leaf_nodes=9, class_weight="balanced", random_state=0),
    ExtraTreesClassifier(9, random_state=0),
]


def frame(rows: int, *, seed: int = 0, missing: float = 0.1, text: bool = False) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    numbers = random.normal(scale=10.0 ** random.integers(-3, 4, 4), size=(rows, 4))
    numbers[random.random((rows, 4)) < missing] = np.nan
    made = pd.DataFrame(numbers, columns=list("abcd"))
    if text:
        made["t"] = random.choice(np.array(["x", "y", "z", None], dtype=object), rows)
    return made


def labels(rows: pd.DataFrame, kind: str = "text") -> Any:
    number = (rows["a"].fillna(0) * rows["b"].fillna(1) > 0).to_numpy().astype(int) + (rows["c"] > 0).to_numpy()
    return {"text": np.array(["no", "yes", "maybe"])[number], "int": number, "bool": number > 0}[kind]


def model(estimator: Any, *, text: bool = False) -> Pipeline:
    steps = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False)
    parts = [("numbers", steps, list("abcd")), *([("text", encoder, ["t"])] if text else [])]
    return Pipeline([("columns", ColumnTransformer(parts)), ("estimator", estimator)])


def columns(rows: pd.DataFrame) -> dict[str, Any]:
    return {str(name): values.to_numpy() for name, values in rows.items()}


def agrees(fitted: Any, rows: pd.DataFrame) -> None:
    found = evaluator.build(fitted, evaluator.FOREST)
    assert isinstance(found, evaluator.Fast)
    predictions, scores = found(columns(rows), scores=True)
    expected = fitted.predict(rows)
    assert predictions.dtype == expected.dtype
    assert predictions.tolist() == expected.tolist()
    assert scores is not None
    assert scores.tobytes() == fitted.predict_proba(rows).tobytes()


@pytest.fixture
def _numba() -> None:
    pytest.importorskip("numba")


@pytest.mark.usefixtures("_numba")
@pytest.mark.parametrize("kind", ["text", "int", "bool"])
@pytest.mark.parametrize("estimator", FORESTS, ids=str)
def test_the_compiled_forest_answers_as_scikit_learn_bit_for_bit(estimator: Any, kind: str) -> None:
    train = frame(500, text=True)
    for text in (False, True):
        fitted = model(estimator, text=text).fit(train, labels(train, kind))
        for rows in (1, 13, 2000):
            agrees(fitted, frame(rows, seed=rows + 1, text=True))


@pytest.mark.usefixtures("_numba")
@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_values_at_and_beside_a_threshold_go_the_same_way(data: Any, seed: int) -> None:
    train = frame(200, seed=seed, missing=0)
    forest = RandomForestClassifier(5, random_state=seed).fit(train.to_numpy(), labels(train))
    thresholds = np.concatenate([tree.tree_.threshold for tree in forest.estimators_])
    size = data.draw(st.integers(1, 40))
    near = np.array(data.draw(st.lists(st.sampled_from(thresholds.tolist()), min_size=4 * size, max_size=4 * size)))
    steps = np.array(data.draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=4 * size, max_size=4 * size)))
    single = near.astype(np.float32)
    values = np.where(steps == 0, single, np.nextafter(single, np.where(steps > 0, np.inf, -np.inf).astype("f4")))
    for rows in (values.reshape(size, 4), near.reshape(size, 4)):
        flat = Forest.of(forest)
        assert flat is not None
        _, found = flat(rows, scores=True)
        assert found is not None
        assert found.tobytes() == forest.predict_proba(rows).tobytes()


@example([float(np.finfo(np.float32).min)])
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_rounded_threshold_parts_float32_values_as_the_threshold_does(thresholds: list[float]) -> None:
    exact = np.array(thresholds)
    rounded = compiled_forest._round_down(exact)
    assert (rounded <= exact).all()
    with np.errstate(over="ignore"):
        assert (np.nextafter(rounded, np.float32(np.inf)) > exact).all()


@pytest.mark.usefixtures("_numba")
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_what_is_too_large_is_refused_as_by_scikit_learn(value: float) -> None:
    train = frame(100)
    fitted = model(RandomForestClassifier(3)).fit(train, labels(train))
    rows = pd.DataFrame([[0.0, 0, 0, 0], [value, 0, 0, 0]], columns=list("abcd"))
    errors = []
    for built in (evaluator.build(fitted, evaluator.FOREST), evaluator.Plain(fitted)):
        with pytest.raises(ValueError, match="infinity") as caught:
            built(columns(rows), scores=False)
        errors.append(str(caught.value))
    assert errors[0] == errors[1] or np.isinf(value)


class Cautious(RandomForestClassifier):  # type: ignore[misc]
    """Answers in its own way."""


@pytest.mark.parametrize("estimator", [GaussianNB(), Cautious(2)])
def test_other_estimators_stay_with_scikit_learn(estimator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "WORTHWHILE_ROWS", 1)
    train = frame(100)
    fitted = model(estimator).fit(train, labels(train))
    chosen, why = evaluator.choose(fitted, train, train_rows=len(train))
    assert (chosen, why) == (evaluator.SKLEARN, "only scikit-learn evaluates a model of this kind")
    assert isinstance(evaluator.build(fitted, evaluator.FOREST), evaluator.Plain)


@pytest.fixture
def fitted() -> Pipeline:
    train = frame(300)
    return model(RandomForestClassifier(5, random_state=0)).fit(train, labels(train))


@pytest.mark.usefixtures("_numba")
def test_the_evaluator_is_chosen_if_it_agrees(fitted: Pipeline) -> None:
    chosen, why = evaluator.choose(fitted, frame(200, seed=1), train_rows=evaluator.WORTHWHILE_ROWS)
    assert (chosen, why) == (evaluator.FOREST, "it agrees bit for bit on 200 validation rows")


@pytest.mark.usefixtures("_numba")
@pytest.mark.parametrize("part", ["values", "thresholds", "scaling"])
def test_the_evaluator_is_refused_if_it_disagrees(fitted: Pipeline, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, numbers = Forest.of(fitted[-1]), preparation.Preparation.of(fitted[0])
    assert honest is not None
    assert numbers is not None
    trees = honest.trees
    if part == "values":
        # The last bit of one tree's leaves.
        trees.values[trees.roots[2] :] = np.nextafter(trees.values[trees.roots[2] :], 2)
    elif part == "thresholds":
        trees.nodes["threshold"][trees.roots] = -np.inf
    else:
        (only,) = numbers.parts
        assert isinstance(only, preparation.Numbers)
        wrong = preparation.Preparation([dataclasses.replace(only, mean=only.mean + 1)])
        monkeypatch.setattr(preparation.Preparation, "of", lambda _: wrong)
    monkeypatch.setitem(evaluator._KERNELS, evaluator.FOREST, lambda _: honest)
    chosen, why = evaluator.choose(fitted, frame(500, seed=1), train_rows=evaluator.WORTHWHILE_ROWS)
    assert (chosen, why) == (evaluator.SKLEARN, "compiled_forest disagrees on the 500 validation rows")


def test_small_data_import_no_compiler(fitted: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    chosen, why = evaluator.choose(fitted, frame(10), train_rows=150)
    assert (chosen, why) == (evaluator.SKLEARN, "150 training rows, below 1,000")


def test_without_numba_scikit_learn_answers_and_the_log_says_so(
    fitted: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiled_forest.compiled.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    rows = frame(50)
    chosen, why = evaluator.choose(fitted, rows, train_rows=evaluator.WORTHWHILE_ROWS)
    assert (chosen, why) == (evaluator.SKLEARN, "numba is not installed (the extra 'fast')")
    found = evaluator.build(fitted, evaluator.FOREST)
    assert isinstance(found, evaluator.Plain)
    assert found(columns(rows), scores=False)[0].tolist() == fitted.predict(rows).tolist()
    (record,) = caplog.records
    assert "numba is not installed" in record.message
