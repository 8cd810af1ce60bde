from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from ml_pipeline.data import tables
from ml_pipeline.data.features import added
from ml_pipeline.names import ADDED, CHAMPION_PREDICTION, REASONS, SCORES
from ml_pipeline.registry import tracking

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.ml_pipeline.conftest import State


def numbered(ids: Iterable[int], *, size: str = "{}") -> str:
    """Rows of two classes, which a number tells apart."""
    lines = [f"{i},{size.format(i % 7)},{'no' if i % 2 else 'yes'}" for i in ids]
    return "id,size,label\n" + "\n".join(lines) + "\n"


def sides(state: State, key: str = "id") -> tuple[list[Any], list[Any]]:
    return sorted(state.frame("train_validation")[key]), sorted(state.frame("test")[key])


def test_split_is_complete_disjoint_and_stays(state: State) -> None:
    settings: dict[str, Any] = {"target": "label", "test_share": 0.3}
    made = state.step("split", source=state.csv(numbered(range(200))), **settings)
    assert set(made) == {"local.test.train_validation", "local.test.test"}
    train, test = sides(state)
    assert sorted(train + test) == list(range(200))
    assert 30 < len(test) < 90
    before = state.versions()

    again = state.step("split", source=state.csv(numbered(reversed(range(200)))), **settings)
    assert all("(unchanged)" in said for said in again.values())
    assert state.versions() == before

    state.step("split", source=state.csv(numbered(range(-100, 300))), **settings)
    more_train, more_test = sides(state)
    assert sorted(more_train + more_test) == list(range(-100, 300))
    assert set(train) <= set(more_train)
    assert set(test) <= set(more_test)
    assert len(more_test) > len(test)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["{}.5", "0{}"], ids=["double", "text"])
def test_no_row_moves_when_a_later_row_widens_a_column(state: State, size: str) -> None:
    state.step("split", source=state.csv(numbered(range(100))), target="label")
    assert str(state.frame("test")["size"].dtype).startswith("int")
    train, test = sides(state)
    later = numbered(range(100)) + numbered(range(100, 140), size=size).partition("\n")[2]
    state.step("split", source=state.csv(later), target="label")
    assert not str(state.frame("test")["size"].dtype).startswith("int")
    wide_train, wide_test = sides(state)
    assert set(train) <= set(wide_train)
    assert set(test) <= set(wide_test)


def test_a_stratified_split_gives_each_class_its_share_and_moves_no_row(state: State) -> None:
    def split(rows: list[str]) -> tuple[dict[str, set[int]], dict[str, dict[str, int]]]:
        source = state.csv("\n".join(["id,size,label", *rows]) + "\n")
        shared: dict[str, Any] = {"target": "label", "key": ["id"], "stratify": True}
        state.step("split", source=source, test_share=0.2, **shared)
        state.step("prepare", validation_share=0.3, **shared)
        frames = {name: state.frame(name) for name in ("train", "validation", "test")}
        assert sum(map(len, frames.values())) == len(rows)
        counts = {name: frame["label"].value_counts().to_dict() for name, frame in frames.items()}
        return {name: set(frame["id"]) for name, frame in frames.items()}, counts

    first = [f"{i},{i % 7},{'rare' if i % 10 == 0 else 'common'}" for i in range(100)]
    before, counts = split(first)
    assert counts["test"] == {"common": 18, "rare": 2}
    assert counts["validation"] == {"common": 22, "rare": 3}

    # Many more of one class, with wider values, in another order.
    more = [f"{i},{i % 7}.5,rare" for i in range(100, 500)]
    after, counts = split([*reversed(more), *first])
    assert all(ids <= after[name] for name, ids in before.items())
    assert (counts["test"]["common"], counts["validation"]["common"]) == (18, 22)
    # The rows that were there before leave less room for the limit.
    assert counts["test"]["rare"] == pytest.approx(0.2 * 410, abs=15)
    assert counts["validation"]["rare"] == pytest.approx(0.3 * 0.8 * 410, abs=20)


def test_a_stratified_split_without_a_key_keeps_equal_rows_on_one_side(state: State) -> None:
    rows = numbered(list(range(60)) * 3)
    state.step("split", source=state.csv(rows), target="label", test_share=0.4, stratify=True)
    train, test = sides(state)
    assert not set(train) & set(test)
    assert len(test) == 3 * len(set(test)) == 72


