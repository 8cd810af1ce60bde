"""The command of cdktf that this process is a part of: its app is called alike for each of them, without arguments."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import psutil


def command() -> tuple[str, ...]:
    """The arguments of the cdktf that called this process, the verb first; nothing where none did."""
    return next((found for line in _callers() if (found := _arguments(line))), ())


def named(arguments: Sequence[str], stacks: Collection[str]) -> list[str]:
    """Which stacks a command of cdktf works on.

    Args:
        arguments: Those of cdktf, the verb first.
        stacks: All there are. A name may hold ``*``; without a name it is the only one.
    """
    if len(stacks) == 1:
        return list(stacks)
    return [stack for stack in stacks if any(fnmatch.fnmatchcase(stack, given) for given in arguments[1:])]


def _callers() -> Iterator[list[str]]:
    """The command line of each process that this one descends from, the nearest first."""
    for process in psutil.Process().parents():
        # One that has ended meanwhile, or that is somebody else's, is not what called this one.
        with contextlib.suppress(psutil.Error):
            yield process.cmdline()


def _arguments(line: Sequence[str]) -> tuple[str, ...]:
    """What follows the program cdktf, which Node runs: a folder of that name is not meant."""
    if not line or Path(line[0]).name not in {"node", "nodejs"}:
        return ()
    return next((tuple(line[place:]) for place, word in enumerate(line, 1) if Path(word).name == "cdktf"), ())
