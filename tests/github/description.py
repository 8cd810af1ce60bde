"""GitHub's published description of its REST API, as far as ``infra doctor`` and the calls that it prints use it.

``description.json`` is an excerpt of ``generated/api.github.com.json`` in the npm package ``@octokit/openapi`` 23.0.2
(MIT), which repeats https://github.com/github/rest-api-description. The package itself is no dependency, because it
unpacks to 450 MB. To make the excerpt anew, run ``npm pack @octokit/openapi``, unpack it, and run this file with the
path of that JSON file.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
_REPOSITORY = "/repos/{owner}/{repo}"
_CALLS = {
    "": "get patch",
    "/actions/organization-secrets": "get",
    "/actions/organization-variables": "get",
    "/actions/permissions": "get put",
    "/actions/permissions/fork-pr-contributor-approval": "get put",
    "/actions/permissions/fork-pr-workflows-private-repos": "get put",
    "/actions/permissions/selected-actions": "get put",
    "/actions/permissions/workflow": "get put",
    "/actions/secrets": "get",
    "/actions/variables": "get",
    "/environments": "get",
    "/environments/{environment_name}": "put",
    "/environments/{environment_name}/deployment-branch-policies": "get post",
    "/environments/{environment_name}/deployment-branch-policies/{branch_policy_id}": "delete",
    "/environments/{environment_name}/secrets": "get",
    "/environments/{environment_name}/secrets/{secret_name}": "put",
    "/environments/{environment_name}/variables": "get post",
    "/environments/{environment_name}/variables/{name}": "patch",
    "/git/ref/{ref}": "get",
    "/git/refs": "post",
    "/pages": "get post put",
    "/rules/branches/{branch}": "get",
    "/rulesets": "get post",
    "/rulesets/{ruleset_id}": "get",
}
"""The paths of a repository, each with its methods."""
_LEFT_OUT = ("description", "example", "examples", "title", "format", "externalDocs", "default", "deprecated")


def _plain(part: Any) -> Any:
    """A schema of OpenAPI 3.0 as JSON Schema, without its texts."""
    if isinstance(part, list):
        return [_plain(one) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {
        key: {name: _plain(one) for name, one in value.items()} if key == "properties" else _plain(value)
        for key, value in part.items()
        if key not in _LEFT_OUT and not key.startswith("x-")
    }
    return {"anyOf": [kept, {"type": "null"}]} if kept.pop("nullable", False) else kept


def _excerpt(description: dict[str, Any]) -> dict[str, Any]:
    calls: dict[str, Any] = {}
    for path, methods in _CALLS.items():
        for method in methods.split():
            call = description["paths"][_REPOSITORY + path][method]
            parameters = [_resolved(description, one) for one in call["parameters"]]
            answers = {status: _resolved(description, one) for status, one in call["responses"].items()}
            calls[f"{method.upper()} {path}"] = {
                "query": [one["name"] for one in parameters if one["in"] == "query"],
                "sent": _content(call.get("requestBody", {})),
                "answers": {status: _content(one) for status, one in answers.items() if status < "400"},
            }
    schemas: dict[str, Any] = {}
    wanted = _names(calls)
    while wanted:
        name = wanted.pop()
        schemas[name] = _plain(description["components"]["schemas"][name])
        wanted |= _names(schemas[name]) - schemas.keys()
    return {"calls": calls, "components": {"schemas": dict(sorted(schemas.items()))}}


def _resolved(description: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    for key in part.get("$ref", "").split("/")[1:]:
        description = description[key]
    return description if "$ref" in part else part


def _content(part: dict[str, Any]) -> Any:
    return _plain(part.get("content", {}).get("application/json", {}).get("schema"))


def _names(part: Any) -> set[str]:
    return set(re.findall(r"#/components/schemas/([\w-]+)", json.dumps(part)))


if __name__ == "__main__":
    excerpt = _excerpt(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    FILE.write_text(json.dumps(excerpt, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")