def test_equal_rows_are_on_one_side(state: State) -> None:
    rows = numbered(list(range(60)) * 3)
    state.step("split", source=state.csv(rows), target="label", test_share=0.4)
    train, test = sides(state)
    assert not set(train) & set(test)
    assert train == sorted(list(set(train)) * 3)
    assert test == sorted(list(set(test)) * 3)


@pytest.mark.slow
def test_rows_stay_on_their_side_by_their_key_whatever_else_they_hold(state: State) -> None:
    rows = "id,size,label\n" + "".join(f"{i},{i % 9},{'no' if i % 3 else 'yes'}\n" for i in range(80))
    state.step("split", source=state.csv(rows), target="label", key=["id"], test_share=0.4)
    train, test = sides(state)
    later = "id,size,label\n" + "".join(f"{i},{-i},{'yes' if i % 3 else 'no'}\n" for i in range(100))
    state.step("split", source=state.csv(later), target="label", key=["id"], test_share=0.4)
    later_train, later_test = sides(state)
    assert set(train) <= set(later_train)
    assert set(test) <= set(later_test)


@pytest.mark.slow
def test_prepare_that_is_tried_again_reuses_its_run(state: State) -> None:
    state.step("split")
    for commit in ("c1", "c2"):
        state.step("prepare", run_id="7", parameters={"git_commit": commit})
    (run,) = state.found()
    assert (run.info.status, run.data.tags["job_run_id"], run.data.tags["git_commit"]) == ("SCHEDULED", "7", "c2")
    state.step("train", run_id="7")
    state.step("prepare", run_id="8")
    assert len(state.found()) == 2


@pytest.mark.slow
def test_prepare_that_is_tried_again_after_its_run_was_deleted_makes_another(state: State) -> None:
    state.step("split")
    state.step("prepare", run_id="7")
    (first,) = state.found()
    tracking.client().delete_run(first.info.run_id)
    for _ in range(2):
        state.step("prepare", run_id="7")
    (second,) = state.found()
    assert second.info.run_id != first.info.run_id
    state.step("train", run_id="7")


@pytest.mark.slow
def test_prepare_that_is_tried_again_after_training_reuses_its_run(state: State) -> None:
    for name in ("split", "prepare", "train", "prepare", "train"):
        state.step(name, run_id="7")
    (run,) = state.found()
    assert run.data.metrics["validation_accuracy"] > 0.8


def test_prepare_announces_the_run_and_leaves_the_tables_that_it_reads(state: State) -> None:
    state.step("split")
    before = state.versions("test", "train_validation")
    state.step("prepare", run_id="77", parameters={"pull_request": "12", "reason": "ci", "run_by": "ann"})
    run = state.newest()
    assert run.info.status == "SCHEDULED"
    versions = state.versions()
    expected = {
        "job_run_id": "77",
        "git_branch": "main",
        "git_commit": "c1",
        "mlflow.source.git.commit": "c1",
        "mlflow.source.git.branch": "main",
        "mlflow.runName": "main 77",
        "pull_request": "12",
        "reason": "ci",
        "run_by": "ann",
    }
    for side in ("train_validation", "train", "validation"):
        expected[f"{side}_table"] = f"local.test.{side}"
        expected[f"{side}_version"] = str(versions[side])
        expected[f"{side}_fingerprint"] = tables.last_write(f"local.test.{side}")[1]
    assert {name: run.data.tags.get(name) for name in expected} == expected
    # These numbers stay with every release: a row that changed sides would let a model meet its own test.
    rows = {"test": 25, "train_validation": 125, "train": 97, "validation": 28}
    assert {side: len(state.frame(side)) for side in rows} == rows
    assert {side: int(tables.last_write(f"local.test.{side}")[1].partition("-")[0]) for side in rows} == rows

    again = state.step("prepare", run_id="78")
    assert state.newest().data.tags["pull_request"] == ""
    assert all("(unchanged)" in again[f"local.test.{side}"] for side in ("train", "validation"))
    assert state.versions() == versions
    assert state.versions("test", "train_validation") == before


