from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from deltalake import DeltaTable

from ml_pipeline.data import columns, hashing, sources, tables
from ml_pipeline.settings.pipeline import Source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from tests.ml_pipeline.conftest import State

pytestmark = pytest.mark.slow

NAME = "local.test.rows"
ODD_NAMES = ["a b", "c(d)", "e.f", "g,h", "i`j", "k;l", "ü=", "{m}"]
DAY = "2026-01-02"


def rows_of(spark: SparkSession, *rows: tuple[Any, ...], schema: str) -> DataFrame:
    return spark.createDataFrame(list(rows), schema)


def buckets(rows: DataFrame, *columns: str, salt: str = "test") -> list[float]:
    answered = rows.select(hashing.bucket(rows, list(columns) or rows.columns, salt=salt).alias("bucket"))
    return [row[0] for row in answered.collect()]


def digest(rows: DataFrame) -> hashing.Digest:
    from pyspark.sql import functions as F

    profiles = hashing.profile(rows, F.lit(True), columns=[], by=F.lit("all"), most=1)
    assert profiles
    return profiles[True].digest


def replace(rows: DataFrame, name: str = NAME) -> tables.Written:
    return tables.replace(rows, name, digest(rows))


def content(name: str = NAME) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in tables.read(name).collect()), key=repr)


def batch(rows: DataFrame, day: str = DAY) -> tables.Written:
    return tables.replace_batch(rows, NAME, column="day", value=day)


def test_a_bucket_depends_on_the_values_of_its_own_row_alone(spark: SparkSession) -> None:
    few = rows_of(spark, (1, "x"), (2, "y"), schema="a int, b string")
    more = rows_of(spark, (3, "z"), (2, "y"), (4, None), (1, "x"), schema="a int, b string").repartition(3)
    first, second = buckets(few)
    assert buckets(few) == [first, second]
    found = dict(zip([row[0] for row in more.collect()], buckets(more), strict=True))
    assert found[1] == first
    assert found[2] == second
    assert len(set(found.values())) == 4


def test_a_bucket_does_not_depend_on_the_order_of_columns(spark: SparkSession) -> None:
    rows = rows_of(spark, (1, "x"), (2, "y"), schema="a int, b string")
    assert buckets(rows, "a", "b") == buckets(rows, "b", "a") == buckets(rows.select("b", "a"))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param("a bigint", 1, id="long"),
        pytest.param("a double", 1.0, id="double"),
        pytest.param("a string", "1", id="text"),
        pytest.param("a string", " 1.0 ", id="text with a fraction"),
    ],
)
def test_a_bucket_stays_when_a_column_is_widened(spark: SparkSession, schema: str, value: object) -> None:
    narrow = rows_of(spark, (1,), schema="a int")
    assert buckets(rows_of(spark, (value,), schema=schema)) == buckets(narrow)
    assert buckets(rows_of(spark, (2,), schema="a int")) != buckets(narrow)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param("a timestamp", datetime.datetime(2026, 1, 2), id="timestamp"),  # noqa: DTZ001
        pytest.param("a timestamp_ntz", datetime.datetime(2026, 1, 2), id="timestamp without zone"),  # noqa: DTZ001
        pytest.param("a string", "2026-01-02", id="text"),
        pytest.param("a string", "2026-01-02T00:00:00.000Z", id="text of a time"),
    ],
)
def test_a_bucket_stays_when_a_column_of_dates_is_widened(spark: SparkSession, schema: str, value: object) -> None:
    narrow = rows_of(spark, (datetime.date(2026, 1, 2),), schema="a date")
    assert buckets(rows_of(spark, (value,), schema=schema)) == buckets(narrow)
    assert buckets(rows_of(spark, (datetime.date(2026, 1, 3),), schema="a date")) != buckets(narrow)


def test_a_time_without_a_date_is_text(state: State) -> None:
    file = state.folder / "times.csv"
    file.write_text("at,on,both\n12:30:00,2026-01-02,2026-01-02T12:30:00.5Z\n09:15,2026-01-03,2026-01-02 12:30\n")
    read = sources.read_source(Source(csv=str(file)))
    assert [field.dataType.simpleString() for field in read.schema] == ["string", "date", "timestamp"]
    assert [row["at"] for row in read.collect()] == ["12:30:00", "09:15"]


