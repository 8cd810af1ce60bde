"""Rehearses a deployment on this machine: ``python -m infra rehearse``, or ``make rehearse``.

Real cdktf, real Terraform and the real Databricks provider deploy the environment ``rehearsal`` to a rehearsal
workspace, which runs the deployed jobs for real; then it is destroyed, and nothing may be left. A service principal
deploys, with the privileges that docs/setup.md lists, and jobs run as another; each does what it should and no more.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape

from infra import synthesis, terraform
from infra.environment import environment
from ml_pipeline.cli.console import console
from ml_pipeline.errors import CheckFailedError, InputError, PipelineError
from ml_pipeline.settings.environment import CatalogRoles, Permissions, Roles

_FILE = Path("environments/rehearsal.toml")
_STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""What moves the cursor and colours text, which cdktf prints to a file too."""
PRINCIPALS = {
    name: f"00000000-0000-0000-0000-00000000000{number}"
    for number, name in enumerate(("deployer", "run_as", "reader", "stranger"), 1)
}
"""Application ids. The deployer's home is the ``folder`` in the environment's file."""
_CATALOG = "/api/2.1/unity-catalog"
_ALLOWED, _REJECTED = 200, 403
_SYNTHESIS = f"{shlex.quote(sys.executable)} -c 'from infra import rehearse; rehearse.synthesize()'"


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


def synthesize() -> None:
    """Write the stacks, that of the rehearsal with its principals; cdktf calls it."""
    synthesis.run(lambda each: with_principals(each) if each.name == _FILE.stem else each)


