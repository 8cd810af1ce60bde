from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from ml_pipeline.data import hashing, session, sources, tables
from ml_pipeline.data.columns import quote
from ml_pipeline.errors import CheckFailedError, PipelineError
from ml_pipeline.names import ADDED, CHALLENGER, CHAMPION
from ml_pipeline.registry import champion as champion_alias
from ml_pipeline.registry import models, runs, tracking
from ml_pipeline.registry.champion import HISTORY, MOVES
from ml_pipeline.registry.evidence import Comparison, Validation
from ml_pipeline.settings.pipeline import Source

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from tests.ml_pipeline.conftest import Outcome, State

MODEL = "local.test.model"
DUMMY = {"class": "sklearn.dummy.DummyClassifier"}
IRIS_HEADER = "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)"


def registered() -> list[ModelVersion]:
    return list(tracking.client().search_model_versions(f"name='{MODEL}'"))


def predictions(state: State) -> pd.DataFrame:
    return state.frame("predictions")


def test_training_leaves_the_test_table_as_split_wrote_it(trained: State) -> None:
    before = trained.versions("test")
    assert before == {"test": 0}
    trained.run("training", validation_share=0.4, seed=1).succeeded()
    assert trained.versions("test") == before
    assert trained.versions("train") == {"train": 1}
    assert trained.newest().data.tags["validate.compared_with"] == ""


def test_the_flow_leaves_a_champion_with_its_provenance(flown: State) -> None:
    run, champion = flown.newest(), flown.champion()
    assert (champion.version, champion.run_id) in [("1", run.info.run_id), (1, run.info.run_id)]
    assert models.version_by_alias(MODEL, CHALLENGER) is None
    assert champion.tags["test"] == "passed"
    assert champion.tags["git_commit"] == "c1"
    version, fingerprint = tables.last_write("local.test.test")
    assert champion.tags["test_version"] == str(version)
    assert champion.tags["test_fingerprint"] == fingerprint
    assert {name: run.data.tags[name] for name in ("validate", "development", "test")} == {
        "validate": "passed",
        "development": "passed",
        "test": "passed",
    }
    assert "reaches the threshold 0.7" in run.data.tags["test.reason"]
    assert run.data.tags["validate.compared_with"] == ""
    (move,) = json.loads(champion.tags[MOVES])
    assert (move["move"], move["by"]) == ("promoted", "ann")


def test_the_test_metric_is_that_of_the_model_on_the_test_table(flown: State) -> None:
    run = flown.newest()
    model, _ = models.load_model(models.run_uri(run))
    test = flown.frame("test")
    right = (model.predict(test.drop(columns="target")) == test["target"]).mean()
    assert run.data.metrics["test_accuracy"] == pytest.approx(right)
    assert Validation.read(run).value == pytest.approx(right)


def test_predictions_are_the_models_own_row_by_row(flown: State) -> None:
    source = sources.read_source(Source(sklearn="iris"))
    found = predictions(flown)
    assert list(found.columns) == [*source.columns, *ADDED]
    assert len(found) == 150
    model, _ = models.load_model(models.version_uri(flown.champion()))
    features = [column for column in source.columns if column != "target"]
    assert list(found["prediction"]) == list(model.predict(found[features]))
    frame = source.toPandas()
    sort = list(frame.columns)
    assert found[sort].sort_values(sort, ignore_index=True).equals(frame.sort_values(sort, ignore_index=True))
    assert set(found["model_name"]) == {MODEL}
    assert set(found["model_version"]) == {1}
    assert set(found["run_id"]) == {flown.newest().info.run_id}
    assert set(found["batch_date"].astype(str)) == {"2026-01-02"}


@pytest.mark.slow
def test_a_second_run_of_the_same_repeats_the_first(flown: State) -> None:
    first, versions = flown.newest(), flown.versions("train_validation", "test", "train", "validation")
    flown.run(parameters={"batch_date": "2026-01-02"}).succeeded()
    second, champion = flown.newest(), flown.champion()
    assert second.info.run_id != first.info.run_id
    assert flown.versions("train_validation", "test", "train", "validation") == versions
    for metric in ("cv_accuracy", "validation_accuracy", "test_accuracy"):
        assert second.data.metrics[metric] == first.data.metrics[metric]
    # No row tells the two models apart, and 28 rows show nothing.
    assert (second.data.tags["validate"], second.data.tags["test"]) == ("inconclusive", "inconclusive")
    assert re.search(
        r"^28 rows can't show .* of the champion, version 1 \(.*difference 0.0000, .*a table of about 460 rows would,",
        second.data.tags["validate.reason"],
    )
    assert second.data.tags["validate.compared_with"] == first.info.run_id
    assert int(champion.version) == 2
    assert champion.run_id == second.info.run_id
    holders = flown.found(runs.matching(development="passed", git_commit="c1"))
    assert [run.info.run_id for run in holders] == [second.info.run_id]
    found = predictions(flown)
    assert len(found) == 150
    assert set(found["model_version"]) == {2}