def test_nanoseconds_are_refused_with_what_to_do(state: State) -> None:
    file = state.folder / "rows.parquet"
    pd.DataFrame({"at": pd.to_datetime(["2026-01-02T03:04:05.123456789"])}).to_parquet(file)
    with state.refuses(rf"source parquet {file}: a column holds nanoseconds.*accepted: microseconds"):
        sources.read_source(Source(parquet=str(file)))


def test_a_bucket_tells_null_from_empty_and_not_zero_from_minus_zero(spark: SparkSession) -> None:
    null, empty = buckets(rows_of(spark, (None,), ("",), schema="a string"))
    assert null != empty
    zero, minus = buckets(rows_of(spark, (0.0,), (-0.0,), schema="a double"))
    assert zero == minus
    null, nan = buckets(rows_of(spark, (None,), (float("nan"),), schema="a double"))
    assert null != nan


def test_equal_rows_share_a_bucket(spark: SparkSession) -> None:
    rows = rows_of(spark, *[(1, "x")] * 5, (2, "x"), schema="a int, b string").repartition(4)
    assert len(set(buckets(rows))) == 2


def test_a_bucket_takes_every_type(spark: SparkSession) -> None:
    rows = spark.sql(
        "SELECT DATE'2026-01-02' AS day, TIMESTAMP'2026-01-02 03:04:05' AS at, CAST(1.50 AS DECIMAL(9, 2)) AS price, "
        "true AS flag, array(1, id) AS list, map('k', id) AS dict, named_struct('x', id) AS nested FROM range(2)"
    )
    first, second = buckets(rows)
    assert first != second
    assert all(0 <= bucket < 1 for bucket in (first, second))


def test_buckets_are_uniform_and_salts_independent(spark: SparkSession) -> None:
    rows = spark.range(20_000)
    test, validation = buckets(rows), buckets(rows, salt="validation")
    for found in (test, validation):
        assert all(0 <= bucket < 1 for bucket in found)
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            assert sum(low <= bucket < low + 0.2 for bucket in found) / len(found) == pytest.approx(0.2, abs=0.015)
    both = sum(mine < 0.2 and theirs < 0.2 for mine, theirs in zip(test, validation, strict=True))
    assert both / len(test) == pytest.approx(0.04, abs=0.008)


def test_replace_writes_nothing_where_the_rows_are_the_same(state: State, spark: SparkSession) -> None:
    rows = rows_of(spark, (1, "x"), (2, None), (2, None), schema="a int, b string")
    first = replace(rows)
    assert (first.changed, first.rows) == (True, 3)
    again = replace(rows.repartition(3))
    assert (again.changed, again.version) == (False, first.version)
    other_order = replace(rows.orderBy("a", ascending=False))
    assert (other_order.changed, other_order.version) == (False, first.version)
    assert state.folder in Path(tables.where(NAME)).parents
    assert tables.last_write(NAME) == (first.version, digest(rows).text)


@pytest.mark.parametrize(
    ("rows", "schema"),
    [
        pytest.param([(1, "x"), (2, "y"), (2, "y")], "a int, b string", id="a row is doubled"),
        pytest.param([(1, "x")], "a int, b string", id="a row is gone"),
        pytest.param([(1, "x"), (2, "z")], "a int, b string", id="a value"),
        pytest.param([(1, "x"), (2, None)], "a int, b string", id="a null"),
        pytest.param([(1, "y"), (2, "x")], "a int, b string", id="values change places"),
        pytest.param([(1, "x"), (2, "y")], "a int, c string", id="a column's name"),
        pytest.param([(1, "x"), (2, "y")], "a bigint, b string", id="a column's type"),
        pytest.param([(1, "x", None), (2, "y", None)], "a int, b string, c int", id="a column of nulls"),
    ],
)
def test_a_digest_tells_whatever_changed(spark: SparkSession, rows: list[tuple[Any, ...]], schema: str) -> None:
    before = digest(rows_of(spark, (1, "x"), (2, "y"), schema="a int, b string"))
    assert before == digest(rows_of(spark, (2, "y"), (1, "x"), schema="a int, b string"))
    assert before != digest(rows_of(spark, *rows, schema=schema))


