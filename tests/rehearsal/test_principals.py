"""Who may do what with the objects of the workspace, and with secrets."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service import compute, jobs, ml, workspace

from infra.rehearsal import server
from tests.rehearsal import user
from tests.rehearsal.principals import (
    ALL,
    DEPLOYER,
    FOLDER,
    LOGS,
    NAMES,
    OWN,
    READER,
    READS,
    RUNNER,
    Deployed,
    ask,
    did,
    entry,
    run_as,
    write,
)
from tests.rehearsal.user import task

ACTIONS: Mapping[str, tuple[Callable[[WorkspaceClient, Deployed], Any], set[str]]] = {
    "see the job": (lambda c, d: c.jobs.get(d.job), {DEPLOYER, READER}),
    "start the job": (lambda c, d: c.jobs.run_now(d.job), OWN),
    "cancel its runs": (lambda c, d: c.jobs.cancel_all_runs(job_id=d.job), OWN),
    "change the job": (lambda c, d: c.jobs.update(d.job, new_settings=jobs.JobSettings(timeout_seconds=60)), OWN),
    "reset the job": (
        lambda c, d: c.jobs.reset(
            d.job, jobs.JobSettings(name="deployed", run_as=run_as(RUNNER), tasks=[task("one", "say", wheel=d.wheel)])
        ),
        OWN,
    ),
    "read who may use the job": (lambda c, d: c.permissions.get("jobs", str(d.job)), OWN),
    "give the job away": (
        lambda c, d: c.permissions.update("jobs", str(d.job), access_control_list=[entry(READER, "CAN_VIEW")]),
        OWN,
    ),
    "list the folder": (lambda c, _: [*c.workspace.list(FOLDER)], ALL),
    "read the wheel": (lambda c, d: c.workspace.download(d.wheel).read(), READS),
    "replace the wheel": (lambda c, d: user.upload(c, d.built, d.wheel), OWN),
    "write beside the wheel": (lambda c, _: write(c, f"{FOLDER}/other.py"), OWN),
    "make a folder": (lambda c, _: c.workspace.mkdirs(f"{FOLDER}/{uuid.uuid4()}/b"), OWN),
    "read who may use the folder": (
        lambda c, _: c.permissions.get("directories", str(c.workspace.get_status(FOLDER).object_id)),
        OWN,
    ),
    "see the pool": (lambda c, d: c.instance_pools.get(d.pool), LOGS),
    "change the pool": (lambda c, d: c.instance_pools.edit(d.pool, "of the deployer", "i3.xlarge"), OWN),
    "see the experiment": (lambda c, d: c.experiments.get_experiment(d.experiment), READS),
    "find the experiment": (lambda c, _: c.experiments.get_by_name(f"{FOLDER}/experiment"), READS),
    "see its runs": (lambda c, d: [*c.experiments.search_runs(experiment_ids=[d.experiment])], READS),
    "see a run": (lambda c, d: c.experiments.get_run(d.run), READS),
    "list artifacts": (lambda c, d: [*c.experiments.list_artifacts(run_id=d.run)], READS),
    "read an artifact": (lambda c, d: ask(c, "artifacts/credentials-for-read", run_id=d.run, path=["a"]), READS),
    "write an artifact": (lambda c, d: ask(c, "artifacts/credentials-for-write", run_id=d.run, path=["a"]), LOGS),
    "begin a run": (lambda c, d: c.experiments.create_run(experiment_id=d.experiment), LOGS),
    "log a metric": (lambda c, d: c.experiments.log_metric(key="m", value=1.0, timestamp=0, run_id=d.run), LOGS),
    "log many": (
        lambda c, d: c.experiments.log_batch(run_id=d.run, params=[ml.Param(key="p", value="1")]),
        LOGS,
    ),
    "log a model": (
        lambda c, d: ask(c, "logged-models", experiment_id=d.experiment, name="m", source_run_id=d.run),
        LOGS,
    ),
    "rename the experiment": (
        lambda c, d: c.experiments.update_experiment(d.experiment, new_name=f"{FOLDER}/experiment"),
        OWN,
    ),
    "make an experiment": (lambda c, _: c.experiments.create_experiment(f"{FOLDER}/{uuid.uuid4()}"), OWN),
    "delete an experiment": (lambda c, d: c.experiments.delete_experiment(d.another()), OWN),
    "delete the job": (lambda c, d: c.jobs.delete(d.job_of(task("one", "say", wheel=d.wheel))), OWN),
    "make a folder in the root": (lambda c, _: c.workspace.mkdirs("/ours"), set()),
    "write into another's home": (lambda c, _: write(c, "/Users/rehearsal@localhost/x.py"), set()),
    "write into the shared folder": (lambda c, _: write(c, "/Shared/of-all.py"), ALL),
}
"""What each tries, and who may."""


@pytest.mark.parametrize("what", ACTIONS)
def test_each_may_do_what_they_should_and_no_more(deployed: Deployed, what: str) -> None:
    act, allowed = ACTIONS[what]
    done = {principal for principal in NAMES if did(act, deployed.clients[principal], deployed)}
    assert {NAMES[one] for one in done} == {NAMES[one] for one in allowed}


LISTS: Mapping[str, Callable[[WorkspaceClient], list[str]]] = {
    "jobs": lambda c: [str(one.settings and one.settings.name) for one in c.jobs.list()],
    "runs": lambda c: [str(one.run_name) for one in c.jobs.list_runs()],
    "pools": lambda c: [str(one.instance_pool_name) for one in c.instance_pools.list()],
    "experiments": lambda c: [str(one.name) for one in c.experiments.search_experiments()],
    "all experiments": lambda c: [str(one.name) for one in c.experiments.list_experiments()],
}
SHOWN = {
    "jobs": ("deployed", {DEPLOYER, READER}),
    "runs": ("deployed", {DEPLOYER, READER}),
    "pools": ("of the deployer", LOGS),
    "experiments": (f"{FOLDER}/experiment", READS),
    "all experiments": (f"{FOLDER}/experiment", READS),
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_show_what_each_may_see(deployed: Deployed, what: str) -> None:
    user.finish(deployed.clients[DEPLOYER], user.start(deployed.clients[DEPLOYER], deployed.job))
    name, allowed = SHOWN[what]
    assert {principal for principal in NAMES if name in LISTS[what](deployed.clients[principal])} == allowed


def test_a_job_runs_with_the_rights_of_whom_it_names(deployed: Deployed, served: server.Served) -> None:
    deployer = deployed.clients[DEPLOYER]
    own, named = (
        deployed.job_of(task("tells", "environment", wheel=deployed.wheel), **more)
        for more in ({}, {"run_as": run_as(RUNNER)})
    )
    for job, principal in ((own, DEPLOYER), (named, RUNNER)):
        done = user.finish(deployer, user.start(deployer, job))
        assert f"DATABRICKS_TOKEN={served.token}.{principal}\n" in (user.output(deployer, done, "tells").logs or "")
        assert deployer.jobs.get(job).run_as_user_name == principal
        assert done.creator_user_name == DEPLOYER


def test_a_task_reads_the_secrets_that_whom_it_runs_as_may_read(deployed: Deployed) -> None:
    deployer, wheel = deployed.clients[DEPLOYER], deployed.wheel
    deployer.secrets.create_scope("of-the-deployer")
    deployer.secrets.put_secret("of-the-deployer", "Password", string_value="gehe!m\u00df")
    names = {"A_SECRET": "{{secrets/of-the-deployer/password}}", "PLAIN": "x", "DATABRICKS_HOST": "elsewhere"}
    cluster = compute.ClusterSpec(spark_version="17.3.x-scala2.13", node_type_id="i3.xlarge", spark_env_vars=names)
    tells = deployed.job_of(
        task("tells", "environment", wheel=wheel, job_cluster_key="c"),
        job_clusters=[jobs.JobCluster("c", new_cluster=cluster)],
        run_as=run_as(RUNNER),
    )

    def outcome() -> str:
        done = user.finish(deployer, user.start(deployer, tells))
        (only,) = done.tasks or []
        assert only.status is not None
        assert only.status.termination_details is not None
        return f"{only.status.termination_details.code}: {only.status.termination_details.message}"

    assert f"UNAUTHORIZED_ERROR: {RUNNER} does not have READ permission on scope of-the-deployer" in outcome()
    deployer.secrets.put_acl("of-the-deployer", RUNNER, workspace.AclPermission.READ)
    done = user.finish(deployer, user.start(deployer, tells))
    told = user.output(deployer, done, "tells").logs or ""
    assert "A_SECRET=gehe!m\u00df\n" in told
    assert "PLAIN=x\n" in told
    assert "DATABRICKS_HOST=elsewhere" not in told
    deployer.secrets.delete_secret("of-the-deployer", "PASSWORD")
    assert "CLUSTER_ERROR: Secret does not exist with scope: of-the-deployer and key: password" in outcome()


SECRET: Mapping[str, tuple[Callable[[WorkspaceClient], Any], set[str]]] = {
    "see the scope": (lambda c: next(one for one in c.secrets.list_scopes() if one.name == "of-all-sorts"), ALL),
    "list the secrets": (lambda c: [*c.secrets.list_secrets("of-all-sorts")], READS),
    "write a secret": (lambda c: c.secrets.put_secret("of-all-sorts", "k", bytes_value="eA=="), LOGS),
    "read who may": (lambda c: [*c.secrets.list_acls("of-all-sorts")], OWN),
    "allow oneself": (lambda c: c.secrets.put_acl("of-all-sorts", READER, workspace.AclPermission.READ), OWN),
}


@pytest.fixture(scope="module")
def scope(deployed: Deployed) -> str:
    deployer = deployed.clients[DEPLOYER]
    deployer.secrets.create_scope("of-all-sorts")
    for name, level in ((RUNNER, workspace.AclPermission.WRITE), (READER, workspace.AclPermission.READ)):
        deployer.secrets.put_acl("of-all-sorts", name, level)
    return "of-all-sorts"


@pytest.mark.parametrize("what", SECRET)
def test_each_may_do_with_secrets_what_they_should_and_no_more(deployed: Deployed, scope: str, what: str) -> None:
    act, allowed = SECRET[what]
    done = {name for name in NAMES if did(lambda client, _: act(client), deployed.clients[name], scope)}
    assert {NAMES[one] for one in done} == {NAMES[one] for one in allowed}


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (lambda c: c.secrets.create_scope("of-all-sorts"), "RESOURCE_ALREADY_EXISTS"),
        (lambda c: c.secrets.create_scope("a b"), "INVALID_PARAMETER_VALUE"),
        (lambda c: c.secrets.create_scope("x" * 129), "INVALID_PARAMETER_VALUE"),
        (lambda c: c.secrets.put_secret("none", "k", string_value="x"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda c: c.secrets.put_secret("of-all-sorts", "a/b", string_value="x"), "INVALID_PARAMETER_VALUE"),
        (lambda c: c.secrets.put_secret("of-all-sorts", "k"), "INVALID_PARAMETER_VALUE"),
        (lambda c: c.secrets.put_secret("of-all-sorts", "k", bytes_value="*"), "INVALID_PARAMETER_VALUE"),
        (lambda c: c.secrets.put_secret("of-all-sorts", "k", string_value="x" * 131073), "INVALID_PARAMETER_VALUE"),
        (lambda c: c.secrets.delete_secret("of-all-sorts", "none"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda c: c.secrets.get_acl("of-all-sorts", "none"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda c: c.secrets.delete_acl("of-all-sorts", "none"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda c: c.secrets.delete_scope("none"), "RESOURCE_DOES_NOT_EXIST"),
    ],
)
def test_what_is_wrong_about_a_secret(
    client: WorkspaceClient, scope: str, what: Callable[[WorkspaceClient], Any], code: str
) -> None:
    with pytest.raises(DatabricksError) as caught:
        what(client)
    assert caught.value.error_code == code
    assert scope in [one.name for one in client.secrets.list_scopes()]


def pooled(pool: str) -> compute.ClusterSpec:
    return compute.ClusterSpec(spark_version="17.3.x-scala2.13", instance_pool_id=pool, num_workers=0)


@pytest.mark.parametrize("lacking", ["wheel", "pool", "job"])
def test_a_job_can_t_use_what_whom_it_runs_as_may_not(deployed: Deployed, lacking: str) -> None:
    deployer = deployed.clients[DEPLOYER]
    wheel, more = deployed.wheel, {}
    if lacking == "wheel":
        deployer.workspace.mkdirs(f"/Users/{DEPLOYER}/hidden")
        wheel = f"/Users/{DEPLOYER}/hidden/{user.WHEEL}"
        user.upload(deployer, deployed.built, wheel)
    tasks = [task("one", "say", wheel=wheel)]
    if lacking == "pool":
        pool = deployer.instance_pools.create("hidden", "i3.xlarge").instance_pool_id
        more = {"job_clusters": [jobs.JobCluster("c", new_cluster=pooled(str(pool)))]}
        tasks = [task("one", "say", wheel=wheel, job_cluster_key="c")]
    if lacking == "job":
        tasks = [jobs.Task(task_key="one", run_job_task=jobs.RunJobTask(job_id=deployed.job))]
    done = user.finish(deployer, user.start(deployer, deployed.job_of(*tasks, run_as=run_as(RUNNER), **more)))
    (only,) = done.tasks or []
    assert only.status is not None
    assert only.status.termination_details is not None
    assert user.result(done) == "FAILED"
    assert f"{RUNNER} does not have " in (only.status.termination_details.message or "")
    code = str(only.status.termination_details.code)
    assert code.endswith("LIBRARY_INSTALLATION_ERROR" if lacking == "wheel" else "UNAUTHORIZED_ERROR")


def test_only_an_administrator_changes_the_owner_of_a_job(deployed: Deployed, client: WorkspaceClient) -> None:
    job = deployed.job_of(task("one", "say", wheel=deployed.wheel))
    entries = [entry(RUNNER, "IS_OWNER"), entry(DEPLOYER, "CAN_MANAGE")]
    with pytest.raises(PermissionDenied, match="Only a workspace admin"):
        deployed.clients[DEPLOYER].permissions.set("jobs", str(job), access_control_list=entries)
    client.permissions.set("jobs", str(job), access_control_list=entries)
    assert deployed.clients[RUNNER].jobs.get(job).job_id == job


def test_a_run_without_a_job_is_its_creator_s(deployed: Deployed) -> None:
    submitted = jobs.SubmitTask(
        task_key="one",
        libraries=[compute.Library(whl=deployed.wheel)],
        python_wheel_task=jobs.PythonWheelTask(package_name="tiny", entry_point="say"),
    )
    run_id = deployed.clients[READER].jobs.submit(tasks=[submitted]).run_id
    assert user.result(user.finish(deployed.clients[READER], run_id)) == "SUCCESS"
    with pytest.raises(PermissionDenied):
        deployed.clients[DEPLOYER].jobs.get_run(run_id)
