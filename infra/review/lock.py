"""Removes the lock of Terraform's state that a deployment of this machine left when it was killed."""

from __future__ import annotations

import datetime
import getpass
import re
import socket
import time
from pathlib import Path

import psutil

from infra import terraform
from ml_pipeline.errors import CheckFailedError, InputError

_LOOKING = ("untaint", "-no-color", "-lock-timeout=0s", "-allow-missing", "terraform_data.none")
"""Takes the lock and changes nothing: there is no such resource. If it fails, Terraform prints who holds the lock."""
_LOCKED = re.compile(r"Lock Info:.*?ID: +([^-\s]\S*).*?Who: +(\S+).*?Created: +(\S+ [\d:]+)\S* \+0000 UTC", re.DOTALL)
"""The backend ``gcs`` prints a negative ID, and this user as owner, if there is no lock and it can't write one."""

_PATIENCE, _PAUSE = 120.0, 0.2
"""Seconds. GitHub ends a cancelled job after five minutes, cleaning up included."""


def begin(stack: str) -> None:
    """Note that this machine begins to deploy or destroy a stack: a lock that it leaves is younger."""
    note = _note(stack)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(_second(datetime.datetime.now(datetime.UTC)), encoding="utf-8")


def release(stack: str) -> str:
    """Remove the lock that a deployment of this machine left; what was done, in words.

    Raises:
        CheckFailedError: somebody else holds the lock.
        InputError: the state can't be reached.
    """
    note, folder = _note(stack), terraform.out() / "stacks" / stack
    if not note.exists() or not (folder / ".terraform").exists():
        return f"{stack}: no deployment began on this machine, so it left no lock"
    deadline = time.monotonic() + _PATIENCE
    while _works_in(folder):
        if time.monotonic() > deadline:
            raise CheckFailedError(f"{stack}: Terraform still works on this machine; its lock stays")
        time.sleep(_PAUSE)
    try:
        terraform.run(folder, *_LOOKING)
    except InputError as error:
        found = _LOCKED.search(str(error))
        if not found:
            raise
        id_, who, created = found.groups()
        # The runner's machines may have the same name; jobs that deploy the same stack never run at the same time.
        if who != f"{getpass.getuser()}@{socket.gethostname()}" or created < note.read_text(encoding="utf-8"):
            raise CheckFailedError(
                f"{stack}: {who} holds the lock {id_} since {created} UTC, and not this deployment; it stays. If no "
                "deployment is active, remove it as docs/deployment.md describes"
            ) from None
        terraform.run(folder, "force-unlock", "-force", id_)
        return f"{stack}: removed the lock {id_}, which this deployment left"
    return f"{stack}: there is no lock"


def _works_in(folder: Path) -> bool:
    """Whether a process works in a folder: Terraform may outlive the command that called it."""
    there = str(folder.resolve())
    return any(
        process.info["cwd"] == there and process.info["status"] != psutil.STATUS_ZOMBIE
        for process in psutil.process_iter(["cwd", "status"])
    )


def _note(stack: str) -> Path:
    return terraform.out() / f"began-{stack}"


def _second(moment: datetime.datetime) -> str:
    """As Terraform prints it: such texts are in the order of the times."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")