@pytest.mark.usefixtures("state")
def test_replace_writes_what_changed_and_keeps_the_version_before(spark: SparkSession) -> None:
    before = replace(rows_of(spark, (1, "x"), (2, "y"), schema="a int, b string"))
    doubled = replace(rows_of(spark, (1, "x"), (2, "y"), (2, "y"), schema="a int, b string"))
    assert (doubled.changed, doubled.version) == (True, before.version + 1)
    assert content() == [(1, "x"), (2, "y"), (2, "y")]
    renamed = replace(rows_of(spark, (1.5, "x"), schema="a double, c string"))
    assert (renamed.changed, renamed.version) == (True, before.version + 2)
    assert tables.read(NAME).columns == ["a", "c"]
    assert content() == [(1.5, "x")]
    old = tables.read(NAME, version=before.version)
    assert sorted(tuple(row) for row in old.collect()) == [(1, "x"), (2, "y")]


@pytest.mark.usefixtures("state")
def test_replace_batch_replaces_exactly_its_batch(spark: SparkSession) -> None:
    other = datetime.date(2026, 1, 3)
    mine = datetime.date.fromisoformat(DAY)
    assert batch(rows_of(spark, (1, "x"), (2, "y"), schema="a int, b string")).rows == 2
    batch(rows_of(spark, (3, "z"), schema="a int, b string"), day=other.isoformat())
    assert content() == [(1, "x", mine), (2, "y", mine), (3, "z", other)]
    assert batch(rows_of(spark, (9, "n"), schema="a int, b string")).rows == 1
    assert content() == [(3, "z", other), (9, "n", mine)]
    batch(rows_of(spark, (4, "w", "new"), schema="a int, b string, c string"), day="2026-01-04")
    found = tables.read(NAME).select("a", "c").orderBy("a").collect()
    assert [tuple(row) for row in found] == [(3, None), (4, "new"), (9, None)]


def test_replace_batch_refuses_another_type_and_leaves_the_table(state: State, spark: SparkSession) -> None:
    batch(rows_of(spark, (1, 2.5), schema="a int, b double"))
    before = content()
    for day in (DAY, "2026-01-03"):
        with state.refuses(f"table {NAME}: the rows don't fit the batches before"):
            batch(rows_of(spark, (1, ["text"]), schema="a int, b array<string>"), day=day)
    assert content() == before
    assert tables.last_write(NAME)[0] == 0


@pytest.mark.usefixtures("state")
def test_any_column_name_goes_through_write_read_bucket_and_profile(spark: SparkSession) -> None:
    schema = ", ".join(f"{columns.quote(name)} int" for name in ODD_NAMES)
    rows = rows_of(spark, tuple(range(8)), tuple([None] * 7 + [8]), schema=schema)
    assert replace(rows).changed
    read = tables.read(NAME)
    assert read.columns == ODD_NAMES
    assert not replace(read).changed
    assert len(set(buckets(read))) == 2
    from pyspark.sql import functions as F

    profiles = hashing.profile(read, F.lit(False), columns=ODD_NAMES, by=read[columns.quote(ODD_NAMES[0])], most=2)
    assert profiles
    assert profiles[False].present == {**dict.fromkeys(ODD_NAMES[:-1], 1), ODD_NAMES[-1]: 2}
    frame = hashing.to_pandas(read, [F.col(columns.quote(name)) for name in ODD_NAMES], order_by=ODD_NAMES)
    assert list(frame.columns) == ODD_NAMES
    tables.replace_batch(rows, "local.test.batches", column="day", value=DAY)
    assert tables.read("local.test.batches").columns == [*ODD_NAMES, "day"]


def test_a_profile_tells_the_sides_apart_and_counts_what_has_a_value(spark: SparkSession) -> None:
    nan = float("nan")
    rows = rows_of(spark, (1, nan, "x"), (2, 0.5, None), (3, None, ""), schema="a int, b double, c string")
    profiles = hashing.profile(rows, rows["a"] > 1, columns=["b", "c"], by=rows["a"] % 2, most=2)
    assert profiles
    assert (profiles[False].digest.rows, profiles[True].digest.rows) == (1, 2)
    assert profiles[False].present == {"b": 0, "c": 1}
    assert profiles[True].present == {"b": 1, "c": 1}
    assert profiles[False].digest.hash != profiles[True].digest.hash
    assert (profiles[False].groups, profiles[True].groups) == ({1: 1}, {0: 1, 1: 1})


