"""CSV files: each value as the text that it is, in the column that its file's first line names."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import UNDECODED
from ml_pipeline.data.session import spark
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from ml_pipeline.settings.pipeline import Source


def read(source: Source) -> DataFrame:
    """A CSV file or a folder of them, all columns as text; an empty text is a missing value.

    Spark takes values by position. Here each file's columns count by their name.

    Raises:
        InputError: a file's first line does not name its columns, or other ones than the other files' lines.
    """
    from pyspark.sql.types import StringType, StructField, StructType

    path = source.csv or ""
    rows = _csv(source, path)
    groups = _files_by_header(source, rows.inputFiles())
    parts: list[tuple[str | list[str], DataFrame]] = (
        [(path, rows)] if len(groups) < 2 else [(files, _csv(source, files)) for files in groups]
    )
    first = _names(parts[0][1].columns)
    frames = []
    for paths, part in parts:
        where = f"source {source}" if isinstance(paths, str) else f"source {source}: {path_of(paths[0])}"
        _check_header(source, part.columns, paths, where=where)
        names = _names(part.columns)
        if other := set(names) ^ set(first):
            raise InputError(
                f"{where} and {path_of(groups[0][0])} differ in the columns {', '.join(sorted(other))}; "
                "expected the same columns in each file, in any order"
            )
        schema = StructType([StructField(name, StringType()) for name in names])
        frames.append(_csv(source, paths, schema))
    return functools.reduce(lambda every, frame: every.unionByName(frame), frames)


def _names(columns: list[str]) -> list[str]:
    return [name.strip() for name in columns]


def _csv(source: Source, paths: str | list[str], schema: StructType | None = None, *, header: bool = True) -> DataFrame:
    reader = spark().read.options(header=header, sep=source.separator)
    # The first line holds names, and one may be the text that stands for no value.
    if schema:
        # Spark takes an empty text in quotes for a value of its own.
        reader = reader.schema(schema).options(nullValue=source.null_value, emptyValue=source.null_value)
    if isinstance(paths, list) and not set("*?[{") & set(source.csv or ""):
        # Folders such as day=2026-01-02 are columns.
        reader = reader.option("basePath", source.csv or "")
    # As RFC 4180 has it: quotes are doubled inside quotes, where line ends count as text.
    reader = reader.options(quote=source.quote, escape=source.quote, multiLine=True, encoding=source.encoding)
    return reader.csv(paths, mode="FAILFAST")


def check_files(source: Source, files: Iterable[str]) -> None:
    """Reject, with an ``InputError``, files that Spark takes for a pattern where it is given their paths."""
    for file in files:
        if set("*?[]{}") & set(Path(file).name):
            raise InputError(f"source {source}: {file} has one of *?[]{{}} in its name; rename the file")


def check_names(source: Source, names: Sequence[str], *, where: str) -> None:
    """Whether the names in a CSV file's first line are those of columns, each once.

    Raises:
        InputError: they are not.
    """
    if not names:
        raise InputError(f"{where}: is empty; expected a line with the names of the columns, and rows")
    if any(unicodedata.category(character) == "Cc" or character == UNDECODED for name in names for character in name):
        raise InputError(
            f"{where}: its first line is not text in {source.encoding}; expected a CSV file in that encoding"
        )
    for name in names:
        if not name.isprintable():
            raise InputError(f"{where}: column {name!r} contains an invisible character; rename the column")
    others = [each for each in ",;\t|" if each != source.separator and each in names[0]]
    if len(names) == 1 and others:
        raise InputError(
            f"{where}: has one column, '{names[0]}'; if {others[0]!r} separates columns, set source.separator to it"
        )
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise InputError(f"{where}: columns '{other}' and '{name}' differ in case only; rename one of them")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{where}: several columns are named '{twice[0]}'; expected a name of its own for each")


def path_of(uri: str) -> str:
    """The path of a file of this machine, as Spark names it; other addresses stay as they are."""
    return re.sub("^file:(//)?(?=/)", "", unquote(uri))


def _check_header(source: Source, names: list[str], paths: str | list[str], *, where: str) -> None:
    # Spark adds the position to a name that occurs twice, in whatever case.
    cut = Counter(
        name.lower().removesuffix(str(place)) for place, name in enumerate(names) if name.endswith(str(place))
    )
    if any(count > 1 for count in cut.values()):
        first = _csv(source, paths, header=False).first()
        names = [name for name in first or () if name]
    check_names(source, _names(names), where=where)


def _files_by_header(source: Source, uris: list[str]) -> list[list[str]]:
    """The CSV files of a source, those with the same header together; one that is empty has none."""
    files = [unquote(uri) for uri in uris]
    if len(files) < 2:
        return [files]
    check_files(source, files)
    place = F.struct("_metadata.file_block_start", F.monotonically_increasing_id())
    # As bytes: names in another encoding than UTF-8 could look the same.
    lines = spark().read.text(files).select(F.col("value").cast("binary"), "_metadata.file_path", place.alias("place"))
    # Spark takes the first line that is not empty for the header. (Of UTF-16, a zero byte is left of an empty line.)
    lines = lines.where(F.decode("value", "ISO-8859-1").rlike("[^\\x00\\r\u00ef\u00bb\u00bf\u00ff\u00fe]"))
    first = lines.groupBy("file_path").agg(F.min_by("value", "place").alias("header")).orderBy("file_path").collect()
    groups: dict[bytes, list[str]] = {}
    for row in first:
        groups.setdefault(bytes(row["header"]).removeprefix(b"\xef\xbb\xbf").strip(b"\r "), []).append(
            unquote(row["file_path"])
        )
    return list(groups.values())
