"""What is no request, or not quite: said so, and never an accident of the server's."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service import jobs

from infra.rehearsal import server
from tests.rehearsal import user

MALFORMED = "MALFORMED_REQUEST"
ONE = {"task_key": "one", "python_wheel_task": {"package_name": "tiny", "entry_point": "say"}}


def send(served: server.Served, path: str, body: str, *, method: str = "POST") -> tuple[int, dict[str, Any]]:
    """Ask as curl does, which calls everything a form."""
    connection = http.client.HTTPConnection(urlsplit(served.host).netloc, timeout=10)
    form = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request(method, f"/api/{path}", body, form)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_body_is_json_whatever_its_content_type_says(served: server.Served, client: WorkspaceClient) -> None:
    status, said = send(served, "2.1/jobs/create", '{"name": "by curl"}')
    settings = client.jobs.get(said["job_id"]).settings

    assert status == 200
    assert settings is not None
    assert settings.name == "by curl"


@pytest.mark.parametrize(
    "body", ["{bad", "[]", "name=x", '"a"', "[" * 100_000, "\xff", '{"name": "\\ud800"}', '{"a": NaN}']
)
def test_a_body_that_is_none(served: server.Served, body: str) -> None:
    status, said = send(served, "2.1/jobs/create", body)

    assert (status, said["error_code"]) == (400, MALFORMED)


@pytest.mark.parametrize("length", ["-5", "+2", "two", "2.0"])
def test_a_length_that_is_none(served: server.Served, client: WorkspaceClient, length: str) -> None:
    before = len(list(client.jobs.list()))
    connection = http.client.HTTPConnection(urlsplit(served.host).netloc, timeout=10)
    connection.putrequest("POST", "/api/2.1/jobs/create")
    connection.putheader("Authorization", f"Bearer {served.token}")
    connection.putheader("Content-Length", length)
    connection.endheaders(b"{}")
    answer = connection.getresponse()
    said = json.loads(answer.read())

    assert (answer.status, said["error_code"]) == (400, MALFORMED)
    assert len(list(client.jobs.list())) == before


# What is sent, and the field that the refusal names.
TYPES: Mapping[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": 5}, "name"),
    "tasks": ({"tasks": "one"}, "tasks"),
    "a task": ({"tasks": ["one"]}, r"tasks\[0\]"),
    "no task": ({"tasks": [None]}, r"tasks\[0\]"),
    "task_key": ({"tasks": [{"task_key": 1}]}, r"tasks\[0\]\.task_key"),
    "depends_on": ({"tasks": [ONE | {"depends_on": "one"}]}, r"tasks\[0\]\.depends_on"),
    "a dependency": ({"tasks": [ONE | {"depends_on": ["one"]}]}, r"tasks\[0\]\.depends_on\[0\]"),
    "library": ({"tasks": [ONE | {"libraries": ["one"]}]}, r"tasks\[0\]\.libraries\[0\]"),
    "wheel": ({"tasks": [ONE | {"python_wheel_task": "one"}]}, r"tasks\[0\]\.python_wheel_task"),
    "named": ({"tasks": [{"task_key": "a", "python_wheel_task": {"named_parameters": ["a"]}}]}, "named_parameters"),
    "cluster": ({"tasks": [ONE | {"new_cluster": "one"}]}, r"tasks\[0\]\.new_cluster"),
    "schedule": ({"schedule": "daily"}, "schedule"),
    "timeout": ({"timeout_seconds": "long"}, "timeout_seconds"),
    "truth": ({"timeout_seconds": True}, "timeout_seconds"),
    "too large": ({"timeout_seconds": 2**63}, "timeout_seconds"),
    "queue": ({"queue": {"enabled": "perhaps"}}, r"queue\.enabled"),
}


@pytest.mark.parametrize("door", ["create", "reset", "update", "runs/submit"])
@pytest.mark.parametrize("case", TYPES.values(), ids=TYPES.keys())
def test_types_of_a_job(client: WorkspaceClient, case: tuple[dict[str, Any], str], door: str) -> None:
    sent, field = case
    if door in ("reset", "update"):
        sent = {"job_id": user.create(client, user.task("one", "say")), "new_settings": sent}

    with pytest.raises(DatabricksError, match=f"for field .*{field}$") as caught:
        client.api_client.do("POST", f"/api/2.2/jobs/{door}", body=sent)

    assert caught.value.error_code == MALFORMED


# Beside those of jobs: method, path, what is sent, and the field that the refusal names.
OTHERS: Mapping[str, tuple[str, str, dict[str, Any], str]] = {
    "run-now": ("POST", "/api/2.2/jobs/run-now", {"job_id": "one"}, "job_id"),
    "only": ("POST", "/api/2.2/jobs/run-now", {"job_id": 1, "only": "one"}, "only"),
    "repair": ("POST", "/api/2.2/jobs/runs/repair", {"run_id": 1, "rerun_tasks": "one"}, "rerun_tasks"),
    "removed": ("POST", "/api/2.2/jobs/update", {"job_id": 1, "fields_to_remove": "tags"}, "fields_to_remove"),
    "search": ("POST", "/api/2.0/mlflow/experiments/search", {"max_results": []}, "max_results"),
    "grants": ("PATCH", "/api/2.1/unity-catalog/permissions/catalog/main", {"changes": ["a"]}, r"changes\[0\]"),
}


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS.keys())
def test_types_of_others(client: WorkspaceClient, case: tuple[str, str, dict[str, Any], str]) -> None:
    method, path, sent, field = case
    with pytest.raises(DatabricksError, match=f"for field {field}$") as caught:
        client.api_client.do(method, path, body=sent)

    assert caught.value.error_code == MALFORMED


def test_types_of_permissions(client: WorkspaceClient) -> None:
    path = f"/api/2.0/permissions/jobs/{user.create(client, user.task('one', 'say'))}"
    with pytest.raises(DatabricksError, match=r"for field access_control_list\[0\]") as caught:
        client.api_client.do("PUT", path, body={"access_control_list": ["users"]})

    assert caught.value.error_code == MALFORMED


def test_numbers_as_airflow_sends_them(client: WorkspaceClient) -> None:
    sent = {"tasks": [ONE], "timeout_seconds": "60", "queue": {"enabled": "true"}, "tags": {"a": "1"}}
    made = client.api_client.do("POST", "/api/2.2/jobs/create", body=sent)
    assert isinstance(made, dict)
    started = client.api_client.do("POST", "/api/2.2/jobs/run-now", body={"job_id": str(made["job_id"])})
    settings = client.jobs.get(made["job_id"]).settings

    assert isinstance(started, dict)
    user.finish(client, started["run_id"])
    assert settings is not None
    assert (settings.timeout_seconds, settings.queue and settings.queue.enabled) == (60, True)


def test_null_counts_as_left_out(client: WorkspaceClient) -> None:
    job_id = user.create(client, user.task("one", "say"))
    client.api_client.do("POST", "/api/2.2/jobs/update", body={"job_id": job_id, "new_settings": {"tasks": None}})
    settings = client.jobs.get(job_id).settings

    assert settings is not None
    assert [task.task_key for task in settings.tasks or []] == ["one"]


def test_an_entry_of_an_update_without_its_name(client: WorkspaceClient) -> None:
    job_id = user.create(client, user.task("one", "say"))
    with pytest.raises(DatabricksError, match="Missing required field: task_key"):
        client.api_client.do("POST", "/api/2.2/jobs/update", body={"job_id": job_id, "new_settings": {"tasks": [{}]}})


@pytest.mark.parametrize("query", [{"page_token": "-5"}, {"page_token": "x"}, {"offset": "-1"}, {"offset": "x"}])
@pytest.mark.parametrize("door", ["list", "runs/list"])
def test_a_page_that_there_can_not_be(client: WorkspaceClient, query: dict[str, Any], door: str) -> None:
    with pytest.raises(DatabricksError, match=next(iter(query))) as caught:
        client.api_client.do("GET", f"/api/2.2/jobs/{door}", query=query)

    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def change_by_reset(client: WorkspaceClient, job_id: int) -> None:
    client.jobs.reset(job_id, jobs.JobSettings(tasks=[user.task("one", "say")]))


def change_by_update(client: WorkspaceClient, job_id: int) -> None:
    client.jobs.update(job_id, fields_to_remove=["name"])


@pytest.mark.parametrize("change", [change_by_reset, change_by_update])
def test_a_job_that_loses_its_name(client: WorkspaceClient, change: Callable[[WorkspaceClient, int], None]) -> None:
    job_id = user.create(client, user.task("one", "say"), name="for a while")

    change(client, job_id)

    assert job_id in [job.job_id for job in client.jobs.list(name="Untitled")]
