"""What no linter says of the workflows: each rule holds for all of them, and finds the example that breaks it."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import commands as commands_of_infra
from infra.github import release
from ml_pipeline.cli.main import cli
from tests.github.conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
# A team's own workflows, such as that of CodeQL, call nothing of this project.
CALLS = re.compile(r"\bmake \S|ml-pipeline|-m infra|\./\.github/workflows/")
FILES = sorted(file.name for file in FOLDER.glob("*.yml") if CALLS.search(file.read_text(encoding="utf-8")))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
INFRA = r"\.venv/bin/python -m infra"
DEPLOYS, DESTROYS = rf"{INFRA} apply", rf"{INFRA} cdktf destroy"
LOOKS = rf"{INFRA} instances found"
CHANGES = rf"(?:{DEPLOYS}|{DESTROYS}|{INFRA} unlock)"
OWN = "github.event.pull_request.head.repo.full_name == github.repository"
NO_BOT = "github.event.pull_request.user.login != 'dependabot[bot]'"

Tree = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A job, with what the rules ask of it."""

    name: str
    content: Tree

    @property
    def steps(self) -> list[Tree]:
        return list(self.content.get("steps", []))

    @property
    def runs(self) -> str:
        """All that it runs, each step's lines as the shell sees them; ``exec`` changes nothing of a command."""
        return "\n".join(str(step["run"]).removeprefix("exec ") for step in self.steps if "run" in step)

    @property
    def condition(self) -> str:
        return str(self.content.get("if", ""))

    @property
    def permissions(self) -> Any:
        return self.content.get("permissions", {})

    @property
    def writes(self) -> set[str]:
        """What it may write."""
        granted = self.permissions
        return {name for name, level in granted.items() if level == "write"} if isinstance(granted, dict) else {"all"}

    @property
    def environment(self) -> str:
        return str(self.content.get("environment", ""))

    @property
    def environments(self) -> set[str]:
        """Every environment in which one of its commands works."""
        works = re.findall(rf"^(?:make|\.venv/bin/ml-pipeline|{INFRA}) .*$", self.runs, flags=re.MULTILINE)
        named = re.findall(rf"(?:\bENV=|--environment |{CHANGES} |{LOOKS} )\"?([\w$]+)", "\n".join(works))
        return set(named)

    def downloads(self, artifact: str) -> bool:
        return any(
            "download-artifact" in step.get("uses", "")
            and step["with"] == {**step["with"], "name": artifact, "path": artifact}
            for step in self.steps
        )


@dataclass(frozen=True)
class Workflow:
    """A workflow, as text and as what YAML makes of it: every value is text, and ``on`` stays ``on``."""

    text: str

    @cached_property
    def content(self) -> Tree:
        return dict(yaml.load(self.text, Loader=yaml.BaseLoader))

    @property
    def events(self) -> set[str]:
        return set(self.content["on"])

    @property
    def checks_pull_requests(self) -> bool:
        """Whether it runs code of a pull request, called by another workflow or not."""
        called = "workflow_call" in self.events and "github.event.pull_request" in self.text
        return called or "pull_request" in self.events

    @property
    def jobs(self) -> list[Job]:
        return [Job(name, content) for name, content in self.content["jobs"].items()]


def forks_get_no_credentials(workflow: Workflow) -> Iterator[str]:
    if workflow.events & {"pull_request_target", "workflow_run", "issue_comment"}:
        yield "an event that gives credentials to whoever causes it"
    if not workflow.checks_pull_requests:
        return
    for job in workflow.jobs:
        if "uses" in job.content:
            # It names the most that the jobs of the called workflow may have; they are looked at there.
            if f"{Path(job.content['uses']).name}" not in FILES:
                yield f"{job.name}: calls what no rule has looked at"
            continue
        trusted = OWN in job.condition and "||" not in job.condition
        # The code of a pull request that was merged is the repository's own.
        bots_out = NO_BOT in job.condition or "github.event.pull_request.merged" in job.condition
        held = bool(job.writes or job.environment or "secrets." in str(job.content))
        if held and not (trusted and bots_out):
            yield f"{job.name}: holds credentials for the code of a fork or of a bot"


def prod_needs_its_environment(workflow: Workflow) -> Iterator[str]:
    for job in workflow.jobs:
        if not job.environments:
            continue
        if job.environments == {"$ENVIRONMENT"}:
            said = job.content["env"]["ENVIRONMENT"]
            reads = not _changes(job) and f"{said[3:-3].strip()} == 'prod' && 'prod-plan' ||" in job.environment
            if job.environment != said and not reads:
                yield f"{job.name}: works in {said} with the credentials of {job.environment}"
        elif len(job.environments) > 1:
            yield f"{job.name}: works in {sorted(job.environments)}, with the credentials of one"
        else:
            (one,) = job.environments
            plans = "make plan" in job.runs
            accepted = {one} if _changes(job) else {one, f"{one}-plan" if plans else f"{one}-read"}
            if job.environment not in accepted:
                yield f"{job.name}: works in {one} with the credentials of '{job.environment}'"