@pytest.mark.slow
def test_a_worse_model_is_refused_and_the_champion_stays(refused: tuple[State, Outcome]) -> None:
    state, outcome = refused
    assert outcome.states == {
        "prepare": "SUCCESS",
        "train": "SUCCESS",
        "compare": "FAILED",
        "validate": "SKIPPED",
        "promote": "SKIPPED",
        "score": "SKIPPED",
    }
    assert isinstance(outcome.error("compare"), CheckFailedError)
    assert "the champion, version 1" in str(outcome.error("compare"))
    run = state.newest()
    assert run.data.tags["git_commit"] == "c2"
    assert run.data.tags["validate"] == "failed"
    assert "worse by more than the tolerance 0.01 than the champion, version 1" in run.data.tags["validate.reason"]
    assert state.champion().run_id in run.data.tags["validate.compared_with"]
    assert "development" not in run.data.tags
    rivals = Comparison.read(run).rivals
    assert [(rival.verdict, rival.outcome) for rival in rivals] == [("worse", "failed")]
    assert int(state.champion().version) == 1
    assert len(registered()) == 1
    assert state.versions("predictions") == {"predictions": 0}


def test_validation_refuses_what_falls_below_the_champion(refused: tuple[State, Outcome]) -> None:
    state, _ = refused
    run = state.newest()
    runs.set_tags(run, {"development": "passed"})
    with state.refuses("the model is rejected: .*worse by more .* than the champion, version 1", CheckFailedError):
        state.step("validate", parameters={"git_commit": "c2"}, threshold=0.1)
    assert state.newest().data.tags["test"] == "failed"
    assert len(registered()) == 1
    assert int(state.champion().version) == 1


@pytest.mark.slow
def test_a_better_model_than_a_poor_champion_takes_its_place(state: State) -> None:
    state.run("datasets", "training", "validation", "promotion", estimator=DUMMY, threshold=0.1).succeeded()
    poor = state.champion()
    state.run("training", "validation", "promotion", parameters={"git_commit": "c2"}).succeeded()
    run, champion = state.newest(), state.champion()
    assert champion.run_id == run.info.run_id != poor.run_id
    for tag in ("validate.reason", "test.reason"):
        assert "above the champion, version 1" in run.data.tags[tag]
        assert "; better)" in run.data.tags[tag]


@pytest.mark.slow
def test_validation_takes_the_run_that_the_ci_passed_and_no_newer_one(trained: State) -> None:
    passed = trained.newest()
    trained.run("training", reason="feature").succeeded()
    newer = trained.newest()
    assert newer.info.run_id != passed.info.run_id
    assert newer.data.tags["git_commit"] == "c1"
    assert newer.data.tags["validate"] == "inconclusive"
    assert "development" not in newer.data.tags
    made = trained.step("validate")
    assert made[MODEL] == "version 1 is the challenger"
    challenger = models.version_by_alias(MODEL, CHALLENGER)
    assert challenger is not None
    assert challenger.run_id == passed.info.run_id
    assert trained.step("validate")[MODEL] == "version 1 is the challenger"
    assert len(registered()) == 1

    runs.set_tags(newer, {"development": "passed"})
    with trained.refuses("more than one run with git_commit c1, development passed", PipelineError):
        trained.step("validate")


def test_validation_without_a_run_of_the_commit_is_refused(trained: State) -> None:
    with trained.refuses("has no finished run with git_commit other, development passed", PipelineError):
        trained.step("validate", parameters={"git_commit": "other"})
    assert registered() == []


def test_validation_below_the_threshold_registers_nothing(trained: State) -> None:
    with trained.refuses("the model is rejected: test accuracy .* misses the threshold 1.01", CheckFailedError):
        trained.step("validate", threshold=1.01)
    run = trained.newest()
    assert run.data.tags["test"] == "failed"
    assert "misses the threshold 1.01" in run.data.tags["test.reason"]
    assert registered() == []
    with trained.refuses(f"model {MODEL} has no alias 'challenger'; validate a run first"):
        trained.step("promote")
    with trained.refuses(f"model {MODEL} has no alias 'champion'"):
        champion_alias.rollback(model=MODEL)
    with trained.refuses(f"model {MODEL} has no alias 'champion'"):
        trained.step("score")
    assert "predictions" not in trained.versions()


