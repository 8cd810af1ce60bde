"""`infra doctor` against a repository on GitHub: each gap is named, and the commands that it prints close them."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from infra import commands
from infra.doctor import flow, report, workspace
from infra.doctor.finding import Finding
from infra.environment import environment
from infra.github import api
from tests.github.conftest import NAME, ROOT, TOKEN, GitHub, serve
from tests.github.settings import DESCRIPTION, Settings
from tests.github.test_workflows import FILES, SETUP, row, signs_in, spans

CLIENT, READER = "12345678-90ab-cdef-1234-567890abcdef", "87654321-90ab-cdef-1234-567890abcdef"
ROLE = "arn:aws:iam::123456789012:role"
SUPPLIED = {
    "REVIEWER": "ann",
    "DEV_DATABRICKS_CLIENT_ID": CLIENT,
    "PROD_READ_DATABRICKS_CLIENT_ID": READER,
    **{f"{name}_AWS_ROLE_ARN": f"{ROLE}/{name}" for name in ("DEV", "STAGING", "PROD", "PROD_PLAN")},
}
"""The values that a person supplies."""

Break = Callable[[Settings], object]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project, as the current folder, whose environments have service principals and a store of the state."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / ".github", folder / ".github")
    shutil.copytree(ROOT / "tests" / "environments", folder / "environments")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for file in (folder / "environments").iterdir():
        text = file.read_text(encoding="utf-8").replace("00000000-0000-0000-0000-000000000000", CLIENT)
        if file.stem == "dev":
            text = text.replace('backend = "local"', 'backend = "s3"\nbucket = "state"\nregion = "eu-central-1"')
        file.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # The workspaces have tests of their own.
        patch.setattr(workspace, "findings", lambda *_: iter(()))
        yield folder


def check(github: GitHub, *arguments: str, token: str = TOKEN) -> int:
    """Run the command; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_API_URL", github.address)
        patch.setenv("GH_TOKEN", token)
        return commands.main(["doctor", "--repository", NAME, *arguments])


