"""The rulesets of a repository: what its branches and tags require, and what the workflow's own token may still do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from infra.doctor import flow
from infra.doctor.finding import Finding, attempted, gh_api, judged, page, visible
from infra.github import api

_NEEDED = "the permission 'Metadata: read', or the scope 'repo'"
_RELEASES = ("release/", "hotfix/")
_ADMINISTRATORS = {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
"""The administrators of a repository: registry.terraform.io, integrations/github, github_repository_ruleset."""
_METHODS = {"merge", "squash", "rebase"}

Rules = Mapping[str, Sequence[Mapping[str, Any]]]
"""The active rules of a branch, by their type."""


def findings(repository: api.Repository) -> Iterator[Finding]:
    """What each branch of the flow and each of its tags needs."""
    for branch in ("development", "main"):
        yield from attempted(f"branch {branch}", _NEEDED, partial(_branch, repository, branch))
    yield from attempted("branches release/*, hotfix/*", _NEEDED, partial(_releases, repository))
    yield from attempted("tags", _NEEDED, partial(_tags, repository))


def _rules(repository: api.Repository, branch: str) -> Rules:
    found: dict[str, list[Mapping[str, Any]]] = {}
    # It takes the names of branches that are not there, and answers for all levels (docs.github.com, "Get rules for a
    # branch").
    for rule in repository.pages(f"rules/branches/{branch}"):
        found.setdefault(rule["type"], []).append(rule)
    return found


def _parameters(rules: Rules, kind: str) -> list[Mapping[str, Any]]:
    return [rule.get("parameters", {}) for rule in rules.get(kind, [])]


def _branch(repository: api.Repository, branch: str) -> Iterator[Finding]:
    rules, checks = _rules(repository, branch), flow.checks(branch)
    problems = list(_unprotected(rules, branch, checks))
    harmful = list(_harmful(rules, branch))
    # A further ruleset adds rules; what the ones there forbid, only they can allow.
    remedy = [_changed(repository, rule) for rule, _ in harmful]
    if problems:
        remedy.insert(0, _added(repository, f"Git flow: {branch}", [branch], _demanded(branch, checks)))
    yield judged(
        f"branch {branch}",
        [*problems, *(text for _, text in harmful)],
        ok=f"pull requests with a review and {len(checks)} checks",
        remedy="\n".join(dict.fromkeys(remedy)),
    )


def _unprotected(rules: Rules, branch: str, checks: Sequence[str]) -> Iterator[str]:
    reviewed, required = _parameters(rules, "pull_request"), _parameters(rules, "required_status_checks")
    if not reviewed:
        yield "no ruleset requires a pull request"
    elif not any(each.get("required_approving_review_count") for each in reviewed):
        yield "no ruleset requires a review"
    if branch == "main" and (others := _methods(rules) - {"merge"}):
        yield f"no ruleset forbids {' and '.join(sorted(others))}; expected: merge commits only"
    reported = {one["context"] for each in required for one in each.get("required_status_checks", [])}
    if missing := [name for name in checks if name not in reported]:
        yield f"no ruleset requires {', '.join(missing)}"
    if branch == "development" and not any(each.get("strict_required_status_checks_policy") for each in required):
        yield "no ruleset requires branches to be up to date"


def _methods(rules: Rules) -> set[str]:
    """The merge methods that all rules allow."""
    allowed = [set(each.get("allowed_merge_methods") or _METHODS) for each in _parameters(rules, "pull_request")]
    return set.intersection(_METHODS, *allowed)


def _harmful(rules: Rules, branch: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The rules that would stop the flow."""
    if branch == "main":
        for rule in rules.get("merge_queue", []):
            yield rule, "has a merge queue, whose commits staging has not validated"
        for rule in rules.get("required_linear_history", []):
            yield rule, "takes no merge commits, because it requires a linear history"
        for rule in rules.get("pull_request", []):
            if "merge" not in (rule.get("parameters", {}).get("allowed_merge_methods") or _METHODS):
                yield rule, "takes no merge commits"


def _demanded(branch: str, checks: Sequence[str]) -> list[dict[str, Any]]:
    required = {
        "strict_required_status_checks_policy": branch == "development",
        "required_status_checks": [{"context": name} for name in checks],
    }
    reviewed: dict[str, Any] = {
        "required_approving_review_count": 1,
        "dismiss_stale_reviews_on_push": False,
        "require_code_owner_review": False,
        "require_last_push_approval": False,
        "required_review_thread_resolution": False,
    }
    if branch == "main":
        reviewed["allowed_merge_methods"] = ["merge"]
    return [
        {"type": "pull_request", "parameters": reviewed},
        {"type": "required_status_checks", "parameters": required},
    ]


