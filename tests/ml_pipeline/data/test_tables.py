from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from deltalake import DeltaTable

from ml_pipeline.data import batches, columns, hashing, sources, tables
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
    return batches.replace(rows, NAME, column="day", value=day)


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
def test_a_first_write_that_was_killed_before_its_commit_leaves_no_table(spark: SparkSession) -> None:
    Path(tables.where(NAME), "_delta_log").mkdir(parents=True)
    assert not tables.exists(NAME)
    rows = rows_of(spark, (1,), schema="id long")
    assert tables.replace(rows, NAME, digest(rows)).version == 0
    assert tables.exists(NAME)


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


@pytest.mark.parametrize(
    ("before", "later", "type_"),
    [
        ("CAST(1 AS INT)", "3000000000", "bigint"),
        ("1L", "1.5D", "double"),
        ("1.5D", "2", "double"),
        ("CAST(1.5 AS FLOAT)", "0.1D", "double"),
        ("1L", "'a1'", "string"),
        ("DATE '2026-01-02'", "'soon'", "string"),
        ("'x'", "1", "string"),
        ("1.5D", "NULL", "double"),
        ("1.50BD", "12.5BD", "decimal(4,2)"),
    ],
)
@pytest.mark.usefixtures("state")
def test_a_batch_of_a_wider_type_widens_the_table_in_its_commit(
    spark: SparkSession, capsys: pytest.CaptureFixture[str], before: str, later: str, type_: str
) -> None:
    batch(spark.sql(f"SELECT 1 AS id, {before} AS a, array(1) AS c"))
    narrow = tables.read(NAME).schema["a"].dataType.simpleString()
    expected = spark.sql(f"SELECT CAST({before} AS {type_}), CAST({later} AS {type_})").collect()[0]
    assert batch(spark.sql(f"SELECT 2 AS id, {later} AS a, array(2) AS c"), day="2026-01-03").version == 1
    assert tables.read(NAME).schema["a"].dataType.simpleString() == type_
    assert [tuple(row) for row in tables.read(NAME).select("id", "a", "c").sort("id").collect()] == [
        (1, expected[0], [1]),
        (2, expected[1], [2]),
    ]
    line = f"table {NAME}: column 'a' changes from {narrow} to {type_}\n"
    assert capsys.readouterr().out == ("" if narrow == type_ else line)
    # The same batch again, of the narrow type: the table stays as wide as it is.
    batch(spark.sql(f"SELECT 1 AS id, {before} AS a, array(1) AS c"))
    assert tables.read(NAME).schema["a"].dataType.simpleString() == type_
    assert tables.read(NAME).count() == 2


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
    batches.replace(rows, "local.test.batches", column="day", value=DAY)
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
    save = tables.save

    def overtaken(*arguments: Any) -> int | None:
        version = save(*arguments)
        other = rows.where("a = 1")
        other.write.format("delta").mode("overwrite").save(tables.where(NAME))
        return version

    monkeypatch.setattr(tables, "save", overtaken)
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


@pytest.mark.usefixtures("state")
def test_another_reader_finds_the_values_of_plain_columns(spark: SparkSession) -> None:
    name = "local.test.plain"
    for day in ("2026-01-02", "2026-01-03"):
        batches.replace(spark.sql("SELECT 1 AS a, 'x' AS b"), name, value=day)
    table = DeltaTable(tables.where(name))
    found = table.to_pyarrow_table(columns=["a", "b"]).to_pylist()
    assert found == [{"a": 1, "b": "x"}] * 2
    assert table.protocol().min_reader_version == 1


@pytest.mark.usefixtures("state")
def test_duckdb_and_polars_find_the_values(spark: SparkSession) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    name = "local.test.read_elsewhere"
    for day, later in (("2026-01-02", "1"), ("2026-01-03", "1.5")):
        rows = spark.sql(f"SELECT {later} AS a, 'x' AS b, TIMESTAMP '2026-01-02 03:04:05' AS c, true AS d")
        batches.replace(rows, name, value=day)
    expected = [("1", "x", True), ("1.5", "x", True)]
    found = polars.read_delta(tables.where(name)).sort("batch_date")
    assert [(str(a).removesuffix(".0"), b, d) for a, b, d in found.select("a", "b", "d").rows()] == expected
    # DuckDB's own reader of Delta is an extension that it downloads; this one hands it the table's files.
    dataset = DeltaTable(tables.where(name)).to_pyarrow_dataset()
    connection = duckdb.connect()
    connection.register("predictions", dataset)
    answer = connection.sql("SELECT a, b, d FROM predictions ORDER BY batch_date").fetchall()
    assert [(str(a).removesuffix(".0"), b, d) for a, b, d in answer] == expected


@pytest.mark.usefixtures("state")
def test_a_table_of_a_catalog_may_have_a_name_that_has_to_be_quoted(
    state: State, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Databricks, where a catalog may be called ``ml-prod``: Spark's own takes no hyphen, yet needs quotes."""
    monkeypatch.setattr(tables, "local_state", lambda: None)
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS `1e5` LOCATION '{state.folder}/1e5'")
    name = "1e5.2d"
    try:
        assert not tables.exists(name)
        rows = spark.createDataFrame([(1, "x"), (2, "y")], "id long, `na me` string")
        written = tables.replace(rows, name, hashing.Digest(2, "one"))
        assert (written.rows, tables.exists(name), tables.last_write(name)[0]) == (2, True, written.version)
        tables.delete(name, "id = 1")
        assert [row["id"] for row in tables.read(name).collect()] == [2]
        assert tables.read(name, version=written.version).count() == 2
    finally:
        spark.sql("DROP SCHEMA `1e5` CASCADE")


def test_a_table_takes_a_column_that_parquet_has_no_name_for(spark: SparkSession) -> None:
    name = "local.test.later"
    batches.replace(spark.sql("SELECT 1 AS a"), name, value="2026-01-02")
    batches.replace(spark.sql("SELECT 2 AS a, 3 AS `b (cm)`"), name, value="2026-01-03")
    batches.replace(spark.sql("SELECT 4 AS a, 5 AS `b (cm)`"), name, value="2026-01-03")
    assert sorted(tuple(row)[:2] for row in tables.read(name).select("a", "`b (cm)`").collect()) == [(1, None), (4, 5)]


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