@pytest.mark.slow
def test_decision_values_of_the_lesser_class_go_through_validation(state: State) -> None:
    settings: dict[str, Any] = {
        "source": {"sklearn": "breast_cancer"},
        "metric": "roc_auc",
        "positive_class": "0",
        "estimator": {"class": "sklearn.svm.LinearSVC"},
    }
    state.run("datasets", "training", "validation", **settings).succeeded()
    from sklearn.metrics import roc_auc_score

    run = state.newest()
    model, _ = models.load_model(models.run_uri(run))
    for table, metric in (("validation", "validation_roc_auc"), ("test", "test_roc_auc")):
        frame = state.frame(table)
        decisions = -model.decision_function(frame.drop(columns="target"))
        expected = roc_auc_score(frame["target"] == 0, decisions)
        assert run.data.metrics[metric] == pytest.approx(expected)
        assert expected > 0.9


def challenge(state: State) -> ModelVersion:
    """Another version of the same model, as validation leaves it."""
    before = registered()[0]
    version = tracking.client().create_model_version(MODEL, str(before.source), run_id=before.run_id)
    models.set_version_tags(version, {"test": "passed"})
    models.move_alias(CHALLENGER, version)
    assert state.champion().version != version.version
    return version


def history() -> list[str]:
    return json.loads(tracking.client().get_registered_model(MODEL).tags[HISTORY])  # type: ignore[no-any-return]


def moves(number: str) -> list[tuple[str, str]]:
    noted = json.loads(models.version(MODEL, number).tags[MOVES])
    return [(move["move"], str(move.get("version", ""))) for move in noted]


def test_promotion_and_rollback_over_three_versions(flown: State) -> None:
    assert history() == ["1"]
    for number in ("2", "3"):
        challenge(flown)
        assert flown.step("promote")[MODEL] == f"version {number} is the champion, version {int(number) - 1} before"
        assert str(flown.champion().version) == number
        assert models.version_by_alias(MODEL, CHALLENGER) is None
    assert history() == ["1", "2", "3"]
    for number in ("2", "1"):
        made = champion_alias.rollback(model=MODEL, run_by="bob")
        assert made[MODEL] == f"version {number} is the champion again, version {int(number) + 1} is not"
        assert str(flown.champion().version) == number
        assert history()[-1] == number
    with flown.refuses("version 1 replaced no other champion; nothing to go back to"):
        champion_alias.rollback(model=MODEL)
    assert str(flown.champion().version) == "1"
    assert moves("1") == [("promoted", ""), ("replaced", "2"), ("restored", "2")]
    assert moves("2") == [("promoted", "1"), ("replaced", "3"), ("restored", "3"), ("rolled back", "1")]
    assert moves("3") == [("promoted", "2"), ("rolled back", "2")]
    challenge(flown)
    flown.step("promote")
    assert history() == ["1", "4"]


def test_an_interrupted_promotion_can_be_repeated(flown: State) -> None:
    version = challenge(flown)
    models.move_alias(CHAMPION, version)
    assert flown.step("promote")[MODEL] == "version 2 is the champion"
    assert history() == ["1", "2"]
    assert models.version_by_alias(MODEL, CHALLENGER) is None
    with flown.refuses("no alias 'challenger'"):
        flown.step("promote")
    champion_alias.rollback(model=MODEL)
    assert str(flown.champion().version) == "1"


@pytest.mark.parametrize("deleted", [["2"], ["2", "3"]], ids=["one", "two"])
def test_rollback_goes_past_versions_that_were_deleted(flown: State, deleted: list[str]) -> None:
    newest = len(deleted) + 2
    for number in range(2, newest + 1):
        parameters = {"git_commit": f"c{number}"}
        flown.run("training", "validation", "promotion", parameters=parameters).succeeded()
    for version in deleted:
        tracking.client().delete_model_version(MODEL, version)
    made = champion_alias.rollback(model=MODEL)
    assert made == {MODEL: f"version 1 is the champion again, version {newest} is not"}
    with flown.refuses("version 1 replaced no other champion; nothing to go back to"):
        champion_alias.rollback(model=MODEL)


