"""Finds resources that exist but are missing from Terraform's state, after a deployment that was interrupted.

Terraform ends a deployment that is interrupted by cancelling the requests that are under way. The workspace may have
done what they asked for: the next deployment would fail because the object exists, or make a second one of its name,
and a destruction would leave it. So a deployment declares that Terraform imports what is found: the plan shows it
before anything is done. What the state holds as half made is untainted before.

The wheels of earlier deployments stay in the workspace, because a run that is active, queued or repaired still needs
its own wheel. Terraform's state forgets them.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors.base import DatabricksError

from infra import terraform
from infra.review import leftovers
from infra.review.leftovers import Block
from ml_pipeline.errors import InputError, PipelineError

_FORGOTTEN = ("databricks_workspace_file.", "databricks_grants.")
_OPTIONS = ("-input=false", "-no-color")


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
        return cls(imported=leftovers.find(stack.declared(), stack.held, _connect), forgotten=_earlier(stack))

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
        found = leftovers.find(stack.declared(), stack.held, _connect, folder=True)
        for address, id_ in found.items():
            if address.startswith("databricks_directory."):
                # Imported it would not be known to be deleted with all that is in it. To make it again changes nothing.
                terraform.run(stack.folder, "apply", *_OPTIONS, "-auto-approve", f"-target={address}")
            else:
                terraform.run(stack.folder, "import", *_OPTIONS, address, id_)
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


def opened(name: str, *, mend: bool = True) -> Synthesized:
    """Let Terraform open the state of a stack that was just synthesized.

    Args:
        name: Name of the stack.
        mend: Whether what the state holds as half made is untainted.

    Raises:
        InputError: there is no such stack, or it can't be initialized.
    """
    # The stack's folder outlives the stack: with another INSTANCE this one may be of an earlier time.
    manifest = json.loads((terraform.out() / "manifest.json").read_text(encoding="utf-8"))
    if name not in manifest["stacks"]:
        raise InputError(f"there is no stack '{name}'; accepted: {', '.join(sorted(manifest['stacks']))}")
    folder = terraform.out() / "stacks" / name
    # What is pinned may be another version than the one that an earlier deployment locked.
    terraform.run(folder, "init", "-upgrade", *_OPTIONS)
    shown = json.loads(terraform.run(folder, "show", "-json"))
    resources = shown.get("values", {}).get("root_module", {}).get("resources", [])
    for address in (resource["address"] for resource in resources if mend and resource.get("tainted")):
        # It would be replaced. Of a wheel's file, whose path stays the same, that deletes what was just uploaded; of
        # what is protected Terraform rejects it.
        terraform.run(folder, "untaint", "-no-color", address)
        print(f"{address}: its creation was interrupted: is kept, and looked at again")
    return Synthesized(folder, frozenset(resource["address"] for resource in resources))


def _earlier(stack: Synthesized) -> list[str]:
    """Addresses of the wheels of earlier deployments, and of all grants of a schema in one resource.

    To destroy the latter would revoke the grants that take its place.
    """
    declared = stack.declared()["resource"]
    earlier = (each.split(".", 1) for each in stack.held if each.startswith(_FORGOTTEN))
    return sorted(f"{kind}.{name}" for kind, name in earlier if name not in declared.get(kind, {}))


def _connect(provider: Block) -> WorkspaceClient:
    """A client that signs in as the provider does."""
    return WorkspaceClient(config=Config(**provider, retry_timeout_seconds=20, http_timeout_seconds=30))
