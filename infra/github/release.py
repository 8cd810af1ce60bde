"""What a release is made of: `python -m infra release --help` lists the commands."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from infra import distribution
from infra.github import api, instances
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.wording import counted

_PROJECT = Path("pyproject.toml")
_CHANGELOG = Path("CHANGELOG.md")
_BUILDS, DEPLOYS = "cd-staging.yml", "Deploy to staging"
"""The workflow of staging, and its job that deploys and validates; a merge need not wait for later jobs."""
_REVIEWED, _DEVELOPMENT = "release/", "development"
"""Branches that hold commits of this one alone. A hotfix is reviewed when it is merged to main."""
_BRANCHES = (_REVIEWED, "hotfix/")
_SHA256 = "SHA-256 of the wheel: "
"""What the message of a version's tag begins with."""
_ENVIRONMENTS = ("staging", "prod")


def version(project: Path = _PROJECT) -> str:
    """The version to release.

    Raises:
        InputError: it can't be released.
    """
    said = str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    if not re.fullmatch(r"\d+\.\d+\.\d+", said):
        raise InputError(f"{project}: project.version: '{said}'; accepted: MAJOR.MINOR.PATCH, such as 1.4.0")
    return said


def notes(version: str, changelog: Path = _CHANGELOG) -> str:
    """The changelog's section of a version.

    Raises:
        InputError: there is no such section.
    """
    text = changelog.read_text(encoding="utf-8")
    found = re.search(
        rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |^\[[^\]]+\]: |\Z)", text, re.MULTILINE | re.DOTALL
    )
    said = found[1].strip() if found else ""
    if not re.search(r"^[-*] ", said, re.MULTILINE):
        raise InputError(
            f"{changelog}: has no notes of {version}; accepted: a section '## [{version}] - YYYY-MM-DD' that lists "
            "what changed"
        )
    return said


def check(repository: api.Repository, *, commit: str, branch: str = "") -> str:
    """The tag of the version, which may be released with this commit.

    Raises:
        InputError: the version can't be released, has no notes, or is not that of the branch.
        CheckFailedError: it is released with another commit, or the branch holds what nobody reviewed.
    """
    released = version()
    if branch and branch not in (own := [f"{kind}{released}" for kind in _BRANCHES]):
        raise InputError(f"branch {branch}: {_PROJECT} has version {released}; accepted: {' or '.join(own)}")
    if branch.startswith(_REVIEWED):
        _check_reviewed(repository, commit=commit, branch=branch)
    notes(released)
    tag = f"v{released}"
    other = _tagged(repository, tag)
    # main has the release branch's files under a commit of its own.
    if other not in (None, commit) and _tree(repository, str(other)) != _tree(repository, commit):
        raise CheckFailedError(
            f"{tag} is released with commit {other}, and this is {commit}; accepted: in {_PROJECT} a version that "
            f"is not released, with its notes in {_CHANGELOG}"
        )
    return tag


def _check_reviewed(repository: api.Repository, *, commit: str, branch: str) -> None:
    compared = repository.get(f"compare/{_DEVELOPMENT}...{commit}")
    if compared is None:
        raise CheckFailedError(f"{_DEVELOPMENT} or {commit}: is not in {repository.name}")
    if compared["ahead_by"]:
        raise CheckFailedError(
            f"branch {branch} holds {counted(compared['ahead_by'], 'commit')} that {_DEVELOPMENT} does not; accepted: "
            f"a commit of {_DEVELOPMENT}, which was reviewed there"
        )
    _check_model(repository, commit=commit)


def _check_model(repository: api.Repository, *, commit: str) -> None:
    """Reject a merge for which the CI trained no model: the export from dev would only find none."""
    for pull in repository.pages(f"commits/{commit}/pulls"):
        if not pull["merged_at"] or pull["merge_commit_sha"] != commit or pull["base"]["ref"] != _DEVELOPMENT:
            continue
        if not instances.has_one(pull, repository.name):
            reason = "the CI gives no credentials to pull requests of forks and bots"
        elif _tree(repository, pull["head"]["sha"]) != _tree(repository, commit):
            reason = "the merge holds other files than its branch, from which the CI trained the model"
        else:
            continue
        raise CheckFailedError(
            f"{commit} has no model: pull request {pull['number']} brought it, and {reason}; accepted: a release cut "
            f"from a later merge. Open a pull request from an up-to-date branch of {repository.name}, merge it, and "
            "cut the release there"
        )


