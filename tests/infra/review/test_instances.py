"""The nightly sweep gives a job to an instance only if the workspace holds something of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.service.jobs import Task

from infra.environment import environment
from infra.rehearsal import server
from tests import commands

ROOT = Path(__file__).parents[3]


def test_an_instance_of_which_nothing_is_left_costs_no_job(tmp_path: Path) -> None:
    with server.serve(tmp_path / "workspace") as workspace:
        signed_in = {"DATABRICKS_HOST": workspace.host, "DATABRICKS_TOKEN": workspace.token}
        client = WorkspaceClient(host=workspace.host, token=workspace.token, auth_type="pat")

        def call(*arguments: str, **more: str) -> Any:
            return subprocess.run(
                [sys.executable, "-m", "infra", "instances", "found", *arguments],
                env={**commands.environment(), **signed_in, **more},
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )

        def found(*among: str) -> list[str]:
            done = call("rehearsal", "--among", json.dumps(among))
            assert done.returncode == 0, done.stderr
            return list(json.loads(done.stdout.removeprefix("instances=")))

        every = [f"pr-{number}" for number in range(1, 6)]
        assert found(*every) == found() == []
        folder = environment.load(ROOT / "environments" / "rehearsal.toml").folder
        client.workspace.mkdirs(f"{folder}-pr-1")
        client.instance_pools.create(instance_pool_name="ml-pipeline-rehearsal-pr-2", node_type_id="rehearsal")
        client.jobs.create(name="ml-pipeline-rehearsal-pr-3-training", tasks=[Task(task_key="one")])
        client.schemas.create(name="ml_pipeline_iris_pr_4", catalog_name="rehearsal")
        # Neither an instance whose name begins alike nor the environment itself.
        client.jobs.create(name="ml-pipeline-rehearsal-pr-50-training", tasks=[Task(task_key="one")])
        client.workspace.mkdirs(folder)
        assert found(*every) == every[:4]

        done = call("nowhere", "--among", "[]")
        assert (done.returncode, done.stderr) == (
            2,
            "error: nowhere: there is no such environment; accepted: dev, prod, rehearsal, staging\n",
        )
        done = call("rehearsal", "--among", '["pr-1"]', DATABRICKS_TOKEN="another")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "error: rehearsal: the workspace can't be asked what is left: " in done.stderr
        done = call("rehearsal", "--among", "pr-1")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
