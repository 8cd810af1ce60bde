"""Every MLflow call: runs found by their tags, model versions found by their alias.

MLflow is imported where it is used: that takes seconds, which the first step on Spark need not wait for.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline import cache, tables
from ml_pipeline.errors import InputError, PipelineError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature


_LOCK = threading.Lock()
_DATABASE = "mlflow.db"

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "6", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
"""A server that is away for half a minute is waited for; for longer, the job's own retry is there."""
_MOST_METRICS = 1000
"""Metrics that MLflow takes in one call."""

_LONGEST = 500
"""Characters of a server's answer that are shown: it may be a page."""

CHAMPION = "champion"
CHALLENGER = "challenger"
SHADOW = "shadow"
"""Tag of a version: ``passed`` or ``failed`` by the last batch that it scored in shadow; ``shadow_reason`` says why."""
LONGEST_TAG = 1000
"""Characters of a tag's value in Unity Catalog, which also takes none of ``.,-=/:`` in a tag's name (Databricks: Apply
tags to Unity Catalog securable objects, constraints)."""
_RESERVED = str.maketrans(dict.fromkeys(".,-=/:", "_"))
MODEL = "model"
"""Name of the model within its run."""


def client() -> MlflowClient:
    """The client of the workspace's tracking server and registry, or of a SQLite file on this machine."""
    with _LOCK:
        return _client()


@functools.cache
def _client() -> MlflowClient:
    import mlflow
    from mlflow import MlflowClient

    _quieten()
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    state = tables.local_state()
    if state is None:
        mlflow.set_registry_uri("databricks-uc")
    elif not os.environ.get("MLFLOW_TRACKING_URI"):
        _make_database(state)
        mlflow.set_tracking_uri(local_uri(state))
        _open_without_litter()
    return MlflowClient()


def warm_up() -> None:
    """Let MLflow list what is installed, which it keeps, ahead of the first model that it logs."""
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    warn_dependency_requirement_mismatches(["mlflow"])


def _open_without_litter() -> None:
    from mlflow import MlflowClient

    # Whatever folder it is opened in, MLflow makes one for artifacts there, which stays empty: ours have another place.
    litter = Path("mlruns")
    ours = not litter.exists()
    MlflowClient().search_experiments(max_results=1)
    if ours:
        with contextlib.suppress(OSError):
            litter.rmdir()


def _make_database(state: Path) -> None:
    """Make the SQLite file of a new state folder.

    MLflow's dozens of migrations take seconds, so they are run once on an empty file, which is kept and copied.
    """
    import mlflow
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database, name = state / _DATABASE, f"mlflow-{mlflow.__version__}.db"
    if database.exists():
        return
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state) as folder:
        made = Path(folder) / _DATABASE
        if cache.path(name).exists():
            shutil.copyfile(cache.path(name), made)
        else:
            SqlAlchemyStore(f"sqlite:///{made}", folder)  # type: ignore[no-untyped-call]
            cache.keep(made, name)
        # Two programs may start on one new folder: the database is that of the first.
        with contextlib.suppress(FileExistsError):
            os.link(made, database)


def _quieten() -> None:
    """Leave out of the log what MLflow says of a new database's migrations and of each registered version.

    A filter rather than a level: MLflow configures these loggers anew each time it opens a database.
    """
    for noisy in ("alembic.runtime.migration", "mlflow.store.db.utils", "mlflow.tracking._model_registry.fluent"):
        logging.getLogger(noisy).addFilter(lambda record: record.levelno > logging.WARNING)
    warnings.filterwarnings("ignore", message="(?s).*Inferred schema contains integer column", category=UserWarning)


def local_uri(state: Path) -> str:
    """The tracking URI of a state folder."""
    return f"sqlite:///{state / _DATABASE}"


def experiment_id(name: str) -> str:
    """The id of an experiment, which is made if it isn't there."""
    import mlflow

    found = client().get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    state = tables.local_state()
    local = state is not None and mlflow.get_tracking_uri() == local_uri(state)
    location = (state / "artifacts").as_uri() if state and local else None
    return str(client().create_experiment(name, artifact_location=location))