ROWS = numbered(range(40))
OTHER_BATCHES = {"source": {"csv": "batch.csv"}}
SPLIT_REFUSALS: list[Any] = [
    pytest.param(ROWS, {"target": "absent"}, r"target: .*no column 'absent'; accepted: id, size, label", id="target"),
    pytest.param(ROWS, {"key": ["absent"]}, "key: .*no column 'absent'", id="key"),
    pytest.param(ROWS, {"features": ["size", "absent"]}, "features: .*no column 'absent'", id="feature"),
    pytest.param("id,size,label\n", {}, "is empty", id="header only"),
    pytest.param("", {}, "is empty; expected a line with the names", id="empty file"),
    pytest.param(ROWS + "99,1,\n", {}, r"target: column 'label' .*no value in 1 of 41 rows", id="target without value"),
    pytest.param(ROWS + ",1,no\n", {"key": ["id"]}, "key: column 'id' .*no value in 1 of 41", id="key without value"),
    pytest.param("id,size,label\n1,,a\n2,,b\n", {}, "features: column 'size' .*no value in any row", id="all null"),
    pytest.param("id,size,label\n1,NaN,a\n2,NaN,b\n", {}, "features: column 'size' .*no value", id="all NaN"),
    pytest.param(ROWS + "99,Inf,yes\n", {}, "features: column 'size' .*holds infinity", id="infinity"),
    pytest.param(ROWS + "99,-1e39,yes\n", {}, "features: column 'size' .*beyond 3.4e", id="more than 32 bits"),
    pytest.param(
        ROWS.replace("size", "Prediction"), {}, "column 'Prediction' has the name of one that scoring adds", id="taken"
    ),
    *(
        pytest.param(
            ROWS.replace("size", name),
            {"features": ["id"], **changes},
            f"column '{name}' has the name of one that scoring adds",
            id=f"{name}, though no feature",
        )
        for name, changes in (
            ("Run_ID", {}),
            ("quarantine_reasons", {}),
            ("scores", {"batch_inference": {"probabilities": True}}),
            ("__answer", {"batch_inference": OTHER_BATCHES}),
        )
    ),
    pytest.param(
        ROWS.replace("size", "scores"),
        {"batch_inference": {**OTHER_BATCHES, "probabilities": True}},
        "column 'scores' has the name of one that scoring adds",
        id="a feature, which batches have too",
    ),
    pytest.param("label\na\nb\n", {}, "no column beside target", id="nothing to learn from"),
    pytest.param(
        ROWS + "1,2,yes,4,5\n",
        {},
        "source csv .*the record .1,2,yes,4,5. in line 42 of .*rows.csv has more or fewer",
        id="malformed row",
    ),
    pytest.param(
        ROWS + "".join(f"{i},1,rare\n" for i in (106, 110)),
        {},
        "test_share: class 'rare' of column 'label' in source csv .*rows.csv has 2 rows to test with and 0 to train",
        id="a class for the test alone",
    ),
    pytest.param(
        ROWS + "105,1,rare\n",
        {"folds": 2},
        "folds: class 'rare' of column 'label' has 1 rows to train on in source csv .*rows.csv, fewer than the 2 folds",
        id="a class with one row",
    ),
    pytest.param(ROWS, {"positive_class": "yess"}, "positive_class: 'yess': accepted: .*'no', 'yes'", id="no class"),
    pytest.param(
        ROWS.replace("yes", "1").replace("no", "0"),
        {"positive_class": "2"},
        "positive_class: '2': accepted: .*it has 0, 1",
        id="no number",
    ),
    pytest.param(numbered([1, 2]), {"test_share": 1e-6}, "test_share: .*leaves no row", id="a side is empty"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "changes", "match"), SPLIT_REFUSALS)
def test_split_refuses_and_writes_nothing(state: State, text: str, changes: dict[str, Any], match: str) -> None:
    with state.refuses(match):
        state.step("split", source=state.csv(text), **{"target": "label", **changes})
    assert state.versions() == {}


def test_names_that_split_refuses_are_those_that_scoring_refuses() -> None:
    names = {*ADDED, SCORES, CHAMPION_PREDICTION, REASONS}
    assert set(added(probabilities=True)) == names
    assert set(added(probabilities=False)) == names - {SCORES}


@pytest.mark.parametrize(
    ("name", "batches"), [("prediction", OTHER_BATCHES), ("scores", {})], ids=["not scored", "without probabilities"]
)
def test_a_name_that_scoring_does_not_meet_is_let_through(state: State, name: str, batches: dict[str, Any]) -> None:
    source = state.csv(ROWS.replace("size", name))
    state.step("split", source=source, target="label", features=["id"], batch_inference=batches)
    assert name in state.frame("test").columns


