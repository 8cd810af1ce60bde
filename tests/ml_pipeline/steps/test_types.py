"""Types that hold from the first training to the last batch, whatever a day's values look like."""

from __future__ import annotations

import datetime
import io
import itertools
import os
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ml_pipeline.data import schema, session, sources, tables
from ml_pipeline.errors import CheckFailedError
from ml_pipeline.settings.pipeline import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.ml_pipeline.conftest import State

pytestmark = pytest.mark.slow

DAYS = int(os.environ.get("DAYS", "9"))
"""Consecutive batches; ``make soak`` scores a hundred."""
HEADER = "id,amount,age,city,target"
PREDICTIONS, QUARANTINE = "local.test.predictions", "local.test.quarantine"


def day_rows(ids: Sequence[int], *, row: str = "{id},{amount},{age},{city},{target}") -> str:
    """Rows whose class follows from amount and age."""
    lines = [
        row.format(id=i, amount=i % 20, age=20 + i * 7 % 50, city="ab"[i % 2], target=int(i % 20 + i % 2 > 9))
        for i in ids
    ]
    return "\n".join([HEADER, *lines]) + "\n"


def train(state: State, text: str, **changes: Any) -> None:
    """Train and promote, on rows of a CSV file."""
    state.csv(text)
    source = {"csv": str(state.folder / "rows.csv")} | changes.pop("options", {})
    names = ("split", "prepare", "train", "compare", "validate", "promote")
    changes = {"source": source, "key": ["id"], "threshold": 0.0, "tolerance": 1.0, "monitoring": {}, **changes}
    for name in names:
        state.step(name, run_id=changes.get("run", "1"), **{k: v for k, v in changes.items() if k != "run"})


def score(state: State, text: str, day: int = 2, *, name: str = "today.csv", **changes: Any) -> None:
    """Score a day's rows."""
    options = changes.pop("options", {})
    source = options if "parquet" in options else {**state.csv(text, name), **options}
    settings_ = {"batch_inference": {"source": source}, "key": ["id"], "monitoring": {}, **changes}
    date = datetime.date(2026, 1, 1) + datetime.timedelta(day)
    state.step("score", parameters={"batch_date": date.isoformat()}, **settings_)


@pytest.fixture(scope="module")
def _learned(made_once: Callable[..., State], new_state: Callable[..., State]) -> State:
    return made_once("learned", lambda folder: train(new_state(folder), day_rows(range(120))))


@pytest.fixture
def learned(_learned: State, clone: Callable[..., State]) -> State:
    """A champion was trained on whole numbers, text and a key of digits."""
    return clone(_learned)


# How a day may write its values, so that each day looks to be of other types than the last.
WRITTEN: dict[str, list[str]] = {
    "id": ["{id}", "{id}0000000000000000000", "a{id}", "00{id}", "2026-01-0{id}", "{id}.5", "{id}", "true{id}"],
    "amount": ["{amount}", "{amount}.5", "1e3", "", "{amount}.0", "-{amount}"],
    "age": ["{age}", "30000000000", "{age}.0", "", "007", "{age}.25"],
    "city": ["{city}", "1", "2026-01-02", "true", "", "01", "1.5"],
    "target": ["{target}", "", "{target}.0", "1"],
}


def test_each_days_rows_are_scored_though_their_types_look_different(
    learned: State, capsys: pytest.CaptureFixture[str]
) -> None:
    types = ""
    expected: list[str] = []
    for day in range(DAYS):
        # Steps that share no factor with the numbers of writings, so that each meets all others in time.
        row = ",".join(ways[(day * (1 + day % 3)) % len(ways)] for ways in WRITTEN.values())
        text = day_rows(range(day % 7 + 1), row=row)
        expected += (line.split(",")[0] for line in text.splitlines()[1:])
        if day % 5 == 4:
            frame = pd.read_csv(io.StringIO(text), dtype={"id": str, "city": str} if day % 2 else {"id": str})
            frame.to_parquet(learned.folder / "today.parquet")
            score(learned, "", day, options={"parquet": str(learned.folder / "today.parquet")})
        else:
            score(learned, text, day)
        before, types = types, tables.read(PREDICTIONS).schema.simpleString()
        assert types == (before or types) or "changes from" in capsys.readouterr().out
    rows = learned.frame("predictions")
    assert sorted(rows["id"]) == sorted(expected)
    assert not tables.exists(QUARANTINE) or learned.frame("quarantine").empty


