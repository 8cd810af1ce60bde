"""Sources of rows: CSV, Parquet, Delta tables and the data sets of scikit-learn."""

from __future__ import annotations

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import quote
from ml_pipeline.data.session import spark
from ml_pipeline.data.tables import exists, last_write, read
from ml_pipeline.errors import InputError, cause

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructType

    from ml_pipeline.settings.pipeline import Source


def read_source(source: Source, *, kinds: Mapping[str, str] | None = None) -> DataFrame:
    """The rows of a source. The types of a CSV file's columns follow from their values.

    Args:
        source: Where the rows are.
        kinds: Columns of a CSV file whose type is known, as ``string`` or ``double``.

    Raises:
        InputError: the path or table isn't there or can't be read as what it is said to be.
    """
    where = f"source {source}"
    with reading(where):
        rows = _read_source(source, kinds or {})
    names: dict[str, str] = {}
    for column in rows.columns:
        other = names.setdefault(column.lower(), column)
        if other is not column:
            raise InputError(f"{where}: columns '{other}' and '{column}' differ in case only; rename one of them")
    return rows


def _read_source(source: Source, kinds: Mapping[str, str]) -> DataFrame:
    if source.sklearn:
        return _read_sklearn(source.sklearn)
    if source.table:
        return read(source.table, version=_present_version(source.table))
    if source.parquet:
        return spark().read.parquet(source.parquet)
    return _read_csv(source, kinds)


def _read_csv(source: Source, kinds: Mapping[str, str]) -> DataFrame:
    """A CSV file or a folder of them. Spark takes values by position; here each file's columns count by their name."""
    from pyspark.sql.types import StringType, StructField, StructType

    rows = _csv(source, source.csv or "")
    _check_header(source, rows.columns)
    groups = _files_by_header(rows.inputFiles())
    parts = [rows] if len(groups) < 2 else [_csv(source, files) for files in groups]
    for files, part in zip(groups, parts, strict=False):
        if other := set(part.columns) ^ set(parts[0].columns):
            raise InputError(
                f"source {source}: {files[0]} and {groups[0][0]} differ in the columns {', '.join(sorted(other))}; "
                "accepted: the same columns in each file, in any order"
            )

    def typed(types: Mapping[str, DataType]) -> DataFrame:
        schemas = [StructType([StructField(name, types[name]) for name in part.columns]) for part in parts]
        files: list[str | list[str]] = [source.csv or ""] if len(parts) == 1 else [*groups]
        frames = [_csv(source, paths, schema) for paths, schema in zip(files, schemas, strict=True)]
        return functools.reduce(lambda all_, frame: all_.unionByName(frame), frames)

    inferred = _common_types([part.schema for part in parts])
    text = [name for name in inferred if kinds.get(name) == "string"]
    text += _not_numbers(typed(dict.fromkeys(inferred, StringType())), inferred, kinds)
    types = inferred | dict.fromkeys(text, StringType())
    return rows if len(parts) == 1 and types == inferred else typed(types)


def _not_numbers(text: DataFrame, inferred: Mapping[str, DataType], kinds: Mapping[str, str]) -> list[str]:
    """Columns that Spark takes for numbers though they are text, such as 007 and 1F: it would read 7 and 1.0."""
    from pyspark.sql.types import NumericType

    names = [name for name, type_ in inferred.items() if isinstance(type_, NumericType) and name not in kinds]
    if not names:
        return []
    found = text.agg(*(F.max(F.col(quote(name)).rlike(r"^[+-]?0\d|[\d.][dDfF]$")) for name in names)).first()
    return [name for name, is_text in zip(names, found or (), strict=True) if is_text]


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
    if isinstance(paths, list) and not set("*?[{") & set(source.csv or ""):
        # Folders such as day=2026-01-02 are columns.
        reader = reader.option("basePath", source.csv or "")
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
