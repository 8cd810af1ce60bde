"""What takes seconds to make and is the same each time, kept in the user's cache folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def path(name: str) -> Path:
    """Where something is kept, whether it is there or not."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "ml-pipeline" / name


def keep(made: Path, name: str) -> None:
    """Keep a copy of a file; a reader never sees half of it."""
    target = path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    shutil.copyfile(made, partial)
    partial.replace(target)
