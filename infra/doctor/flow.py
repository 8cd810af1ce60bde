"""What the git flow needs of a repository: read from the workflows, and the rules that ``docs/setup.md`` lists."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

WORKFLOWS = Path(".github/workflows")
ENVIRONMENTS: Mapping[str, tuple[str, ...]] = {
    "dev": (),
    "staging": ("hotfix/*", "main", "release/*"),
    "prod": ("main",),
    "prod-plan": ("main",),
    "prod-read": ("hotfix/*", "release/*"),
    "quality": (),
    "github-pages": ("main",),
}
"""The branches that may use an environment; none: any branch may."""
REVIEWED = "prod"
"""The environment whose jobs wait for a reviewer."""
PAGES = "github-pages"
"""The environment that GitHub creates for its site."""
_CHECKED = {"development": "ci.yml", "main": "cd-staging.yml"}
"""The workflow whose checks a branch requires."""
_AFTERWARDS = ("Comment", "Mark what is deployed")
"""Jobs that only report: no merge waits for them."""
STATE = {
    "s3": ("AWS_ROLE_ARN", "AWS_REGION"),
    "azurerm": ("ARM_CLIENT_ID", "ARM_TENANT_ID"),
    "gcs": ("GOOGLE_PROVIDER",),
}
"""The variables that sign in to the store of Terraform's state, by its ``backend``."""


@dataclass
class Needs:
    """What the jobs of an environment read."""

    variables: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    switches: set[str] = field(default_factory=set)
    """Variables in the conditions of its jobs, which GitHub evaluates before a job gets the environment: they belong to
    the repository, and without them the jobs are skipped."""


def environments(folder: Path = WORKFLOWS) -> dict[str, Needs]:
    """What each environment needs that a job names."""
    found: dict[str, Needs] = defaultdict(Needs)
    for file in sorted(folder.glob("*.yml")):
        content = _read(file)
        for job in content["jobs"].values():
            condition = _named("vars", job.get("if", ""))
            for name in _environments(job, content["on"]):
                found[name].switches |= condition
                found[name].variables |= _named("vars", job) - condition
                found[name].secrets |= _named("secrets", job)
    return {name: found[name] for name in (*ENVIRONMENTS, *found) if name in found}


def checks(branch: str, folder: Path = WORKFLOWS) -> list[str]:
    """The checks that a branch requires, by the names that its workflow reports."""
    names = _reported(folder, _CHECKED[branch])
    return [name for name in names if name.rpartition(" / ")[2] not in _AFTERWARDS]


def actions(folder: Path = WORKFLOWS) -> set[str]:
    """``OWNER/NAME`` of each action that a workflow uses."""
    files = [*folder.glob("*.yml"), *folder.parent.glob("actions/*/action.yml")]
    texts = (file.read_text(encoding="utf-8") for file in files)
    return {name for text in texts for name in re.findall(r"uses: ([\w.-]+/[\w.-]+)[\w./-]*@", text)}


def _read(file: Path) -> Any:
    # With another loader the key `on` is a boolean.
    return yaml.load(file.read_text(encoding="utf-8"), yaml.CBaseLoader)  # noqa: S506 (it makes texts alone)


def _named(context: str, part: Any) -> set[str]:
    return set(re.findall(rf"\b{context}\.(\w+)", json.dumps(part)))


def _environments(job: Mapping[str, Any], events: Any) -> set[str]:
    """The environments that a job may name; what another job computes is not known."""
    name = job.get("environment", "")
    name = name["name"] if isinstance(name, dict) else name
    if "${{" not in name:
        return {name} - {""}
    matrix = job.get("strategy", {}).get("matrix", {})
    inputs = (events.get("workflow_dispatch") or {}).get("inputs", {}) if isinstance(events, dict) else {}
    found = set(re.findall(r"&& '([^']+)'", name))
    for context, key in re.findall(r"\b(matrix|inputs)\.(\w+)", name):
        values = matrix.get(key) if context == "matrix" else inputs.get(key, {}).get("options")
        found |= set(values) if isinstance(values, list) else set()
    return found


def _reported(folder: Path, file: str) -> Iterator[str]:
    for job in _read(folder / file)["jobs"].values():
        if called := job.get("uses"):
            yield from (f"{job['name']} / {name}" for name in _reported(folder, Path(called).name))
            continue
        names = [job["name"]]
        for key, values in job.get("strategy", {}).get("matrix", {}).items():
            names = [name.replace(f"${{{{ matrix.{key} }}}}", value) for name in names for value in values]
        yield from dict.fromkeys(names)
