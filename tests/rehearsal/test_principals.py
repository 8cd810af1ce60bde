"""Who may do what: whoever deploys, whom the jobs run as, a reader, and a stranger."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service import catalog, compute, iam, jobs, ml, workspace
from databricks.sdk.service.workspace import ImportFormat, Language

from infra.constructs import catalog as constructs
from infra.constructs import permissions
from infra.rehearsal import server
from infra.rehearsal.api import USER, token_of
from tests.rehearsal import user
from tests.rehearsal.user import task

DEPLOYER, RUNNER, READER, STRANGER, INTRUDER, OUTSIDER = (
    f"00000000-0000-0000-0000-0000000000a{number}" for number in range(6)
)
NAMES = {DEPLOYER: "deployer", RUNNER: "runner", READER: "reader", STRANGER: "stranger"}
FOLDER = f"/Users/{DEPLOYER}/deployed"


def entry(principal: str, level: str) -> iam.AccessControlRequest:
    named = {"group_name": principal} if principal == "users" else {"service_principal_name": principal}
    return iam.AccessControlRequest(**named, permission_level=iam.PermissionLevel(level))


@dataclass
class Deployed:
    """What the deployer made, with the lists that the stack gives it."""

    clients: Mapping[str, WorkspaceClient]
    built: Path
    wheel: str
    experiment: str
    pool: str
    job: int = 0
    run: str = ""

    def allow(self, kind: str, object_id: object, levels: Mapping[str, str], *, runner: bool = True) -> None:
        owner = "IS_OWNER" if kind == "jobs" else "CAN_MANAGE"
        entries = [entry(DEPLOYER, owner), *([entry(RUNNER, levels["runners"])] if runner else [])]
        entries += [entry(READER, levels["viewers"])] if "viewers" in levels else []
        self.clients[DEPLOYER].permissions.set(kind, str(object_id), access_control_list=entries)

    def another(self) -> str:
        """An experiment that may go."""
        return str(self.clients[DEPLOYER].experiments.create_experiment(f"{FOLDER}/{uuid.uuid4()}").experiment_id)

    def job_of(self, *tasks: jobs.Task, **more: Any) -> int:
        return user.create(self.clients[DEPLOYER], *tasks, **more)


@pytest.fixture(scope="module")
def deployed(client: WorkspaceClient, served: server.Served, wheel: Path) -> Iterator[Deployed]:
    clients = {name: user.connect(served, name) for name in NAMES}
    deployer = clients[DEPLOYER]
    deployer.workspace.mkdirs(FOLDER)
    path = f"{FOLDER}/{user.WHEEL}"
    user.upload(deployer, wheel, path)
    experiment = deployer.experiments.create_experiment(f"{FOLDER}/experiment").experiment_id
    pool = deployer.instance_pools.create("of the deployer", "i3.xlarge").instance_pool_id
    assert experiment
    assert pool
    made = Deployed(clients, wheel, path, experiment, pool)
    made.job = made.job_of(task("one", "say", wheel=path), name="deployed", run_as=run_as(RUNNER))
    status = deployer.workspace.get_status(FOLDER)
    made.allow("directories", status.object_id, permissions.FOLDER)
    made.allow("experiments", experiment, permissions.EXPERIMENT)
    made.allow("instance-pools", pool, permissions.POOL)
    made.allow("jobs", made.job, permissions.JOB, runner=False)
    run = deployer.experiments.create_run(experiment_id=experiment).run
    assert run is not None
    assert run.info is not None
    made.run = str(run.info.run_id)
    yield made
    client.workspace.delete(FOLDER, recursive=True)


def run_as(principal: str) -> jobs.JobRunAs:
    return jobs.JobRunAs(service_principal_name=principal)


def write(client: WorkspaceClient, path: str) -> None:
    client.workspace.upload(path, io.BytesIO(b"x = 1"), format=ImportFormat.RAW, overwrite=True)


def ask(client: WorkspaceClient, endpoint: str, /, **sent: object) -> Any:
    return client.api_client.do("POST", f"/api/2.0/mlflow/{endpoint}", body=sent)


ALL, OWN, LOGS, READS = {*NAMES}, {DEPLOYER}, {DEPLOYER, RUNNER}, {DEPLOYER, RUNNER, READER}
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


def did(act: Callable[[WorkspaceClient, Any], Any], client: WorkspaceClient, deployed: object) -> bool:
    try:
        act(client, deployed)
    except PermissionDenied as error:
        return error.error_code != "PERMISSION_DENIED"
    return True


@dataclass
class Registered:
    """What the deployer made in the catalog, with the grants that the stack gives."""

    clients: Mapping[str, WorkspaceClient]
    schema: str = "principals.deployed"
    model: str = "principals.deployed.model"
    version: str = ""

    def another(self, name: str) -> str:
        """A model that may go."""
        made = self.clients[DEPLOYER].registered_models.create(
            catalog_name="principals", schema_name="deployed", name=f"{name}-{uuid.uuid4()}"
        )
        return str(made.full_name)

    def grant(self, by: WorkspaceClient, kind: str, name: str, principal: str, *privileges: str) -> None:
        add = [catalog.PermissionsChange(add=[catalog.Privilege(one) for one in privileges], principal=principal)]
        by.grants.update(kind, name, changes=add)


@pytest.fixture(scope="module")
def registered(client: WorkspaceClient, served: server.Served) -> Registered:
    made = Registered({name: user.connect(served, name) for name in NAMES})
    deployer = made.clients[DEPLOYER]
    client.schemas.create("of-the-administrator", "principals")
    with pytest.raises(PermissionDenied, match="does not have CREATE_SCHEMA on catalog 'principals'"):
        deployer.schemas.create("deployed", "principals")
    made.grant(client, "catalog", "principals", DEPLOYER, "USE_CATALOG", "CREATE_SCHEMA")
    for name in (RUNNER, READER):
        made.grant(client, "catalog", "principals", name, "USE_CATALOG")
    deployer.schemas.create("deployed", "principals")
    deployer.volumes.create("principals", "deployed", "files", catalog.VolumeType.MANAGED)
    deployer.registered_models.create(catalog_name="principals", schema_name="deployed", name="model")
    deployer.files.upload("/Volumes/principals/deployed/files/x", io.BytesIO(b"x"), overwrite=True)
    made.version = new_version(deployer, made)
    made.grant(deployer, "schema", made.schema, RUNNER, *constructs.MANAGE)
    made.grant(deployer, "schema", made.schema, READER, *constructs.VIEW)
    return made


def new_version(client: WorkspaceClient, registered: Registered) -> str:
    asked = {"name": registered.model, "source": "dbfs:/x"}
    return str(ask(client, "unity-catalog/model-versions/create", **asked)["model_version"]["version"])


def registry(client: WorkspaceClient, method: str, path: str, **sent: object) -> Any:
    how = {"query": sent} if method == "GET" else {"body": sent}
    return client.api_client.do(method, f"/api/2.0/mlflow/unity-catalog/{path}", **how)  # type: ignore[arg-type]


FILE = "/Volumes/principals/deployed/files/x"
PRIVILEGED: Mapping[str, tuple[Callable[[WorkspaceClient, Registered], Any], set[str]]] = {
    "see the schema": (lambda c, r: c.schemas.get(r.schema), READS),
    "describe the schema": (lambda c, r: c.schemas.update(r.schema, comment="x"), LOGS),
    "make a schema": (lambda c, _: c.schemas.create(f"s{uuid.uuid4()}", "principals"), OWN),
    "delete a schema": (lambda c, _: c.schemas.delete("principals.of-the-administrator", force=True), set()),
    "make a model": (
        lambda c, _: c.registered_models.create(
            catalog_name="principals", schema_name="deployed", name=f"m{uuid.uuid4()}"
        ),
        LOGS,
    ),
    "see the model": (lambda c, r: c.registered_models.get(r.model), READS),
    "see the model by MLflow": (lambda c, r: registry(c, "GET", "registered-models/get", name=r.model), READS),
    "see a version": (lambda c, r: c.model_versions.get(r.model, int(r.version)), READS),
    "see a version by MLflow": (
        lambda c, r: registry(c, "GET", "model-versions/get", name=r.model, version=r.version),
        READS,
    ),
    "list versions": (lambda c, r: [*c.model_versions.list(r.model)], READS),
    "make a version": (new_version, LOGS),
    "write a version's file": (
        lambda c, r: c.files.upload(
            f"/Models/principals/deployed/model/{r.version}/f", io.BytesIO(b""), overwrite=True
        ),
        LOGS,
    ),
    "set an alias": (
        lambda c, r: registry(c, "POST", "registered-models/alias", name=r.model, alias="champion", version=r.version),
        LOGS,
    ),
    "set an alias with another name in the address": (
        lambda c, r: c.api_client.do(
            "POST",
            "/api/2.0/mlflow/unity-catalog/registered-models/alias",
            query={"name": "principals.deployed.none"},
            body={"name": r.model, "alias": "champion", "version": r.version},
        ),
        LOGS,
    ),
    "tag a version": (
        lambda c, r: registry(c, "POST", "model-versions/set-tag", name=r.model, version=r.version, key="k", value="v"),
        LOGS,
    ),
    "describe the model": (
        lambda c, r: registry(c, "PATCH", "registered-models/update", name=r.model, description="d"),
        LOGS,
    ),
    "delete a model": (lambda c, r: c.registered_models.delete(r.another("gone")), LOGS),
    "read a file": (lambda c, _: c.files.download(FILE), READS),
    "write a file": (lambda c, _: c.files.upload(FILE, io.BytesIO(b"y"), overwrite=True), LOGS),
    "grant": (
        lambda c, r: r.grant(c, "schema", r.schema, READER, "USE_SCHEMA"),
        LOGS,
    ),
    "grant on the catalog": (lambda c, r: r.grant(c, "catalog", "principals", READER, "USE_CATALOG"), set()),
}


@pytest.mark.parametrize("what", PRIVILEGED)
def test_each_has_the_privileges_that_they_should_and_no_more(registered: Registered, what: str) -> None:
    act, allowed = PRIVILEGED[what]
    done = {principal for principal in NAMES if did(act, registered.clients[principal], registered)}
    assert {NAMES[one] for one in done} == {NAMES[one] for one in allowed}


def test_lists_of_a_catalog_show_what_each_may_see(registered: Registered) -> None:
    for principal, client in registered.clients.items():
        sees = principal in READS
        assert (registered.schema in [one.full_name for one in client.schemas.list("principals")]) == sees
        models = client.registered_models.list(catalog_name="principals", schema_name="deployed")
        assert (registered.model in [one.full_name for one in models]) == sees
        found = registry(client, "GET", "registered-models/search").get("registered_models", [])
        assert (registered.model in [one["name"] for one in found]) == sees


def test_a_privilege_on_a_schema_is_nothing_without_those_above_it(
    registered: Registered, client: WorkspaceClient, served: server.Served
) -> None:
    """ALL_PRIVILEGES is not MANAGE, and neither is of use to who may not use the catalog."""
    outsider = user.connect(served, OUTSIDER)
    registered.grant(client, "schema", registered.schema, OUTSIDER, "ALL_PRIVILEGES")
    with pytest.raises(PermissionDenied):
        outsider.registered_models.get(registered.model)
    registered.grant(client, "catalog", "principals", OUTSIDER, "USE_CATALOG")
    assert outsider.registered_models.get(registered.model).full_name == registered.model
    with pytest.raises(PermissionDenied, match="MANAGE"):
        registry(
            outsider, "POST", "registered-models/alias", name=registered.model, alias="a", version=registered.version
        )


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


@dataclass
class Intruder:
    """A principal with things of its own, by which it tries to reach those of the deployer."""

    served: server.Served
    experiment: str
    run: str

    def asks(self, method: str, path: str, sent: object = None, *, principal: str = INTRUDER) -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(self.served.host).netloc, timeout=10)
        token = {"Authorization": f"Bearer {token_of(self.served.token, principal)}"}
        content = sent if isinstance(sent, bytes) else json.dumps(sent).encode() if sent is not None else None
        connection.request(method, path, body=content, headers=token)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


@pytest.fixture(scope="module")
def intruder(served: server.Served, registered: Registered, client: WorkspaceClient) -> Intruder:
    own = user.connect(served, INTRUDER)
    own.workspace.mkdirs(f"/Users/{INTRUDER}")
    experiment = str(own.experiments.create_experiment(f"/Users/{INTRUDER}/own").experiment_id)
    run = own.experiments.create_run(experiment_id=experiment).run
    assert run is not None
    assert run.info is not None
    for kind, name, privileges in (
        ("catalog", "principals", ("USE_CATALOG", "CREATE_SCHEMA")),
        ("schema", "principals.of-the-administrator", ("USE_SCHEMA", "CREATE_MODEL", "CREATE_VOLUME")),
    ):
        registered.grant(client, kind, name, INTRUDER, *privileges)
    return Intruder(served, experiment, str(run.info.run_id))


_RUNS, _UC = "/api/2.0/mlflow", "/api/2.1/unity-catalog"
ESCAPES: Mapping[str, tuple[str, str, object]] = {
    "an alias by the address of the pages": (
        "POST",
        f"/mlflow{_RUNS}/registered-models/alias?experiment_id={{own}}",
        {"name": "principals.deployed.model", "alias": "champion", "version": "1"},
    ),
    "a model by the address of the pages": (
        "GET",
        f"/mlflow{_RUNS}/registered-models/get?name=principals.deployed.model&experiment_id={{own}}",
        None,
    ),
    "all experiments by the address of the pages": (
        "POST",
        f"/mlflow{_RUNS}/experiments/search?experiment_id={{own}}",
        {},
    ),
    "a run, with another in the body": ("GET", f"{_RUNS}/runs/get?run_id={{run}}", {"run_id": "{own_run}"}),
    "runs, by the other name of the field": (
        "POST",
        f"{_RUNS}/runs/search",
        {"experimentIds": ["{experiment}"], "experiment_id": "{own}"},
    ),
    "runs, by an id with a zero": ("POST", f"{_RUNS}/runs/search", {"experiment_ids": ["0{experiment}"]}),
    "a tag of a run, by the other name of the field": (
        "POST",
        f"{_RUNS}/runs/set-tag",
        {"runId": "{run}", "run_uuid": "{own_run}", "key": "k", "value": "v"},
    ),
    "a tag of a run, by an id in the address": (
        "POST",
        f"{_RUNS}/runs/set-tag?experiment_id={{own}}",
        {"runId": "{run}", "key": "k", "value": "v"},
    ),
    "a run in another's experiment": (
        "POST",
        f"{_RUNS}/runs/create?experiment_id={{own}}",
        {"experimentId": "{experiment}"},
    ),
    "a trace, with an experiment of one's own": ("GET", f"{_RUNS}/traces/t/info?experiment_id={{own}}", None),
    "a file of a model, by a name with a period": (
        "GET",
        "/api/2.0/fs/files/Models/principals./deployed/model/1/f",
        None,
    ),
    "a file of a model, for writing": (
        "PUT",
        "/api/2.0/fs/files/Models/principals./deployed/model/1/f?overwrite=true",
        b"x",
    ),
    "a file of a volume, by a name with a period": (
        "GET",
        "/api/2.0/fs/files/Volumes/principals.deployed/files/x/y",
        None,
    ),
    "the first page": ("GET", "/", None),
    "the page of files": ("GET", f"/files{FOLDER}", None),
    "the page of models": ("GET", "/models", None),
    "a job as the administrator": (
        "POST",
        "/api/2.2/jobs/create",
        {"name": "x", "tasks": [], "run_as": {"user_name": "rehearsal@localhost"}},
    ),
    "a job as a group": (
        "POST",
        "/api/2.2/jobs/create",
        {"name": "x", "tasks": [], "run_as": {"group_name": "admins"}},
    ),
    "the shared folder": ("POST", "/api/2.0/workspace/delete", {"path": "/Shared", "recursive": True}),
    "a grant on a table": ("PATCH", f"{_UC}/permissions/table/principals.deployed.t", {"changes": []}),
}


@pytest.mark.parametrize("what", ESCAPES)
def test_there_is_no_way_around_the_rights(intruder: Intruder, deployed: Deployed, what: str) -> None:
    method, path, sent = ESCAPES[what]
    named = {
        "own": intruder.experiment,
        "own_run": intruder.run,
        "experiment": deployed.experiment,
        "run": deployed.run,
    }
    for name, value in named.items():
        path = path.replace(f"{{{name}}}", value)
        sent = (
            sent
            if sent is None or isinstance(sent, bytes)
            else json.loads(json.dumps(sent).replace(f"{{{name}}}", value))
        )
    status, said = intruder.asks(method, path, sent)
    assert status in (400, 403, 404, 501), said
    assert deployed.run not in said
    assert "k" not in [tag.key for tag in deployed.clients[DEPLOYER].experiments.get_run(deployed.run).run.data.tags]  # type: ignore[union-attr]


def test_what_a_request_can_t_set_is_not_kept(intruder: Intruder, registered: Registered) -> None:
    """A full name in the request made the deletion of an own schema that of another's."""
    told = {"catalog_name": "principals", "name": "mine", "full_name": registered.schema, "owner": DEPLOYER}
    status, said = intruder.asks("POST", f"{_UC}/schemas", told)
    assert (status, json.loads(said)["full_name"], json.loads(said)["owner"]) == (200, "principals.mine", INTRUDER)
    assert intruder.asks("DELETE", f"{_UC}/schemas/principals.mine?force=true")[0] == 200
    assert registered.clients[DEPLOYER].schemas.get(registered.schema).full_name == registered.schema


