"""How a command ends: with an exit code, and one message if something went wrong.

Standard library only, as is all that the workflows' commands for GitHub load.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from ml_pipeline.errors import PipelineError


def guarded(command: Callable[[], Any], *, verbose: bool = False) -> int:
    """Run a command; a failure becomes one message on stderr.

    Args:
        command: Returns its exit code, or something false for 0.
        verbose: Whether to show the traceback of a failure.

    Returns:
        The exit code: 0, 1 for a failed check, 2 for wrong input, 130 for an interruption.
    """
    try:
        return int(command() or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (PipelineError, OSError) as error:
        if verbose:
            traceback.print_exception(error)
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, PipelineError) else 1
