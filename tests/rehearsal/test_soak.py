"""Random requests from many threads, of which few make sense, while the server is killed and started again."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.rehearsal import user

pytestmark = pytest.mark.slow

REQUESTS, THREADS, KILLS = 1000, 20, 3
ROOT = Path(__file__).parents[2]
CATALOG, FILES, MLFLOW = "/api/2.1/unity-catalog", "/api/2.0/fs", "/api/2.0/mlflow"
TASK: dict[str, Any] = {"task_key": "one", "libraries": [{"whl": user.WHEEL_PATH}]}
TASK |= {"python_wheel_task": {"package_name": "tiny", "entry_point": "sleep", "parameters": ["600"]}}
A = {"catalog_name": "main", "schema_name": "a"}
NUMBERS = ("1", "2", "3", "7", "99", "-1", "x", "")
NAMES = ("a", "b", "c", "ü", "a b", "", "..", "x" * 300)
PATHS = ("/Shared/a", "/Shared/a/b", "/Shared", "/", "Shared", "/Shared/../..", "/Users/none/b", user.WHEEL_PATH)


def one(chosen: random.Random) -> tuple[str, str, Any]:
    """A request: method, path, and the JSON or bytes that it holds."""
    name, number, path = chosen.choice(NAMES), chosen.choice(NUMBERS), chosen.choice(PATHS)
    kind = chosen.choice(("schemas", "volumes", "models"))
    model = f"main.{chosen.choice(NAMES)}.{name}"
    run = {"run_id": number}
    return chosen.choice(
        [
            ("POST", "/api/2.1/jobs/create", {"name": name, "tasks": [TASK]}),
            ("POST", "/api/2.2/jobs/run-now", {"job_id": number}),
            ("POST", "/api/2.2/jobs/runs/cancel", run),
            ("POST", "/api/2.2/jobs/runs/delete", run),
            ("POST", "/api/2.2/jobs/delete", {"job_id": number}),
            ("POST", "/api/2.2/jobs/reset", {"job_id": number, "new_settings": {"name": name}}),
            ("GET", f"/api/2.2/jobs/get?job_id={number}", None),
            ("GET", f"/api/2.2/jobs/list?limit={number}", None),
            ("GET", f"/api/2.2/jobs/runs/get?run_id={number}", None),
            ("GET", f"/api/2.2/jobs/runs/get-output?run_id={number}", None),
            ("GET", "/api/2.2/jobs/runs/list", None),
            ("POST", "/api/2.0/instance-pools/create", {"instance_pool_name": name, "node_type_id": "n"}),
            ("POST", "/api/2.0/instance-pools/delete", {"instance_pool_id": number}),
            ("GET", "/api/2.0/instance-pools/list", None),
            ("POST", "/api/2.0/workspace/import", {"path": path, "content": "YQ==", "format": "AUTO"}),
            ("POST", "/api/2.0/workspace/mkdirs", {"path": path}),
            ("POST", "/api/2.0/workspace/delete", {"path": "/Shared/a", "recursive": chosen.random() < 0.5}),
            ("GET", f"/api/2.0/workspace/list?path={path}", None),
            ("GET", f"/api/2.0/workspace/export?path={path}", None),
            ("POST", f"{CATALOG}/schemas", {"name": name, "catalog_name": "main"}),
            ("POST", f"{CATALOG}/volumes", {"name": "b", "volume_type": "MANAGED", **A}),
            ("POST", f"{CATALOG}/models", {"name": name, **A}),
            ("GET", f"{CATALOG}/{kind}?catalog_name=main", None),
            ("DELETE", f"{CATALOG}/schemas/main.{name}?force=true", None),
            ("DELETE", f"{CATALOG}/models/{model}", None),
            ("GET", f"{CATALOG}/models/{model}/versions", None),
            ("PUT", f"{FILES}/files/Volumes/main/a/b/{name}?overwrite=true", b"content"),
            ("GET", f"{FILES}/directories/Volumes/main/a/b/", None),
            ("POST", f"{MLFLOW}/experiments/create", {"name": path}),
            ("POST", f"{MLFLOW}/experiments/delete", {"experiment_id": number}),
            ("POST", f"{MLFLOW}/experiments/search", {}),
            ("POST", f"{MLFLOW}/runs/create", {"experiment_id": number}),
            ("POST", f"{MLFLOW}/artifacts/credentials-for-write", {"run_id": number, "path": [name]}),
            ("GET", f"{MLFLOW}/experiments/get?experiment_id={number}", None),
            ("POST", f"{MLFLOW}/unity-catalog/registered-models/create", {"name": model}),
            ("POST", f"{MLFLOW}/unity-catalog/model-versions/create", {"name": model, "source": "dbfs:/x"}),
            ("DELETE", f"{MLFLOW}/unity-catalog/model-versions/delete", {"name": model, "version": number}),
            ("GET", f"{MLFLOW}/unity-catalog/model-versions/search", None),
            ("POST", f"/api/2.{number}/nothing", {name: number}),
            ("POST", "/api/2.1/jobs/create", chosen.choice([[], "a", None, {"tasks": 1}, {"tasks": [{}]}])),
        ]
    )


class Workspace:
    """The server, which is killed now and then."""

    def __init__(self, state: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.host, self.token, self.state = f"http://127.0.0.1:{port}", "soaked", state
        self._command = [sys.executable, "-m", "infra", "rehearsal", "--port", str(port), "--state", str(state)]
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        own = {**os.environ, "DATABRICKS_TOKEN": self.token, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(self._command, cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline()
        return self.process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, method: str, path: str, content: Any) -> requests.Response | None:
        """The answer, or ``None`` if the server was killed before it came."""
        sent = {"data": content} if isinstance(content, bytes) else {"data": json.dumps(content)} if content else {}
        by = {"Authorization": f"Bearer {self.token}"}
        try:
            return requests.request(method, self.host + path, headers=by, timeout=60, **sent)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return None


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    running = Workspace(tmp_path / "a secret place")
    yield running
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(60)


def alive(state: Path) -> list[int]:
    """Processes of tasks: they work below the state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(state / "runs"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are looked for in /proc, which Linux has")
def test_a_thousand_requests_while_the_server_is_killed(workspace: Workspace, wheel: Path) -> None:
    seed = random.randrange(10**6)
    chosen = random.Random(seed)
    asked = [one(chosen) for _ in range(REQUESTS)]
    numbers, lock = itertools.count(), threading.Lock()
    up = threading.Event()
    answers: list[tuple[tuple[str, str, Any], int, str]] = []

    def upload() -> None:
        path = user.WHEEL_PATH.removeprefix("/Workspace")
        done = workspace.ask("POST", f"/api/2.0/workspace-files/import-file{path}?overwrite=true", wheel.read_bytes())
        assert done is not None

    def work(_thread: int) -> None:
        while (number := next(numbers)) < REQUESTS:
            up.wait()
            answer = workspace.ask(*asked[number])
            if answer is not None:
                with lock:
                    answers.append((asked[number], answer.status_code, answer.text))

    def kill() -> None:
        """Kill the server while a task runs, whose processes must end with it, and start it again."""
        job = workspace.ask("POST", "/api/2.1/jobs/create", {"name": "sleeps", "tasks": [TASK]})
        assert job is not None
        begun = workspace.ask("POST", "/api/2.1/jobs/run-now", {"job_id": job.json()["job_id"]})
        assert begun is not None
        user.until(lambda: alive(workspace.state))
        up.clear()
        workspace.kill()
        user.until(lambda: not alive(workspace.state))
        workspace.start()
        up.set()

    upload()
    up.set()
    with ThreadPoolExecutor(THREADS) as threads:
        futures = [threads.submit(work, thread) for thread in range(THREADS)]
        try:
            for kills in range(1, KILLS + 1):
                user.until(lambda: len(answers) > REQUESTS * kills / (KILLS + 2), seconds=120)  # noqa: B023
                kill()
        finally:
            up.set()
        for future in futures:
            future.result()

    codes = Counter(code for _, code, _ in answers)
    faults = [(what, code, text) for what, code, text in answers if code >= 500 and code != 501]
    faults += [(what, code, text) for what, code, text in answers if "secret place" in text or "Traceback" in text]
    assert faults == [], f"seed {seed}"
    assert len(answers) > REQUESTS - KILLS * THREADS - 1
    assert codes[200] > REQUESTS / 5, codes
