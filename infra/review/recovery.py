"""Finds what an interrupted deployment made and Terraform's state does not know, and what a deployment leaves there.

Terraform ends a deployment that is interrupted by cancelling the requests that are under way. The workspace may have
done what they asked for: the next deployment would fail because the object exists, or make a second one of its name,
and a destruction would leave it. So a deployment declares that Terraform imports what is found: the plan shows it
before anything is done. What the state holds as half made is untainted before.

The wheels of earlier deployments stay in the workspace: a run that is under way, waits or is repaired ends with the one
that it began with. Terraform's state forgets them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from databricks.sdk import WorkspaceClient, errors
from databricks.sdk.config import Config
from databricks.sdk.errors.base import DatabricksError

from infra import terraform
from ml_pipeline.errors import InputError, PipelineError

Block = Mapping[str, Any]
"""A resource as the stack declares it."""
_WHEELS = "databricks_workspace_file."


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What passes between Terraform's state and the workspace without a change there."""

    imported: Mapping[str, str] = field(default_factory=dict)
    """Ids by address."""
    forgotten: Collection[str] = ()
    """Addresses."""

    @classmethod
    def of(cls, stack: Synthesized) -> Transfer:
        """What a deployment of a stack imports and forgets."""
        return cls(imported=missing(stack), forgotten=_earlier_wheels(stack))

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.imported or self.forgotten)


def transfer(name: str, *, mend: bool = True) -> Transfer:
    """What the deployment of a stack, which is about to begin, imports and forgets.

    Args:
        name: Name of the stack.
        mend: Whether what the state holds as half made is untainted.

    Raises:
        InputError: it can't be found out, or there is more than one that it could be.
    """
    with _explained(name):
        stack = opened(name, mend=mend)
        result = Transfer.of(stack)
        for address, id_ in result.imported.items():
            print(f"{address}: is in the workspace ({id_}) and not in Terraform's state: to be imported")
        return result


def take_over(name: str) -> None:
    """Let a stack's state hold what an interrupted deployment made, so that its destruction, about to begin, finds it.

    What is to be imported Terraform imports only when it applies.

    Raises:
        InputError: it can't be found out or imported, or there is more than one that it could be.
    """
    with _explained(name):
        stack = opened(name, mend=False)
        found = missing(stack, folder=True)
        for address, id_ in found.items():
            options, quiet = ["-input=false", "-no-color"], {**os.environ, **terraform.QUIET}
            command = ["import", *options, address, id_]
            if address.startswith("databricks_directory."):
                # Imported it would not be known to be deleted with all that is in it. To make it again changes nothing.
                command = ["apply", *options, "-auto-approve", f"-target={address}"]
            _run(f"terraform {command[0]}", [terraform.program(), *command], cwd=stack.folder, env=quiet)
            print(f"{address}: was in the workspace ({id_}), not in Terraform's state: imported")


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    # Of failures it tells more than the one message.
    logging.getLogger("databricks.sdk").setLevel(logging.ERROR)
    try:
        yield
    except (PipelineError, DatabricksError, OSError, ValueError) as error:
        raise InputError(f"looking for what an interrupted deployment of {name} left: {error}") from error


@dataclass(frozen=True)
class Synthesized:
    """A stack as it is declared now, with its state at hand."""

    folder: Path
    """Where Terraform works on it, initialized."""
    held: frozenset[str]
    """Addresses of the resources that its state holds: none before the first deployment."""

    def declared(self) -> dict[str, Any]:
        """Its Terraform configuration."""
        return dict(json.loads((self.folder / "cdk.tf.json").read_text(encoding="utf-8")))


def out() -> Path:
    """The folder that cdktf writes to."""
    return Path(os.environ.get("CDKTF_OUTDIR", "cdktf.out"))


def opened(name: str, *, mend: bool = True) -> Synthesized:
    """Let Terraform open the state of a stack that was just synthesized.

    Args:
        name: Name of the stack.
        mend: Whether what the state holds as half made is untainted.

    Raises:
        InputError: there is no such stack, or it can't be initialized.
    """
    # The stack's folder outlives the stack: with another INSTANCE this one may be of an earlier time.
    manifest = json.loads((out() / "manifest.json").read_text(encoding="utf-8"))
    if name not in manifest["stacks"]:
        raise InputError(f"there is no stack '{name}'; accepted: {', '.join(sorted(manifest['stacks']))}")
    program, quiet, folder = terraform.program(), {**os.environ, **terraform.QUIET}, out() / "stacks" / name
    # What is pinned may be another version than the one that an earlier deployment locked.
    init = [program, "init", "-upgrade", "-input=false", "-no-color"]
    _run("terraform init", init, cwd=folder, env=quiet)
    shown = json.loads(_run("terraform show", [program, "show", "-json"], cwd=folder, env=quiet))
    resources = shown.get("values", {}).get("root_module", {}).get("resources", [])
    for address in (resource["address"] for resource in resources if mend and resource.get("tainted")):
        # It would be replaced. Of a wheel's file, whose path stays the same, that deletes what was just uploaded; of
        # what is protected Terraform refuses it.
        _run("terraform untaint", [program, "untaint", "-no-color", address], cwd=folder, env=quiet)
        print(f"{address}: its creation was interrupted: is kept, and looked at again")
    return Synthesized(folder, frozenset(resource["address"] for resource in resources))


def _earlier_wheels(stack: Synthesized) -> list[str]:
    """Addresses of the wheels of earlier deployments."""
    declared = stack.declared()["resource"].get("databricks_workspace_file", {})
    earlier = (each for each in stack.held if each.startswith(_WHEELS))
    return sorted(address for address in earlier if address.removeprefix(_WHEELS) not in declared)


def missing(stack: Synthesized, *, folder: bool = False) -> dict[str, str]:
    """What `find` finds in the workspace that the stack's provider signs in to."""
    return find(stack.declared(), stack.held, _connect, folder=folder)


def _run(step: str, command: list[str], *, env: Mapping[str, str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{step}:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


def _connect(provider: Block) -> WorkspaceClient:
    """A client that signs in as the provider does."""
    return WorkspaceClient(config=Config(**provider, retry_timeout_seconds=20, http_timeout_seconds=30))


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
        # That of the schema names environment and instance.
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
    return name, *((tags or {}).get(key) for key in ("environment", "instance"))
