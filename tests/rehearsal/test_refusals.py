"""What the workspace refuses, each with Databricks' error code."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service import catalog, workspace

from tests.rehearsal import user

INVALID = "INVALID_PARAMETER_VALUE"
LONG = "x" * 256
WHEEL: Mapping[str, Any] = {"package_name": "tiny", "entry_point": "say"}
CLUSTER: Mapping[str, Any] = {"spark_version": "17.3.x-scala2.13", "num_workers": 1}


def one(key: str = "one", **more: Any) -> dict[str, Any]:
    return {"task_key": key, "python_wheel_task": dict(WHEEL), **more}


def scheduled(cron: str, zone: str = "UTC") -> dict[str, Any]:
    return {"tasks": [one()], "schedule": {"quartz_cron_expression": cron, "timezone_id": zone}}


def on(**cluster: Any) -> dict[str, Any]:
    return {"tasks": [one(new_cluster={**CLUSTER, **cluster})]}


def shared(**cluster: Any) -> dict[str, Any]:
    return {"job_clusters": [{"job_cluster_key": "main", "new_cluster": {**CLUSTER, **cluster}}], "tasks": [one()]}


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "unknown pool": (on(instance_pool_id="nowhere"), "instance pool with id: nowhere"),
    "unknown shared pool": (shared(instance_pool_id="nowhere"), "instance pool with id: nowhere"),
    "unknown driver pool": (on(node_type_id="i3.xlarge", driver_instance_pool_id="nowhere"), "instance pool with id"),
    "no machines": (on(), "neither node_type_id nor instance_pool_id"),
    "unknown cluster": ({"tasks": [one(existing_cluster_id="nowhere")]}, "Cluster nowhere does not exist"),
    "unknown job cluster": ({"tasks": [one(job_cluster_key="other")]}, "job_cluster_key 'other'"),
    "no wheel": ({"tasks": [one(libraries=[{"whl": "/Workspace/Shared/none.whl"}])]}, "none.whl does not exist"),
    "no volume": ({"tasks": [one(libraries=[{"whl": "/Volumes/a/b/c/none.whl"}])]}, "none.whl does not exist"),
    "outside": ({"tasks": [one(libraries=[{"whl": "/Workspace/../../rehearsal.db"}])]}, "does not exist"),
    "cycle": (
        {"tasks": [one("a", depends_on=[{"task_key": "b"}]), one("b", depends_on=[{"task_key": "a"}])]},
        "a cycle",
    ),
    "dangling": ({"tasks": [one(depends_on=[{"task_key": "none"}])]}, "depends on unknown task 'none'"),
    "twice": ({"tasks": [one(), one()]}, "Duplicate task_key"),
    "parameter twice": ({"parameters": [{"name": "a", "default": ""}] * 2, "tasks": [one()]}, "Duplicate name"),
    "bad key": ({"tasks": [one("a b")]}, "task_key 'a b'"),
    "run_if": ({"tasks": [one(run_if="SOMETIMES")]}, "run_if SOMETIMES"),
    "no package": ({"tasks": [{"task_key": "a", "python_wheel_task": {"entry_point": "x"}}]}, "have a package_name"),
    "no entry point": ({"tasks": [{"task_key": "a", "python_wheel_task": {"package_name": "x"}}]}, "an? entry_point"),
    "five fields": (scheduled("0 6 * * ?"), "cron expression"),
    "eight fields": (scheduled("0 0 6 * * ? 2026 1"), "cron expression"),
    "both days": (scheduled("0 0 6 * * *"), "cron expression"),
    "no cron": (scheduled("at six o' clock or ?"), "cron expression"),
    "no such time": (scheduled("99 99 99 * * ?"), "cron expression.*seconds '99'"),
    "no zone": (scheduled("0 0 6 * * ?", "Europe/Nowhere"), "timezone_id"),
}


DOORS = ("create", "reset", "runs/submit")


# A single run has no schedule.
@pytest.mark.parametrize(
    ("name", "door"),
    [(name, door) for name in REFUSED for door in DOORS if door in DOORS[:2] or "schedule" not in REFUSED[name][0]],
)
def test_jobs(client: WorkspaceClient, name: str, door: str) -> None:
    content, said = REFUSED[name]
    sent: dict[str, Any] = {"name": "refused", **content}
    if door == "reset":
        sent = {"job_id": user.create(client, user.task("one", "say")), "new_settings": sent}

    with pytest.raises(DatabricksError, match=said) as caught:
        client.api_client.do("POST", f"/api/2.1/jobs/{door}", body=sent)

    assert caught.value.error_code == INVALID


def test_a_pool_and_a_node_type(client: WorkspaceClient) -> None:
    pool = client.instance_pools.create("pool", "i3.xlarge").instance_pool_id
    body = {"name": "refused", **on(instance_pool_id=pool, node_type_id="i3.xlarge")}
    with pytest.raises(DatabricksError, match="the node type can't be given") as caught:
        client.api_client.do("POST", "/api/2.2/jobs/create", body=body)

    assert caught.value.error_code == INVALID


SELECT = [catalog.Privilege.SELECT]
ADDED_AND_REMOVED = catalog.PermissionsChange(principal="team", add=SELECT, remove=SELECT)
OTHERS: Mapping[str, tuple[Callable[[WorkspaceClient], Any], str, str]] = {
    "job": (lambda client: client.jobs.get(987654), INVALID, "Job 987654 does not exist"),
    "run": (lambda client: client.jobs.get_run(987654), INVALID, "Run 987654 does not exist"),
    "pool": (lambda client: client.instance_pools.get("none"), "RESOURCE_DOES_NOT_EXIST", "none"),
    "cluster": (lambda client: client.clusters.get("none"), "RESOURCE_DOES_NOT_EXIST", "none"),
    "repo": (lambda client: client.repos.get(987654), "RESOURCE_DOES_NOT_EXIST", "987654"),
    "file": (lambda client: client.workspace.get_status("/Shared/none"), "RESOURCE_DOES_NOT_EXIST", "/Shared/none"),
    "schema": (lambda client: client.schemas.get("a.none"), "SCHEMA_DOES_NOT_EXIST", "a.none"),
    "model": (lambda client: client.registered_models.get("a.b.none"), "MODEL_DOES_NOT_EXIST", "a.b.none"),
    "acl": (lambda client: client.permissions.get("jobs", "987654"), "RESOURCE_DOES_NOT_EXIST", "987654"),
    "acl kind": (lambda client: client.permissions.get("things", "1"), INVALID, "things"),
    "no parent": (
        lambda client: client.workspace.upload("/none/a.txt", b"", format=workspace.ImportFormat.RAW),
        "RESOURCE_DOES_NOT_EXIST",
        re.escape("The parent folder (/none) does not exist."),
    ),
    "relative path": (lambda client: client.workspace.mkdirs("Shared/a"), INVALID, "doesn't start with '/'"),
    "experiment's name": (lambda client: client.experiments.create_experiment("iris"), INVALID, "absolute path"),
    "experiment's folder": (
        lambda client: client.experiments.create_experiment("/none/iris"),
        "RESOURCE_DOES_NOT_EXIST",
        "Parent directory /none does not exist",
    ),
    "no schema": (
        lambda client: client.volumes.create("a", "none", "v", catalog.VolumeType.MANAGED),
        "SCHEMA_DOES_NOT_EXIST",
        "a.none",
    ),
    "volume's place": (
        lambda client: client.volumes.create("a", "b", "v", catalog.VolumeType.MANAGED, storage_location="s3://a/b"),
        INVALID,
        "storage_location can not be provided",
    ),
    "added and removed": (
        lambda client: client.grants.update("catalog", "a", changes=[ADDED_AND_REMOVED]),
        INVALID,
        "Duplicate privileges to add and delete for principal team",
    ),
    "no volume": (lambda client: client.files.download("/Volumes/a/b/c/d"), "NOT_FOUND", "a.b.c"),
}


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS.keys())
def test_others(client: WorkspaceClient, case: tuple[Callable[[WorkspaceClient], Any], str, str]) -> None:
    call, code, said = case

    with pytest.raises(DatabricksError, match=said) as caught:
        call(client)

    assert caught.value.error_code == code


@pytest.mark.parametrize("path", ["/../token", "/Shared/../../token", "/Workspace/../../token", "/Shared/a/../../../x"])
@pytest.mark.parametrize("door", ["get-status", "list", "export"])
def test_no_path_leads_out(client: WorkspaceClient, path: str, door: str) -> None:
    with pytest.raises(DatabricksError, match="leads out") as caught:
        client.api_client.do("GET", f"/api/2.0/workspace/{door}", query={"path": path})

    assert caught.value.error_code == INVALID


def test_no_path_of_a_volume_leads_out(client: WorkspaceClient) -> None:
    client.schemas.create("escapes", "main")
    client.volumes.create("main", "escapes", "v", catalog.VolumeType.MANAGED)
    with pytest.raises(DatabricksError):
        client.files.upload("/Volumes/main/escapes/v/../../../../token", io.BytesIO())
    with pytest.raises(DatabricksError, match="leads out"):
        client.api_client.do("GET", "/api/2.0/fs/files/Volumes/main/escapes/v/%2E%2E/%2E%2E/x")


def test_no_import_leads_out(client: WorkspaceClient) -> None:
    with pytest.raises(DatabricksError, match="leads out"):
        client.workspace.upload("/Shared/../../a", b"", format=workspace.ImportFormat.RAW)
    with pytest.raises(DatabricksError, match="leads out"):
        client.workspace.delete("/Shared/../..", recursive=True)


PATHS: Mapping[str, Callable[[WorkspaceClient], Any]] = {
    "mkdirs": lambda client: client.workspace.mkdirs(f"/Shared/{LONG}"),
    "status": lambda client: client.workspace.get_status(f"/Shared/{LONG}"),
    "whole": lambda client: client.workspace.mkdirs("/Shared" + "/x" * 1500),
    "import": lambda client: client.workspace.upload(f"/Shared/{LONG}", b"", format=workspace.ImportFormat.RAW),
    "volume": lambda client: client.files.create_directory(f"/Volumes/a/b/c/{LONG}"),
}


@pytest.mark.parametrize("call", PATHS.values(), ids=PATHS.keys())
def test_a_path_that_is_too_long(client: WorkspaceClient, call: Callable[[WorkspaceClient], Any]) -> None:
    with pytest.raises(DatabricksError, match="is too long") as caught:
        call(client)

    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_longest_name(client: WorkspaceClient) -> None:
    path = f"/Shared/{LONG[1:]}"
    client.workspace.upload(path, b"1", format=workspace.ImportFormat.RAW)
    size = client.workspace.get_status(path).size
    client.workspace.delete(path)

    assert size == 1


def test_a_file_in_the_way_of_a_folder(client: WorkspaceClient) -> None:
    client.schemas.create("in_the_way", "main")
    client.volumes.create("main", "in_the_way", "v", catalog.VolumeType.MANAGED)
    file = "/Volumes/main/in_the_way/v/file"
    client.files.upload(file, io.BytesIO(b"1"))

    for call in (
        lambda: client.files.create_directory(file),
        lambda: client.files.create_directory(f"{file}/below/it"),
        lambda: client.files.upload(f"{file}/below", io.BytesIO(b"2")),
    ):
        with pytest.raises(DatabricksError, match="A file is at") as caught:
            call()
        assert caught.value.error_code == "ALREADY_EXISTS"
    client.schemas.delete("main.in_the_way", force=True)


FIELDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "access_control_list": ("create", {"tasks": [one()], "access_control_list": [{"group_name": "users"}]}),
    "environment_variables": ("runs/submit", {"tasks": [one()], "environment_variables": [{"key": "a"}]}),
    "disabled": ("create", {"tasks": [one(disabled=True)]}),
    "notebook_params": ("run-now", {"job_id": 1, "notebook_params": {"a": "1"}}),
    "performance_target": ("run-now", {"job_id": 1, "performance_target": "STANDARD"}),
    "jar_params": ("runs/repair", {"run_id": 1, "jar_params": ["a"]}),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_not_honoured(client: WorkspaceClient, field: str) -> None:
    door, sent = FIELDS[field]
    with pytest.raises(DatabricksError, match=f"does not implement the field {field} ") as caught:
        client.api_client.do("POST", f"/api/2.2/jobs/{door}", body=sent)

    assert caught.value.error_code == "NOT_IMPLEMENTED"


@pytest.mark.parametrize(
    ("of_job", "of_cluster", "repeated"),
    [({"team": "a"}, {}, "team"), ({}, {"team": "a"}, "team"), ({"a": "1"}, {}, "")],
)
def test_a_cluster_repeats_no_tag_of_its_pool(
    client: WorkspaceClient, of_job: dict[str, str], of_cluster: dict[str, str], repeated: str
) -> None:
    """Provider's documentation, ``instance_pool.md`` and ``job.md``."""
    pool = client.instance_pools.create("tagged", "i3.xlarge", custom_tags={"team": "ml"}).instance_pool_id
    sent = {"name": "tagged", "tags": of_job, **shared(instance_pool_id=pool, custom_tags=of_cluster)}
    if not repeated:
        assert client.api_client.do("POST", "/api/2.2/jobs/create", body=sent)
        return
    with pytest.raises(DatabricksError, match=f"the instance pool has the custom tags {repeated} already") as caught:
        client.api_client.do("POST", "/api/2.2/jobs/create", body=sent)
    assert caught.value.error_code == INVALID


@pytest.mark.parametrize("group", ["users", "admins"])
def test_unity_catalog_knows_no_group_of_the_workspace(client: WorkspaceClient, group: str) -> None:
    """docs.databricks.com, "Principal"; public reports show the message."""
    schema = client.schemas.create(f"granted_to_{group}", "main").full_name
    change = catalog.PermissionsChange(principal=group, add=[catalog.Privilege.USE_SCHEMA])
    with pytest.raises(DatabricksError, match=f"Could not find principal with name {group}") as caught:
        client.grants.update("schema", str(schema), changes=[change])
    assert caught.value.error_code == "PRINCIPAL_DOES_NOT_EXIST"