def test_a_bad_value_sets_one_row_aside_whatever_was_quarantined_before(learned: State) -> None:
    checks = {"columns": {"age": {"type": "double", "minimum": 0, "maximum": 9000}}}
    score(learned, day_rows(range(9)) + "9,1,9999,a,0\n", 1, checks=checks)
    score(learned, day_rows(range(18)) + "18,heavy,30,a,0\n19,1,heavy,a,0\n", 2, checks=checks)
    bad = learned.frame("quarantine")
    assert {row["id"]: [*row["quarantine_reasons"]] for row in bad.to_dict("records")} == {
        "9": ["age: 9999 is above maximum 9000"],
        "18": ["amount: 'heavy' is not a long"],
        "19": ["age: 'heavy' is not a double"],
    }
    assert len(learned.frame("predictions")) == 9 + 18
    with learned.refuses(
        r"50.00% are too many.*amount: is not a long \(9\); such as: amount: 'x' is not a long", CheckFailedError
    ):
        score(learned, day_rows(range(9)) + day_rows(range(9), row="x{id},x,1,a,0").partition("\n")[2], 3)


def test_columns_of_a_batch_count_by_name(learned: State) -> None:
    score(learned, day_rows(range(20)), 1)
    swapped = "id,age,amount,target,city\n" + "".join(
        "{0},{2},{1},{4},{3}\n".format(*line.split(",")) for line in day_rows(range(20)).splitlines()[1:]
    )
    score(learned, swapped, 2)
    days = learned.frame("predictions").sort_values("id").groupby("batch_date")
    one, two = (rows.drop(columns="batch_date").reset_index(drop=True) for _, rows in days)
    assert one.equals(two)


def test_predictions_keep_their_type_when_a_model_is_trained_again(learned: State) -> None:
    score(learned, day_rows(range(5)), 1)
    again = day_rows(range(120), row="{id},{amount},{age},{city},{target}.00")
    train(learned, again, run="2", parameters={"git_commit": "c2"})
    score(learned, day_rows(range(5)), 2)
    assert str(learned.frame("predictions")["prediction"].dtype) == "int64"
    assert int(learned.champion().version) == 2


AGAIN: dict[str, Any] = {"run": "2", "parameters": {"git_commit": "c2"}}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        pytest.param("{id},x{amount},{age},{city},{target}", "has the column 'amount' as string", id="text"),
        pytest.param("{id},,{age},{city},{target}", "lacks the column 'amount'", id="absent"),
        pytest.param(
            "{id},{amount},{age},{city},t{target}",
            "classes are of type long, and now they are of type string",
            id="classes",
        ),
    ],
)
def test_a_champion_that_can_not_read_the_rows_is_left_out(learned: State, row: str, why: str) -> None:
    again = day_rows(range(120), row=row)
    if "lacks" in why:
        again = "\n".join(line.replace(",,", ",") for line in again.replace("amount,", "").splitlines()) + "\n"
    train(learned, again, **AGAIN)
    tags = learned.newest().data.tags
    for reason in (tags["validate.reason"], tags["test.reason"]):
        assert "the champion, version 1 is left out of the comparison: " in reason
        assert why in reason
    assert int(learned.champion().version) == 2


