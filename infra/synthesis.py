"""Synthesizes one stack for each environment that is deployed; cdktf calls it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra import caller, distribution
from infra.environment import environment
from infra.environment.environment import Environment
from ml_pipeline.errors import InputError, PipelineError

if TYPE_CHECKING:
    from infra.review import recovery

_ENVIRONMENTS = Path("environments")
_WHEELS = Path("dist")
_DEPLOYS, _COMPARES = ("deploy", "apply"), ("diff", "plan")
"""Verbs of cdktf, each with its other name."""


def run(change: Callable[[Environment], Environment] | None = None) -> None:
    """Write every stack, with what the cdktf command that called this process imports and forgets.

    Args:
        change: Makes of an environment what is deployed.

    Raises:
        InputError: a mistake in an environment file, or there is no wheel.
    """
    with _checking() as finish:
        transfers = _transfers(synthesize(before_writing=finish, change=change))
    if transfers:
        synthesize(transfers, change=change)


@contextlib.contextmanager
def _checking() -> Iterator[Callable[[], None]]:
    """Check estimators and metrics meanwhile, in a process: synthesis itself must not load scikit-learn.

    Yields what waits for the end of the check, and raises what it found. Without scikit-learn, nothing is checked.
    """
    if importlib.util.find_spec("sklearn") is None:
        yield lambda: None
        return
    files = [f"--environment={file}" for file in environment.deployed(_ENVIRONMENTS)]
    command = [sys.executable, "-c", "from ml_pipeline.cli.main import main; main()", "check", *files]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:

        def finish() -> None:
            _, errors = process.communicate()
            if process.returncode:
                raised = InputError if process.returncode == InputError.exit_code else PipelineError
                raise raised(*(line.removeprefix("error: ") for line in errors.splitlines()))

        try:
            yield finish
        finally:
            process.kill()


def synthesize(
    transfers: Mapping[str, recovery.Transfer] | None = None,
    *,
    before_writing: Callable[[], None] | None = None,
    change: Callable[[Environment], Environment] | None = None,
) -> list[str]:
    """Write every stack.

    Args:
        transfers: By stack, what Terraform imports and forgets.
        before_writing: Called when all stacks are made, and none is written yet.
        change: Makes of an environment what is deployed.

    Returns:
        The names of the stacks.

    Raises:
        InputError: a mistake in an environment file, or there is no wheel; nothing is written then.
    """
    environments = environment.load_all(_ENVIRONMENTS, instance=os.environ.get("INSTANCE", ""))
    # Another manager than the service principal that deploys may make a plan.
    client_id = os.environ.get("DATABRICKS_CLIENT_ID", "")
    environments = [each.signed_in_as(client_id) for each in environments]
    environments = [change(each) if change else each for each in environments]
    built = distribution.sealed(_WHEELS).resolve()
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
    if before_writing:
        before_writing()
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
