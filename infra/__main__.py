"""Synthesizes one stack for each environment that is deployed: ``python -m infra``, which cdktf calls."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra import built_wheel, caller, environment
from ml_pipeline.errors import InputError

_ENVIRONMENTS = Path("environments")
_WHEELS = Path("dist")


def main() -> int:
    """Write every stack; a person's mistake ends with one message and exit code 2."""
    try:
        left = _left_in_workspace(synthesize())
        if left:
            synthesize(left)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def synthesize(importing: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
    """Write every stack.

    Args:
        importing: By stack, what Terraform shall import: ids by address.

    Returns:
        The names of the stacks.

    Raises:
        InputError: a mistake in an environment file, or there is no wheel; nothing is written then.
    """
    environments = environment.load_all(_ENVIRONMENTS, instance=os.environ.get("INSTANCE", ""))
    # A job of the workflow that only plans signs in as somebody who may do no more.
    client_id = os.environ.get("DATABRICKS_CLIENT_ID", "")
    environments = [each.signed_in_as(client_id) for each in environments]
    built = built_wheel.find(_WHEELS).resolve()
    # Seconds to import, which a mistake in a file need not wait for.
    from infra.bindings import App
    from infra.stack import EnvironmentStack

    app, commit = App(), _commit()
    for each in environments:
        adopted = (importing or {}).get(each.full_name)
        EnvironmentStack(app, environment=each, wheel=built, commit=commit, adopted=adopted)
    app.synth()
    return [each.full_name for each in environments]


def _left_in_workspace(stacks: Sequence[str]) -> dict[str, dict[str, str]]:
    """What an interrupted deployment left of each stack that is about to be deployed: ids by address.

    What is about to be destroyed is taken over instead. For anything else the workspace is not asked.
    """
    arguments = caller.command()
    if arguments[:1] not in {("deploy",), ("destroy",)}:
        return {}
    # Loads Databricks' SDK, which synthesis alone has no use for.
    from infra import adopt

    named = caller.named(arguments, stacks)
    if arguments[0] == "deploy":
        return {stack: found for stack in named if (found := adopt.to_import(stack))}
    for stack in named:
        adopt.take_over(stack)
    return {}


def _commit() -> str:
    given = os.environ.get("GIT_COMMIT")
    if given:
        return given
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
