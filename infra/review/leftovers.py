"""Finds what a stack declares, its state lacks, and whoever deploys now made in the workspace."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from databricks.sdk import WorkspaceClient, errors

from ml_pipeline.errors import InputError

Block = Mapping[str, Any]
"""A resource as the stack declares it."""


def find(
    stack: Mapping[str, Any],
    held: Collection[str],
    connect: Callable[[Block], WorkspaceClient],
    *,
    folder: bool = False,
) -> dict[str, str]:
    """What a stack declares, its state lacks, and this deployment made: ids by address.

    Args:
        stack: The stack's Terraform configuration.
        held: Addresses of the resources in its state.
        connect: Makes a client of the provider's configuration; is not called where the state lacks nothing.
        folder: Whether the environment's folder is looked for too: a deployment makes it anew without harm.

    Raises:
        InputError: there is more than one that it could be.
    """
    lookups = {
        "databricks_schema": _Made.in_catalog,
        "databricks_volume": _Made.in_catalog,
        "databricks_registered_model": _Made.in_catalog,
        "databricks_mlflow_experiment": _Made.experiments,
        "databricks_instance_pool": _Made.pools,
        "databricks_job": _Made.jobs,
        "databricks_repo": _Made.git_folders,
    }
    if folder:
        # The last: whose it is shows in what else there is.
        lookups["databricks_directory"] = _Made.folder
    declared = {f"{kind}.{name}": block for kind in lookups for name, block in stack["resource"].get(kind, {}).items()}
    lacking = {address: block for address, block in declared.items() if address not in held}
    if not lacking:
        return {}
    found: dict[str, str] = {}
    made = _Made(connect(stack["provider"]["databricks"][0]), stack["resource"], known={*held})
    for address, block in lacking.items():
        kind, schema = address.partition(".")[0], _schema_of(block)
        # What is in a schema is of this deployment only if the schema is.
        ids: list[str] = []
        # A workspace that has no such thing at all has none that was left.
        with contextlib.suppress(errors.NotFound, errors.NotImplemented):
            ids = list(lookups[kind](made, kind, block)) if schema is None or schema in made.known else []
        if len(ids) > 1:
            several = f"{', '.join(ids)} have the name and the tags that it declares"
            raise InputError(f"{address}: {several}; accepted: one of them; delete the others")
        if ids:
            found[address] = ids[0]
            made.known.add(address)
    return found


def _schema_of(block: Block) -> str | None:
    reference = re.fullmatch(r"\$\{(databricks_schema\.[\w-]+)\.name\}", block.get("schema_name", ""))
    return reference[1] if reference else None


class _Made:
    """Ids of what whoever deploys now has made in the workspace, with the marks that a declaration gives it."""

    def __init__(
        self,
        client: WorkspaceClient,
        resources: Mapping[str, Mapping[str, Block]],
        *,
        known: set[str],
    ) -> None:
        self._client, self._resources, self._me = client, resources, client.current_user.me()
        self.known = known
        """Addresses of what is of this deployment: what its state holds, and what was found."""
        self._read: dict[str, Callable[[str], Any]] = {
            "databricks_schema": client.schemas.get,
            "databricks_volume": client.volumes.read,
            "databricks_registered_model": client.registered_models.get,
        }

    def in_catalog(self, kind: str, block: Block) -> Iterator[str]:
        _, _, schema = (_schema_of(block) or "").partition(".")
        path = [self._resources["databricks_schema"][schema]["name"]] if schema else []
        found = self._read[kind](".".join([block["catalog_name"], *path, block["name"]]))
        # That of the schema names project, environment and instance.
        same = (found.comment or "") == block.get("comment", "")
        if same and found.created_by == self._me.user_name:
            yield str(found.full_name)

    def experiments(self, _kind: str, block: Block) -> Iterator[str]:
        folders = self._resources.get("databricks_directory", {}).values()
        # An experiment has no mark but its path: one outside the environment's own folder may be anybody's.
        if not any(block["name"].startswith(f"{folder['path']}/") for folder in folders):
            return
        found = self._client.experiments.get_by_name(block["name"]).experiment
        if found is None or found.lifecycle_stage != "active":
            return
        if {tag.value for tag in found.tags or [] if tag.key == "mlflow.ownerEmail"} <= {self._me.user_name}:
            yield str(found.experiment_id)

    def pools(self, _kind: str, block: Block) -> Iterator[str]:
        for pool in self._client.instance_pools.list():
            mine = (pool.default_tags or {}).get("DatabricksInstancePoolCreatorId") == self._me.id
            same = _marks(pool.instance_pool_name, pool.custom_tags)
            if mine and same == _marks(block["instance_pool_name"], block["custom_tags"]):
                yield str(pool.instance_pool_id)

    def jobs(self, _kind: str, block: Block) -> Iterator[str]:
        for job in self._client.jobs.list(name=block["name"]):
            mine = job.creator_user_name == self._me.user_name
            same = _marks(job.settings.name, job.settings.tags) if job.settings else ()
            if mine and same == _marks(block["name"], block["tags"]):
                yield str(job.job_id)

    def git_folders(self, _kind: str, block: Block) -> Iterator[str]:
        for repo in self._client.repos.list(path_prefix=block["path"]):
            if (repo.path, repo.url) != (block["path"], block["url"]):
                continue
            # Nothing else tells who made it.
            entries = self._client.repos.get_permissions(str(repo.id)).access_control_list or []
            mine = [one for one in entries if self._me.user_name in {one.user_name, one.service_principal_name}]
            if any(not level.inherited for one in mine for level in one.all_permissions or []):
                yield str(repo.id)

    def folder(self, _kind: str, block: Block) -> Iterator[str]:
        found = self._client.workspace.get_status(block["path"]).path
        # Its destruction takes along what lies in it.
        if found and (self.known or not any(self._client.workspace.list(found))):
            yield found


def _marks(name: str | None, tags: Mapping[str, str] | None) -> tuple[str | None, ...]:
    """What tells whose it is; the commit, a tag too, is another at each deployment."""
    return name, *((tags or {}).get(key) for key in ("project", "environment", "instance", "deployment"))
