"""Only what was reviewed is applied: real Terraform and the real provider, against the rehearsal workspace."""

from __future__ import annotations

import fcntl
import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.deployment import plans
from tests.deployment.conftest import ROOT, Deployment, deployed, missing

PROBLEM = missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]


def review(
    deployment: Deployment, project: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra", *arguments],
        cwd=project,
        env=deployment.environment(PYTHONPATH=str(ROOT), **environment),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's environment files, for a test to change, beside its wheel."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "environments", folder / "environments")
    shutil.copytree(ROOT / "dist", folder / "dist")
    return folder


def edit(project: Path, old: str, new: str) -> None:
    file = project / "environments" / "rehearsal.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_what_was_reviewed_is_applied_and_nothing_else(deployment: Deployment, project: Path, tmp_path: Path) -> None:
    client = deployment.client()
    reviewed = tmp_path / "reviewed"
    apply = ("apply", "rehearsal", "--reviewed", str(reviewed / "changes.json"))

    done = review(deployment, project, "plan", "rehearsal", "--output", str(reviewed))
    assert done.returncode == 0, done.stderr
    assert "to create" in done.stdout
    assert done.stdout.strip() == (reviewed / "plan.md").read_text(encoding="utf-8").strip()

    # The file says something else since.
    edit(project, "max_capacity = 2", "max_capacity = 3")
    done = review(deployment, project, *apply)
    assert done.returncode == 1
    assert "nothing was applied" in done.stderr
    assert "databricks_instance_pool" in done.stderr
    assert "max_capacity: reviewed was (none) → 2, now it is (none) → 3" in done.stderr
    assert list(client.instance_pools.list()) == []
    edit(project, "max_capacity = 3", "max_capacity = 2")

    done = review(deployment, project, *apply)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Apply complete!" in done.stdout
    # Who only looks waits for nobody, and keeps nobody from deploying.
    with (deployment.out.parent / "terraform.rehearsal.tfstate").open("r+b") as state:
        fcntl.lockf(state, fcntl.LOCK_EX)
        done = review(deployment, project, "drift", "rehearsal")
    assert done.returncode == 0, done.stderr
    # The workflow is started again after something that follows the deployment failed.
    done = review(deployment, project, *apply)
    assert (done.returncode, done.stdout.strip()) == (0, "rehearsal: nothing is left to change"), done.stderr

    # Somebody changes the workspace after the review.
    edit(project, "max_capacity = 2", "max_capacity = 4")
    assert review(deployment, project, "plan", "rehearsal", "--output", str(reviewed)).returncode == 0
    (job,) = client.jobs.list(name=deployed().job_name("training"))
    client.api_client.do(
        "POST", "/api/2.2/jobs/update", body={"job_id": job.job_id, "new_settings": {"timeout_seconds": 77}}
    )
    done = review(deployment, project, *apply)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "databricks_job.training" in line]
    assert "update, which was not reviewed; timeout_seconds: 77 → " in line
    (pool,) = client.instance_pools.list()
    assert pool.max_capacity == 2

    done = review(deployment, project, "drift", "rehearsal")
    assert done.returncode == 2
    assert "to update" in done.stdout


def test_a_deployment_that_ended_half_way_is_finished_with_the_same_review(
    deployment: Deployment, project: Path, tmp_path: Path
) -> None:
    reviewed = tmp_path / "reviewed"
    assert review(deployment, project, "plan", "rehearsal", "--output", str(reviewed)).returncode == 0
    apply = ("apply", "rehearsal", "--reviewed", str(reviewed / "changes.json"))
    output = deployment.signalled([sys.executable, "-m", "infra", *apply], said="Creation complete", folder=project)
    assert output.splitlines()[-1] == "interrupted", output
    done = review(deployment, project, *apply)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Apply complete!" in done.stdout
    assert review(deployment, project, "drift", "rehearsal").returncode == 0


DEPLOYER, MANAGER, VIEWER = (f"00000000-0000-0000-0000-00000000000{number}" for number in range(1, 4))


