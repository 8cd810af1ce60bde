"""Every Spark and Delta read and write.

A table is named ``catalog.schema.table``. On Databricks that is its name in Unity Catalog. On this machine the same
name is the path ``STATE/warehouse/catalog/schema/table``: a Delta table needs no metastore, and processes can share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import WHOLE, quote
from ml_pipeline.data.hashing import Digest
from ml_pipeline.data.session import local_state, spark
from ml_pipeline.errors import InputError, PipelineError, cause
from ml_pipeline.names import BATCH_COLUMN

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter
    from pyspark.sql.types import DataType


_LAST_COMMIT = "spark.databricks.delta.lastCommitVersionInSession"
_ATTEMPTS = 5
"""How often a commit is tried that other batches' commits get in the way of."""


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
    path = _path(name)
    return f"delta.`{path}`" if path else ".".join(f"`{part}`" for part in name.split("."))


def exists(name: str) -> bool:
    """Whether there is such a Delta table."""
    path = _path(name)
    if path is None:
        return spark().catalog.tableExists(name)
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
    return reader.load(path) if path else reader.table(name)


def absent(name: str) -> InputError:
    """The error that there is no such table."""
    return InputError(f"table {name}: there is no such Delta table ({where(name)})")


def last_write(name: str) -> tuple[int, str]:
    """The table's latest version, and the fingerprint that was left with it (empty if none was)."""
    path = _path(name)
    # As Delta's protocol has it: one file a commit, named by its version. Spark takes a second to say the same.
    commits = sorted(Path(path, "_delta_log").glob(f"{'[0-9]' * 20}.json")) if path else []
    if commits:
        return int(commits[-1].stem), _fingerprint(commits[-1])
    row = spark().sql(f"DESCRIBE HISTORY {_identifier(name)} LIMIT 1").select("version", "userMetadata").first()
    assert row is not None, "a Delta table has a history"
    return int(row["version"]), row["userMetadata"] or ""


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
    _save(writer.option("userMetadata", digest.text), name)
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


def replace_batch(
    rows: DataFrame, name: str, *, column: str = BATCH_COLUMN, value: str, since: int | None = None, note: str = ""
) -> Written:
    """Make one batch of a table hold exactly these rows, in one commit; other batches stay.

    The commit carries an application transaction: the batch is the application, and the transaction's number is one
    more than the version that the table had when the run began. Delta lets only one of the runs that began with the
    same batch commit (Delta protocol, "Transaction Identifiers"), whatever their clocks say.

    The table is made if it isn't there, and gains columns that are new. A column's type in the table stays, if it holds
    the rows' values; if only a wider type holds both (a number with fractions, or text), the table is rewritten with
    it, in the same commit and with a line that says so. The batch column, which the rows lack, holds a
    date, ``YYYY-MM-DD``. ``since`` is the version that the table had when the run began (``latest_version``), by
    default its present one. The note goes into the table's history.

    Raises:
        InputError: a column has a type that fits no value of the batches before.
        PipelineError: another run wrote this batch after this one began.
    """
    began = latest_version(name) if since is None else since
    retrying = Retrying(
        retry=retry_if_exception(_another_batch),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        stop=stop_after_attempt(_ATTEMPTS),
        before_sleep=lambda _: print(f"table {name}: another batch was written meanwhile; trying again", flush=True),
        reraise=True,
    )
    written: Written = retrying(_replace_batch, rows, name, column=column, value=value, began=began, note=note)
    return written


