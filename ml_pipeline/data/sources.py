"""Sources of rows: CSV, Parquet, Delta tables and the data sets of scikit-learn."""

from __future__ import annotations

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ml_pipeline.data import functions as F
from ml_pipeline.data.session import spark
from ml_pipeline.data.tables import exists, last_write, read
from ml_pipeline.errors import InputError, cause

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructType

    from ml_pipeline.settings.pipeline import Source


def read_source(source: Source, *, schema: StructType | None = None) -> DataFrame:
    """The rows of a source. Without a schema, Spark guesses the types of a CSV file's columns from their values.

    Raises:
        InputError: the path or table isn't there or can't be read as what it is said to be.
    """
    where = f"source {source}"
    with reading(where):
        rows = _read_source(source, schema)
    names: dict[str, str] = {}
    for column in rows.columns:
        other = names.setdefault(column.lower(), column)
        if other is not column:
            raise InputError(f"{where}: columns '{other}' and '{column}' differ in case only; rename one of them")
    return rows


def _read_source(source: Source, schema: StructType | None) -> DataFrame:
    if source.sklearn:
        return _read_sklearn(source.sklearn)
    if source.table:
        return read(source.table, version=_present_version(source.table))
    if source.parquet:
        return spark().read.parquet(source.parquet)
    return _read_csv(source, schema)


def _read_csv(source: Source, schema: StructType | None) -> DataFrame:
    """A CSV file or a folder of them. Spark takes values by position; here each file's columns count by their name."""
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructField, StructType

    rows = _csv(source, source.csv or "", schema)
    _check_header(source, rows.columns)
    groups = _files_by_header(rows.inputFiles())
    if len(groups) < 2:
        return rows
    parts = [_csv(source, files) for files in groups]
    for files, part in zip(groups, parts, strict=True):
        if other := set(part.columns) ^ set(parts[0].columns):
            raise InputError(
                f"source {source}: {files[0]} and {groups[0][0]} differ in the columns {', '.join(sorted(other))}; "
                "accepted: the same columns in each file, in any order"
            )
    types = _common_types([rows.schema] if schema else [part.schema for part in parts])
    schemas = [StructType([StructField(name, types[name]) for name in part.columns]) for part in parts]
    ordered = [_csv(source, files, one) for files, one in zip(groups, schemas, strict=True)]
    return functools.reduce(DataFrame.unionByName, ordered)


def _check_header(source: Source, names: list[str]) -> None:
    """Whether a CSV file's first line names its columns, each once."""
    where = f"source {source}"
    if not names:
        raise InputError(f"{where}: is empty; expected a line with the names of the columns, and rows")
    if any(not character.isprintable() or character == "\ufffd" for name in names for character in name):
        raise InputError(f"{where}: its first line holds bytes that are not text; expected a CSV file in UTF-8")
    others = [each for each in ",;\t|" if each != source.separator and each in names[0]]
    if len(names) == 1 and others:
        raise InputError(
            f"{where}: has one column, '{names[0]}'; if {others[0]!r} separates columns, set source.separator to it"
        )
    # Spark adds the position to a name that occurs twice.
    cut = Counter(name.removesuffix(str(place)) for place, name in enumerate(names) if name.endswith(str(place)))
    if any(count > 1 for count in cut.values()):
        first = _csv(source, source.csv or "", header=False).first()
        twice = [name for name, count in Counter(first or ()).items() if count > 1]
        if twice:
            raise InputError(f"{where}: several columns are named '{twice[0]}'; expected a name of its own for each")


def _csv(source: Source, paths: str | list[str], schema: StructType | None = None, *, header: bool = True) -> DataFrame:
    reader = spark().read.options(header=header, ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True)
    reader = reader.schema(schema) if schema else reader.option("inferSchema", header)
    # As RFC 4180 has it: quotes are doubled inside quotes, where line ends count as text.
    reader = reader.options(sep=source.separator, nullValue=source.null_value, escape='"', multiLine=True)
    # Else a time without a date is one of today, and its row another one tomorrow.
    return reader.option("timestampFormat", "yyyy-MM-dd[ ]['T']HH:mm[:ss][.SSSSSS][XXX]").csv(paths, mode="FAILFAST")