@contextlib.contextmanager
def faults_of(where: str) -> Iterator[None]:
    """Inside, what a tracking server refuses, or that it can't be reached, is one message that names it.

    Raises:
        PipelineError: that message.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        said = " ".join(str(error).split())
        hint = (
            ": see who signs in, and what it may do"
            if re.search(r"\b40[13]\b|UNAUTHENTICATED|PERMISSION", said)
            else ""
        )
        raise PipelineError(f"{where}: MLflow: {said[:_LONGEST]}{hint}") from error


def has_experiment(name: str) -> bool:
    """Whether an experiment is there."""
    found = client().get_experiment_by_name(name)
    return found is not None and found.lifecycle_stage == "active"


def create_run(experiment: str, *, name: str, tags: Mapping[str, str]) -> Run:
    """Announce a run that a later task will carry out."""
    run = client().create_run(experiment_id(experiment), run_name=name, tags=dict(tags))
    client().update_run(run.info.run_id, status="SCHEDULED")
    return run


def record_run(experiment: str, *, name: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> Run:
    """A run that is over: what has been measured is noted at once.

    Args:
        experiment: The experiment.
        name: The run's name.
        tags: Its tags.
        metrics: Its metrics; what MLflow accepts in no name becomes ``_``.
    """
    import time

    from mlflow.entities import Metric

    run = client().create_run(experiment_id(experiment), run_name=name, tags=dict(tags))
    now = int(time.time() * 1000)
    named = {re.sub(r"[^\w\-. /]", "_", name)[:250]: value for name, value in metrics.items()}
    values = [Metric(name, float(value), now, 0) for name, value in named.items()]
    for i in range(0, len(values), _MOST_METRICS):
        client().log_batch(run.info.run_id, metrics=values[i : i + _MOST_METRICS])
    client().set_terminated(run.info.run_id)
    return run


def run(run_id: str) -> Run:
    """A run by its id.

    Raises:
        InputError: there is no such run.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client().get_run(run_id)
    except MlflowException as error:
        raise InputError(f"MLflow has no run {run_id}: {tables.cause(error)}") from error


def log_texts(run: Run, files: Mapping[str, str]) -> None:
    """Keep texts with a run, by file name."""
    for name, text in files.items():
        client().log_text(run.info.run_id, text, name)


def log_picture(run: Run, name: str, png: bytes) -> None:
    """Keep a picture with a run, as ``NAME.png``."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{name}.png")
        file.write_bytes(png)
        client().log_artifact(run.info.run_id, str(file))


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
    from mlflow.entities import ViewType

    if order_by.startswith("metrics."):
        _count_rows()
    return list(
        client().search_runs(
            [experiment_id(experiment)],
            filter_string,
            run_view_type=ViewType.ACTIVE_ONLY,
            order_by=[order_by],
            max_results=most,
        )
    )


def _count_rows() -> None:
    """Let a SQLite file count its rows, where it is the tracking server.

    Until then it sorts runs by a metric in a time that grows with their square (SQLite: ANALYZE; the query planner).
    """
    import mlflow

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
    import mlflow

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


def log_json(run: Run, name: str, content: Any) -> None:
    """Keep data with a run, as ``NAME.json``."""
    client().log_dict(run.info.run_id, content, f"{name}.json")


def read_json(run: Run, name: str) -> Any:
    """Data that was kept with a run.

    Raises:
        PipelineError: the run has none by that name.
    """
    content = read_file(run, f"{name}.json")
    if content is None:
        raise PipelineError(f"run {run.info.run_id} has no {name}.json")
    return json.loads(content)


def read_file(run: Run, name: str) -> bytes | None:
    """A file that was kept with a run, or ``None`` where it wasn't."""
    if name not in {item.path for item in client().list_artifacts(run.info.run_id)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return Path(client().download_artifacts(run.info.run_id, name, folder)).read_bytes()


def log_dataset(table: str, version: int, fingerprint: str, rows: pd.DataFrame, *, target: str, context: str) -> None:
    """Note in the active run which version of which Delta table it reads."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.pandas_dataset import from_pandas

    at = {"delta_table_name": table} if tables.local_state() is None else {"path": tables.where(table)}
    # As text: MLflow leaves out a version that is the number 0.
    source = DeltaDatasetSource(**at, delta_table_version=str(version))  # type: ignore[arg-type]
    digest = fingerprint.split("-")[1]
    dataset = from_pandas(rows, source=source, targets=target, name=table, digest=digest)
    mlflow.log_input(dataset, context=context)


def log_model(model: Any, *, signature: ModelSignature, example: pd.DataFrame) -> None:
    """Keep a scikit-learn model with the active run."""
    import mlflow.sklearn
    import numpy as np
    import pandas as pd
    import sklearn

    # Named rather than inferred: inference loads the model in a process of its own, which takes many seconds.
    used = {"mlflow": mlflow, "scikit-learn": sklearn, "pandas": pd, "numpy": np}
    requirements = [f"{name}=={module.__version__}" for name, module in used.items()]
    package = type(model[-1]).__module__.partition(".")[0]
    if package not in ("sklearn", "ml_pipeline"):
        requirements.append(package)
    mlflow.sklearn.log_model(
        model,
        name=MODEL,
        signature=signature,
        input_example=example,
        pip_requirements=requirements,
        # The format that holds every estimator: skops has a list of trusted types, without scikit-learn's own trees.
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
    )


def load_model(uri: str) -> tuple[Any, ModelSignature]:
    """A scikit-learn model and its signature.

    Raises:
        PipelineError: there is no such model, or it can't be read.
    """
    import mlflow.sklearn
    from mlflow.models import get_model_info

    try:
        signature = get_model_info(uri).signature
        return mlflow.sklearn.load_model(uri), signature
    except Exception as error:
        # An artifact that was cut off can fail in as many ways as there are formats.
        raise PipelineError(f"model {uri} can't be loaded: {tables.cause(error)}") from error


def signature(uri: str) -> ModelSignature:
    """A model's signature.

    Raises:
        PipelineError: there is no such model.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.models import get_model_info

    try:
        return get_model_info(uri).signature  # type: ignore[no-any-return]
    except (MlflowException, OSError) as error:
        raise PipelineError(f"model {uri} can't be loaded: {tables.cause(error)}") from error


def tag_of_model(uri: str, name: str) -> str:
    """A tag of the run that logged a model; empty where the run, or the tag, is not to be had."""
    from mlflow.exceptions import MlflowException
    from mlflow.models import get_model_info

    try:
        run_id = get_model_info(uri).run_id
        return str(client().get_run(run_id).data.tags.get(name, ""))
    except MlflowException:
        return ""


def version_by_alias(model: str, alias: str) -> ModelVersion | None:
    """The version of a registered model that an alias points to."""
    from mlflow.exceptions import MlflowException

    try:
        found = client().get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    # Version's own tags: the alias look-up leaves them out on some registries.
    return client().get_model_version(model, found.version)


def champion(model: str) -> ModelVersion:
    """The version in service.

    Raises:
        InputError: there is none.
    """
    version = version_by_alias(model, CHAMPION)
    if version is None:
        raise InputError(f"model {model} has no alias '{CHAMPION}'; promote a validated version first")
    return version


def version_uri(version: ModelVersion) -> str:
    """Where a version's model is loaded from."""
    return f"models:/{version.name}/{version.version}"


def run_uri(run: Run) -> str:
    """Where a run's model is loaded from."""
    return f"runs:/{run.info.run_id}/{MODEL}"


def register(run: Run, model: str, *, tags: Mapping[str, str]) -> ModelVersion:
    """The registered version of a run's model; a run is registered once, however often this is called."""
    import mlflow
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):
        client().create_registered_model(model)
    version = version_of_run(run, model)
    if version is None:
        # It prints what it does; the step says it in its own words.
        with contextlib.redirect_stderr(io.StringIO()):
            version = mlflow.register_model(run_uri(run), model)
    set_version_tags(version, tags)
    return client().get_model_version(model, version.version)


