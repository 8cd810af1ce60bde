"""The settings of a repository that belong to no branch and no environment."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from functools import partial

from infra.doctor import flow
from infra.doctor.finding import Finding, attempted, gh_api, judged, visible
from infra.github import api

_NEEDED = "the permission 'Administration: read', or the scope 'repo', and an administrator of the repository"
_OWN = "actions"
"""The owner of GitHub's own actions."""


def basics(repository: api.Repository) -> list[Finding]:
    """Its branches, and how it merges; not checked if the token does not see the repository."""
    return attempted(
        "repository", "the permission 'Metadata: read', or the scope 'repo'", partial(_repository, repository)
    )


def findings(repository: api.Repository) -> Iterator[Finding]:
    """Actions, the token of a workflow, and forks."""
    yield from attempted("Actions", _NEEDED, partial(_actions, repository))
    yield from attempted("workflow token", _NEEDED, partial(_token, repository))
    yield from attempted("workflows of forks", _NEEDED, partial(_forks, repository))


def site(repository: api.Repository) -> list[Finding]:
    """The site of the documents."""
    return attempted("site", "the permission 'Pages: read', or the scope 'repo'", partial(_site, repository))


def _repository(repository: api.Repository) -> Iterator[Finding]:
    content = visible(repository, "")
    path = f"repos/{repository.name}"
    problems, remedies = [], []
    if repository.get("git/ref/heads/main") is None:
        problems.append("has no branch main")
        remedies.append("git push origin HEAD:main")
    if repository.get("git/ref/heads/development") is None:
        problems.append("has no branch development")
        main = f"$(gh api {path}/git/ref/heads/main --jq .object.sha)"
        remedies.append(
            gh_api("POST", f"{path}/git/refs", {"ref": "refs/heads/development", "sha": main}, quoted=False)
        )
    changes: dict[str, object] = {}
    if content["default_branch"] != "main":
        problems.append(f"the default branch is {content['default_branch']}; expected: main")
        changes["default_branch"] = "main"
    # Who may not push does not see it.
    if content.get("allow_merge_commit") is False:
        problems.append("merge commits are not allowed")
        changes["allow_merge_commit"] = True
    if changes:
        remedies.append(gh_api("PATCH", path, changes))
    yield judged("repository", problems, ok="main, development; merge commits", remedy="\n".join(remedies))


def _actions(repository: api.Repository) -> Iterator[Finding]:
    content = visible(repository, "actions/permissions")
    path = f"repos/{repository.name}/actions/permissions"
    allowed = content.get("allowed_actions", "all")
    problem, remedy = "", gh_api("PUT", path, {"enabled": True, "allowed_actions": "all"})
    if not content["enabled"]:
        problem = "are disabled"
    elif allowed == "local_only":
        problem = "of others are not allowed"
    elif allowed == "selected":
        selected = visible(repository, "actions/permissions/selected-actions")
        patterns = [one.partition("@")[0] for one in selected.get("patterns_allowed", [])]
        missing = [
            name
            for name in sorted(flow.actions())
            if not any(fnmatch.fnmatchcase(name, one) for one in patterns)
            and not selected.get("github_owned_allowed" if name.startswith(f"{_OWN}/") else "verified_allowed")
        ]
        problem = f"not allowed: {', '.join(missing)}" if missing else ""
        body = {**selected, "patterns_allowed": [*selected.get("patterns_allowed", []), *(f"{n}@*" for n in missing)]}
        remedy = gh_api("PUT", f"{path}/selected-actions", body)
    yield judged("Actions", [problem] if problem else [], ok=f"enabled; allowed: {allowed}", remedy=remedy)


def _token(repository: api.Repository) -> Iterator[Finding]:
    place = "actions/permissions/workflow"
    default = visible(repository, place)["default_workflow_permissions"]
    remedy = gh_api("PUT", f"repos/{repository.name}/{place}", {"default_workflow_permissions": "read"})
    problems = [] if default == "read" else [f"has the default permission '{default}'; expected: read"]
    yield judged("workflow token", problems, ok="reads by default", remedy=remedy)


def _forks(repository: api.Repository) -> Iterator[Finding]:
    wanted: bool | str = True
    if visible(repository, "")["private"]:
        place, key = "fork-pr-workflows-private-repos", "require_approval_for_fork_pr_workflows"
    else:
        place, key, wanted = "fork-pr-contributor-approval", "approval_policy", "all_external_contributors"
    place = f"actions/permissions/{place}"
    content = visible(repository, place)
    right = content[key] == wanted or content.get("run_workflows_from_fork_pull_requests") is False
    problems = [] if right else [f"{key} is {content[key]}; expected: {wanted}"]
    remedy = gh_api("PUT", f"repos/{repository.name}/{place}", {**content, key: wanted})
    yield judged("workflows of forks", problems, ok="run only after an approval", remedy=remedy)


def _site(repository: api.Repository) -> Iterator[Finding]:
    has_site = visible(repository, "")["has_pages"]
    built = has_site and visible(repository, "pages").get("build_type") == "workflow"
    problems = [] if built else ["is not built by a workflow" if has_site else "is missing"]
    method = "PUT" if has_site else "POST"
    remedy = gh_api(method, f"repos/{repository.name}/pages", {"build_type": "workflow"})
    yield judged("site", problems, ok="built by docs.yml", remedy=remedy)