def test_a_timestamp_that_is_no_feature_is_let_through(state: State) -> None:
    rows = "id,at,label\n" + "".join(f"{i},2026-01-02 03:04:{i:02},{'ab'[i % 2]}\n" for i in range(30))
    state.step("split", source=state.csv(rows), target="label", features=["id"])
    assert len(state.frame("train_validation")) + len(state.frame("test")) == 30


def test_infinity_that_is_no_feature_is_let_through(state: State) -> None:
    rows = numbered(range(40)) + "99,Inf,yes\n"
    state.step("split", source=state.csv(rows), target="label", features=["id"])
    assert len(state.frame("train_validation")) + len(state.frame("test")) == 41


@pytest.fixture(scope="module")
def sources(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Delta tables in the place of the train-validation table, each wrong in another way."""
    folder = tmp_path_factory.mktemp("sources")
    half, whole = "CASE WHEN id % 2 = 0 THEN 'a' ELSE 'b' END", "id, id % 7 AS size"
    wrong = {
        "constant": f"SELECT {whole}, 'a' AS label FROM range(60)",
        "quantities": f"SELECT {whole}, id + 0.5D AS label FROM range(60)",
        "rare": f"SELECT {whole}, CASE WHEN id = 1 THEN 'rare' ELSE {half} END AS label FROM range(60)",
        "null label": f"SELECT {whole}, CASE WHEN id > 1 THEN {half} END AS label FROM range(60)",
        "infinite": f"SELECT {whole}, IF(id = 7, 'inf', 'nan')::float AS ratio, {half} AS label FROM range(60)",
        "empty": f"SELECT {whole}, {half} AS label FROM range(0)",
        "few": f"SELECT {whole}, {half} AS label FROM range(12)",
        "many": f"SELECT {whole}, id AS label FROM range(1001)",
        "thousand": f"SELECT {whole}, id % 1000 AS label FROM range(5000)",
        "prices": f"SELECT {whole}, id * id AS label FROM range(60)",
    }
    for name, query in wrong.items():
        spark.sql(query).write.format("delta").save(str(folder / name))
    return {name: str(folder / name) for name in wrong}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        pytest.param("constant", {}, r"target: column 'label' .* is constant \('a'\)", id="constant target"),
        pytest.param("quantities", {}, "target: column 'label' .*holds quantities, such as ", id="continuous target"),
        pytest.param(
            "many", {}, "target: column 'label' .*holds quantities; a classifier predicts", id="too many classes"
        ),
        pytest.param("prices", {}, "holds quantities, 60 different numbers in 60 rows; ", id="whole quantities"),
        pytest.param(
            "thousand", {"folds": 9}, "folds: class 0 of column 'label'", id="as many classes as there may be"
        ),
        pytest.param("rare", {}, r"folds: class 'rare' .*has [01] rows .*fewer than the 3 folds", id="rare class"),
        pytest.param("null label", {}, "target: column 'label' .*no value in 2 of 60 rows", id="target without value"),
        pytest.param("infinite", {}, "features: column 'ratio' .*holds infinity", id="infinity"),
        pytest.param("empty", {}, "is empty", id="empty table"),
        pytest.param("few", {"validation_share": 0.001}, "validation_share: leaves no row", id="nothing to validate"),
        pytest.param("few", {"validation_share": 0.999}, "folds: class 'a'", id="nothing to train on"),
        pytest.param("few", {"target": "absent"}, "target: .*no column 'absent'", id="no such target"),
        pytest.param("few", {"features": ["absent"]}, "features: .*no column 'absent'", id="no such feature"),
        pytest.param("few", {"key": ["absent"]}, "key: .*no column 'absent'", id="no such key"),
    ],
)
def test_prepare_refuses_and_writes_nothing(
    state: State, sources: dict[str, str], name: str, changes: dict[str, Any], match: str
) -> None:
    from ml_pipeline.steps.prepare import prepare

    arguments = {"target": "label", "key": [], "features": [], "folds": 3, "validation_share": 0.3, **changes}
    with state.refuses(match):
        prepare(
            train_validation_table=sources[name],
            train_table="local.test.train",
            validation_table="local.test.validation",
            experiment="/Shared/test",
            job_run_id="1",
            git_branch="main",
            git_commit="c1",
            reason="ci",
            **arguments,
        )
    assert state.versions() == {}
    assert state.found() == []


def test_prepare_without_a_split_is_refused(state: State) -> None:
    with state.refuses(r"table local\.test\.train_validation: there is no such Delta table"):
        state.step("prepare")
    assert state.found() == []