def version_of_run(run: Run, model: str) -> ModelVersion | None:
    """The registered version of a run's model."""
    from mlflow.exceptions import MlflowException

    token: str | None = ""
    while token is not None:
        try:
            page = client().search_model_versions(f"name={quoted(model)}", page_token=token or None)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        for version in page:
            if version.run_id == run.info.run_id:
                # Its own tags: the search leaves them out on some registries.
                return client().get_model_version(model, version.version)
        token = page.token or None
    return None


def registry_tag(name: str) -> str:
    """What a tag of a run is called where it is one of a registered model, or of a version."""
    return name.translate(_RESERVED)


def set_version_tags(version: ModelVersion, tags: Mapping[str, str]) -> None:
    """Set tags of a model version, under names that every registry takes; a value that is too long is cut."""
    for name, value in tags.items():
        short = value[:LONGEST_TAG].strip()
        client().set_model_version_tag(version.name, version.version, registry_tag(name), short)


def move_alias(alias: str, version: ModelVersion) -> None:
    """Let an alias point to a version, and to no other."""
    client().set_registered_model_alias(version.name, alias, version.version)


def drop_alias(alias: str, model: str) -> None:
    """Take an alias away."""
    client().delete_registered_model_alias(model, alias)


def log_params(params: Mapping[str, Any]) -> None:
    """Log parameters to the active run; a text that is too long for one is cut."""
    import mlflow

    mlflow.log_params({name: str(value)[:500] for name, value in params.items()})


def log_metrics(metrics: Mapping[str, float]) -> None:
    """Log metrics to the active run."""
    import mlflow

    mlflow.log_metrics({name: float(value) for name, value in metrics.items()})


def hand_over_tag(experiment: str, run: Run, name: str, value: str, *, among: str) -> None:
    """Tag a run, and take the tag from every other run that shares another tag's value with it.

    Args:
        experiment: The experiment of all of them.
        run: The run that has the tag from now on.
        name: The tag that only one may have.
        value: Its value.
        among: The tag whose value they share.
    """
    holders = matching(**{among: run.data.tags[among], name: value})
    client().set_tag(run.info.run_id, name, value)
    while others := search(experiment, f"attributes.run_id != '{run.info.run_id}' and {holders}", most=100):
        for other in others:
            client().delete_tag(other.info.run_id, name)


def set_metric(run: Run, name: str, value: float) -> None:
    """Set a metric of a run that has ended."""
    client().log_metric(run.info.run_id, name, value)


def version(model: str, number: str) -> ModelVersion:
    """A version of a registered model by its number."""
    return client().get_model_version(model, number)


def model_tags(model: str) -> Mapping[str, str]:
    """The tags of a registered model."""
    return dict(client().get_registered_model(model).tags)


def set_model_tag(model: str, name: str, value: str) -> None:
    """Set a tag of a registered model, under a name that every registry takes."""
    client().set_registered_model_tag(model, registry_tag(name), value)
