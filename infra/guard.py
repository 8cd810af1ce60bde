"""How a command ends: with an exit code, and one message where something went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ml_pipeline.errors import PipelineError


def guarded(command: Callable[[], object]) -> int:
    """Run a command; what went wrong is one message.

    Returns:
        The exit code: 0, or that of what went wrong.
    """
    try:
        command()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