@pytest.mark.parametrize("written", [{0: "false", 1: "true"}, {0: "0.0", 1: "1.0"}], ids=["booleans", "fractions"])
def test_classes_that_are_written_anew_are_never_called_wrong(learned: State, written: dict[int, str]) -> None:
    again = day_rows(range(120)).splitlines()
    lines = [line if place == 0 else f"{line[:-1]}{written[int(line[-1])]}" for place, line in enumerate(again)]
    train(learned, "\n".join(lines) + "\n", **{**AGAIN, "tolerance": 0.0})
    reason = learned.newest().data.tags["validate.reason"]
    apart = "its classes are of type long, and now they are of type boolean"
    assert apart in reason if written[0] == "false" else "; difference 0.0000, interval " in reason


def test_a_challenger_that_reads_a_column_otherwise_does_not_stop_the_champion(learned: State) -> None:
    from ml_pipeline.names import CHALLENGER, CHAMPION
    from ml_pipeline.registry import models

    first = learned.champion()
    train(learned, day_rows(range(120), row="{id},x{amount},{age},{city},{target}"), **AGAIN)
    second = learned.champion()
    models.move_alias(CHALLENGER, second)
    models.move_alias(CHAMPION, first)
    batch = {"source": learned.csv(day_rows(range(9)), "today.csv"), "mode": "shadow"}
    date = {"batch_date": "2026-01-02"}
    results = learned.step("score", parameters=date, key=["id"], monitoring={}, batch_inference=batch)
    assert results is not None
    assert str(results["shadow"]).startswith(
        "the challenger, version 2, can't score: the batch has the column 'amount'"
    )
    assert len(learned.frame("predictions")) == 9


def test_a_batch_is_written_as_the_training_rows_are(state: State) -> None:
    options = {"separator": ";", "decimal": ",", "columns": {"city": {"type": "date", "format": "dd.MM.yyyy"}}}

    def text(count: int) -> str:
        row = "{id};{amount},5;{age};01.02.2026;{target}"
        return day_rows(range(count), row=row).replace(HEADER, HEADER.replace(",", ";"))

    train(state, text(120), options=options)
    source = {"csv": str(state.folder / "rows.csv"), **options}
    batch = {"source": state.csv(text(9), "today.csv")}
    settings_: dict[str, Any] = {"source": source, "key": ["id"], "monitoring": {}, "batch_inference": batch}
    state.step("score", parameters={"batch_date": "2026-01-02"}, **settings_)
    scored = state.frame("predictions")
    assert sorted(scored["amount"]) == [i + 0.5 for i in range(9)]
    assert set(scored["city"]) == {datetime.date(2026, 2, 1)}


def test_keys_and_codes_are_as_they_are_written(state: State) -> None:
    row = "{id:03},{amount},{age},0{amount},{target}"
    train(state, day_rows(range(120), row=row))
    assert "007" in [*state.frame("train_validation")["id"], *state.frame("test")["id"]]
    checks = {"columns": {"city": {"accepted": ["01", "02", "03"]}}, "max_quarantine_share": 1.0}
    score(state, day_rows(range(8), row=row), checks=checks)
    assert sorted(state.frame("predictions")["id"]) == ["001", "002", "003"]


def test_a_key_that_is_not_unique_is_rejected(state: State) -> None:
    source = state.csv(day_rows([1, 2, 3, 3]))
    with state.refuses(r"key: source csv .* has 2 rows with id = '3'; expected a unique key"):
        state.step("split", source=source, key=["id"])
    assert not state.versions()


