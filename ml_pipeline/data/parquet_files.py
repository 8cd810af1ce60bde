"""Parquet files: columns count by their name, and each file may have types of its own."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING

from ml_pipeline.data import columns
from ml_pipeline.data import functions as F
from ml_pipeline.data.csv_files import check_files, path_of
from ml_pipeline.data.session import spark
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from ml_pipeline.settings.pipeline import Source


def read(source: Source) -> DataFrame:
    """A Parquet file or a folder of them.

    Spark takes the schema of one file for that of all: values of another type fail, and columns of other files are left
    out. On this machine the files' own schemas are compared, and the widest type counts. Elsewhere Spark merges them.

    Raises:
        InputError: files differ in their columns, or in types that only text holds.
    """
    path = source.parquet or ""
    rows = spark().read.parquet(path)
    files = rows.inputFiles()
    if not all(file.startswith("file:") for file in files):
        return rows if len(files) < 2 else spark().read.option("mergeSchema", "true").parquet(path)
    groups = _by_schema(sorted(path_of(file) for file in files))
    if len(groups) < 2:
        return _as_text(_without_type(rows, groups[0][0])) if groups else rows
    check_files(source, (file for group in groups for file in group))
    parts = [_without_type(spark().read.option("basePath", path).parquet(*group), group[0]) for group in groups]
    first, (file, *_) = parts[0], groups[0]
    for part, (other, *_) in zip(parts[1:], groups[1:], strict=True):
        if names := set(part.columns) ^ set(first.columns):
            raise InputError(
                f"source {source}: {other} and {file} differ in the columns {', '.join(sorted(names))}; "
                "expected the same columns in each file"
            )
        for name in first.columns:
            one, another = (rows.schema[name].dataType for rows in (first, part))
            wide = columns.widest(one, another)
            if wide.typeName() == "string" and {one.typeName(), another.typeName()} - {"string", "void"}:
                raise InputError(
                    f"source {source}: column '{name}' is {another.simpleString()} in {other} and {one.simpleString()} "
                    f"in {file}; expected one type, or numbers"
                )
            first = first.withColumn(name, F.col(columns.quote(name)).cast(wide))
    types = {name: first.schema[name].dataType for name in first.columns}
    typed = [
        part.select(*(F.col(columns.quote(name)).cast(type_).alias(name) for name, type_ in types.items()))
        for part in parts
    ]
    return _as_text(functools.reduce(lambda every, part: every.unionByName(part), typed))


def _as_text(rows: DataFrame) -> DataFrame:
    """Columns without any value are text, which any later value is."""
    empty = [name for name in rows.columns if columns.type_name(rows, name) == "void"]
    return rows.withColumns({name: F.lit(None).cast("string") for name in empty})


def _without_type(rows: DataFrame, file: str) -> DataFrame:
    """The rows of files in which pandas found no value of a column: Spark takes its type for that of integers."""
    import pyarrow as pa
    from pyarrow import parquet

    empty = [field.name for field in parquet.read_schema(file) if pa.types.is_null(field.type)]
    return rows.withColumns({name: F.lit(None) for name in empty})


def _by_schema(files: list[str]) -> list[list[str]]:
    """The files, those with the same names and types together."""
    from pyarrow import parquet

    groups: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        groups[str(parquet.read_schema(file).remove_metadata())].append(file)
    return list(groups.values())