def test_a_profile_is_the_same_whatever_groups_its_rows_and_none_where_there_are_too_many(spark: SparkSession) -> None:
    rows = rows_of(spark, *[(i, f"t{i % 3}") for i in range(12)], schema="a int, b string")
    for by, groups in ((rows["a"], 12), (rows["b"], 3)):
        profiles = hashing.profile(rows, rows["a"] < 6, columns=["a"], by=by, most=groups)
        assert profiles
        assert [profiles[side].digest.text for side in (True, False)] == [
            digest(rows.where(part)).text for part in (rows["a"] < 6, rows["a"] >= 6)
        ]
        assert hashing.profile(rows, rows["a"] < 6, columns=["a"], by=by, most=groups - 1) is None


def test_tables_written_at_the_same_time_tell_their_own_versions(spark: SparkSession) -> None:
    rows = rows_of(spark, *[(i,) for i in range(4)], schema="a int")
    for last in range(3):
        parts = {
            "local.test.one": (rows.where(rows["a"] <= last), digest(rows.where(rows["a"] <= last))),
            "local.test.other": (rows, digest(rows)),
        }
        written = tables.replace_both(parts)
        assert written["local.test.one"] == tables.Written(rows=last + 1, version=last)
        assert written["local.test.other"] == tables.Written(rows=4, version=0, changed=last == 0)


def test_a_write_tells_the_version_that_holds_its_rows_though_another_was_committed_since(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(spark, (1,), (2,), schema="a int")
    save = tables._save

    def overtaken(*arguments: Any) -> int | None:
        version = save(*arguments)
        other = rows.where("a = 1")
        other.write.format("delta").mode("overwrite").save(tables.where(NAME))
        return version

    monkeypatch.setattr(tables, "_save", overtaken)
    written = replace(rows)
    assert tables.last_write(NAME) == (written.version + 1, "")
    assert tables.read(NAME, version=written.version).count() == 2


@pytest.mark.parametrize("order_by", [None, ["a"]], ids=["by the row", "by a column"])
def test_to_pandas_has_one_order_however_rows_are_partitioned(spark: SparkSession, order_by: list[str] | None) -> None:
    rows = rows_of(spark, *[(i % 40, f"t{i % 40}") for i in range(100)], schema="a int, b string")
    frames = [
        hashing.to_pandas(part, ["a", "b"], order_by=order_by)
        for part in (rows.coalesce(1), rows.repartition(7), rows.orderBy("b"), rows.orderBy("a", ascending=False))
    ]
    assert len(frames[0]) == 100
    for one, other in itertools.pairwise(frames):
        assert one.equals(other)


def test_to_pandas_takes_any_name(spark: SparkSession) -> None:
    rows = rows_of(spark, *[(i, -i) for i in range(20)], schema="__order int, `xxhash64(__order)` int")
    frame = hashing.to_pandas(rows, rows.columns, order_by=["__order"])
    assert list(frame.columns) == rows.columns
    assert sorted(frame["__order"]) == list(range(20)) == sorted(-frame["xxhash64(__order)"])
    assert list(frame["__order"]) != list(range(20))


def collected(source: dict[str, str]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in sources.read_source(Source(**source)).collect()]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        pytest.param("a,b\n1,x\n2,y\n", {}, [(1, "x"), (2, "y")], id="plain"),
        pytest.param('a,b\n1,"x, y"\n', {}, [(1, "x, y")], id="separator in quotes"),
        pytest.param('a,b\n1,"x\ny"\n2,z\n', {}, [(1, "x\ny"), (2, "z")], id="line end in quotes"),
        pytest.param('a,b\n1,"say ""hi"", he said"\n', {}, [(1, 'say "hi", he said')], id="doubled quotes"),
        pytest.param("a;b\n1,5;x\n", {"separator": ";"}, [("1,5", "x")], id="separator"),
        pytest.param("a\tb\n1\tx\n", {"separator": "\t"}, [(1, "x")], id="tab"),
        pytest.param("a,b\n1,x\nNA,NA\n", {"null_value": "NA"}, [(1, "x"), (None, None)], id="null value"),
        pytest.param("a,b\n1,\n,x\n", {}, [(1, None), (None, "x")], id="empty is null"),
        pytest.param("a, b\n1 ,  x\n", {}, [(1, "x")], id="spaces"),
        pytest.param("\ufeffa,b\n1,x\n", {}, [(1, "x")], id="byte order mark"),
        pytest.param("a,b\r\n1,x\r\n", {}, [(1, "x")], id="carriage returns"),
        pytest.param("a,b\n1.5,true\n", {}, [(1.5, True)], id="types"),
        pytest.param("a,b\n007,x\n7,y\n", {}, [("007", "x"), ("7", "y")], id="leading zeros"),
        pytest.param("a,b\n1,-01\n2,\n", {}, [(1, "-01"), (2, None)], id="leading zeros after a sign"),
        pytest.param("a,b\n1F,2d\n2f,3\n", {}, [("1F", "2d"), ("2f", "3")], id="Java's suffixes"),
        pytest.param("a,b\n0,0.5\n-10,1e3\n", {}, [(0, 0.5), (-10, 1000.0)], id="zeros in numbers"),
        pytest.param("a,b\n1,x", {}, [(1, "x")], id="no line end at the end"),
    ],
)
def test_csv(state: State, text: str, options: dict[str, str], expected: list[tuple[Any, ...]]) -> None:
    source = {**state.csv(text), **options}
    assert collected(source) == expected
    assert sources.read_source(Source(**source)).columns == ["a", "b"]  # type: ignore[arg-type]