def _tagged(repository: api.Repository, tag: str) -> str | None:
    """The commit of a tag; ``None`` where there is no such tag."""
    reference = repository.get(f"git/ref/tags/{tag}")
    if reference is None:
        return None
    target = reference["object"]
    if target["type"] == "tag":
        target = repository.get(f"git/tags/{target['sha']}")["object"]
    return str(target["sha"])


def source(repository: api.Repository, *, commit: str) -> dict[str, str]:
    """The release branch's commit that this commit of main brings, and where the wheel of it is.

    ``run-id`` is the run that built it; it is empty once the artifact has expired and the GitHub release has the wheel.
    ``released`` is ``true`` if the version was released before: its model was promoted then.

    Raises:
        CheckFailedError: main holds something else than that branch, nothing of it went through staging, or its wheel
            has expired.
    """
    built = _built(repository, commit)
    released = _tagged(repository, f"v{version()}") is not None
    found = {"commit": built, "released": json.dumps(released)}
    listed = repository.get(f"actions/workflows/{_BUILDS}/runs", head_sha=built) or {"workflow_runs": []}
    runs = sorted(listed["workflow_runs"], key=lambda one: int(one["id"]), reverse=True)
    passed = [run for run in runs if run["head_branch"].startswith(_BRANCHES) and _deployed(repository, run)]
    for run in passed:
        artifacts = repository.get(f"actions/runs/{run['id']}/artifacts", name="wheel") or {"artifacts": []}
        if any(not artifact["expired"] for artifact in artifacts["artifacts"]):
            return {**found, "run-id": str(run["id"])}
    if released:
        return {**found, "run-id": ""}
    if passed:
        raise CheckFailedError(
            f"the wheel that {_BUILDS} built for {built} has expired, and no release has it; accepted: start {_BUILDS} "
            f"for the branch again, then this workflow"
        )
    raise CheckFailedError(
        f"in no run of {_BUILDS} for {built} has the job '{DEPLOYS}' passed; accepted: a commit of a branch "
        "release/* or hotfix/* that went through staging"
    )


def _built(repository: api.Repository, commit: str) -> str:
    pulls = repository.pages(f"commits/{commit}/pulls")
    merged = (one for one in pulls if one["merged_at"] and one["merge_commit_sha"] == commit)
    pull = next((one for one in merged if one["head"]["ref"].startswith(_BRANCHES)), None)
    # Without a pull request the branch was pushed to main as it is.
    built = str(pull["head"]["sha"]) if pull else commit
    merge = _commit(repository, commit)
    if _tree(repository, built) != merge["tree"]["sha"]:
        raise CheckFailedError(
            f"{commit} holds other files than {built}, which went through staging; accepted: a release branch cut "
            "from development after main was merged there, or a hotfix branch into which main was merged"
        )
    if pull and built not in [parent["sha"] for parent in merge["parents"]]:
        raise CheckFailedError(
            f"{commit} is not a merge commit of {pull['head']['ref']}: main lacks the history of {_DEVELOPMENT}, and "
            "the next release would conflict; accepted: a merge commit. Open a pull request from the same branch to "
            "main again, and merge it with a merge commit"
        )
    return built


def _deployed(repository: api.Repository, run: dict[str, Any]) -> bool:
    listed = repository.get(f"actions/runs/{run['id']}/jobs", per_page="100") or {"jobs": []}
    return any(job["name"] == DEPLOYS and job["conclusion"] == "success" for job in listed["jobs"])


def _tree(repository: api.Repository, commit: str) -> str:
    return str(_commit(repository, commit)["tree"]["sha"])


def _commit(repository: api.Repository, commit: str) -> dict[str, Any]:
    found = repository.get(f"git/commits/{commit}")
    if found is None:
        raise CheckFailedError(f"{commit}: is not a commit of {repository.name}")
    return dict(found)


def merged(repository: api.Repository, *, head: str, commit: str) -> str:
    """That a merge brings just what its pull request's head holds, in words.

    Raises:
        CheckFailedError: it holds something else.
    """
    if _tree(repository, head) != _tree(repository, commit):
        raise CheckFailedError(
            f"{commit} holds other files than {head}, from which the model was made, so it is not a model of {commit}; "
            "accepted: a branch that is up to date with development when it is merged. The next such merge has a model"
        )
    return f"{commit} holds what {head} does"


