"""The few calls to GitHub's REST API that the workflows need.

It is the standard library alone, as are the modules that use it: a job whose token may write to the repository installs
nothing, and so runs nobody else's code with it.
"""

from __future__ import annotations

import itertools
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, Literal, Self

from ml_pipeline.errors import InputError, PipelineError

Method = Literal["GET", "POST", "PATCH"]

LONGEST_BODY = 65_536
"""Characters that GitHub takes as the body of a comment or an issue."""
_JSON = "application/vnd.github+json"
_PAGE = 100
_TIMEOUT = 60
_FOLD = "\n\n</details>"
_CUT = "\n\n_The rest does not fit here; the run of the workflow holds all of it._\n"


class RejectedError(PipelineError):
    """GitHub rejects a call.

    Args:
        message: The call, and GitHub's reason.
        status: Status of the answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Repository:
    """One repository, as the token may see and change it.

    Each call raises `RejectedError` if GitHub rejects it, and `PipelineError` if GitHub can't be reached.

    Args:
        name: ``OWNER/NAME``.
        token: The workflow's own token.
        api: Where the API is.
    """

    def __init__(self, *, name: str, token: str, api: str = "https://api.github.com") -> None:
        self.name = name
        self._token = token
        self._api = api.rstrip("/")

    @classmethod
    def of_workflow(cls) -> Self:
        """The repository whose workflow runs, from the variables that a workflow has.

        Raises:
            InputError: a variable is missing.
        """
        missing = [name for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN") if not os.environ.get(name)]
        if missing:
            raise InputError(f"{', '.join(missing)}: not set; accepted: what a GitHub workflow sets")
        return cls(
            name=os.environ["GITHUB_REPOSITORY"],
            token=os.environ["GITHUB_TOKEN"],
            api=os.environ.get("GITHUB_API_URL") or "https://api.github.com",
        )

    def get(self, path: str, **query: str) -> Any:
        """What is under a path of the repository; ``None`` where there is nothing."""
        return self._call("GET", self._address(path, query), missing_is_none=True)

    def own(self, path: str, marker: str, **query: str) -> Any:
        """The comment or issue of a list that begins with a marker; ``None`` where there is none."""
        for item in self.pages(path, **query):
            # Others may quote the marker; only a bot's own item can be changed by it.
            if item["user"]["type"] == "Bot" and (item["body"] or "").startswith(marker) and "pull_request" not in item:
                return item
        return None

    def pages(self, path: str, **query: str) -> Iterator[Any]:
        """Every item of a list, page by page."""
        for page in itertools.count(1):
            items = self._call("GET", self._address(path, {**query, "per_page": str(_PAGE), "page": str(page)}))
            yield from items
            if len(items) < _PAGE:
                return

    def listed(self, path: str, key: str) -> Iterator[Any]:
        """Every item of a list that its answer counts; GitHub may give fewer a page than it is asked for."""
        count = 0
        for page in itertools.count(1):
            answer = self._call("GET", self._address(path, {"per_page": str(_PAGE), "page": str(page)}))
            yield from answer[key]
            count += len(answer[key])
            if count >= answer["total_count"] or not answer[key]:
                return

    def send(self, method: Method, path: str, **content: Any) -> Any:
        """Make or change something of the repository."""
        return self._call(method, self._address(path, {}), json.dumps(content).encode())

    def upload(self, address: str, *, name: str, content: bytes) -> Any:
        """Attach a file to a release, at the address that the release names."""
        place = f"{address.partition('{')[0]}?{urllib.parse.urlencode({'name': name})}"
        return self._call("POST", place, content, kind="application/octet-stream")

    def download(self, path: str) -> bytes:
        """The content of a file of a release."""
        content: bytes = self._call("GET", self._address(path, {}), accepted="application/octet-stream")
        return content

    def _address(self, path: str, query: dict[str, str]) -> str:
        place = f"{self._api}/repos/{self.name}" + (f"/{path}" if path else "")
        return place + (f"?{urllib.parse.urlencode(query)}" if query else "")

    def _call(
        self,
        method: Method,
        address: str,
        content: bytes | None = None,
        *,
        kind: str = "application/json",
        accepted: str = _JSON,
        missing_is_none: bool = False,
    ) -> Any:
        headers = {
            "Accept": accepted,
            "Content-Type": kind,
            "X-GitHub-Api-Version": "2022-11-28",
        }
        request = urllib.request.Request(address, data=content, headers=headers, method=method)  # noqa: S310 (GitHub's)
        # Where GitHub redirects to, such as the store of a release's files, the token is not sent.
        request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        what = f"{method} {address.partition('?')[0]}"
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                said = answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing_is_none:
                return None
            raise RejectedError(f"{what}: {error.code}: {_message(error)}", error.code) from None
        except OSError as error:
            raise PipelineError(f"{what}: GitHub can't be reached: {getattr(error, 'reason', error)}") from None
        if accepted != _JSON:
            return said
        return json.loads(said) if said else None


def _message(error: urllib.error.HTTPError) -> str:
    said = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(said.split())[:200] or str(error.reason)


def fitting(body: str, *, most: int = LONGEST_BODY) -> str:
    """A body cut to what GitHub takes, with a note; a fold that the cut leaves open is closed."""
    if len(body) <= most:
        return body
    kept = body[: most - len(_CUT) - len(_FOLD)].rpartition("\n")[0]
    return kept + (_FOLD if kept.count("<details>") > kept.count("</details>") else "") + _CUT


def run_address() -> str:
    """Where the run of this workflow is shown; empty outside a workflow."""
    run = os.environ.get("GITHUB_RUN_ID", "")
    server, name = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_REPOSITORY", "")
    return f"{server}/{name}/actions/runs/{run}" if run and server and name else ""