def test_a_number_that_a_model_takes_is_one_however_it_is_written(state: State) -> None:
    source = Source(**state.csv("a,b\n007,01\n8,1\n"))  # type: ignore[arg-type]
    rows = sources.read_source(source, kinds={"a": "double"})
    assert [tuple(row) for row in rows.collect()] == [(7, "01"), (8, "1")]


def test_a_folder_of_csv_files(state: State) -> None:
    (state.folder / "day").mkdir()
    state.csv("a,b\n1,x\n", "day/1.csv")
    state.csv("a,b\n2,y\n", "day/2.csv")
    assert sorted(collected({"csv": str(state.folder / "day")})) == [(1, "x"), (2, "y")]


@pytest.mark.usefixtures("state")
def test_another_reader_finds_the_values_of_plain_columns(spark: SparkSession) -> None:
    name = "local.test.plain"
    for day in ("2026-01-02", "2026-01-03"):
        tables.replace_batch(spark.sql("SELECT 1 AS a, 'x' AS b"), name, value=day)
    table = DeltaTable(tables.where(name))
    found = table.to_pyarrow_table(columns=["a", "b"]).to_pylist()
    assert found == [{"a": 1, "b": "x"}] * 2
    assert table.protocol().min_reader_version == 1


@pytest.mark.usefixtures("state")
def test_a_table_takes_a_column_that_parquet_has_no_name_for(spark: SparkSession) -> None:
    name = "local.test.later"
    tables.replace_batch(spark.sql("SELECT 1 AS a"), name, value="2026-01-02")
    tables.replace_batch(spark.sql("SELECT 2 AS a, 3 AS `b (cm)`"), name, value="2026-01-03")
    tables.replace_batch(spark.sql("SELECT 4 AS a, 5 AS `b (cm)`"), name, value="2026-01-03")
    assert sorted(tuple(row)[:2] for row in tables.read(name).select("a", "`b (cm)`").collect()) == [(1, None), (4, 5)]


def folder_of(state: State, *texts: str) -> dict[str, str]:
    (state.folder / "a day").mkdir()
    for number, text in enumerate(texts):
        state.csv(text, f"a day/{number} %.csv")
    return {"csv": str(state.folder / "a day")}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(["a,b\n1,10\n", "b,a\n20,2\n"], [(1, 10), (2, 20)], id="another order"),
        pytest.param(
            ["a,b\n1,10\n", "b,a\n2.5,2\n", "", "a,b\n3,3\n"], [(1, 10.0), (2, 2.5), (3, 3.0)], id="fractions"
        ),
        pytest.param(["a,b\n1,10\n", "b,a\nx,2\n"], [(1, "10"), (2, "x")], id="text"),
        pytest.param(["a,b\n1,01\n", "b,a\nx,2\n"], [(1, "01"), (2, "x")], id="leading zeros"),
        pytest.param(["\ufeffa,b\r\n1,x\r\n", "b,a\ny,2\n"], [(1, "x"), (2, "y")], id="byte order mark"),
        pytest.param(["a,b\n1,30000000000\n", "b,a\n1,2\n"], [(1, 30000000000), (2, 1)], id="long"),
    ],
)
def test_columns_of_csv_files_count_by_name(state: State, texts: list[str], expected: list[tuple[Any, ...]]) -> None:
    source = folder_of(state, *texts)
    assert sorted(collected(source)) == expected
    typed = sources.read_source(Source(**source), kinds={"a": "string"})  # type: ignore[arg-type]
    assert sorted(typed.select("a").collect()) == [(str(a),) for a, _ in expected]


