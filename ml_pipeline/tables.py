"""Every Spark and Delta read and write.

A table is named ``catalog.schema.table``. On Databricks that is its name in Unity Catalog. On this machine the same
name is the path ``STATE/warehouse/catalog/schema/table``: a Delta table needs no metastore, and processes can share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ml_pipeline import local_spark
from ml_pipeline.errors import InputError, PipelineError

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame, DataFrameWriter, SparkSession
    from pyspark.sql.types import StructType

    from ml_pipeline.settings import Source

_LOCK = threading.Lock()
_BUCKETS = 1_000_000
_LAST_COMMIT = "spark.databricks.delta.lastCommitVersionInSession"
LARGEST = 3.4028234663852886e38
"""The greatest finite number of 32 bits: scikit-learn's trees refuse what lies beyond, as they refuse infinity."""
INFINITE = f"holds infinity, or a number beyond {LARGEST:.2g}; accepted: finite numbers, or no value"
_ATTEMPTS = 5
"""How often a commit is tried that other batches' commits get in the way of."""


@dataclass(frozen=True)
class Digest:
    """What rows are, in any order: how many, and a hash of all of them and of their columns."""

    rows: int
    hash: str

    @property
    def text(self) -> str:
        """As it is kept with a table's commit."""
        return f"{self.rows}-{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """What was kept with a commit."""
        rows, _, hash_ = text.partition("-")
        return cls(int(rows), hash_)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a write left behind."""

    table: str
    digest: Digest
    version: int
    """Delta version of the table that holds the rows."""
    changed: bool
    """Whether the write made a new version."""

    def __str__(self) -> str:
        return f"{self.digest.rows:,} rows, version {self.version}{'' if self.changed else ' (unchanged)'}"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What writing a batch left behind."""

    rows: int
    version: int
    """Delta version of the table that holds the batch."""

    def __str__(self) -> str:
        return f"{self.rows:,} rows, version {self.version}"


@dataclass(frozen=True)
class Profile:
    """What one pass over rows tells of them."""

    digest: Digest
    present: dict[str, int]
    """For each column that was asked for, how many rows have a value (which NaN is not)."""
    groups: dict[Any, int]
    """For each value of what the rows are grouped by, how many have it."""
    infinite: str | None
    """A column, of those that must not, that holds infinity or a number beyond ``LARGEST``."""


def local_state() -> Path | None:
    """The folder that stands for the workspace on this machine; ``None`` on a Databricks cluster."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return None
    return Path(os.environ.get("ML_PIPELINE_STATE") or ".state").resolve()


def session() -> SparkSession:
    """The Spark session: the cluster's on Databricks, else one of our own. Safe to call from several threads."""
    with _LOCK:
        return _session()


@functools.cache
def _session() -> SparkSession:
    state = local_state()
    if state is not None:
        return local_spark.create(state)
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()


def close() -> None:
    """Stop the session, if one is open."""
    with _LOCK:
        if _session.cache_info().currsize:
            _session().stop()
            _session.cache_clear()


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
        return session().catalog.tableExists(name)
    from delta.tables import DeltaTable

    return DeltaTable.isDeltaTable(session(), path)


def read(name: str, *, version: int | None = None) -> DataFrame:
    """A table's rows, at one version if given.

    Raises:
        InputError: there is no such table.
    """
    if not exists(name):
        raise InputError(f"table {name}: there is no such Delta table ({where(name)})")
    reader = session().read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    path = _path(name)
    return reader.load(path) if path else reader.table(name)


def last_write(name: str) -> tuple[int, str]:
    """The table's latest version, and the fingerprint that was left with it (empty if none was)."""
    path = _path(name)
    # As Delta's protocol has it: one file a commit, named by its version. Spark takes a second to say the same.
    commits = sorted(Path(path, "_delta_log").glob(f"{'[0-9]' * 20}.json")) if path else []
    if commits:
        return int(commits[-1].stem), _fingerprint(commits[-1])
    row = session().sql(f"DESCRIBE HISTORY {_identifier(name)} LIMIT 1").select("version", "userMetadata").first()
    assert row is not None, "a Delta table has a history"
    return int(row["version"]), row["userMetadata"] or ""