def test_a_function_of_the_pipeline_adds_columns_in_training_and_in_scoring(
    state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own_features.py").write_text(
        "from pyspark.sql import functions as F\n\n\n"
        "def add(rows):\n    return rows.withColumn('ratio', F.col('amount') / F.col('age'))\n\n\n"
        "def drop(rows):\n    return rows.drop('city')\n\n\n"
        "def filter(rows):\n    return rows.where('amount > 3')\n\n\n"
        "def divide(rows):\n    return rows.withColumn('ratio', F.col('age') / F.col('amount'))\n\n\n"
        "def taken(rows):\n    return rows.withColumn('prediction', F.lit(1))\n\n\n"
        "@F.udf('double')\n"
        "def rate(value):\n    raise ValueError('no such rate')\n\n\n"
        "def raises(rows):\n    return rows.withColumn('ratio', rate('age'))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    declared: dict[str, Any] = {"columns": {"amount": "double", "age": "double"}}
    own: dict[str, Any] = {"features": ["ratio"], "transform": "own_features.add"}
    train(state, day_rows(range(120)), options=declared, **own)
    score(state, day_rows(range(20)) + "x,heavy,1,a,0\n", options=declared, **own)
    scored = state.frame("predictions")
    assert (scored["ratio"] == scored["amount"] / scored["age"]).all()
    assert len(scored) == 20
    assert len(state.frame("quarantine")) == 1
    before = state.versions()
    for name, match in (
        ("divide", r"fails on source csv .*: ArithmeticException: \[DIVIDE_BY_ZERO\]"),
        ("raises", r"fails on source csv .*: PythonException: .*ValueError: no such rate"),
        ("taken", "has the name of one that scoring adds"),
        ("drop", "drops the columns city; expected all columns of its input"),
        ("filter", "returns 96 of 120 rows; expected the same rows"),
        ("absent", "fails on source csv .*: AttributeError: .*absent"),
    ):
        where = "" if name == "taken" else f"transform: 'own_features.{name}' "
        with state.refuses(f"{where}.*{match}"):
            source = {"csv": str(state.folder / "rows.csv"), **declared}
            state.step("split", source=source, **own | {"transform": f"own_features.{name}"})
    assert state.versions() == before


def test_dates_and_times_are_days_to_the_model(state: State) -> None:
    row = "{id},2026-01-{amount:02},2026-02-03 {age:02}:30:00,{city},{target}"

    def text(ids: range) -> str:
        lines = [row.format(id=i, amount=1 + i % 20, age=i % 24, city="ab"[i % 2], target=int(i % 20 > 9)) for i in ids]
        return "\n".join([HEADER, *lines]) + "\n"

    train(state, text(range(120)))
    assert schema.types_of(tables.read("local.test.train")) == {
        "id": "string",
        "amount": "date",
        "age": "timestamp",
        "city": "string",
        "target": "long",
    }
    score(state, text(range(20)) + "x,2026-13-01,,a,0\n")
    scored = state.frame("predictions")
    assert (scored["prediction"] == scored["target"]).all()
    assert scored["amount"].tolist() == [datetime.date(2026, 1, 1 + i % 20) for i in range(20)]
    assert [*state.frame("quarantine")["quarantine_reasons"][0]] == ["amount: '2026-13-01' is not a date"]
    with state.refuses(r"target: column 'amount' .* is date; accepted: whole numbers, text and booleans"):
        state.step("split", source=state.csv(text(range(120))), target="amount", key=["id"])


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"id": [1, 2, 3], "target": [1.0, 0.0, 1.0]}, id="numbers"),
        pytest.param({"id": [1.0, 2.0, 3.0], "target": [True, False, True]}, id="booleans"),
        pytest.param({"id": ["1", "2", "3"], "target": [" 1", "0 ", "1.0"]}, id="padded text"),
    ],
)
def test_labels_are_joined_by_the_types_of_the_predictions(learned: State, labels: dict[str, list[Any]]) -> None:
    score(learned, day_rows(range(5)))
    file = learned.folder / "labels.parquet"
    pd.DataFrame(labels).to_parquet(file)
    watching = {"labels": {"parquet": str(file)}}
    learned.step("monitor", parameters={"batch_date": "2026-01-03"}, key=["id"], monitoring=watching)
    (row,) = learned.frame("monitoring").query("kind == 'performance'").to_dict("records")
    predicted = dict(zip(learned.frame("predictions")["id"], learned.frame("predictions")["prediction"], strict=True))
    right = [predicted[str(key)] == value for key, value in ((1, 1), (2, 0), (3, 1))]
    assert (row["rows"], row["value"]) == (3, pytest.approx(sum(right) / 3))


