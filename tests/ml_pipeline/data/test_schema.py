"""Types of sources: from the first file on, a value is read as what it is written as, or not at all."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from ml_pipeline.data import schema, sources
from ml_pipeline.settings.pipeline import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame

    from tests.ml_pipeline.conftest import State

pytestmark = pytest.mark.slow


def typed(options: Mapping[str, Any], *, target: str = "", before: Mapping[str, str] | None = None) -> DataFrame:
    """A source's rows as the first training reads them, if the model computes with all of them."""
    source = Source.model_validate(options)
    rows = sources.read_source(source)
    readings = schema.of_training(rows, source, computed=rows.columns, target=target, before=before or {})
    return schema.apply(rows, readings)


def collected(options: Mapping[str, Any], **settings: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in typed(options, **settings).collect()]


def folder_of(state: State, *texts: str) -> dict[str, str]:
    (state.folder / "a day").mkdir()
    for number, text in enumerate(texts):
        state.csv(text, f"a day/{number} %.csv")
    return {"csv": str(state.folder / "a day")}


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        pytest.param("a,b\n1,x\n2,y\n", {}, [(1, "x"), (2, "y")], id="plain"),
        pytest.param('a,b\n1,"x, y"\n', {}, [(1, "x, y")], id="separator in quotes"),
        pytest.param('a,b\n1,"x\ny"\n2,z\n', {}, [(1, "x\ny"), (2, "z")], id="line end in quotes"),
        pytest.param('a,b\n1,"say ""hi"", he said"\n', {}, [(1, 'say "hi", he said')], id="doubled quotes"),
        pytest.param("a,b\n1,'x, ''y'''\n", {"quote": "'"}, [(1, "x, 'y'")], id="quote"),
        pytest.param("a;b\n1,5;x\n2;y\n", {"separator": ";", "decimal": ","}, [(1.5, "x"), (2.0, "y")], id="decimal"),
        pytest.param("a\tb\n1\tx\n", {"separator": "\t"}, [(1, "x")], id="tab"),
        pytest.param("a,b\n1,x\nNA,NA\n", {"null_value": "NA"}, [(1, "x"), (None, None)], id="null value"),
        pytest.param("a,b\n1,x\na,b\n", {"null_value": "a"}, [(1, "x"), (None, "b")], id="null value in the names"),
        pytest.param("a,b\n1,\n,x\n", {}, [(1, None), (None, "x")], id="empty is null"),
        pytest.param("a, b\n1 ,  x \n", {}, [(1, "  x ")], id="spaces"),
        pytest.param("\ufeffa,b\n1,x\n", {}, [(1, "x")], id="byte order mark"),
        pytest.param("a,b\r\n1,x\r\n", {}, [(1, "x")], id="carriage returns"),
        pytest.param("a,b\n1.5,true\nnan,False\n", {}, [(1.5, True), (None, False)], id="types"),
        pytest.param("a,b\n007,x\n7,y\n", {}, [("007", "x"), ("7", "y")], id="leading zeros"),
        pytest.param("a,b\n1,-01\n2,\n", {}, [(1, "-01"), (2, None)], id="leading zeros after a sign"),
        pytest.param("a,b\n1F,2d\n2f,3\n3F,d\n", {}, [("1F", "2d"), ("2f", "3"), ("3F", "d")], id="Java's suffixes"),
        pytest.param("a,b\n0,0.5\n-10,1e3\n", {}, [(0, 0.5), (-10, 1000.0)], id="zeros in numbers"),
        pytest.param("a,b\n1.0,inf\n2.0,1\n", {}, [(1, float("inf")), (2, 1.0)], id="infinity"),
        pytest.param("a,b\n1234567890123456789,1\n5,2\n", {}, [("1234567890123456789", 1), ("5", 2)], id="long codes"),
        pytest.param(
            "a,b\n2026-01-02,12:30\n2026-1-3,9:15\n",
            {},
            [(datetime.date(2026, 1, 2), "12:30"), (datetime.date(2026, 1, 3), "9:15")],
            id="a time without a date is text",
        ),
        pytest.param(
            "a,b\n2026-01-02T12:30:00.5Z,2026-02-30\n2026-01-03,2026-02-28\n",
            {},
            [
                (datetime.datetime(2026, 1, 2, 12, 30, 0, 500000), "2026-02-30"),  # noqa: DTZ001
                (datetime.datetime(2026, 1, 3), "2026-02-28"),  # noqa: DTZ001
            ],
            id="times, and a day that is not in the calendar",
        ),
        pytest.param("a,b\n1,x", {}, [(1, "x")], id="no line end at the end"),
        pytest.param("a,b\n+4915112345678,+5\n", {}, [("+4915112345678", 5)], id="telephone numbers"),
        pytest.param('a,b\n1,""\n2,-\n', {"null_value": "-"}, [(1, None), (2, None)], id="an empty text in quotes"),
    ],
)
def test_csv(state: State, text: str, options: dict[str, str], expected: list[tuple[Any, ...]]) -> None:
    rows = typed({**state.csv(text), **options})
    assert [tuple(row) for row in rows.collect()] == expected
    assert rows.columns == ["a", "b"]


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16"])
def test_lines_that_are_empty_precede_no_header(state: State, encoding: str) -> None:
    folder = folder_of(state)
    for number, text in enumerate(("a,b\n1,10\n", "\na,b\n2,20\n", "\r\n\r\nb,a\r\n30,3\r\n")):
        state.csv(text, f"a day/{number}.csv", encoding=encoding)
    assert sorted(collected({**folder, "encoding": encoding})) == [(1, 10), (2, 20), (3, 30)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("a,t\n1,0\n", "a,t,c\n1,0,1\n"), r"/1 %.csv and /\S.*/0 %.csv differ in the columns c; expected"),
        (("a,t,c\n1,0,1\n", "a,t\n1,0\n"), r"/1 %.csv and /\S.*/0 %.csv differ in the columns c; expected"),
        (("k,x1,x,y\n1,2,3,4\n", "k,x1,x,x,y\n1,2,3,4,5\n"), r"/1 %.csv: several columns are named 'x'"),
    ],
)
def test_a_file_with_another_header_is_named(state: State, texts: tuple[str, ...], message: str) -> None:
    with state.refuses(f"^source csv .*: /.*{message}"):
        typed(folder_of(state, *texts))


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("7", "string", "7"),
        ("007", "long", 7),
        ("9223372036854775807", "long", 2**63 - 1),
        ("7", "double", 7.0),
        ("1.10", "decimal(4,2)", Decimal("1.10")),
        ("12345678901234567890.5", "decimal", Decimal("12345678901234567890.5")),
        ("yes", "boolean", True),
        ("02.01.2026", {"type": "date", "format": "dd.MM.yyyy"}, datetime.date(2026, 1, 2)),
        (
            "02.01.2026 03:04",
            {"type": "timestamp", "format": "dd.MM.yyyy HH:mm"},
            datetime.datetime(2026, 1, 2, 3, 4),  # noqa: DTZ001
        ),
    ],
)
def test_a_declared_column_has_its_type(state: State, text: str, column: object, expected: object) -> None:
    assert collected({**state.csv(f"a,b\n{text},1\n"), "columns": {"a": column}}) == [(expected, 1)]


