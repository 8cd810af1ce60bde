"""The truth table of the workflows: which jobs run for which event, with which environment; and what finds a fault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.github import flow
from tests.github.conftest import NAME
from tests.github.flow import Event, Files, Parsed, Parser, Run
from tests.github.test_workflows import FILES as WORKFLOWS
from tests.github.test_workflows import NO_BOT, OWN, RULES, Workflow

FILES = flow.read_files(WORKFLOWS)
SONAR = {"SONAR_PROJECT_KEY": "project"}
# What the steps write that other conditions read, unless an event has other outputs.
OUTPUTS: dict[str, dict[str, Any]] = {
    "cd-prod/source/find": {"commit": "abc", "released": "false", "run-id": "1"},
    "pr-closed/wheel/check": {"newest": "true"},
    "pr-closed/deploy/check": {"newest": "true"},
    "drift/deployed/list": {"environments": '["staging", "prod"]'},
    "sweep/left/list": {"instances": '["pr-7", "pr-8"]'},
    "sweep/found/list": {"instances": '["pr-8"]'},
}
RELEASED = {"cd-prod/source/find": {"commit": "abc", "released": "true", "run-id": ""}}


def event(name: str, branch: str, *, outputs: dict[str, dict[str, Any]] | None = None, **more: Any) -> Event:
    return Event(name=name, branch=branch, outputs={**OUTPUTS, **(outputs or {})}, **{"variables": SONAR, **more})


def pull_request(
    action: str = "synchronize",
    *,
    into: str = "development",
    repository: str | None = NAME,
    author: str = "ada",
    draft: bool = False,
    merged: bool = False,
    changes: dict[str, Any] | None = None,
    **more: Any,
) -> Event:
    """An event of a pull request; GitHub's payload has no repository if the fork was deleted."""
    content = {
        "number": 7,
        "draft": draft,
        "merged": merged,
        "user": {"login": author},
        "head": {"sha": "abc", "repo": {"full_name": repository} if repository else None},
    }
    payload = {"action": action, "pull_request": content, "changes": changes or {}}
    return event("pull_request", into, payload=payload, **more)


def push(branch: str, **more: Any) -> Event:
    return event("push", branch, **more)


def start(workflow: str, branch: str, **more: Any) -> Event:
    return event("workflow_dispatch", branch, workflow=workflow, **more)


def schedule(cron: str, **more: Any) -> Event:
    return event("schedule", "main", payload={"schedule": cron}, **more)


FORK, BOT = "someone/project", "dependabot[bot]"
NIGHT, MORNING = "17 2 * * *", "47 3 * * *"

CI = {"ci": "ci", "checks": "wheel test more quality@quality verdict@dev comment"}
UNTRUSTED = {"ci": "ci", "checks": "wheel test more"}
RELEASE = {"cd-staging": "wheel integration candidate@dev champion@prod-read deploy@staging mark"}
HOTFIX = {"cd-staging": "wheel integration champion@prod-read deploy@staging mark"}
PROD = {
    "cd-prod": "source candidate@staging plan@prod-plan deploy@prod publish mark share",
    "share-champion": "import@dev import@staging",
}
PROD_AGAIN = {**PROD, "cd-prod": "source plan@prod-plan deploy@prod publish mark share"}
DOCS = {"docs": "build publish@github-pages"}

