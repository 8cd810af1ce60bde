"""Calls cdktf for a stack, and prints Terraform's errors at the end, where a person looks for them.

cdktf prints them between its own progress, or loses them as it closes Terraform's terminal; it ends with an exit code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra import terraform
from infra.environment import environment
from ml_pipeline.errors import InputError

_FILES = Path("environments")
_SHIM = """#!/bin/sh
exec "$ML_PIPELINE_TERRAFORM" "$@" 2>> "$ML_PIPELINE_ERRORS"
"""
"""What cdktf takes for Terraform: Terraform, whose errors go to a file."""


def run(verb: str, stack: str, options: Sequence[str]) -> int:
    """Let cdktf deploy, destroy or compare a stack; returns its exit code.

    Raises:
        InputError: there is no such stack.
    """
    instance = os.environ.get("INSTANCE", "")
    known = [each.full_name for each in environment.load_all(_FILES, instance=instance)]
    if stack not in known:
        given = stack.removesuffix(f"-{instance}") if instance else stack
        names = ", ".join(name.removesuffix(f"-{instance}") if instance else name for name in known)
        raise InputError(f"ENV={given}: there is no such environment to deploy; accepted: {names}")
    with tempfile.TemporaryDirectory(prefix="cdktf-") as folder:
        errors, shim = Path(folder, "errors"), Path(folder, "terraform")
        shim.write_text(_SHIM, encoding="utf-8")
        shim.chmod(0o700)
        shell = {
            **os.environ,
            **terraform.QUIET,
            # A deployment that is under way ends before long, and a destruction or another one may wait for it.
            **{f"TF_CLI_ARGS_{command}": "-lock-timeout=10m" for command in ("plan", "apply", "destroy")},
            "TERRAFORM_BINARY_NAME": str(shim),
            terraform.PROGRAM: terraform.program(),
            "ML_PIPELINE_ERRORS": str(errors),
        }
        code = _call(["npx", "--no-install", "cdktf", verb, stack, *options], shell)
        told = errors.read_text(encoding="utf-8", errors="replace").strip() if errors.exists() else ""
    if told:
        print(f"\n{verb} {stack}:\n{told}", file=sys.stderr)
    return code


def _call(command: list[str], shell: dict[str, str]) -> int:
    """Wait for a command through any number of Ctrl-C: it hears each too, and ends what it has begun."""
    with subprocess.Popen(command, env=shell) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
