"""Sources of rows: CSV, Parquet, Delta tables and the data sets of scikit-learn."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ml_pipeline.data.session import spark
from ml_pipeline.data.tables import exists, last_write, read
from ml_pipeline.errors import InputError, cause

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

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
    reader = spark().read.options(header=True, ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True)
    reader = reader.schema(schema) if schema else reader.option("inferSchema", True)
    # As RFC 4180 has it: quotes are doubled inside quotes, where line ends count as text.
    reader = reader.options(sep=source.separator, nullValue=source.null_value, escape='"', multiLine=True)
    # Else a time without a date is one of today, and its row another one tomorrow.
    reader = reader.option("timestampFormat", "yyyy-MM-dd[ ]['T']HH:mm[:ss][.SSSSSS][XXX]")
    return reader.csv(source.csv or "", mode="FAILFAST")


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
    "UNABLE_TO_INFER",
    "not a Parquet file",
)
"""What Spark's message holds where it is the file that is at fault."""


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Let a file that can't be read be one clear message; Spark finds out when it reads the rows, wherever that is.

    Raises:
        InputError: a file is absent, or not what it is said to be, or holds infinity where it must not (``finite``).
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        text = str(error)
        if "PATH_NOT_FOUND" in text:
            raise InputError(f"{where}: no such file or folder") from error
        if "NANOS" in text:
            raise InputError(
                f"{where}: a column holds nanoseconds, which Spark does not read; accepted: microseconds "
                "(pandas: to_parquet(..., coerce_timestamps='us', allow_truncated_timestamps=True))"
            ) from error
        if raised := re.search(r"\[USER_RAISED_EXCEPTION\] (.*?)(?: SQLSTATE: \w+)?$", text, re.MULTILINE):
            raise InputError(raised[1]) from error
        if any(sign in text for sign in _UNREADABLE):
            raise InputError(f"{where}: can't be read: {cause(error)}") from error
        raise


def _read_sklearn(name: str) -> DataFrame:
    from sklearn import datasets

    # So few rows are one partition: each further one costs a Python worker that imports its libraries.
    return spark().createDataFrame(getattr(datasets, f"load_{name}")(as_frame=True).frame).coalesce(1)
