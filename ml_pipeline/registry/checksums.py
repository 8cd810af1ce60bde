"""Seals a folder with the checksums of its files, in the form that ``sha256sum --check`` reads too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ml_pipeline.errors import InputError

NAME = "SHA256SUMS"


def seal(folder: Path) -> None:
    """Write the checksums of all files of a folder; they are its last file, without which it is not complete."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(_digests(folder).items())]
    (folder / NAME).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path) -> None:
    """Read a sealed folder through, so that nothing is made of one that was cut or changed.

    Raises:
        InputError: a file is missing, is other than it was, or was added.
    """
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
        sealed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        found = _digests(folder)
    except OSError as error:
        raise InputError(f"{folder}: is not a whole exported model: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{folder / NAME}: holds no checksums; accepted: a folder as export-model wrote it") from error
    wrong = sorted(name for name in {*sealed, *found} if sealed.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        what = "is missing" if name not in found else "was added" if name not in sealed else "was changed"
        more = f", and {len(wrong) - 1} other files are not as they were" if len(wrong) > 1 else ""
        raise InputError(f"{folder / name}: {what}{more}; accepted: a folder as export-model wrote it")


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if file.is_symlink():
            raise InputError(f"{file}: is a link, which may lead out of the folder; accepted: files")
        if file.is_file() and name != NAME:
            with file.open("rb") as content:
                digests[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests
