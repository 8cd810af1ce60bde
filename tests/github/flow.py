"""What runs for an event: GitHub's own parser reads the workflows, GitHub's own evaluator decides each ``if``.

The status functions follow GitHub's documentation (Evaluate expressions in workflows and actions):

- ``success()`` of a job is true if every job that it depends on succeeded, directly or through another job.
- ``failure()`` is true if one of them failed.
- ``cancelled()`` is true if the run was cancelled.
- A condition without a status function has an implied ``success()``. The parser adds it.

Jobs run one after the other, each after the jobs that it needs. If a step cancels the run, all later jobs are in a
cancelled run. A matrix runs its steps once.

A workflow or a job with ``concurrency`` waits until no other one runs in its group, and the newest that waits takes the
place of another that does (Control the concurrency of workflows and jobs). A job whose group its own workflow holds, or
the job that called the workflow, would wait for itself: GitHub cancels it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pytest

from tests.github.conftest import NAME, ROOT

SCRIPT = Path(__file__).with_name("github.mjs")
MODULES = ROOT / "node_modules"
FOLDER = ROOT / ".github"
ALWAYS = "success()"
"""The condition of a job or step that has no ``if``."""
TYPES = {"pull_request": ["opened", "synchronize", "reopened"]}
"""The activity types that start a workflow which names none."""

Tree = dict[str, Any]
Files = dict[str, str]


def read_files(workflows: Sequence[str]) -> Files:
    """The text of these workflows and of each composite action, by its path in the repository."""
    files = [*(FOLDER / "workflows" / name for name in workflows), *sorted(FOLDER.glob("actions/*/action.yml"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


@dataclass(frozen=True)
class Parsed:
    """What the parser made of the files."""

    errors: list[str]
    workflows: dict[str, Tree]
    """Events and jobs of each workflow, by the name of its file without the suffix."""


@dataclass(frozen=True)
class Parser:
    """GitHub's parser and evaluator, in one process of Node."""

    requests: IO[str]
    answers: IO[str]
    values: dict[str, Any] = field(default_factory=dict)
    """Of each expression with its contexts, the value."""

    def parse(self, files: Files) -> Parsed:
        answer = self._ask(json.dumps({"files": files}))
        workflows = {PurePosixPath(path).stem: content for path, content in answer["workflows"].items()}
        return Parsed(answer["errors"], workflows)

    def evaluate(self, expression: str, contexts: Tree, functions: Tree) -> Any:
        """The value of an expression; a function returns the value that is given for it."""
        request = json.dumps({"expression": expression, "contexts": contexts, "functions": functions})
        if request not in self.values:
            self.values[request] = self._ask(request)["value"]
        return self.values[request]

    def _ask(self, request: str) -> Tree:
        self.requests.write(f"{request}\n")
        self.requests.flush()
        answer: Tree = json.loads(self.answers.readline())
        if "failure" in answer:
            raise ValueError(answer["failure"])
        return answer


@contextlib.contextmanager
def parser() -> Iterator[Parser]:
    """The parser; skips the test if it is not installed."""
    node = shutil.which("node")
    if node is None or not (MODULES / "@actions" / "workflow-parser").exists():
        pytest.skip("node_modules is missing; run 'make node_modules/.installed' first")
    with subprocess.Popen([node, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield Parser(process.stdin, process.stdout)
        process.stdin.close()


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happens in the repository, and how the steps go that it starts."""

    name: str
    branch: str
    """The branch that was pushed or chosen; for a pull request, the branch to merge into."""
    workflow: str = ""
    """The workflow that was started by hand."""
    payload: Tree = field(default_factory=dict)
    inputs: Tree = field(default_factory=dict)
    variables: Tree = field(default_factory=dict)
    outputs: Mapping[str, Tree] = field(default_factory=dict)
    """Of ``WORKFLOW/JOB/ID``, the outputs of the step."""
    fails: str = ""
    """``WORKFLOW/JOB/ID`` of the step that fails; a step without an id has its name."""
    cancels: str = ""
    """The step during which the run is cancelled."""
    files: bool = True
    """Whether ``hashFiles`` finds files."""

    @property
    def github(self) -> Tree:
        pull_request = self.name == "pull_request"
        refs = {
            "pull_request": "refs/pull/7/merge",
            "merge_group": f"refs/heads/gh-readonly-queue/{self.branch}/pr-7-abc",
        }
        ref = refs.get(self.name, f"refs/heads/{self.branch}")
        return {
            "event_name": self.name,
            "event": self.payload,
            "repository": NAME,
            "ref": ref,
            "ref_name": ref.split("/", 2)[2],
            "base_ref": self.branch if pull_request else "",
        }

    def starts(self, file: str, events: Tree) -> bool:
        """Whether a workflow with these events starts."""
        if self.name not in events or self.workflow not in ("", file):
            return False
        config = events[self.name]
        match self.name:
            case "schedule":
                return self.payload["schedule"] in [each["cron"] for each in config]
            case "workflow_dispatch":
                return self._is_accepted(config.get("inputs", {}))
        types = config.get("types", TYPES.get(self.name))
        branches = config.get("branches", ["**"])
        return (types is None or self.payload["action"] in types) and any(map(self._is_of, branches))

    def _is_of(self, pattern: str) -> bool:
        parts = re.split(r"(\*\*?)", pattern)
        wildcards = {"**": ".*", "*": "[^/]*"}
        return bool(re.fullmatch("".join(wildcards.get(part, re.escape(part)) for part in parts), self.branch))

    def _is_accepted(self, inputs: Tree) -> bool:
        missing = [
            name for name, definition in inputs.items() if definition.get("required") and name not in self.inputs
        ]
        known = [name for name, value in self.inputs.items() if value in inputs.get(name, {}).get("options", [value])]
        return not missing and set(known) == set(self.inputs) <= set(inputs)


class Run:
    """What an event starts."""

    def __init__(self, github: Parser, workflows: Mapping[str, Tree], event: Event) -> None:
        self.github, self.workflows, self.event = github, workflows, event
        self.jobs: dict[str, str] = {}
        """Of each workflow that starts, the jobs that run, each as ``JOB`` or ``JOB@ENVIRONMENT``."""
        self.steps: dict[str, list[str]] = {}
        """Of each ``WORKFLOW/JOB``, the steps that run although or because they have an ``if``."""
        self.groups: dict[str, str] = {}
        """Of each ``WORKFLOW`` or ``WORKFLOW/JOB`` that waits, the groups; a ``!`` cancels what runs in the group."""
        self._held: list[str] = []
        known = {name for file in workflows for job in workflows[file]["jobs"] for name in self._names(file, job)}
        if unknown := {event.fails, event.cancels, *event.outputs} - {"", *known}:
            message = f"{sorted(unknown)}: not a step"
            raise ValueError(message)
        for file, workflow in workflows.items():
            if event.starts(file, workflow["events"]):
                self.cancelled = False
                self._workflow(file, event.inputs)

    def _names(self, file: str, job: str) -> set[str]:
        steps = self.workflows[file]["jobs"][job]["steps"]
        return {f"{file}/{job}/{step[key]}" for step in steps for key in ("id", "name")}

    def _workflow(self, file: str, inputs: Tree) -> str:
        held = len(self._held)
        self._wait(file, self.workflows[file], [{"github": self.event.github, "inputs": inputs}])
        jobs = self.workflows[file]["jobs"]
        graph = {name: job["needs"] for name, job in jobs.items()}
        done: dict[str, Tree] = {}
        labels: dict[str, list[str]] = {}
        for name in TopologicalSorter(graph).static_order():
            job = jobs[name]
            contexts = {
                "github": self.event.github,
                "inputs": inputs,
                "vars": self.event.variables,
                "needs": {need: done[need] for need in job["needs"]},
            }
            results = [done[need]["result"] for need in _ancestors(graph, name)]
            functions = self._status(succeeded=set(results) <= {"success"}, failed="failure" in results)
            if self.github.evaluate(job["if"], contexts, functions):
                each = self._combinations(name, job, contexts)
                environments = [self._value(job["environment"], one) for one in each]
                labels[name] = [f"{name}@{environment}" if environment else name for environment in environments]
                waits = len(self._held)
                self._wait(f"{file}/{name}", job, each)
                done[name] = self._job(file, name, job, contexts)
                del self._held[waits:]
            else:
                done[name] = {"result": "skipped", "outputs": {}}
        del self._held[held:]
        self.jobs[file] = " ".join(label for name in jobs for label in dict.fromkeys(labels.get(name, [])))
        results = [job["result"] for job in done.values()]
        return next((result for result in ("failure", "cancelled") if result in results), "success")

    def _status(self, *, succeeded: bool, failed: bool) -> Tree:
        return {
            "success": succeeded and not self.cancelled,
            "failure": failed,
            "cancelled": self.cancelled,
            "always": True,
            "hashFiles": "a hash" if self.event.files else "",
        }

    def _combinations(self, name: str, job: Tree, contexts: Tree) -> list[Tree]:
        """The contexts of each job of the matrix."""
        matrix = {key: self._value(values, contexts) for key, values in job["matrix"].items()}
        if not all(matrix.values()):
            message = f"{name}: the matrix is empty"
            raise ValueError(message)
        each = itertools.product(*matrix.values())
        return [{**contexts, "matrix": dict(zip(matrix, values, strict=True))} for values in each]

    def _wait(self, name: str, waits: Tree, contexts: list[Tree]) -> None:
        if concurrency := waits["concurrency"]:
            groups = {self._value(concurrency["group"], each): None for each in contexts}
            if not groups.keys().isdisjoint(self._held):
                message = f"{name}: waits for itself"
                raise ValueError(message)
            self._held += groups
            self.groups[name] = " ".join(groups) + ("!" if concurrency["cancel-in-progress"] else "")

    def _job(self, file: str, name: str, job: Tree, contexts: Tree) -> Tree:
        if job["uses"]:
            return {"result": self._workflow(PurePosixPath(job["uses"]).stem, {}), "outputs": {}}
        result: str = "success"
        steps: Tree = {}
        ran = self.steps.setdefault(f"{file}/{name}", [])
        for step in job["steps"]:
            names = {f"{file}/{name}/{step['id']}", f"{file}/{name}/{step['name']}"}
            functions = self._status(succeeded=result == "success", failed=result == "failure")
            runs = (
                functions["success"]
                if step["if"] == ALWAYS
                else self.github.evaluate(step["if"], {**contexts, "steps": steps}, functions)
            )
            if not runs:
                outcome = "skipped"
            elif self.event.cancels in names:
                outcome, self.cancelled = "cancelled", True
            else:
                outcome = "failure" if self.event.fails in names else "success"
            if outcome in ("failure", "cancelled") and result == "success" and not step["continues"]:
                result = outcome
            if outcome != "skipped" and step["if"] != ALWAYS:
                ran.append(step["name"])
            outputs = next((self.event.outputs[each] for each in names if each in self.event.outputs), {})
            steps[step["id"]] = {"outcome": outcome, "outputs": outputs if outcome == "success" else {}}
        values = {key: self._value(output, {**contexts, "steps": steps}) for key, output in job["outputs"].items()}
        return {"result": result, "outputs": {key: _text(value) for key, value in values.items()}}

    def _value(self, token: Any, contexts: Tree) -> Any:
        if isinstance(token, dict) and token.keys() == {"expression"}:
            return self.github.evaluate(token["expression"], contexts, {})
        return token


def _ancestors(graph: Mapping[str, list[str]], name: str) -> set[str]:
    return set(graph[name]).union(*(_ancestors(graph, need) for need in graph[name]))


def _text(value: Any) -> str:
    """A value as GitHub writes it into an output."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
