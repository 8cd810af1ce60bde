"""``run-task``, which Databricks calls."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ml_pipeline import entry_point
from ml_pipeline.cli.guard import guarded, quieten, tell
from ml_pipeline.data import session


def main() -> None:
    """Run one step. On Databricks a failure is raised, since the exit code of a wheel task is not looked at."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        quieten(verbose=False)
        tell(entry_point.parse(sys.argv[1:])())
        return
    arguments = [argument for argument in sys.argv[1:] if argument != "--verbose"]
    sys.exit(guarded(lambda: tell(_run(arguments)), verbose="--verbose" in sys.argv[1:]))


def _run(arguments: Sequence[str]) -> dict[str, str]:
    try:
        return entry_point.parse(arguments)()
    finally:
        session.close()
