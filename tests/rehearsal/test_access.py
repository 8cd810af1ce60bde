"""Who may ask, how the server starts and ends, and what it keeps."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
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
    served: server.Served, path: str, *, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(urlsplit(served.host).netloc, timeout=10)
    connection.request(method, path, body=body, headers=headers)
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
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic {token}"},
        {"Authorization": "Bearer {token}x"},
        {"Authorization": "Bearer {token}."},
    ],
)
def test_nothing_without_the_token(served: server.Served, path: str, given: dict[str, str]) -> None:
    headers = {name: value.format(token=served.token) for name, value in given.items()}

    status, said, _ = ask(served, path, **headers)

    assert (status, "UNAUTHENTICATED" in said) == (401, True)


def test_the_token_opens(served: server.Served) -> None:
    status, _, _ = ask(served, "/api/2.2/jobs/list", Authorization=f"Bearer {served.token}")

    assert status == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("subject_token={token}&client_id=me", 200),
        ("subject_token={token}", 400),
        ("subject_token=no&client_id=me", 400),
    ],
)
def test_the_token_is_exchanged_for_that_of_a_service_principal(served: server.Served, form: str, status: int) -> None:
    body, kind = form.format(token=served.token), {"Content-Type": "application/x-www-form-urlencoded"}
    answer, content, _ = ask(served, "/oidc/v1/token", method="POST", body=body, **kind)
    assert answer == status
    if status == 200:
        token = json.loads(content)["access_token"]
        assert '"userName":"me"' in ask(served, "/api/2.0/preview/scim/v2/Me", Authorization=f"Bearer {token}")[1]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.ex:1"])
def test_another_host_name_is_refused(served: server.Served, host: str) -> None:
    status, said, _ = ask(served, "/api/2.2/jobs/list", Host=host, Authorization=f"Bearer {served.token}")

    assert (status, "PERMISSION_DENIED" in said) == (403, True)


def test_another_origin_is_refused(served: server.Served) -> None:
    headers = {"Authorization": f"Bearer {served.token}", "Origin": "http://127.0.0.1:1"}

    assert ask(served, "/mlflow/ajax-api/2.0/mlflow/experiments/search", method="POST", **headers)[0] == 403


def test_health_needs_no_token(served: server.Served) -> None:
    assert ask(served, "/healthz")[:2] == (200, "ok")


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[server.Served]:
    """A workspace whose link nobody has opened."""
    with server.serve(tmp_path) as running:
        yield running


def test_the_printed_link_signs_a_browser_in_once_and_leaves_no_code(fresh: server.Served) -> None:
    path = fresh.link.removeprefix(fresh.host)
    status, _, headers = ask(fresh, f"{path}&a=b", **BROWSER)
    cookie = headers["Set-Cookie"]
    signed_in = {**BROWSER, "Cookie": cookie.split(";")[0]}

    assert (status, headers["Location"]) == (303, "/?a=b")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert fresh.token not in fresh.link + cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    for page in ("/", "/experiments", "/models", "/schemas", "/files", "/mlflow/"):
        assert ask(fresh, page, **signed_in)[0] == 200
    # Again, in a browser that is signed in, and in another one.
    assert ask(fresh, path, **signed_in)[0] == 303
    status, content, headers = ask(fresh, path, **BROWSER)
    assert (status, "Set-Cookie" in headers) == (401, False)
    assert "was used before" in content


def test_the_cookie_opens_no_api(fresh: server.Served) -> None:
    _, _, headers = ask(fresh, fresh.link.removeprefix(fresh.host))
    cookie = headers["Set-Cookie"].split(";")[0]

    assert ask(fresh, "/api/2.2/jobs/list", Cookie=cookie)[0] == 401
    assert ask(fresh, "/api/2.0/mlflow/experiments/get?experiment_id=0", Cookie=cookie)[0] == 401


def test_the_token_in_an_address_signs_nobody_in(served: server.Served) -> None:
    for name in ("token", "sign-in"):
        status, _, headers = ask(served, f"/?{name}={served.token}", **BROWSER)
        assert (status, "Set-Cookie" in headers) == (401, False)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_on_another_sites_page_needs_no_second_click(fresh: server.Served, site: str) -> None:
    """A browser withholds a strict cookie after a redirect that another site began."""
    status, content, headers = ask(fresh, fresh.link.removeprefix(fresh.host), **BROWSER, **{"Sec-Fetch-Site": site})

    assert (status, "Set-Cookie" in headers) == (200, True)
    assert '<meta http-equiv="refresh" content="0;url=/">' in content


def test_a_browser_that_is_not_signed_in_gets_a_page_that_explains(served: server.Served) -> None:
    for path in ("/", "/jobs/1", "/mlflow/", "/files"):
        status, content, headers = ask(served, path, **BROWSER)
        assert (status, headers["Content-Type"]) == (401, "text/html; charset=utf-8")
        assert "<h1>Sign in</h1>" in content
        assert "printed a link" in content
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    for path in ("/api/2.2/jobs/list", "/ajax-api/x", "/mlflow/ajax-api/2.0/mlflow/experiments/search"):
        status, content, headers = ask(served, path, **BROWSER)
        assert (status, headers["Content-Type"]) == (401, "application/json")
        assert "UNAUTHENTICATED" in content


def test_the_token_in_the_form_signs_in_at_the_same_page(served: server.Served) -> None:
    status, _, headers = ask(served, "/files", method="POST", body=f"token={served.token}%0A", **FORM)
    assert (status, headers["Location"]) == (303, "/files")
    assert ask(served, "/files", **BROWSER, Cookie=headers["Set-Cookie"].split(";")[0])[0] == 200

    for wrong in ("token=wrong", "", f"token={served.token}{'a' * 5000}"):
        status, _, headers = ask(served, "/files", method="POST", body=wrong, **FORM)
        assert (status, "Set-Cookie" in headers) == (401, False)
    origin = {"Origin": "http://127.0.0.1:1"}
    assert ask(served, "/", method="POST", body=f"token={served.token}", **FORM, **origin)[0] == 403
    assert ask(served, "/api/2.2/jobs/list", method="POST", body=f"token={served.token}", **FORM)[0] == 401


def test_an_address_without_a_page_is_a_page_for_a_person_and_json_for_a_program(served: server.Served) -> None:
    bearer = {"Authorization": f"Bearer {served.token}"}
    for path, sent in (("/jobs/999999", {**BROWSER, **bearer}), ("/nothing", BROWSER)):
        status, content, headers = ask(served, path, **sent)
        assert status >= 400
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "first page of the rehearsal workspace" in content
    status, _, headers = ask(served, "/jobs/999999", **bearer)
    assert (status, headers["Content-Type"]) == (400, "application/json")


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
    said = [process.stdout.readline() for _ in range(3)]
    file = tmp_path / "token"
    token = file.read_text(encoding="utf-8")
    url = said[1].strip().removeprefix("DATABRICKS_HOST=")
    asked = urllib.request.Request(f"{url}/api/2.2/jobs/list", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        status = answer.status
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=20)

    assert status == 200
    assert said[0].split()[-1].startswith(f"{url}/?sign-in=")
    assert str(file) in said[2]
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in "".join((*said, *rest))
    assert rest == ("", ""), "neither MLflow's migrations nor its warnings reach a person"
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