def test_an_interrupted_rollback_can_be_repeated(flown: State) -> None:
    challenge(flown)
    flown.step("promote")
    tracking.client().set_registered_model_tag(MODEL, HISTORY, '["1"]')
    champion_alias.rollback(model=MODEL)
    assert str(flown.champion().version) == "1"
    assert history() == ["1"]


def test_unity_catalog_takes_every_tag_of_the_registry(flown: State) -> None:
    challenge(flown)
    flown.step("promote")
    for _ in range(30):
        champion_alias.rollback(model=MODEL, run_by="somebody with a long name, for a reason that is long as well")
        models.move_alias(CHALLENGER, models.version(MODEL, "2"))
        flown.step("promote")
    models.set_version_tags(models.version(MODEL, "1"), {"test.reason": " " + "x" * 2000})
    of_versions = [models.version(MODEL, str(version.version)).tags for version in registered()]
    for tags in (*of_versions, tracking.client().get_registered_model(MODEL).tags):
        assert 1 <= len(tags) <= 50
        assert [name for name in tags if set(name) & set(".,-=/:")] == []
        assert [value for value in tags.values() if len(value) > 1000 or value != value.strip()] == []
    assert history()[-2:] == ["1", "2"]
    assert moves("2")[-2:] == [("rolled back", "1"), ("promoted", "1")]
    assert "test_reason" in of_versions[0] or "test_reason" in of_versions[1]


def test_a_challenger_that_was_not_validated_is_not_promoted(flown: State) -> None:
    version = challenge(flown)
    tracking.client().delete_model_version_tag(MODEL, version.version, "test")
    with flown.refuses("version 2 did not pass validation", PipelineError):
        flown.step("promote")
    assert str(flown.champion().version) == "1"


@pytest.mark.slow
def test_a_batch_replaces_itself_and_no_other(flown: State) -> None:
    some = flown.csv(f"{IRIS_HEADER},note\n5.1,3.5,1.4,0.2,first\n6.7,3.0,5.2,2.3,second\n")
    changes: dict[str, Any] = {"batch_inference": {"source": some}}
    flown.step("score", parameters={"batch_date": "2026-01-03"}, **changes)
    flown.step("score", parameters={"batch_date": "2026-01-03"}, **changes)
    flown.step("score", parameters={"batch_date": "2026-01-04"}, **changes)
    found = predictions(flown)
    counts = found["batch_date"].astype(str).value_counts()
    assert counts.to_dict() == {"2026-01-02": 150, "2026-01-03": 2, "2026-01-04": 2}
    noted = found[found["batch_date"].astype(str) == "2026-01-03"].set_index("note")["prediction"]
    assert noted.to_dict() == {"first": 0, "second": 2}
    one = flown.csv(f"{IRIS_HEADER},note\n5.1,3.5,1.4,0.2,only\n")
    flown.step("score", parameters={"batch_date": "2026-01-02"}, batch_inference={"source": one})
    assert len(predictions(flown)) == 5


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("sepal length (cm)\n5.1\n", "lacks the column 'sepal width", id="missing column"),
        pytest.param(f"{IRIS_HEADER},prediction\n5.1,3.5,1.4,0.2,9\n", "column 'prediction' has the name", id="name"),
        pytest.param(f"{IRIS_HEADER},Run_ID\n5.1,3.5,1.4,0.2,9\n", "column 'Run_ID' has the name", id="other case"),
        pytest.param(f"{IRIS_HEADER},batch_date\n5.1,3.5,1.4,0.2,9\n", "column 'batch_date' has the name", id="batch"),
    ],
)
def test_scoring_refuses_rows_that_do_not_fit_and_writes_nothing(flown: State, text: str, match: str) -> None:
    before = flown.versions()
    with flown.refuses(match):
        flown.step("score", batch_inference={"source": flown.csv(text)})
    assert flown.versions() == before


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("5.1,wide,1.4,0.2\n", r"1 of 1 rows .*: sepal width \(cm\): is not a double \(1\)", id="text"),
        pytest.param(
            "5.1,NaN,1.4,0.2\n5.1,-Inf,1.4,0.2\n",
            r"1 of 2 rows .*: sepal width \(cm\): is not a finite number of 32 bits \(1\)",
            id="infinity",
        ),
    ],
)
def test_scoring_stops_past_the_share_of_values_that_are_not_of_their_type(flown: State, text: str, match: str) -> None:
    before = flown.versions()
    with flown.refuses(match, CheckFailedError):
        flown.step("score", batch_inference={"source": flown.csv(f"{IRIS_HEADER}\n{text}")})
    assert flown.versions() == before


