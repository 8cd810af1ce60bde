"""Checks before Spark starts that a source exists and has the columns that the settings name.

The messages are those of the steps. A source that only Spark can read is left to them.
"""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_pipeline.data import columns, csv_files, sources, tables
from ml_pipeline.data.features import added, refuse_names
from ml_pipeline.errors import InputError, collecting
from ml_pipeline.settings.pipeline import Checks, Source

_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".snappy", ".deflate")


@dataclass(frozen=True)
class Header:
    """The columns of a source."""

    columns: list[str]


def check(
    *,
    source: Source,
    target: str = "",
    key: Sequence[str] = (),
    features: Sequence[str] = (),
    checks: Checks | None = None,
    positive_class: str = "",
    scored: bool = True,
    probabilities: bool = False,
    transform: str = "",
    **_: object,
) -> None:
    """Whether a step's source is there, with the columns that the step's other parameters name.

    Raises:
        InputError: all that is wrong.
    """
    where = f"source {source}"
    if transform:
        _check_function(transform)
    header = _header(source, where)
    if header is None:
        return
    # A function of the pipeline's own may add any of these.
    named = {} if transform else {"target": [target] if target else [], "key": key, "features": features}
    named["source.columns"] = list(source.columns) if target else []
    if checks:
        named |= {f"checks.columns.{column}": [column] for column in checks.columns}
        named["checks.unique"] = checks.unique
    problems: list[str] = []
    for setting, names in named.items():
        for name in names:
            with collecting(problems):
                columns.require(header, [name], where=f"{setting}: {where}")
    with collecting(problems):
        used = header.columns if scored else [target, *key, *features]
        refuse_names(used, added(probabilities=probabilities), where=where)
    if source.sklearn and positive_class and target in header.columns:
        from ml_pipeline.model.metrics import Classes

        with collecting(problems):
            Classes.of(sources.sklearn_frame(source.sklearn)[target], positive=positive_class)
    if problems:
        raise InputError(*problems)


def _check_function(transform: str) -> None:
    """Whether a pipeline's own function is there; without an import of its module, which may import Spark."""
    module, _, name = transform.rpartition(".")
    try:
        spec = importlib.util.find_spec(module) if module else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise InputError(
            f"transform: '{transform}': there is no module '{module}'; expected one beside the pipeline's file, or one "
            "that is installed"
        )
    file = Path(spec.origin)
    if file.suffix != ".py":
        return
    try:
        body = ast.parse(file.read_bytes()).body
    except SyntaxError as error:
        raise InputError(f"transform: {file}, line {error.lineno}: {error.msg}") from error
    functions = [each.name for each in body if isinstance(each, ast.FunctionDef)]
    named = {alias.asname or alias.name for each in body if isinstance(each, ast.ImportFrom) for alias in each.names}
    assigned = {
        target.id
        for each in body
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    if name not in {*functions, *named, *assigned} and "*" not in named:
        raise InputError(
            f"transform: '{transform}': {file} has no function '{name}'; accepted: {', '.join(functions) or 'none'}"
        )


def _header(source: Source, where: str) -> Header | None:
    """The columns of a source; ``None`` if only Spark can read them."""
    if source.sklearn:
        return Header([*sources.sklearn_frame(source.sklearn).columns])
    if source.table:
        return _of_table(source.table)
    pattern = source.csv or source.parquet or ""
    if re.match(r"[A-Za-z0-9]+:|.*[*?{\[]", pattern):
        return None  # An address, or a pattern of names.
    base = Path(pattern)
    if not base.exists():
        raise InputError(f"{where}: no such file or folder")
    files = _files(base)
    if not files:
        raise InputError(f"{where}: holds no file that can be read; expected at least one")
    # Spark leaves an empty file for a partition without rows.
    file = next((file for file in files if file.stat().st_size), files[0])
    names = _of_parquet(file, where) if source.parquet else _of_csv(file, source, where)
    partitions = [part.partition("=")[0] for part in file.relative_to(base).parts[:-1] if "=" in part]
    return None if names is None else Header([*names, *partitions])


def _files(base: Path) -> list[Path]:
    """The file, or the files that Spark reads in a folder."""
    if base.is_file():
        return [base]
    return [
        file
        for file in sorted(base.rglob("*"))
        if file.is_file() and not any(part.startswith(("_", ".")) for part in file.relative_to(base).parts)
    ]


def _of_csv(file: Path, source: Source, where: str) -> list[str] | None:
    if file.suffix in _COMPRESSED or len(source.separator) > 1:
        return None
    encoding = "utf-8-sig" if source.encoding == "UTF-8" else source.encoding
    with file.open(encoding=encoding, errors="replace", newline="") as lines:
        records = csv.reader(lines, delimiter=source.separator, quotechar=source.quote)
        try:
            first = next(records, [])
            empty = source.csv == str(file) and not any(records)
        except (csv.Error, UnicodeError) as error:
            raise InputError(f"{where}: can't be read: {error}") from error
    names = [name.strip() or f"_c{place}" for place, name in enumerate(first)]
    csv_files.check_names(source, names, where=where)
    if empty:
        raise InputError(f"{where}: is empty; accepted: at least one row")
    return names


def _of_parquet(file: Path, where: str) -> list[str]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return list(parquet.read_schema(file).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{where}: can't be read: {str(error).splitlines()[0]}") from error


def _of_table(name: str) -> Header | None:
    place = tables.where(name)
    if re.match("[A-Za-z0-9]+:", place):
        return None
    log = Path(place, "_delta_log")
    if not any(log.glob("*.json")):
        raise tables.absent(name)
    for commit in sorted(log.glob(f"{'[0-9]' * 20}.json"), reverse=True):
        for line in commit.read_text(encoding="utf-8").splitlines():
            if "metaData" in (action := json.loads(line)):
                schema = json.loads(action["metaData"]["schemaString"])
                return Header([field["name"] for field in schema["fields"]])
    return None  # The commit that has the schema is in a checkpoint.