def test_managing_is_not_reading(intruder: Intruder, registered: Registered, client: WorkspaceClient) -> None:
    registered.grant(client, "schema", "principals.of-the-administrator", INTRUDER, "MANAGE")
    client.volumes.create("principals", "of-the-administrator", "files", catalog.VolumeType.MANAGED)
    client.files.upload("/Volumes/principals/of-the-administrator/files/x", io.BytesIO(b"x"))
    file = "/api/2.0/fs/files/Volumes/principals/of-the-administrator/files/x"
    assert intruder.asks("GET", file)[0] == 403
    changes = {"changes": [{"principal": INTRUDER, "add": ["READ_VOLUME"]}]}
    assert intruder.asks("PATCH", f"{_UC}/permissions/schema/principals.of-the-administrator", changes)[0] == 200
    assert intruder.asks("GET", file) == (200, "x")


def test_grants_go_with_a_schema_to_its_new_name(registered: Registered) -> None:
    deployer, runner = registered.clients[DEPLOYER], registered.clients[RUNNER]
    deployer.schemas.create("before", "principals")
    registered.grant(deployer, "schema", "principals.before", RUNNER, "USE_SCHEMA")
    deployer.schemas.update("principals.before", new_name="after")
    assert runner.schemas.get("principals.after").full_name == "principals.after"
    deployer.schemas.create("before", "principals")
    with pytest.raises(PermissionDenied):
        runner.schemas.get("principals.before")


