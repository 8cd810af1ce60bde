"""Which instances of an environment have something in the workspace that a destruction would remove."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors import NotFound
from databricks.sdk.errors.base import DatabricksError

from infra.environment import environment
from infra.environment.environment import Environment
from ml_pipeline.errors import InputError, PipelineError

_FILES = Path("environments")


def found(name: str, among: Sequence[str]) -> list[str]:
    """The instances that have something left.

    Everything that is deployed lies in the instance's folder or schema, or is a job or a pool; whatever else there is
    goes before these.

    Args:
        name: Name of the environment.
        among: The instances that may have something left.

    Raises:
        InputError: there is no such environment, or an instance's name is not accepted.
        PipelineError: the workspace can't be asked.
    """
    files = {file.stem: file for file in environment.deployed(_FILES)}
    if name not in files:
        raise InputError(f"{name}: there is no such environment; accepted: {', '.join(files)}")
    instances = [environment.load(files[name], instance=one) for one in among]
    if not instances:
        return []
    first = instances[0]
    try:
        client = _connect(first)
        jobs = {job.settings.name or "" for job in client.jobs.list() if job.settings}
        pools = {pool.instance_pool_name or "" for pool in client.instance_pools.list()}
        folders: set[str | None] = set()
        with contextlib.suppress(NotFound):
            # Before the first deployment there may be no such folder.
            folders = {entry.path for entry in client.workspace.list(first.workspace.folder)}
        schemas = {schema.full_name for schema in client.schemas.list(first.catalog.name)}
    except (DatabricksError, OSError, ValueError) as error:
        raise PipelineError(f"{name}: the workspace can't be asked what is left: {error}") from error
    names = {*jobs, *pools}
    return [
        each.instance
        for each in instances
        if each.folder in folders
        or each.pipeline.schema_name in schemas
        or any(one == each.deployed_name or one.startswith(f"{each.deployed_name}-") for one in names)
    ]


def _connect(given: Environment) -> WorkspaceClient:
    workspace = given.workspace
    chosen: dict[str, Any] = {
        "host": workspace.host,
        "profile": workspace.profile,
        "client_id": workspace.client_id,
        "auth_type": "github-oidc" if workspace.auth == "github-oidc" else None,
    }
    return WorkspaceClient(config=Config(**{key: value for key, value in chosen.items() if value}))
