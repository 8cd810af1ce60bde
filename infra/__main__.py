"""Synthesizes one stack for each environment that is deployed: ``python -m infra``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from infra import environment, wheel
from ml_pipeline.errors import InputError

_ENVIRONMENTS = Path("environments")
_WHEELS = Path("dist")


def main() -> int:
    """Write every stack; a person's mistake ends with one message and exit code 2, before anything is written."""
    try:
        environments = environment.load_all(_ENVIRONMENTS, instance=os.environ.get("INSTANCE", ""))
        built = wheel.find(_WHEELS).resolve()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    # Seconds to import, which a mistake in a file need not wait for.
    from infra.bindings import App
    from infra.stack import EnvironmentStack

    app, commit = App(), _commit()
    for each in environments:
        EnvironmentStack(app, environment=each, wheel=built, commit=commit)
    app.synth()
    return 0


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