def test_whoever_may_not_grant_sees_their_own_grants(registered: Registered) -> None:
    for principal, sees in ((DEPLOYER, {RUNNER, READER}), (READER, {READER})):
        found = registered.clients[principal].grants.get("schema", registered.schema).privilege_assignments or []
        assert {one.principal for one in found} & {RUNNER, READER} == sees


def test_an_experiment_comes_back_from_the_trash_with_its_name_and_list(deployed: Deployed) -> None:
    deployer, name = deployed.clients[DEPLOYER], f"{FOLDER}/comes back"
    experiment = str(deployer.experiments.create_experiment(name).experiment_id)
    deployer.experiments.delete_experiment(experiment)
    deployer.experiments.restore_experiment(experiment)
    assert deployer.experiments.get_by_name(name).experiment.experiment_id == experiment  # type: ignore[union-attr]
    assert deployer.experiments.create_run(experiment_id=experiment).run
    deployer.experiments.delete_experiment(experiment)
    deployer.experiments.create_experiment(name)
    with pytest.raises(DatabricksError, match="already exists"):
        deployer.experiments.restore_experiment(experiment)


def test_who_may_change_a_notebook_is_asked_of_the_notebook(deployed: Deployed) -> None:
    deployer, reader = deployed.clients[DEPLOYER], deployed.clients[READER]
    source, path = b"# Databricks notebook source\n1", f"{FOLDER}/notebook"
    deployer.workspace.upload(f"{path}.py", io.BytesIO(source), format=ImportFormat.AUTO)
    deployer.workspace.upload(f"{path}.py", io.BytesIO(b"1"), format=ImportFormat.RAW)
    file = deployer.workspace.get_status(f"{path}.py")
    deployer.permissions.set("files", str(file.object_id), access_control_list=[entry(READER, "CAN_EDIT")])
    reader.workspace.upload(f"{path}.py", io.BytesIO(b"2"), format=ImportFormat.RAW, overwrite=True)
    with pytest.raises(PermissionDenied):
        reader.workspace.upload(f"{path}.py", io.BytesIO(source), format=ImportFormat.AUTO, overwrite=True)
    # Another kind of object under the same name begins with no list of its own.
    deployer.workspace.upload(
        f"{path}.py", io.BytesIO(source), format=ImportFormat.SOURCE, language=Language.PYTHON, overwrite=True
    )
    with pytest.raises(PermissionDenied):
        reader.workspace.upload(f"{path}.py", io.BytesIO(b"2"), format=ImportFormat.RAW, overwrite=True)


