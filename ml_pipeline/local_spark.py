"""A Spark session with Delta on this machine, tuned for one process and small tables.

On Databricks the cluster brings its own session, and nothing here is used.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.errors import InputError
from ml_pipeline.preflight import java_problem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# The JVM's fast start is worth more here than its peak speed: session, write and read took 20 s instead of 27 s.
_JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{yy/MM/dd HH:mm:ss}} %p %c{{1}}: %m%n%ex
"""


def create(state: Path) -> SparkSession:
    """Open the session, or return the one that is open.

    Spark's log goes to ``STATE/logs/spark.log``.

    Raises:
        InputError: Java or PySpark is missing.
    """
    problem = java_problem()
    if problem:
        raise InputError(problem)
    try:
        from delta import configure_spark_with_delta_pip
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; install the wheel with its extra: 'ml-pipeline[spark]'"
        ) from error
    cores = str(os.cpu_count() or 2)
    logs = state / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    logging = logs / "log4j2.properties"
    logging.write_text(_LOGGING.format(file=(logs / "spark.log").as_posix()))
    # Without it, workers start the system's python3 and miss every package.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = (
        SparkSession.builder.master("local[*]")
        .appName("ml-pipeline")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.sql.warehouse.dir", str(state / "warehouse"))
        .config("spark.driver.extraJavaOptions", f'{_JAVA_OPTIONS} "-Dlog4j2.configurationFile={logging.as_uri()}"')
        .config("spark.driver.host", "localhost")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "2g")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        # The defaults of 200 and 50 partitions cost seconds on small tables.
        .config("spark.sql.shuffle.partitions", cores)
        .config("spark.databricks.delta.snapshotPartitions", "1")
    )
    configure_spark_with_delta_pip(builder)
    jars = _Jars(builder._options["spark.jars.packages"])
    if jars.known():
        del builder._options["spark.jars.packages"]
        builder = builder.config("spark.jars", ",".join(jars.known()))
    with _standard_error_to(logs / "java.log"):
        session = builder.getOrCreate()
    jars.remember(session.conf.get("spark.jars") or "")
    return session


class _Jars:
    """Where Ivy put Delta's jars the last time: asking it again costs seconds, and the network."""

    def __init__(self, packages: str) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._file = cache / "ml-pipeline" / f"{packages.replace(':', '_').replace(',', '+')}.jars"

    def known(self) -> list[str]:
        if not self._file.is_file():
            return []
        jars = self._file.read_text().split()
        return jars if all(Path(jar).is_file() for jar in jars) else []

    def remember(self, jars: str) -> None:
        paths = [jar.removeprefix("file://") for jar in jars.split(",")]
        if jars and paths != self.known() and all(Path(path).is_file() for path in paths):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial = self._file.with_suffix(f".{os.getpid()}")
            partial.write_text("\n".join(paths))
            partial.replace(self._file)


@contextlib.contextmanager
def _standard_error_to(file: Path) -> Iterator[None]:
    """Let the Java process that starts inside write its start-up chatter to a file; show it if the start fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 2)
    try:
        yield
    except BaseException:
        os.write(kept, file.read_bytes())
        raise
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(target)
