"""Every Spark and Delta read and write.

A table is named ``catalog.schema.table``. On Databricks that is its name in Unity Catalog. On this machine the same
name is the path ``STATE/warehouse/catalog/schema/table``: a Delta table needs no metastore, and processes can share it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.data import functions as F
from ml_pipeline.data.hashing import Digest
from ml_pipeline.data.session import local_state, spark
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter


LAST_COMMIT = "spark.databricks.delta.lastCommitVersionInSession"

_VERSION = "[0-9]" * 20
"""How the names of a log's files begin: commits, their checksums and checkpoints (Delta's protocol, "File Types")."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a write left behind."""

    rows: int
    version: int
    """Delta version of the table that holds the rows."""
    changed: bool = True
    """Whether the write made a new version."""

    def __str__(self) -> str:
        return f"{self.rows:,} rows, version {self.version}{'' if self.changed else ' (unchanged)'}"


def _path(name: str) -> str | None:
    if "/" in name:
        return name
    state = local_state()
    return None if state is None else str(state.joinpath("warehouse", *name.split(".")))


def where(name: str) -> str:
    """Where a person finds a table: its path on this machine, its name on Databricks."""
    return _path(name) or name


def _identifier(name: str) -> str:
    """The table in SQL, and to Spark's functions that parse a name, which a hyphen would end."""
    path = _path(name)
    return f"delta.`{path}`" if path else ".".join(f"`{part}`" for part in name.split("."))


def exists(name: str) -> bool:
    """Whether there is such a Delta table."""
    path = _path(name)
    if path is None:
        return spark().catalog.tableExists(_identifier(name))
    if "/" not in name:
        # A log that lost its commits is a damaged table's, which nothing may write over.
        return any(Path(path, "_delta_log").glob(f"{_VERSION}.*"))
    from delta.tables import DeltaTable

    return DeltaTable.isDeltaTable(spark(), path)


def read(name: str, *, version: int | None = None) -> DataFrame:
    """A table's rows, at one version if given.

    Raises:
        InputError: there is no such table.
    """
    if not exists(name):
        raise absent(name)
    options = {} if version is None else {"versionAsOf": version}
    reader = spark().read.format("delta").options(**options)
    path = _path(name)
    return reader.load(path) if path else reader.table(_identifier(name))


def absent(name: str) -> InputError:
    """The error that there is no such table."""
    hint = "" if "/" in name or "." in name else f"; a path has a '/', such as ./{name}"
    return InputError(f"table {name}: there is no such Delta table ({where(name)}){hint}")


def last_write(name: str) -> tuple[int, str]:
    """The table's latest version, and the fingerprint that was left with it (empty if none was)."""
    path = _path(name)
    if path and (commits := _commits(path)):
        return int(commits[-1].stem), _fingerprint(commits[-1])
    row = spark().sql(f"DESCRIBE HISTORY {_identifier(name)} LIMIT 1").select("version", "userMetadata").first()
    assert row is not None, "a Delta table has a history"
    return int(row["version"]), row["userMetadata"] or ""


def _commits(path: str) -> list[Path]:
    """Commits of the table in a folder: by Delta's protocol one file each, named by its version."""
    return sorted(Path(path, "_delta_log").glob(f"{_VERSION}.json"))


def _fingerprint(commit: Path) -> str:
    actions = map(json.loads, commit.read_text(encoding="utf-8").splitlines())
    return next((action["commitInfo"].get("userMetadata", "") for action in actions if "commitInfo" in action), "")


def replace(rows: DataFrame, name: str, digest: Digest) -> Written:
    """Make a table hold exactly these rows, in one commit with their digest; no new version if it holds them."""
    if exists(name):
        version, last = last_write(name)
        if last == digest.text:
            return Written(rows=digest.rows, version=version, changed=False)
    writer = rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    save(writer.option("userMetadata", digest.text), name)
    return Written(rows=digest.rows, version=_version_with(name, digest.text))


def replace_both(parts: Mapping[str, tuple[DataFrame, Digest]]) -> dict[str, Written]:
    """Replace tables by name, at the same time: most of what Spark does for a small table uses one core."""
    with ThreadPoolExecutor(len(parts)) as pool:
        written = pool.map(lambda name: replace(parts[name][0], name, parts[name][1]), parts)
        return dict(zip(parts, written, strict=True))


def _version_with(name: str, fingerprint: str) -> int:
    """The latest version that holds these rows, whatever another writer committed meanwhile."""
    version, last = last_write(name)
    if last == fingerprint:
        return version
    history = spark().sql(f"DESCRIBE HISTORY {_identifier(name)}").where(F.col("userMetadata") == fingerprint)
    return max(int(row["version"]) for row in history.select("version").collect())


def latest_version(name: str) -> int:
    """The number of a table's latest version; -1 where there is no such table."""
    return last_write(name)[0] if exists(name) else -1


def delete(name: str, condition: str) -> None:
    """Delete the rows of a table that a condition in SQL names."""
    from delta.tables import DeltaTable

    path = _path(name)
    table = DeltaTable.forPath(spark(), path) if path else DeltaTable.forName(spark(), _identifier(name))
    table.delete(condition)


@contextlib.contextmanager
def kept(rows: DataFrame, *, needed: bool = True) -> Iterator[None]:
    """Compute rows once, though they are used more than once inside; on the workers' disks where memory is short."""
    if not needed:
        yield
        return
    rows.persist()
    try:
        yield
    finally:
        rows.unpersist()


def save(writer: DataFrameWriter, name: str) -> int | None:
    """Write a table; the version of the commit, if there was one."""
    from pyspark.errors import AnalysisException

    try:
        return _saved(writer, name)
    except AnalysisException as error:
        if "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAME" not in str(error):
            raise
    # Only these names need the mapping: delta-rs 1.6 reads NULL from a table that uses it.
    if exists(name):
        mapping = "SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
        spark().sql(f"ALTER TABLE {_identifier(name)} {mapping}")
    return _saved(writer.option("delta.columnMapping.mode", "name"), name)


def _saved(writer: DataFrameWriter, name: str) -> int | None:
    path = _path(name)
    if path:
        writer.save(path)
    else:
        writer.saveAsTable(_identifier(name))
    # Delta's own word on the commit of this session, which another writer's commit does not change.
    version = spark().conf.get(LAST_COMMIT, None)
    return None if version is None else int(version)
