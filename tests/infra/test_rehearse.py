"""The output of a rehearsal in a pipe. cdktf is real; Terraform is a script that deploys nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.environment import environment
from infra.rehearsal import server
from infra.rehearse import Rehearsal

ROOT = Path(__file__).parents[2]
TERRAFORM = """#!/bin/sh
case "$1" in
    init) sleep 1 ;;
    show) echo '{}' ;;
    version) echo 'Terraform v1.12.0' ;;
    apply) sleep 1; echo 'Apply complete! Resources: 3 added.' ;;
    destroy) echo 'Destroy complete! Resources: 3 destroyed.' ;;
    *) echo '{}' ;;
esac
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("npx") is None or not (ROOT / "node_modules" / ".bin" / "cdktf").exists(),
        reason="cdktf is not installed",
    ),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[server.Served]:
    with server.serve(tmp_path / "workspace") as running:
        yield running


def test_a_pipe_gets_no_moving_line_and_each_step_with_its_time(
    workspace: server.Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    terraform = tmp_path / "terraform"
    terraform.write_text(TERRAFORM)
    terraform.chmod(0o700)
    monkeypatch.setenv("TERRAFORM_BINARY_NAME", str(terraform))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.chdir(ROOT)
    rehearsed = environment.load(Path("environments/rehearsal.toml"), instance="")
    code = Rehearsal(rehearsed, host=workspace.host, token=workspace.token, folder=tmp_path).run()
    output = capfd.readouterr().out

    # The first launch fails, because the script has deployed no job.
    first = f"launch {rehearsed.jobs[0].name}"
    _, _, summary = output.rpartition("\nrehearsal\n")
    steps = re.findall(r"^(SUCCESS|FAILED) +(.*?) +\d+\.\d s(?: |$)", summary, flags=re.MULTILINE)
    assert [(state, name) for state, name in steps] == [
        ("SUCCESS", "grant"),
        ("SUCCESS", "deploy"),
        ("FAILED", first),
        ("SUCCESS", "destroy"),
        ("SUCCESS", "nothing is left"),
    ]
    assert code == 1
    assert re.search(r"^SUCCESS +deploy +\d+\.\d s  Apply complete!", output, flags=re.MULTILINE)
    assert "\x1b" not in output
    assert not re.search("[\u2800-\u28ff]", output)
    assert len(output.splitlines()) < 40
