"""Which instances of pull requests may be there.

- ``left`` lists those that a closed pull request may have left: closed with a conflict or for another branch, where
  GitHub starts no workflow; deployed anew by a run that was repeated; or not destroyed by a fault of their own code.
- ``check`` rejects a pull request that is closed: its instance would be left.
"""

from __future__ import annotations

import datetime
from typing import Any

from infra.github import api
from ml_pipeline.errors import CheckFailedError

_BOT = "dependabot[bot]"
"""Whose pull requests get no instance."""
_LOOKED_FOR = datetime.timedelta(days=7)
"""How long after a pull request was closed its instance is looked for, each night anew."""
_KEPT = datetime.timedelta(days=3)
"""How long the instance of a merged one is left alone: if its model could not be kept, it is the only copy."""
_MOST = 256
"""Jobs that GitHub makes of a matrix."""


def left(repository: api.Repository) -> list[str]:
    """The instances that may be left of pull requests that were closed lately, of the newest ones first."""
    now = datetime.datetime.now(datetime.UTC)
    found = []
    for pull in repository.pages("pulls", state="closed", sort="updated", direction="desc"):
        if now - datetime.datetime.fromisoformat(pull["updated_at"]) > _LOOKED_FOR:
            break
        closed = now - datetime.datetime.fromisoformat(pull["closed_at"])
        if has_one(pull, repository.name) and (_KEPT if pull["merged_at"] else closed) <= closed <= _LOOKED_FOR:
            found.append(f"pr-{pull['number']}")
    return found[:_MOST]


def has_one(pull: dict[str, Any], repository: str) -> bool:
    """Whether the CI deploys an instance for a pull request: not for one of a fork or a bot."""
    # Whatever branch it is for: that may have been changed, and to destroy what is not there changes nothing.
    origin = pull["head"]["repo"]  # of a fork that was deleted there is none
    return bool(origin and origin["full_name"] == repository and pull["user"]["login"] != _BOT)


def check(repository: api.Repository, *, pull_request: int) -> str:
    """That a pull request is open, in words.

    Raises:
        CheckFailedError: it is closed, or there is none.
    """
    found = repository.get(f"pulls/{pull_request}")
    if found is None or found["state"] != "open":
        raise CheckFailedError(
            f"pull request {pull_request} is not open: nothing is deployed for it; accepted: one that is reopened"
        )
    return f"pull request {pull_request} is open"
