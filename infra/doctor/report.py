"""Checks the repository and the workspaces, prints the findings, and writes the commands that close the gaps."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from infra.doctor import environments, flow, rules, settings, workspace
from infra.doctor.finding import Finding
from infra.environment import environment
from infra.environment.environment import Environment
from infra.github import api
from ml_pipeline.cli.console import console
from ml_pipeline.errors import CheckFailedError, InputError, printable

_FILES = Path("environments")
_COLOURS = {"ok": "green", "gap": "red", "not checked": "yellow"}
_VALUE = re.compile(r"\$\{(\w+):\?([^}]*)\}")
"""A value that a person supplies."""
_HEAD = """\
#!/usr/bin/env bash
# Closes the gaps that 'make doctor' found. Review it before you run it; a comment without a command is a step for you.
set -euo pipefail
"""


def run(*, name: str = "", only: str = "", output: Path | None = None) -> str:
    """Check the repository and the workspaces; what was checked, in words.

    Args:
        name: ``OWNER/NAME`` of the repository; default: ``GITHUB_REPOSITORY``, or the remote ``origin``.
        only: Name of the one environment whose workspace is checked, and not the repository.
        output: File for the commands that close the gaps.

    Raises:
        InputError: an environment's file is not what is accepted, or there is no such environment.
        CheckFailedError: there are gaps.
    """
    files = {file.stem: file for file in environment.deployed(_FILES)}
    if only and only not in files:
        raise InputError(f"{only}: there is no such environment; accepted: {', '.join(files)}")
    needed = {} if only else flow.environments()
    deployed = {one: environment.load(file) for one, file in files.items() if one in (only, *needed)}
    workspaces = (finding for one, content in deployed.items() for finding in workspace.findings(files[one], content))
    found: list[Finding] = []
    shown = console()
    for finding in itertools.chain([] if only else _of_repository(name, needed, deployed), workspaces):
        state = f"[{_COLOURS[finding.state]}]{finding.state:<11}[/]"
        shown.print(f"{state} {finding.subject:<28} {escape(printable(finding.text))}", soft_wrap=True)
        found.append(finding)
    counts = ", ".join(f"{sum(one.state == state for one in found)} {state}" for state in _COLOURS)
    gaps = [one for one in found if one.state == "gap"]
    if not gaps:
        return counts
    if output:
        output.write_text(_script(gaps), encoding="utf-8")
    else:
        for gap in gaps:
            shown.print(f"\n[bold]{escape(gap.subject)}[/]\n{escape(gap.remedy)}", soft_wrap=True)
    step = f"review and run {output}" if output else "review and run the commands above"
    raise CheckFailedError(f"not ready for the git flow ({counts}); {step}, then check again")


def _of_repository(
    name: str, needed: Mapping[str, flow.Needs], deployed: Mapping[str, Environment]
) -> Iterator[Finding]:
    try:
        repository = _repository(name)
    except InputError as error:
        yield Finding(subject="repository", state="not checked", text=str(error))
        return
    basics = settings.basics(repository)
    yield from basics
    if basics[0].state != "not checked":
        yield from settings.findings(repository)
        yield from settings.site(repository) if flow.PAGES in needed else []
        yield from environments.findings(repository, needed, deployed)
        yield from rules.findings(repository)


def _repository(name: str) -> api.Repository:
    """The repository, with the token of a person.

    Raises:
        InputError: the repository or a token is not known.
    """
    # The same order as that of GitHub's command line (cli.github.com/manual, "gh help environment").
    token = os.environ.get("GH_TOKEN") or os.environ.get("GITHUB_TOKEN")
    if not token:
        raise InputError('GH_TOKEN: not set; set it with: export GH_TOKEN="$(gh auth token)"')
    name = name or os.environ.get("GITHUB_REPOSITORY") or _origin()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(
            f"repository '{name}': expected OWNER/NAME in GITHUB_REPOSITORY, or a remote 'origin' on GitHub"
        )
    return api.Repository(name=name, token=token, api=os.environ.get("GITHUB_API_URL") or "https://api.github.com")


def _origin() -> str:
    """``OWNER/NAME`` in the address of the remote; empty if there is none."""
    call = ["git", "remote", "get-url", "origin"]
    address = subprocess.run(call, capture_output=True, text=True, check=False).stdout.strip()
    match = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", address)
    return match[1] if match else ""


def _script(gaps: Sequence[Finding]) -> str:
    """The commands that close gaps, as a shell script; the values that a person supplies come first."""
    values = dict(value for gap in gaps for value in _VALUE.findall(gap.remedy))
    asked = [f': "${{{name}:?{text}}}"' for name, text in values.items()]
    steps = [f"# {gap.subject}: {printable(gap.text)}\n{gap.remedy}\n" for gap in gaps]
    return "\n".join([_HEAD, *asked, "", *steps])
