"""Calls cdktf for a stack, and prints Terraform's errors at the end, where a person looks for them.

cdktf prints them between its own progress, or loses them as it closes Terraform's terminal; it ends with an exit code.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra import terraform
from infra.environment import environment
from ml_pipeline.errors import InputError
from ml_pipeline.settings.files import full_name

_FILES = Path("environments")
_SHIM = """#!/bin/sh
exec "$ML_PIPELINE_TERRAFORM" "$@" 2>> "$ML_PIPELINE_ERRORS"
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
            "ML_PIPELINE_ERRORS": str(errors),
        }
        code = _call(["npx", "--no-install", "cdktf", verb, stack, *options], shell)
        message = without_warnings(errors.read_text(encoding="utf-8", errors="replace")) if errors.exists() else ""
    if message:
        print(f"\n{verb} {stack}:\n{message}", file=sys.stderr)
    return code


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
