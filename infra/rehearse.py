"""Rehearses a deployment on this machine: ``python -m infra rehearse``, or ``make rehearse``.

Real cdktf, real Terraform and the real Databricks provider deploy the environment ``rehearsal`` to a rehearsal
workspace, which runs the deployed jobs for real; then it is destroyed, and nothing may be left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.markup import escape

from infra import terraform
from infra.environment import environment
from ml_pipeline.cli.console import console
from ml_pipeline.errors import CheckFailedError, InputError, PipelineError

_FILE = Path("environments/rehearsal.toml")
_STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""What moves the cursor and colours text, which cdktf prints to a file too."""


def run() -> int:
    """Rehearse; the exit code is that of the first step that failed.

    Raises:
        InputError: a mistake in the environment's file, or a program is missing.
    """
    rehearsed = environment.load(_FILE, instance=os.environ.get("INSTANCE", ""))
    problem = terraform.problem() or _node_problem()
    if problem:
        raise InputError(problem)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal-")))
        # MLflow takes seconds to import: problems come first.
        from infra.rehearsal import server

        workspace = stack.enter_context(server.serve(folder / "workspace"))
        print(f"rehearsal workspace (the link signs a browser in, once): {workspace.link}", flush=True)
        rehearsal = Rehearsal(rehearsed, host=workspace.host, token=workspace.token, folder=folder)
        return rehearsal.run()


def _node_problem() -> str | None:
    if shutil.which("npx") is None or not Path("node_modules/.bin/cdktf").exists():
        return "cdktf is missing: 'make rehearse' installs it, with Node 20 or 22"
    return None


@dataclass
class Rehearsal:
    """The steps of a rehearsal, and the result of each."""

    environment: environment.Environment
    host: str
    token: str
    folder: Path
    steps: list[tuple[str, str, float, str]] = field(default_factory=list)
    """Name, state, seconds and remark of each step so far."""

    def __post_init__(self) -> None:
        self._console = console()
        self._shell = {
            **os.environ,
            **terraform.QUIET,
            # Its output comes through a pipe, also on a terminal.
            **terraform.STILL,
            "DATABRICKS_HOST": self.host,
            "DATABRICKS_TOKEN": self.token,
            # Neither the stacks nor the state of a deployment that lies beside the project.
            "CDKTF_OUTDIR": str(self.folder / "cdktf.out"),
        }
        for name in ("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_AUTH_TYPE"):
            self._shell.pop(name, None)

    def run(self) -> int:
        """Every step; after a failure only the destruction."""
        name = self.environment.full_name
        launches = [(f"launch {job.name}", partial(self._launch, job.name)) for job in self.environment.jobs]
        steps: list[tuple[str, Callable[[], str]]] = [
            ("deploy", partial(self._cdktf, "deploy", name, "--auto-approve", expected="Apply complete!")),
            *launches,
            ("diff", partial(self._cdktf, "diff", name, expected="No changes.")),
        ]
        code = next((code for step, do in steps if (code := self._step(step, do))), 0)
        destroy = partial(self._cdktf, "destroy", name, "--auto-approve", expected="Destroy complete!")
        for step, do in (("destroy", destroy), ("nothing is left", self._nothing_left)):
            code = self._step(step, do) or code
        self._summarize()
        return code

    def _step(self, name: str, do: Callable[[], str]) -> int:
        self._console.print(f"\n[bold]{name}[/]", soft_wrap=True)
        began = time.monotonic()
        try:
            remark, state, code = do(), "SUCCESS", 0
        except PipelineError as error:
            remark, state, code = str(error), "FAILED", error.exit_code
        self.steps.append((name, state, time.monotonic() - began, remark))
        self._print(*self.steps[-1])
        return code

    def _print(self, name: str, state: str, seconds: float, remark: str) -> None:
        colour = "green" if state == "SUCCESS" else "red"
        line = f"{name:<22} {seconds:6.1f} s  {remark}"
        self._console.print(f"[{colour}]{state:<8}[/] {escape(line)}".rstrip(), soft_wrap=True)

    def _call(self, *command: str, expected: str = "") -> str:
        """Run a command and print its output as it comes; returns the line of it that holds the expected text."""
        found = ""
        with subprocess.Popen(
            command, env=self._shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                found = _STYLE.sub("", line).strip() if expected and expected in line else found
        if process.returncode:
            raise CheckFailedError(f"exit code {process.returncode}")
        if expected and not found:
            raise CheckFailedError(f"the output lacks '{expected}'")
        return found

    def _cdktf(self, verb: str, stack: str, *options: str, expected: str) -> str:
        # The registry that it would lock checksums from may be out of reach.
        options = ("--skip-provider-lock", "--output", self._shell["CDKTF_OUTDIR"], *options)
        line = self._call("npx", "--no-install", "cdktf", verb, stack, *options, expected=expected)
        return line.rpartition(stack)[2].strip()

    def _launch(self, job: str) -> str:
        program = str(Path(sys.executable).with_name("ml-pipeline"))
        instance = ["--instance", self.environment.instance] if self.environment.instance else []
        self._call(program, "launch", job, "--environment", str(_FILE), *instance)
        return self.environment.job_name(job)

    def _nothing_left(self) -> str:
        lists = {
            "jobs": ("/api/2.2/jobs/list", "jobs"),
            "instance pools": ("/api/2.0/instance-pools/list", "instance_pools"),
            "schemas": (f"/api/2.1/unity-catalog/schemas?catalog_name={self.environment.catalog.name}", "schemas"),
            "files": ("/api/2.0/workspace/list?path=/Shared", "objects"),
        }
        left = {what: objects for what, (path, key) in lists.items() if (objects := self._ask(path).get(key))}
        if left:
            raise CheckFailedError(", ".join(f"{len(objects)} {what}" for what, objects in left.items()))
        return f"no {', '.join(lists)}"

    def _ask(self, path: str) -> dict[str, list[object]]:
        request = urllib.request.Request(f"{self.host}{path}", headers={"Authorization": f"Bearer {self.token}"})  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310 (the rehearsal workspace, on loopback)
            return dict(json.load(answer))

    def _summarize(self) -> None:
        self._console.print("\n[bold]rehearsal[/]", soft_wrap=True)
        for step in self.steps:
            self._print(*step)
