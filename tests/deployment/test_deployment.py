"""Real cdktf, real Terraform and the real Databricks provider, against the rehearsal workspace."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk.service.catalog import VolumeType

from infra import distribution
from tests.deployment.conftest import ROOT, Deployment, deployed, missing

PROBLEM = missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]


@pytest.fixture
def client(deployment: Deployment) -> Any:
    return deployment.client()


def names(client: Any) -> set[str]:
    return {job.settings.name for job in client.jobs.list()}


def left(client: Any) -> list[str]:
    """Everything that the workspace holds."""
    jobs = [job.settings.name for job in client.jobs.list()]
    pools = [pool.instance_pool_name for pool in client.instance_pools.list()]
    schemas = [schema.full_name for schema in client.schemas.list("rehearsal")]
    files = [entry.path for entry in client.workspace.list("/", recursive=True)]
    return [*jobs, *pools, *schemas, *files]


def changes(deployment: Deployment, stack: str) -> dict[str, list[str]]:
    """What Terraform plans to do with which resources, by its own plan."""
    folder = deployment.out / "stacks" / stack
    plan = ["terraform", "plan", "-input=false", "-no-color", "-out=plan"]
    subprocess.run(plan, cwd=folder, env=deployment.environment(), capture_output=True, check=True)
    shown = subprocess.run(
        ["terraform", "show", "-json", "plan"],
        cwd=folder, env=deployment.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    planned = json.loads(shown.stdout).get("resource_changes", [])
    return {c["address"]: c["change"]["actions"] for c in planned if c["change"]["actions"] != ["no-op"]}


def test_deploy_diff_and_destroy_leave_nothing(deployment: Deployment, client: Any) -> None:
    before = left(client)
    assert "Apply complete!" in deployment.cdktf("deploy", "rehearsal", "--auto-approve")
    assert {deployed().job_name(job) for job in ("datasets", "training", "batch_inference")} < names(client)
    assert "No changes." in deployment.cdktf("diff", "rehearsal")
    assert "Destroy complete!" in deployment.cdktf("destroy", "rehearsal", "--auto-approve")
    assert left(client) == before


@pytest.mark.parametrize(
    ("said", "by"),
    [
        (r"Creating\.\.\.", signal.SIGINT),
        (r"databricks_job\.\S+: Creating\.\.\.", signal.SIGKILL),
    ],
    ids=["interrupted", "killed"],
)
def test_a_deployment_that_is_interrupted_converges(
    said: str, by: signal.Signals, deployment: Deployment, client: Any
) -> None:
    deployment.interrupted("rehearsal", said=said, by=by)
    assert "Apply complete!" in deployment.cdktf("deploy", "rehearsal", "--auto-approve")
    assert changes(deployment, "rehearsal") == {}
    assert len(names(client)) == len(list(client.jobs.list())) == 5
    assert len(list(client.instance_pools.list())) == 1
    terraform(deployment, deployment.out / "stacks" / "rehearsal", "destroy", "-input=false", "-auto-approve")
    assert left(client) == []


def test_what_the_state_lost_or_holds_half_made_is_kept(deployment: Deployment, client: Any) -> None:
    folder = deployment.out / "stacks" / "rehearsal"
    synthesize(ROOT, deployment)
    terraform(deployment, folder, "init", "-input=false")
    terraform(deployment, folder, "apply", "-input=false", "-auto-approve")
    before = left(client)
    stack = json.loads((folder / "cdk.tf.json").read_text(encoding="utf-8"))["resource"]
    kinds = ("instance_pool", "job", "mlflow_experiment", "registered_model", "schema")
    lost = [f"databricks_{kind}.{name}" for kind in kinds for name in stack[f"databricks_{kind}"]]
    terraform(deployment, folder, "state", "rm", *lost)
    for kind in ("databricks_volume", "databricks_workspace_file"):
        terraform(deployment, folder, "taint", f"{kind}.{next(iter(stack[kind]))}")
    name = f"{deployed().pipeline.schema_name}.files"
    volume = client.volumes.read(name).volume_id
    done = deployment.made("rehearsal")
    assert f"Apply complete! Resources: {len(lost)} imported, 0 added" in done.stdout, done.stdout + done.stderr
    assert "0 destroyed" in done.stdout
    assert sorted(left(client)) == sorted(before)
    assert client.volumes.read(name).volume_id == volume
    assert changes(deployment, "rehearsal") == {}
    # With nothing in the state, what it made is still found to be destroyed.
    terraform(deployment, folder, "state", "rm", *(f"{kind}.{name}" for kind in stack for name in stack[kind]))
    deployment.cdktf("destroy", "rehearsal", "--auto-approve")
    assert left(client) == []


def test_what_somebody_else_made_is_left_alone(deployment: Deployment, client: Any) -> None:
    catalog, _, name = deployed().pipeline.schema_name.partition(".")
    job = client.jobs.create(name=deployed().job_name("training"), tags={"deployment": "other"}).job_id
    schema = client.schemas.create(name, catalog, comment="Ours").full_name
    volume = client.volumes.create(catalog, name, "files", VolumeType.MANAGED).full_name
    before = client.jobs.get(job), client.schemas.get(schema), client.volumes.read(volume)
    done = deployment.made("rehearsal")
    assert done.returncode
    # The last that is printed, but for make's own line.
    assert f"Schema '{schema}' already exists" in " ".join(done.stderr.split()), done.stdout + done.stderr
    assert "imported" not in done.stdout
    after = client.jobs.get(job), client.schemas.get(schema), client.volumes.read(volume)
    assert after == before
    terraform(deployment, deployment.out / "stacks" / "rehearsal", "destroy", "-input=false", "-auto-approve")
    assert left(client) == [deployed().job_name("training"), schema]


def test_an_instance_comes_and_goes_beside_its_environment(deployment: Deployment, client: Any) -> None:
    deployment.cdktf("deploy", "rehearsal", "--auto-approve")
    alone = left(client)
    deployment.cdktf("deploy", "rehearsal-pr-7", "--auto-approve", INSTANCE="pr-7")
    assert deployed("pr-7").job_name("training") in names(client)
    schedules = [job.settings.schedule for job in client.jobs.list() if job.settings.schedule]
    assert {str(schedule.pause_status.value) for schedule in schedules} == {"PAUSED"}
    deployment.cdktf("destroy", "rehearsal-pr-7", "--auto-approve", INSTANCE="pr-7")
    assert sorted(left(client)) == sorted(alone)
    deployment.cdktf("diff", "rehearsal")
    assert changes(deployment, "rehearsal") == {}


def test_new_content_of_the_wheel_changes_it_and_the_jobs_and_nothing_else(
    deployment: Deployment, tmp_path: Path
) -> None:
    project = copy_of_the_project(tmp_path / "project")
    synthesize(project, deployment)
    folder = deployment.out / "stacks" / "rehearsal"
    terraform(deployment, folder, "init", "-input=false")
    terraform(deployment, folder, "apply", "-input=false", "-auto-approve")
    synthesize(copy_of_the_project(tmp_path / "another" / "place"), deployment)
    assert changes(deployment, "rehearsal") == {}

    change_the_wheel(project)
    synthesize(project, deployment)
    planned = changes(deployment, "rehearsal")
    assert {address.split(".")[0] for address in planned} == {"databricks_workspace_file", "databricks_job"}
    # The old wheel and the new one, and the five jobs.
    assert len(planned) == 7
    assert all(actions == ["update"] for address, actions in planned.items() if address.startswith("databricks_job"))
    terraform(deployment, folder, "destroy", "-input=false", "-auto-approve")


def test_a_run_under_way_ends_with_the_wheel_that_it_began_with(deployment: Deployment, client: Any) -> None:
    project = clone(deployment.out.parent / "project")
    deployment.cdktf("deploy", "rehearsal", "--auto-approve", APP, cwd=project)
    (job,) = client.jobs.list(name=deployed().job_name("datasets"))
    path = client.jobs.get(job.job_id).settings.tasks[0].libraries[0].whl
    change_the_wheel(project)
    run = client.jobs.run_now(job.job_id)
    assert "will not be destroyed" in deployment.cdktf("diff", "rehearsal", APP, cwd=project)
    deployment.cdktf("deploy", "rehearsal", "--auto-approve", APP, cwd=project)
    assert client.jobs.get(job.job_id).settings.tasks[0].libraries[0].whl != path
    assert client.workspace.get_status(path.removeprefix("/Workspace")).size
    assert run.result().state.result_state.value == "SUCCESS"
    assert changes(deployment, "rehearsal") == {}
    deployment.cdktf("destroy", "rehearsal", "--auto-approve", APP, cwd=project)
    assert left(client) == []


def test_two_projects_share_a_workspace_and_neither_touches_the_other(deployment: Deployment, client: Any) -> None:
    projects = {}
    for name in ("churn", "fraud"):
        place = clone(deployment.out.parent / name)
        file = place / "pyproject.toml"
        text, count = re.subn(r'(?m)^project = ".*"$', f'project = "{name}"', file.read_text(encoding="utf-8"))
        assert count == 1
        file.write_text(text, encoding="utf-8")
        projects[name] = replace(deployment, out=place / "cdktf.out"), place

    def cdktf(verb: str, project: str, instance: str, *options: str) -> str:
        one, place = projects[project]
        stack = f"rehearsal-{instance}" if instance else "rehearsal"
        return one.cdktf(verb, stack, *options, APP, cwd=place, INSTANCE=instance)

    def of(project: str, instance: str = "") -> list[str]:
        """What the workspace holds of an environment or an instance."""
        name, schema = f"{project}-rehearsal", f"rehearsal.{project}_iris"
        owned = [each for each in left(client) if name in each or each.startswith(schema)]
        return [each for each in owned if ("pr-7" in each or each.endswith("_pr_7")) == bool(instance)]

    every = [(project, instance) for project in projects for instance in ("", "pr-7")]
    for project, instance in every:
        # Nothing is imported.
        assert "Apply complete! Resources: 20 added" in cdktf("deploy", project, instance, "--auto-approve")
    whole = {each: of(*each) for each in every}
    assert sorted(left(client)) == sorted(name for names in whole.values() for name in names)
    assert {len(names) for names in whole.values()} == {len(whole["churn", ""])}
    for project, instance in every:
        assert "No changes." in cdktf("diff", project, instance)

    # With nothing in the state, what is destroyed is found by its marks.
    for state in (deployment.out.parent / "churn").glob("terraform.*.tfstate*"):
        state.unlink()
    for instance in ("pr-7", ""):
        cdktf("destroy", "churn", instance, "--auto-approve")
        assert of("churn", instance) == []
    assert {each: of(*each) for each in every if each[0] == "fraud"} == {
        each: names for each, names in whole.items() if each[0] == "fraud"
    }
    for instance in ("", "pr-7"):
        assert "No changes." in cdktf("diff", "fraud", instance)
        cdktf("destroy", "fraud", instance, "--auto-approve")
    assert left(client) == []


APP = f"--app={shlex.quote(sys.executable)} -m infra synth"
"""Lets cdktf synthesize a clone with this environment's Python."""