def _files_by_header(uris: list[str]) -> list[list[str]]:
    """The CSV files of a source, those with the same first line together; one that is empty has none."""
    files = [unquote(uri) for uri in uris]
    if len(files) < 2:
        return [files]
    place = F.struct("_metadata.file_block_start", F.monotonically_increasing_id())
    lines = spark().read.text(files).select("value", "_metadata.file_path", place.alias("place"))
    first = lines.groupBy("file_path").agg(F.min_by("value", "place").alias("header")).orderBy("file_path").collect()
    groups: dict[str, list[str]] = {}
    for row in first:
        groups.setdefault(row["header"].strip("\ufeff\r "), []).append(unquote(row["file_path"]))
    return list(groups.values())


def _common_types(schemas: list[StructType]) -> dict[str, DataType]:
    """A type for each column that all files' values have, as inference on all of them at once finds it."""
    from pyspark.sql.types import DoubleType, IntegralType, LongType, NumericType, StringType

    common: dict[str, DataType] = {}
    for name in schemas[0].names:
        found = {schema[name].dataType for schema in schemas}
        if len(found) == 1:
            common[name] = found.pop()
        elif all(isinstance(each, IntegralType) for each in found):
            common[name] = LongType()
        else:
            numbers = all(isinstance(each, NumericType) for each in found)
            common[name] = DoubleType() if numbers else StringType()
    return common


def costly(source: Source) -> bool:
    """Whether to compute a source's rows once for several passes: text is parsed, and a view computed, for each."""
    return bool(source.csv) or (bool(source.table) and _present_version(source.table or "") is None)


def _present_version(name: str) -> int | None:
    """The version to read all through, whatever is written meanwhile; ``None`` for a view, which has none."""
    from pyspark.errors import AnalysisException

    try:
        return last_write(name)[0] if exists(name) else None
    except AnalysisException:
        return None


_UNREADABLE = (
    "PATH_NOT_FOUND",
    "FAILED_READ_FILE",
    "CANNOT_READ",
    "MALFORMED",
    "PARQUET_TYPE_ILLEGAL",
    "not a Parquet file",
)
"""What Spark's message holds where it is the file that is at fault."""


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Let a file that can't be read be one clear message; Spark finds out when it reads the rows, wherever that is.

    Raises:
        InputError: a file is absent, or not what it is said to be; a Python worker raised one.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        text = str(error)
        if "PATH_NOT_FOUND" in text:
            raise InputError(f"{where}: no such file or folder") from error
        if "UNABLE_TO_INFER_SCHEMA" in text:
            raise InputError(f"{where}: holds no file that can be read; expected at least one") from error
        if record := re.search(r"Malformed CSV record: (.*?)(?: SQLSTATE: \w+)?$", text, re.MULTILINE):
            raise InputError(f"{where}: the record '{record[1]}' has more or fewer values than the header") from error
        if "NANOS" in text:
            raise InputError(
                f"{where}: a column holds nanoseconds, which Spark does not read; accepted: microseconds "
                "(pandas: to_parquet(..., coerce_timestamps='us', allow_truncated_timestamps=True))"
            ) from error
        if raised := re.search(rf"^{InputError.__module__}.InputError: (.*)$", text, re.MULTILINE):
            raise InputError(raised[1]) from error
        if any(sign in text for sign in _UNREADABLE):
            raise InputError(f"{where}: can't be read: {cause(error)}") from error
        raise


def _read_sklearn(name: str) -> DataFrame:
    from sklearn import datasets

    # So few rows are one partition: each further one costs a Python worker that imports its libraries.
    return spark().createDataFrame(getattr(datasets, f"load_{name}")(as_frame=True).frame).coalesce(1)