def test_folders_of_csv_files_that_name_a_column(state: State) -> None:
    for day, text in ((1, "a,b\n1,10\n"), (2, "b,a\n20,2\n")):
        (state.folder / "days" / f"day={day}").mkdir(parents=True)
        state.csv(text, f"days/day={day}/rows.csv")
    rows = sources.read_source(Source(csv=str(state.folder / "days")))
    assert sorted(tuple(row) for row in rows.select("a", "b", "day").collect()) == [(1, 10, 1), (2, 20, 2)]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("", r"is empty; expected a line with the names of the columns, and rows", id="empty"),
        pytest.param(
            "a;b\n1;2\n", r"has one column, 'a;b'; if ';' separates columns, set source.separator", id="separator"
        ),
        pytest.param("a,b,a\n1,2,3\n", r"several columns are named 'a'", id="twice"),
        pytest.param("a,a1,A\x01B\n1,2,3\n", r"holds bytes that are not text", id="binary"),
        pytest.param("a,b\n1,2\n1,2,3\n", r"the record '1,2,3' has more or fewer values than the header", id="record"),
    ],
)
def test_a_csv_file_that_is_none_is_rejected(state: State, text: str, match: str) -> None:
    with state.refuses(match), sources.reading("the source"):
        collected(state.csv(text))


def test_names_that_end_with_their_place_are_taken(state: State) -> None:
    source = state.csv("x0,x1,x2\n1,2,3\n")
    assert sources.read_source(Source(**source)).columns == ["x0", "x1", "x2"]  # type: ignore[arg-type]


def test_a_folder_without_a_file_is_rejected(state: State) -> None:
    with state.refuses("holds no file that can be read"):
        sources.read_source(Source(**folder_of(state)))  # type: ignore[arg-type]


def test_csv_files_with_different_columns_are_rejected(state: State) -> None:
    source = folder_of(state, "a,b\n1,10\n", "a,c\n2,20\n")
    with state.refuses(r"1 %.csv and .*0 %.csv differ in the columns b, c; accepted: the same columns in each file"):
        sources.read_source(Source(**source))  # type: ignore[arg-type]


def test_parquet_and_delta_sources(state: State, spark: SparkSession) -> None:
    rows = rows_of(spark, (1, "x"), (2, None), schema="a int, `b c` string")
    path = str(state.folder / "rows.parquet")
    rows.write.parquet(path)
    replace(rows)
    for source in ({"parquet": path}, {"table": NAME}, {"table": tables.where(NAME)}):
        assert sorted(collected(source), key=repr) == [(1, "x"), (2, None)]


@pytest.mark.usefixtures("state")
def test_a_scikit_learn_source() -> None:
    rows = sources.read_source(Source(sklearn="wine"))
    assert rows.count() == 178
    assert "target" in rows.columns


@pytest.mark.parametrize("kind", ["csv", "parquet", "table"])
def test_an_absent_source_is_refused_by_name(state: State, kind: str) -> None:
    path = str(state.folder / "absent folder" / f"rows.{kind}")
    with state.refuses(rf"{kind}.*absent folder.*no such"):
        collected({kind: path})


def test_an_absent_table_is_refused_by_name(state: State) -> None:
    with state.refuses(r"table local\.test\.absent: there is no such Delta table"):
        collected({"table": "local.test.absent"})


def test_what_is_no_parquet_is_refused(state: State) -> None:
    path = state.csv("a,b\n1,x\n")["csv"]
    with state.refuses("source parquet "):
        collected({"parquet": path})


def test_what_is_no_delta_table_is_refused(state: State) -> None:
    path = state.csv("a,b\n1,x\n")["csv"]
    with state.refuses("there is no such Delta table"):
        collected({"table": path})
