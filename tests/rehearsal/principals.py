"""What a deployment makes, and who may use it: whoever deploys, whom the jobs run as, a reader, a stranger."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.service import catalog, iam, jobs
from databricks.sdk.service.workspace import ImportFormat

from infra.constructs import catalog as constructs
from infra.constructs import permissions
from infra.rehearsal import server
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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
