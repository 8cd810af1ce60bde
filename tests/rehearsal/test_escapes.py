"""Ways around the rights, each of which was open once."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service import catalog
from databricks.sdk.service.workspace import ImportFormat, Language

from infra.rehearsal import server
from infra.rehearsal.api import USER, token_of
from tests.rehearsal import user
from tests.rehearsal.principals import (
    DEPLOYER,
    FOLDER,
    INTRUDER,
    READER,
    RUNNER,
    Deployed,
    Registered,
    entry,
    write,
)
from tests.rehearsal.user import task


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
    **{
        f"a job as {why}": ("POST", "/api/2.2/jobs/create", {"name": "x", "tasks": [], "run_as": run_as})
        for why, run_as in {
            "the administrator by another field": {"service_principal_name": "rehearsal@localhost"},
            "the administrators": {"service_principal_name": "admins"},
            "nobody": {"service_principal_name": ""},
            "two": {"service_principal_name": READER, "user_name": INTRUDER},
            "a note": {"note": "x"},
        }.items()
    },
    "an experiment in another's folder, by the other name of the field": (
        "POST",
        f"{_RUNS}/experiments/update",
        {"experiment_id": "{own}", "newName": f"{FOLDER}/moved"},
    ),
    "an experiment with files elsewhere, by the other name of the field": (
        "POST",
        f"{_RUNS}/experiments/create",
        {"name": f"/Users/{INTRUDER}/elsewhere", "artifactLocation": "dbfs:/databricks/mlflow-tracking/{experiment}"},
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
    with pytest.raises(DatabricksError, match="No Experiment"):
        deployer.experiments.restore_experiment(experiment)
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
    "the tags of an experiment": (
        "POST",
        f"{_RUNS}/experiments/create",
        {"name": "/Users/rehearsal@localhost/tagged", "tags": 5},
    ),
    "a secret": ("POST", "/api/2.0/secrets/put", {"scope": "of-one-letter", "key": "k", "bytes_value": "\u00e9"}),
    "a pool's tags": (
        "POST",
        "/api/2.0/instance-pools/create",
        {"instance_pool_name": "x", "node_type_id": "i3.xlarge", "custom_tags": [1]},
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_no_request_makes_the_workspace_fail(intruder: Intruder, what: str) -> None:
    method, path, sent = MALFORMED[what]
    intruder.asks("POST", "/api/2.0/secrets/scopes/create", {"scope": "of-one-letter"}, principal=USER)
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


def test_whoever_manages_a_folder_restores_what_another_made_in_it(deployed: Deployed, client: WorkspaceClient) -> None:
    deployer = deployed.clients[DEPLOYER]
    experiment = str(client.experiments.create_experiment(f"{FOLDER}/of the administrator").experiment_id)
    deployer.experiments.delete_experiment(experiment)
    deployer.experiments.restore_experiment(experiment)
    assert deployer.experiments.get_experiment(experiment).experiment.name == f"{FOLDER}/of the administrator"  # type: ignore[union-attr]
