"""The wheel as a file that travels."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from ml_pipeline.errors import CheckFailedError
from ml_pipeline.workspace.one_time_run import find_wheel

PACKAGE = "ml_pipeline"
STAMP = ".given"


def find(given: Path) -> Path:
    """This project's wheel: the given file, or the one in the given folder.

    Raises:
        InputError: there is none, more than one, or one of another package.
    """
    return find_wheel(given, package=PACKAGE)


def digest(wheel: Path) -> str:
    """The SHA-256 of the file."""
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def seal_of(wheel: Path) -> Path:
    """The file beside a wheel that holds its SHA-256, as ``sha256sum --check`` reads it."""
    return wheel.with_name(f"{wheel.name}.sha256")


def seal(wheel: Path) -> None:
    """Write the SHA-256 beside the wheel."""
    seal_of(wheel).write_text(f"{digest(wheel)}  {wheel.name}\n", encoding="utf-8")


def sealed(given: Path) -> Path:
    """This project's wheel, as ``find`` finds it, if it is the one that was sealed.

    Raises:
        InputError: what is given is not a wheel of this package.
        CheckFailedError: its SHA-256 is another than the one beside it.
    """
    wheel = find(given)
    sha256, beside = digest(wheel), seal_of(wheel)
    if beside.is_file() and beside.read_text(encoding="utf-8").split()[:1] != [sha256]:
        raise CheckFailedError(f"{wheel}: its SHA-256 is {sha256}, which is not the one in {beside.name}")
    return wheel


def take(given: Path, *, into: Path) -> None:
    """Make a wheel the one of a folder; where it is that already, nothing is touched.

    Raises:
        InputError: what is given is not a wheel of this package.
        CheckFailedError: the wheel is not the one that was sealed.
    """
    wheel = sealed(given)
    content = wheel.read_bytes()
    target, stamp = into / wheel.name, into / STAMP
    if stamp.is_file() and list(into.glob("*.whl")) == [target] and target.read_bytes() == content:
        return
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    target.write_bytes(content)
    seal(target)
    stamp.touch()
    print(f"wheel: {wheel.name} sha256:{digest(target)} (given, not built)")