def test_whoever_sends_slowly_keeps_nobody_waiting(intruder: Intruder, deployed: Deployed) -> None:
    with socket.create_connection(("127.0.0.1", int(intruder.served.host.rpartition(":")[2]))) as held:
        token = token_of(intruder.served.token, INTRUDER)
        lines = ["POST /api/2.0/workspace/import HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}"]
        held.sendall("\r\n".join([*lines, "Content-Length: 100", "", ""]).encode())
        time.sleep(0.5)
        assert [*deployed.clients[DEPLOYER].jobs.list()]


MALFORMED: Mapping[str, tuple[str, str, object]] = {
    "a schema of a schema": ("GET", f"{_UC}/schemas?catalog_name=main&schema_name=x", None),
    "two slashes": ("GET", f"{_RUNS.rpartition('/')[0]}/mlflow//experiments/get?experiment_id=1", None),
    "a pool's tags": (
        "POST",
        "/api/2.0/instance-pools/create",
        {"instance_pool_name": "x", "node_type_id": "i3.xlarge", "custom_tags": [1]},
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_no_request_makes_the_workspace_fail(intruder: Intruder, what: str) -> None:
    method, path, sent = MALFORMED[what]
    status, said = intruder.asks(method, path, sent, principal=USER)
    assert status < 500 or (status == 501 and "does not implement" in said), said


def test_a_git_folder_takes_no_file_s_place(intruder: Intruder, client: WorkspaceClient) -> None:
    write(client, "/Users/rehearsal@localhost/file")
    asked = {"url": "https://example.com/a.git", "provider": "gitHub", "path": "/Users/rehearsal@localhost/file"}
    status, said = intruder.asks("POST", "/api/2.0/repos", asked, principal=USER)
    assert (status, "already exists" in said) == (400, True)
    assert "/Users/rehearsal@localhost/file" not in [one.path for one in client.repos.list()]
    assert client.workspace.download("/Users/rehearsal@localhost/file").read() == b"x = 1"


def test_a_token_names_a_run_of_its_job(deployed: Deployed, served: server.Served) -> None:
    deployer, own = deployed.clients[DEPLOYER], user.connect(served, INTRUDER)
    mine = user.create(own, task("one", "say", wheel=user.WHEEL_PATH))
    theirs = user.start(deployer, deployed.job, idempotency_token="the same")
    assert user.start(own, mine, idempotency_token="the same") != theirs
    assert user.start(deployer, deployed.job, idempotency_token="the same") == theirs