def _changes(job: Job) -> bool:
    return bool(re.search(rf"{CHANGES}|ml-pipeline (launch|import-model|rollback)", job.runs))


def every_job_has_a_timeout(workflow: Workflow) -> Iterator[str]:
    for job in workflow.jobs:
        if "uses" not in job.content and not 0 < int(job.content.get("timeout-minutes", 0)) <= 360:
            yield f"{job.name}: has no timeout"


def permissions_are_the_least(workflow: Workflow) -> Iterator[str]:
    if workflow.content.get("permissions") != {}:
        yield "every job would have permissions that it was not given"
    for job in workflow.jobs:
        if not isinstance(job.permissions, dict) or not job.permissions:
            yield f"{job.name}: has not said what it may do"
        elif job.writes - {"id-token", "contents", "issues", "pull-requests", "pages"}:
            yield f"{job.name}: may write {sorted(job.writes)}"
        elif "uses" not in job.content and "id-token" in job.writes and len(job.writes - {"pages"}) > 1:
            yield f"{job.name}: may sign in elsewhere and change the repository"
        elif "pages" in job.writes and job.runs:
            yield f"{job.name}: runs code with a token that publishes"
        elif job.writes - {"id-token"} and re.search(r"\bmake\b|\.venv|pip ", job.runs):
            yield f"{job.name}: runs installed code with a token that changes the repository"