def test_labels_are_written_as_booleans_are(state: State) -> None:
    text = day_rows(range(120)).replace(",0\n", ",FALSE\n").replace(",1\n", ",TRUE\n")
    train(state, text)
    score(state, text)
    state.csv(text.replace("id,amount,age,city,target", "id,a,b,c,target"), "labels.csv")
    watching = {"labels": {"csv": str(state.folder / "labels.csv")}}
    state.step("monitor", parameters={"batch_date": "2026-01-03"}, key=["id"], monitoring=watching)
    (row,) = state.frame("monitoring").query("kind == 'performance'").to_dict("records")
    scored = state.frame("predictions")
    assert (row["rows"], row["value"]) == (
        120,
        pytest.approx((scored["prediction"] == scored["target"]).mean()),
    )
    assert row["value"] > 0.9


@pytest.fixture(scope="module")
def numbered_once(made_once: Callable[..., State], new_state: Callable[..., State]) -> State:
    def make(folder: Path) -> None:
        state, numbers = new_state(folder), {"columns": {"id": "long"}}
        train(state, day_rows(range(120)), options=numbers)
        score(state, day_rows(range(5)), options=numbers)

    return made_once("numbered", make)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["k1", "k2", "3"], "2 labels are ignored, because their id is not a long, such as 'k1'"),
        (["", "", "3"], ""),
        (["70001", "70002"], "no label has the key of a prediction; the first one has id 7000"),
    ],
)
def test_labels_that_can_not_be_joined_are_mentioned(
    numbered_once: State, clone: Callable[..., State], keys: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = clone(numbered_once)
    state.csv("id,target\n" + "".join(f"{key},{place % 2}\n" for place, key in enumerate(keys)), "labels.csv")
    watching = {"labels": {"csv": str(state.folder / "labels.csv")}}
    state.step("monitor", parameters={"batch_date": "2026-01-03"}, key=["id"], monitoring=watching)
    out = capsys.readouterr().out
    assert line in out
    assert line or "label" not in out.replace("labelled", "")


def parquet(state: State, day: int, **columns: list[Any]) -> None:
    """Score a day's rows of a Parquet file."""
    rows = {"id": [f"{day}-{i}" for i in range(len(next(iter(columns.values()))))], **columns}
    learned = {
        "amount": [i for i, _ in enumerate(rows["id"])],
        "age": [30.0] * len(rows["id"]),
        "city": ["a"] * len(rows["id"]),
    }
    pd.DataFrame({**learned, **rows}).to_parquet(state.folder / "today.parquet")
    score(state, "", day, options={"parquet": str(state.folder / "today.parquet")})


@pytest.mark.parametrize(
    ("days", "kept", "type_"),
    [
        ([[Decimal("1.50")], [Decimal("12.50")]], ["1.50", "12.50"], "decimal(4,2)"),
        ([[1], [0.5]], ["1.0", "0.5"], "double"),
        ([[1], [2.0, None]], ["1", "2", None], "bigint"),
        ([[None], ["called"]], [None, "called"], "string"),
        ([[float("nan")], ["called"]], [None, "called"], "string"),
        ([[None], [["a"]]], [None, '["a"]'], "string"),
        ([[{"a": 1}], [{"a": 1, "b": 2}]], ['{"a":1}', '{"a":1,"b":2}'], "string"),
        ([[2.0], ["x"]], ["2", "x"], "string"),
    ],
)
def test_a_column_beside_the_features_may_change_its_type(
    learned: State, days: list[list[Any]], kept: list[str | None], type_: str
) -> None:
    for day, values in enumerate(days):
        parquet(learned, day, extra=values)
    rows = tables.read(PREDICTIONS)
    assert rows.select("extra").schema[0].dataType.simpleString() == type_
    assert [row[0] for row in rows.orderBy("id").selectExpr("CAST(extra AS STRING)").collect()] == kept
    assert not tables.exists(QUARANTINE) or learned.frame("quarantine").empty


def test_whole_numbers_stay_exact_until_one_has_a_fraction(learned: State, capsys: pytest.CaptureFixture[str]) -> None:
    big = [123456789012345000 + i for i in range(5)]
    score(learned, day_rows(range(5), row="{id},12345678901234500{id},{age},{city},"), 1)
    assert sorted(learned.frame("predictions")["amount"]) == big
    assert "changes from" not in capsys.readouterr().out
    score(learned, day_rows(range(5), row="{id},{amount}.5,{age},{city},"), 2)
    assert f"table {PREDICTIONS}: column 'amount' changes from bigint to double" in capsys.readouterr().out


def test_earlier_batches_keep_whole_numbers_when_a_column_becomes_text(learned: State) -> None:
    score(learned, day_rows(range(3), row="{id},{amount}.5,{age},{city},"), 1)
    score(learned, day_rows(range(3)), 2)
    train(learned, day_rows(range(120), row="{id},x{amount},{age},{city},{target}"), **AGAIN)
    score(learned, day_rows(range(3), row="{id},x{amount},{age},{city},"), 3)
    assert sorted(learned.frame("predictions")["amount"]) == ["0", "0.5", "1", "1.5", "2", "2.5", "x0", "x1", "x2"]


@pytest.mark.parametrize("name", ["count", "__rows", "Count"])
def test_a_key_may_have_any_name(state: State, name: str) -> None:
    text = day_rows(range(40)).replace("id,", f"{name},", 1)
    state.step("split", source=state.csv(text), key=[name])
    with state.refuses(f"has 2 rows with {name} = '3'; expected a unique key"):
        state.step("split", source=state.csv(text + "3,1,30,a,0\n"), key=[name])


VALUES: dict[str, Any] = {
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "decimal(12,3)": st.decimals(-(10**8), 10**8, places=3),
    "boolean": st.booleans(),
    "date": st.dates(datetime.date(1, 1, 1)),
    "timestamp": st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1)),  # noqa: DTZ001
    "string": st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), min_size=1, max_size=8),
}
DIALECTS = [
    {},
    {"separator": ";", "decimal": ","},
    {"separator": "\t", "quote": "'", "encoding": "ISO-8859-1"},
    {"separator": "|", "encoding": "UTF-16", "null_value": "NULL"},
]


