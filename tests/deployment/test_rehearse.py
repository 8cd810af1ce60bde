"""The rehearsal as a person starts it: deployed, run, unchanged, destroyed, and nothing left."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.deployment.conftest import ROOT, missing

PROBLEM = missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]


def test_the_rehearsal_runs_every_job_and_leaves_nothing() -> None:
    from infra import rehearse
    from infra.environment import environment

    # Without another installation of what is tested.
    command = ["make", "--old-file=setup", "rehearse"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    _, _, summary = done.stdout.rpartition("\nrehearsal\n")
    found = re.findall(r"^(SUCCESS|FAILED) +(\S.*?) +\d+\.\d s(?: +(.*))?$", summary, flags=re.MULTILINE)
    states = {name: state for state, name, _ in found}
    launches = [f"launch {job.name}" for job in environment.load(ROOT / "environments" / "rehearsal.toml").jobs]
    access = [f"access of {principal}" for principal in rehearse.PRINCIPALS]
    last = ["diff", "diff of administrator", "destroy", "nothing is left"]
    assert states == dict.fromkeys(["grant", "deploy", *launches, *access, *last], "SUCCESS")
    remarks = {name: remark for _, name, remark in found}
    assert remarks["access of stranger"].startswith("may not read the wheel, write to the folder, ")
    assert "; may not grant on the catalog" in remarks["access of deployer"]
