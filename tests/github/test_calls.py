"""What the workflows ask of GitHub, by the commands that they call, over HTTP: comment, drift, release, instances."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infra import distribution
from infra.github import api, comment
from infra.github.comment import MARKER
from infra.github.release import notes
from infra.review.plan import Change, Changes
from ml_pipeline.errors import InputError
from tests.github.conftest import NAME, ROOT, GitHub

COMMIT, RELEASED, OTHER = "c" * 40, "b" * 40, "a" * 40


def post(github: GitHub, folder: Path, *parts: str) -> str:
    done = github.call("comment", "--pull-request", "7", "--commit", COMMIT, *(str(folder / part) for part in parts))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_comment_is_made_and_then_changed_in_place(github: GitHub, tmp_path: Path) -> None:
    github.comments += [{"id": 1000 + n, "body": "a word", "user": {"type": "User"}} for n in range(120)]
    # Somebody quotes the comment: that one is theirs.
    github.comments.append({"id": 2000, "body": f"{MARKER}\nmine", "user": {"type": "User"}})
    (tmp_path / "plan.md").write_text("the plan\n")

    first = post(github, tmp_path, "plan.md", "report.md")
    (tmp_path / "report.md").write_text("the scorecard\n")
    second = post(github, tmp_path, "plan.md", "report.md")

    assert first == second
    (ours,) = [one for one in github.comments if one["user"]["type"] == "Bot"]
    assert ours["body"].startswith(
        f"{MARKER}\nOf {COMMIT}, by [this run](https://example.com/team/project/actions/runs/99)."
    )
    assert ours["body"].index("the plan") < ours["body"].index("the scorecard")
    assert github.changes == ["POST issues/7/comments", f"PATCH issues/comments/{ours['id']}"]


def test_a_part_that_is_missing_is_said_to_be(github: GitHub, tmp_path: Path) -> None:
    post(github, tmp_path, "scorecard/report.md")
    assert "There is no scorecard/report.md" in github.comments[0]["body"]


def test_a_comment_that_is_too_long_is_cut_where_it_is_long_and_says_so(tmp_path: Path) -> None:
    row = "| `é` | a | b |\n"
    long = "<details><summary>all</summary>\n\n" + row * 6000 + "\n</details>"
    for name, text in {"long.md": long, "short.md": "short and whole", "longer.md": long + row}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    body = comment.assemble([tmp_path / name for name in ("long.md", "short.md", "longer.md")], commit=COMMIT)

    assert 65_000 < len(body) <= api.LONGEST_BODY
    assert "short and whole" in body
    assert body.count("The rest does not fit here") == 2
    assert body.count("<details>") == body.count("</details>") == 2
    assert comment.assemble([tmp_path / "short.md"], commit=COMMIT).endswith("short and whole\n")


def planned(folder: Path, *changes: Change) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "changes.json").write_text(Changes(changes).written())
    (folder / "plan.md").write_text(f"{len(changes)} changes\n")
    return folder


def test_one_issue_is_opened_changed_and_closed(github: GitHub, tmp_path: Path) -> None:
    def drift(environment: str, folder: Path) -> str:
        done = github.call("report-drift", "--environment", environment, "--plan", str(folder))
        assert done.returncode == 0, done.stderr
        return done.stdout

    one, two = (Change(address=f"databricks_job.{name}", action="update") for name in ("one", "two"))
    assert drift("prod", planned(tmp_path / "plan")) == "prod: no drift\n"
    assert "was opened" in drift("prod", planned(tmp_path / "plan", one))
    assert "was opened" in drift("staging", planned(tmp_path / "plan", one))
    assert "issues/1 was brought up to date" in drift("prod", planned(tmp_path / "plan", one, two))
    assert [issue["title"] for issue in github.issues] == ["Drift in prod", "Drift in staging"]
    assert github.issues[0]["labels"] == ["drift"]
    assert "2 changes" in github.issues[0]["body"]
    assert "actions/runs/99" in github.issues[0]["body"]
    assert "issues/1 was closed" in drift("prod", planned(tmp_path / "plan"))
    assert [issue["state"] for issue in github.issues] == ["closed", "open"]
    assert drift("prod", planned(tmp_path / "plan")) == "prod: no drift\n"
    assert "was opened" in drift("prod", planned(tmp_path / "plan", one))
    assert len(github.issues) == 3


def test_an_issue_that_somebody_else_wrote_is_theirs(github: GitHub, tmp_path: Path) -> None:
    body = "<!-- ml-pipeline:drift:prod -->\nmine"
    github.issues.append({"id": 1, "number": 1, "state": "open", "user": {"type": "User"}, "body": body})
    changed = planned(tmp_path / "changed", Change(address="databricks_job.one", action="update"))
    for folder, said in ((planned(tmp_path / "same"), "no drift\n"), (changed, "issues/2 was opened\n")):
        done = github.call("report-drift", "--environment", "prod", "--plan", str(folder))
        assert done.stdout.endswith(said), done.stderr
    assert (github.issues[0]["body"], github.issues[0]["state"]) == (body, "open")
    assert github.changes == ["POST issues"]


def test_without_a_plan_there_is_no_word_of_drift(github: GitHub, tmp_path: Path) -> None:
    done = github.call("report-drift", "--environment", "prod", "--plan", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "changes.json: is missing; accepted: the folder that 'make drift' wrote" in done.stderr
    planned(tmp_path).joinpath("changes.json").write_text("{}")
    done = github.call("report-drift", "--environment", "prod", "--plan", str(tmp_path))
    assert (done.returncode, github.changes) == (2, [])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [1.2.0] - 2026-01-02\n\n### Added\n\n- a thing\n\n"
        "## [1.1.0] - 2026-01-01\n\n- before\n\n## [1.0.0] - 2025-01-01\n\n[1.2.0]: https://example.com\n"
    )
    return tmp_path


def test_a_version_is_released_once_and_with_notes(github: GitHub, project: Path) -> None:
    def check(code: int, said: str, *more: str) -> None:
        done = github.call("release", "check", "--commit", COMMIT, *more, folder=project)
        assert (done.returncode, done.stderr.count("\n")) == (code, int(code != 0)), done.stderr
        assert said in done.stdout + done.stderr

    check(0, "v1.2.0")
    check(0, "v1.2.0", "--branch", "hotfix/1.2.0")
    check(1, f"development or {COMMIT}: is not in team/project", "--branch", "release/1.2.0")
    for ahead, code, said in (
        (0, 0, "v1.2.0"),
        (1, 1, "branch release/1.2.0 holds 1 commit that development does not; accepted: a commit of development"),
        (1200, 1, "branch release/1.2.0 holds 1,200 commits that development does not"),
    ):
        github.ahead = {f"development...{COMMIT}": ahead}
        check(code, said, "--branch", "release/1.2.0")
    for branch in ("release/9.9.9", "release/1.2", "release/1.2.0-rc", "feature/1.2.0"):
        said = f"branch {branch}: pyproject.toml has version 1.2.0; accepted: release/1.2.0 or hotfix/1.2.0"
        check(2, said, "--branch", branch)
    github.refs["v1.2.0"] = {"type": "tag", "sha": "annotated"}
    github.annotated["annotated"] = COMMIT
    check(0, "v1.2.0")
    github.annotated["annotated"] = OTHER
    # main has the files of the release branch under a commit of its own.
    github.trees = {COMMIT: "tree", OTHER: "tree"}
    check(0, "v1.2.0")
    github.trees[OTHER] = "other"
    check(1, f"v1.2.0 is released with commit {OTHER}, and this is {COMMIT}; accepted: in pyproject.toml a version")
    github.refs.clear()
    (project / "pyproject.toml").write_text('[project]\nversion = "1.3.0"\n')
    check(2, "CHANGELOG.md: has no notes of 1.3.0; accepted: a section '## [1.3.0] - YYYY-MM-DD'")
    (project / "pyproject.toml").write_text('[project]\nversion = "1.3.0.dev1"\n')
    check(2, "project.version: '1.3.0.dev1'; accepted: MAJOR.MINOR.PATCH")


def test_a_release_is_cut_where_there_is_a_model(github: GitHub, project: Path) -> None:
    def check(code: int, said: str) -> None:
        done = github.call("release", "check", "--commit", COMMIT, "--branch", "release/1.2.0", folder=project)
        assert (done.returncode, done.stderr.count("\n")) == (code, code), done.stderr
        assert said in done.stdout + done.stderr

    github.ahead = {f"development...{COMMIT}": 0}
    github.trees = {COMMIT: "tree", RELEASED: "tree", OTHER: "other"}
    own: dict[str, Any] = {
        "number": 7,
        "merged_at": "2026-01-01",
        "merge_commit_sha": COMMIT,
        "base": {"ref": "development"},
        "user": {"login": "ann"},
        "head": {"ref": "x", "sha": RELEASED, "repo": {"full_name": NAME}},
    }
    for merge in (
        {**own, "head": {**own["head"], "repo": {"full_name": "somebody/project"}}},
        {**own, "head": {**own["head"], "repo": None}},
        {**own, "user": {"login": "dependabot[bot]"}},
    ):
        github.pulls[COMMIT] = [merge]
        check(
            1, f"{COMMIT} has no model: pull request 7 brought it, and the CI gives no credentials to pull requests of"
        )
    github.pulls[COMMIT] = [{**own, "head": {**own["head"], "sha": OTHER}}]
    check(
        1, "and the merge holds other files than its branch, from which the CI trained the model; accepted: a release"
    )
    github.pulls[COMMIT] = [{**own, "merge_commit_sha": OTHER, "user": {"login": "dependabot[bot]"}}, own]
    check(0, "v1.2.0")


def test_the_notes_are_those_of_the_version_alone(project: Path) -> None:
    assert notes("1.2.0", project / "CHANGELOG.md") == "### Added\n\n- a thing"
    for version in ("1.0.0", "2.0.0", "1.2"):
        with pytest.raises(InputError, match=f"has no notes of {version}"):
            notes(version, project / "CHANGELOG.md")


def test_what_main_brings_is_what_went_through_staging(github: GitHub, project: Path) -> None:
    def source(code: int, said: str) -> None:
        done = github.call("release", "source", "--commit", COMMIT, folder=project)
        assert done.returncode == code, done.stderr
        assert said in done.stdout + done.stderr

    github.trees = {COMMIT: "tree", RELEASED: "tree", OTHER: "other"}
    source(1, f"in no run of cd-staging.yml for {COMMIT} has the job 'Deploy to staging' passed")
    github.parents = {COMMIT: [OTHER, RELEASED]}
    pull = {"merged_at": "2026-01-01", "merge_commit_sha": COMMIT, "head": {"ref": "release/1", "sha": RELEASED}}
    github.pulls[COMMIT] = [{**pull, "merge_commit_sha": OTHER}, {**pull, "head": {"ref": "other", "sha": OTHER}}, pull]
    run = {
        "path": ".github/workflows/cd-staging.yml",
        "head_sha": RELEASED,
        "head_branch": "release/1",
        "event": "push",
        "jobs": [{"name": "Wheel", "conclusion": "success"}, {"name": "Deploy to staging", "conclusion": "failure"}],
        "id": 5,
    }
    # The job that marks what is deployed may still run when the last check that a merge needs has passed.
    passed = [{"name": "Deploy to staging", "conclusion": "success"}, {"name": "Mark", "conclusion": None}]
    github.runs = [run, {**run, "id": 4, "jobs": passed, "head_branch": "elsewhere"}]
    source(1, f"in no run of cd-staging.yml for {RELEASED} has the job 'Deploy to staging' passed")
    github.runs += [{**run, "id": number, "jobs": passed} for number in (6, 8, 7)] + [{**run, "id": 9}]
    source(0, f"commit={RELEASED}\nreleased=false\nrun-id=8\n")
    for one in github.runs:
        one["expired"] = one["id"] != 6
    source(0, f"commit={RELEASED}\nreleased=false\nrun-id=6\n")
    github.runs = [{**one, "expired": True} for one in github.runs]
    source(1, f"the wheel that cd-staging.yml built for {RELEASED} has expired, and no release has it; accepted: start")
    github.refs["v1.2.0"] = {"type": "commit", "sha": COMMIT}
    source(0, f"commit={RELEASED}\nreleased=true\nrun-id=\n")
    github.parents = {COMMIT: [OTHER]}
    source(1, f"{COMMIT} is not a merge commit of release/1: main lacks the history of development")
    pull["head"] = {"ref": "hotfix/1", "sha": OTHER}
    source(
        1,
        f"{COMMIT} holds other files than {OTHER}, which went through staging; accepted: a release branch cut from "
        "development after main was merged there",
    )


def test_a_model_is_that_of_the_merge_where_both_hold_the_same_files(github: GitHub) -> None:
    def merged(code: int, said: str, head: str) -> None:
        done = github.call("release", "merged", "--head", head, "--commit", COMMIT)
        assert (done.returncode, done.stderr.count("\n")) == (code, code), done.stderr
        assert said in done.stdout + done.stderr

    github.trees = {COMMIT: "tree", RELEASED: "tree", OTHER: "other"}
    merged(0, f"{COMMIT} holds what {RELEASED} does", RELEASED)
    merged(1, f"{COMMIT} holds other files than {OTHER}, from which the model was made", OTHER)
    merged(1, f"{'d' * 40}: is not a commit of team/project", "d" * 40)


def test_only_the_last_commit_of_a_branch_is_the_newest(github: GitHub) -> None:
    def newest(commit: str, branch: str = "development") -> str:
        done = github.call("release", "newest", branch, "--commit", commit)
        assert (done.returncode, done.stderr.count("\n")) in {(0, 0), (1, 1)}, done.stderr
        return done.stdout + done.stderr

    github.branches["development"] = COMMIT
    assert newest(COMMIT) == "newest=true\n"
    assert newest(OTHER) == "newest=false\n"
    assert "absent: is not a branch of team/project" in newest(COMMIT, "absent")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "wheel" / "ml_pipeline-1.2.0-py3-none-any.whl"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("ml_pipeline/__init__.py", "")
    file.with_name(f"{file.name}.sha256").write_text("sealed")
    return file


def test_a_release_has_tag_notes_and_wheel_and_is_made_once(github: GitHub, project: Path, wheel: Path) -> None:
    def publish() -> str:
        done = github.call("release", "publish", "--commit", COMMIT, "--wheel", str(wheel.parent), folder=project)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    # An earlier attempt ended after the first file.
    github.answer("POST", "releases", {}, {"tag_name": "v1.2.0", "draft": True, "body": ""})
    github.answer("POST", "releases/1/assets", {"name": wheel.name}, {"content": wheel.read_bytes()})
    github.changes.clear()

    assert publish() == "https://example.com/releases/1"
    assert github.changes == ["POST git/tags", "POST git/refs", "POST releases/1/assets", "PATCH releases/1"]
    (release,) = github.releases
    assert (release["draft"], release["body"]) == (False, "### Added\n\n- a thing")
    assert github.annotated[github.refs["v1.2.0"]["sha"]] == COMMIT
    assert github.assets == {wheel.name: wheel.read_bytes(), f"{wheel.name}.sha256": b"sealed"}

    assert publish() == "https://example.com/releases/1"
    assert len(github.changes) == 4


def test_a_release_that_nothing_was_begun_of_is_a_draft_until_it_is_whole(
    github: GitHub, project: Path, wheel: Path
) -> None:
    arguments = ("release", "publish", "--commit", COMMIT, "--wheel", str(wheel))
    assert github.call(*arguments, folder=project).returncode == 0
    assert [change.partition("/")[0] for change in github.changes] == [
        *["POST git"] * 2,
        *["POST releases"] * 3,
        "PATCH releases",
    ]


def test_the_wheel_of_a_release_is_the_one_that_was_released(github: GitHub, project: Path, wheel: Path) -> None:
    def download(folder: str) -> subprocess.CompletedProcess[str]:
        return github.call("release", "download", "--into", folder, folder=project)

    done = download("taken")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "v1.2.0: no release has its wheel; accepted: a version that cd-prod.yml released" in done.stderr
    content = wheel.read_bytes()
    assert github.call("release", "publish", "--commit", COMMIT, "--wheel", str(wheel), folder=project).returncode == 0
    done = download("taken")
    assert done.stdout == f"taken/{wheel.name}\n", done.stderr
    assert (project / "taken" / wheel.name).read_bytes() == content
    assert distribution.sealed(project / "taken").name == wheel.name

    # Somebody who may write to the repository replaces the file, and the SHA-256 beside it.
    github.assets[wheel.name] = content + b"more"
    done = download("replaced")
    assert (done.returncode, list((project / "replaced").iterdir())) == (1, [])
    assert "the wheel of the release is not the one that was released: the tag records 'SHA-256 of" in done.stderr
    github.refs["v1.2.0"] = {"type": "commit", "sha": COMMIT}
    assert "the tag records 'nothing'; accepted: a new version" in download("replaced").stderr


def test_what_is_deployed_is_marked(github: GitHub) -> None:
    def deployed() -> list[str]:
        name, _, found = github.call("release", "deployed").stdout.strip().partition("=")
        assert name == "environments"
        return list(json.loads(found))

    assert deployed() == []
    for commit in (OTHER, COMMIT):
        done = github.call("release", "mark", "prod", "--commit", commit)
        assert (done.returncode, done.stdout) == (0, "deployed/prod\n")
        assert github.refs["deployed/prod"]["sha"] == commit
    assert deployed() == ["prod"]
    assert github.call("release", "mark", "dev", "--commit", COMMIT).returncode == 2


def closed(number: int, *, days: float, **more: Any) -> dict[str, Any]:
    """A pull request that was closed some days ago, and has not changed since."""
    then = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = {"number": number, "state": "closed", "closed_at": then, "updated_at": then, "merged_at": None}
    return {**made, "user": {"login": "ann"}, "head": {"repo": {"full_name": NAME}}, **more}


def test_what_a_closed_pull_request_may_have_left_is_found(github: GitHub) -> None:
    def left() -> list[str]:
        done = github.call("instances", "left")
        name, _, found = done.stdout.strip().partition("=")
        assert (done.returncode, name) == (0, "instances"), done.stderr
        return list(json.loads(found))

    assert left() == []
    now = closed(1, days=0)["updated_at"]
    github.requests = [
        closed(1, days=0.1),
        closed(2, days=6.9, updated_at=now),
        closed(3, days=7.1, updated_at=now),
        closed(4, days=7.1),
        closed(5, days=1, head={"repo": {"full_name": "somebody/project"}}),
        closed(6, days=1, head={"repo": None}),
        closed(7, days=1, user={"login": "dependabot[bot]"}),
        {**closed(8, days=1), "state": "open", "closed_at": None},
        # Its instance is the only copy of its model, where that could not be kept.
        closed(9, days=2.9, merged_at="2026-01-01T00:00:00Z"),
        closed(10, days=3.1, merged_at="2026-01-01T00:00:00Z"),
    ]
    assert sorted(left()) == ["pr-1", "pr-10", "pr-2"]
    github.requests = [closed(number, days=number / 100) for number in range(1, 301)]
    assert left() == [f"pr-{number}" for number in range(1, 257)]


def test_nothing_is_deployed_for_a_pull_request_that_is_closed(github: GitHub) -> None:
    github.requests = [closed(1, days=1), {**closed(2, days=1), "state": "open"}]
    for number, code in {1: 1, 2: 0, 3: 1}.items():
        done = github.call("instances", "check", "--pull-request", str(number))
        assert (done.returncode, done.stderr.count("\n")) == (code, code), done.stderr
        assert f"pull request {number} is {'not ' * code}open" in done.stdout + done.stderr


def test_a_refusal_and_a_missing_variable_are_one_message(github: GitHub) -> None:
    github.refuses = 403
    done = github.call("release", "mark", "prod", "--commit", COMMIT)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "git/ref/tags/deployed/prod: 403: it is refused" in done.stderr
    done = github.call("release", "deployed", GITHUB_TOKEN="")
    assert (done.returncode, done.stderr) == (
        2,
        "error: GITHUB_TOKEN: not set; accepted: what a GitHub workflow sets\n",
    )
    done = github.call("release", "deployed", GITHUB_API_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "GitHub can't be reached: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_of_the_project_can_be_read(tmp_path: Path) -> None:
    from infra.github import release

    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert release.version(tmp_path / "pyproject.toml").count(".") == 2
