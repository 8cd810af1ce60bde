"""Which instances of an environment have something in the workspace that a destruction would remove."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from databricks.sdk.errors import NotFound

from infra.environment import environment
from infra.environment.environment import Environment
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.workspace.connection import Connection

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
    try:
        names, folders, schemas = _Workspace(files[name]).held(instances[0])
    except PipelineError as error:
        raise PipelineError(f"{name}: the workspace can't be asked what is left: {error}") from error
    return [
        each.instance
        for each in instances
        if each.folder in folders
        or each.pipeline.schema_name in schemas
        or any(one == each.deployed_name or one.startswith(f"{each.deployed_name}-") for one in names)
    ]


class _Workspace(Connection):
    def held(self, of: Environment) -> tuple[set[str], set[str | None], set[str | None]]:
        """The names of jobs and pools, and the paths of folders and schemas that lie where an environment's do."""
        client = self._client

        def folders() -> set[str | None]:
            with contextlib.suppress(NotFound):
                return {entry.path for entry in client.workspace.list(of.workspace.folder)}
            # Before the first deployment there may be no such folder.
            return set()

        jobs = self.ask(lambda: {job.settings.name or "" for job in client.jobs.list() if job.settings})
        pools = self.ask(lambda: {pool.instance_pool_name or "" for pool in client.instance_pools.list()})
        schemas = self.ask(lambda: {schema.full_name for schema in client.schemas.list(of.catalog.name)})
        return jobs | pools, self.ask(folders), schemas
