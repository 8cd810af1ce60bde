"""Synthesizes one stack for each environment that is deployed; cdktf calls it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra import caller, distribution
from infra.environment import environment

if TYPE_CHECKING:
    from infra.review import recovery

_ENVIRONMENTS = Path("environments")
_WHEELS = Path("dist")
_DEPLOYS, _COMPARES = ("deploy", "apply"), ("diff", "plan")
"""Verbs of cdktf, each with its other name."""


def run() -> None:
    """Write every stack, with what the cdktf command that called this process imports and forgets.

    Raises:
        InputError: a mistake in an environment file, or there is no wheel.
    """
    transfers = _transfers(synthesize())
    if transfers:
        synthesize(transfers)


def synthesize(transfers: Mapping[str, recovery.Transfer] | None = None) -> list[str]:
    """Write every stack.

    Args:
        transfers: By stack, what Terraform shall import and forget.

    Returns:
        The names of the stacks.

    Raises:
        InputError: a mistake in an environment file, or there is no wheel; nothing is written then.
    """
    environments = environment.load_all(_ENVIRONMENTS, instance=os.environ.get("INSTANCE", ""))
    # A job of the workflow that only plans signs in as somebody who may do no more.
    client_id = os.environ.get("DATABRICKS_CLIENT_ID", "")
    environments = [each.signed_in_as(client_id) for each in environments]
    built = distribution.find(_WHEELS).resolve()
    # Seconds to import, which a mistake in a file need not wait for.
    from infra.bindings import App
    from infra.stack import EnvironmentStack

    app, commit = App(), _commit()
    for each in environments:
        found = (transfers or {}).get(each.full_name)
        EnvironmentStack(
            app,
            environment=each,
            wheel=built,
            commit=commit,
            imported=found.imported if found else None,
            forgotten=found.forgotten if found else (),
        )
    app.synth()
    return [each.full_name for each in environments]


def _transfers(stacks: Sequence[str]) -> dict[str, recovery.Transfer]:
    """What each stack that is about to be deployed, or compared with what is deployed, imports and forgets.

    What is about to be destroyed is taken over instead. For anything else the workspace is not asked.
    """
    arguments = caller.command()
    verb = arguments[0] if arguments else ""
    if verb not in {*_DEPLOYS, *_COMPARES, "destroy"}:
        return {}
    # Loads Databricks' SDK, which synthesis alone has no use for.
    from infra.review import recovery

    named = caller.named(arguments, stacks)
    if verb == "destroy":
        for stack in named:
            recovery.take_over(stack)
        return {}
    return {stack: found for stack in named if (found := recovery.transfer(stack, mend=verb in _DEPLOYS))}


def _commit() -> str:
    given = os.environ.get("GIT_COMMIT")
    if given:
        return given
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