def _releases(repository: api.Repository) -> Iterator[Finding]:
    problems, remedies = [], []
    pushes, rewrites = [{"type": "creation"}, {"type": "update"}], [{"type": "non_fast_forward"}]
    for prefix in _RELEASES:
        rules = _rules(repository, f"{prefix}0.0.0")
        if open_to := [rule["type"] for rule in pushes if rule["type"] not in rules]:
            problems.append(f"no ruleset restricts the {' and the '.join(open_to)} of {prefix}*")
            name = "Git flow: releases"
            remedies.append(_added(repository, name, [f"{one}*" for one in _RELEASES], pushes, [_ADMINISTRATORS]))
        else:
            closed = [rule for kind in ("creation", "update") for rule in rules[kind]]
            for rule in {rule["ruleset_id"]: rule for rule in closed}.values():
                # Who may not change the ruleset does not see who bypasses it.
                if visible(repository, f"rulesets/{rule['ruleset_id']}").get("bypass_actors") == []:
                    problems.append(f"nobody may push to {prefix}*")
                    remedies.append(_changed(repository, rule))
        if "non_fast_forward" not in rules:
            problems.append(f"no ruleset blocks force pushes to {prefix}*")
            name = "Git flow: no force pushes"
            remedies.append(_added(repository, name, [f"{one}*" for one in _RELEASES], rewrites))
    yield judged(
        "branches release/*, hotfix/*",
        problems,
        ok="only who may release pushes; no force pushes",
        remedy="\n".join(dict.fromkeys(remedies)),
    )


def _tags(repository: api.Repository) -> Iterator[Finding]:
    rulesets = [visible(repository, f"rulesets/{one['id']}") for one in repository.pages("rulesets", targets="tag")]
    active = [one for one in rulesets if one["enforcement"] == "active"]
    of_version = [one for one in active if _takes(one, "refs/tags/v0.0.0")]
    kinds = {rule["type"] for one in of_version for rule in one.get("rules", [])}
    problems, remedies = [], []
    if missing := [kind for kind in ("update", "deletion") if kind not in kinds]:
        problems.append(f"no ruleset restricts the {' and the '.join(missing)} of v*")
        wanted = [{"type": "update"}, {"type": "deletion"}]
        remedies.append(_added(repository, "Git flow: versions", ["v*"], wanted, target="tag"))
    moved = [f"refs/tags/deployed/{name}" for name in ("staging", "prod")]
    for one in active:
        # The token of a workflow bypasses no ruleset.
        kinds = {rule["type"] for rule in one.get("rules", [])}
        if any(_takes(one, tag) for tag in moved) and kinds:
            problems.append(f"ruleset '{one['name']}' restricts deployed/*, which the workflows move")
        elif one in of_version and "creation" in kinds:
            problems.append(f"ruleset '{one['name']}' restricts the creation of v*, which a workflow creates")
        else:
            continue
        remedies.append(page(repository, f"settings/rules/{one['id']}"))
    yield judged(
        "tags", problems, ok="v* can't be moved or deleted; the workflows may create and move theirs",
        remedy="\n".join(remedies),
    )  # fmt: skip


def _takes(ruleset: Mapping[str, Any], reference: str) -> bool:
    """Whether a ruleset is for a reference, which is not the default branch."""
    names = ((ruleset.get("conditions") or {}).get("ref_name")) or {"include": ["~ALL"]}
    included, excluded = names.get("include", []), names.get("exclude", [])
    return any(_fits(one, reference) for one in included) and not any(_fits(one, reference) for one in excluded)


def _fits(pattern: str, reference: str) -> bool:
    """Whether a pattern fits, as ``fnmatch`` of Ruby with FNM_PATHNAME (docs.github.com, "Creating rulesets")."""
    if pattern == "~ALL":
        return True
    parts = re.split(r"(\*\*/|\*+|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(.*/)?", "?": "[^/]"}
    spelled = (
        known.get(one) or ("[^/]*" if "*" in one else one if one[:1] == "[" else re.escape(one)) for one in parts
    )
    return re.fullmatch("".join(spelled), reference) is not None


def _added(
    repository: api.Repository,
    name: str,
    patterns: Sequence[str],
    rules: Sequence[Mapping[str, Any]],
    bypass: Sequence[Mapping[str, Any]] = (),
    *,
    target: str = "branch",
) -> str:
    """The call that makes a ruleset; if the name is taken, the page of that one."""
    for one in repository.pages("rulesets"):
        if one["name"] == name and one.get("source_type") == "Repository":
            return page(repository, f"settings/rules/{one['id']}")
    place = "tags" if target == "tag" else "heads"
    body = {
        "name": name,
        "target": target,
        "enforcement": "active",
        "bypass_actors": list(bypass),
        "conditions": {"ref_name": {"include": [f"refs/{place}/{one}" for one in patterns], "exclude": []}},
        "rules": list(rules),
    }
    return gh_api("POST", f"repos/{repository.name}/rulesets", body)


def _changed(repository: api.Repository, rule: Mapping[str, Any]) -> str:
    """The step that changes the ruleset of a rule."""
    return page(repository, f"settings/rules/{rule['ruleset_id']}")