def write_csv(frame: pd.DataFrame, file: Path, dialect: dict[str, str]) -> None:
    """Write a frame as pandas and a spreadsheet would."""
    decimal = dialect.get("decimal", ".")
    text = pd.DataFrame(
        {
            name: pd.Series(
                [
                    str(each).replace(".", decimal) if isinstance(each, float | Decimal) else each
                    for each in frame[name]
                ],
                dtype=object,
            )
            for name in frame
        }
    )
    text.to_csv(
        file,
        index=False,
        sep=dialect.get("separator", ","),
        quotechar=dialect.get("quote", '"'),
        encoding=dialect.get("encoding", "UTF-8"),
        na_rep=dialect.get("null_value", ""),
    )


@st.composite
def generated(draw: st.DrawFn) -> tuple[dict[str, str], list[tuple[object, ...]]]:
    """A declared schema, and rows of it."""
    types = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
    names = [f"c{place} {type_}" for place, type_ in enumerate(types)]
    row = st.tuples(*(st.none() | VALUES[type_] for type_ in types))
    return dict(zip(names, types, strict=True)), draw(st.lists(row, min_size=3, max_size=12))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=generated(), dialect=st.sampled_from([*DIALECTS, None]))
def test_a_file_of_any_declared_schema_gives_each_value_back(
    state: State, content: tuple[dict[str, str], list[tuple[object, ...]]], dialect: dict[str, str] | None
) -> None:
    types, rows = content
    frame = pd.DataFrame(rows, columns=list(types), dtype=object)
    frame.insert(0, "id", range(len(frame)))
    file = state.folder / ("rows.csv" if dialect is not None else "rows.parquet")
    declared = {"id": "long"} | types
    if dialect is None:
        fields = ", ".join(f"`{name}` {'bigint' if type_ == 'long' else type_}" for name, type_ in declared.items())
        read = session.spark().createDataFrame([(place, *row) for place, row in enumerate(rows)], fields)
        read.write.mode("overwrite").parquet(str(file))
        source = Source.model_validate({"parquet": str(file)})
    else:
        write_csv(frame, file, dialect)
        source = Source.model_validate({"csv": str(file), "columns": declared, **dialect})
    found = sources.read_source(source)
    readings = schema.of_training(found, source, computed=found.columns, target="", before={})
    back = sorted(tuple(row) for row in schema.apply(found, readings).collect())
    assert [row[1:] for row in back] == [tuple(row) for row in rows]
    assert [row[0] for row in back] == list(range(len(rows)))