@pytest.mark.parametrize(
    ("text", "column", "match"),
    [
        (
            "1.5\nheavy\nx",
            "double",
            r"column 'a' has 2 values that are not of its type double, such as 'heavy' in .*csv",
        ),
        ("1.5", "long", r"1 values that are not of its type long, such as '1.5'"),
        ("1.239", "decimal(10,2)", r"not of its type decimal\(10,2\), such as '1.239'"),
        ("2026-01-02", {"type": "date", "format": "dd.MM.yyyy"}, r"not of its type date, such as '2026-01-02'"),
    ],
)
def test_a_value_that_is_not_of_the_declared_type_is_rejected(
    state: State, text: str, column: object, match: str
) -> None:
    with state.refuses(match):
        collected({**state.csv(f"a\n{text}\n"), "columns": {"a": column}})


def test_a_declared_column_that_is_absent_is_rejected(state: State) -> None:
    with state.refuses(r"source.columns: source csv .* has no column 'z'; accepted: a, b"):
        typed({**state.csv("a,b\n1,2\n"), "columns": {"z": "double"}})


@pytest.mark.parametrize(("encoding", "name"), [("latin-1", "ISO-8859-1"), ("utf-16", "UTF-16"), ("utf-8", "UTF-8")])
def test_text_in_another_encoding(state: State, encoding: str, name: str) -> None:
    file = state.csv("größe,b\nMüller,1\nMöller,2\n", encoding=encoding)
    assert collected({**file, "encoding": name}) == [("Müller", 1), ("Möller", 2)]
    assert typed({**file, "encoding": name}).columns == ["größe", "b"]