def _fingerprint(commit: Path) -> str:
    actions = map(json.loads, commit.read_text(encoding="utf-8").splitlines())
    return next((action["commitInfo"].get("userMetadata", "") for action in actions if "commitInfo" in action), "")


def replace(rows: DataFrame, name: str, digest: Digest) -> Written:
    """Make a table hold exactly these rows, in one commit; no new version where it holds them already.

    Args:
        rows: The rows.
        name: The table.
        digest: The rows' digest, which is kept with the commit.
    """
    if exists(name):
        version, last = last_write(name)
        if last == digest.text:
            return Written(table=name, digest=digest, version=version, changed=False)
    writer = rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    _save(writer.option("userMetadata", digest.text), name)
    return Written(table=name, digest=digest, version=_version_with(name, digest.text), changed=True)


def replace_both(parts: Mapping[str, tuple[DataFrame, Digest]]) -> list[Written]:
    """Replace tables by name, at the same time: most of what Spark does for a small table uses one core."""
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(lambda part: replace(part[1][0], part[0], part[1][1]), parts.items()))


def _version_with(name: str, fingerprint: str) -> int:
    """The latest version that holds these rows, whatever another writer committed meanwhile."""
    version, last = last_write(name)
    if last == fingerprint:
        return version
    from pyspark.sql import functions as F

    history = session().sql(f"DESCRIBE HISTORY {_identifier(name)}").where(F.col("userMetadata") == fingerprint)
    return max(int(row["version"]) for row in history.select("version").collect())


def latest_version(name: str) -> int:
    """The number of a table's latest version; -1 where there is no such table."""
    return last_write(name)[0] if exists(name) else -1


def replace_batch(
    rows: DataFrame, name: str, *, column: str, value: str, since: int | None = None, note: str = ""
) -> Batch:
    """Make one batch of a table hold exactly these rows, in one commit; other batches stay.

    The commit carries an application transaction: the batch is the application, and the transaction's number is one
    more than the version that the table had when the run began. Delta lets only one of the runs that began with the
    same batch commit (Delta protocol, "Transaction Identifiers"), whatever their clocks say.

    Args:
        rows: The batch, without its batch column.
        name: The table; it is made if it isn't there, and gains columns that are new.
        column: Batch column, a date.
        value: The batch's date, ``YYYY-MM-DD``.
        since: Version that the table had when the run began (``latest_version``); its present one if left out.
        note: What the table's history says of the commit.

    Raises:
        InputError: a column has another type than in the batches before.
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
    batch: Batch = retrying(_replace_batch, rows, name, column=column, value=value, began=began, note=note)
    return batch


def _replace_batch(rows: DataFrame, name: str, *, column: str, value: str, began: int, note: str) -> Batch:
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, PySparkException
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    counted = Observation()
    batch = rows.withColumn(column, F.lit(value).cast("date")).observe(counted, F.count(F.lit(1)).alias("rows"))
    writer = batch.write.format("delta").partitionBy(column).option("mergeSchema", "true")
    writer = writer.option("txnAppId", f"{name} {value}").option("txnVersion", began + 1)
    writer = writer.option("userMetadata", note) if note else writer
    if began < 0:
        # Whoever makes the table first, the others find its transaction.
        writer = writer.mode("append")
    else:
        writer = writer.mode("overwrite").option("replaceWhere", f"{column} = DATE'{value}'")
    session().conf.unset(_LAST_COMMIT)
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
    return Batch(rows=counted.get["rows"], version=version)


def _another_batch(error: BaseException) -> bool:
    """Whether a commit met one that has nothing to do with it, such as another batch's.

    By the name of Delta's error: the wheel of delta-spark 4.0.0 leaves its Python exceptions out.
    """
    return any(name in str(error) for name in ("DELTA_CONCURRENT", "DELTA_METADATA_CHANGED", "DELTA_PROTOCOL_CHANGED"))


def drop_batch(name: str, *, column: str, value: str) -> None:
    """Remove one batch of a table, if there is one."""
    if exists(name):
        from delta.tables import DeltaTable

        path = _path(name)
        table = DeltaTable.forPath(session(), path) if path else DeltaTable.forName(session(), name)
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


def with_constants(rows: DataFrame, **values: str | int) -> DataFrame:
    """Add columns that hold the same value in each row."""
    from pyspark.sql import functions as F

    return rows.withColumns({name: F.lit(value) for name, value in values.items()})


def _save(writer: DataFrameWriter, name: str) -> int | None:
    # People's columns keep their names: without the mapping, Delta refuses spaces and parentheses.
    writer = writer.option("delta.columnMapping.mode", "name")
    path = _path(name)
    if path:
        writer.save(path)
    else:
        writer.saveAsTable(name)
    # Delta's own word on the commit of this session, which another writer's commit does not change.
    version = session().conf.get(_LAST_COMMIT, None)
    return None if version is None else int(version)


def quote(column: str) -> str:
    """A column's name as Spark takes it literally, whatever characters it holds."""
    return "`" + column.replace("`", "``") + "`"


