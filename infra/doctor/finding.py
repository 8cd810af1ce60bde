"""The result of one check, and the command that closes a gap."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra.github import api
from ml_pipeline.errors import PipelineError

State = Literal["ok", "gap", "not checked"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check."""

    subject: str
    """What was checked."""
    state: State
    text: str
    """What it has, what it lacks, or why it was not checked."""
    remedy: str = ""
    """Shell commands that close the gap; a step that has no command is a comment. ``${NAME:?TEXT}`` is a value that a
    person supplies."""


def judged(subject: str, problems: Iterable[str], *, ok: str, remedy: str) -> Finding:
    """A gap if there are problems."""
    text = "; ".join(problems)
    return Finding(subject=subject, state="gap" if text else "ok", text=text or ok, remedy=remedy if text else "")


def visible(repository: api.Repository, path: str) -> Any:
    """What is under a path that every repository has.

    Raises:
        RejectedError: the token may not see it.
    """
    found = repository.get(path)
    if found is None:
        # docs.github.com, "Troubleshooting the REST API": 404 instead of 403 hides what a token may not see.
        raise api.RejectedError(f"GET {path}: 404: Not Found", 404)
    return found


def attempted(subject: str, needed: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of a check, or why it can't be made.

    Args:
        subject: What it checks.
        needed: What the token needs for it.
        check: The check.
    """
    try:
        return list(check())
    except api.RejectedError as error:
        unseen = f"not visible to this token, which needs {needed} ({error})"
        return [
            Finding(subject=subject, state="not checked", text=unseen if error.status in (403, 404) else str(error))
        ]
    except PipelineError as error:
        return [Finding(subject=subject, state="not checked", text=str(error))]


def gh_api(method: str, path: str, body: Mapping[str, Any] | None = None, *, quoted: bool = True) -> str:
    """A call of GitHub's command line.

    Args:
        method: Method of the request.
        path: Path in the API.
        body: What is sent as JSON.
        quoted: Whether the shell leaves the body as it is.
    """
    call = f"gh api --method {method} {path}"
    if body is None:
        return call
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in body.items())
    end = "'JSON'" if quoted else "JSON"
    return f"{call} --input - <<{end}\n{{\n{lines}\n}}\nJSON"


def page(repository: api.Repository, path: str) -> str:
    """The step that opens a page of the repository."""
    return f"# open {os.environ.get('GITHUB_SERVER_URL') or 'https://github.com'}/{repository.name}/{path}"
