"""Keeps one comment on a pull request up to date.

Each part is a Markdown file, such as a plan's summary or a scorecard. A part that there is not is
said to be missing: the comment shows how far the workflow came.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.github import api

MARKER = "<!-- ml-pipeline:pull-request -->"
"""The line by which the comment is found again."""


def assemble(parts: Sequence[Path], *, commit: str, run: str = "") -> str:
    """The comment: a head that names commit and run, then each part.

    Where all of it is too long, the longest parts are cut to an equal share: each has a note, and none is lost.
    """
    head = f"{MARKER}\nOf {commit}" + (f", by [this run]({run})." if run else ".")
    texts = [_text(part) for part in parts]
    most = _share([len(text) for text in texts], api.LONGEST_BODY - len(head) - 2 * len(texts) - 1)
    return "\n\n".join([head, *(api.fitting(text, most=most) for text in texts)]) + "\n"


def _text(part: Path) -> str:
    if part.is_file():
        return part.read_text(encoding="utf-8").strip()
    return f"_There is no {part.parent.name}/{part.name}: the run ended before it was written._"


def _share(lengths: Sequence[int], room: int) -> int:
    """The most that one text may take of the room; what short ones leave, long ones take."""
    left = room
    for taken, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - taken)
        if length > share:
            return share
        left -= length
    return room


def post(repository: api.Repository, *, pull_request: int, body: str) -> str:
    """Change the comment that an earlier run left, or make it; the comment's address."""
    found = repository.own(f"issues/{pull_request}/comments", MARKER)
    if found is None:
        made = repository.send("POST", f"issues/{pull_request}/comments", body=body)
    else:
        made = repository.send("PATCH", f"issues/comments/{found['id']}", body=body)
    return str(made["html_url"])