def profile(
    rows: DataFrame, sides: Column, *, columns: Sequence[str], by: Column, most: int, finite: Sequence[str] = ()
) -> dict[bool, Profile] | None:
    """Digest both sides of a split, and count values, in one pass.

    Args:
        rows: The rows.
        sides: Whether a row is on the one side or on the other.
        columns: Columns whose values are counted.
        by: What the rows are grouped by.
        most: How many groups there may be.
        finite: Columns that must not hold infinity.

    Returns:
        The profile of each side; ``None`` where there are more groups.
    """
    from pyspark.sql import functions as F

    def present(name: str) -> Column:
        value = F.col(quote(name))
        return F.count(F.when(~F.isnan(value), value) if _may_be_infinite(rows, name) else value)

    # The sum is the same in any order, and unlike a xor it doesn't lose a row that occurs twice.
    content = F.sum(F.xxhash64(*_hashable(rows)).cast("decimal(38,0)"))
    schema = F.xxhash64(F.lit(rows.schema.simpleString()))
    # One name for all columns, rather than a count of each: a table may have hundreds.
    named = [F.when(infinite(name), F.lit(name)) for name in finite if _may_be_infinite(rows, name)]
    worst = F.max(F.coalesce(*named, F.lit(None).cast("string")))
    counts = (F.count(F.lit(1)), content, F.first(schema), worst, *map(present, columns))
    grouped = rows.groupBy(sides, by).agg(*counts)
    found = grouped.limit(2 * most + 1).collect()
    if len({group for _, group, *_ in found}) > most:
        return None
    return {side: _sum_up([row for row in found if row[0] is side], columns) for side in (True, False)}


def _sum_up(found: Sequence[Sequence[Any]], columns: Sequence[str]) -> Profile:
    content, counts = 0, dict.fromkeys(columns, 0)
    for _, _, _, summed, _, _, *present in found:
        content += int(summed)
        counts = {name: counts[name] + count for name, count in zip(columns, present, strict=True)}
    groups = {group: count for _, group, count, *_ in found}
    worst = next((row[5] for row in found if row[5] is not None), None)
    hash_ = f"{content % 2**64:016x}{found[0][4] % 2**64:016x}" if found else ""
    return Profile(Digest(sum(groups.values()), hash_), counts, groups, worst)


def _may_be_infinite(rows: DataFrame, name: str) -> bool:
    return rows.schema[name].dataType.typeName() in ("float", "double")


def infinite(name: str) -> Column:
    """Whether a column of fractions holds infinity, or a number beyond ``LARGEST``."""
    from pyspark.sql import functions as F

    value = F.col(quote(name))
    # To Spark, NaN is greater than any number.
    return ~F.isnan(value) & (F.abs(value) > LARGEST)


def finite(rows: DataFrame, name: str, *, where: str) -> Column:
    """A column's values, of which an infinite one ends whatever reads them; ``reading`` says why."""
    from pyspark.sql import functions as F

    value = F.col(quote(name))
    if not _may_be_infinite(rows, name):
        return value
    return F.when(infinite(name), F.raise_error(F.lit(f"column '{name}' of {where} {INFINITE}"))).otherwise(value)


