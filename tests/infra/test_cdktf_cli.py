"""What a person sees of a deployment that fails: the reason, as the last lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import cdktf_cli
from infra.rehearsal import server
from tests import commands

ROOT = Path(__file__).parents[2]
TERRAFORM = """#!/bin/sh
case "$1" in
    init) ;;
    show) echo '{}' ;;
    version) echo 'Terraform v1.12.0' ;;
    *) printf '\\n| Error: the reason\\n| on line 1\\n' >&2; exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Served]:
    with server.serve(tmp_path_factory.mktemp("workspace")) as running:
        yield running


def call(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra", "cdktf", *arguments],
        env={**commands.environment(), "PATH": os.environ["PATH"], "CDKTF_OUTDIR": str(folder / "out"), **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npx") is None, reason="cdktf needs Node")
@pytest.mark.parametrize("verb", ["deploy", "diff", "destroy"])
def test_terraforms_reason_comes_last(verb: str, workspace: server.Served, tmp_path: Path) -> None:
    terraform = tmp_path / "terraform"
    terraform.write_text(TERRAFORM)
    terraform.chmod(0o700)
    variables = {
        "DATABRICKS_HOST": workspace.host,
        "DATABRICKS_TOKEN": workspace.token,
        "TERRAFORM_BINARY_NAME": str(terraform),
    }
    options = (
        "--skip-provider-lock",
        "--output",
        str(tmp_path / "out"),
        *([] if verb == "diff" else ["--auto-approve"]),
    )
    done = call(verb, "rehearsal", *options, folder=tmp_path, **variables)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.splitlines()[-2:] == ["| Error: the reason", "| on line 1"]
    assert f"{verb} rehearsal:" in done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npx") is None, reason="cdktf needs Node")
def test_the_reason_of_a_failed_synthesis_comes_last(tmp_path: Path) -> None:
    done = call("diff", "rehearsal-PR_1", "--output", str(tmp_path / "out"), folder=tmp_path, INSTANCE="PR_1")
    assert done.returncode == 1, done.stdout + done.stderr
    heading, reason = done.stderr.splitlines()[-2:]
    assert heading == "diff rehearsal-PR_1:"
    assert reason.startswith("error: INSTANCE 'PR_1': accepted: ")


def test_a_warning_does_not_hide_the_reason() -> None:
    unread = "There are some problems with the CLI configuration:\n" + box(
        "Warning: Unable to open CLI configuration file"
    )
    error, coloured = box("Error: Failed to query"), box("\x1b[33mWarning: \x1b[0m\x1b[0mDeprecated", "│ a line")
    assert cdktf_cli.without_warnings(unread + unread) == ""
    assert cdktf_cli.without_warnings(unread + error + coloured + error) == f"{error}{error}".strip()
    assert cdktf_cli.without_warnings("terraform: not found\n") == "terraform: not found"


def box(*lines: str) -> str:
    return "\n".join(["╷", f"│ {lines[0]}", *lines[1:], "╵", ""])


@pytest.mark.parametrize(("instance", "stack"), [("", "nope"), ("pr-1", "nope-pr-1")])
def test_an_environment_that_is_not_there_is_named_with_those_that_are(
    instance: str, stack: str, tmp_path: Path
) -> None:
    done = call("diff", stack, folder=tmp_path, INSTANCE=instance)
    expected = "error: ENV=nope: there is no such environment to deploy; accepted: dev, prod, rehearsal, staging"
    assert (done.returncode, done.stderr.strip()) == (2, expected)