@pytest.fixture
def github(deployment: Deployment) -> Iterator[dict[str, str]]:
    """The variables of a workflow's job that signs in; its identity is what the rehearsal workspace accepts."""

    class Issuer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps({"value": deployment.token}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its own name)
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/?"
        yield {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job", "DATABRICKS_TOKEN": ""}
        server.shutdown()


def test_who_manages_may_plan_and_run_and_only_who_deploys_applies_and_writes(
    deployment: Deployment, project: Path, tmp_path: Path, github: dict[str, str]
) -> None:
    from databricks.sdk.errors import PermissionDenied
    from databricks.sdk.service.catalog import PermissionsChange, Privilege
    from databricks.sdk.service.workspace import ImportFormat

    def run(principal: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return review(deployment, project, *arguments, **github, DATABRICKS_CLIENT_ID=principal)

    sign_in = f'auth = "github-oidc"\nhost = "{deployment.host}"\nclient_id = "{DEPLOYER}"'
    edit(project, 'auth = "environment"', sign_in)
    edit(project, "[permissions.workspace]\n", f'[permissions.workspace]\nmanagers = ["{MANAGER}"]\n')
    # What an administrator grants (docs/setup.md).
    added = PermissionsChange(add=[Privilege.USE_CATALOG, Privilege.CREATE_SCHEMA], principal=DEPLOYER)
    deployment.client().grants.update("catalog", "rehearsal", changes=[added])
    reviewed = tmp_path / "reviewed"
    done = run(MANAGER, "plan", "rehearsal", "--output", str(reviewed))
    assert done.returncode == 0, done.stderr
    done = run(DEPLOYER, "apply", "rehearsal", "--reviewed", str(reviewed / "changes.json"))
    assert done.returncode == 0, done.stderr
    done = run(DEPLOYER, "drift", "rehearsal")
    assert done.returncode == 0, done.stdout + done.stderr
    # An object is shown only to whoever may see it, and its list of permissions to whoever may manage it.
    for principal, lacks in ((MANAGER, "Manage permissions on directory"), (VIEWER, "")):
        done = run(principal, "drift", "rehearsal")
        assert done.returncode == 1
        assert f"{principal} does not have {lacks}" in " ".join(done.stderr.split())

    manager = deployment.client(MANAGER)
    manager.jobs.cancel_all_runs(job_id=next(job.job_id for job in manager.jobs.list()))
    with pytest.raises(PermissionDenied):
        manager.workspace.upload(f"{deployed().folder}/mine.py", io.BytesIO(b""), format=ImportFormat.RAW)


def test_a_stack_that_there_is_not_and_a_review_that_is_none(
    deployment: Deployment, project: Path, tmp_path: Path
) -> None:
    done = review(deployment, project, "plan", "nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "there is no stack 'nowhere'; accepted: dev, prod, rehearsal, staging" in done.stderr
    file = tmp_path / "none.json"
    file.write_text("{}")
    done = review(deployment, project, "apply", "rehearsal", "--reviewed", str(file))
    assert done.returncode == 1
    assert f"error: --reviewed {file}: is not a list of reviewed changes" in done.stderr
    done = review(deployment, project, "apply", "rehearsal", "--reviewed", "absent.json")
    assert done.stderr.startswith("error: --reviewed absent.json: No such file or directory; accepted: ")


def test_the_plans_that_other_tests_read_are_what_terraform_makes(deployment: Deployment, tmp_path: Path) -> None:
    from infra.review.plan import Changes

    for make in (plans.stack, plans.sensitive):
        kept = json.loads(
            (ROOT / "tests" / "infra" / "review" / "plans" / f"{make.__name__}.json").read_text(encoding="utf-8")
        )
        made = make(tmp_path / make.__name__, deployment.environment())
        assert actions(made) == actions(kept)
        assert [change.address for change in Changes.of(made).items] == [
            change.address for change in Changes.of(kept).items
        ]


def actions(plan: dict[str, Any]) -> dict[str, list[str]]:
    return {each["address"]: each["change"]["actions"] for each in plan["resource_changes"]}
