"""The environments of a repository: their rules, variables and secrets."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from infra.doctor import flow
from infra.doctor.finding import Finding, attempted, gh_api, judged
from infra.environment.environment import Environment
from infra.github import api

PLACEHOLDER = "00000000-0000-0000-0000-000000000000"
"""The client id of the environment files that the project ships."""
_CLIENT = "DATABRICKS_CLIENT_ID"
_APART = {"prod-read": ("prod", {_CLIENT}), "prod-plan": ("prod", {"AWS_ROLE_ARN", "ARM_CLIENT_ID"})}
"""The environment than which another one may do less, and the variables in which the two differ for that."""
_RULES = "the permission 'Actions: read', or the scope 'repo'"
_VALUES = "the permissions 'Environments', 'Variables' and 'Secrets' (read), or the scope 'repo'"

Names = Callable[[str, str], Mapping[str, str]]
"""The variables or secrets that the jobs of an environment see, each with its value if GitHub shows it."""


def findings(
    repository: api.Repository, needed: Mapping[str, flow.Needs], deployed: Mapping[str, Environment]
) -> list[Finding]:
    """Rules, variables and secrets of each environment that a workflow names.

    Args:
        repository: The repository.
        needed: What the jobs of each environment read.
        deployed: What is deployed, by the name of its file.
    """
    return attempted("environments", _RULES, lambda: _each(repository, needed, deployed))


def _each(
    repository: api.Repository, needed: Mapping[str, flow.Needs], deployed: Mapping[str, Environment]
) -> Iterator[Finding]:
    made = {one["name"]: one for one in repository.listed("environments", "environments")}
    seen = cache(partial(_seen, repository, made))
    for name, needs in needed.items():
        check = partial(_check, repository, name, needs, made.get(name), seen)
        yield from attempted(f"environment {name}", _VALUES if needs.switches else _RULES, check)
        if needs.variables or needs.secrets:
            values = partial(
                _values, repository, name, needs, seen, deployed.get(name) or deployed.get(name.partition("-")[0])
            )
            yield from attempted(f"variables of {name}", _VALUES, values)


def _seen(repository: api.Repository, made: Mapping[str, Any], name: str, kind: str) -> dict[str, str]:
    lists = [_of_organisation(repository, kind), repository.listed(f"actions/{kind}", kind)]
    if name in made:
        lists.append(repository.listed(f"environments/{name}/{kind}", kind))
    return {one["name"]: one.get("value", "") for each in lists for one in each}


def _of_organisation(repository: api.Repository, kind: str) -> Iterator[Any]:
    try:
        yield from repository.listed(f"actions/organization-{kind}", kind)
    except api.RejectedError as error:
        # The repository of a person has no organisation.
        if error.status != 404:
            raise


def _off(needs: flow.Needs, seen: Names) -> list[str]:
    """The variables without which the jobs of an environment are skipped."""
    return sorted(needs.switches - seen("", "variables").keys())


def _check(
    repository: api.Repository, name: str, needs: flow.Needs, made: Mapping[str, Any] | None, seen: Names
) -> Iterator[Finding]:
    """The rules of an environment."""
    subject = f"environment {name}"
    if off := _off(needs, seen):
        text = f"its jobs are skipped, because the repository has no variable {', '.join(off)}"
        yield Finding(subject=subject, state="not checked", text=text)
        return
    if made is None and name == flow.PAGES:
        return
    rules = _Rules(repository, name, made)
    yield judged(subject, rules.problems(), ok=rules.expected, remedy="\n".join(rules.remedies()))


class _Rules:
    """Who may use an environment.

    Args:
        repository: The repository.
        name: Name of the environment.
        made: The environment; ``None`` if it is missing.
    """

    def __init__(self, repository: api.Repository, name: str, made: Mapping[str, Any] | None) -> None:
        self._path = f"repos/{repository.name}/environments/{name}"
        self._made = made
        self._wanted = flow.ENVIRONMENTS.get(name)
        self._reviewed = name == flow.REVIEWED
        self._rules = (made or {}).get("protection_rules", [])
        self._reviewers = [one for rule in self._rules for one in rule.get("reviewers", [])]
        policy = (made or {}).get("deployment_branch_policy")
        self._any = policy is None
        self._custom = bool(policy and policy["custom_branch_policies"])
        # Each with its number. Of a tag, nobody has reviewed the commit.
        self._policies = {
            f"tag {one['name']}" if one.get("type") == "tag" else one["name"]: one["id"]
            for one in (
                repository.listed(f"environments/{name}/deployment-branch-policies", "branch_policies")
                if self._custom
                else ()
            )
        }

    @property
    def expected(self) -> str:
        """The rules that it needs, in words."""
        branches = f"branches {', '.join(self._wanted)}" if self._wanted else "any branch"
        return branches + ("; required reviewers" if self._reviewed else "")

    def problems(self) -> Iterator[str]:
        """The rules that it lacks, or has in excess."""
        if self._made is None:
            yield f"is missing; expected: {self.expected}"
        elif self._wanted is not None:
            if self._any and self._wanted:
                yield f"any branch may use it; expected: {', '.join(self._wanted)}"
            elif not self._any and not self._wanted:
                yield "some branches may not use it; expected: any branch"
            elif not self._any and not self._custom:
                yield f"every protected branch may use it; expected: {', '.join(self._wanted)}"
            elif self._wanted:
                yield from (f"{one} may not use it" for one in self._missing)
                yield from (f"{one} may use it" for one in self._excess)
            if self._reviewed and not self._reviewers:
                yield "has no required reviewers"
            elif self._reviewers and not self._reviewed:
                yield "waits for a reviewer"

    @property
    def _missing(self) -> list[str]:
        return [one for one in self._wanted or () if one not in self._policies]

    @property
    def _excess(self) -> list[str]:
        return [one for one in self._policies if one not in (self._wanted or ())]

    def remedies(self) -> Iterator[str]:
        """The calls that give it its rules. They repeat what it has: GitHub may reset what a call leaves out."""
        of_branches = {"protected_branches": False, "custom_branch_policies": True} if self._wanted else None
        body: dict[str, Any] = {"deployment_branch_policy": of_branches}
        for rule in self._rules:
            body |= {key: rule[key] for key in ("wait_timer", "prevent_self_review") if key in rule}
        body["reviewers"] = None
        if self._reviewed:
            reviewers = [{"type": one["type"], "id": one["reviewer"]["id"]} for one in self._reviewers]
            body["reviewers"] = reviewers or [{"type": "User", "id": "REVIEWER"}]
        # The shell puts the number there.
        reviewer = f'$(gh api "users/${{REVIEWER:?login of a person who approves {flow.REVIEWED}}}" --jq .id)'
        yield gh_api("PUT", self._path, body, quoted="REVIEWER" not in str(body)).replace('"REVIEWER"', reviewer)
        if self._wanted:
            policies = f"{self._path}/deployment-branch-policies"
            yield from (gh_api("POST", policies, {"name": one, "type": "branch"}) for one in self._missing)
            yield from (gh_api("DELETE", f"{policies}/{self._policies[one]}") for one in self._excess)


def _values(
    repository: api.Repository, name: str, needs: flow.Needs, seen: Names, deployed: Environment | None
) -> Iterator[Finding]:
    """The variables and secrets of an environment, by their names; the values of those that the project knows."""
    if _off(needs, seen):
        return
    problems, remedies = [], []
    variables, option = seen(name, "variables"), f"--repo {repository.name} --env {name}"
    above, different = _APART.get(name, ("", set[str]()))
    known = _known(deployed)
    for one in sorted(_wanted(needs, deployed)):
        value = "" if one in different else known.get(one, "")
        body = shlex.quote(value) if value else f'"${{{name.replace("-", "_").upper()}_{one}:?{one} of {name}}}"'
        if one not in variables:
            problems.append(f"{one} is missing")
        elif one == _CLIENT and value not in ("", variables[one]):
            problems.append(f"{one} is {variables[one]}; expected client_id of the environment's file, {value}")
        elif one in different and variables[one] == seen(above, "variables").get(one):
            problems.append(f"{one} is that of {above}; expected another one, which may only read")
        else:
            continue
        remedies.append(f"gh variable set {one} {option} --body {body}")
    for one in sorted(needs.secrets - seen(name, "secrets").keys()):
        problems.append(f"secret {one} is missing")
        remedies.append(f"gh secret set {one} {option}")
    found = ", ".join(sorted(_wanted(needs, deployed) | needs.secrets))
    yield judged(f"variables of {name}", problems, ok=found, remedy="\n".join(remedies))


def _wanted(needs: flow.Needs, deployed: Environment | None) -> set[str]:
    """The variables without those of other stores of the state."""
    stores = {name for names in flow.STATE.values() for name in names}
    used = {deployed.state.backend} if deployed else set[str]()
    if deployed and deployed.schedule and deployed.schedule.engine == "airflow":
        used.add("s3")  # The bucket of the DAGs.
    kept = {name for backend in used for name in flow.STATE.get(backend, ())}
    return {name for name in needs.variables if name not in stores or name in kept}


def _known(deployed: Environment | None) -> dict[str, str]:
    """The values that an environment's file has."""
    client = deployed.deployer if deployed and deployed.deployer != PLACEHOLDER else None
    return {_CLIENT: client or "", "AWS_REGION": getattr(deployed.state, "region", "") if deployed else ""}
