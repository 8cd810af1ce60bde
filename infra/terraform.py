"""Runs Terraform, and checks whether it is available with the provider that the stacks need."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
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


def run(folder: Path, *arguments: str) -> str:
    """Run Terraform in a folder; what it prints.

    Raises:
        InputError: it fails.
    """
    done = subprocess.run(
        [program(), *arguments], cwd=folder, env={**os.environ, **QUIET}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"terraform {arguments[0]}:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


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
