"""Creates runs, finds them by their tags, and logs to them."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline import errors
from ml_pipeline.data import session, tables
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.names import GIT_BRANCH, JOB_RUN_ID
from ml_pipeline.registry.lazy import mlflow
from ml_pipeline.registry.tracking import client, experiment_id

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow.entities import Run

_MOST_METRICS = 1000
"""Metrics that MLflow takes in one call."""


def create_run(experiment: str, *, name: str, tags: Mapping[str, str]) -> Run:
    """Announce a run that a later task will carry out, or announce anew what an earlier attempt of the job run did."""
    mine = matching(**{JOB_RUN_ID: tags[JOB_RUN_ID]}) if JOB_RUN_ID in tags else ""
    earlier = search(experiment, mine, most=1) if mine else []
    if earlier:
        set_tags(earlier[0], tags)
    run = earlier[0] if earlier else client().create_run(experiment_id(experiment), run_name=name, tags=dict(tags))
    client().update_run(run.info.run_id, status="SCHEDULED")
    return run


def record_run(experiment: str, *, name: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> Run:
    """A run that is over, with its metrics; what MLflow accepts in no name of one becomes ``_``."""
    run = client().create_run(experiment_id(experiment), run_name=name, tags=dict(tags))
    now = int(time.time() * 1000)
    named = {re.sub(r"[^\w\-. /]", "_", name)[:250]: value for name, value in metrics.items()}
    values = [mlflow.entities.Metric(name, float(value), now, 0) for name, value in named.items()]
    for i in range(0, len(values), _MOST_METRICS):
        client().log_batch(run.info.run_id, metrics=values[i : i + _MOST_METRICS])
    client().set_terminated(run.info.run_id)
    return run


def run(run_id: str) -> Run:
    """A run by its id.

    Raises:
        InputError: there is no such run.
    """
    try:
        return client().get_run(run_id)
    except mlflow.exceptions.MlflowException as error:
        raise InputError(f"MLflow has no run {run_id}: {errors.cause(error)}") from error


def log_files(run: Run, files: Mapping[str, bytes]) -> None:
    """Keep files with a run, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        client().log_artifacts(run.info.run_id, folder)


def matching(**tags: str) -> str:
    """A search filter for runs with these tags."""
    return " and ".join(f"tags.`{name}` = {quoted(value)}" for name, value in tags.items())


def quoted(value: str) -> str:
    """A value in a search filter.

    Raises:
        InputError: it holds both kinds of quotes: a filter has no way to write that.
    """
    if "'" in value and '"' in value:
        raise InputError(f"{value}: holds both kinds of quotes, which MLflow can't search for; accepted: one kind")
    return f'"{value}"' if "'" in value else f"'{value}'"


def search(
    experiment: str, filter_string: str, *, order_by: str = "attributes.start_time DESC", most: int
) -> list[Run]:
    """Runs of an experiment, filtered and sorted by the tracking server, which sends no more than asked for."""
    if order_by.startswith("metrics."):
        _count_rows()
    return list(
        client().search_runs(
            [experiment_id(experiment)],
            filter_string,
            run_view_type=mlflow.entities.ViewType.ACTIVE_ONLY,
            order_by=[order_by],
            max_results=most,
        )
    )


def of_branch(experiment: str, run: Run, metric: str, *, most: int, **tags: str) -> list[Run]:
    """The other finished runs of a run's branch that measured a metric and have these tags, the best first."""
    same = matching(**{GIT_BRANCH: run.data.tags[GIT_BRANCH]}, **tags)
    others = f"attributes.status = 'FINISHED' and attributes.run_id != '{run.info.run_id}'"
    measured = f"params.metric = {quoted(metric)}"
    order_by = f"metrics.`validation_{metric}` DESC"
    return search(experiment, f"{others} and {measured} and {same}", order_by=order_by, most=most)


def _count_rows() -> None:
    """Let a SQLite file count its rows, where it is the tracking server.

    Until then it sorts runs by a metric in a time that grows with their square (SQLite: ANALYZE; the query planner).
    """
    client()
    _, local, database = mlflow.get_tracking_uri().partition("sqlite:///")
    if local:
        # Another process may be writing to it, and this is about speed alone.
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(database, timeout=1)) as connection,
            connection,
        ):
            connection.execute("PRAGMA analysis_limit = 1000")
            # What was counted before is read anew by connections that are open only if it was made anew.
            connection.execute("DROP TABLE IF EXISTS sqlite_stat1")
            connection.execute("ANALYZE")


def the_run(experiment: str, *, finished: bool = True, **tags: str) -> Run:
    """The one run with these tags.

    Raises:
        PipelineError: there is none, or more than one.
    """
    status = "attributes.status = 'FINISHED' and " if finished else ""
    runs = search(experiment, status + matching(**tags), most=2)
    described = ", ".join(f"{name} {value}" for name, value in tags.items())
    if not runs:
        raise PipelineError(f"experiment {experiment} has no {'finished ' if finished else ''}run with {described}")
    if len(runs) > 1:
        raise PipelineError(f"experiment {experiment} has more than one run with {described}; expected exactly one")
    return runs[0]


@contextlib.contextmanager
def resumed(run: Run) -> Iterator[Run]:
    """Carry out a run: what is logged inside goes to it; it ends as finished, or as failed."""
    with mlflow.start_run(run_id=run.info.run_id) as active:
        yield active


def set_tags(run: Run, tags: Mapping[str, str]) -> None:
    """Set tags of a run that has ended."""
    for name, value in tags.items():
        client().set_tag(run.info.run_id, name, value)


def log_figures(run: Run, figures: Mapping[str, Figure]) -> None:
    """Keep pictures with a run, as ``NAME.png``."""
    for name, figure in figures.items():
        client().log_figure(run.info.run_id, figure, f"{name}.png")


def read_file(run: Run, name: str) -> bytes | None:
    """A file that was kept with a run, or ``None`` where it wasn't."""
    if name not in {item.path for item in client().list_artifacts(run.info.run_id)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return Path(client().download_artifacts(run.info.run_id, name, folder)).read_bytes()


def log_dataset(table: str, version: int, fingerprint: str, rows: pd.DataFrame, *, target: str, context: str) -> None:
    """Note in the active run which Delta table it reads, and which version."""
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.pandas_dataset import from_pandas

    at = {"delta_table_name": table} if session.local_state() is None else {"path": tables.where(table)}
    # As text: MLflow leaves out a version that is the number 0.
    source = DeltaDatasetSource(**at, delta_table_version=str(version))  # type: ignore[arg-type]
    digest = fingerprint.split("-")[1]
    dataset = from_pandas(rows, source=source, targets=target, name=table, digest=digest)
    mlflow.log_input(dataset, context=context)


def log_params(params: Mapping[str, Any]) -> None:
    """Log parameters to the active run; a text that is too long for one is cut."""
    mlflow.log_params({name: str(value)[:500] for name, value in params.items()})


def log_metrics(metrics: Mapping[str, float]) -> None:
    """Log metrics to the active run."""
    mlflow.log_metrics({name: float(value) for name, value in metrics.items()})


def hand_over_tag(experiment: str, run: Run, name: str, value: str, *, among: str) -> None:
    """Tag a run, and take the tag from every other run of the experiment with the same value of the tag ``among``."""
    holders = matching(**{among: run.data.tags[among], name: value})
    client().set_tag(run.info.run_id, name, value)
    while others := search(experiment, f"attributes.run_id != '{run.info.run_id}' and {holders}", most=100):
        for other in others:
            client().delete_tag(other.info.run_id, name)
