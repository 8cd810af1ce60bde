"""Batches of tables: each is one commit, keyed by a date, that replaces exactly itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ml_pipeline.data import columns, tables
from ml_pipeline.data import functions as F
from ml_pipeline.data.session import local_state, spark
from ml_pipeline.errors import InputError, PipelineError, cause
from ml_pipeline.names import BATCH_COLUMN

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

_ATTEMPTS = 5
"""How often a commit is tried that other batches' commits get in the way of."""


def replace(
    rows: DataFrame, name: str, *, column: str = BATCH_COLUMN, value: str, since: int | None = None, note: str = ""
) -> tables.Written:
    """Make one batch of a table hold exactly these rows, in one commit; other batches stay.

    The commit carries an application transaction: the batch is the application, and the transaction's number is one
    more than the version that the table had when the run began. Delta lets only one of the runs that began with the
    same batch commit (Delta protocol, "Transaction Identifiers"), whatever their clocks say.

    The table is made if it isn't there, and gains columns that are new. A column's type in the table stays, if it holds
    the rows' values; if only a wider type holds both (a number with fractions, or text), the table is rewritten with
    it, in the same commit, and a line is printed. The batch column, which the rows lack, holds a
    date, ``YYYY-MM-DD``. ``since`` is the version that the table had when the run began (``latest_version``), by
    default its present one. The note goes into the table's history.

    Raises:
        InputError: Delta can't write the rows.
        PipelineError: another run wrote this batch after this one began.
    """
    began = tables.latest_version(name) if since is None else since
    retrying = Retrying(
        retry=retry_if_exception(_another_batch),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        stop=stop_after_attempt(_ATTEMPTS),
        before_sleep=lambda _: print(f"table {name}: another batch was written meanwhile; trying again", flush=True),
        reraise=True,
    )
    written: tables.Written = retrying(_replace, rows, name, column=column, value=value, began=began, note=note)
    return written


def _replace(rows: DataFrame, name: str, *, column: str, value: str, began: int, note: str) -> tables.Written:
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, PySparkException
    from pyspark.sql import Observation

    counted = Observation()
    batch = rows.withColumn(column, F.lit(value).cast("date"))
    before = tables.read(name) if began >= 0 or tables.exists(name) else None
    types = _types(batch, before) if before is not None else {}
    batch = _cast(batch, types).observe(counted, F.count(F.lit(1)).alias("rows"))
    wider = [name_ for name_, type_ in types.items() if before is not None and before.schema[name_].dataType != type_]
    for each in batch.columns:
        if before is not None and each not in before.columns:
            print(f"table {name}: added column '{each}'", flush=True)
    options = {"txnAppId": f"{name} {value}", "txnVersion": str(began + 1)} | ({"userMetadata": note} if note else {})
    if wider and before is not None:
        for each in wider:
            print(
                f"table {name}: column '{each}' changes from {before.schema[each].dataType.simpleString()} to "
                f"{types[each].simpleString()}",
                flush=True,
            )
        others = _cast(before.where(F.col(columns.quote(column)) != F.lit(value).cast("date")), types)
        batch, mode = others.unionByName(batch, allowMissingColumns=True), "overwrite"
        options["overwriteSchema"] = "true"
    elif began < 0:
        # Whoever makes the table first, the others find its transaction.
        mode, options["mergeSchema"] = "append", "true"
    else:
        mode, options["mergeSchema"] = "overwrite", "true"
        options["replaceWhere"] = f"{column} = DATE'{value}'"
    writer = batch.write.format("delta").mode(mode).partitionBy(column).options(**options)
    spark().conf.unset(tables.LAST_COMMIT)
    try:
        version = tables.save(writer, name)
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
    return tables.Written(rows=counted.get["rows"], version=version)


def _types(batch: DataFrame, before: DataFrame) -> dict[str, DataType]:
    """For each column whose type differs from the table's, the one that holds the values of both."""
    types: dict[str, DataType] = {}
    for each in (field for field in batch.schema if field.name in before.columns):
        old, new = before.schema[each.name].dataType, each.dataType
        if old.simpleString() != new.simpleString():
            types[each.name] = columns.widest(old, new)
    return types


def _cast(rows: DataFrame, types: Mapping[str, DataType]) -> DataFrame:
    return rows.withColumns(
        {
            name: columns.as_text(rows, name)
            if type_.typeName() == "string"
            else F.col(columns.quote(name)).cast(type_)
            for name, type_ in types.items()
            if name in rows.columns
        }
    )


def _another_batch(error: BaseException) -> bool:
    """Whether a commit met one that has nothing to do with it, such as another batch's.

    By the name of Delta's error: the wheel of delta-spark 4.0.0 leaves its Python exceptions out.
    """
    return any(name in str(error) for name in ("DELTA_CONCURRENT", "DELTA_METADATA_CHANGED", "DELTA_PROTOCOL_CHANGED"))


def drop(name: str, *, column: str = BATCH_COLUMN, value: str) -> None:
    """Remove one batch of a table, if there is one."""
    if tables.exists(name):
        tables.delete(name, f"{columns.quote(column)} = DATE'{value}'")


@contextlib.contextmanager
def claimed(name: str, value: str) -> Iterator[None]:
    """Let no other run of this machine work on a table's batch meanwhile.

    A lock of the operating system, which ends with its process however that ends. On Databricks the job's own limit of
    one run at a time is what stands for it, and the transaction of ``replace`` holds everywhere.

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
