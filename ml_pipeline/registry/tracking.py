"""The MLflow client of a workspace, or of a SQLite file on this machine."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.data import session
from ml_pipeline.errors import PipelineError
from ml_pipeline.registry.lazy import mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOCK = threading.Lock()
_DATABASE = "mlflow.db"

_DEFAULTS = {
    # A server that is away for half a minute is waited for; for longer, the job's own retry is there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "6",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # The commands say themselves what they made.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_LONGEST = 500
"""Characters of a server's answer that are shown: it may be a page."""


def client() -> MlflowClient:
    """The client of the workspace's tracking server and registry, or of a SQLite file on this machine."""
    with _LOCK:
        return _client()


@functools.cache
def _client() -> MlflowClient:
    _quieten()
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    state = session.local_state()
    if state is None:
        mlflow.set_registry_uri("databricks-uc")
    elif not os.environ.get("MLFLOW_TRACKING_URI"):
        _make_database(state)
        mlflow.set_tracking_uri(local_uri(state))
        _open_without_litter()
    return mlflow.MlflowClient()


def warm_up() -> None:
    """Let MLflow list what is installed, which it keeps, ahead of the first model that it logs."""
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    warn_dependency_requirement_mismatches(["mlflow"])


def _open_without_litter() -> None:
    # Whatever folder it is opened in, MLflow makes one for artifacts there, which stays empty: ours have another place.
    litter = Path("mlruns")
    ours = not litter.exists()
    mlflow.MlflowClient().search_experiments(max_results=1)
    if ours:
        with contextlib.suppress(OSError):
            litter.rmdir()


def _make_database(state: Path) -> None:
    """Make the SQLite file of a new state folder.

    MLflow's dozens of migrations take seconds, so they are run once on an empty file, which is kept and copied.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database, name = state / _DATABASE, f"mlflow-{mlflow.__version__}.db"
    if database.exists():
        return
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state) as folder:
        made = Path(folder) / _DATABASE
        if session.cached(name).exists():
            shutil.copyfile(session.cached(name), made)
        else:
            with _migrating():
                SqlAlchemyStore(f"sqlite:///{made}", folder)  # type: ignore[no-untyped-call]
            session.keep(made, name)
        # Two programs may start on one new folder: the database is that of the first.
        with contextlib.suppress(FileExistsError):
            os.link(made, database)


@contextlib.contextmanager
def _migrating() -> Iterator[None]:
    # Each migration of MLflow sets the level of its own logger, and each has another name.
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        yield
    finally:
        logging.disable(before)


def _quieten() -> None:
    """Leave out of the log a new database's migrations, each registered version, and tracebacks of errors it raises.

    A filter rather than a level: MLflow configures these loggers anew each time it opens a database.
    """
    for noisy in ("alembic.runtime.migration", "mlflow.store.db.utils", "mlflow.tracking._model_registry.fluent"):
        logging.getLogger(noisy).addFilter(lambda record: record.levelno > logging.WARNING and not record.exc_info)
    warnings.filterwarnings("ignore", message="(?s).*Inferred schema contains integer column", category=UserWarning)


def local_uri(state: Path) -> str:
    """The tracking URI of a state folder."""
    return f"sqlite:///{state / _DATABASE}"


def check_place(state: Path) -> None:
    """Whether MLflow would write the artifacts of a state folder into that folder; it keeps their absolute path.

    Raises:
        PipelineError: the folder was moved or copied, or its database can't be read.
    """
    database = state / _DATABASE
    if not database.exists():
        return
    # The first experiment is MLflow's own, which no run uses.
    query = "SELECT name, artifact_location FROM experiments WHERE experiment_id != 0"
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            experiments = connection.execute(query).fetchall()
    except sqlite3.DatabaseError as error:
        raise PipelineError(f"{database}: can't be read: {error}") from error
    for name, location in experiments:
        if location.startswith("file:") and not location.startswith(state.as_uri()):
            raise PipelineError(
                f"--state {state}: was moved or copied: MLflow keeps the artifacts of experiment {name} in {location}; "
                "move the folder back, or choose another one"
            )


def experiment_id(name: str) -> str:
    """The id of an experiment, which is made if it isn't there.

    Raises:
        PipelineError: it was deleted.
    """
    found = client().get_experiment_by_name(name)
    state = session.local_state()
    local = state is not None and mlflow.get_tracking_uri() == local_uri(state)
    location = (state / "artifacts").as_uri() if state and local else None
    if found is None:
        return str(client().create_experiment(name, artifact_location=location))
    if found.lifecycle_stage != "active":
        raise PipelineError(
            f"experiment {name} was deleted; restore it: MLFLOW_TRACKING_URI={mlflow.get_tracking_uri()} "
            f"mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id)


@contextlib.contextmanager
def faults_of(where: str) -> Iterator[None]:
    """Inside, what a tracking server rejects, or that it can't be reached, is one message that names it.

    Raises:
        PipelineError: that message.
    """
    try:
        yield
    except (mlflow.exceptions.MlflowException, OSError) as error:
        said = " ".join(str(error).split())
        denied = re.search(r"\b40[13]\b|UNAUTHENTICATED|PERMISSION", said)
        hint = ": see who signs in, and what it may do" if denied else ""
        raise PipelineError(f"{where}: MLflow: {said[:_LONGEST]}{hint}") from error


def has_experiment(name: str) -> bool:
    """Whether an experiment is there."""
    found = client().get_experiment_by_name(name)
    return found is not None and found.lifecycle_stage == "active"