def every_action_is_pinned(workflow: Workflow) -> Iterator[str]:
    for used in re.findall(r"^\s*(?:- )?uses: (.*)$", workflow.text, flags=re.MULTILINE):
        if not re.fullmatch(r"\./\.github/\S+|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used):
            yield f"{used}: is not a commit with its version beside it"


def what_is_deployed_is_what_was_built(workflow: Workflow) -> Iterator[str]:
    builds = [job.name for job in workflow.jobs if re.search(r"\bmake wheel\b", job.runs)]
    if len(builds) > 1:
        yield f"{builds}: build the wheel more than once"
    for job in workflow.jobs:
        deploys = re.findall(rf"^{DEPLOYS} .*$", job.runs, flags=re.MULTILINE)
        if not deploys:
            continue
        if job.name in builds or job.content.get("env", {}).get("WHEEL") != "wheel" or not job.downloads("wheel"):
            yield f"{job.name}: deploys another wheel than the one that was built"
        if any("--reviewed plans/" not in deploy for deploy in deploys):
            yield f"{job.name}: deploys what nobody could see"


def no_deployment_is_interrupted(workflow: Workflow) -> Iterator[str]:
    whole = workflow.content.get("concurrency", {})
    if whole.get("cancel-in-progress", "false") != "false":
        yield "a run may be ended by the next one while it deploys"
    for job in workflow.jobs:
        own = job.content.get("concurrency", {})
        if re.search(rf"{DEPLOYS}|{DESTROYS}", job.runs) and not (own or whole).get("group"):
            yield f"{job.name}: two runs may deploy at once"
        # A newer commit of a pull request may end the deployment of its instance, and nothing else.
        of_pull_request = str(own.get("group", "")).startswith("ci-${{ github.event.pull_request.number ||")
        if own.get("cancel-in-progress", "false") != "false" and not of_pull_request:
            yield f"{job.name}: may be ended by the next run while it deploys"


def an_edited_title_leaves_the_checks_alone(workflow: Workflow) -> Iterator[str]:
    if "edited" not in (workflow.content["on"].get("pull_request") or {}).get("types", []):
        return
    for job in workflow.jobs:
        if "uses" not in job.content or "github.event.changes.base != null" not in job.condition:
            yield f"{job.name}: an edited title runs it again, or reports it as skipped, which counts as passed"


def a_cancelled_step_ends_its_program(workflow: Workflow) -> Iterator[str]:
    # GitHub's runner signals the process that it started, the shell: a program behind it would never get the signal.
    # make is such a shell, too: it waits at SIGINT, and passes SIGTERM on when 2.5 of 10 seconds are left.
    programs = rf"(exec )?make (deploy|destroy)|{DEPLOYS}|{DESTROYS}|\.venv/bin/ml-pipeline launch"
    for job in workflow.jobs:
        for step in job.steps:
            if re.match(rf"({programs})\b", str(step.get("run", ""))):
                yield f"{job.name}: {step['run']}: goes on in the workspace if the step is cancelled; expected exec"


def a_cancelled_deployment_leaves_no_lock(workflow: Workflow) -> Iterator[str]:
    for job in workflow.jobs:
        for step, after in itertools.pairwise([*job.steps, {}]):
            found = re.search(rf'(?:{DEPLOYS}|{DESTROYS}) ("[^"]+"|\S+)', str(step.get("run", "")))
            if not found:
                continue
            outcome = f"steps.{step.get('id')}.outcome"
            condition = f"always() && ({outcome} == 'failure' || {outcome} == 'cancelled')"
            unlocks = f".venv/bin/python -m infra unlock {found[1]}"
            if (after.get("if"), after.get("run")) != (condition, unlocks):
                yield f"{job.name}: {step['name']}: keeps the next deployment waiting if it is killed"


def a_scorecard_is_shown_if_it_was_written(workflow: Workflow) -> Iterator[str]:
    for job in workflow.jobs:
        for step in job.steps:
            condition = str(step.get("if", ""))
            writes = "ml-pipeline report" in str(step.get("run", ""))
            reads = step.get("with", {}).get("path") == "scorecard" or "cat scorecard/" in str(step.get("run", ""))
            if "upload" not in str(step.get("uses", "upload")):
                continue
            if writes and not (
                "!cancelled()" in condition and re.search(r"steps\.\w+\.outcome != 'skipped'", condition)
            ):
                yield f"{job.name}: {step['name']}: also runs if there is no model to write about"
            if reads and "!cancelled() && steps.scorecard.outcome == 'success'" not in condition:
                yield f"{job.name}: {step['name']}: also runs if there is no scorecard"


def no_expression_is_run(workflow: Workflow) -> Iterator[str]:
    for job in workflow.jobs:
        if "${{" in job.runs:
            yield f"{job.name}: runs what an expression says"


def no_credentials_stay_in_the_clone(workflow: Workflow) -> Iterator[str]:
    for job in workflow.jobs:
        for step in job.steps:
            if "actions/checkout@" in step.get("uses", "") and step["with"].get("persist-credentials") != "false":
                yield f"{job.name}: leaves the token in the clone"


def versions_are_text(workflow: Workflow) -> Iterator[str]:
    if re.search(r"(python|java|node)[-_]version: [^\"]", workflow.text):
        yield "a version without quotes: 3.10 would be 3.1"


def secrets_are_of_an_environment(workflow: Workflow) -> Iterator[str]:
    for job in workflow.jobs:
        if ("secrets." in str(job.content) or "id-token" in job.writes) and not (
            job.environment or "uses" in job.content
        ):
            yield f"{job.name}: its credentials are of no environment"


def commands_name_their_instance(workflow: Workflow) -> Iterator[str]:
    for job in workflow.jobs:
        if "INSTANCE" in job.content.get("env", {}):
            yield f"{job.name}: a command for the environment itself would work on the instance"


def releases_use_no_cache(workflow: Workflow) -> Iterator[str]:
    if not workflow.checks_pull_requests and "SONAR_TOKEN" not in workflow.text and 'cache: "true"' in workflow.text:
        yield "what an earlier run kept could become part of a release"


RULES: list[Callable[[Workflow], Iterator[str]]] = [
    forks_get_no_credentials,
    prod_needs_its_environment,
    every_job_has_a_timeout,
    permissions_are_the_least,
    every_action_is_pinned,
    what_is_deployed_is_what_was_built,
    no_deployment_is_interrupted,
    an_edited_title_leaves_the_checks_alone,
    a_cancelled_step_ends_its_program,
    a_cancelled_deployment_leaves_no_lock,
    a_scorecard_is_shown_if_it_was_written,
    no_expression_is_run,
    no_credentials_stay_in_the_clone,
    versions_are_text,
    secrets_are_of_an_environment,
    commands_name_their_instance,
    releases_use_no_cache,
]
# A rule, a workflow, and a change of it by which the rule no longer holds.
BREAKS: list[tuple[Callable[[Workflow], Iterator[str]], str, str, str]] = [
    (forks_get_no_credentials, "checks.yml", f"      {OWN} && {NO_BOT}\n      && ", "      "),
    (forks_get_no_credentials, "checks.yml", f"{OWN} && {NO_BOT}", OWN),
    (forks_get_no_credentials, "checks.yml", f"{OWN} && {NO_BOT}", f"true || {OWN} && {NO_BOT}"),
    (forks_get_no_credentials, "ci.yml", "  pull_request:", "  pull_request_target:"),
    (forks_get_no_credentials, "pr-closed.yml", f"merged && {OWN}", "merged"),
    (prod_needs_its_environment, "cd-prod.yml", "    environment: prod\n", ""),
    (prod_needs_its_environment, "cd-prod.yml", "    environment: prod\n", "    environment: prod-read\n"),
    (prod_needs_its_environment, "cd-staging.yml", "    environment: prod-read\n", "    environment: staging\n"),
    (prod_needs_its_environment, "cd-staging.yml", "    environment: prod-read\n", "    environment: prod-plan\n"),
    (
        prod_needs_its_environment,
        "cd-staging.yml",
        "launch datasets --environment staging",
        "launch datasets --environment dev",
    ),
    (
        prod_needs_its_environment,
        "rollback.yml",
        "    environment: ${{ inputs.environment }}\n",
        "    environment: dev\n",
    ),
    (prod_needs_its_environment, "drift.yml", "run: make drift ENV=", "run: .venv/bin/python -m infra apply "),
    (every_job_has_a_timeout, "drift.yml", "    timeout-minutes: 30\n", ""),
    (permissions_are_the_least, "checks.yml", "permissions: {}\n", ""),
    (permissions_are_the_least, "checks.yml", "permissions: {}\n", "permissions: write-all\n"),
    (permissions_are_the_least, "cd-prod.yml", "contents: write #", "packages: write #"),
    (
        permissions_are_the_least,
        "cd-prod.yml",
        "contents: read # to check out\n      id-token",
        "contents: write\n      id-token",
    ),
    (
        permissions_are_the_least,
        "docs.yml",
        "      - name: Publish the site\n",
        "      - run: cat x\n      - name: Publish\n",
    ),
    (permissions_are_the_least, "docs.yml", "pages: write # to publish", "contents: write"),
    (
        permissions_are_the_least,
        "cd-prod.yml",
        "python3 -m infra release publish",
        ".venv/bin/python -m infra release publish",
    ),
    (every_action_is_pinned, "checks.yml", " # v7.0.1", ""),
    (every_action_is_pinned, "checks.yml", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7"),
    (what_is_deployed_is_what_was_built, "cd-prod.yml", "    env:\n      WHEEL: wheel\n", "    env:\n"),
    (
        what_is_deployed_is_what_was_built,
        "cd-staging.yml",
        "          name: wheel\n          path: wheel\n",
        "          name: other\n          path: wheel\n",
    ),
    (what_is_deployed_is_what_was_built, "cd-staging.yml", "run: make plan", "run: make wheel plan"),
    (what_is_deployed_is_what_was_built, "cd-prod.yml", " --reviewed plans/prod/changes.json", ""),
    (no_deployment_is_interrupted, "cd-prod.yml", "cancel-in-progress: false", "cancel-in-progress: true"),
    (no_deployment_is_interrupted, "sweep.yml", "cancel-in-progress: false", "cancel-in-progress: true"),
    (no_deployment_is_interrupted, "checks.yml", "cancel-in-progress: false", "cancel-in-progress: true"),
    (
        no_deployment_is_interrupted,
        "checks.yml",
        "    concurrency:\n      group: pr-${{ github.event.pull_request.number }}\n      cancel-in-progress: false\n",
        "",
    ),
    (no_deployment_is_interrupted, "ci.yml", "group: ci-", "group: pr-"),
    (an_edited_title_leaves_the_checks_alone, "ci.yml", " || github.event.changes.base != null", ""),
    (an_edited_title_leaves_the_checks_alone, "ci.yml", "    uses: ./", "    steps: []\n    was: ./"),
    (forks_get_no_credentials, "ci.yml", "workflows/checks.yml", "workflows/other.yml"),
    (
        a_cancelled_step_ends_its_program,
        "checks.yml",
        "exec .venv/bin/python -m infra apply",
        ".venv/bin/python -m infra apply",
    ),
    (a_cancelled_step_ends_its_program, "sweep.yml", "exec .venv/bin/python -m infra cdktf", "exec make destroy #"),
    (a_cancelled_deployment_leaves_no_lock, "cd-prod.yml", "infra unlock prod", "infra unlock staging"),
    (
        a_cancelled_deployment_leaves_no_lock,
        "sweep.yml",
        "always() && (steps.destroy",
        "success() && (steps.destroy",
    ),
    (
        a_cancelled_step_ends_its_program,
        "checks.yml",
        "exec .venv/bin/ml-pipeline launch training",
        ".venv/bin/ml-pipeline launch training",
    ),
    (
        a_scorecard_is_shown_if_it_was_written,
        "checks.yml",
        "!cancelled() && steps.scorecard.outcome == 'success'",
        "!cancelled()",
    ),
    (
        a_scorecard_is_shown_if_it_was_written,
        "cd-staging.yml",
        "!cancelled() && steps.validate.outcome != 'skipped'",
        "!cancelled()",
    ),
    (no_expression_is_run, "checks.yml", 'make "$TARGET"', "make ${{ matrix.target }}"),
    (no_credentials_stay_in_the_clone, "checks.yml", "persist-credentials: false", "clean: true"),
    (versions_are_text, "checks.yml", 'python-version: "3.12"', "python-version: 3.12"),
    (secrets_are_of_an_environment, "checks.yml", "    environment: quality\n", ""),
    (commands_name_their_instance, "checks.yml", "INSTANCE_NAME: pr-", "INSTANCE: pr-"),
    (
        releases_use_no_cache,
        "cd-staging.yml",
        "uses: ./.github/actions/setup\n",
        'uses: ./.github/actions/setup\n        with:\n          cache: "true"\n',
    ),
]


def read(file: str) -> Workflow:
    return Workflow((FOLDER / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
@pytest.mark.parametrize("file", FILES)
def test_a_workflow_keeps_every_rule(file: str, rule: Callable[[Workflow], Iterator[str]]) -> None:
    assert list(rule(read(file))) == []


@pytest.mark.parametrize(
    ("rule", "file", "old", "new"), BREAKS, ids=[f"{one[0].__name__}-{n}" for n, one in enumerate(BREAKS)]
)
def test_a_rule_finds_what_breaks_it(rule: Callable[[Workflow], Iterator[str]], file: str, old: str, new: str) -> None:
    text = read(file).text
    assert old in text
    assert list(rule(Workflow(text.replace(old, new))))


def test_every_rule_was_seen_to_fail() -> None:
    assert {rule for rule, *_ in BREAKS} == set(RULES)


def test_these_are_the_workflows() -> None:
    named = {
        "ci",
        "checks",
        "pr-closed",
        "cd-staging",
        "cd-prod",
        "rollback",
        "drift",
        "quality",
        "share-champion",
        "sweep",
        "docs",
    }
    assert {Path(file).stem for file in FILES} == named


def test_the_set_up_is_pinned_and_quotes_its_versions() -> None:
    action = Workflow((ROOT / ".github/actions/setup/action.yml").read_text(encoding="utf-8"))
    assert [*every_action_is_pinned(action), *versions_are_text(action)] == []
    assert "${{" not in "".join(str(step.get("run", "")) for step in action.content["runs"]["steps"])


def test_an_action_has_one_version_everywhere() -> None:
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / ".github").rglob("*.yml")]
    used = {one for text in texts for one in re.findall(r"uses: ([\w.-]+/\S+ # \S+)", text)}
    assert len(used) >= 10
    assert len({one.partition("@")[0] for one in used}) == len(used)


def test_the_instance_is_destroyed_whatever_happened_and_after_what_deploys_to_it() -> None:
    closed = read("pr-closed.yml")
    groups_of = {job.name: job.content.get("concurrency") for job in [*read("checks.yml").jobs, *closed.jobs]}
    group = {"group": "pr-${{ github.event.pull_request.number }}", "cancel-in-progress": "false"}
    assert [name for name, own in groups_of.items() if own == group] == ["verdict", "keep", "destroy"]
    # A run that waits as a whole in that group would be cancelled by the next job of it.
    assert closed.content["concurrency"]["group"] == "closed-${{ github.event.pull_request.number }}"
    (destroy,) = [job for job in closed.jobs if re.search(DESTROYS, job.runs)]
    # A job that was not to run is skipped: what destroys the instance asks whether there was a model to lose.
    assert destroy.condition.startswith(
        "always() && needs.keep.result != 'failure' && needs.keep.result != 'cancelled' && "
    )
    assert "merged" not in destroy.condition
    assert destroy.content["needs"] == "keep"


def test_what_is_swept_is_not_deployed_meanwhile_and_needs_no_code_of_the_pull_request() -> None:
    jobs = {job.name: job for job in read("sweep.yml").jobs}
    sweep, found = jobs["destroy"], jobs["found"]
    # Only what the workspace holds something of costs a job.
    assert 'infra instances found dev --among "$INSTANCES"' in found.runs
    assert found.content["env"]["INSTANCES"] == "${{ needs.left.outputs.instances }}"
    assert sweep.content["strategy"]["matrix"]["instance"] == "${{ fromJSON(needs.found.outputs.instances) }}"
    # The names that `infra instances left` gives.
    assert sweep.content["concurrency"]["group"] == sweep.content["env"]["INSTANCE_NAME"] == "${{ matrix.instance }}"
    assert [step["with"]["ref"] for step in sweep.steps if "checkout@" in step.get("uses", "")] == ["development"]
    assert '-m infra cdktf destroy "dev-$INSTANCE_NAME" --auto-approve' in sweep.runs


def test_a_draft_trains_nothing_and_its_tests_run() -> None:
    held = {job.name for job in read("checks.yml").jobs if "!github.event.pull_request.draft" in job.condition}
    assert held == {job.name for job in read("checks.yml").jobs if job.environment == "dev"} | {"comment"}
    assert {"ready_for_review", "edited"} < set(read("ci.yml").content["on"]["pull_request"]["types"])


def test_a_merge_queue_tests_the_merge_and_gets_every_required_check() -> None:
    ci = read("ci.yml")
    assert ci.content["on"]["merge_group"]["branches"] == ci.content["on"]["pull_request"]["branches"]
    jobs = {job.name: job for job in read("checks.yml").jobs}
    # Without a condition they run for the group; the others ask for the pull request, which a group has not.
    assert [name for name, job in jobs.items() if not job.condition] == ["wheel", "test", "more"]
    assert all(OWN in job.condition for job in jobs.values() if job.condition)


def test_without_its_variable_there_is_no_quality_gate() -> None:
    scans = [job for file in FILES for job in read(file).jobs if any("sonarqube" in str(step) for step in job.steps)]
    assert len(scans) == 2
    assert "vars.SONAR_PROJECT_KEY != ''" in scans[0].condition
    # The job before it runs for the gate alone.
    (before,) = [job for job in read("quality.yml").jobs if job.name == "test"]
    assert before.condition == "vars.SONAR_PROJECT_KEY != ''"


def test_nothing_is_deployed_before_it_was_seen_that_the_pull_request_is_open() -> None:
    (instance,) = [job for job in read("checks.yml").jobs if re.search(DEPLOYS, job.runs)]
    assert instance.runs.splitlines()[0] == 'python3 -m infra instances check --pull-request "$PULL_REQUEST"'


def test_a_model_is_kept_before_its_instance_goes_and_imported_after_dev_was_deployed() -> None:
    jobs = {job.name: job for job in read("pr-closed.yml").jobs}
    keep, imports = jobs["keep"], jobs["import"]
    # Nothing before it, of which a failure would skip it: `destroy` takes that for "nothing to keep".
    assert "needs" not in keep.content
    assert re.search(r'export-model .*--instance "\$INSTANCE_NAME" --commit "\$COMMIT" .*--if-any', keep.runs)
    assert keep.content["outputs"] == {"found": "${{ steps.keep.outcome == 'success' }}"}
    assert [step["with"]["name"] for step in keep.steps if step.get("id") == "keep"] == ["model"]
    assert imports.content["needs"] == ["keep", "deploy"]
    assert imports.downloads("model")
    assert imports.condition.startswith("always() && ")
    assert "needs.keep.outputs.found == 'true'" in imports.condition
    assert "needs.deploy" not in imports.condition
    first = imports.runs.splitlines()[0]
    assert first == 'python3 -m infra release merged --head "$COMMIT" --commit "$MERGED"'


def test_a_merge_that_is_not_the_last_one_does_not_set_dev_back() -> None:
    jobs = {job.name: job for job in read("pr-closed.yml").jobs}
    wheel, deploy = jobs["wheel"], jobs["deploy"]
    assert deploy.content["concurrency"]["group"] == "deploy-dev"
    # Before it waits, lest it takes the place of the newest one that waits; last, lest that one waits by then.
    assert "infra release newest development " in wheel.steps[-1]["run"]
    assert wheel.steps[-1]["id"] == "check"
    assert wheel.content["outputs"] == {"newest": "${{ steps.check.outputs.newest }}"}
    assert (deploy.content["needs"], "needs.wheel.outputs.newest == 'true'" in deploy.condition) == ("wheel", True)
    # And once it is its turn, in each attempt.
    check = [step.get("id") for step in deploy.steps].index("check")
    assert "infra release newest development " in deploy.steps[check]["run"]
    later = [step.get("if") for step in deploy.steps[check + 1 :] if "infra unlock" not in step.get("run", "")]
    assert set(later) == {"steps.check.outputs.newest == 'true'"}
    assert not any("make" in step.get("run", "") for step in deploy.steps[:check])


def test_the_champion_is_taken_from_production_when_it_is_about_to_be_used() -> None:
    jobs = {job.name: job for job in read("cd-staging.yml").jobs}
    assert jobs["champion"].content["needs"] == "integration"
    later = [job.name for job in jobs.values() if "champion" in job.content.get("needs", [])]
    assert later == [job.name for job in jobs.values() if job.downloads("champion")] == ["deploy"]


def groups(workflow: Workflow) -> set[str]:
    each = [workflow.content, *(job.content for job in workflow.jobs)]
    return {str(one["concurrency"]["group"]) for one in each if "concurrency" in one}


def test_a_rollback_does_not_wait_for_a_release_that_awaits_its_approval() -> None:
    assert groups(read("rollback.yml")) == {"rollback-${{ inputs.environment }}"}
    others = {group for file in FILES if file != "rollback.yml" for group in groups(read(file))}
    assert not any(group.startswith("rollback-") for group in others)


def test_a_pull_request_builds_the_site_that_is_published() -> None:
    (build, publish) = read("docs.yml").jobs
    (tested,) = [job for job in read("checks.yml").jobs if "docs" in str(job.content.get("strategy"))]
    assert build.runs == "make docs"
    assert [step["with"]["path"] for step in build.steps if "upload-pages-artifact" in step.get("uses", "")] == ["site"]
    assert publish.content["needs"] == "build"
    assert "docs" in tested.content["strategy"]["matrix"]["target"]


def test_no_two_releases_deploy_at_once() -> None:
    prod = read("cd-prod.yml")
    assert prod.content["concurrency"]["group"] == "cd-prod"
    deployed = [(job.environment, file) for file in FILES for job in read(file).jobs if re.search(DEPLOYS, job.runs)]
    assert [file for environment, file in deployed if environment == "prod"] == ["cd-prod.yml"]


SETUP = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")


def row(first: str) -> list[str]:
    """The other cells of a row of the set-up's tables."""
    (line,) = re.findall(rf"^\| `{first}` \|(.*)\|$", SETUP, flags=re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


def spans(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def signs_in(file: str) -> set[str]:
    """The environments that a workflow's jobs name, with what an expression may stand for."""
    content, found = read(file).content, set()
    for job in (job for job in read(file).jobs if job.environment):
        matrix = job.content.get("strategy", {}).get("matrix", {}).get("environment", [])
        inputs = (content["on"].get("workflow_dispatch") or {}) if isinstance(content["on"], dict) else {}
        options = inputs.get("inputs", {}).get("environment", {}).get("options", [])
        named = {
            "${{ inputs.environment }}": options,
            "${{ matrix.environment }}": matrix,
            # Of those that `infra release deployed` gives.
            "${{ matrix.environment == 'prod' && 'prod-plan' || matrix.environment }}": ["staging", "prod-plan"],
        }
        found |= set(named.get(job.environment, [job.environment]))
    return found


def test_the_set_up_says_which_workflow_uses_which_environment() -> None:
    used = {file: signs_in(file) for file in FILES}
    environments = {"dev", "staging", "prod", "prod-plan", "prod-read", "quality", "github-pages"}
    for environment in environments:
        said = spans(row(environment)[1])
        assert said == {file for file, names in used.items() if environment in names}, environment
    assert set().union(*used.values()) == environments


def test_a_branch_that_is_deployed_is_one_that_the_environment_takes() -> None:
    pushed = {file: set(read(file).content["on"]["push"]["branches"]) for file in ("cd-staging.yml", "cd-prod.yml")}
    # In the environments' rules no wildcard matches a slash.
    assert not any("**" in branch for branches in pushed.values() for branch in branches)
    assert spans(row("staging")[0]) == pushed["cd-staging.yml"] | pushed["cd-prod.yml"]
    assert spans(row("prod-read")[0]) == pushed["cd-staging.yml"]
    # No branch that nobody has reviewed yet gets the rights of who deploys prod.
    assert spans(row("prod")[0]) == spans(row("prod-plan")[0]) == pushed["cd-prod.yml"]


@pytest.mark.parametrize(
    ("branch", "file", "afterwards"),
    [("development", "checks.yml", {"CI / Comment"}), ("main", "cd-staging.yml", {"Mark what is deployed"})],
)
def test_the_checks_that_a_branch_requires_are_those_that_report_there(
    branch: str, file: str, afterwards: set[str]
) -> None:
    names = set()
    for job in read(file).jobs:
        name, targets = job.content["name"], job.content.get("strategy", {}).get("matrix", {}).get("target", [])
        # The check of a called workflow's job has the name of the job that calls it before its own.
        name = f"CI / {name}" if file == "checks.yml" else name
        names |= {name.replace("${{ matrix.target }}", target) for target in targets} or {name}
    checks, of = row(branch)
    assert spans(of) - {"ci.yml"} == {file}
    # One that is skipped counts as passed: each is required.
    assert spans(checks) == names - afterwards
    assert afterwards < names


def test_the_wheel_of_production_is_taken_from_the_run_of_staging() -> None:
    # `infra release source` asks for the job of this name.
    (deploys,) = [job for job in read("cd-staging.yml").jobs if re.search(DEPLOYS, job.runs)]
    assert deploys.content["name"] == release.DEPLOYS
    (source, *_) = read("cd-prod.yml").jobs
    (taken,) = [step for step in source.steps if "download-artifact" in step.get("uses", "")]
    (released,) = [step for step in source.steps if "infra release download --into wheel" in step.get("run", "")]
    assert (taken["if"], released["if"]) == ("steps.find.outputs.run-id != ''", "steps.find.outputs.run-id == ''")
    (kept,) = [step for step in source.steps if "upload-artifact" in step.get("uses", "")]
    assert taken["with"]["run-id"] == "${{ steps.find.outputs.run-id }}"
    assert taken["with"]["path"] == kept["with"]["path"] == kept["with"]["name"] == "wheel"
    assert not any("make wheel" in job.runs for job in read("cd-prod.yml").jobs)


def test_a_release_that_is_deployed_again_leaves_the_champion_alone() -> None:
    prod = read("cd-prod.yml")
    assert "workflow_dispatch" in prod.events & read("cd-staging.yml").events
    jobs = {job.name: job for job in prod.jobs}
    first = "needs.source.outputs.released == 'false'"
    assert jobs["source"].condition == "github.ref == 'refs/heads/main'"
    assert jobs["source"].content["outputs"]["released"] == "${{ steps.find.outputs.released }}"
    assert jobs["candidate"].condition == first
    moves = [step for step in jobs["deploy"].steps if re.search("import-model|launch promotion", step.get("run", ""))]
    assert [step["if"] for step in moves] == [first, first]
    # Jobs after one that was skipped run only if they ask for it.
    later = [job.condition for job in jobs.values() if job.content.get("needs") == "deploy"]
    assert len(later) == 3
    assert all("!cancelled() && needs.deploy." in condition for condition in later)


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_what_was_deployed_is_marked_also_where_the_model_was_refused(environment: str) -> None:
    jobs = {job.name: job for job in read(f"cd-{environment}.yml").jobs}
    (deploy,) = [step for step in jobs["deploy"].steps if step.get("id") == "deploy"]
    assert deploy["run"].startswith(f"exec .venv/bin/python -m infra apply {environment} ")
    assert jobs["deploy"].content["outputs"] == {"deployed": "${{ steps.deploy.outcome == 'success' }}"}
    assert jobs["mark"].condition == "${{ !cancelled() && needs.deploy.outputs.deployed == 'true' }}"
    assert f"infra release mark {environment} " in jobs["mark"].runs


def test_another_attempt_may_keep_what_an_earlier_one_kept() -> None:
    steps = [step for file in FILES for job in read(file).jobs for step in job.steps]
    kept = [step["with"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert len(kept) > 10
    assert [one for one in kept if one.get("overwrite") != "true" or one["if-no-files-found"] != "error"] == []


def commands() -> dict[str, list[str]]:
    """What the workflows run, by the program; a target that a matrix names is written out."""
    found: dict[str, set[str]] = {"make": set(), "ml-pipeline": set(), "python": set(), "infra": set()}
    for job in (job for file in FILES for job in read(file).jobs):
        targets = job.content.get("strategy", {}).get("matrix", {}).get("target", [])
        for line in job.runs.splitlines():
            for each in [line.replace('"$TARGET"', target) for target in targets] or [line]:
                program = re.match(r"(?:\.venv/bin/)?(make|ml-pipeline|python)3?\b", each)
                assert program or each.startswith("cat "), each
                if program:
                    installed = each.startswith(".venv/bin/python -m infra")
                    found["infra" if installed else program[1]].add(each.split(" >> ")[0])
    return {program: sorted(lines) for program, lines in found.items()}


COMMANDS = commands()


@pytest.mark.parametrize("line", COMMANDS["make"])
def test_a_target_that_a_workflow_makes_exists_and_reads_the_variables(line: str) -> None:
    _, target, *variables = line.split()
    assert re.search(rf"^{target}:.*##", MAKEFILE, flags=re.MULTILINE)
    names = [variable.partition("=")[0] for variable in variables]
    assert [name for name in names if not re.search(rf"\$\({name}\)|ifdef {name}\b", MAKEFILE)] == []
    done = subprocess.run(
        ["make", "--dry-run", target, *variables], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", COMMANDS["ml-pipeline"])
def test_a_command_that_a_workflow_calls_exists_with_its_options(line: str) -> None:
    _, name, *arguments = line.split()
    assert name in cli.commands
    known = {option for parameter in cli.commands[name].params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


@pytest.mark.parametrize("line", [line for line in COMMANDS["ml-pipeline"] if " launch " in line])
def test_a_job_that_a_workflow_launches_is_declared_with_its_parameters(line: str) -> None:
    from ml_pipeline import jobs
    from ml_pipeline.settings import files

    launched = re.search(r"launch (\w+) --environment (\w+)", line)
    assert launched
    declared = {
        job.name: job
        for job in jobs.declare(files.load(files.find_pipeline("iris"), ROOT / "environments" / f"{launched[2]}.toml"))
    }
    known = {parameter.name for parameter in declared[launched[1]].parameters}
    assert set(re.findall(r"--parameter (\w+)=", line)) <= known


@pytest.mark.parametrize("line", COMMANDS["python"])
def test_a_command_of_infra_that_a_workflow_runs_takes_these_arguments_and_needs_no_library(line: str) -> None:
    program, dash_m, module, *arguments = line.split()
    assert (program, dash_m) == ("python3", "-m")
    words = itertools.takewhile(lambda argument: not argument.startswith("-"), arguments)
    command = [sys.executable, "-S", "-m", module, *words, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [argument for argument in arguments if argument.startswith("--") and argument not in done.stdout] == []


@pytest.mark.parametrize("line", COMMANDS["infra"])
def test_a_command_of_infra_that_needs_libraries_takes_these_arguments(line: str) -> None:
    given = commands_of_infra.parser().parse_args(line.replace('"$INSTANCES"', "[]").split()[3:])
    assert callable(given.run)


def test_all_programs_are_called() -> None:
    assert {program: len(lines) > 3 for program, lines in COMMANDS.items()} == dict.fromkeys(COMMANDS, True)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A workflow in which a linter finds something: what anybody writes is run."""
    file = tmp_path / "broken.yml"
    file.write_text(
        "on: pull_request\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    steps:\n"
        "      - uses: actions/checkout@main\n      - run: echo ${{ github.event.pull_request.title }}\n"
    )
    return file


def lint(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(arguments[0])
    return subprocess.run([program, *arguments[1:]], cwd=ROOT, capture_output=True, text=True, check=False)


def test_actionlint_reports_nothing(broken: Path) -> None:
    done = lint("actionlint", "-shellcheck=", "-pyflakes=", *(str(FOLDER / file) for file in FILES))
    assert (done.returncode, done.stdout) == (0, "")
    assert lint("actionlint", "-shellcheck=", "-pyflakes=", str(broken)).returncode == 1


def test_zizmor_reports_nothing(broken: Path) -> None:
    options = ("--offline", "--no-progress", "--quiet", "--persona", "auditor")
    done = lint("zizmor", *options, ".github")
    assert done.returncode == 0, done.stdout
    assert "template-injection" in lint("zizmor", *options, str(broken)).stdout
