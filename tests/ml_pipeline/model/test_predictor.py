from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from ml_pipeline.data import sources
from ml_pipeline.data.columns import INFINITE
from ml_pipeline.errors import InputError
from ml_pipeline.model import evaluator
from ml_pipeline.model.predictor import Predictor, answers
from ml_pipeline.registry import models

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ESTIMATORS: list[Any] = [
    RandomForestClassifier(5, random_state=0),
    ExtraTreesClassifier(5, random_state=0),
    LogisticRegression(),
    GradientBoostingClassifier(n_estimators=3, random_state=0),
    HistGradientBoostingClassifier(max_iter=3, random_state=0),
    SVC(probability=True, random_state=0),
    LinearSVC(random_state=0),
    KNeighborsClassifier(3),
    GaussianNB(),
    DummyClassifier(strategy="prior"),
]


def frame(rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(0)
    made = pd.DataFrame(random.normal(size=(rows, 3)), columns=["a", "b b", "c"])
    made.loc[random.random(rows) < 0.1, "a"] = np.nan
    made["t"] = random.choice(np.array(["x", "y", None], dtype=object), rows)
    made["id"] = np.arange(rows)
    return made


def fit(estimator: Any, *, numbers: tuple[str, ...] = ("a", "b b", "c"), text: bool = True, kind: str = "text") -> Any:
    rows = frame()
    number = (rows["b b"] > 0).to_numpy().astype(int) + (rows["c"] > 0.5).to_numpy()
    target = {"text": np.array(["no", "yes", "maybe"])[number], "int": number, "bool": number > 0}[kind]
    steps = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [("numbers", steps, list(numbers)), *([("text", encoder, ["t"])] if text else [])]
    features = [*numbers, *(["t"] if text else [])]
    return Pipeline([("columns", ColumnTransformer(parts)), ("estimator", estimator)]).fit(rows[features], target)


def predictor(model: Any, by: str = evaluator.SKLEARN) -> Predictor:
    names = list(model.feature_names_in_)
    kinds = {name: "string" if name == "t" else "double" for name in names}
    return Predictor(model, models.signature_of(kinds, "string"), by)


@pytest.fixture(scope="module")
def table(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    """As a file, whose columns the plan names."""
    path = str(tmp_path_factory.mktemp("rows") / "rows.parquet")
    rows = frame()
    for number in range(30):
        rows[f"wide{number}"] = "untouched"
    schema = "a double, `b b` double, c double, t string, id bigint, " + ", ".join(
        f"wide{number} string" for number in range(30)
    )
    made = spark.createDataFrame(rows.astype(object).where(rows.notna(), None), schema)
    made.coalesce(1).write.parquet(path)
    return spark.read.parquet(path)


def scored(rows: DataFrame, one: Predictor) -> tuple[list[Any], list[list[float]]]:
    column = answers(rows, {"m": one}, where="rows", scores=True)["m"]
    found = rows.select("id", column.alias("answer")).orderBy("id").collect()
    return [row["answer"]["prediction"] for row in found], [list(row["answer"]["scores"]) for row in found]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_answers_are_scikit_learns_bit_for_bit(table: DataFrame, estimator: Any) -> None:
    model = fit(estimator)
    rows = frame()[list(model.feature_names_in_)]
    predictions, scores = scored(table, predictor(model))
    assert predictions == model.predict(rows).tolist()
    scorer = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
    assert np.array(scores).tobytes() == getattr(model, scorer)(rows).tobytes()


@pytest.mark.parametrize("kind", ["int", "bool"])
def test_predictions_have_the_targets_type(table: DataFrame, kind: str) -> None:
    model = fit(LogisticRegression(), kind=kind)
    column = answers(table, {"m": predictor(model)}, where="rows")["m"]["prediction"]
    found = table.select("id", column.alias("p")).orderBy("id")
    assert found.schema["p"].dataType.simpleString() == {"int": "bigint", "bool": "boolean"}[kind]
    assert [row["p"] for row in found.collect()] == model.predict(frame()).tolist()


def test_two_models_with_different_features_answer_in_one_pass(table: DataFrame) -> None:
    first = fit(RandomForestClassifier(3, random_state=0))
    second = fit(LogisticRegression(), numbers=("c", "b b"), text=False, kind="int")
    both = {"champion": predictor(first), "challenger": predictor(second)}
    answered = table.select("*", answers(table, both, where="rows").alias("__answer"))
    chosen = answered.select("id", "wide1", "__answer.champion.prediction", "__answer.challenger.prediction")
    plan = chosen._jdf.queryExecution().executedPlan().toString()
    assert plan.count("ArrowEvalPython") == 1
    found = sorted(chosen.collect())
    assert [row[2] for row in found] == first.predict(frame()).tolist()
    assert [row[3] for row in found] == second.predict(frame()[["c", "b b"]]).tolist()


def test_array_code_answers_beside_scikit_learn(table: DataFrame) -> None:
    pytest.importorskip("numba")
    first, second = fit(RandomForestClassifier(3, random_state=0)), fit(GaussianNB(), kind="int")
    both = {"champion": predictor(first, evaluator.FOREST), "challenger": predictor(second)}
    answered = table.select("id", answers(table, both, where="rows").alias("a"))
    found = sorted(answered.select("id", "a.champion.prediction", "a.challenger.prediction").collect())
    assert [row[1] for row in found] == first.predict(frame()).tolist()
    assert [row[2] for row in found] == second.predict(frame()).tolist()


def test_only_features_cross_into_python(table: DataFrame) -> None:
    model = fit(RandomForestClassifier(3, random_state=0), numbers=("a", "c"), text=False)
    answered = table.withColumn("x", answers(table, {"m": predictor(model)}, where="rows"))
    plan = answered._jdf.queryExecution().optimizedPlan().toString()
    (line,) = [line for line in plan.splitlines() if "ArrowEvalPython" in line]
    assert "wide" not in line.partition("]")[0]
    assert len(set(re.findall(r"#\d+", line))) <= 6
    only = answered.select("x")._jdf.queryExecution().executedPlan().toString()
    assert "ReadSchema: struct<a:double,c:double>" in only


@pytest.mark.parametrize("by", [evaluator.SKLEARN, evaluator.FOREST])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_infinity_is_refused_by_the_columns_name(table: DataFrame, by: str, value: float) -> None:
    from pyspark.sql import functions as F

    model = fit(RandomForestClassifier(3, random_state=0), text=False)
    rows = table.withColumn("c", F.when(F.col("id") == 7, F.lit(float(value))).otherwise(F.col("c")))
    with pytest.raises(InputError) as caught, sources.reading("rows"):
        scored(rows, predictor(model, by))
    assert str(caught.value) == f"column 'c' of rows {INFINITE}"


@pytest.mark.slow
def test_one_row_and_no_row(table: DataFrame) -> None:
    model = fit(RandomForestClassifier(3, random_state=0))
    for rows in (table.where("id = 7"), table.where("id < 0"), table.where("id = 7").repartition(3)):
        predictions, scores = scored(rows, predictor(model))
        expected = model.predict(frame()[7:8]).tolist() if rows.count() else []
        assert predictions == expected
        assert len(scores) == len(expected)


def test_without_scores_to_give_the_list_is_empty(table: DataFrame) -> None:
    predictions, scores = scored(table, predictor(fit(Silent())))
    assert set(predictions) == {"maybe"}
    assert set(map(tuple, scores)) == {()}


def test_what_does_not_fit_is_refused(table: DataFrame) -> None:
    one = {"m": predictor(fit(GaussianNB()))}
    with pytest.raises(InputError, match="rows lacks the column 'c'"):
        answers(table.drop("c"), one, where="rows")
    with pytest.raises(InputError, match=r"rows has the column 'c' as string.*a number, a boolean"):
        answers(table.withColumn("c", table["t"]), one, where="rows")


class Silent(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Answers always the same."""

    def fit(self, X: Any, y: Any) -> Silent:
        self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


class Telling(Silent):
    """Tells a file of each time that it is deserialized, and with how many threads it answers."""

    def __init__(self, file: str = "", n_jobs: int = -1) -> None:
        self.file, self.n_jobs = file, n_jobs

    def __setstate__(self, state: dict[str, Any]) -> None:
        import os

        self.__dict__.update(state)
        with Path(self.file).open("a") as file:
            file.write(f"loaded {os.getpid()}\n")

    def predict(self, X: Any) -> Any:
        from threadpoolctl import threadpool_info

        most = max([pool["num_threads"] for pool in threadpool_info()], default=1)
        with Path(self.file).open("a") as file:
            file.write(f"answers n_jobs={self.n_jobs} threads={most}\n")
        return super().predict(X)


def test_a_worker_loads_a_model_once_and_runs_it_on_one_thread(
    table: DataFrame, spark: SparkSession, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    model = fit(Telling(str(told)))
    told.write_text("")
    rows = table.repartition(6)
    for _ in range(3):
        # A predictor of its own each time, as each run of a job makes one.
        column = answers(rows, {"m": predictor(model)}, where="rows")["m"]
        assert rows.select(column.alias("x")).where("x.prediction = 'maybe'").count() == 120
    lines = told.read_text().splitlines()
    loads = [line for line in lines if line.startswith("loaded")]
    assert len(loads) == len(set(loads)) <= spark.sparkContext.defaultParallelism
    assert {line for line in lines if line.startswith("answers")} == {"answers n_jobs=1 threads=1"}
    assert len(lines) - len(loads) > len(loads)
    assert model[-1].n_jobs == -1


@pytest.mark.parametrize(
    ("by", "estimator"),
    [
        (evaluator.FOREST, RandomForestClassifier(5, random_state=0)),
        (evaluator.BOOSTING, HistGradientBoostingClassifier(max_iter=3, random_state=0)),
        (evaluator.LINEAR, LogisticRegression()),
    ],
    ids=str,
)
def test_array_code_answers_in_spark(table: DataFrame, spark: SparkSession, by: str, estimator: Any) -> None:
    pytest.importorskip("numba")
    from pyspark.sql import functions as F

    model = fit(estimator)
    rows = table.select("*", F.explode(F.sequence(F.lit(1), F.lit(10))).alias("copy")).coalesce(1)
    one = predictor(model, by)
    assert isinstance(one.built, evaluator.Fast)
    column = answers(rows, {"m": one}, where="rows", scores=True)["m"]
    found = rows.select("id", column["prediction"].alias("p"), column["scores"].alias("s")).distinct().orderBy("id")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answered = found.toPandas()
    assert len(answered) == 120
    assert answered["p"].tolist() == model.predict(frame()).tolist()
    assert np.stack(answered["s"].to_list()).tobytes() == model.predict_proba(frame()).tobytes()
    assert spark is table.sparkSession
