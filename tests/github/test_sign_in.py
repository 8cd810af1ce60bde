"""Who a workflow's job is, and what it refuses where it would lose what it made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.environment import environment
from infra.review import apply
from ml_pipeline.errors import InputError
from tests.github.conftest import ROOT

READER = "11111111-2222-3333-4444-555555555555"


def test_a_job_that_only_reads_plans_as_somebody_else() -> None:
    prod = environment.load(ROOT / "tests" / "environments" / "prod.toml")
    assert prod.signed_in_as(READER).workspace.client_id == READER
    assert prod.signed_in_as(READER).deployer == prod.deployer != READER
    assert prod.signed_in_as("") == prod
    dev = environment.load(ROOT / "tests" / "environments" / "dev.toml")
    assert dev.signed_in_as(READER) == dev


@pytest.mark.parametrize(
    ("stack", "in_workflow", "lost"),
    [
        ("dev", "true", True),
        ("dev-pr-1", "true", True),
        # These keep it, or have none to keep.
        ("dev", "", False),
        ("staging", "true", False),
        ("rehearsal", "true", False),
    ],
)
def test_a_deployment_by_a_workflow_keeps_its_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str, in_workflow: str, lost: bool
) -> None:
    monkeypatch.chdir(ROOT / "tests")
    monkeypatch.setenv("INSTANCE", stack.partition("-")[2])
    monkeypatch.setenv("GITHUB_ACTIONS", in_workflow)
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:1")
    changes = tmp_path / "changes.json"
    changes.write_text("nothing that was reviewed")
    said = "environments/dev.toml: state.backend: 'local' is lost .*; accepted in a workflow: 's3', 'azurerm' or 'gcs'"

    with pytest.raises(InputError, match=said if lost else "is not a list of reviewed changes"):
        apply.apply_plan(stack, changes)


@pytest.fixture
def workspace() -> Iterator[tuple[str, list[str]]]:
    """A workspace, and GitHub's issuer of tokens, on loopback; and as whom somebody wanted to sign in."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            oidc = f"http://{self.headers['Host']}/oidc"
            endpoints = {"authorization_endpoint": f"{oidc}/v1/authorize", "token_endpoint": f"{oidc}/v1/token"}
            answers: dict[str, dict[str, Any]] = {
                "/issuer": {"value": "a-token-of-github"},
                "/.well-known/databricks-config": {"oidc_endpoint": oidc},
                "/oidc/.well-known/oauth-authorization-server": endpoints,
            }
            self._say(answers.get(self.path.partition("?")[0]))

        def do_POST(self) -> None:
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            asked.append(form["client_id"][0])
            self._say({"access_token": "a-token", "token_type": "Bearer", "expires_in": 600})

        def _say(self, answer: dict[str, Any] | None) -> None:
            content = json.dumps(answer or {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "nothing"}).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its own name)
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "expected"), [("", "0" * 8 + "-0000-0000-0000-" + "0" * 12), (READER, READER)])
def test_a_command_signs_in_as_the_variable_says(
    workspace: tuple[str, list[str]], tmp_path: Path, variable: str, expected: str
) -> None:
    host, asked = workspace
    text = (ROOT / "tests" / "environments" / "prod.toml").read_text(encoding="utf-8")
    file = tmp_path / "prod.toml"
    file.write_text(text.replace("https://prod.cloud.databricks.com", host))
    github = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{host}/issuer?", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job"}
    done = subprocess.run(
        [Path(sys.executable).with_name("ml-pipeline"), "launch", "datasets", "--environment", str(file)],
        env={**os.environ, **github, "DATABRICKS_CLIENT_ID": variable},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert set(asked) == {expected}, done.stderr