def newest(repository: api.Repository, *, branch: str, commit: str) -> bool:
    """Whether a commit is the last one of a branch.

    Raises:
        CheckFailedError: there is no such branch.
    """
    found = repository.get(f"git/ref/heads/{branch}")
    if found is None:
        raise CheckFailedError(f"{branch}: is not a branch of {repository.name}")
    return bool(found["object"]["sha"] == commit)


def publish(repository: api.Repository, *, commit: str, wheel: Path) -> str:
    """Make the release; one that was begun is finished, and one that there is stays as it is. Its address.

    Raises:
        InputError: the version can't be released, or has no notes.
        CheckFailedError: it is released with another commit.
    """
    tag = check(repository, commit=commit)
    releases = (one for one in repository.pages("releases") if one["tag_name"] == tag)
    release: dict[str, Any] | None = next(releases, None)
    if release is not None and not release["draft"]:
        return str(release["html_url"])
    said = notes(tag.removeprefix("v"))
    content = {"tag_name": tag, "name": tag, "body": api.fitting(said)}
    if _tagged(repository, tag) is None:
        # The tag keeps the SHA-256: files of a release may be replaced, and a protected tag may not.
        made = repository.send(
            "POST", "git/tags", tag=tag, message=f"{_SHA256}{distribution.digest(wheel)}", object=commit, type="commit"
        )
        # A release that makes its tag itself needs the permission `workflows` if the commit changes a workflow
        # (docs.github.com, "Create a release"), which the token of a workflow can't have.
        repository.send("POST", "git/refs", ref=f"refs/tags/{tag}", sha=made["sha"])
    if release is None:
        release = repository.send("POST", "releases", **content, draft=True)
    # It is a draft until it is whole: nobody sees a release without its wheel.
    there = {asset["name"] for asset in release["assets"]}
    for file in (wheel, distribution.seal_of(wheel)):
        if file.name not in there:
            repository.upload(release["upload_url"], name=file.name, content=file.read_bytes())
    published = repository.send("PATCH", f"releases/{release['id']}", **content, draft=False)
    return str(published["html_url"])


def download(repository: api.Repository, *, into: Path) -> Path:
    """The wheel of this version's release, with its SHA-256 beside it.

    Raises:
        CheckFailedError: there is no such release, or it has another wheel than was released.
    """
    tag = f"v{version()}"
    reference, release = repository.get(f"git/ref/tags/{tag}"), repository.get(f"releases/tags/{tag}")
    assets = [asset for asset in (release or {"assets": []})["assets"] if asset["name"].endswith(".whl")]
    if reference is None or len(assets) != 1:
        raise CheckFailedError(f"{tag}: no release has its wheel; accepted: a version that cd-prod.yml released")
    tagged = reference["object"]["type"] == "tag" and repository.get(f"git/tags/{reference['object']['sha']}")
    recorded = str(tagged["message"]).strip() if tagged else ""
    into.mkdir(parents=True, exist_ok=True)
    wheel = into / Path(assets[0]["name"]).name
    wheel.write_bytes(repository.download(f"releases/assets/{assets[0]['id']}"))
    if recorded != f"{_SHA256}{distribution.digest(wheel)}":
        wheel.unlink()
        raise CheckFailedError(
            f"{tag}: the wheel of the release is not the one that was released: the tag records "
            f"'{recorded or 'nothing'}'; accepted: a new version"
        )
    distribution.seal(wheel)
    return wheel


def mark(repository: api.Repository, *, environment: str, commit: str) -> str:
    """Move the tag of what is deployed in an environment; the tag."""
    tag = f"deployed/{environment}"
    if repository.get(f"git/ref/tags/{tag}") is None:
        repository.send("POST", "git/refs", ref=f"refs/tags/{tag}", sha=commit)
    else:
        repository.send("PATCH", f"git/refs/tags/{tag}", sha=commit, force=True)
    return tag


def deployed(repository: api.Repository) -> list[str]:
    """The environments to which something was deployed."""
    return [name for name in _ENVIRONMENTS if repository.get(f"git/ref/tags/deployed/{name}") is not None]