def _replace_batch(rows: DataFrame, name: str, *, column: str, value: str, began: int, note: str) -> Written:
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, PySparkException
    from pyspark.sql import Observation

    counted = Observation()
    batch = rows.withColumn(column, F.lit(value).cast("date"))
    before = read(name) if began >= 0 or exists(name) else None
    types = _types(batch, before, name) if before is not None else {}
    batch = _cast(batch, types).observe(counted, F.count(F.lit(1)).alias("rows"))
    wider = [name_ for name_, type_ in types.items() if before is not None and before.schema[name_].dataType != type_]
    options = {"txnAppId": f"{name} {value}", "txnVersion": str(began + 1)} | ({"userMetadata": note} if note else {})
    if wider and before is not None:
        for each in wider:
            print(
                f"table {name}: column '{each}' becomes {types[each].simpleString()}; it was "
                f"{before.schema[each].dataType.simpleString()}",
                flush=True,
            )
        others = _cast(before.where(F.col(quote(column)) != F.lit(value).cast("date")), types)
        batch, mode = others.unionByName(batch, allowMissingColumns=True), "overwrite"
        options["overwriteSchema"] = "true"
    elif began < 0:
        # Whoever makes the table first, the others find its transaction.
        mode, options["mergeSchema"] = "append", "true"
    else:
        mode, options["mergeSchema"] = "overwrite", "true"
        options["replaceWhere"] = f"{column} = DATE'{value}'"
    writer = batch.write.format("delta").mode(mode).partitionBy(column).options(**options)
    spark().conf.unset(_LAST_COMMIT)
    try:
        version = _save(writer, name)
    except AnalysisException as error:
        raise InputError(f"table {name}: the rows don't fit the batches before: {cause(error)}") from error
    except (PySparkException, Py4JError) as error:
        if "DELTA_CONCURRENT_TRANSACTION" not in str(error):
            raise
        version = None
    if version is None:
        raise PipelineError(
            f"table {name}: another run wrote batch {value} while this one was at work; what it wrote stays"
        )
    return Written(rows=counted.get["rows"], version=version)


def _types(batch: DataFrame, before: DataFrame, name: str) -> dict[str, DataType]:
    """For each column whose type differs from the table's, the one that holds the values of both.

    Raises:
        InputError: there is none.
    """
    from pyspark.sql.types import ArrayType, DoubleType, LongType, MapType, NullType, StringType, StructType

    types: dict[str, DataType] = {}
    for each in (field for field in batch.schema if field.name in before.columns):
        both = (before.schema[each.name].dataType, each.dataType)
        kinds = {type_.typeName() for type_ in both}
        if both[0].simpleString() == both[1].simpleString():
            continue
        if isinstance(both[1], NullType):
            types[each.name] = both[0]
        elif kinds <= set(WHOLE):
            types[each.name] = LongType()
        elif kinds <= {*WHOLE, "float", "double"}:
            types[each.name] = DoubleType()
        elif not any(isinstance(type_, ArrayType | MapType | StructType) for type_ in both):
            types[each.name] = StringType()
        else:
            raise InputError(
                f"table {name}: column '{each.name}' is {both[1].simpleString()}, and was {both[0].simpleString()} in "
                "the batches before; expected the same type, or write to another table"
            )
    return types


def _cast(rows: DataFrame, types: Mapping[str, DataType]) -> DataFrame:
    return rows.withColumns(
        {name: F.col(quote(name)).cast(type_) for name, type_ in types.items() if name in rows.columns}
    )


def _another_batch(error: BaseException) -> bool:
    """Whether a commit met one that has nothing to do with it, such as another batch's.

    By the name of Delta's error: the wheel of delta-spark 4.0.0 leaves its Python exceptions out.
    """
    return any(name in str(error) for name in ("DELTA_CONCURRENT", "DELTA_METADATA_CHANGED", "DELTA_PROTOCOL_CHANGED"))


def drop_batch(name: str, *, column: str = BATCH_COLUMN, value: str) -> None:
    """Remove one batch of a table, if there is one."""
    if exists(name):
        from delta.tables import DeltaTable

        path = _path(name)
        table = DeltaTable.forPath(spark(), path) if path else DeltaTable.forName(spark(), name)
        table.delete(f"{quote(column)} = DATE'{value}'")


@contextlib.contextmanager
def claimed(name: str, value: str) -> Iterator[None]:
    """Let no other run of this machine work on a table's batch meanwhile.

    A lock of the operating system, which ends with its process however that ends. On Databricks the job's own limit of
    one run at a time is what stands for it, and the transaction of ``replace_batch`` holds everywhere.

    Raises:
        PipelineError: another run is at work on it.
    """
    state = local_state()
    if state is None:
        yield
        return
    folder = state / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{re.sub(r'[^A-Za-z0-9.]', '_', name)} {value}").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise PipelineError(
                f"table {name}: another run is at work on batch {value} (process {file.read() or 'unknown'}); "
                "this one stops"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


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


def _save(writer: DataFrameWriter, name: str) -> int | None:
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
        writer.saveAsTable(name)
    # Delta's own word on the commit of this session, which another writer's commit does not change.
    version = spark().conf.get(_LAST_COMMIT, None)
    return None if version is None else int(version)
