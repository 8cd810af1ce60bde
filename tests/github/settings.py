"""The settings of a repository on GitHub, as its API shows and changes them.

Each request and each answer is checked against the published description (``description.py``). What the description has
no words for, such as who may see what, follows docs.github.com.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import re
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from tests.github import description

Body = dict[str, Any]
Answer = tuple[int, Any]

DESCRIPTION: Body = json.loads(description.FILE.read_text(encoding="utf-8"))
PEOPLE = {"ann": 7}
"""The number of each account."""
_ADMINISTRATORS_ONLY = "actions/permissions"
_COLLABORATORS_ONLY = ("actions/", "environments/[^/]+/(variables|secrets)")
_MOST = {"variables": 30}
"""The most items of a page, where that is not 100."""


@functools.cache
def _validator(call: str, part: str, status: str) -> jsonschema.Draft202012Validator | None:
    found = DESCRIPTION["calls"][call]
    schema = found["sent"] if part == "sent" else found["answers"][status]
    return schema and jsonschema.Draft202012Validator({**schema, "components": DESCRIPTION["components"]})


def sample(schema: Body) -> Any:
    """The smallest value that a schema accepts."""
    if "$ref" in schema:
        return sample(DESCRIPTION["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return sample(schema[key][0])
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {key: sample(schema["properties"][key]) for key in schema.get("required", [])}
    return {"array": [], "string": "", "integer": 1, "boolean": False}[schema["type"]]


def _named(schema: str, /, **more: Any) -> Body:
    """A value that a schema of the description accepts."""
    described = DESCRIPTION["components"]["schemas"][schema]
    assert more.keys() <= described["properties"].keys(), f"{schema}: {more.keys() - described['properties'].keys()}"
    return {**sample(described), **more}


def _fits(pattern: str, reference: str) -> bool:
    """Whether the pattern of a ruleset fits; a wildcard matches no slash."""
    parts, names = pattern.split("/"), reference.split("/")
    if pattern == "~ALL":
        return True
    return len(parts) == len(names) and all(map(fnmatch.fnmatchcase, names, parts))


@dataclass
class Settings:
    """A repository without any setting, on which a person asks who administers it."""

    name: str
    role: str = "admin"
    """The role of who asks: ``admin``, ``write``, ``read`` or, for nobody that the repository knows, empty."""
    repository: Body = field(default_factory=lambda: {"default_branch": "main", "private": False, "has_pages": False})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "a" * 40})
    environments: dict[str, Body] = field(default_factory=dict)
    policies: dict[str, list[Body]] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    """The variables and secrets of each list, by the path of the list."""
    rulesets: list[Body] = field(default_factory=list)
    permissions: Body = field(default_factory=lambda: {"enabled": True, "allowed_actions": "all"})
    selected: Body = field(default_factory=dict)
    token: Body = field(
        default_factory=lambda: {"default_workflow_permissions": "write", "can_approve_pull_request_reviews": False}
    )
    forks: Body = field(default_factory=lambda: {"approval_policy": "first_time_contributors"})
    private_forks: Body = field(
        default_factory=lambda: {
            "run_workflows_from_fork_pull_requests": True,
            "send_write_tokens_to_workflows": False,
            "send_secrets_and_variables": False,
            "require_approval_for_fork_pr_workflows": False,
        }
    )
    site: Body | None = None
    changes: list[str] = field(default_factory=list)

    def person(self, path: str) -> Answer:
        """The number of an account."""
        number = PEOPLE.get(path.rpartition("/")[2])
        return (200, {"id": number}) if number else (404, {"message": "Not Found"})

    def answer(self, method: str, path: str, query: dict[str, str], sent: Body) -> Answer:
        """GitHub's answer; a request that the description does not have is 404, one that it rejects is 422."""
        call, names = self._call(method, path)
        if call is None or not self.role:
            return 404, {"message": "Not Found"}
        if problem := self._forbidden(method, path):
            return problem
        assert set(query) <= set(DESCRIPTION["calls"][call]["query"]), f"{call}: {query}"
        validator = _validator(call, "sent", "")
        if validator and (problems := [error.message for error in validator.iter_errors(sent)]):
            return 422, {"message": "; ".join(problems)}
        if method != "GET":
            self.changes.append(f"{method} {path}")
        status, body = self._do(call, names, query, sent)
        if status < 400:
            validator = _validator(call, "answers", str(status))
            assert (validator is None) == (body is None), call
            if validator:
                validator.validate(body)
        return status, body

    def _call(self, method: str, path: str) -> tuple[str | None, list[str]]:
        for call in DESCRIPTION["calls"]:
            verb, _, place = call.partition(" ")
            # The description lets branches and references have slashes.
            pattern = re.sub(r"\\{(branch|ref)\\}", "(.+)", re.escape(place.lstrip("/")))
            found = re.fullmatch(re.sub(r"\\{\w+\\}", "([^/]+)", pattern), path)
            if verb == method and found:
                return call, list(found.groups())
        return None, []

    def _forbidden(self, method: str, path: str) -> Answer | None:
        if self.role != "admin" and (method != "GET" or path.startswith(_ADMINISTRATORS_ONLY)):
            return 403, {"message": "Must have admin rights to Repository."}
        if self.role == "read" and any(re.match(one, path) for one in _COLLABORATORS_ONLY):
            return 404, {"message": "Not Found"}
        return None

    def _do(self, call: str, names: list[str], query: dict[str, str], sent: Body) -> Answer:
        method, _, place = call.partition(" ")
        if place.endswith(("variables", "secrets", "{name}", "{secret_name}")):
            return self._value(method, place, names, query, sent)
        if place.startswith("/environments"):
            return self._environment(method, place, names, query, sent)
        if place.startswith("/rule"):
            return self._rule(method, place, names, query, sent)
        if place.startswith("/git"):
            return self._reference(method, names, sent)
        if place.startswith("/actions"):
            return self._permission(method, place, sent)
        return self._site(method, sent) if place == "/pages" else self._repository(method, sent)

    def _repository(self, method: str, sent: Body) -> Answer:
        if method == "PATCH":
            self.repository |= sent
        shown = self.repository
        if self.role == "read":
            # "To view merge-related settings, you must have the contents:read and contents:write permissions."
            shown = {key: value for key, value in shown.items() if not key.startswith("allow_")}
        return 200, _named("full-repository", **shown)

    def _reference(self, method: str, names: list[str], sent: Body) -> Answer:
        reference = sent["ref"] if method == "POST" else f"refs/{names[0]}"
        branch = reference.removeprefix("refs/heads/")
        if method == "POST":
            if branch in self.branches or not re.fullmatch("[0-9a-f]{40}", sent["sha"]):
                return 422, {"message": "Reference already exists, or its commit does not"}
            self.branches[branch] = sent["sha"]
        elif branch not in self.branches:
            return 404, {"message": "Not Found"}
        target = {"type": "commit", "sha": self.branches[branch], "url": ""}
        return 201 if method == "POST" else 200, _named("git-ref", ref=reference, object=target)

    def _permission(self, method: str, place: str, sent: Body) -> Answer:
        kept = {
            "/actions/permissions": self.permissions,
            "/actions/permissions/selected-actions": self.selected,
            "/actions/permissions/workflow": self.token,
            "/actions/permissions/fork-pr-contributor-approval": self.forks,
            "/actions/permissions/fork-pr-workflows-private-repos": self.private_forks,
        }[place]
        if place.rpartition("/")[2].startswith("fork") and self.repository["private"] == (kept is self.forks):
            return 404, {"message": "Not Found"}
        if method == "GET":
            return 200, kept
        kept |= sent
        return 204, None

    def _site(self, method: str, sent: Body) -> Answer:
        if method == "GET":
            return (200, _named("page", **self.site)) if self.site else (404, {"message": "Not Found"})
        if (method == "POST") == bool(self.site):
            return 409, {"message": "Conflict"}
        self.site = sent
        self.repository["has_pages"] = True
        if sent["build_type"] == "workflow" and "github-pages" not in self.environments:
            self._make("github-pages", {"protected_branches": False, "custom_branch_policies": True})
            self._policy("github-pages", "main", "branch")
        return (201, _named("page", **sent)) if method == "POST" else (204, None)

    def _make(self, name: str, policy: Body | None, rules: list[Body] | None = None) -> Body:
        made = _named("environment", name=name, deployment_branch_policy=policy, protection_rules=rules or [])
        keeps = name in self.environments and policy and policy["custom_branch_policies"]
        self.policies[name] = self.policies[name] if keeps else []
        self.environments[name] = made
        return made

    def _policy(self, environment: str, name: str, kind: str) -> Body:
        number = 1 + max((one["id"] for each in self.policies.values() for one in each), default=0)
        self.policies[environment].append({"id": number, "node_id": "", "name": name, "type": kind})
        return self.policies[environment][-1]

    def _environment(self, method: str, place: str, names: list[str], query: dict[str, str], sent: Body) -> Answer:
        if place == "/environments":
            return 200, _counted("environments", list(self.environments.values()), query)
        if method == "PUT":
            policy = sent.get("deployment_branch_policy")
            known = all(one["id"] in PEOPLE.values() for one in sent.get("reviewers") or [])
            if not known or (policy and policy["protected_branches"] == policy["custom_branch_policies"]):
                return 422, {"message": "Validation error when the environment name is invalid"}
            return 200, self._make(names[0], policy, _protection(sent, policy))
        policy = self.environments.get(names[0], {}).get("deployment_branch_policy")
        if not policy or not policy["custom_branch_policies"]:
            return 404, {"message": "Not Found"}
        return self._policies(method, names, query, sent)

    def _policies(self, method: str, names: list[str], query: dict[str, str], sent: Body) -> Answer:
        policies = self.policies[names[0]]
        if method == "GET":
            return 200, _counted("branch_policies", policies, query)
        if method == "POST":
            if any(one["name"] == sent["name"] for one in policies):
                return 303, None
            return 200, self._policy(names[0], sent["name"], sent.get("type", "branch"))
        self.policies[names[0]] = [one for one in policies if str(one["id"]) != names[1]]
        return 204, None

    def _value(self, method: str, place: str, names: list[str], query: dict[str, str], sent: Body) -> Answer:
        kind = "variables" if "variables" in place else "secrets"
        if place.startswith("/environments") and names[0] not in self.environments:
            return 404, {"message": "Not Found"}
        if "organization" in place and place[1:] not in self.values:
            return 404, {"message": "Not Found"}  # The repository of a person.
        path = place[1:].replace("{environment_name}", names[0] if names else "").partition("/{")[0]
        kept = self.values.setdefault(path, {})
        if method == "GET":
            shown = {"variables": "actions-variable", "secrets": "actions-secret"}[kind]
            values = {name: {"value": value} if kind == "variables" else {} for name, value in kept.items()}
            return 200, _counted(kind, [_named(shown, name=name, **more) for name, more in values.items()], query)
        name = names[1] if len(names) > 1 else sent["name"]
        if (name in kept) != (method == "PATCH") and kind == "variables":
            return (409, {"message": "Already exists"}) if name in kept else (404, {"message": "Not Found"})
        kept[name] = sent.get("value", "")
        return (201, {}) if method in ("POST", "PUT") else (204, None)

    def _rule(self, method: str, place: str, names: list[str], query: dict[str, str], sent: Body) -> Answer:
        if place == "/rules/branches/{branch}":
            return 200, _page([self._ruled(one, rule) for one, rule in self._rules(f"refs/heads/{names[0]}")], query)
        if method == "POST":
            if any(one["name"] == sent["name"] for one in self.rulesets):
                return 422, {"message": "Validation Failed: Name must be unique"}
            return 201, self._shown(self.add(**sent))
        if place == "/rulesets":
            kinds = query.get("targets", "branch,tag,push").split(",")
            # A list has neither rules nor conditions.
            keys = ("id", "name", "target", "source", "source_type", "enforcement")
            shown = [{key: one[key] for key in keys} for one in self.rulesets if one["target"] in kinds]
            return 200, _page(shown, query)
        found = next((one for one in self.rulesets if str(one["id"]) == names[0]), None)
        return (200, self._shown(found)) if found else (404, {"message": "Not Found"})

    def add(self, *, source_type: str = "Repository", **sent: Any) -> Body:
        """Add a ruleset."""
        number = 100 + len(self.rulesets)
        common = {"target": "branch", "bypass_actors": [], "rules": [], "id": number, "source": self.name}
        self.rulesets.append(_named("repository-ruleset", **{**common, "source_type": source_type, **sent}))
        return self.rulesets[-1]

    def _shown(self, ruleset: Body) -> Body:
        # "bypass_actors is only returned if the user making the request has write access to the ruleset."
        return {key: value for key, value in ruleset.items() if self.role == "admin" or key != "bypass_actors"}

    def _rules(self, reference: str) -> list[tuple[Body, Body]]:
        def takes(ruleset: Body) -> bool:
            names = ruleset["conditions"]["ref_name"]
            fits = functools.partial(map, lambda pattern: _fits(pattern, reference))
            return (
                ruleset["enforcement"] == "active" and any(fits(names["include"])) and not any(fits(names["exclude"]))
            )

        return [
            (one, rule) for one in self.rulesets if one["target"] == "branch" and takes(one) for rule in one["rules"]
        ]

    def _ruled(self, ruleset: Body, rule: Body) -> Body:
        origin = {"ruleset_source_type": ruleset["source_type"], "ruleset_source": self.name}
        return {**rule, **origin, "ruleset_id": ruleset["id"]}


def _protection(sent: Body, policy: Body | None) -> list[Body]:
    rules: list[Body] = [{"id": 3, "node_id": "", "type": "branch_policy"}] if policy else []
    if sent.get("wait_timer"):
        rules.append({"id": 1, "node_id": "", "type": "wait_timer", "wait_timer": sent["wait_timer"]})
    if sent.get("reviewers"):
        reviewers = [
            {"type": one["type"], "reviewer": _named("simple-user", id=one["id"])} for one in sent["reviewers"]
        ]
        rule = {"id": 2, "node_id": "", "type": "required_reviewers", "reviewers": reviewers}
        rules.append({**rule, "prevent_self_review": sent.get("prevent_self_review", False)})
    return rules


def _page(items: list[Body], query: dict[str, str], most: int = 100) -> list[Body]:
    size = min(int(query.get("per_page", "30")), most)
    first = (int(query.get("page", "1")) - 1) * size
    return items[first : first + size]


def _counted(key: str, items: list[Body], query: dict[str, str]) -> Body:
    return {"total_count": len(items), key: _page(items, query, _MOST.get(key, 100))}
