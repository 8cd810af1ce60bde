"""Plans a deployment for review, and applies what was reviewed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from infra import terraform
from infra.environment import environment
from infra.review import cost, lock, plan_summary, recovery
from infra.review.plan import Changes
from infra.synthesis import synthesize
from ml_pipeline.errors import CheckFailedError, InputError

_FILES = Path("environments")


def write_plan(stack: str, output: Path | None) -> Changes:
    """Write what a deployment would change, and its fingerprint: ``plan.md`` and ``changes.json``.

    They lie in ``plans/STACK`` of cdktf's folder if no other one is given.
    """
    changes = _planned(_prepared(stack, mend=False), _READING)
    print(_written(stack, changes, output or terraform.out() / "plans" / stack))
    return changes


def apply_plan(stack: str, reviewed: Path) -> int:
    """Apply the plan that was reviewed; returns Terraform's exit code.

    It makes its own plan, and applies that one only if it equals the reviewed one.

    Raises:
        CheckFailedError: the plan is not the one that was reviewed.
        InputError: there is no such stack or review, or its state would be lost.
    """
    _check_state(stack)
    try:
        expected = Changes.read(reviewed.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"--reviewed {reviewed}: {problem}; accepted: the changes.json that 'plan' wrote") from None
    lock.begin(stack)
    # What an interrupted deployment left half made would be replaced, which nobody reviewed.
    folder = _prepared(stack, mend=True)
    planned = _planned(folder, _WAITING)
    if not planned.items:
        print(f"{stack}: nothing is left to change")
        return 0
    differences = planned.differences(expected)
    if differences:
        raise CheckFailedError(
            f"the plan of {stack} is not the one that was reviewed ({reviewed}); nothing was applied; accepted: a plan "
            "that is made and reviewed anew:\n" + "\n".join(f"  {line}" for line in differences)
        )
    # Terraform rejects a plan whose state was written since: what is applied is what was compared.
    return terraform.call(folder, "apply", *_OPTIONS, _WAITING, _PLAN).returncode


def _check_state(stack: str) -> None:
    """A workflow's machine ends with its job, and what is not kept elsewhere with it."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for each in environment.load_all(_FILES, instance=os.environ.get("INSTANCE", "")):
        host = each.workspace.host or os.environ.get("DATABRICKS_HOST", "")
        # The rehearsal workspace ends with the machine, too.
        local = each.state.backend == "local" and not host.startswith("http://")
        if each.full_name == stack and local:
            raise InputError(
                f"{_FILES / each.name}.toml: state.backend: 'local' is lost with the workflow's machine; "
                "accepted in a workflow: 's3', 'azurerm' or 'gcs'"
            )


_PLAN = "reviewed.tfplan"
_OPTIONS = ("-input=false", "-no-color")
_READING, _WAITING = "-lock=false", "-lock-timeout=10m"
"""Who only looks at a state needs no right to write a lock beside it, and keeps nobody from deploying."""


def _prepared(stack: str, *, mend: bool) -> Path:
    """The stack's folder, where Terraform can plan; what an interrupted deployment left is imported by the plan."""
    synthesize()
    found = recovery.opened(stack, mend=mend)
    transfer = recovery.Transfer.of(found)
    if transfer:
        synthesize({stack: transfer})
    return found.folder


def _planned(folder: Path, locking: str) -> Changes:
    """Plan in the stack's folder; the plan, which may hold secrets, stays there."""
    try:
        terraform.run(folder, "plan", *_OPTIONS, locking, f"-out={_PLAN}")
    except InputError as error:
        print(error, file=sys.stderr)
        raise CheckFailedError("Terraform could not plan: see above") from None
    return Changes.of(json.loads(terraform.run(folder, "show", "-json", _PLAN)))


def _written(stack: str, changes: Changes, folder: Path) -> str:
    declared = environment.load_all(_FILES, instance=os.environ.get("INSTANCE", ""))
    estimate = next((cost.estimate(each).markdown() for each in declared if each.full_name == stack), "")
    summary = plan_summary.render(stack, changes, cost=estimate)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.md").write_text(summary, encoding="utf-8")
    (folder / "changes.json").write_text(changes.written(), encoding="utf-8")
    return summary