@pytest.mark.parametrize("kind", ["csv", "parquet", "table"])
@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(
    content=generated().filter(lambda one: len(one[1]) > 5),
    dialect=st.sampled_from(DIALECTS),
    bad=st.sets(st.integers(0, 59), max_size=5),
)
def test_each_row_ends_in_one_place_with_its_values(
    new_state: Callable[..., State],
    kind: str,
    content: tuple[dict[str, str], list[tuple[object, ...]]],
    dialect: dict[str, str],
    bad: set[int],
) -> None:
    types, values = content
    rows = [
        (i, float(i % 7), *row, "xy"[i % 7 > 3]) for i, row in zip(range(60), itertools.cycle(values), strict=False)
    ]
    state = new_state()
    declared = {"id": "long", "size": "double", **types}
    names = ["id", "size", *types, "kind"]

    def source(name: str, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
        place = str(state.folder / name)
        if kind == "csv":
            write_csv(pd.DataFrame(rows, columns=names, dtype=object), state.folder / name, dialect)
            return {"csv": place, **dialect, "columns": declared}
        # Where each column has a type, a bad value is one of another type: the column is text.
        sizes = {type(row[1]) for row in rows}
        of_columns = {**declared, "size": "string" if str in sizes else "double", "kind": "string"}
        fields = ", ".join(f"`{name}` {'bigint' if type_ == 'long' else type_}" for name, type_ in of_columns.items())
        typed = [(row[0], str(row[1]) if str in sizes else row[1], *row[2:]) for row in rows]
        write = session.spark().createDataFrame(typed, fields).write.mode("overwrite")
        write.format("delta" if kind == "table" else "parquet").option("delta.columnMapping.mode", "name").save(place)
        return {kind: place}

    settings_ = {"source": source("rows", rows), "key": ["id"], "target": "kind"}
    common: dict[str, Any] = {**settings_, "features": ["size"], "threshold": 0.0, "monitoring": {}}
    for name in ("split", "prepare", "train", "compare", "validate", "promote"):
        state.step(name, **common)
    sides = Counter(itertools.chain(*(state.frame(part)["id"] for part in ("train", "validation", "test"))))
    assert sides == Counter(range(60))

    broken = [(row[0], "heavy", *row[2:]) if row[0] in bad else row for row in rows]
    changes = {
        **common,
        "batch_inference": {"source": source("today", broken)},
        "checks": {"max_quarantine_share": 1.0},
    }
    state.step("score", parameters={"batch_date": "2026-01-02"}, **changes)
    scored = sorted(
        tuple(row) for row in tables.read(PREDICTIONS).select("id", *(f"`{name}`" for name in types)).collect()
    )
    assert scored == [(row[0], *row[2:-1]) for row in rows if row[0] not in bad]
    aside = state.frame("quarantine") if tables.exists(QUARANTINE) else pd.DataFrame({"id": []})
    assert sorted(map(int, aside["id"])) == sorted(bad)
