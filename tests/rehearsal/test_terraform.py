"""Real Terraform with the real Databricks provider: made, unchanged, gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient

from infra.rehearsal import server
from tests.rehearsal import user

pytestmark = pytest.mark.slow

STACK = Path(__file__).with_name("stack.tf.json")
MIRROR = Path.home() / ".terraform.d/plugins/registry.terraform.io/databricks/databricks/1.99.0"
MISSING = [
    *([] if shutil.which("terraform") else ["terraform is not installed"]),
    *([] if MIRROR.is_dir() else [f"the Databricks provider is not in {MIRROR}"]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(STACK, tmp_path)
    # What a person has configured for Terraform plays no role, and nothing is downloaded.
    mirror = f"filesystem_mirror {{\n path = {json.dumps(str(MIRROR.parents[3]))}\n }}"
    tmp_path.joinpath("cli.tfrc").write_text(f"provider_installation {{\n {mirror}\n}}", encoding="utf-8")
    return tmp_path


@pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING))
def test_made_unchanged_gone_and_made_again(
    folder: Path, wheel: Path, state: Path, served: server.Served, client: WorkspaceClient
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TF_", "DATABRICKS_"))},
        "CHECKPOINT_DISABLE": "1",
        "TF_CLI_CONFIG_FILE": str(folder / "cli.tfrc"),
        "TF_VAR_wheel": str(wheel),
        "DATABRICKS_HOST": served.host,
        "DATABRICKS_TOKEN": served.token,
    }

    def terraform(*arguments: str, code: int = 0) -> str:
        command = ["terraform", *arguments, "-no-color"]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    terraform("init")
    terraform("apply", "-auto-approve")
    terraform("plan", "-detailed-exitcode")
    job_id = int(terraform("output", "-raw", "job_id"))
    run = user.finish(client, user.start(client, job_id, job_parameters={"git_commit": "abc"}))
    terraform("plan", "-detailed-exitcode", "-var", f"wheel={STACK}", code=2)
    held = terraform("state", "list").splitlines()
    terraform("destroy", "-auto-approve")

    assert len(held) == 18
    assert user.results(run) == {"prepare": "SUCCESS", "train": "SUCCESS"}
    assert user.output(client, run, "prepare").logs == "said --commit=abc\n"
    assert job_id not in [job.job_id for job in client.jobs.list()]
    assert "ml pipeline" not in [pool.instance_pool_name for pool in client.instance_pools.list()]
    assert "dev.iris" not in [schema.full_name for schema in client.schemas.list("dev")]
    assert not state.joinpath("workspace", "Shared", "ml", "wheels").exists()
    found = client.experiments.search_experiments(max_results=100)
    assert "/Shared/ml/iris" not in [experiment.name for experiment in found]
    # Nothing that is left is in the way of the next time.
    terraform("apply", "-auto-approve")
    terraform("destroy", "-auto-approve")
