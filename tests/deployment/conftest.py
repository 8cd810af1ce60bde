"""What the tests of real deployments share: a workspace on loopback, and cdktf with Terraform's state in a folder."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from infra.environment.environment import Environment

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))


def missing() -> str | None:
    from infra import terraform

    if not (ROOT / "node_modules" / ".bin" / "cdktf").exists():
        return "cdktf is not installed: make rehearse installs it"
    return terraform.problem()


def deployed(instance: str = "") -> Environment:
    """The environment that the tests deploy, with the project's own name."""
    from infra.environment import environment

    return environment.load(ROOT / "environments" / "rehearsal.toml", instance=instance)


@dataclass
class Deployment:
    """The project, deployed to a workspace of its own from a folder of its own."""

    host: str
    token: str
    out: Path

    def client(self, principal: str = "") -> Any:
        """The SDK's client of a service principal, or of the workspace's administrator."""
        from databricks.sdk import WorkspaceClient

        token = f"{self.token}.{principal}" if principal else self.token
        return WorkspaceClient(host=self.host, token=token, auth_type="pat")

    def environment(self, **more: str) -> dict[str, str]:
        from infra import terraform

        return {
            **os.environ,
            **terraform.QUIET,
            "DATABRICKS_HOST": self.host,
            "DATABRICKS_TOKEN": self.token,
            "CDKTF_OUTDIR": str(self.out),
            "NO_COLOR": "1",
            **more,
        }

    def command(self, verb: str, stack: str, *options: str) -> list[str]:
        lock = "--skip-provider-lock"
        return ["npx", "--no-install", "cdktf", verb, stack, lock, "--output", str(self.out), *options]

    def cdktf(self, verb: str, stack: str, *options: str, cwd: Path = ROOT, **more: str) -> str:
        done = subprocess.run(
            self.command(verb, stack, *options),
            cwd=cwd,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def made(self, stack: str) -> subprocess.CompletedProcess[str]:
        """Deploy by the Makefile's own target, without another installation of what is tested."""
        options = f"OPTIONS=--auto-approve --skip-provider-lock --output '{self.out}'"
        return subprocess.run(
            ["make", "--old-file=setup", "deploy", f"ENV={stack}", options],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def interrupted(self, stack: str, *, said: str, by: signal.Signals) -> None:
        """Start a deployment, and once it has said something interrupt it as Ctrl-C does, or kill all of it."""
        with self._begun(self.command("deploy", stack, "--auto-approve"), said=said) as process:
            os.killpg(process.pid, by)
            if by == signal.SIGKILL:
                # Terraform has a terminal, and so a group, of its own.
                for terraform in self._terraform():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(terraform, by)
            process.communicate()
        # Terraform ends what it is at, which the command line does not wait for.
        deadline = time.monotonic() + 120
        while self._terraform():
            assert time.monotonic() < deadline, "Terraform does not end"
            time.sleep(0.2)

    @contextlib.contextmanager
    def _begun(
        self, command: list[str], *, said: str, folder: Path = ROOT, **more: str
    ) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            command,
            cwd=folder,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            assert any(re.search(said, line) for line in process.stdout), f"'{said}' was not said"
            yield process

    def cancelled(self, verb: str, stack: str, *, said: str) -> str:
        """Cancel a step as GitHub does: its own process gets SIGINT, and SIGTERM later. Returns the output."""
        options = ["--auto-approve", "--skip-provider-lock", "--output", str(self.out)]
        return self.signalled([sys.executable, "-m", "infra", "cdktf", verb, stack, *options], said=said)

    def signalled(self, command: list[str], *, said: str, folder: Path = ROOT) -> str:
        with self._begun(command, said=said, folder=folder, PYTHONPATH=str(ROOT)) as process:
            process.send_signal(signal.SIGINT)
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate()
        assert self._terraform() == []
        return output

    def _terraform(self) -> list[int]:
        """The processes that have the stack's folder as their own."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").readlink().is_relative_to(self.out):
                    found.append(int(process.name))
        return found


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    from infra.rehearsal import server

    with server.serve(tmp_path / "workspace") as workspace:
        yield Deployment(workspace.host, workspace.token, tmp_path / "cdktf.out")
