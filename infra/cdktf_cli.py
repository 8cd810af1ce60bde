"""Calls cdktf for a stack, and prints the errors of Terraform and of the synthesis at the end, where a person looks.

cdktf prints them between its own progress, or loses them as it closes Terraform's terminal; it ends with an exit code.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra import terraform
from infra.environment import environment
from ml_pipeline.errors import InputError, PipelineError, printable
from ml_pipeline.settings.files import full_name

_FILES = Path("environments")
_ERRORS = "ML_PIPELINE_ERRORS"
_SHIM = f"""#!/bin/sh
exec "${terraform.PROGRAM}" "$@" 2>> "${_ERRORS}"
"""
"""cdktf calls this instead of Terraform; it calls Terraform with its errors redirected to a file."""
_WARNING = re.compile(
    r"(?:There are some problems with the CLI configuration:\n+)?╷\n│ (?:\x1b\[[\d;]*m)*Warning: .*?╵\S*\n?", re.DOTALL
)


def run(verb: str, stack: str, options: Sequence[str]) -> int:
    """Let cdktf deploy, destroy or compare a stack; returns its exit code.

    Raises:
        InputError: there is no such stack.
    """
    instance = os.environ.get("INSTANCE", "")
    known = {full_name(file.stem, instance): file.stem for file in environment.deployed(_FILES)}
    if stack not in known:
        name = stack.removesuffix(f"-{instance}")
        raise InputError(f"ENV={name}: there is no such environment to deploy; accepted: {', '.join(known.values())}")
    with tempfile.TemporaryDirectory(prefix="cdktf-") as folder:
        errors, shim = Path(folder, "errors"), Path(folder, "terraform")
        shim.write_text(_SHIM, encoding="utf-8")
        shim.chmod(0o700)
        shell = {
            **os.environ,
            **terraform.QUIET,
            **({} if sys.stdout.isatty() else terraform.STILL),
            # Another deployment may hold the lock for some minutes.
            **{f"TF_CLI_ARGS_{command}": "-lock-timeout=10m" for command in ("plan", "apply", "destroy")},
            "TERRAFORM_BINARY_NAME": str(shim),
            terraform.PROGRAM: terraform.program(),
            _ERRORS: str(errors),
        }
        code = _call(["npx", "--no-install", "cdktf", verb, stack, *options], shell)
        message = without_warnings(errors.read_text(encoding="utf-8", errors="replace")) if errors.exists() else ""
    if message:
        print(f"\n{verb} {stack}:\n{message}", file=sys.stderr)
    return code


@contextlib.contextmanager
def repeated_at_the_end() -> Iterator[None]:
    """Let the call of cdktf that this runs in, if any, print an error once more at its end."""
    try:
        yield
    except (PipelineError, OSError) as error:
        if file := os.environ.get(_ERRORS):
            problems = error.problems if isinstance(error, InputError) else (str(error),)
            with Path(file).open("a", encoding="utf-8") as errors:
                errors.writelines(f"error: {printable(problem)}\n" for problem in problems)
        raise


def without_warnings(text: str) -> str:
    """What Terraform printed, without its warnings: of one that each call prints, a person sees nothing else."""
    return _WARNING.sub("", text).strip()


def _call(command: list[str], shell: dict[str, str]) -> int:
    """Run a command. Ctrl-C reaches it as well; this process waits until Terraform has ended what it began."""
    with subprocess.Popen(command, env=shell) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
