"""Commands of the project in the test's own process, on its Spark session and with the libraries that it has imported.

A command in a process of its own costs some 40 CPU seconds, nearly all of them to start. The tests of the command line
start a few; all others call the same function with the same arguments.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from mlflow.tracking._tracking_service import utils as tracking_service

from ml_pipeline.cli import main, run_task
from ml_pipeline.data import session
from ml_pipeline.registry import tracking

PROGRAMS: dict[str, Callable[[], None]] = {"ml-pipeline": main.main, "run-task": run_task.main}


def environment(**variables: str) -> dict[str, str]:
    """The variables of this process without those that name a workspace, and with others."""
    named = ("ML_PIPELINE", "MLFLOW", "DATABRICKS", "INSTANCE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(named)}
    return {**kept, "COLUMNS": "200", **variables}


def forget_workspace() -> None:
    """Let the next look at MLflow find the folder that ``ML_PIPELINE_STATE`` names."""
    tracking._client.cache_clear()
    # MLflow remembers where a run's artifacts are, by the run alone: a copy has the same run elsewhere.
    getattr(tracking_service, "_artifact_repos_cache", {}).clear()


def call(
    *arguments: str, cwd: Path, program: str = "ml-pipeline", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command here; the Spark session, if there is one, stays open."""
    output, errors = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.object(sys, "argv", [program, *arguments]),
        mock.patch.object(session, "close"),
        mock.patch.dict(os.environ, environment(**variables), clear=True),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        forget_workspace()
        try:
            PROGRAMS[program]()
        except SystemExit as end:
            code = end.code or 0
    forget_workspace()
    assert isinstance(code, int)
    return subprocess.CompletedProcess([program, *arguments], code, output.getvalue(), errors.getvalue())
