"""Runs Terraform, and checks whether it is available with the provider that the stacks need."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_pipeline.errors import InputError

QUIET = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "DISABLE_VERSION_CHECK": "1"}
"""Lets Terraform and cdktf ask nothing of the network that the work doesn't need."""

STILL = {"CI": "true"}
"""Lets cdktf print no moving line: in a pipe or a file each frame of it would be a line."""

_PROVIDER = "1.99.0"
"""Version of the Databricks provider."""


PROGRAM = "ML_PIPELINE_TERRAFORM"
"""The variable that holds Terraform's program where cdktf is given another one to call."""


def program() -> str:
    """What is called for Terraform; cdktf reads the same variable."""
    return os.environ.get(PROGRAM) or os.environ.get("TERRAFORM_BINARY_NAME", "terraform")


def out() -> Path:
    """The folder that cdktf writes to."""
    return Path(os.environ.get("CDKTF_OUTDIR", "cdktf.out"))


def run(folder: Path, *arguments: str) -> str:
    """Run Terraform in a folder; what it prints.

    Raises:
        InputError: it fails.
    """
    done = call(folder, *arguments, capture=True)
    if done.returncode:
        raise InputError(f"terraform {arguments[0]}:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


def call(folder: Path, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run Terraform in a folder. If this process is interrupted, Terraform ends what it began, and writes its state."""
    command, shell = [program(), *arguments], {**os.environ, **QUIET}
    pipe = subprocess.PIPE if capture else None
    started: list[subprocess.Popen[str]] = []

    def interrupt() -> None:
        for process in started:
            process.send_signal(signal.SIGINT)

    # In a session of its own: it would get a Ctrl-C of the terminal twice.
    with (
        passed_on(interrupt),
        subprocess.Popen(
            command, cwd=folder, env=shell, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        ) as process,
    ):
        started.append(process)
        output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@contextlib.contextmanager
def passed_on(interrupt: Callable[[], None]) -> Iterator[None]:
    """Pass SIGINT and SIGTERM on instead of ending; once the block is done, the interruption counts.

    GitHub cancels a step with SIGINT to the process that it started, sends SIGTERM after 7.5 s, and kills the process
    tree 2.5 s later (docs.github.com, "Workflow cancellation reference"). Terraform ends gracefully at the first
    signal, and at once at the second, with its lock left: it gets only one. A person's second Ctrl-C reaches it.

    Args:
        interrupt: Called for the first signal, and for each SIGINT after it.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread gets signals.
        yield
        return
    arrived: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if number == signal.SIGINT or not arrived:
            interrupt()
        arrived.append(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        raise KeyboardInterrupt


@functools.cache
def problem() -> str | None:
    """What keeps a plan from being made on this machine; ``None`` where nothing does."""
    if shutil.which(program()) is None:
        return "Terraform is missing: install it, 1.10 or later"
    needed = {"databricks": {"source": "databricks/databricks", "version": _PROVIDER}}
    with tempfile.TemporaryDirectory() as folder:
        content = json.dumps({"terraform": {"required_providers": needed}})
        Path(folder, "main.tf.json").write_text(content, encoding="utf-8")
        try:
            run(Path(folder), "init", "-input=false", "-no-color")
        except InputError as error:
            reason = " ".join(str(error).split())[:300]
            where = "neither in Terraform's plugin mirror nor can it be downloaded"
            return f"the Databricks provider {_PROVIDER} is {where}: {reason}"
    return None
