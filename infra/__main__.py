"""Synthesizes one stack for each environment that is deployed: ``python -m infra``, which cdktf calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra import built_wheel, caller, environment
from ml_pipeline.errors import InputError

_ENVIRONMENTS = Path("environments")
_WHEELS = Path("dist")


def main() -> int:
    """Write every stack; a person's mistake ends with one message and exit code 2, before anything is written."""
    try:
        environments = environment.load_all(_ENVIRONMENTS, instance=os.environ.get("INSTANCE", ""))
        # A job of the workflow that only plans signs in as somebody who may do no more.
        client_id = os.environ.get("DATABRICKS_CLIENT_ID", "")
        environments = [each.signed_in_as(client_id) for each in environments]
        built = built_wheel.find(_WHEELS).resolve()
        adopted = _adopted([each.full_name for each in environments])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    # Seconds to import, which a mistake in a file need not wait for.
    from infra.bindings import App
    from infra.stack import EnvironmentStack

    app, commit = App(), _commit()
    for each in environments:
        EnvironmentStack(app, environment=each, wheel=built, commit=commit, adopted=adopted.get(each.full_name))
    app.synth()
    return 0


def _adopted(stacks: Sequence[str]) -> dict[str, dict[str, str]]:
    """What each stack shall import of an interrupted deployment, ids by address: only the next one asks for it."""
    if "ADOPT" in os.environ:
        return dict(json.loads(os.environ["ADOPT"]))
    arguments = caller.command()
    if arguments[:1] not in {("deploy",), ("destroy",)}:
        return {}
    # Loads Databricks' SDK, which synthesis alone has no use for.
    from infra import adopt

    named = caller.named(arguments, stacks)
    if arguments[0] == "deploy":
        return {stack: adopt.to_import(stack) for stack in named}
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
