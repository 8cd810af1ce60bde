"""The Python environment of a task: its wheels, on top of the libraries that this interpreter has.

The latter stand for those of the cluster's runtime.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

_LOCK = threading.Lock()


class InstallationError(Exception):
    """A library can't be installed."""


def interpreter(folder: Path, wheels: Iterable[Path]) -> Path:
    """The Python of an environment that has these wheels; it is made if it isn't there.

    Args:
        folder: Where environments are kept.
        wheels: The wheels.

    Raises:
        InstallationError: one can't be installed.
    """
    ordered = sorted(wheels)
    content = hashlib.sha256(sys.prefix.encode())
    for wheel in ordered:
        content.update(wheel.name.encode() + b"\0" + hashlib.sha256(wheel.read_bytes()).digest())
    made = folder / content.hexdigest()[:16]
    with _LOCK:
        if not made.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as part:
                _make(Path(part) / "environment", ordered)
                # Only what is complete gets its name, under which it is found again.
                shutil.move(Path(part) / "environment", made)
    return made / "bin" / "python"


def _make(environment: Path, wheels: list[Path]) -> None:
    _call([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    # Behind the environment's own folder in the search order: the wheel wins over what this interpreter has.
    packages.joinpath("runtime.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    python, uv = str(environment / "bin" / "python"), Path(sys.executable).parent / "uv"
    if not wheels:
        return
    install = [str(uv), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python]
    if not uv.exists():
        install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    _call([*install, *map(str, wheels)])


def _call(command: list[str]) -> None:
    # What is set for this interpreter must not reach into the one that is made.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise InstallationError((done.stderr or done.stdout).strip())