def test_a_column_is_taken_by_scores_only_where_there_are_scores(flown: State) -> None:
    source = flown.csv(f"{IRIS_HEADER},scores\n5.1,3.5,1.4,0.2,9\n")
    flown.step("score", parameters={"batch_date": "2026-01-05"}, batch_inference={"source": source})
    found = predictions(flown)
    assert found.loc[found["batch_date"].astype(str) == "2026-01-05", "scores"].tolist() == ["9"]
    with flown.refuses("column 'scores' has the name of one that scoring adds"):
        flown.step("score", batch_inference={"source": source, "probabilities": True})


def test_scoring_refuses_a_wrong_day(flown: State) -> None:
    with flown.refuses("batch_date: is not a date; expected YYYY-MM-DD"):
        flown.step("score", parameters={"batch_date": "3.1.2026"})


def test_scoring_a_malformed_row_is_refused(flown: State) -> None:
    source = flown.csv(f"{IRIS_HEADER}\n5.1,3.5,1.4,0.2\n5.1,3.5,1.4,0.2,9,9\n")
    with flown.refuses("source csv .*rows.csv"):
        flown.step("score", parameters={"batch_date": "2026-01-05"}, batch_inference={"source": source})
    assert len(predictions(flown)) == 150


def test_scoring_nothing_is_refused(flown: State) -> None:
    empty = str(flown.folder / "empty.parquet")
    sources.read_source(Source(sklearn="iris")).limit(0).write.parquet(empty)
    with flown.refuses("empty.parquet: is empty; accepted: at least one row"):
        flown.step("score", batch_inference={"source": {"parquet": empty}})
    assert len(predictions(flown)) == 150


@pytest.mark.slow
def test_a_batch_has_the_types_that_the_models_signature_says(state: State) -> None:
    rows = [
        f"{i},{i % 7},{'north' if i % 3 else '007'},{'true' if i % 4 else 'false'},{'ab'[i % 2]}" for i in range(60)
    ]
    settings: dict[str, Any] = {"target": "label", "key": ["id"], "threshold": 0.0}
    source = state.csv("\n".join(["id,size,code,on,label", *rows]), "training.csv")
    state.run("datasets", "training", "validation", "promotion", source=source, **settings).succeeded()

    def score(day: str, text: str) -> pd.DataFrame:
        batch = {"source": state.csv(f"id,size,code,on\n{text}")}
        state.step("score", parameters={"batch_date": day}, source=source, batch_inference=batch, **settings)
        found = predictions(state)
        return found[found["batch_date"].astype(str) == day].sort_values("id")

    assert score("2026-01-03", "1,3,007,true\n2,4,010,false\n")["code"].tolist() == ["007", "010"]
    assert score("2026-01-04", "1,3,true,true\n")["code"].tolist() == ["true"]
    empty = score("2026-01-05", "1,,,\n2,,,\n")
    assert empty[["size", "code", "on"]].isna().all(axis=None)
    assert empty["prediction"].isin(["a", "b"]).tolist() == [True, True]
    with state.refuses(r"1 of 2 rows failed their checks: size: is not a long \(1\)", CheckFailedError):
        score("2026-01-06", "1,,007,true\n2,wide,007,true\n")


def test_a_column_without_a_value_fits_though_its_table_says_another_type(flown: State) -> None:
    columns = IRIS_HEADER.split(",")
    rows = sources.read_source(Source(sklearn="iris")).limit(3).select(*map(quote, columns))
    path = str(flown.folder / "rows.parquet")
    rows.withColumn(columns[0], rows[quote(columns[0])].cast("string").try_cast("date")).write.parquet(path)
    source = {"parquet": path}
    flown.step("score", parameters={"batch_date": "2026-01-03"}, batch_inference={"source": source})
    assert len(predictions(flown)) == 153


def test_validation_names_an_infinite_column_of_a_test_table_that_was_not_checked(trained: State) -> None:
    name = "local.test.test"
    column = "sepal length (cm)"
    rows = tables.read(name).toPandas().assign(**{column: float("inf")})
    tables.replace(session.spark().createDataFrame(rows), name, hashing.Digest(len(rows), "0"))
    with trained.refuses(r"column 'sepal length \(cm\)' of table local.test.test.* holds infinity"):
        trained.step("validate")
