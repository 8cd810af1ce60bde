"""Makes the plans of ``tests/infra/review/plans`` with Terraform itself: ``python -m tests.deployment.plans``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECRET = "hunter2-very-secret"
_KEPT = ("format_version", "resource_changes", "output_changes")


def _job(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "max_concurrent_runs": 1, "timeout_seconds": 3600, **more}


BEFORE: dict[str, Any] = {
    "databricks_schema": {"gone": {"catalog_name": "rehearsal", "name": "gone", "comment": "holds tables"}},
    "databricks_instance_pool": {
        "machines": {
            "instance_pool_name": "machines",
            "node_type_id": "small",
            "min_idle_instances": 0,
            "max_capacity": 2,
            "idle_instance_autotermination_minutes": 15,
        }
    },
    "databricks_job": {"same": _job("same"), "changed": _job("changed")},
}
AFTER: dict[str, Any] = {
    "databricks_instance_pool": {"machines": {**BEFORE["databricks_instance_pool"]["machines"], "node_type_id": "big"}},
    "databricks_job": {
        "same": _job("same"),
        "changed": _job("changed", timeout_seconds=7200, tags={"commit": "abc"}),
        "added": _job("added"),
    },
}


def stack(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """One job is added, one changed, a pool replaced, a schema deleted."""
    needed = {"databricks": {"source": "databricks/databricks", "version": "1.99.0"}}
    fixed = {"terraform": {"required_providers": needed}, "provider": {"databricks": {}}}
    return _planned(folder, environment, {**fixed, "resource": BEFORE}, {**fixed, "resource": AFTER})


def sensitive(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """A sensitive variable reaches a resource and an output; Terraform has its own kind of resource for that."""
    held = {"terraform_data": {"holder": {"input": {"password": "${var.password}", "user": "me"}}}}
    content = {
        "variable": {"password": {"sensitive": True}},
        "resource": held,
        "output": {"password": {"value": "${var.password}", "sensitive": True}},
    }
    before = {**environment, "TF_VAR_password": "the one before"}
    return _planned(folder, before, content, content, then={"TF_VAR_password": SECRET})


def _planned(
    folder: Path,
    environment: Mapping[str, str],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    then: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    folder.mkdir(parents=True)

    def terraform(*arguments: str) -> str:
        done = subprocess.run(
            ["terraform", *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    variables = dict(environment)
    (folder / "main.tf.json").write_text(json.dumps(before))
    terraform("init", "-input=false")
    terraform("apply", "-input=false", "-auto-approve")
    variables |= then or {}
    (folder / "main.tf.json").write_text(json.dumps(after))
    terraform("plan", "-input=false", "-out=plan")
    shown = json.loads(terraform("show", "-json", "plan"))
    return {key: shown[key] for key in _KEPT if key in shown}


def main() -> None:
    """Write both plans anew."""
    sys.path.append(str(ROOT))
    from infra import terraform
    from infra.rehearsal import server

    target = ROOT / "tests" / "infra" / "review" / "plans"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, server.serve(Path(name) / "workspace") as workspace:
        environment = {
            **os.environ,
            **terraform.QUIET,
            "DATABRICKS_HOST": workspace.host,
            "DATABRICKS_TOKEN": workspace.token,
        }
        for make in (stack, sensitive):
            plan = make(Path(name) / make.__name__, environment)
            # The address of the rehearsal workspace is another each time.
            text = json.dumps(plan, indent=1, sort_keys=True).replace(workspace.host, "https://example.com")
            (target / f"{make.__name__}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
