"""Everything that isn't a run, by the SDK as it is."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service import catalog, compute, iam, jobs, ml, workspace

from infra.rehearsal import server
from infra.rehearsal.clusters import NODE_TYPES
from tests.rehearsal import user
from tests.rehearsal.user import task

TEN_MB = 10 * 1024 * 1024


def test_me(client: WorkspaceClient) -> None:
    me = client.current_user.me()

    assert (me.user_name, me.active) == ("rehearsal@localhost", True)
    assert [group.display for group in me.groups or []] == ["admins", "users"]


def test_a_job_is_shown_as_it_was_sent(client: WorkspaceClient) -> None:
    sent = {
        "name": "as sent",
        "tasks": [{"task_key": "b", "run_if": "ALL_DONE"}, {"task_key": "a", "max_retries": 3}],
        "tags": {"z": "1", "a": "2"},
        "something_new": {"x": [1, 2]},
    }
    made = client.api_client.do("POST", "/api/2.0/jobs/create", body=sent)
    assert isinstance(made, dict)

    found = client.api_client.do("GET", "/api/2.2/jobs/get", query={"job_id": made["job_id"]})

    assert isinstance(found, dict)
    assert found["settings"] == sent
    assert found["creator_user_name"] == "rehearsal@localhost"


def test_jobs_are_listed_in_pages(client: WorkspaceClient) -> None:
    made = [user.create(client, task("one", "say"), name=f"page {number % 2}") for number in range(5)]

    everything = [job.job_id for job in client.jobs.list(limit=2)]
    named = [job.job_id for job in client.jobs.list(limit=1, name="PAGE 1")]

    assert everything[:5] == made[::-1]
    assert named == [made[3], made[1]]
    assert [job.job_id for job in client.jobs.list(name="page 0", offset=1)] == [made[2], made[0]]


def test_a_job_is_changed_and_deleted(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("a", "say"), task("b", "say"), name="old", tags={"a": "1"})

    client.jobs.update(
        job_id,
        new_settings=jobs.JobSettings(name="new", tasks=[task("b", "fail"), task("c", "say")]),
        fields_to_remove=["tags", "tasks/a"],
    )
    updated = client.jobs.get(job_id).settings
    client.jobs.reset(job_id, jobs.JobSettings(name="reset", tasks=[task("z", "say")]))
    reset = client.jobs.get(job_id).settings
    client.jobs.delete(job_id)

    assert updated is not None
    assert (updated.name, updated.tags) == ("new", None)
    called = {found.task_key: found.python_wheel_task for found in updated.tasks or []}
    assert {key: found and found.entry_point for key, found in called.items()} == {"b": "fail", "c": "say"}
    assert reset is not None
    assert [found.task_key for found in reset.tasks or []] == ["z"]
    with pytest.raises(DatabricksError, match="does not exist"):
        client.jobs.get(job_id)


def test_a_reset_that_names_no_principal_keeps_the_former_one(client: WorkspaceClient) -> None:
    principal = "12345678-90ab-cdef-1234-567890abcdef"
    run_as = jobs.JobRunAs(service_principal_name=principal)
    job_id = user.create(client, task("a", "say"), name="kept", run_as=run_as)
    client.jobs.reset(job_id, jobs.JobSettings(name="reset", tasks=[task("z", "say")]))
    assert client.jobs.get(job_id).run_as_user_name == principal
    client.jobs.delete(job_id)


def test_pools(client: WorkspaceClient) -> None:
    attributes = compute.InstancePoolAwsAttributes(availability=compute.InstancePoolAwsAttributesAvailability.ON_DEMAND)
    made = client.instance_pools.create("a pool", "i3.xlarge", max_capacity=3, aws_attributes=attributes)
    pool_id = made.instance_pool_id or ""
    client.instance_pools.edit(pool_id, "renamed", "i3.xlarge", max_capacity=4)
    found = client.instance_pools.get(pool_id)
    listed = [pool.instance_pool_id for pool in client.instance_pools.list()]
    client.instance_pools.delete(pool_id)

    assert (found.instance_pool_name, found.max_capacity, found.state and found.state.value) == ("renamed", 4, "ACTIVE")
    assert found.aws_attributes == attributes
    assert pool_id in listed
    assert pool_id not in [pool.instance_pool_id for pool in client.instance_pools.list()]


def test_clusters(client: WorkspaceClient) -> None:
    version = client.clusters.select_spark_version(long_term_support=False, ml=True, latest=False) or ""
    made = client.clusters.create(version, node_type_id="i3.xlarge", num_workers=1).cluster_id

    assert "16.4.x" in version
    assert client.clusters.select_spark_version(long_term_support=True, scala="2.13") == "17.3.x-scala2.13"
    assert client.clusters.select_node_type(local_disk=True) in NODE_TYPES
    assert [found.cluster_id for found in client.clusters.list()] == [made]
    assert user.result(user.run(client, task("one", "say", existing_cluster_id=made))) == "SUCCESS"


@pytest.mark.parametrize("size", [0, 1, TEN_MB])
def test_workspace_files(client: WorkspaceClient, size: int) -> None:
    content, path = os.urandom(size), "/Shared/files/some.bin"
    client.workspace.mkdirs("/Shared/files")
    client.workspace.upload(path, content, format=workspace.ImportFormat.RAW, overwrite=True)

    status = client.workspace.get_status(f"/Workspace{path}")
    with client.workspace.download(path) as file:
        assert file.read() == content
    exported = client.workspace.export(path, format=workspace.ExportFormat.AUTO).content
    assert base64.b64decode(exported or "") == content
    assert (status.path, status.size, status.object_type) == (path, size, workspace.ObjectType.FILE)
    assert [found.path for found in client.workspace.list("/Shared/files")] == [path]


def test_a_file_that_is_too_large(client: WorkspaceClient) -> None:
    with pytest.raises(DatabricksError) as caught:
        client.workspace.upload("/Shared/large", bytes(TEN_MB + 1), format=workspace.ImportFormat.RAW)

    assert caught.value.error_code == "MAX_NOTEBOOK_SIZE_EXCEEDED"


def test_a_file_is_replaced_on_demand_only(client: WorkspaceClient) -> None:
    path = "/Shared/once"
    client.workspace.upload(path, b"1", format=workspace.ImportFormat.RAW)
    first = client.workspace.get_status(path).object_id
    with pytest.raises(DatabricksError) as caught:
        client.workspace.upload(path, b"2", format=workspace.ImportFormat.RAW)
    client.workspace.upload(path, b"2", format=workspace.ImportFormat.RAW, overwrite=True)

    assert caught.value.error_code == "RESOURCE_ALREADY_EXISTS"
    with client.workspace.download(path) as file:
        assert file.read() == b"2"
    assert client.workspace.get_status(path).object_id == first


def test_a_folder_that_is_not_empty(client: WorkspaceClient) -> None:
    client.workspace.mkdirs("/Shared/full/inner")
    with pytest.raises(DatabricksError) as caught:
        client.workspace.delete("/Shared/full")
    client.workspace.delete("/Shared/full", recursive=True)

    assert caught.value.error_code == "DIRECTORY_NOT_EMPTY"
    with pytest.raises(DatabricksError, match="doesn't exist"):
        client.workspace.get_status("/Shared/full/inner")


def test_a_notebook(client: WorkspaceClient) -> None:
    client.workspace.upload("/Shared/note.py", b"# Databricks notebook source\n1", format=workspace.ImportFormat.AUTO)

    found = client.workspace.get_status("/Shared/note")

    assert (found.object_type, found.language) == (workspace.ObjectType.NOTEBOOK, workspace.Language.PYTHON)


@pytest.mark.parametrize("size", [0, TEN_MB, 7 * TEN_MB])
def test_volumes(client: WorkspaceClient, state: Path, size: int) -> None:
    name = f"volumes{size}"
    client.schemas.create(name, "main")
    client.volumes.create("main", name, "v", catalog.VolumeType.MANAGED)
    content, path = os.urandom(size), f"/Volumes/main/{name}/v/folder/file.bin"
    client.files.upload(path, io.BytesIO(content))
    with pytest.raises(DatabricksError) as caught:
        client.files.upload(path, io.BytesIO(content), overwrite=False)

    assert caught.value.error_code == "ALREADY_EXISTS"
    downloaded = client.files.download(path).contents
    assert downloaded is not None
    assert downloaded.read() == content
    assert client.files.get_metadata(path).content_length == size
    found = list(client.files.list_directory_contents(f"/Volumes/main/{name}/v/folder"))
    assert [(one.name, one.file_size) for one in found] == [("file.bin", size)]
    with pytest.raises(DatabricksError, match="not empty"):
        client.schemas.delete(f"main.{name}")
    client.schemas.delete(f"main.{name}", force=True)
    assert not state.joinpath("volumes", "main", name, "v").exists()
    with pytest.raises(DatabricksError):
        client.volumes.read(f"main.{name}.v")


def test_registered_models_are_mlflows(client: WorkspaceClient) -> None:
    get = "/api/2.0/mlflow/unity-catalog/registered-models/get"
    client.schemas.create("models", "main")
    made = client.registered_models.create(catalog_name="main", schema_name="models", name="m", comment="c")
    known = client.api_client.do("GET", get, query={"name": "main.models.m"})
    client.registered_models.update("main.models.m", comment="d")
    listed = [model.comment for model in client.registered_models.list(catalog_name="main", schema_name="models")]
    client.registered_models.delete("main.models.m")

    assert made.full_name == "main.models.m"
    assert isinstance(known, dict)
    assert known["registered_model"]["name"] == "main.models.m"
    assert listed == ["d"]
    with pytest.raises(DatabricksError) as caught:
        client.api_client.do("GET", get, query={"name": "main.models.m"})
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_grants(client: WorkspaceClient) -> None:
    client.schemas.create("granted", "main")
    add = catalog.PermissionsChange(principal="team", add=[catalog.Privilege.SELECT, catalog.Privilege.USE_SCHEMA])
    remove = catalog.PermissionsChange(principal="team", remove=[catalog.Privilege.SELECT])
    wrong = catalog.PermissionsChange(principal="team", add=[catalog.Privilege.CREATE_SCHEMA])

    client.grants.update("schema", "main.granted", changes=[add])
    client.grants.update("schema", "main.granted", changes=[remove])
    with pytest.raises(DatabricksError, match="not applicable") as caught:
        client.grants.update("schema", "main.granted", changes=[wrong])
    found = client.grants.get("schema", "main.granted").privilege_assignments or []
    effective = client.grants.get_effective("schema", "main.granted").privilege_assignments or []

    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert [(one.principal, one.privileges) for one in found] == [("team", [catalog.Privilege.USE_SCHEMA])]
    assert [one.principal for one in effective] == ["team"]


def levels(found: iam.ObjectPermissions) -> dict[str, tuple[str, bool]]:
    return {
        str(entry.user_name or entry.group_name or entry.service_principal_name): (
            str(one.permission_level and one.permission_level.value),
            bool(one.inherited),
        )
        for entry in found.access_control_list or []
        for one in entry.all_permissions or []
    }


def test_permissions_of_a_job(client: WorkspaceClient) -> None:
    job_id = str(user.create(client, task("one", "say")))
    view = iam.AccessControlRequest(group_name="users", permission_level=iam.PermissionLevel.CAN_VIEW)
    own = iam.AccessControlRequest(user_name="rehearsal@localhost", permission_level=iam.PermissionLevel.IS_OWNER)

    before = client.permissions.get("jobs", job_id)
    with pytest.raises(DatabricksError, match="exactly one owner"):
        client.permissions.set("jobs", job_id, access_control_list=[view])
    client.permissions.update("jobs", job_id, access_control_list=[view])
    updated = levels(client.permissions.get("jobs", job_id))
    client.permissions.set("jobs", job_id, access_control_list=[own])

    assert (before.object_id, before.object_type) == (f"/jobs/{job_id}", "job")
    owner, admins = ("IS_OWNER", False), ("CAN_MANAGE", True)
    assert levels(before) == {"rehearsal@localhost": owner, "admins": admins}
    assert updated == {"rehearsal@localhost": owner, "users": ("CAN_VIEW", False), "admins": admins}
    assert levels(client.permissions.get("jobs", job_id)) == levels(before)


PRINCIPAL = "00000000-0000-0000-0000-000000000001"


def test_permissions_are_those_of_managers(client: WorkspaceClient, served: server.Served) -> None:
    principal = WorkspaceClient(host=served.host, token=f"{served.token}.{PRINCIPAL}", auth_type="pat")
    own, others = (str(user.create(each, task("one", "say"))) for each in (principal, client))
    manage, view = iam.PermissionLevel.CAN_MANAGE, iam.PermissionLevel.CAN_VIEW

    assert principal.current_user.me().user_name == PRINCIPAL
    assert levels(principal.permissions.get("jobs", own))[PRINCIPAL] == ("IS_OWNER", False)
    for level in (view, manage):
        entry = iam.AccessControlRequest(user_name=PRINCIPAL, permission_level=level)
        client.permissions.update("jobs", others, access_control_list=[entry])
        if level is view:
            with pytest.raises(PermissionDenied, match="does not have Manage permissions"):
                principal.permissions.get("jobs", others)
    found = principal.permissions.get("jobs", others)
    assert [entry.service_principal_name for entry in found.access_control_list or []][1] == PRINCIPAL


def test_permissions_of_others(client: WorkspaceClient) -> None:
    client.workspace.mkdirs("/Shared/permitted")
    experiment = client.experiments.create_experiment("/Shared/permitted/e").experiment_id
    folder = client.workspace.get_status("/Shared/permitted").object_id
    pool = client.instance_pools.create("permitted", "i3.xlarge").instance_pool_id
    objects = {"experiments": (experiment, "mlflowExperiment"), "directories": (folder, "directory")}
    objects |= {"instance-pools": (pool, "instance-pool")}
    wrong = iam.AccessControlRequest(group_name="users", permission_level=iam.PermissionLevel.IS_OWNER)

    for kind, (object_id, expected) in objects.items():
        found = client.permissions.get(kind, str(object_id))
        assert (found.object_id, found.object_type) == (f"/{kind}/{object_id}", expected)
        with pytest.raises(DatabricksError, match="not supported"):
            client.permissions.set(kind, str(object_id), access_control_list=[wrong])


def test_an_experiments_name_is_free_once_it_is_deleted(client: WorkspaceClient) -> None:
    first = client.experiments.create_experiment("/Shared/again").experiment_id
    client.experiments.delete_experiment(str(first))

    assert client.experiments.create_experiment("/Shared/again").experiment_id != first


def test_an_experiment_names_its_owner(client: WorkspaceClient) -> None:
    made = client.experiments.create_experiment("/Shared/owned", tags=[ml.ExperimentTag("a", "b")]).experiment_id
    experiment = client.experiments.get_experiment(str(made)).experiment
    assert experiment is not None
    tags = {tag.key: tag.value for tag in experiment.tags or []}
    assert tags == {"a": "b", "mlflow.ownerEmail": client.current_user.me().user_name}


def test_experiments_are_found_without_a_limit(client: WorkspaceClient) -> None:
    client.experiments.create_experiment("/Shared/found")
    client.experiments.create_experiment("/Shared/found too")

    found = client.experiments.search_experiments(filter="name LIKE '/Shared/found%'")
    named = client.experiments.search_experiments(filter="name = '/Shared/found'", max_results=1)

    assert sorted(str(one.name) for one in found) == ["/Shared/found", "/Shared/found too"]
    assert [one.name for one in named] == ["/Shared/found"]


@pytest.mark.parametrize("path", ["/Repos/gone/r", "/Repos/gone"])
def test_a_git_folder_is_gone_with_its_folder(client: WorkspaceClient, path: str) -> None:
    client.workspace.mkdirs("/Repos/gone")
    made = client.repos.create("https://github.com/example/example.git", "gitHub", path="/Repos/gone/r")

    client.workspace.delete(path, recursive=True)

    assert [repo.id for repo in client.repos.list()] == []
    with pytest.raises(DatabricksError, match="could not be found"):
        client.repos.delete(made.id or 0)


def test_repos(client: WorkspaceClient) -> None:
    made = client.repos.create("https://github.com/example/example.git", "gitHub", path="/Repos/rehearsal@localhost/r")
    with pytest.raises(DatabricksError) as caught:
        client.repos.create("https://github.com/example/example.git", "gitHub", path="/Repos/rehearsal@localhost/r")
    client.repos.update(made.id or 0, branch="develop")
    found = client.repos.get(made.id or 0)
    status = client.workspace.get_status("/Repos/rehearsal@localhost/r")
    listed = [repo.id for repo in client.repos.list(path_prefix="/Repos/rehearsal@localhost")]
    client.repos.delete(made.id or 0)

    assert caught.value.error_code == "RESOURCE_ALREADY_EXISTS"
    assert (found.branch, status.object_type, listed) == ("develop", workspace.ObjectType.REPO, [made.id])
    assert [repo.id for repo in client.repos.list()] == []
