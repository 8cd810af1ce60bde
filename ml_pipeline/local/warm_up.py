"""Shortens a run on this machine: imports, the JVM, MLflow and Spark's workers start before a task waits for them.

Nothing here changes a result; without it, a run on Iris takes about twice as long.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_BESIDE = "ML_PIPELINE_BESIDE"
"""Environment variable with the folder of the pipeline's file, for Spark's workers."""
SMALL = 10_000_000
"""Bytes of a source on which compiling Spark's queries costs more than it saves: a fifth of the JVM's time on Iris."""


@contextlib.contextmanager
def eager_threads() -> Iterator[None]:
    """Switch threads ten times as often, so that a thread that waits for the JVM does not wait for an import too."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 10)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def without_collection(import_: Callable[[], T]) -> T:
    """Import without the garbage collector: imported objects stay, and scanning them takes a tenth of the time."""
    gc.disable()
    try:
        return import_()
    finally:
        gc.freeze()
        gc.enable()


def skip_last_collection() -> None:
    """Spare the process, as it ends, a search for garbage among all that it imported: most of a second."""
    gc.freeze()


def import_beside(file: Path) -> None:
    """Let this process, and the workers that Spark starts later, import the modules in the folder of a file.

    They come last, so that a folder that holds the project's source does not replace the installed wheel.
    """
    os.environ[_BESIDE] = str(file.resolve().parent)
    _extend_path()


def _extend_path() -> None:
    folder = os.environ.get(_BESIDE)
    if folder and folder not in sys.path:
        sys.path.append(folder)


def start_spark(*, small: bool) -> None:
    """Start the JVM while Python imports the libraries of the steps: each takes seconds."""
    from ml_pipeline.data import session

    _import("pyspark.sql", "delta")
    _ahead(session.suit_small_tables if small else session.spark)
    # The session waits for pandas, and for nothing else that the steps import.
    _import("pandas")


def is_small(source: Mapping[str, str]) -> bool:
    """Whether a source has at most ``SMALL`` bytes, as far as this machine can see."""
    if "sklearn" in source:
        return True
    path = Path(source.get("csv") or source.get("parquet") or "no file")
    files = [path] if path.is_file() else path.rglob("*")
    return path.exists() and sum(file.stat().st_size for file in files) <= SMALL


def open_tracking() -> threading.Thread:
    """Import and open MLflow; join the thread before a task imports MLflow, because two threads must not."""

    def open_() -> None:
        from ml_pipeline.registry import tracking

        # In the order in which they are needed.
        tracking.client()
        _import("ml_pipeline.reports.figures", "mlflow.sklearn", "mlflow.pyfunc", "ml_pipeline.reports.scorecard")
        tracking.warm_up()

    return _ahead(open_)


def start_worker() -> None:
    """Start a Python worker of Spark, which imports scikit-learn, before the first task that scores."""

    def start() -> None:
        from ml_pipeline.model import predictor

        predictor.start_worker()

    _ahead(start)


def serve_workers() -> None:
    """Be the process that forks Spark's Python workers, and import what each of them would import by itself."""
    _extend_path()
    without_collection(lambda: _import("pandas", "pyarrow", "pyspark.worker", "ml_pipeline.model.evaluator"))
    importlib.import_module("pyspark.daemon").manager()


def _import(*names: str) -> None:
    for name in names:
        with contextlib.suppress(ImportError):  # The step that needs it reports it.
            importlib.import_module(name)


def _ahead(prepare: Callable[[], object]) -> threading.Thread:
    """Prepare something in the background; if that fails, it fails again in the task, which reports it."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            prepare()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    serve_workers()