def clone(place: Path) -> Path:
    """A copy of the project in which cdktf can be called."""
    copy_of_the_project(place)
    for name in ("cdktf.json", "package.json"):
        shutil.copy(ROOT / name, place)
    (place / "node_modules").symlink_to(ROOT / "node_modules")
    return place


def copy_of_the_project(place: Path) -> Path:
    for name in ("infra", "ml_pipeline", "environments", "dist"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def change_the_wheel(project: Path) -> None:
    """What a build of other code leaves."""
    wheel = next((project / "dist").glob("*.whl"))
    with wheel.open("ab") as file:
        file.write(b"changed")
    distribution.seal(wheel)


def synthesize(project: Path, deployment: Deployment) -> None:
    environment = deployment.environment(GIT_COMMIT="0" * 40)
    command = [sys.executable, "-m", "infra", "synth"]
    subprocess.run(command, cwd=project, env=environment, capture_output=True, check=True)


def terraform(deployment: Deployment, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["terraform", *arguments], cwd=folder, env=deployment.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def no_state_beside_the_project() -> Iterator[None]:
    yield
    assert not list(ROOT.glob("terraform.rehearsal*.tfstate")), "the state belongs in the test's folder"


def test_a_step_that_is_cancelled_releases_the_lock(deployment: Deployment, client: Any) -> None:
    state = deployment.out.parent / "terraform.rehearsal.tfstate"
    for verb, said in {"deploy": r"Creating\.\.\.", "destroy": r"Destroying\.\.\."}.items():
        output = deployment.cancelled(verb, "rehearsal", said=said)
        assert output.splitlines()[-1] == "interrupted", output
        assert not state.with_name(f".{state.name}.lock.info").exists()
        assert json.loads(state.read_text(encoding="utf-8"))["version"] == 4
    deployment.cdktf("destroy", "rehearsal", "--auto-approve")
    assert left(client) == []
