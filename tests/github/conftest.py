"""What the tests of the workflows share: GitHub's API on loopback, as far as the workflows call it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.github.settings import Settings

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
NAME = "team/project"
TOKEN = "a-token-of-the-workflow"


@dataclass
class GitHub:
    """One repository: what is in it, and each request that changed it."""

    address: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    """Of pull request 7."""
    issues: list[dict[str, Any]] = field(default_factory=list)
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of each tag, what it points to."""
    annotated: dict[str, str] = field(default_factory=dict)
    """Of each tag object, its commit."""
    messages: dict[str, str] = field(default_factory=dict)
    """Of each tag object, its message."""
    branches: dict[str, str] = field(default_factory=dict)
    """Of each branch, its last commit."""
    ahead: dict[str, int] = field(default_factory=dict)
    """Of each ``BASE...HEAD``, how many commits the head has that the base has not."""
    trees: dict[str, str] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)
    """Of each commit that is a merge, what it merges."""
    pulls: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of each commit, those that brought it."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """All pull requests, as their list has them."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """Of workflows, each with its ``jobs``."""
    releases: list[dict[str, Any]] = field(default_factory=list)
    assets: dict[str, bytes] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    settings: Settings | None = None
    """Its settings, where a test is about them: then they answer every call."""
    refuses: int = 0
    """Status with which every request is refused, if it is."""

    def shell(self, **more: str) -> dict[str, str]:
        """The variables of a workflow."""
        workflow = {
            "GITHUB_API_URL": self.address,
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_SERVER_URL": "https://example.com",
            "GITHUB_RUN_ID": "99",
        }
        own = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")}
        return {**own, **workflow, **more}

    def call(self, *arguments: str, folder: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ``infra`` as the workflows do: with no library installed."""
        return subprocess.run(
            [sys.executable, "-S", "-m", "infra", *arguments],
            cwd=folder,
            env=self.shell(PYTHONPATH=str(ROOT), **more),
            capture_output=True,
            text=True,
            check=False,
        )

    def answer(self, method: str, path: str, query: dict[str, str], sent: dict[str, Any]) -> Any:
        """What GitHub answers; ``None`` where there is nothing."""
        if method != "GET":
            self.changes.append(f"{method} {path}")
        parts = (self._discussion, self._history, self._reference, self._release)
        answers = (part(method, path, query, sent) for part in parts)
        return next((answer for answer in answers if answer is not None), None)

    def _discussion(self, method: str, path: str, query: dict[str, str], sent: dict[str, Any]) -> Any:
        answer: Any = None
        match method, path.split("/"):
            case "GET", ["issues", "7", "comments"]:
                answer = _page(self.comments, query)
            case "POST", ["issues", "7", "comments"]:
                answer = _made(self.comments, "comments", user={"type": "Bot"}, **sent)
            case "PATCH", ["issues", "comments", number]:
                answer = _changed(self.comments, number, sent)
            case "GET", ["issues"]:
                answer = _page([one for one in self.issues if one["state"] == query["state"]], query)
            case "POST", ["issues"]:
                made = {"number": len(self.issues) + 1, "state": "open", "user": {"type": "Bot"}}
                answer = _made(self.issues, "issues", **made, **sent)
            case "POST", ["issues", number, "comments"]:
                answer = {"html_url": f"https://example.com/issues/{number}#comment"}
            case "PATCH", ["issues", number]:
                answer = _changed(self.issues, number, sent)
        return answer

    def _history(self, method: str, path: str, query: dict[str, str], _: dict[str, Any]) -> Any:
        match method, path.split("/"):
            case "GET", ["commits", commit, "pulls"]:
                return _page(self.pulls.get(commit, []), query)
            case "GET", ["compare", *_]:
                compared = path.removeprefix("compare/")
                return {"ahead_by": self.ahead[compared]} if compared in self.ahead else None
            case "GET", ["pulls"]:
                assert (query["sort"], query["direction"]) == ("updated", "desc")
                listed = [one for one in self.requests if one["state"] == query["state"]]
                return _page(sorted(listed, key=lambda one: str(one["updated_at"]), reverse=True), query)
            case "GET", ["pulls", number]:
                return next((one for one in self.requests if str(one["number"]) == number), None)
            case "GET", ["git", "commits", commit]:
                parents = [{"sha": sha} for sha in self.parents.get(commit, [])]
                return {"tree": {"sha": self.trees[commit]}, "parents": parents} if commit in self.trees else None
        return self._workflow(method, path, query)

    def _workflow(self, method: str, path: str, query: dict[str, str]) -> Any:
        match method, path.split("/"):
            case "GET", ["actions", "runs", number, "artifacts"]:
                expired = next((one.get("expired", False) for one in self.runs if str(one["id"]) == number), True)
                return {"artifacts": [{"name": query["name"], "expired": expired}]}
            case "GET", ["actions", "runs", number, "jobs"]:
                return next(({"jobs": one["jobs"]} for one in self.runs if str(one["id"]) == number), None)
            case "GET", ["actions", "workflows", workflow, "runs"]:
                return {
                    "workflow_runs": [one for one in self.runs if one["path"].endswith(workflow) and _fits(one, query)]
                }
        return None

    def _reference(self, method: str, path: str, _: dict[str, str], sent: dict[str, Any]) -> Any:
        tag = path.rpartition("/tags/")[2]
        match method:
            case "GET" if path.startswith("git/ref/tags/"):
                return {"object": self.refs[tag]} if tag in self.refs else None
            case "GET" if path.startswith("git/ref/heads/"):
                branch = path.removeprefix("git/ref/heads/")
                return {"object": {"type": "commit", "sha": self.branches[branch]}} if branch in self.branches else None
            case "GET" if path.startswith("git/tags/"):
                number = path.rpartition("/")[2]
                message = self.messages.get(number, "")
                return {"message": message, "object": {"type": "commit", "sha": self.annotated[number]}}
            case "POST" if path == "git/tags":
                assert sent["type"] == "commit"
                number = f"annotated-{sent['tag']}"
                self.annotated[number], self.messages[number] = sent["object"], sent["message"]
                return {"sha": number}
            case "POST" if path == "git/refs":
                tag = sent["ref"].removeprefix("refs/tags/")
                assert tag not in self.refs
            case "PATCH" if path.startswith("git/refs/tags/"):
                assert tag in self.refs
                assert sent["force"] is True
            case _:
                return None
        self.refs[tag] = {"type": "tag" if sent["sha"] in self.annotated else "commit", "sha": sent["sha"]}
        return {"object": self.refs[tag]}

    def _release(self, method: str, path: str, query: dict[str, str], sent: dict[str, Any]) -> Any:
        match method, path.split("/"):
            case "GET", ["releases"]:
                return _page(self.releases, query)
            case "POST", ["releases"]:
                count = len(self.releases) + 1
                upload = f"{self.address}/repos/{NAME}/releases/{count}/assets{{?name,label}}"
                made = {"id": count, "html_url": f"https://example.com/releases/{count}", "upload_url": upload}
                self.releases.append({**made, "assets": [], **sent})
                return self.releases[-1]
            case "POST", ["releases", number, "assets"]:
                self.assets[query["name"]] = sent["content"]
                asset = {"name": query["name"], "id": list(self.assets).index(query["name"])}
                self.releases[int(number) - 1]["assets"].append(asset)
                return {"name": query["name"]}
            case "PATCH", ["releases", number]:
                release = _changed(self.releases, number, sent)
                if release and not release["draft"]:
                    # GitHub would make the tag of the release, of the default branch where nothing else is asked for.
                    assert release["tag_name"] in self.refs
                return release
        return self._published(method, path)

    def _published(self, method: str, path: str) -> Any:
        match method, path.split("/"):
            case "GET", ["releases", "tags", tag]:
                return next((one for one in self.releases if one["tag_name"] == tag and not one["draft"]), None)
            case "GET", ["releases", "assets", number]:
                return self.assets[list(self.assets)[int(number)]]
        return None