def test_bytes_that_are_not_text_are_rejected(state: State) -> None:
    file = state.csv("a,b\nMüller,1\nMöller,2\n", encoding="latin-1")
    with state.refuses(r"column 'a' has 2 values that are not text in UTF-8, such as 'M.*ller'; set source.encoding"):
        collected(file)
    header = state.csv("größe,b\n1,1\n", encoding="latin-1")
    with state.refuses("its first line is not text in UTF-8"):
        collected(header)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("1\n2\nn/a\n", r"'a' has 2 numbers in .*csv, and .*csv has text, such as 'n/a'", id="n/a"),
        pytest.param("1,5\n2,25\n", r"'a' holds numbers with a decimal comma; set source.decimal = ','", id="comma"),
    ],
)
def test_a_column_that_could_be_numbers_or_text_is_rejected(state: State, text: str, match: str) -> None:
    file = state.csv("a;b\n" + text.replace("\n", ";x\n"))
    with state.refuses(match + r".*declare its type: \[source.columns\] a = 'double' or 'string'"):
        collected({**file, "separator": ";"})
    declared = {**file, "separator": ";", "columns": {"a": "string"}}
    assert [row[0] for row in collected(declared)] == text.split()


def test_a_column_of_few_numbers_is_text(state: State) -> None:
    assert collected(state.csv("a\n1\nA\nB\n2\nC\n")) == [("1",), ("A",), ("B",), ("2",), ("C",)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(["a,b\n1,10\n", "b,a\n20,2\n"], [(1, 10), (2, 20)], id="another order"),
        pytest.param(
            ["a,b\n1,10\n", "b,a\n2.5,2\n", "", "a,b\n3,3\n"], [(1, 10.0), (2, 2.5), (3, 3.0)], id="fractions"
        ),
        pytest.param(["a,b\n1,01\n", "b,a\nx,2\n"], [(1, "01"), (2, "x")], id="leading zeros"),
        pytest.param(["\ufeffa,b\r\n1,x\r\n", "b,a\ny,2\n"], [(1, "x"), (2, "y")], id="byte order mark"),
        pytest.param(["a,b\n1,30000000000\n", "b,a\n1,2\n"], [(1, 30000000000), (2, 1)], id="long"),
    ],
)
def test_columns_of_csv_files_count_by_name(state: State, texts: list[str], expected: list[tuple[Any, ...]]) -> None:
    source = folder_of(state, *texts)
    assert sorted(collected(source)) == expected
    as_text = typed({**source, "columns": {"a": "string"}})
    assert sorted(as_text.select("a").collect()) == [(str(a),) for a, _ in expected]


def test_a_column_that_is_text_in_one_file_and_numbers_in_another_is_rejected(state: State) -> None:
    source = folder_of(state, "a,b\n1,10\n1,11\n", "b,a\nx,2\n")
    with state.refuses(r"'b' has 2 numbers in .*/0 %.csv, and .*/1 %.csv has text, such as 'x'; "):
        typed(source)


def test_folders_of_csv_files_that_name_a_column(state: State) -> None:
    for day, text in ((1, "a,b\n1,10\n"), (2, "b,a\n20,2\n")):
        (state.folder / "days" / f"day={day}").mkdir(parents=True)
        state.csv(text, f"days/day={day}/rows.csv")
    rows = typed({"csv": str(state.folder / "days")})
    assert sorted(tuple(row) for row in rows.select("a", "b", "day").collect()) == [(1, 10, 1), (2, 20, 2)]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("", r"is empty; expected a line with the names of the columns, and rows", id="empty"),
        pytest.param(
            "a;b\n1;2\n", r"has one column, 'a;b'; if ';' separates columns, set source.separator", id="separator"
        ),
        pytest.param("a,B,b\n1,2,3\n", r"columns 'B' and 'b' differ in case only", id="case"),
        pytest.param("a,b,a\n1,2,3\n", r"several columns are named 'a'", id="twice"),
        pytest.param("a,a1,A\x01B\n1,2,3\n", r"its first line is not text", id="binary"),
        pytest.param(
            "a,b\n1,2\n1,2,3\n", r"the record '1,2,3' in line 3 of .*csv has more or fewer values", id="record"
        ),
    ],
)
def test_a_csv_file_that_is_none_is_rejected(state: State, text: str, match: str) -> None:
    with state.refuses(match), sources.reading("the source"):
        collected(state.csv(text))


def test_names_that_end_with_their_place_are_taken(state: State) -> None:
    assert typed(state.csv("x0,x1,x2\n1,2,3\n")).columns == ["x0", "x1", "x2"]


def test_a_file_whose_name_is_a_pattern_is_rejected(state: State) -> None:
    source = folder_of(state, "a,b\n1,10\n")
    state.csv("b,a\n1,2\n", "a day/rows[1].csv")
    with state.refuses(r"rows\[1\].csv has one of .* in its name; rename the file"):
        typed(source)


def test_a_folder_without_a_file_is_rejected(state: State) -> None:
    with state.refuses("holds no file that can be read"):
        typed(folder_of(state))


