"""Who may ask, how the server starts and ends, and what it keeps."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service import jobs

from infra.rehearsal import server
from tests.rehearsal import user

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def ask(
    served: server.Served, path: str, *, method: str = "GET", **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(urlsplit(served.host).netloc, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/api/2.2/jobs/list",
        "/api/2.0/mlflow/experiments/get?experiment_id=0",
        "/",
        "/jobs/1",
        "/mlflow/",
        "/ajax-api/x",
    ],
)
@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic {token}"}])
def test_nothing_without_the_token(served: server.Served, path: str, given: dict[str, str]) -> None:
    headers = {name: value.format(token=served.token) for name, value in given.items()}

    status, said, _ = ask(served, path, **headers)

    assert (status, "UNAUTHENTICATED" in said) == (401, True)


def test_the_token_opens(served: server.Served) -> None:
    status, _, _ = ask(served, "/api/2.2/jobs/list", Authorization=f"Bearer {served.token}")

    assert status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.ex:1"])
def test_another_host_name_is_refused(served: server.Served, host: str) -> None:
    status, said, _ = ask(served, "/api/2.2/jobs/list", Host=host, Authorization=f"Bearer {served.token}")

    assert (status, "PERMISSION_DENIED" in said) == (403, True)


def test_another_origin_is_refused(served: server.Served) -> None:
    headers = {"Authorization": f"Bearer {served.token}", "Origin": "http://127.0.0.1:1"}

    assert ask(served, "/mlflow/ajax-api/2.0/mlflow/experiments/search", method="POST", **headers)[0] == 403


def test_health_needs_no_token(served: server.Served) -> None:
    assert ask(served, "/healthz")[:2] == (200, "ok")


def test_a_browser_gets_a_cookie_that_is_not_the_token(served: server.Served) -> None:
    status, _, headers = ask(served, f"/?token={served.token}&a=b")
    cookie = headers["Set-Cookie"]

    assert (status, headers["Location"]) == (302, "/?a=b")
    assert served.token not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert ask(served, "/", Cookie=cookie.split(";")[0])[0] == 200
    assert ask(served, "/mlflow/", Cookie=cookie.split(";")[0])[0] == 200
    assert ask(served, "/api/2.2/jobs/list", Cookie=cookie.split(";")[0])[0] == 401


def test_what_is_not_there_is_said_so(client: WorkspaceClient) -> None:
    with pytest.raises(DatabricksError, match=r"does not implement POST /api/2.0/pipelines") as caught:
        client.pipelines.create(name="p")

    assert caught.value.error_code == "NOT_IMPLEMENTED"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/2.0/mlflow/none"),
        ("GET", "/api/2.0/mlflow/experiments/create"),
        ("POST", "/api/2.0/mlflow/databricks/registered-models/transition-stage"),
        ("GET", "/api/3.0/mlflow/none"),
    ],
)
def test_what_mlflow_does_not_have(client: WorkspaceClient, method: str, path: str) -> None:
    with pytest.raises(DatabricksError, match=f"does not implement {method} {path}") as caught:
        client.api_client.do(method, path)

    assert caught.value.error_code == "NOT_IMPLEMENTED"


def program(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "infra", "rehearsal", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name != "DATABRICKS_TOKEN"}
    return subprocess.Popen(
        command, cwd=ROOT, env=inherited | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_token_is_kept_and_never_said(tmp_path: Path) -> None:
    process = program("--port", "0", "--state", str(tmp_path))
    assert process.stdout is not None
    said = [process.stdout.readline(), process.stdout.readline()]
    file = tmp_path / "token"
    token = file.read_text(encoding="utf-8")
    url = said[0].split()[-1]
    asked = urllib.request.Request(f"{url}/api/2.2/jobs/list", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        status = answer.status
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=20)

    assert status == 200
    assert str(file) in said[1]
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in "".join((*said, *rest))
    assert process.returncode == 0


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = program("--port", port, "--state", str(tmp_path))
        _, said = process.communicate(timeout=60)

    assert process.returncode == 2
    assert f"--port {port}" in said
    assert len(said.splitlines()) == 1


def test_a_state_folder_that_can_not_be_written(tmp_path: Path) -> None:
    tmp_path.joinpath("file").touch()
    process = program("--port", "0", "--state", str(tmp_path / "file" / "state"))
    _, said = process.communicate(timeout=60)

    assert process.returncode == 2
    assert len(said.splitlines()) == 1


def test_a_restart_keeps_what_was_and_ends_what_ran(tmp_path: Path, wheel: Path) -> None:
    with server.serve(tmp_path) as first:
        client = user.connect(first)
        user.upload(client, wheel)
        job_id = user.create(client, user.task("one", "sleep", 600), name="kept")
        run_id = user.start(client, job_id)
        user.until(lambda: "sleeping" in logs(tmp_path))
        experiment = client.experiments.create_experiment("/Shared/kept").experiment_id
    with server.serve(tmp_path, token=first.token) as second:
        client = user.connect(second)
        run = client.jobs.get_run(run_id)
        names = [job.settings.name for job in client.jobs.list() if job.settings]
        status = client.workspace.get_status(user.WHEEL_PATH)
        found = client.experiments.get_experiment(str(experiment)).experiment

    assert run.state is not None
    assert run.state.life_cycle_state is jobs.RunLifeCycleState.INTERNAL_ERROR
    assert "ended while this was active" in (run.state.state_message or "")
    assert names == ["kept"]
    assert status.size == wheel.stat().st_size
    assert found is not None
    assert found.name == "/Shared/kept"
    assert not processes(str(tmp_path)), "a task outlived the server"


def logs(state: Path) -> str:
    return "".join(log.read_text(encoding="utf-8") for log in state.glob("runs/*/*.log"))


def processes(text: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        except OSError:
            continue
        if text in command and "launch.py" in command:
            found.append(command)
    return found
