from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_pipeline.data import functions as F
from ml_pipeline.data import hashing

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WHOLE = [0, 7, -7, 9_999_999, 10_000_000, -123_456_789, 2**53 + 1, 2**62 + 1, 2**63 - 1, -(2**63), None]


@pytest.mark.slow
def test_a_digest_is_the_sum_of_hashes_with_that_of_the_columns(spark: SparkSession) -> None:
    rows = spark.range(-500, 500).selectExpr("id", "id * 0.5D AS b", "CAST(id % 3 AS STRING) AS c")
    profiles = hashing.profile(rows, F.col("id") % 2 == 0, columns=["b"], by=F.col("c"), most=10, finite=["b"])

    assert profiles is not None
    for side, profile in profiles.items():
        exact = F.sum(F.xxhash64("b", "c", "id").cast("decimal(38,0)"))
        found = rows.where((F.col("id") % 2 == 0) == F.lit(side)).agg(exact, F.first(F.xxhash64(F.lit(SCHEMA)))).first()
        assert found is not None
        assert profile.digest.text == f"500-{int(found[0]) % 2**64:016x}{found[1] % 2**64:016x}"


SCHEMA = "struct<id:bigint,b:double,c:string>"


@pytest.mark.slow
@pytest.mark.parametrize("type_", ["tinyint", "smallint", "int", "bigint"])
def test_a_whole_number_is_on_the_side_of_its_text(spark: SparkSession, type_: str) -> None:
    texts = spark.createDataFrame([(None if value is None else str(value),) for value in WHOLE], "a string")
    numbers = texts.select(F.col("a").try_cast(type_).alias("a")).where("a IS NOT NULL")
    sides = [
        [row[0] for row in rows.select(hashing.bucket(rows, ["a"], salt="test")).collect()]
        for rows in (numbers, numbers.select(F.col("a").cast("string").alias("a")))
    ]
    assert sides[0] == sides[1]


@pytest.mark.slow
def test_the_name_of_an_infinite_column_is_found(spark: SparkSession) -> None:
    rows = spark.sql("SELECT 1 AS t, 0.5D AS a, CAST('inf' AS DOUBLE) AS c, 1e39D AS b")
    profiles = hashing.profile(rows, F.lit(True), columns=[], by=F.col("t"), most=10, finite=["c", "a", "b"])

    assert profiles is not None
    assert profiles[True].infinite == "c"
    assert profiles[False].infinite is None
