"""The Spark session, the folder that holds the tables of this machine, and the user's cache.

On Databricks the cluster brings its own session; here it is one with Delta, tuned for one process and small tables.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.data import jvm
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# The JVM's fast start is worth more here than its peak speed: session, write and read took 20 s instead of 27 s.
# Compiled code gets the room that it has when the JVM compiles as on a cluster: in the 48 MB that it has otherwise, the
# JVM forgets and compiles it again after a minute, a fifth of its CPU time.
DEFAULT_JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=240m"
JAVA_OPTIONS = "ML_PIPELINE_JAVA_OPTIONS"
"""Environment variable that takes the place of these, for millions of rows: empty, the JVM compiles as on a cluster."""

_MEMORY = "2g"
"""Of the driver, which is the only process of Spark here. ``JAVA_OPTIONS`` may hold another ``-Xmx``."""

_TASK_ATTEMPTS = 4
"""As on a cluster: where a Python worker is killed, its task runs again (``spark.task.maxFailures``)."""

_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{yy/MM/dd HH:mm:ss}} %p %c{{1}}: %m%n%ex
"""

_LOCK = threading.Lock()


def local_state() -> Path | None:
    """The folder that stands for the workspace on this machine; ``None`` on a Databricks cluster."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return None
    return Path(os.environ.get("ML_PIPELINE_STATE") or ".state").resolve()


def spark() -> SparkSession:
    """The Spark session: the cluster's on Databricks, else one of our own. Safe to call from several threads."""
    with _LOCK:
        return _spark()


@functools.cache
def _spark() -> SparkSession:
    state = local_state()
    if state is not None:
        return create(state)
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()


def suit_small_tables() -> None:
    """Do without what pays for large tables only: queries compiled to Java, and several partitions after a shuffle."""
    for name, value in {
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.shuffle.partitions": "1",
    }.items():
        spark().conf.set(name, value)


def close() -> None:
    """Stop the session, if one is open."""
    with _LOCK:
        if _spark.cache_info().currsize:
            _spark().stop()
            _spark.cache_clear()


def create(state: Path) -> SparkSession:
    """Open the session, or return the one that is open.

    Spark's log goes to ``STATE/logs/spark.log``.

    Raises:
        InputError: Java or PySpark is missing.
    """
    try:
        from pyspark import SparkConf, SparkContext
        from pyspark.sql import SparkSession

        packages = delta_packages()
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
        SparkSession.builder.master(f"local[*,{_TASK_ATTEMPTS}]")
        .appName("ml-pipeline")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.sql.warehouse.dir", str(state / "warehouse"))
        .config("spark.driver.host", "localhost")
        .config("spark.driver.bindAddress", "127.0.0.1")
        # Imports once what every worker would import (`warm_up.serve_workers`).
        .config("spark.python.daemon.module", "ml_pipeline.local.warm_up")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        # The defaults of 200 and 50 partitions cost seconds on small tables.
        .config("spark.sql.shuffle.partitions", cores)
        .config("spark.databricks.delta.snapshotPartitions", "1")
    )
    jars = known_jars(packages)
    if not jars:
        builder = builder.config("spark.jars.packages", packages)
    settings = dict(builder._options)  # noqa: SLF001 (a builder has no getter)
    if SparkContext._gateway is None:  # noqa: SLF001 (a process has one JVM, which outlives a session)
        options = [f"-Xmx{_MEMORY}", *java_options(), f"-Dlog4j2.configurationFile={logging.as_uri()}"]
        gateway = jvm.start(jvm.find(), options, jars, settings, logs / "java.log")
        SparkContext(conf=SparkConf(loadDefaults=False).setAll(list(settings.items())), gateway=gateway)
    session = builder.getOrCreate()
    _remember_jars(packages, session.conf.get("spark.jars", "") or "", folder=logs)
    return session


def java_options() -> list[str]:
    """The JVM's options: those of ``JAVA_OPTIONS`` or ours, and the archive of classes if there is one."""
    options = shlex.split(os.environ.get(JAVA_OPTIONS, DEFAULT_JAVA_OPTIONS))
    return [*options, f"-XX:SharedArchiveFile={archive()}"] if archive().is_file() else options


def archive() -> Path:
    """Where the archive of Java classes lies (``class_archive``): beside the jars whose paths and times it records."""
    return jvm.spark_home() / "classes.jsa"


def delta_packages() -> str:
    """Maven coordinates of Delta's jars, for the installed version of delta-spark."""
    from delta import configure_spark_with_delta_pip
    from pyspark.sql import SparkSession

    builder = SparkSession.Builder()
    configure_spark_with_delta_pip(builder)
    return str(builder._options["spark.jars.packages"])  # noqa: SLF001


def known_jars(packages: str) -> list[str]:
    """Where Ivy put Delta's jars the last time: asking it again costs seconds, and the network."""
    kept = cached(_kept(packages))
    jars = kept.read_text().split("\n") if kept.is_file() else []
    return jars if all(Path(jar).is_file() for jar in jars) else []


def _remember_jars(packages: str, jars: str, *, folder: Path) -> None:
    paths = [jar.removeprefix("file://") for jar in jars.split(",")]
    if jars and paths != known_jars(packages) and all(Path(path).is_file() for path in paths):
        made = folder / "jars"
        made.write_text("\n".join(paths))
        keep(made, _kept(packages))


def _kept(packages: str) -> str:
    return f"{packages.replace(':', '_').replace(',', '+')}.jars"


def cached(name: str) -> Path:
    """Where something is kept, whether it is there or not."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "ml-pipeline" / name


def keep(made: Path, name: str) -> None:
    """Keep a copy of a file; a reader never sees half of it."""
    target = cached(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    shutil.copyfile(made, partial)
    partial.replace(target)
