"""Sources of rows: CSV, Parquet, Delta tables and the data sets of scikit-learn."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.data import csv_files, parquet_files
from ml_pipeline.data.session import spark
from ml_pipeline.data.tables import exists, last_write, read
from ml_pipeline.errors import InputError, PipelineError, cause

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from ml_pipeline.settings.pipeline import Source


def read_source(source: Source) -> DataFrame:
    """The rows of a source as they are: the values of a CSV file are text.

    Raises:
        InputError: the path or table isn't there or can't be read as what it is said to be.
    """
    where = f"source {source}"
    with reading(where):
        rows = _read_source(source)
    names: dict[str, str] = {}
    for column in rows.columns:
        other = names.setdefault(column.lower(), column)
        if other is not column:
            raise InputError(f"{where}: columns '{other}' and '{column}' differ in case only; rename one of them")
    return rows


def _read_source(source: Source) -> DataFrame:
    if source.sklearn:
        return _read_sklearn(source.sklearn)
    if source.table:
        return read(source.table, version=_present_version(source.table))
    if source.parquet:
        return parquet_files.read(source)
    return csv_files.read(source)


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
        PipelineError: a file was there and is gone, or is one of a Delta table.
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
            place = _place(record[1], text)
            raise InputError(
                f"{where}: the record '{record[1]}'{place} has more or fewer values than the header"
            ) from error
        if pattern := re.search(r"Input Pattern (?:file:)?(.*?) matches 0 files", text):
            raise InputError(f"{where}: {pattern[1]} has one of *?[]{{}} in its name; rename the file") from error
        if "DATETIME_PATTERN" in text or "pattern letter" in text:
            raise InputError(
                f"{where}: columns: a format is not a pattern of Spark; expected one such as 'dd.MM.yyyy'"
            ) from error
        if "NANOS" in text:
            raise InputError(
                f"{where}: a column holds nanoseconds, which Spark does not read; accepted: microseconds "
                "(pandas: to_parquet(..., coerce_timestamps='us', allow_truncated_timestamps=True))"
            ) from error
        if raised := re.search(rf"^{InputError.__module__}.InputError: (.*)$", text, re.MULTILINE):
            raise InputError(raised[1]) from error
        if any(sign in text for sign in _UNREADABLE):
            # No person names the files of a Delta table, and a file that is gone was there when it was named.
            fault = where.startswith(("table ", "source table ")) or "FILE_NOT_EXIST" in text
            raise (PipelineError if fault else InputError)(f"{where}: can't be read: {cause(error)}") from error
        raise


def _place(record: str, text: str) -> str:
    """The line and the file of a record, as far as Spark's message and this machine have them."""
    found = re.search(r"while reading file (\S+?)\.\s", text)
    if not found:
        return ""
    file = Path(csv_files.path_of(found[1]))
    if not file.is_file():
        return f" of {file}"
    with file.open(encoding="utf-8", errors="replace") as lines:
        number = next((number for number, line in enumerate(lines, 1) if line.rstrip("\r\n") == record), None)
    return f" of {file}" if number is None else f" in line {number} of {file}"


def _read_sklearn(name: str) -> DataFrame:
    # So few rows are one partition: each further one costs a Python worker that imports its libraries.
    return spark().createDataFrame(sklearn_frame(name)).coalesce(1)


def sklearn_frame(name: str) -> pd.DataFrame:
    """A data set that scikit-learn ships; its target column is called ``target``."""
    from sklearn import datasets

    frame: pd.DataFrame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return frame