# The event, and for each workflow that it starts: the jobs that run, with the environment whose credentials they get.
EVENTS: dict[str, tuple[Event, dict[str, str]]] = {
    # Pull requests to development
    "a pull request": (pull_request(), CI),
    "a pull request that becomes ready for review": (pull_request("ready_for_review"), CI),
    "a draft": (pull_request(draft=True), {"ci": "ci", "checks": "wheel test more quality@quality"}),
    "a fork": (pull_request(repository=FORK), UNTRUSTED),
    "a deleted fork": (pull_request(repository=None), UNTRUSTED),
    "a bot": (pull_request(author=BOT), UNTRUSTED),
    "a merge queue": (event("merge_group", "development", payload={"action": "checks_requested"}), UNTRUSTED),
    "no Sonar": (pull_request(variables={}), {"ci": "ci", "checks": "wheel test more verdict@dev comment"}),
    "an edited title": (pull_request("edited", changes={"title": {"from": "old"}}), {"ci": ""}),
    "another base": (pull_request("edited", changes={"base": {"ref": {"from": "main"}}}), CI),
    "a pull request to main": (pull_request(into="main"), {}),
    "failed tests": (
        pull_request(fails="checks/test/Check and test"),
        {"ci": "ci", "checks": "wheel test more comment"},
    ),
    "failed training": (pull_request(fails="checks/verdict/train"), CI),
    "a newer commit": (
        pull_request(cancels="checks/verdict/train"),
        {"ci": "ci", "checks": "wheel test more quality@quality verdict@dev"},
    ),
    # Closed pull requests
    "merged": (
        pull_request("closed", merged=True),
        {"pr-closed": "wheel keep@dev deploy@dev import@dev destroy@dev"},
    ),
    "closed": (pull_request("closed"), {"pr-closed": "destroy@dev"}),
    "merged from a fork": (pull_request("closed", merged=True, repository=FORK), {"pr-closed": ""}),
    "closed from a fork": (pull_request("closed", repository=FORK), {"pr-closed": ""}),
    "closed from a deleted fork": (pull_request("closed", repository=None), {"pr-closed": ""}),
    "merged from a bot": (pull_request("closed", merged=True, author=BOT), {"pr-closed": "wheel deploy@dev"}),
    "closed from a bot": (pull_request("closed", author=BOT), {"pr-closed": ""}),
    "merged to main": (pull_request("closed", merged=True, into="main"), {}),
    "merged, then another": (
        pull_request("closed", merged=True, outputs={"pr-closed/wheel/check": {"newest": "false"}}),
        {"pr-closed": "wheel keep@dev import@dev destroy@dev"},
    ),
    "merged without a model": (
        pull_request("closed", merged=True, files=False),
        {"pr-closed": "wheel keep@dev deploy@dev destroy@dev"},
    ),
    "merged, the model can't be kept": (
        pull_request("closed", merged=True, fails="pr-closed/keep/keep"),
        {"pr-closed": "wheel keep@dev deploy@dev"},
    ),
    "merged, the deployment fails": (
        pull_request("closed", merged=True, fails="pr-closed/deploy/deploy"),
        {"pr-closed": "wheel keep@dev deploy@dev import@dev destroy@dev"},
    ),
    "merged, cancelled while keeping the model": (
        pull_request("closed", merged=True, cancels="pr-closed/keep/keep"),
        {"pr-closed": "wheel keep@dev"},
    ),
    "merged, cancelled while deploying": (
        pull_request("closed", merged=True, cancels="pr-closed/deploy/deploy"),
        {"pr-closed": "wheel keep@dev deploy@dev import@dev destroy@dev"},
    ),
    # Pushes
    "push to development": (push("development"), {"quality": "test quality@quality"}),
    "push to development, no Sonar": (push("development", variables={}), {"quality": ""}),
    "push to a feature branch": (push("feature/petals"), {}),
    "push to a release": (push("release/1.2.0"), RELEASE),
    "push to a hotfix": (push("hotfix/1.2.1"), HOTFIX),
    "push to release/a/b": (push("release/a/b"), {}),
    "push to a release, failed tests": (
        push("release/1.2.0", fails="cd-staging/integration/Run the make target"),
        {"cd-staging": "wheel integration candidate@dev"},
    ),
    "push to a release, no candidate": (
        push("release/1.2.0", fails="cd-staging/candidate/Export the run of this commit"),
        {"cd-staging": "wheel integration candidate@dev champion@prod-read"},
    ),
    "push to a release, no champion": (
        push("release/1.2.0", fails="cd-staging/champion/keep"),
        {"cd-staging": "wheel integration candidate@dev champion@prod-read"},
    ),
    "push to a release, rejected model": (push("release/1.2.0", fails="cd-staging/deploy/validate"), RELEASE),
    "push to a release, failed deployment": (
        push("release/1.2.0", fails="cd-staging/deploy/deploy"),
        {"cd-staging": RELEASE["cd-staging"].removesuffix(" mark")},
    ),
    "push to main": (push("main"), {**PROD, **DOCS}),
    "push to main, already released": (push("main", outputs=RELEASED), {**PROD_AGAIN, **DOCS}),
    "push to main, failed candidate": (
        push("main", fails="cd-prod/candidate/Export the validated run"),
        {"cd-prod": "source candidate@staging plan@prod-plan", **DOCS},
    ),
    "push to main, failed plan": (
        push("main", fails="cd-prod/plan/Plan"),
        {"cd-prod": "source candidate@staging plan@prod-plan", **DOCS},
    ),
    "push to main, failed promotion": (
        push("main", fails="cd-prod/deploy/Promote the challenger"),
        {"cd-prod": "source candidate@staging plan@prod-plan deploy@prod mark", **DOCS},
    ),
    "push to main, cancelled deployment": (
        push("main", cancels="cd-prod/deploy/deploy"),
        {"cd-prod": "source candidate@staging plan@prod-plan deploy@prod", **DOCS},
    ),
    # Started by hand
    "CD staging on a release": (start("cd-staging", "release/1.2.0"), RELEASE),
    "CD staging on main": (start("cd-staging", "main"), {"cd-staging": ""}),
    "CD prod on main": (start("cd-prod", "main", outputs=RELEASED), PROD_AGAIN),
    "CD prod on a release": (start("cd-prod", "release/1.2.0"), {"cd-prod": ""}),
    "rollback of prod": (
        start("rollback", "main", inputs={"environment": "prod"}),
        {"rollback": "rollback@prod share", "share-champion": "import@dev import@staging"},
    ),
    "rollback of staging": (
        start("rollback", "main", inputs={"environment": "staging"}),
        {"rollback": "rollback@staging"},
    ),
    "rollback of dev": (start("rollback", "main", inputs={"environment": "dev"}), {}),
    "rollback without an environment": (start("rollback", "main"), {}),
    "rollback on another branch": (start("rollback", "feature", inputs={"environment": "prod"}), {"rollback": ""}),
    "a failed rollback": (
        start("rollback", "main", inputs={"environment": "prod"}, fails="rollback/rollback/Roll back"),
        {"rollback": "rollback@prod"},
    ),
    # At night
    "drift": (schedule(NIGHT), {"drift": "deployed plan@staging plan@prod-plan issue"}),
    "drift, failed plan": (
        schedule(NIGHT, fails="drift/plan/Upload the plan"),
        {"drift": "deployed plan@staging plan@prod-plan issue"},
    ),
    "drift, nothing deployed": (
        schedule(NIGHT, outputs={"drift/deployed/list": {"environments": "[]"}}),
        {"drift": "deployed"},
    ),
    "sweep": (schedule(MORNING), {"sweep": "left found@dev destroy@dev"}),
    "sweep, nothing closed": (schedule(MORNING, outputs={"sweep/left/list": {"instances": "[]"}}), {"sweep": "left"}),
    "sweep, nothing left": (
        schedule(MORNING, outputs={"sweep/found/list": {"instances": "[]"}}),
        {"sweep": "left found@dev"},
    ),
}


