"""An archive of parsed Java classes, which a JVM maps into memory as it starts (JEP 350, Dynamic CDS Archives).

It takes a third off a session that writes and reads a Delta table. A JVM ignores an archive that does not fit its
version or its class path. ``python -m ml_pipeline.data.class_archive`` writes it, once for each installation.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ml_pipeline.data import functions as F
from ml_pipeline.data import jvm, session
from ml_pipeline.errors import PipelineError


def write() -> None:
    """Write the archive from the classes that a session with a Delta table loads; takes most of a minute."""
    archive = session.archive()
    archive.unlink(missing_ok=True)
    java = jvm.find()
    if java.is_relative_to(sys.prefix):
        # Its package leaves out the archive of Java's own classes, to which ours is an addition.
        _run([str(java), "-Xshare:dump", "-Xlog:disable", "-XX:+UseSerialGC"], {})
    partial = archive.with_suffix(f".{os.getpid()}")
    options = f'{session.DEFAULT_JAVA_OPTIONS} -Xlog:disable "-XX:ArchiveClassesAtExit={partial}"'
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-P", "-W", "ignore", "-m", "ml_pipeline.data.class_archive", state]
        if not session.known_jars(session.delta_packages()):
            # The archive is for the class path of a session that need not ask Maven Central for Delta.
            _run(command, {})
        _run(command, {session.JAVA_OPTIONS: options})
    if partial.is_file():
        partial.replace(archive)
    else:
        print("setup: this Java can't archive classes; Spark will start slower")


def _run(command: list[str], variables: dict[str, str]) -> None:
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PipelineError((done.stderr.strip().splitlines() or [str(done.returncode)])[-1])


def _load(state: str) -> None:
    """Load what the steps load, and end the JVM, which writes the archive as it ends."""
    from pyspark.sql import Observation
    from pyspark.sql.pandas.functions import pandas_udf

    spark = session.create(Path(state))
    counted, table = Observation(), f"{state}/table"
    rows = spark.range(100).withColumn("text", F.col("id").cast("string")).withColumn("day", F.lit("2026-01-01"))
    rows = rows.withColumn("twice", pandas_udf(lambda ids: 2 * ids, "long")("id"))  # type: ignore[call-overload]
    for _ in range(2):
        writer = rows.observe(counted, F.count(F.lit(1)).alias("rows")).write.format("delta").mode("overwrite")
        writer.option("replaceWhere", "day = '2026-01-01'").partitionBy("day").save(table)
        counted = Observation()
    spark.read.format("delta").load(table).groupBy("day").agg(F.max(F.xxhash64("text"))).toPandas()
    spark.sql(f"DESCRIBE HISTORY delta.`{table}`").collect()
    gateway = spark.sparkContext._gateway.proc  # type: ignore[union-attr]  # noqa: SLF001 (the JVM has no other handle)
    spark.stop()
    gateway.stdin.close()
    gateway.wait()


if __name__ == "__main__":
    # With a state folder it is the session that the archive is made from.
    if sys.argv[1:]:
        _load(sys.argv[1])
    else:
        try:
            write()
        except PipelineError as error:
            sys.exit(f"setup: can't archive Java classes: {error}; Spark will start slower")