def with_principals(rehearsed: environment.Environment) -> environment.Environment:
    """The environment with who deploys it, whom its jobs run as, and who reads it."""
    reader = [PRINCIPALS["reader"]]
    return replace(
        rehearsed,
        workspace=rehearsed.workspace.model_copy(update={"run_as": PRINCIPALS["run_as"]}),
        deployer=PRINCIPALS["deployer"],
        permissions=Permissions(workspace=Roles(viewers=reader), catalog=CatalogRoles(viewers=reader)),
    )


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
            "DATABRICKS_TOKEN": self._token("deployer"),
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
            ("grant", self._grant),
            ("deploy", partial(self._cdktf, "deploy", name, "--auto-approve", expected="Apply complete!")),
            *launches,
            *((f"access of {principal}", partial(self._access, principal)) for principal in PRINCIPALS),
            ("diff", partial(self._cdktf, "diff", name, expected="No changes.")),
            ("diff of administrator", partial(self._cdktf, "diff", name, expected="No changes.", token=self.token)),
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

    def _token(self, principal: str) -> str:
        return f"{self.token}.{PRINCIPALS[principal]}"

    def _call(self, *command: str, expected: str = "", token: str = "") -> str:
        """Run a command and print its output as it comes; returns the line of it that holds the expected text."""
        found, shell = "", {**self._shell, **({"DATABRICKS_TOKEN": token} if token else {})}
        with subprocess.Popen(
            command, env=shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
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

    def _cdktf(self, verb: str, stack: str, *options: str, expected: str, token: str = "") -> str:
        # The registry that it would lock checksums from may be out of reach.
        options = ("--skip-provider-lock", "--app", _SYNTHESIS, "--output", self._shell["CDKTF_OUTDIR"], *options)
        line = self._call("npx", "--no-install", "cdktf", verb, stack, *options, expected=expected, token=token)
        return line.rpartition(stack)[2].strip()

    def _grant(self) -> str:
        """Grant what an administrator grants (docs/setup.md, "Service principals"), and make the folder that exists."""
        self._ask("/api/2.0/workspace/mkdirs", "POST", {"path": self.environment.workspace.folder})
        granted = {"deployer": ["USE_CATALOG", "CREATE_SCHEMA"], "run_as": ["USE_CATALOG"], "reader": ["USE_CATALOG"]}
        changes = [{"principal": PRINCIPALS[one], "add": privileges} for one, privileges in granted.items()]
        self._ask(f"{_CATALOG}/permissions/catalog/{self.environment.catalog.name}", "PATCH", {"changes": changes})
        return "; ".join(f"{one}: {', '.join(privileges)}" for one, privileges in granted.items())

    def _access(self, principal: str) -> str:
        """Try what only some may do; none of it changes a stack."""
        results: dict[bool, list[str]] = {True: [], False: []}
        for action, allowed, method, path, content in self._actions():
            status = self._status(path, method, content, token=self._token(principal))
            expected = _ALLOWED if principal in allowed.split() else _REJECTED
            if status != expected:
                raise CheckFailedError(f"{action}: HTTP status {status}; expected {expected}")
            results[status == _ALLOWED].append(action)
        return "; ".join(f"{'may' if may else 'may not'} {', '.join(each)}" for may, each in results.items() if each)

    def _actions(self) -> list[tuple[str, str, str, str, dict[str, Any] | None]]:
        """What is tried, who may do it, and the request."""
        rehearsed = self.environment
        pipeline, catalog = rehearsed.pipeline, rehearsed.catalog.name
        schema, model = pipeline.schema_name, f"{pipeline.schema_name}.{pipeline.model}"
        first = self._job(rehearsed.jobs[0].name)
        job, wheel = first["job_id"], first["settings"]["tasks"][0]["libraries"][0]["whl"].removeprefix("/Workspace")
        asked = self._ask(f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={pipeline.experiment}")
        runs = asked["experiment"]["experiment_id"]
        file = {"path": f"{rehearsed.folder}/file", "content": "", "format": "AUTO", "overwrite": True}
        alias = {"name": model, "alias": "rehearsed", "version": "1"}
        everybody, writers = "deployer run_as reader", "deployer run_as"
        return [
            ("read the wheel", everybody, "GET", f"/api/2.0/workspace/export?path={wheel}", None),
            ("write to the folder", "deployer", "POST", "/api/2.0/workspace/import", file),
            ("view a job", "deployer reader", "GET", f"/api/2.2/jobs/get?job_id={job}", None),
            ("manage its runs", "deployer", "POST", "/api/2.2/jobs/runs/cancel-all", {"job_id": job}),
            ("change it", "deployer", "POST", "/api/2.2/jobs/update", {"job_id": job, "new_settings": {}}),
            ("read runs", everybody, "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": [runs]}),
            ("log a run", writers, "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": runs}),
            ("read the model", everybody, "GET", f"{_CATALOG}/models/{model}", None),
            ("move its alias", writers, "POST", "/api/2.0/mlflow/unity-catalog/registered-models/alias", alias),
            ("grant on the schema", writers, "PATCH", f"{_CATALOG}/permissions/schema/{schema}", {"changes": []}),
            ("grant on the catalog", "", "PATCH", f"{_CATALOG}/permissions/catalog/{catalog}", {"changes": []}),
        ]

    def _launch(self, job: str) -> str:
        program = str(Path(sys.executable).with_name("ml-pipeline"))
        instance = ["--instance", self.environment.instance] if self.environment.instance else []
        self._call(program, "launch", job, "--environment", str(_FILE), *instance)
        runs_as = self._job(job)["run_as_user_name"]
        if runs_as != PRINCIPALS["run_as"]:
            raise CheckFailedError(f"the job runs as {runs_as}; expected {PRINCIPALS['run_as']}")
        return self.environment.job_name(job)

    def _job(self, job: str) -> Any:
        found = self._ask(f"/api/2.2/jobs/list?name={self.environment.job_name(job)}")["jobs"][0]
        return self._ask(f"/api/2.2/jobs/get?job_id={found['job_id']}")

    def _nothing_left(self) -> str:
        lists = {
            "jobs": ("/api/2.2/jobs/list", "jobs"),
            "instance pools": ("/api/2.0/instance-pools/list", "instance_pools"),
            "schemas": (f"{_CATALOG}/schemas?catalog_name={self.environment.catalog.name}", "schemas"),
            "files": (f"/api/2.0/workspace/list?path={self.environment.workspace.folder}", "objects"),
        }
        left = {what: objects for what, (path, key) in lists.items() if (objects := self._ask(path).get(key))}
        if left:
            raise CheckFailedError(", ".join(f"{len(objects)} {what}" for what, objects in left.items()))
        return f"no {', '.join(lists)}"

    def _ask(self, path: str, method: str = "GET", content: dict[str, Any] | None = None, *, token: str = "") -> Any:
        """Send a request, as the administrator unless another token is given."""
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.host}{path}", data, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310 (the rehearsal workspace, on loopback)
            return json.load(answer)

    def _status(self, path: str, method: str, content: dict[str, Any] | None, *, token: str) -> int:
        try:
            self._ask(path, method, content, token=token)
        except urllib.error.HTTPError as error:
            return error.code
        return _ALLOWED

    def _summarize(self) -> None:
        self._console.print("\n[bold]rehearsal[/]", soft_wrap=True)
        for step in self.steps:
            self._print(*step)