def run(script: Path, github: GitHub, **values: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a command line of GitHub's that knows the calls of the doctor."""
    gh = script.with_name("gh")
    gh.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{Path(__file__).with_name("gh.py")}" "$@"\n')
    gh.chmod(0o755)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    shell = {"PATH": path, "GH_TOKEN": TOKEN, "GITHUB_API_URL": github.address, **values}
    return subprocess.run(["bash", script], env=shell, input="", capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def right(project: Path) -> Settings:
    """A repository that the doctor's own commands have set up."""
    with serve() as github:
        github.settings = Settings(NAME)
        assert check(github, "--output", str(project / "setup.sh")) == 1
        done = run(project / "setup.sh", github, **SUPPLIED)
        assert done.returncode == 0, done.stderr
        assert len(github.settings.changes) > 30
        return github.settings


@pytest.fixture
def settings(right: Settings, github: GitHub) -> Settings:
    """The repository of a test."""
    github.settings = copy.deepcopy(right)
    return github.settings


@pytest.fixture(scope="module")
def findings(project: Path) -> Callable[[GitHub], list[Finding]]:
    """The findings about a repository. The project is read once."""
    needed = flow.environments()
    files = (project / "environments" / f"{name}.toml" for name in ("dev", "staging", "prod"))
    deployed = {file.stem: environment.load(file) for file in files}

    def find(github: GitHub) -> list[Finding]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GITHUB_API_URL", github.address)
            patch.setenv("GH_TOKEN", TOKEN)
            return list(report._of_repository(NAME, needed, deployed))

    return find


@pytest.mark.usefixtures("settings")
def test_the_printed_commands_set_up_a_repository(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(github) == 0
    out = capsys.readouterr().out
    assert "gap " not in out
    assert out.splitlines()[-1] == "20 ok, 0 gap, 1 not checked"
    assert "its jobs are skipped, because the repository has no variable SONAR_PROJECT_KEY" in out


def protect(name: str, policy: dict[str, bool] | None) -> Break:
    """Make an environment again, with other rules about branches and without reviewers."""
    return lambda settings: settings._make(name, policy)


def allow(name: str, *branches: str, kind: str = "branch") -> Break:
    """Give an environment these policies instead of one of its own, if there are any."""

    def change(settings: Settings) -> None:
        settings.policies[name] = settings.policies[name][: -1 if not branches else None]
        for branch in branches:
            settings._policy(name, branch, kind)

    return change


def value(name: str, variable: str, content: str | None) -> Break:
    def change(settings: Settings) -> None:
        values = settings.values[f"environments/{name}/variables"]
        values.pop(variable)
        values |= {variable: content} if content else {}

    return change


def rules(name: str, **changes: Any) -> Break:
    """Change a ruleset; a rule of it whose value is none goes, and a table is merged into its parameters."""

    def change(settings: Settings) -> None:
        (ruleset,) = [one for one in settings.rulesets if one["name"] == f"Git flow: {name}"]
        ruleset |= {key: kept for key, kept in changes.items() if key in ruleset}
        ruleset["rules"] = [one for one in ruleset["rules"] if changes.get(one["type"], one) is not None]
        for rule in ruleset["rules"]:
            rule.get("parameters", {}).update(changes.get(rule["type"], {}))

    return change


def add(
    kind: str, pattern: str = "refs/heads/main", target: str = "branch", parameters: dict[str, Any] | None = None
) -> Break:
    """Add a ruleset of somebody's."""
    conditions = {"ref_name": {"include": [pattern], "exclude": []}}
    rule = {"type": kind} | ({"parameters": parameters} if parameters else {})
    return lambda settings: settings.add(
        name="theirs", target=target, enforcement="active", conditions=conditions, rules=[rule]
    )


def gate(*values: str) -> Break:
    """Switch the quality gate on."""

    def change(settings: Settings) -> None:
        settings.values["actions/variables"] = {"SONAR_PROJECT_KEY": "team_project"}
        settings._make("quality", None)
        settings.values["environments/quality/variables"] = dict.fromkeys(values, "team")

    return change


REVIEW = {
    "required_approving_review_count": 1,
    "dismiss_stale_reviews_on_push": False,
    "require_code_owner_review": False,
    "require_last_push_approval": False,
    "required_review_thread_resolution": False,
}
QUEUE = {
    "check_response_timeout_minutes": 60,
    "grouping_strategy": "ALLGREEN",
    "max_entries_to_build": 5,
    "max_entries_to_merge": 5,
    "merge_method": "MERGE",
    "min_entries_to_merge": 1,
    "min_entries_to_merge_wait_minutes": 5,
}
PROTECTED = {"protected_branches": True, "custom_branch_policies": False}
CUSTOM = {"protected_branches": False, "custom_branch_policies": True}

CLOSED_BY_COMMANDS: dict[str, Break] = {
    "has no branch development": lambda settings: settings.branches.pop("development"),
    "the default branch is trunk; expected: main": lambda settings: settings.repository.update(default_branch="trunk"),
    "merge commits are not allowed": lambda settings: settings.repository.update(allow_merge_commit=False),
    "Actions: are disabled": lambda settings: settings.permissions.update(enabled=False),
    "has the default permission 'write'; expected: read": lambda settings: settings.token.update(
        default_workflow_permissions="write"
    ),
    "approval_policy is first_time_contributors": lambda settings: settings.forks.update(
        approval_policy="first_time_contributors"
    ),
    "is not built by a workflow": lambda settings: settings.__dict__.update(site={"build_type": "legacy"}),
    "environment staging: is missing": lambda settings: settings.environments.pop("staging"),
    "environment dev: some branches may not use it": protect("dev", CUSTOM),
    "environment prod: feature may use it": allow("prod", "feature"),
    "environment prod: has no required reviewers": protect("prod", CUSTOM),
    "environment prod-plan: every protected branch may use it": protect("prod-plan", PROTECTED),
    "environment prod-read: release/* may not use it": allow("prod-read"),
    "environment github-pages: any branch may use it": protect("github-pages", None),
    "variables of prod: DATABRICKS_CLIENT_ID is missing": value("prod", "DATABRICKS_CLIENT_ID", None),
    "variables of prod-read: DATABRICKS_CLIENT_ID is missing": value("prod-read", "DATABRICKS_CLIENT_ID", None),
    f"DATABRICKS_CLIENT_ID is {READER}; expected client_id": value("prod-plan", "DATABRICKS_CLIENT_ID", READER),
    "variables of quality: secret SONAR_TOKEN is missing": gate("SONAR_ORGANIZATION"),
    "branch development: no ruleset requires": lambda settings: settings.rulesets.clear(),
}
"""A gap by a part of its line, and what causes it."""

OTHERS: dict[str, Break] = {
    "Actions: of others are not allowed": lambda settings: settings.permissions.update(allowed_actions="local_only"),
    "Actions: not allowed: SonarSource/sonarqube-scan-action, aws-actions/": lambda settings: (
        settings.permissions.update(allowed_actions="selected"),
        settings.selected.update(github_owned_allowed=True, verified_allowed=False, patterns_allowed=["hashicorp/*"]),
    ),
    "require_approval_for_fork_pr_workflows is False": lambda settings: settings.repository.update(private=True),
    "site: is missing": lambda settings: settings.repository.update(has_pages=False),
    "environment prod: tag v* may use it": allow("prod", "v*", kind="tag"),
    "environment prod-plan: any branch may use it; expected: main": protect("prod-plan", None),
    "environment staging: waits for a reviewer": lambda settings: settings.environments["staging"].update(
        protection_rules=settings.environments["prod"]["protection_rules"]
    ),
    "variables of staging: AWS_ROLE_ARN is missing": value("staging", "AWS_ROLE_ARN", None),
    "DATABRICKS_CLIENT_ID is that of prod; expected another": value("prod-read", "DATABRICKS_CLIENT_ID", CLIENT),
    "AWS_ROLE_ARN is that of prod; expected another one": value("prod-plan", "AWS_ROLE_ARN", f"{ROLE}/PROD"),
    "variables of quality: SONAR_ORGANIZATION is missing": gate(),
    "development: no ruleset requires a pull request": rules("development", pull_request=None),
    "development: no ruleset requires a review": rules(
        "development", pull_request={"required_approving_review_count": 0}
    ),
    "development: no ruleset requires CI / Test, CI / make": rules(
        "development", required_status_checks={"required_status_checks": [{"context": "CI / Wheel"}]}
    ),
    "no ruleset requires branches to be up to date": rules(
        "development", required_status_checks={"strict_required_status_checks_policy": False}
    ),
    "main: no ruleset requires a pull request": rules("main", enforcement="evaluate"),
    "no ruleset forbids rebase and squash": rules(
        "main", pull_request={"allowed_merge_methods": ["merge", "squash", "rebase"]}
    ),
    "main: takes no merge commits; ": add("pull_request", parameters={**REVIEW, "allowed_merge_methods": ["squash"]}),
    "because it requires a linear history": add("required_linear_history"),
    "main: has a merge queue": add("merge_queue", parameters=QUEUE),
    "no ruleset restricts the creation of release/*": rules("releases", creation=None),
    "no ruleset restricts the update of hotfix/*": rules("releases", update=None),
    "nobody may push to release/*": rules("releases", bypass_actors=[]),
    "no ruleset blocks force pushes to hotfix/*": rules("no force pushes", enforcement="disabled"),
    "no ruleset restricts the deletion of v*": rules("versions", deletion=None),
    "no ruleset restricts the update and the deletion of v*": rules(
        "versions", conditions={"ref_name": {"include": ["refs/tags/v*"], "exclude": ["refs/tags/v0*"]}}
    ),
    "tags: no ruleset restricts the update and the deletion": rules("versions", enforcement="disabled"),
    "ruleset 'theirs' restricts the creation of v*": add("creation", pattern="refs/tags/v*", target="tag"),
    "ruleset 'theirs' restricts deployed/*": add("update", pattern="~ALL", target="tag"),
    "ruleset 'theirs' restricts deployed/*, which": add("update", pattern="refs/tags/**/*", target="tag"),
}


def line(finding: Finding) -> str:
    return f"{finding.subject}: {finding.text}; "


@pytest.mark.parametrize("gap", [*CLOSED_BY_COMMANDS, *OTHERS])
def test_a_gap_is_named_with_what_closes_it(
    gap: str, settings: Settings, github: GitHub, findings: Callable[[GitHub], list[Finding]]
) -> None:
    (CLOSED_BY_COMMANDS | OTHERS)[gap](settings)

    found = [one for one in findings(github) if one.state == "gap"]

    assert any(gap in line(one) for one in found), [line(one) for one in found]
    assert all(re.match("# open https://github.com/team/project/settings/|gh ", one.remedy) for one in found)


def test_the_commands_close_all_gaps_at_once(settings: Settings, github: GitHub, project: Path) -> None:
    for cause in CLOSED_BY_COMMANDS.values():
        cause(settings)
    script = project / "gaps.sh"

    assert check(github, "--output", str(script)) == 1
    done = run(script, github, **SUPPLIED)

    assert (done.returncode, done.stderr) == (0, "")
    assert check(github) == 0


def test_a_script_asks_for_every_value_before_it_changes_something(
    settings: Settings, github: GitHub, project: Path
) -> None:
    for name in ("AWS_ROLE_ARN", "DATABRICKS_CLIENT_ID"):
        value("prod-read" if name.startswith("DATA") else "prod", name, None)(settings)
    script = project / "values.sh"
    before = list(settings.changes)

    assert check(github, "--output", str(script)) == 1
    done = run(script, github, PROD_AWS_ROLE_ARN=ROLE)

    assert done.returncode != 0
    assert "PROD_READ_DATABRICKS_CLIENT_ID: DATABRICKS_CLIENT_ID of prod-read" in done.stderr
    assert settings.changes == before


def test_a_name_on_github_is_no_command_of_the_script(settings: Settings, github: GitHub, project: Path) -> None:
    add("update", pattern="~ALL", target="tag")(settings)
    settings.rulesets[-1]["name"] = "x\ntouch made"
    script = project / "names.sh"

    assert check(github, "--output", str(script)) == 1

    assert "\ntouch" not in script.read_text(encoding="utf-8")
    assert "x touch made" in script.read_text(encoding="utf-8")


def test_many_variables_and_those_of_repository_and_organisation_are_seen(
    settings: Settings, github: GitHub, findings: Callable[[GitHub], list[Finding]]
) -> None:
    many = {f"A_{number}": "" for number in range(65)}
    settings.values["environments/dev/variables"] = many | settings.values["environments/dev/variables"]
    above = {"AWS_REGION": "actions/variables", "DATABRICKS_CLIENT_ID": "actions/organization-variables"}
    for name, place in above.items():
        settings.values.setdefault(place, {})[name] = settings.values["environments/staging/variables"].pop(name)

    assert [line(one) for one in findings(github) if one.state == "gap"] == []


@pytest.mark.parametrize(
    ("role", "unseen"),
    [
        ("write", {"Actions", "workflow token", "workflows of forks"}),
        ("read", {"Actions", "workflow token", "workflows of forks", "variables of prod"}),
        ("", {"repository"}),
    ],
)
def test_what_the_token_may_not_see_is_no_gap(
    role: str,
    unseen: set[str],
    settings: Settings,
    github: GitHub,
    findings: Callable[[GitHub], list[Finding]],
) -> None:
    settings.role = role
    settings.repository["private"] = True

    found = findings(github)

    assert [line(one) for one in found if one.state == "gap"] == []
    hidden = {one.subject: one.text for one in found if "not visible to this token, which needs" in one.text}
    assert hidden.keys() - {"environment quality"} >= unseen
    assert all(re.search(r"\((GET )?\S+.*: (403|404): ", text) for text in hidden.values())


def test_without_a_token_or_a_repository_nothing_is_claimed(
    github: GitHub, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    assert commands.main(["doctor", "--repository", NAME]) == 0
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    assert commands.main(["doctor"]) == 0
    assert check(github, token="another") == 0

    out = capsys.readouterr().out
    assert 'GH_TOKEN: not set; set it with: export GH_TOKEN="$(gh auth token)"' in out
    assert "repository '': expected OWNER/NAME in GITHUB_REPOSITORY, or a remote 'origin' on GitHub" in out
    assert "repos/team/project: 401: " in out
    assert out.count("0 ok, 0 gap, 1 not checked") == 3
    assert TOKEN not in out
    # A folder of another repository would name that one.
    assert not (project / ".git").exists()


@pytest.mark.parametrize(
    "address",
    ["git@github.com:team/project.git", "https://github.com/team/project", "ssh://git@github.com/team/project/"],
)
def test_the_repository_is_that_of_the_remote(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setenv("GH_TOKEN", TOKEN)
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "remote", "add", "origin", address], check=True)

    assert report._repository("").name == NAME


def test_an_unknown_environment_is_rejected(github: GitHub, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.exists()
    assert check(github, "--environment", "test") == 2
    assert "test: there is no such environment; accepted: dev, prod, rehearsal, staging" in capsys.readouterr().err


def test_the_repository_of_the_tests_rejects_what_github_rejects(settings: Settings, github: GitHub) -> None:
    repository = api.Repository(name=NAME, token=TOKEN, api=github.address)
    rejected = {
        (404, "settings"): {},
        (422, "rulesets"): {"name": "without enforcement"},
    }
    for (status, path), sent in rejected.items():
        with pytest.raises(api.RejectedError) as error:
            repository.send("POST", path, **sent)
        assert error.value.status == status
    schema = {"$ref": "#/components/schemas/environment", "components": DESCRIPTION["components"]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "dev"}, schema)
    settings.site = {"cname": 1}
    with pytest.raises(jsonschema.ValidationError):
        settings.answer("GET", "pages", {}, {})


def test_environments_and_checks_are_those_that_the_documents_list() -> None:
    assert {name for file in FILES for name in signs_in(file)} == flow.ENVIRONMENTS.keys()
    assert flow.environments(ROOT / flow.WORKFLOWS).keys() >= flow.ENVIRONMENTS.keys()
    for name, branches in flow.ENVIRONMENTS.items():
        assert spans(row(name)[0]) == set(branches), name
        assert ("reviewers" in row(name)[0]) == (name == flow.REVIEWED)
    for branch in ("development", "main"):
        assert set(flow.checks(branch, ROOT / flow.WORKFLOWS)) == spans(row(branch)[0])


def test_what_the_workflows_read_is_needed_and_documented() -> None:
    # A team may add workflows, which are not its pipeline's.
    texts = [(ROOT / flow.WORKFLOWS / name).read_text(encoding="utf-8") for name in FILES]
    needed = flow.environments(ROOT / flow.WORKFLOWS).values()
    read, secret = (
        {name for text in texts for name in re.findall(rf"\b{context}\b\W+(\w+)", text)}
        for context in ("vars", "secrets")
    )
    inputs = {name for text in texts for name in re.findall(r"(?:aws|azure|google)-\w+: \$\{\{ vars\.(\w+) ", text)}

    assert read <= {name for needs in needed for name in needs.variables | needs.switches}
    assert secret <= {name for needs in needed for name in needs.secrets}
    # Any other variable is required of each environment whose jobs read it.
    assert inputs == {name for names in flow.STATE.values() for name in names}
    assert [name for name in read | secret if f"`{name}`" not in SETUP] == []


def test_a_new_variable_or_environment_of_a_workflow_is_needed(tmp_path: Path) -> None:
    (tmp_path / "new.yml").write_text(
        """\
on:
  workflow_dispatch:
    inputs:
      place: {type: choice, options: [north, south]}
jobs:
  one:
    if: vars.SWITCH != ''
    environment: {name: "${{ inputs.place }}"}
    steps: [{run: "echo ${{ vars.NEW }} ${{ secrets.KEY }}"}]
  two:
    strategy: {matrix: {place: [east]}}
    environment: ${{ matrix.place }}
  three:
    environment: ${{ matrix.place == 'x' && 'west' || matrix.place }}
"""
    )
    needed = flow.environments(tmp_path)
    assert set(needed) == {"north", "south", "east", "west"}
    assert needed["north"] == flow.Needs(variables={"NEW"}, secrets={"KEY"}, switches={"SWITCH"})