@pytest.fixture(scope="module")
def github() -> Iterator[Parser]:
    with flow.parser() as started:
        yield started


@pytest.fixture(scope="module")
def parsed(github: Parser) -> Parsed:
    return github.parse(FILES)


def test_the_parser_of_github_reports_nothing(parsed: Parsed) -> None:
    assert parsed.errors == []
    assert [f"{name}.yml" for name in parsed.workflows] == WORKFLOWS


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_runs_these_jobs(github: Parser, parsed: Parsed, name: str) -> None:
    happens, expected = EVENTS[name]
    run = Run(github, parsed.workflows, happens)
    assert run.jobs == expected


# Of a job, the steps with an ``if`` that run.
STEPS: dict[str, tuple[Event, str, list[str]]] = {
    "a release": (
        push("release/1.2.0"),
        "cd-staging/deploy",
        [
            "Download the champion",
            "Import the champion of prod",
            "Download the candidate",
            "Import the run of the CI",
            "Write the scorecard",
            "Add the scorecard to the job summary",
            "Upload the scorecard",
        ],
    ),
    "the first hotfix, without a champion": (
        push("hotfix/1.2.1", files=False),
        "cd-staging/deploy",
        [
            "Train the hotfix",
            "Promote the first model",
            "Write the scorecard",
            "Add the scorecard to the job summary",
            "Upload the scorecard",
        ],
    ),
    "a failed deployment": (
        push("release/1.2.0", fails="cd-staging/deploy/deploy"),
        "cd-staging/deploy",
        ["Remove the lock if the step left one"],
    ),
    "a cancelled deployment": (
        push("main", cancels="cd-prod/deploy/deploy"),
        "cd-prod/deploy",
        ["Download the candidate", "Remove the lock if the step left one"],
    ),
    "a first release": (
        push("main"),
        "cd-prod/deploy",
        ["Download the candidate", "Import the model", "Promote the challenger"],
    ),
    "a release again": (push("main", outputs=RELEASED), "cd-prod/deploy", []),
    "the wheel of the run": (push("main"), "cd-prod/source", ["Download the wheel"]),
    "the wheel of the release": (
        push("main", outputs=RELEASED),
        "cd-prod/source",
        ["Download the wheel of the release"],
    ),
    "a rejected model": (
        pull_request(fails="checks/verdict/train"),
        "checks/verdict",
        [
            "Import the champion into the instance",
            "Write the scorecard",
            "Add the scorecard to the job summary",
            "Upload the scorecard",
        ],
    ),
    "an instance that can't be deployed": (
        pull_request(fails="checks/verdict/deploy"),
        "checks/verdict",
        ["Remove the lock if the step left one"],
    ),
    "a merge that waited too long": (
        pull_request("closed", merged=True, outputs={"pr-closed/deploy/check": {"newest": "false"}}),
        "pr-closed/deploy",
        [],
    ),
    "a rollback of staging": (
        start("rollback", "main", inputs={"environment": "staging"}),
        "rollback/rollback",
        [],
    ),
    "a rollback of prod": (
        start("rollback", "main", inputs={"environment": "prod"}),
        "rollback/rollback",
        ["Export the champion for the other environments", "Upload the champion"],
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_job_runs_these_steps(github: Parser, parsed: Parsed, name: str) -> None:
    happens, job, expected = STEPS[name]
    assert Run(github, parsed.workflows, happens).steps[job] == expected


CLOSED = {"pr-closed": "closed-7", "pr-closed/destroy": "pr-7"}
# The groups in which an event waits: what changes one deployment is in one group, and each pull request has its own.
GROUPS: dict[str, tuple[Event, dict[str, str]]] = {
    "a pull request": (pull_request(), {"ci/ci": "ci-7!", "checks/verdict": "pr-7"}),
    "a merge queue": (
        event("merge_group", "development", payload={"action": "checks_requested"}),
        {"ci/ci": "ci-refs/heads/gh-readonly-queue/development/pr-7-abc!"},
    ),
    "merged": (
        pull_request("closed", merged=True),
        {**CLOSED, "pr-closed/keep": "pr-7", "pr-closed/deploy": "deploy-dev"},
    ),
    "closed": (pull_request("closed"), CLOSED),
    "sweep": (schedule(MORNING), {"sweep": "sweep", "sweep/destroy": "pr-8"}),
    "a release": (
        push("release/1.2.0"),
        {"cd-staging": "cd-staging-refs/heads/release/1.2.0", "cd-staging/deploy": "deploy-staging"},
    ),
    "main": (push("main"), {"cd-prod": "cd-prod", "share-champion": "share-champion", "docs": "docs"}),
    "a rollback": (
        start("rollback", "main", inputs={"environment": "prod"}),
        {"rollback": "rollback-prod", "share-champion": "share-champion"},
    ),
    "drift": (schedule(NIGHT), {"drift": "drift"}),
    "development": (push("development"), {"quality": "quality-refs/heads/development"}),
}


@pytest.mark.parametrize("name", GROUPS)
def test_an_event_waits_in_these_groups(github: Parser, parsed: Parsed, name: str) -> None:
    happens, expected = GROUPS[name]
    assert Run(github, parsed.workflows, happens).groups == expected


def texts(parsed: Parsed) -> list[str]:
    """Conditions that are a text with an expression in it, which are true whatever the expression is."""
    jobs = [job for workflow in parsed.workflows.values() for job in workflow["jobs"].values()]
    conditions = [each["if"] for job in jobs for each in (job, *job["steps"])]
    return [condition for condition in conditions if condition.removeprefix("success() && (").startswith("format(")]


def differs(github: Parser, parsed: Parsed) -> bool:
    """Whether an event runs other jobs or steps than the tables have, waits elsewhere, or has a faulty expression."""

    def run(happens: Event) -> Run:
        return Run(github, parsed.workflows, happens)

    try:
        return (
            any(run(happens).jobs != jobs for happens, jobs in EVENTS.values())
            or any(run(happens).steps.get(job) != steps for happens, job, steps in STEPS.values())
            or any(run(happens).groups != groups for happens, groups in GROUPS.values())
        )
    except ValueError:
        return True


def lints(files: Files, folder: Path) -> bool:
    """Whether actionlint reports a fault."""
    (folder / ".git").mkdir()
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    workflows = [path for path in files if "/workflows/" in path]
    command = [str(Path(sys.executable).with_name("actionlint")), "-shellcheck=", "-pyflakes=", *workflows]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 1


def breaks(workflows: Sequence[Workflow]) -> bool:
    """Whether a rule of test_workflows.py finds a fault, or can't read a file."""
    try:
        return any(list(rule(workflow)) for rule in RULES for workflow in workflows)
    except yaml.YAMLError:
        return True


def finders(github: Parser, files: Files, folder: Path) -> str:
    """Everything that finds a fault in the files."""
    parsed = github.parse(files)
    workflows = [Workflow(text) for path, text in files.items() if "/workflows/" in path]
    finds = {
        "parser": bool(parsed.errors),
        "tables": not parsed.errors and differs(github, parsed),
        "texts": bool(texts(parsed)),
        "actionlint": lints(files, folder),
        "rules": breaks(workflows),
    }
    return " ".join(finder for finder, found in finds.items() if found)


# A fault, the changes of files that plant it, and everything that finds it. Only actionlint compares the inputs of a
# workflow with their types, and looks into actions; a text for a boolean is found by nothing.
FAULTS: dict[str, tuple[list[tuple[str, str, str]], str]] = {
    "an unknown key": ([("drift", "timeout-minutes: 30", "timeout-minute: 30")], "parser actionlint rules"),
    "an unknown event": ([("ci", "pull_request:", "pull_requests:")], "parser actionlint"),
    "an impossible time": ([("drift", "17 2 * * *", "17 25 * * *")], "parser actionlint"),
    "an unknown need": ([("pr-closed", "needs: wheel", "needs: wheels")], "parser actionlint"),
    "a cycle": (
        [("pr-closed", "    name: Keep the model", "    name: Keep the model\n    needs: import")],
        "parser actionlint",
    ),
    "a workflow that is missing": ([("ci", "workflows/checks.yml", "workflows/check.yml")], "parser actionlint rules"),
    "an unknown input of a workflow": (
        [("cd-prod", "share-champion.yml", "share-champion.yml\n    with:\n      environment: dev")],
        "parser actionlint",
    ),
    "a missing input of a workflow": (
        [
            (
                "share-champion",
                "workflow_call:",
                "workflow_call:\n    inputs:\n      from:\n        type: string\n        required: true",
            )
        ],
        "parser actionlint",
    ),
    "a text for a number": (
        [
            (
                "share-champion",
                "workflow_call:",
                "workflow_call:\n    inputs:\n      days:\n        type: number\n        required: false",
            ),
            ("cd-prod", "share-champion.yml", "share-champion.yml\n    with:\n      days: many"),
        ],
        "actionlint",
    ),
    "a missing secret of a workflow": (
        [
            (
                "share-champion",
                "workflow_call:",
                "workflow_call:\n    secrets:\n      token:\n        required: true",
            )
        ],
        "parser actionlint",
    ),
    "an unknown input of an action": ([("checks", 'cache: "true"', 'caches: "true"')], "actionlint"),
    "an unknown context": ([("checks", "&& vars.SONAR", "&& var.SONAR")], "parser actionlint"),
    "a context that is not available": (
        [("pr-closed", "if: always() && needs", "if: always() && env.A == '' && needs")],
        "parser actionlint",
    ),
    "an unknown function": ([("cd-staging", "if: startsWith(", "if: startWith(")], "parser actionlint"),
    "an unclosed expression": (
        [("cd-prod", "steps.find.outputs.commit }}", "steps.find.outputs.commit }")],
        "parser actionlint",
    ),
    "an unquoted exclamation mark": (
        [("drift", "if: ${{ !cancelled() && needs.deployed", "if: !cancelled() && ${{ needs.deployed")],
        "tables actionlint rules",
    ),
    "an unknown output": ([("pr-closed", "needs.keep.outputs.found", "needs.keep.outputs.kept")], "tables actionlint"),
    "an unknown step": (
        [("cd-prod", "if: steps.find.outputs.run-id != ''", "if: steps.fond.outputs.run-id != ''")],
        "tables actionlint",
    ),
    "text around an expression": (
        [("cd-prod", "if: github.ref == 'refs/heads/main'", "if: ${{ github.ref }} == 'refs/heads/main'")],
        "tables texts actionlint",
    ),
    "another branch": (
        [("cd-prod", "github.ref == 'refs/heads/main'", "github.ref == 'refs/heads/development'")],
        "tables",
    ),
    "any branch": ([("cd-staging", 'branches: ["release/*", "hotfix/*"]', 'branches: ["**"]')], "tables"),
    "another environment": (
        [
            (
                "rollback",
                "    if: inputs.environment == 'prod'\n    needs",
                "    if: inputs.environment == 'staging'\n    needs",
            )
        ],
        "tables",
    ),
    "another option": ([("rollback", "options: [prod, staging]", "options: [production, staging]")], "tables"),
    "credentials for forks": (
        [("checks", f"{OWN} && {NO_BOT}\n      && !github", f"{NO_BOT}\n      && !github")],
        "tables rules",
    ),
    "credentials for bots": ([("pr-closed", "== 'true'", f"== 'true' || {OWN}")], "tables rules"),
    "an instance that is left": (
        [("pr-closed", "if: always() && needs.keep.result", "if: needs.keep.result")],
        "tables",
    ),
    "a rejected model in production": (
        [("cd-prod", "needs.deploy.result == 'success'", "needs.deploy.outputs.deployed == 'true'")],
        "tables",
    ),
    "pull requests that wait for each other": (
        [("checks", "group: pr-${{ github.event.pull_request.number }}", "group: pr")],
        "tables",
    ),
    "a job that waits for itself": ([("pr-closed", "group: closed-", "group: pr-")], "tables"),
    "a deployment that the next one cancels": (
        [("cd-prod", "cancel-in-progress: false", "cancel-in-progress: true")],
        "tables rules",
    ),
    "a deployment without the champion": (
        [("cd-staging", " && needs.champion.result == 'success'", "")],
        "tables",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(github: Parser, tmp_path: Path, name: str) -> None:
    changes, expected = FAULTS[name]
    files = dict(FILES)
    for stem, old, new in changes:
        path = f".github/workflows/{stem}.yml"
        assert old in files[path]
        files[path] = files[path].replace(old, new, 1)
    assert finders(github, files, tmp_path) == expected


def test_nothing_is_found_without_a_fault(github: Parser, tmp_path: Path) -> None:
    assert finders(github, FILES, tmp_path) == ""
