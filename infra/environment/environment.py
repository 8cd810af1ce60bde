"""Loads environment files, each as it is deployed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ml_pipeline import jobs
from ml_pipeline.errors import InputError
from ml_pipeline.graph import Job
from ml_pipeline.settings import files
from ml_pipeline.settings.compute import Compute
from ml_pipeline.settings.environment import Engine, Permissions, Schedule, Scheduler, check
from ml_pipeline.settings.environment import load as load_tables
from ml_pipeline.settings.files import full_name, read
from ml_pipeline.settings.pipeline import PipelineSettings
from ml_pipeline.settings.pipeline import Schedule as Times
from ml_pipeline.settings.state import State
from ml_pipeline.settings.workspace import Catalog, Workspace


def _check_instance(name: str) -> None:
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?", name):
        raise InputError(
            f"INSTANCE '{name}': accepted: up to 30 lower-case letters, digits and hyphens, such as 'pr-123'"
        )


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment, or an instance of it, as it is deployed."""

    project: str
    """Name of the project that it belongs to."""
    name: str
    """The file's name."""
    instance: str
    """Name of the copy; empty for the environment itself."""
    workspace: Workspace
    deployer: str | None
    """Service principal that deploys, whoever signs in; ``None`` if a person may."""
    compute: Compute
    schedule: Schedule | None
    catalog: Catalog
    permissions: Permissions
    state: State
    pipeline: PipelineSettings
    jobs: tuple[Job, ...]

    def signed_in_as(self, client_id: str) -> Self:
        """The same, with another service principal of the workflow, where a workflow signs in."""
        if self.workspace.auth != "github-oidc" or not client_id:
            return self
        return replace(self, workspace=self.workspace.model_copy(update={"client_id": client_id}))

    @property
    def full_name(self) -> str:
        """Name of the stack."""
        return full_name(self.name, self.instance)

    @property
    def deployed_name(self) -> str:
        """What the names of all that it deploys start with."""
        return f"{self.project}-{self.full_name}"

    def job_name(self, job: str) -> str:
        """Name of a declared job in the workspace."""
        return f"{self.deployed_name}-{job}"

    @property
    def folder(self) -> str:
        """Folder in the workspace that holds all of it."""
        return f"{self.workspace.folder}/{self.deployed_name}"

    @property
    def protected(self) -> bool:
        """Whether a plan must not destroy what holds state."""
        return self.workspace.production and not self.instance

    @property
    def paused(self) -> bool:
        """Whether its schedule is paused."""
        paused = self.schedule.paused if self.schedule else None
        return bool(self.instance) or (not self.workspace.production if paused is None else paused)

    def scheduled_by(self, engine: Engine) -> bool:
        """Whether this engine starts runs by itself: one of them at most does."""
        return self.schedule is not None and self.schedule.engine == engine and not self.paused


def load(file: Path, *, instance: str = "") -> Environment:
    """Read an environment file, for an instance if it has a name.

    Raises:
        InputError: the file, or the instance's name, is not what is accepted.
    """
    if instance:
        _check_instance(instance)
    pipeline_file = files.find_pipeline(environment=file)
    check(file, pipeline_file)
    tables = load_tables(file)
    pipeline = files.load(pipeline_file, file, instance=instance)
    return Environment(
        project=files.project(file),
        name=file.stem,
        instance=instance,
        workspace=tables.workspace,
        deployer=tables.workspace.client_id,
        compute=tables.compute,
        schedule=_schedule(tables.schedule, pipeline.schedule),
        catalog=tables.catalog,
        permissions=tables.permissions,
        state=tables.state,
        pipeline=pipeline,
        jobs=jobs.declare(pipeline),
    )


def _schedule(scheduler: Scheduler | None, times: Times | None) -> Schedule | None:
    return Schedule(**dict(scheduler), **dict(times)) if scheduler and times else None


def deployed(folder: Path) -> list[Path]:
    """The environment files of a folder that are deployed: those with a ``[workspace]`` table.

    Raises:
        InputError: a file can't be read, or there is none to deploy.
    """
    found = [file for file in sorted(folder.glob("*.toml")) if "workspace" in read(file)]
    if not found:
        raise InputError(f"{folder}: no environment file has a [workspace] table; accepted: at least one")
    return found


def load_all(folder: Path, *, instance: str = "") -> list[Environment]:
    """Every environment of a folder that is deployed.

    Raises:
        InputError: a file is not what is accepted, there is none to deploy, or the copy of one has the name of another
            one, or of its copy.
    """
    found = deployed(folder)
    if instance:
        _check_collisions(found, instance)
    return [load(file, instance=instance) for file in found]


def _check_collisions(files: list[Path], instance: str) -> None:
    """What has the same name has the same state: to destroy one would destroy the other."""
    for file in files:
        name = full_name(file.stem, instance)
        for other in files:
            if len(other.stem) > len(file.stem) and f"{name}-".startswith(f"{other.stem}-"):
                raise InputError(
                    f"INSTANCE '{instance}': '{name}' is the name of {other} or of an instance of it; "
                    "accepted: another name"
                )