def test_csv_files_with_different_columns_are_rejected(state: State) -> None:
    source = folder_of(state, "a,b\n1,10\n", "a,c\n2,20\n")
    with state.refuses(r"1 %.csv and .*0 %.csv differ in the columns b, c; expected the same columns in each file"):
        typed(source)


@pytest.mark.parametrize(
    ("text", "kept", "expected"),
    [
        ("1\n2\n", "double", "double"),
        ("1.5\n2\n", "long", "double"),
        ("1\n2\n", "string", "string"),
        ("1.0\n2\n", "long", "long"),
        ("2026-01-02\n", "timestamp", "timestamp"),
        ("2026-01-02 03:00\n", "date", "timestamp"),
        ("\n", "boolean", "boolean"),
    ],
)
def test_a_type_that_was_found_before_stays_if_it_holds_the_values(
    state: State, text: str, kept: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = state.csv("b,a\n" + "".join(f"x,{line}\n" for line in text.splitlines()))
    rows = typed(file, before={"a": kept, "b": "string"})
    assert schema.types_of(rows) == {"b": "string", "a": expected}
    assert ("types of columns: a " in capsys.readouterr().out) == (kept != expected)


@pytest.mark.parametrize(
    ("values", "kept", "expected"),
    [
        pytest.param([1, 2], None, "long", id="whole"),
        pytest.param([1.0, None], "long", "long", id="a missing value makes fractions"),
        pytest.param([1.5, None], "long", "double", id="fractions"),
        pytest.param([0.0, 1.0], None, "double", id="own type"),
        pytest.param(["1", "2"], "long", "long", id="text of whole numbers"),
        pytest.param(["1", "x"], "long", "string", id="text"),
        pytest.param(["1", "2"], None, "string", id="text stays text"),
    ],
)
def test_parquet_has_the_types_of_the_file_or_those_before(
    state: State, values: list[object], kept: str | None, expected: str
) -> None:
    file = state.folder / "rows.parquet"
    pd.DataFrame({"a": values}).to_parquet(file)
    rows = typed({"parquet": str(file)}, before={"a": kept} if kept else {})
    assert schema.types_of(rows) == {"a": expected}
    assert [None if row[0] is None else str(row[0]) for row in rows.collect()] == [
        None if value is None else str(int(value)) if expected == "long" else str(value)  # type: ignore[call-overload]
        for value in values
    ]


def parquet_folder(state: State, *frames: dict[str, list[object]]) -> dict[str, str]:
    (state.folder / "days").mkdir()
    for number, frame in enumerate(frames):
        pd.DataFrame(frame).to_parquet(state.folder / "days" / f"{number}.parquet")
    return {"parquet": str(state.folder / "days")}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([[1, 2], [3.0, None]], [1.0, 2.0, 3.0, None], id="a missing value makes fractions"),
        pytest.param([[None], [None]], [None, None], id="no value at all"),
        pytest.param([["x"], ["y", None], [None]], ["x", "y", None, None], id="no value"),
        pytest.param([[True], [False]], [True, False], id="the same"),
    ],
)
def test_parquet_files_may_have_types_of_their_own(
    state: State, values: list[list[object]], expected: list[object]
) -> None:
    frames: list[dict[str, list[object]]] = [{"a": part, "b": [1] * len(part)} for part in values]
    turned = (dict(reversed(frame.items())) if place % 2 else frame for place, frame in enumerate(frames))
    rows = typed(parquet_folder(state, *turned))
    assert rows.columns == ["a", "b"]
    assert sorted((row[0] for row in rows.collect()), key=repr) == sorted(expected, key=repr)


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        ({"a": [1]}, r"/1.parquet and /.*/0.parquet differ in the columns b; expected the same columns in each"),
        ({"a": [1], "b": [1], "c": [1]}, r"differ in the columns c; "),
        ({"a": ["x"], "b": [1]}, r"column 'a' is string in /.*/1.parquet and bigint in /.*/0.parquet; expected one"),
    ],
)
def test_parquet_files_that_differ_in_columns_or_kinds_are_rejected(
    state: State, frame: dict[str, list[object]], match: str
) -> None:
    with state.refuses(match):
        typed(parquet_folder(state, {"a": [1], "b": [2]}, frame))


@pytest.mark.parametrize("kind", ["double", "decimal(10,2)", "float"])
def test_classes_that_are_whole_numbers_are_whole_numbers(state: State, spark: Any, kind: str) -> None:
    path = str(state.folder / "rows.parquet")
    spark.sql(f"SELECT CAST(id AS {kind}) AS target FROM range(3)").write.parquet(path)
    assert sorted(collected({"parquet": path}, target="target")) == [(0,), (1,), (2,)]
    assert schema.types_of(typed({"parquet": path}, target="target")) == {"target": "long"}