def _hashable(rows: DataFrame) -> list[Column]:
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType

    nested = (ArrayType, MapType, StructType)
    return [
        F.to_json(F.struct(quote(field.name))) if isinstance(field.dataType, nested) else F.col(quote(field.name))
        for field in sorted(rows.schema, key=lambda field: field.name)
    ]


def bucket(rows: DataFrame, columns: list[str], *, salt: str) -> Column:
    """A number in [0, 1) for each row, from a hash of its values alone.

    The hash takes the values as canonical text, so that it stays the same when a later row widens a column's type: 1,
    1.0 and "1" are the same, and so are a date, its midnight and the text of either.

    Args:
        rows: The rows.
        columns: Columns that decide; the order in which they are given plays no role.
        salt: Another salt gives another, independent number.
    """
    from pyspark.sql import functions as F

    def canonical(name: str) -> Column:
        value = F.col(quote(name))
        if rows.schema[name].dataType.typeName() in ("array", "map", "struct"):
            return F.to_json(F.struct(value))
        text = value.cast("string")
        # Adding zero turns -0.0 into 0.0.
        number = (text.try_cast("double") + F.lit(0.0)).cast("string")
        forms = [number, F.lower(F.trim(text)), F.lit("\0")]
        if rows.schema[name].dataType.typeName() in ("string", "varchar", "char", "date", "timestamp", "timestamp_ntz"):
            # A time without a date would be one of today.
            dated = F.when(F.trim(text).rlike(r"^\d{4}-\d{1,2}-\d{1,2}([ Tt]|$)"), text.try_cast("timestamp"))
            forms.insert(1, dated.cast("string"))
        return F.coalesce(*forms)

    digest = F.xxhash64(F.lit(salt), *(canonical(name) for name in sorted(columns)))
    return F.pmod(digest, F.lit(_BUCKETS)) / F.lit(float(_BUCKETS))


def to_pandas(rows: DataFrame, columns: Sequence[Column | str], *, order_by: list[str] | None = None) -> pd.DataFrame:
    """Columns of the rows as pandas, in an order that depends on the rows alone and not on how Spark read them.

    Args:
        rows: The rows.
        columns: What to take of them.
        order_by: The columns whose hash gives the order; all where left out.
    """
    from pyspark.sql import functions as F

    hashed = rows.select(*map(quote, order_by)) if order_by else rows
    frame = rows.select(*columns, F.xxhash64(*_hashable(hashed))).toPandas()
    # By its place: whatever its name, a column of the rows may have it too.
    order = frame.iloc[:, -1].argsort(kind="stable")
    return frame.iloc[order, :-1].reset_index(drop=True)


def read_source(source: Source, *, schema: StructType | None = None) -> DataFrame:
    """The rows of a source.

    Args:
        source: The source.
        schema: The columns of a CSV file with their types; where left out, Spark guesses these from the values.

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
        return session().read.parquet(source.parquet)
    reader = session().read.option("header", True)
    reader = reader.schema(schema) if schema else reader.option("inferSchema", True)
    reader = reader.option("sep", source.separator).option("nullValue", source.null_value)
    # As RFC 4180 has it: quotes are doubled inside quotes, where line ends count as text.
    reader = reader.option("escape", '"').option("multiLine", True).option("mode", "FAILFAST")
    reader = reader.option("ignoreLeadingWhiteSpace", True).option("ignoreTrailingWhiteSpace", True)
    # Else a time without a date is one of today, and its row another one tomorrow.
    reader = reader.option("timestampFormat", "yyyy-MM-dd[ ]['T']HH:mm[:ss][.SSSSSS][XXX]")
    return reader.csv(source.csv or "")


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


def cause(error: BaseException) -> str:
    """What an error is about, in one line; Spark's go on with the whole Java stack, whose end says most."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return re.sub(r"^Caused by: [\w.$]+: ", "", causes[-1]) if causes else lines[0]


def _read_sklearn(name: str) -> DataFrame:
    from sklearn import datasets

    # So few rows are one partition: each further one costs a Python worker that imports its libraries.
    return session().createDataFrame(getattr(datasets, f"load_{name}")(as_frame=True).frame).coalesce(1)