def _made(items: list[dict[str, Any]], kind: str, **sent: Any) -> dict[str, Any]:
    number = len(items) + 1
    items.append({"id": number, "html_url": f"https://example.com/{kind}/{number}", **sent})
    return items[-1]


def _page(items: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    size = int(query["per_page"])
    first = (int(query["page"]) - 1) * size
    return items[first : first + size]


def _fits(run: dict[str, Any], query: dict[str, str]) -> bool:
    return bool(run["head_sha"] == query["head_sha"])


def _changed(items: list[dict[str, Any]], number: str, sent: dict[str, Any]) -> dict[str, Any] | None:
    for item in items:
        if str(item["id"]) == number:
            item.update(sent)
            return item
    return None


@pytest.fixture
def github() -> Iterator[GitHub]:
    """GitHub's API with an empty repository."""
    with serve() as repository:
        yield repository


@contextlib.contextmanager
def serve() -> Iterator[GitHub]:
    """Serve GitHub's API with an empty repository."""
    repository = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 (the names that http.server calls)

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_json = self.headers.get("Content-Type") == "application/json"
            sent = json.loads(content or "{}") if is_json else {"content": content}
            path, _, query = self.path.partition("?")
            if path.startswith("/store/"):
                token = self.headers.get("Authorization")
                answer = b"" if token else repository.answer("GET", path.removeprefix("/store/"), {}, {})
                self._send(400 if token else 200, answer)
                return
            found = re.fullmatch(rf"/repos/{NAME}(?:/(.*))?", path)
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            if known and repository.settings and path.startswith("/users/"):
                self._say(*repository.settings.person(path))
                return
            if repository.refuses or not known or found is None:
                self._say(repository.refuses or 401, {"message": "it is refused"})
                return
            method, place, asked = str(self.command), found[1] or "", dict(urllib.parse.parse_qsl(query))
            if repository.settings:
                self._say(*repository.settings.answer(method, place, asked, sent))
                return
            answer = repository.answer(method, place, asked, sent)
            if isinstance(answer, bytes):
                # GitHub redirects to its store, which is another host and rejects a token that it does not know.
                self.send_response(302)
                self.send_header("Location", f"{repository.address}/store/{found[1]}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._say(404 if answer is None else 200, {"message": "Not Found"} if answer is None else answer)

        def _say(self, status: int, answer: Any) -> None:
            self._send(status, b"" if answer is None else json.dumps(answer).encode())

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its own name)
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        repository.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield repository
        server.shutdown()
