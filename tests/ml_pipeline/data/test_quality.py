from __future__ import annotations

import datetime
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_pipeline.data import quality, schema
from ml_pipeline.data.columns import Reading
from ml_pipeline.data.quality import Checked
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.names import REASONS
from ml_pipeline.settings.pipeline import Checks, ColumnCheck

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

pytestmark = pytest.mark.slow

WHERE = "source csv today.csv"
NAN, INF = float("nan"), float("inf")


def checks(columns: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> Checks:
    return Checks.model_validate({"columns": columns or {}, **more})


def frame(spark: SparkSession, schema: str, *rows: tuple[object, ...]) -> DataFrame:
    return spark.createDataFrame(list(rows), schema)


def one(spark: SparkSession, type_: str, check: Mapping[str, Any], *values: object) -> list[list[str] | None]:
    """The reasons of each value of a column ``a``, without the column's name, in the values' order."""
    rows = frame(spark, f"place int, a {type_}", *enumerate(values)).coalesce(1)
    found = hold(rows, checks({"a": check})).rows.sort("place").collect()
    return [row[REASONS] and [reason.removeprefix("a: ") for reason in row[REASONS]] for row in found]


def hold(rows: DataFrame, each: Checks) -> Checked:
    """Check rows whose columns have the types that the checks declare, or else their own."""
    types = schema.types_of(rows) | {name: one.type for name, one in each.columns.items() if one.type}
    return quality.check(rows, each, {name: Reading(type_) for name, type_ in types.items()}, where=WHERE)


JAVA = {"inf": "Infinity", "-inf": "-Infinity", "1e+39": "1.0E39", "nan": "NaN"}
"""Numbers as Spark writes them."""


def said(value: object) -> str:
    """A row as text: NaN is equal to itself then, and 1 is not 1.0."""
    return repr(value)


DAILY = checks(
    {
        "length": {"type": "double", "required": True, "minimum": 0, "maximum": 10},
        "age": {"type": "long", "minimum": 0, "maximum": 120},
        "species": {"accepted": ["setosa", "virginica"]},
        "active": {"type": "boolean"},
        "born": {"type": "date"},
        "weight": {"maximum": 500},
    },
    unique=["id"],
)
DAILY_SCHEMA = (
    "id bigint, length string, age string, species string, active string, born string, weight double, `a.b (c)` int"
)
GOOD = ("5.1", "42", "setosa", "true", "1984-02-29", 70.5, 1)
FAULTS: list[tuple[dict[int, object], list[str]]] = [
    ({0: None}, ["length: no value, required"]),
    ({0: "NaN"}, ["length: no value, required"]),
    ({0: "  "}, ["length: no value, required"]),
    ({0: "5,1"}, ["length: '5,1' is not a double"]),
    ({0: "-0.1"}, ["length: -0.1 is below minimum 0"]),
    ({0: "99.0"}, ["length: 99.0 is above maximum 10"]),
    ({0: "Infinity"}, ["length: Infinity is not a finite number of 32 bits"]),
    ({1: "abc"}, ["age: 'abc' is not a long"]),
    ({1: "4.5"}, ["age: '4.5' is not a long"]),
    ({1: "-1"}, ["age: -1 is below minimum 0"]),
    ({1: "121"}, ["age: 121 is above maximum 120"]),
    ({2: "versicolor"}, ["species: 'versicolor' is not one of 'setosa', 'virginica'"]),
    ({2: "Setosa"}, ["species: 'Setosa' is not one of 'setosa', 'virginica'"]),
    ({3: "maybe"}, ["active: 'maybe' is not a boolean"]),
    ({4: "2026-02-29"}, ["born: '2026-02-29' is not a date"]),
    ({4: "soon"}, ["born: 'soon' is not a date"]),
    ({5: -INF}, ["weight: -Infinity is not a finite number of 32 bits"]),
    ({5: 500.5}, ["weight: 500.5 is above maximum 500"]),
    (
        {0: None, 1: "x", 2: "y", 3: "z", 4: "2026-13-01", 5: 1e39},
        [
            "length: no value, required",
            "age: 'x' is not a long",
            "species: 'y' is not one of 'setosa', 'virginica'",
            "active: 'z' is not a boolean",
            "born: '2026-13-01' is not a date",
            "weight: 1.0E39 is above maximum 500",
        ],
    ),
    # It gets the key of the row before.
    ({}, []),
]


def test_ten_thousand_rows_of_which_a_hundred_are_bad(spark: SparkSession) -> None:
    rows: list[tuple[object, ...]] = []
    expected: dict[int, list[str]] = {}
    for place in range(10_000):
        changes: dict[int, object] = {}
        if place % 100 == 7:
            changes, expected[place] = FAULTS[place // 100 % len(FAULTS)]
        rows.append((place, *(changes.get(index, value) for index, value in enumerate(GOOD))))
    for place in [place for place, reasons in expected.items() if not reasons]:
        rows[place] = (place - 1, *rows[place][1:])
        expected[place] = expected[place - 1] = ["unique (id): shared by 2 rows"]
    source = frame(spark, f"place int, {DAILY_SCHEMA}", *((place, *row) for place, row in enumerate(rows)))

    checked = hold(source, DAILY)
    verdict = checked.judge(DAILY.max_quarantine_share, where=WHERE)

    assert verdict is not None
    failed = checked.bad.collect()
    assert {int(row["place"]): row[REASONS] for row in failed} == expected
    assert {int(row["place"]): tuple(row)[1:-1] for row in failed} == {
        place: tuple(None if value is None else JAVA.get(str(value), str(value)) for value in rows[place])
        for place in expected
    }
    passed = {row["place"]: tuple(row)[1:] for row in checked.good.collect()}
    typed = (5.1, 42, "setosa", True, datetime.date(1984, 2, 29), 70.5, 1)
    assert passed == {place: (place, *typed) for place in range(10_000) if place not in expected}
    assert (verdict.rows, verdict.failed) == (10_000, len(expected))
    assert sum(verdict.reasons.values()) == sum(map(len, expected.values()))
    assert verdict.reasons["length: no value, required"] == 20
    assert verdict.reasons["unique (id)"] == 10
    assert "length: is above maximum 10 (5)" in str(quality.QualityResult(1, 1, {"length: is above maximum 10": 5}))


@pytest.mark.parametrize(
    ("type_", "declared", "good", "bad"),
    [
        (
            "string",
            "long",
            [" 7 ", "+7", "-7", "7.0", "7.", "9223372036854775807"],
            ["7.5", "1e2", "0x7", "7 7", "9223372036854775808", "inf", "\u0667"],
        ),
        (
            "string",
            "double",
            ["7", " 7.5", ".5", "-1e-3", "7.", "1E5"],
            ["7,5", "1d", "1f", "0x1p3", "1e", "e5", "--1"],
        ),
        ("string", "boolean", ["true", "FALSE", "t", "no", "1", "0"], ["maybe", "2", "truee"]),
        (
            "string",
            "date",
            ["2026-01-02", " 2026-1-2 ", "0001-01-01", "9999-12-31"],
            ["2026", "2026-02-30", "02.01.2026", "2026-01-02 x", "12026-01-02", "2026-00-01"],
        ),
        (
            "string",
            "timestamp",
            [
                "2026-01-02",
                "2026-01-02 03:04:05.678",
                "2026-01-02T03:04:05Z",
                "0001-01-01 00:00:00",
                "9999-12-31 23:59:59",
            ],
            ["12:30", "2026-01-02 25:00:00", "2026-01-02 x", "now"],
        ),
        ("string", "string", ["", " ", "x", "NaN"], []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_text_that_is_a_value_of_the_type_is_good(
    spark: SparkSession, type_: str, declared: str, good: list[str], bad: list[str]
) -> None:
    found = one(spark, type_, {"type": declared, "required": True}, *good, *bad)

    assert found == [None] * len(good) + [[f"{value!r} is not a {declared}"] for value in bad]


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        ("long", " 7.0 ", 7),
        ("long", "-9007199254740993", -9007199254740993),
        ("double", "1e3", 1000.0),
        ("boolean", "Yes", True),
        ("date", " 2026-1-2", datetime.date(2026, 1, 2)),
        ("timestamp", "2026-01-02 03:04:05", datetime.datetime(2026, 1, 2, 3, 4, 5)),  # noqa: DTZ001
        ("string", " as it is ", " as it is "),
        ("long", "", None),
        ("date", " ", None),
        ("double", "nan", None),
    ],
)
def test_a_good_row_carries_the_declared_type(spark: SparkSession, declared: str, text: str, value: object) -> None:
    declared_checks = checks({"a": {"type": declared}})
    rows = frame(spark, "a string, b int", (text, 1))

    checked = hold(rows, declared_checks)

    (row,) = checked.good.collect()
    assert row["a"] == value or (value is None and math.isnan(row["a"]))
    assert checked.good.columns == ["a", "b"]


@pytest.mark.parametrize(
    ("type_", "declared", "values", "expected"),
    [
        ("int", "long", [1, None], [None, None]),
        (
            "double",
            "long",
            [1.0, 1.5, NAN, INF, 1e19, 2.0**53],
            [None, ["1.5 is not a long"], None, ["Infinity is not a long"], ["1.0E19 is not a long"], None],
        ),
        ("decimal(20,2)", "long", [1, None], [None, None]),
        ("float", "double", [0.5, INF, NAN], [None, ["Infinity is not a finite number of 32 bits"], None]),
        ("bigint", "double", [1, 2**62], [None, None]),
        ("int", "string", [7, None], [None, None]),
        ("boolean", "boolean", [True, None], [None, None]),
    ],
)
def test_numbers_are_read_as_the_declared_type(
    spark: SparkSession, type_: str, declared: str, values: list[object], expected: list[object]
) -> None:
    from decimal import Decimal

    given_ = [Decimal(value) if type_.startswith("decimal") and isinstance(value, int) else value for value in values]

    assert one(spark, type_, {"type": declared}, *given_) == expected


@pytest.mark.parametrize(
    ("type_", "check", "values", "expected"),
    [
        (
            "double",
            {"minimum": 0, "maximum": 1},
            [0.0, 1.0, -0.0, NAN, None, 1.5],
            [None] * 5 + [["1.5 is above maximum 1"]],
        ),
        (
            "double",
            {"minimum": 0},
            [INF, -INF],
            [["Infinity is not a finite number of 32 bits"], ["-Infinity is not a finite number of 32 bits"]],
        ),
        (
            "double",
            {},
            [INF, 3.4e38, 3.5e38, NAN],
            [["Infinity is not a finite number of 32 bits"], None, ["3.5E38 is not a finite number of 32 bits"], None],
        ),
        (
            "double",
            {"maximum": 1e300},
            [1e200, 1e301],
            [["1.0E200 is not a finite number of 32 bits"], ["1.0E301 is above maximum 1e+300"]],
        ),
        ("double", {"accepted": [0, 0.5]}, [0.0, 0.5, None, 0.25], [None, None, None, ["0.25 is not one of 0, 0.5"]]),
        ("double", {"required": True}, [0.0, NAN, None], [None, ["no value, required"], ["no value, required"]]),
        (
            "bigint",
            {"minimum": 0.5, "maximum": 2.5},
            [0, 1, 2, 3, None],
            [["0 is below minimum 0.5"], None, None, ["3 is above maximum 2.5"], None],
        ),
        (
            "bigint",
            {"maximum": 9007199254740992},
            [9007199254740992, 9007199254740993],
            [None, ["9007199254740993 is above maximum 9007199254740992"]],
        ),
        ("int", {"accepted": [1, 2.0]}, [1, 2, 3], [None, None, ["3 is not one of 1, 2.0"]]),
        (
            "int",
            {"minimum": 5, "accepted": [7]},
            [1, 7, 8],
            [["1 is below minimum 5", "1 is not one of 7"], None, ["8 is not one of 7"]],
        ),
        (
            "boolean",
            {"accepted": [True], "required": True},
            [True, False, None],
            [None, ["false is not one of true"], ["no value, required"]],
        ),
        (
            "string",
            {"accepted": ["a", ""]},
            ["a", "", None, "A", "a "],
            [None, None, None, ["'A' is not one of 'a', ''"], ["'a ' is not one of 'a', ''"]],
        ),
        ("string", {"required": True}, ["", None], [None, ["no value, required"]]),
        (
            "string",
            {"type": "date", "accepted": ["2026-01-02"]},
            ["2026-1-2", "2026-01-03"],
            [None, ["'2026-01-03' is not one of '2026-01-02'"]],
        ),
        ("date", {"required": True}, [datetime.date(1, 1, 1), None], [None, ["no value, required"]]),
        ("array<int>", {"required": True}, [[1], [], None], [None, None, ["no value, required"]]),
        ("map<string,int>", {"required": True}, [{"x": 1}, None], [None, ["no value, required"]]),
        ("binary", {"required": True}, [b"x", None], [None, ["no value, required"]]),
        ("string", {"accepted": ["a"]}, ["x" * 1000], [[f"'{'x' * 60}'... is not one of 'a'"]]),
        (
            "string",
            {"accepted": list("abcdefghijkl")},
            ["l", "m"],
            [None, [f"'m' is not one of {str(list('abcdefghij'))[1:-1]}, ..."]],
        ),
    ],
)
def test_a_value_is_checked_as_its_column_asks(
    spark: SparkSession, type_: str, check: dict[str, Any], values: list[object], expected: list[object]
) -> None:
    assert one(spark, type_, check, *values) == expected


def test_every_row_that_shares_a_key_fails(spark: SparkSession) -> None:
    rows = frame(
        spark,
        "place int, id string, day double",
        *[(0, "1", 1.0), (1, "1.0", 1.0), (2, "1", 2.0), (3, None, 1.0), (4, None, 1.0), (5, "1", NAN), (6, "1", NAN)],
        *[(7, "x", 1.0), (8, "x", 1.0), (9, " 1", -0.0), (10, "1", 0.0), (11, "1", -0.0)],
    ).repartition(4)
    found = hold(rows, checks({"id": {"type": "long"}}, unique=["id", "day"]))

    shared = "unique (id, day): shared by {} rows"
    assert {row["place"]: row[REASONS] for row in found.rows.collect() if row[REASONS]} == {
        **{place: [shared.format(2)] for place in (0, 1)},
        **{place: ["id: 'x' is not a long"] for place in (7, 8)},
        **{place: [shared.format(3)] for place in (9, 10, 11)},
    }


def test_a_required_key_that_is_missing_fails_for_that(spark: SparkSession) -> None:
    rows = frame(spark, "id int", (None,), (None,), (1,))
    found = hold(rows, checks({"id": {"required": True}}, unique=["id"])).rows.collect()

    assert sorted(str(row[REASONS]) for row in found) == ["None"] + ["['id: no value, required']"] * 2


def test_a_key_alone_needs_no_python(spark: SparkSession) -> None:
    checked = hold(frame(spark, "id int", (1,), (1,), (2,)), checks(unique=["id"]))

    assert "EvalPython" not in plan(checked.rows)
    assert sorted(str(row[REASONS]) for row in checked.rows.collect()) == [
        "None",
        *["['unique (id): shared by 2 rows']"] * 2,
    ]


def plan(rows: DataFrame) -> str:
    return str(rows._jdf.queryExecution().executedPlan().toString())


def test_without_checks_nothing_is_added(spark: SparkSession) -> None:
    rows = frame(spark, "a int, b string", (1, "x"))
    none = checks({"a": {}})

    checked = hold(rows, none)

    assert checked.rows is rows
    assert checked.judge(none.max_quarantine_share, where=WHERE) is None
    assert not checked.any


ODD = ["a b", "c.d", "e`f", "g(h)", "ö", "i,j;{}=", "value0", "select", "x\\y", "it's", '"q"', "k: is not a long"]


def test_columns_of_any_name_are_checked_and_passed_on(spark: SparkSession) -> None:
    quoted = ", ".join(f"`{name.replace('`', '``')}` string" for name in ODD)
    rows = frame(spark, quoted, tuple("1" for _ in ODD), tuple("x" for _ in ODD), tuple("1" for _ in ODD))
    each = checks({name: {"type": "long"} for name in ODD[::2]}, unique=ODD, max_quarantine_share=1.0)

    checked = hold(rows, each)
    bad = {row["a b"]: tuple(row) for row in checked.bad.collect()}

    shared = f"unique ({', '.join(ODD)}): shared by 2 rows"
    assert bad == {
        "1": (*["1"] * len(ODD), [shared]),
        "x": (*["x"] * len(ODD), [f"{name}: 'x' is not a long" for name in ODD[::2]]),
    }
    assert checked.rows.columns == [*ODD, REASONS]
    assert checked.good.columns == ODD
    assert checked.good.dtypes[0] == ("a b", "bigint")


def test_columns_that_no_check_names_are_as_they_came(spark: SparkSession) -> None:
    rows = spark.sql(
        "SELECT '7' AS a, CAST(NULL AS BIGINT) AS i, CAST(1.10 AS DECIMAL(38,18)) AS d,"
        " TIMESTAMP '0001-01-01 00:00:00' AS t,"
        " DATE '9999-12-31' AS day, array(1, NULL) AS l, map('k', double('NaN')) AS m, struct(1L AS x) AS s,"
        " X'00FF' AS bytes, TIMESTAMP_NTZ '9999-12-31 23:59:59.999999' AS ntz, INTERVAL '1' DAY AS span"
    )
    long = checks({"a": {"type": "long"}})

    good = hold(rows, long).good

    assert good.dtypes == [("a", "bigint"), *rows.dtypes[1:]]
    compared = [name for name in rows.columns[1:] if name != "ntz"]
    assert good.selectExpr(*[f"to_json(struct({name}))" for name in compared], "string(ntz)").collect() == (
        rows.selectExpr(*[f"to_json(struct({name}))" for name in compared], "string(ntz)").collect()
    )


def test_no_rows_are_no_failure(spark: SparkSession) -> None:
    some = checks({"a": {"required": True}}, unique=["a"], max_quarantine_share=0.0)
    checked = hold(frame(spark, "a int"), some)

    assert checked.judge(some.max_quarantine_share, where=WHERE) == quality.QualityResult(0, 0, {})


NUMBERS = "byte, short, integer, long, float, double, decimal, string"


@pytest.mark.parametrize(
    ("type_", "check", "message"),
    [
        ("array<int>", {"type": "long"}, f"array<int>, which can't be read as long; accepted: {NUMBERS}"),
        (
            "date",
            {"type": "double"},
            f"date, which can't be read as double; accepted: {NUMBERS.replace('string', 'boolean, string')}",
        ),
        (
            "date",
            {"type": "boolean"},
            f"date, which can't be read as boolean; accepted: boolean, {NUMBERS}",
        ),
        (
            "boolean",
            {"type": "date"},
            "boolean, which can't be read as date; accepted: date, timestamp, timestamp_ntz, string",
        ),
        (
            "string",
            {"minimum": 1},
            "string, which has no minimum and maximum; accepted: a number, or text with type = 'long' or 'double'",
        ),
        ("double", {"accepted": ["x"]}, "double, to be compared as double, which 'x' is not; accepted: numbers"),
        ("int", {"accepted": [1.5]}, "int, to be compared as long, which 1.5 is not; accepted: whole numbers"),
        ("int", {"accepted": [True]}, "int, to be compared as long, which True is not; accepted: whole numbers"),
        ("string", {"accepted": [1]}, "string, to be compared as string, which 1 is not; accepted: text"),
        (
            "date",
            {"accepted": ["2026-1-2"]},
            "date, to be compared as date, which '2026-1-2' is not; accepted: text such as '2026-01-02'",
        ),
        (
            "array<int>",
            {"accepted": ["x"]},
            "array<int>, to be compared as other, which 'x' is not; accepted: no list of values",
        ),
    ],
)
def test_a_check_that_a_column_does_not_allow_is_refused(
    spark: SparkSession, type_: str, check: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        hold(frame(spark, f"a {type_}"), checks({"a": check}))

    assert str(caught.value) == f"checks.columns.a: column 'a' of {WHERE} is {message}"


@pytest.mark.parametrize(
    ("schema", "each", "message"),
    [
        ("a int, b int", {"columns": {"c": {}}}, f"checks.columns.c: {WHERE} has no column 'c'; accepted: a, b"),
        ("a int, b int", {"unique": ["a", "c"]}, f"checks.unique: {WHERE} has no column 'c'; accepted: a, b"),
        ("a int", {"columns": {"A": {}}}, f"checks.columns.A: {WHERE} has no column 'A'; accepted: a"),
        (
            "a map<string,int>",
            {"unique": ["a"]},
            f"checks.unique: column 'a' of {WHERE} is map<string,int>; accepted: numbers, text, booleans, times",
        ),
        (
            f"a int, {REASONS.upper()} int",
            {"unique": ["a"]},
            f"{WHERE}: column 'quarantine_reasons' has the name of one that the checks add; rename it",
        ),
    ],
)
def test_a_column_that_is_not_there_or_not_fit_is_refused(
    spark: SparkSession, schema: str, each: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        hold(frame(spark, schema), checks(**each))

    assert str(caught.value) == message


@pytest.mark.parametrize(("share", "passes"), [(0.1, True), (0.0999, False), (0.0, False), (1.0, True)])
def test_a_batch_stops_past_the_share_and_not_at_it(spark: SparkSession, share: float, passes: bool) -> None:
    rows = frame(spark, "a double, b string", *[(1.0, "x")] * 27, (9.0, "x"), (8.0, None), (9.0, None))
    some = checks({"a": {"maximum": 5}, "b": {"required": True}}, max_quarantine_share=share)
    checked = hold(rows, some)

    if passes:
        assert checked.judge(some.max_quarantine_share, where=WHERE) == quality.QualityResult(
            30, 3, {"a: is above maximum 5": 3, "b: no value, required": 2}
        )
        return
    with pytest.raises(CheckFailedError) as caught:
        checked.judge(some.max_quarantine_share, where=WHERE)
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"{WHERE}: 10.00% are too many, max_quarantine_share is {share:.2%}: 3 of 30 rows failed their checks: "
        "a: is above maximum 5 (3), b: no value, required (2); "
        "such as: a: 8.0 is above maximum 5, b: no value, required"
    )


def test_a_file_that_can_not_be_read_is_told(spark: SparkSession, tmp_path: Any) -> None:
    (tmp_path / "rows.parquet").write_text("no parquet")
    rows = spark.read.schema("a int").parquet(str(tmp_path))
    some = checks({"a": {"required": True}})

    with pytest.raises(InputError, match=re.escape(f"{WHERE}: can't be read: ")):
        hold(rows, some).judge(some.max_quarantine_share, where=WHERE)


DOUBLE = re.compile(r"[+-]?(inf|infinity|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)", re.IGNORECASE | re.ASCII)
LONG = re.compile(r"([+-]?\d+)(\.0*)?", re.ASCII)
numbers = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "nan", "inf", "-Infinity", "1e39", "5.0", "5.5", "abc", "1d", "10", "10.5", "-1", "1_0"]),
    st.integers(-20, 20).map(str),
    st.floats(-20, 20).map(repr),
    st.text("0123456789.e+- dfx", max_size=6),
)


def expected_double(text: str | None, check: ColumnCheck) -> list[str]:
    bare = (text or "").strip(" ")
    if bare.lower() in ("", "nan"):
        return ["a: no value, required"] if check.required else []
    if not DOUBLE.fullmatch(bare):
        return [f"a: {text!r} is not a double"]
    value = float(bare)
    if math.isinf(value):
        return [f"a: {bare} is not a finite number of 32 bits"]
    if check.minimum is not None and value < check.minimum:
        return [f"a: {bare} is below minimum {check.minimum:g}"]
    if check.maximum is not None and value > check.maximum:
        return [f"a: {bare} is above maximum {check.maximum:g}"]
    return [f"a: {bare} is not a finite number of 32 bits"] if abs(value) > 3.4028235e38 else []


def expected_long(text: str | None, check: ColumnCheck) -> list[str]:
    bare = (text or "").strip(" ")
    if bare.lower() in ("", "nan"):
        return ["b: no value, required"] if check.required else []
    found = LONG.fullmatch(bare)
    if not found or not -(2**63) <= int(found[1]) < 2**63:
        return [f"b: {text!r} is not a long"]
    value, reasons = int(found[1]), []
    if check.minimum is not None and value < check.minimum:
        reasons.append(f"b: {bare} is below minimum {check.minimum:g}")
    if check.maximum is not None and value > check.maximum:
        reasons.append(f"b: {bare} is above maximum {check.maximum:g}")
    if check.accepted and value not in check.accepted:
        reasons.append(f"b: {bare} is not one of {', '.join(map(repr, check.accepted))}")
    return reasons


bound = st.none() | st.integers(-12, 12).map(float)


@st.composite
def column_checks(draw: st.DrawFn, type_: str) -> ColumnCheck:
    least, greatest = draw(bound), draw(bound)
    if least is not None and greatest is not None and least > greatest:
        least, greatest = greatest, least
    accepted = draw(st.none() | st.lists(st.integers(-5, 5), min_size=1, max_size=5)) if type_ == "long" else None
    values = {"type": type_, "required": draw(st.booleans()), "minimum": least, "maximum": greatest}
    return ColumnCheck.model_validate({**values, "accepted": accepted})


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.tuples(numbers, numbers, st.none() | st.integers(0, 30)), max_size=60),
    double=column_checks("double"),
    long=column_checks("long"),
)
def test_plain_python_finds_the_same_reasons(
    spark: SparkSession, rows: list[tuple[str | None, str | None, int | None]], double: ColumnCheck, long: ColumnCheck
) -> None:
    both = Checks(columns={"a": double, "b": long}, unique=["key"], max_quarantine_share=1.0)
    source = frame(spark, "place int, a string, b string, key int", *((i, *row) for i, row in enumerate(rows)))
    keys = Counter(key for _, _, key in rows if key is not None)
    expected = [
        expected_double(a, double)
        + expected_long(b, long)
        + ([f"unique (key): shared by {keys[key]} rows"] if key is not None and keys[key] > 1 else [])
        for a, b, key in rows
    ]

    checked = hold(source, both)
    found: list[Row] = checked.rows.sort("place").collect()
    good = checked.good.sort("place").collect()

    assert [row[REASONS] or [] for row in found] == expected
    assert [row["place"] for row in good] == [place for place, reasons in enumerate(expected) if not reasons]
    for row in good:
        a, b = ((text or "").strip(" ").lower() for text in rows[row["place"]][:2])
        assert said(row["a"]) in ({"None", "nan"} if a in ("", "nan") else {said(float(a))})
        assert row["b"] == (None if b in ("", "nan") else int(b.partition(".")[0]))
