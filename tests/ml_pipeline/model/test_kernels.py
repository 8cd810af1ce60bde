"""Array code answers as scikit-learn does, bit for bit, for each kind of model."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from ml_pipeline.data.features import Features
from ml_pipeline.model import evaluator, search
from ml_pipeline.model.estimators import Estimator
from ml_pipeline.model.metrics import Classes

KINDS: list[tuple[str, Any]] = [
    (evaluator.FOREST, RandomForestClassifier(9, max_depth=6, random_state=0)),
    (evaluator.BOOSTING, GradientBoostingClassifier(n_estimators=5, random_state=0)),
    (evaluator.BOOSTING, GradientBoostingClassifier(n_estimators=5, init="zero", random_state=0)),
    (evaluator.BOOSTING, HistGradientBoostingClassifier(max_iter=5, random_state=0)),
    (evaluator.LINEAR, LogisticRegression()),
    (evaluator.LINEAR, LogisticRegression(solver="liblinear")),
    (evaluator.LINEAR, LinearSVC(random_state=0)),
]


def table(rows: int, *, seed: int, numbers: int, text: int) -> pd.DataFrame:
    """Numbers and text with missing values; the greater the seed, the more texts there are."""
    random = np.random.default_rng(seed)
    values = random.normal(scale=10.0 ** random.integers(-3, 4, numbers), size=(rows, numbers))
    values[random.random(values.shape) < 0.05] = np.nan
    made = pd.DataFrame(values, columns=[f"n{number}" for number in range(numbers)])
    for number in range(text):
        drawn = random.geometric(0.05, rows) + seed
        made[f"t{number}"] = [None if value % 17 == 0 else f"é{value}" for value in drawn]
    return made


def fitted(estimator: Any, *, numbers: int, text: int, classes: int, rows: int = 600) -> Any:
    if getattr(estimator, "solver", "") == "liblinear":
        classes = 2  # Newer releases of scikit-learn take no more.
    train = table(rows, seed=0, numbers=numbers, text=text)
    target = np.arange(rows) % classes
    kinds = {name: "string" if name.startswith("t") else "double" for name in map(str, train)}
    name = f"{type(estimator).__module__.partition('._')[0]}.{type(estimator).__name__}"
    grid = search.grid(
        Estimator.model_validate({"class": name}),
        Features(kinds),
        metric="accuracy",
        folds=2,
        seed=0,
        n_jobs=1,
        classes=Classes.of(target),
    )
    return grid.estimator.set_params(estimator=estimator).fit(train, np.char.mod("class %d", target))


def columns(rows: pd.DataFrame) -> dict[str, Any]:
    return {str(name): values.to_numpy() for name, values in rows.items()}


def agree(model: Any, name: str, rows: pd.DataFrame) -> None:
    fast = evaluator.build(model, name)
    assert isinstance(fast, evaluator.Fast)
    for scores in (True, False):
        found, expected = (each(columns(rows), scores=scores) for each in (fast, evaluator.Plain(model)))
        assert found[0].dtype == expected[0].dtype
        assert found[0].tolist() == expected[0].tolist()
        if found[1] is None or expected[1] is None:
            assert found[1] is expected[1] is None
        else:
            assert found[1].shape == expected[1].shape
            assert found[1].tobytes() == expected[1].tobytes()


@pytest.mark.parametrize(("numbers", "text"), [(4, 0), (3, 2), (0, 2)])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("name", "estimator"), KINDS, ids=str)
def test_each_kind_answers_as_scikit_learn(name: str, estimator: Any, classes: int, numbers: int, text: int) -> None:
    pytest.importorskip("numba")
    model = fitted(estimator, numbers=numbers, text=text, classes=classes)
    for rows, seed in ((0, 1), (1, 4), (997, 5)):
        agree(model, name, table(rows, seed=seed, numbers=numbers, text=text))


@pytest.mark.parametrize(("numbers", "classes"), [(300, 2), (4, 200)])
@pytest.mark.parametrize(("name", "estimator"), KINDS[::2], ids=str)
def test_many_columns_and_many_classes(name: str, estimator: Any, numbers: int, classes: int) -> None:
    pytest.importorskip("numba")
    if isinstance(estimator, GradientBoostingClassifier):
        estimator = HistGradientBoostingClassifier(max_iter=2)
    model = fitted(estimator, numbers=numbers, text=1, classes=classes)
    agree(model, name, table(500, seed=6, numbers=numbers, text=1))


@pytest.mark.parametrize(("name", "estimator"), KINDS, ids=str)
def test_huge_values_give_the_same_answers_or_the_same_error(name: str, estimator: Any) -> None:
    pytest.importorskip("numba")
    model = fitted(estimator, numbers=2, text=0, classes=3)
    model[0].transformers_[0][1][-1].scale_[0] = 1e-300
    for value in (1e-200, 1e20, 3e38, -3e38):
        rows = pd.DataFrame({"n0": [0.5, value, np.nan], "n1": [value, 0.0, value]})
        outcomes = []
        for each in (evaluator.build(model, name), evaluator.Plain(model)):
            try:
                labels, scores = each(columns(rows), scores=True)
                assert scores is not None
                outcomes.append(f"{labels.tolist()} {scores.tolist()}")
            except ValueError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]


def test_a_worker_with_array_code_does_not_import_scikit_learn() -> None:
    pytest.importorskip("numba")
    model = fitted(RandomForestClassifier(3), numbers=2, text=1, classes=2)
    content = pickle.dumps(evaluator.build(model, evaluator.FOREST))
    program = (
        "import pickle, sys, numpy as np\n"
        "found = pickle.load(sys.stdin.buffer)({'n0': np.ones(3), 'n1': np.ones(3), 't0': np.array(['a', None, 'b'],"
        " dtype=object)}, scores=True)\n"
        "print(len(found[0]), [name for name in ('sklearn', 'pyspark', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], input=content, capture_output=True, check=True)
    assert done.stdout.decode().split(maxsplit=1)[1].strip() == "[]"
