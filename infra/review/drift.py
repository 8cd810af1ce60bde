"""Keeps one issue about an environment's drift.

The folder is what ``make drift ENV=NAME OUT=FOLDER`` wrote. The issue is opened or changed where what is deployed is
not what is declared, and closed where it is again.
"""

from __future__ import annotations

from pathlib import Path

from infra.github import api
from infra.review.plan import Changes
from ml_pipeline.errors import InputError

LABEL = "drift"


def report(repository: api.Repository, *, environment: str, plan: Path) -> str:
    """Open, change or close the environment's issue; what was done, in words.

    Raises:
        InputError: the folder holds no plan.
    """
    changes, summary = _read(plan)
    marker = f"<!-- ml-pipeline:drift:{environment} -->"
    # Found by its marker: whoever took its label away gets no second one while the first is open.
    issue = repository.own("issues", marker, state="open")
    run = api.run_address()
    if changes.items:
        head = f"{marker}\nWhat is deployed in `{environment}` is not what is declared at the commit deployed there."
        body = api.fitting(f"{head}\n\n{summary}" + (f"\n[The run that found it]({run})\n" if run else ""))
        if issue is None:
            title = f"Drift in {environment}"
            made = repository.send("POST", "issues", title=title, body=body, labels=[LABEL])
            return f"{environment}: drift: {made['html_url']} was opened"
        repository.send("PATCH", f"issues/{issue['number']}", body=body)
        return f"{environment}: drift: {issue['html_url']} was brought up to date"
    if issue is None:
        return f"{environment}: no drift"
    said = f"`{environment}` is what is declared again" + (f" ([run]({run}))." if run else ".")
    repository.send("POST", f"issues/{issue['number']}/comments", body=said)
    repository.send("PATCH", f"issues/{issue['number']}", state="closed")
    return f"{environment}: no drift any more: {issue['html_url']} was closed"


def _read(plan: Path) -> tuple[Changes, str]:
    file = plan / "changes.json"
    try:
        changes = Changes.read(file.read_text(encoding="utf-8"))
        return changes, (plan / "plan.md").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: is missing; accepted: the folder that 'make drift' wrote") from None
    except ValueError as error:
        raise InputError(f"{file}: {error}; accepted: what 'make drift' wrote") from None
