"""An environment file: its tables, typed and strict, and the rules for what is deployed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ml_pipeline.errors import InputError, collecting
from ml_pipeline.settings import files, messages, pipeline
from ml_pipeline.settings.compute import Compute
from ml_pipeline.settings.layers import leaves, merged, origin, relative_paths
from ml_pipeline.settings.quartz import as_cron, checked
from ml_pipeline.settings.state import State
from ml_pipeline.settings.types import Bucket, Count, KeyPath, KmsKey, NonEmpty, Region, Settings, matching
from ml_pipeline.settings.workspace import Catalog, Workspace

ConnectionId = Annotated[
    str, matching("[A-Za-z0-9_.-]+", "letters, digits, underscores, dots and hyphens, such as 'databricks_default'")
]
Engine = Literal["databricks", "airflow"]


class Airflow(Settings):
    """The Airflow that starts batch inference with ``engine = "airflow"``."""

    bucket: Bucket
    """S3 bucket of the DAGs."""
    region: Region
    """Region of the bucket."""
    prefix: KeyPath = "dags"
    """Folder of the DAGs in the bucket."""
    kms_key_id: KmsKey | None = None
    """ARN of the key that encrypts the DAG; default: the encryption of the bucket."""
    connection: ConnectionId = "databricks_default"
    """Name of Airflow's connection to the workspace."""
    retries: Count = 1
    """Number of retries if the run can't be started or followed; a run that failed is not repeated."""


class Scheduler(Settings):
    """Who starts batch inference at the times of the pipeline's ``[schedule]``."""

    engine: Engine = "databricks"
    """The schedule of the Databricks job, or an Airflow DAG."""
    paused: bool | None = None
    """Whether the schedule is paused; default: paused unless ``production`` is true."""
    airflow: Airflow | None = None
    """Place of the DAG; used only with ``engine = "airflow"``."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.engine == "airflow" and self.airflow is None:
            raise ValueError("engine 'airflow' needs the table 'airflow', with bucket and region")
        return self


class Schedule(Scheduler, pipeline.Schedule):
    """Who starts batch inference, and when."""


class Roles(Settings):
    """Principals by role: users by mail address, service principals by application id, groups by name."""

    managers: list[NonEmpty] = []
    """Principals that may change and run everything."""
    runners: list[NonEmpty] = []
    """Principals that may run jobs, log to the experiment, and use model and tables."""
    viewers: list[NonEmpty] = []
    """Principals that may view everything and read tables."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        principals = [*self.managers, *self.runners, *self.viewers]
        repeated = sorted({one for one in principals if principals.count(one) > 1})
        if repeated:
            raise ValueError(f"names {', '.join(map(repr, repeated))} more than once; accepted: each principal once")
        return self


class CatalogRoles(Roles):
    """Roles on schema, tables, files and model. Unity Catalog accepts only principals of the account."""

    @field_validator("managers", "runners", "viewers")
    @classmethod
    def _of_the_account(cls, principals: list[str]) -> list[str]:
        # docs.databricks.com, "Principal": both are groups of each workspace, which Unity Catalog does not find.
        for name in ("users", "admins"):
            if name in principals:
                raise ValueError(
                    f"'{name}' is a group of the workspace; accepted: groups of the account, such as "
                    "'account users', users and service principals"
                )
        return principals


class Permissions(Settings):
    """Who may do what."""

    workspace: Roles = Roles(viewers=["users"])
    """Roles on jobs, experiment and pool; default: everybody in the workspace may view them."""
    catalog: CatalogRoles = CatalogRoles(viewers=["account users"])
    """Roles on schema, tables, files and model; default: every user of the account may read them."""


class Tables(Settings):
    """An environment file: where to run. A file with a ``[workspace]`` table can be deployed."""

    workspace: Workspace
    compute: Compute
    schedule: Scheduler | None = None
    catalog: Catalog
    permissions: Permissions = Permissions()
    state: Annotated[State, Field(discriminator="backend")]
    pipelines: dict[str, Any] = {}
    """Overrides of a pipeline's settings, by the name of the pipeline."""


def check(file: Path, pipeline_file: Path | None = None) -> None:
    """Whether every table of an environment is right, also for the pipeline that it deploys.

    An environment without the table ``[workspace]`` is not deployed: it may lack tables.

    Raises:
        InputError: all that is wrong.
    """
    problems: list[str] = []
    if "workspace" in files.read(file):
        with collecting(problems):
            load(file)
        if pipeline_file:
            problems += _misplaced(pipeline_file, file)
    else:
        problems += _problems(file, partial=True)
    if problems:
        raise InputError(*problems)


def load(file: Path) -> Tables:
    """The tables of an environment that is deployed.

    Raises:
        InputError: all that is wrong.
    """
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,37}", file.stem):
        raise InputError(
            f"{str(file)!r}: the names of all that is deployed hold the file's; accepted: up to 38 lower-case "
            "letters, digits, hyphens and underscores that begin with a letter or digit, such as 'dev.toml'"
        )
    content = files.read(file)
    problems = [*_evaluated(file, content), *_problems(file)]
    with collecting(problems):
        files.project(file)
    if problems:
        raise InputError(*problems)
    return Tables.model_validate(content)


def _problems(file: Path, *, partial: bool = False) -> Iterator[str]:
    try:
        Tables.model_validate(files.read(file))
    except ValidationError as error:
        absent = {str(item["loc"][0]) for item in error.errors() if item["type"] == "missing" and len(item["loc"]) == 1}
        for problem in messages.problems(error, Tables):
            if not (partial and problem.partition(":")[0] in absent):
                yield f"{file}: {problem}"


def _misplaced(pipeline_file: Path, file: Path) -> Iterator[str]:
    """What of a pipeline no workspace takes: a cluster has none of this machine's files."""
    layers = files.layers(pipeline_file, file)
    yield from _evaluated(pipeline_file, layers[0].content)
    content = merged(layers)
    for path, relative in relative_paths(content):
        yield (
            f"{origin(layers, path).place(*path)}: '{relative}' is relative; "
            "accepted: a path that a cluster reaches, such as one under /Volumes"
        )
    scheduler, times = files.read(file).get("schedule"), content.get("schedule")
    cron = times.get("cron") if isinstance(times, dict) else None
    if isinstance(scheduler, dict) and scheduler.get("engine") == "airflow" and isinstance(cron, str):
        try:
            checked(cron)
        except ValueError:
            return  # The pipeline's settings report it.
        try:
            as_cron(cron)
        except ValueError as error:
            yield f"{origin(layers, ('schedule', 'cron')).place('schedule')}: {error}"


def _evaluated(file: Path, content: dict[str, Any]) -> Iterator[str]:
    for key, text in leaves(content):
        found = re.search(r"[$%]\{", text) if isinstance(text, str) else None
        if found:
            yield (
                f"{file}: {messages.one_line(key)}: holds '{found[0]}', which Terraform would evaluate; "
                "accepted in what is deployed: other text"
            )
