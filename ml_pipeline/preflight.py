"""What this machine must have before anything is installed, said in one line where it is missing.

Run as a script (`python3 ml_pipeline/preflight.py`) this has to work on whatever Python 3 the machine has,
so it uses the standard library only, and no syntax newer than Python 3.6.
"""

import os
import shutil
import sys
from typing import Optional, Tuple

# The libraries of the runtime that the project is locked to publish wheels for Python 3.13 at most.
OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)

# Measured: the environment and the package cache take 2.7 GiB together, most of it PySpark.
# The rest is for Delta's jars and for the tables, models and runs that the pipeline writes.
DISK_GIB = 4.0
DISK_VARIABLE = "PREFLIGHT_DISK_GIB"


def python_problem(version: Tuple[int, ...] = tuple(sys.version_info[:2])) -> Optional[str]:
    """Say why this Python cannot hold the project's libraries, or nothing."""
    if OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        return None
    return "Python {} to {} is needed, and {} is {}: install one and run `make PYTHON=/path/to/it`".format(
        _dotted(OLDEST_PYTHON), _dotted(NEWEST_PYTHON), sys.executable, _dotted(version)
    )


def venv_problem() -> Optional[str]:
    """Say why no virtual environment can be made, or nothing."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        # Debian and Ubuntu split both off into a package of their own.
        name = "python{}-venv".format(_dotted(sys.version_info[:2]))
        return "Python's venv module is incomplete: install it (Debian, Ubuntu: apt install {})".format(name)
    return None


def disk_problem() -> Optional[str]:
    """Say which folder has too little free space, or nothing."""
    wanted = os.environ.get(DISK_VARIABLE, str(DISK_GIB))
    try:
        needed = float(wanted)
    except ValueError:
        return "{} is {!r}, not a number of GiB".format(DISK_VARIABLE, wanted)
    cache = os.environ.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~")
    for folder in (os.getcwd(), _existing(cache)):
        free = shutil.disk_usage(folder).free / 1024**3
        if free < needed:
            return "{:.1f} GiB of free disk space is needed, and {} has {:.1f} GiB: make room there".format(
                needed, folder, free
            )
    return None


def main() -> int:
    """Check in the order in which an installation would fail, and tell of the first thing missing."""
    for problem in (python_problem, venv_problem, disk_problem):
        found = problem()
        if found is not None:
            sys.stderr.write("preflight: {}\n".format(found))
            return 2
    return 0


def _existing(folder: str) -> str:
    """Give the folder, or the nearest one above it that exists."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _dotted(version: Tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


if __name__ == "__main__":
    sys.exit(main())
