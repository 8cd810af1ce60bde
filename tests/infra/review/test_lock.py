"""A cancelled deployment releases its lock, and the lock of a killed one is removed: with real Terraform."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import terraform
from infra.review import lock
from ml_pipeline.errors import InputError

ROOT = Path(__file__).parents[3]
STATE = "project/dev.tfstate"
LOCK = f"{STATE}.tflock"
pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="Terraform is missing")
IDENTITY = (
    b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    b"<Arn>arn:aws:iam::123456789012:user/a</Arn><UserId>A</UserId><Account>123456789012</Account>"
    b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
EMPTY = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><KeyCount>0</KeyCount></ListBucketResult>'


@dataclass
class Bucket:
    """S3 on loopback, as far as Terraform's state needs it, and a stack that takes long to deploy."""

    out: Path
    address: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)

    @property
    def shell(self) -> dict[str, str]:
        own = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": self.address}
        return {**os.environ, **own, "CDKTF_OUTDIR": str(self.out), "CHECKPOINT_DISABLE": "1", "PYTHONPATH": str(ROOT)}

    @property
    def folder(self) -> Path:
        return self.out / "stacks" / "dev"

    def declare(self, command: str) -> None:
        self.folder.mkdir(parents=True)
        state = {"bucket": "b", "key": STATE, "region": "eu-central-1", "use_lockfile": True, "use_path_style": True}
        made = {"provisioner": [{"local-exec": {"command": command}}]}
        content = {
            "terraform": {"backend": {"s3": {**state, "endpoints": {"s3": self.address}}}},
            "resource": {"terraform_data": {"made": made}},
        }
        (self.folder / "main.tf.json").write_text(json.dumps(content), encoding="utf-8")
        subprocess.run(["terraform", "init"], cwd=self.folder, env=self.shell, check=True, capture_output=True)

    def deploying(self) -> subprocess.Popen[str]:
        """A deployment that holds the lock: the part of `infra apply` that runs Terraform."""
        program = (
            "from pathlib import Path; from infra import terraform; from infra.review import lock;"
            "from ml_pipeline.cli.guard import guarded; import sys; lock.begin('dev');"
            f"folder = Path({str(self.folder)!r});"
            "sys.exit(guarded(lambda: terraform.call(folder, 'apply', '-auto-approve').returncode))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=self.shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        wait((self.out / "began").exists)
        assert LOCK in self.objects
        return process

    def unlock(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra", "unlock", "dev"]
        return subprocess.run(command, cwd=ROOT, env=self.shell, capture_output=True, text=True, check=False)


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    held = Bucket(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            key = path.removeprefix("/b").removeprefix("/")
            status, answer = 200, b""
            if path == "/":
                answer = IDENTITY
            elif not key:
                answer = EMPTY
            elif self.command == "DELETE":
                held.objects.pop(key, None)
            elif self.command == "PUT" and key in held.objects and self.headers.get("If-None-Match") == "*":
                status, answer = 412, b"<Error><Code>PreconditionFailed</Code></Error>"
            elif self.command == "PUT":
                held.objects[key] = content
            elif key in held.objects:
                answer = held.objects[key]
            else:
                status, answer = 404, b"<Error><Code>NoSuchKey</Code></Error>"
            self.send_response(status)
            self.send_header("ETag", f'"{hashlib.sha256(answer).hexdigest()[:32]}"')
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else answer)

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 (the names that http.server calls)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its own name)
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        held.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield held
        server.shutdown()


def test_a_cancelled_deployment_writes_its_state_and_releases_its_lock(bucket: Bucket) -> None:
    bucket.declare(f"touch {bucket.out}/began; sleep 3")
    with bucket.deploying() as process:
        # As GitHub cancels a step: the signals go to this process alone, and Terraform may need longer than 7.5 s.
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        output = process.communicate()[0]
    assert "Two interrupts received" not in output
    assert (process.returncode, output.splitlines()[-1]) == (130, "interrupted"), output
    assert LOCK not in bucket.objects
    assert json.loads(bucket.objects[STATE])["resources"]
    assert bucket.unlock().stdout == "dev: there is no lock\n"


def test_the_lock_that_a_killed_deployment_left_is_removed_and_no_other(bucket: Bucket) -> None:
    assert bucket.unlock().stdout == "dev: no deployment began on this machine, so it left no lock\n"
    bucket.declare(f"touch {bucket.out}/began; exec sleep 3")
    with bucket.deploying() as process:
        (terraform,) = psutil.Process(process.pid).children()
        for killed in (process.pid, terraform.pid):
            os.killpg(killed, signal.SIGKILL)
        process.communicate()
    held = json.loads(bucket.objects[LOCK])

    for name, value in {"Who": "ann@laptop", "Created": "2026-01-02T03:04:05.6Z"}.items():
        bucket.objects[LOCK] = json.dumps({**held, name: value}).encode()
        done = bucket.unlock()
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"holds the lock {held['ID']} since " in done.stderr
        assert LOCK in bucket.objects
    bucket.objects[LOCK] = json.dumps(held).encode()
    done = bucket.unlock()
    assert (done.returncode, done.stdout) == (
        0,
        f"dev: removed the lock {held['ID']}, which this deployment left\n",
    ), done.stderr
    assert LOCK not in bucket.objects


def locked(id_: str) -> str:
    """As Terraform prints a lock: with an S3 or Azure state the ID is a UUID, with a Google one a generation."""
    who, now = f"{getpass.getuser()}@{socket.gethostname()}", "2999-01-01 10:00:00.123456789 +0000 UTC"
    return f"Error acquiring the state lock\n\nLock Info:\n  ID:        {id_}\n  Who:       {who}\n  Created:   {now}\n"


@pytest.mark.parametrize(
    ("id_", "unlocked"),
    [("1732816800123456", True), ("12345678-90ab-cdef-1234-567890abcdef", True), ("-9223372036854775808", False)],
)
def test_a_google_lock_that_could_not_be_written_is_not_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, id_: str, unlocked: bool
) -> None:
    calls: list[tuple[str, ...]] = []

    def run(folder: Path, *arguments: str) -> None:
        del folder
        calls.append(arguments)
        if arguments[0] == "untaint":
            raise InputError(locked(id_))

    monkeypatch.setenv("CDKTF_OUTDIR", str(tmp_path))
    monkeypatch.setattr(terraform, "run", run)
    (tmp_path / "stacks" / "dev" / ".terraform").mkdir(parents=True)
    lock.begin("dev")
    if unlocked:
        assert lock.release("dev") == f"dev: removed the lock {id_}, which this deployment left"
    else:
        with pytest.raises(InputError, match="Error acquiring the state lock"):
            lock.release("dev")
    assert calls[1:] == ([("force-unlock", "-force", id_)] if unlocked else [])
