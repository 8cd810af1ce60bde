"""The console that the commands print to."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_UNLIMITED = 10_000
"""Columns of a line in a pipe or a file: a path that is broken there is of no use."""


def console() -> Console:
    """The console: as wide as the terminal, or as ``COLUMNS`` sets it, or without a limit in a pipe."""
    limited = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(highlight=False, width=None if limited else _UNLIMITED)
