"""A plan's changes as Markdown, for a comment on a pull request."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator

from infra.review.plan import Action, Change, Changes

MOST_CHARACTERS = 60_000
"""Of a summary: a comment on GitHub takes 65,536, and a workflow may add to it."""
_MOST_VALUE = 200
_SIGNS: dict[Action, str] = {"create": "+", "update": "~", "replace": "±", "delete": "-", "import": "←", "forget": "∅"}


def marker(stack: str) -> str:
    """The line by which a workflow finds its comment again."""
    return f"<!-- plan:{stack} -->"


def render(stack: str, changes: Changes, *, cost: str = "") -> str:
    """The summary: counts, what loses state, each change attribute by attribute.

    Of a plan too long for a comment the details at the end are left out, with a note.
    """
    counts = Counter(change.action for change in changes.items)
    said = ", ".join(f"{counts[action]} to {action}" for action in _SIGNS if counts[action])
    head = [marker(stack), f"### Plan for `{stack}`: {said or 'no change'}", ""]
    lost = [change for change in changes.items if change.loses_state]
    if lost:
        head += ["> [!CAUTION]", "> **What these hold will be lost**, and no deployment brings it back:"]
        head += [f"> - {_code(change.address)} is {_ends(change)}" for change in lost]
        head.append("")
    tail = ["", *([cost, ""] if cost else []), f"Fingerprint: `{changes.fingerprint}`", ""]
    room = MOST_CHARACTERS - sum(len(line) + 1 for line in (*head, *tail))
    body: list[str] = []
    for shown, change in enumerate(changes.items):
        lines = list(_details(change))
        room -= sum(len(line) + 1 for line in lines)
        # What the next lines, and the one with how many are missing, need.
        if room < 200:
            body += ["", f"_{len(changes.items) - shown} more changes are not shown here: the plan is too long._"]
            break
        body += lines
    return "\n".join([*head, *body, *tail])


def _ends(change: Change) -> str:
    return {"replace": "replaced", "delete": "deleted"}.get(change.action, "given up")


def _details(change: Change) -> Iterator[str]:
    state = " · holds state" if change.holds_state else ""
    imported = f" · imported from {_code(change.imports)}" if change.imports else ""
    title = f"<code>{_SIGNS[change.action]} {html.escape(change.address)}</code> {change.action}{state}{imported}"
    if not change.attributes:
        yield f"- {title}"
        return
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield "| attribute | before | after |"
    yield "|---|---|---|"
    for one in change.attributes:
        forces = " **forces replacement**" if one.replaces else ""
        yield f"| {_code(one.path or 'value')}{forces} | {_code(one.before)} | {_code(one.after)} |"
    yield ""
    yield "</details>"


def _code(value: str) -> str:
    """A value in a table's cell: as it is, on one line, whatever it holds; a long one is cut, with a mark."""
    if len(value) > _MOST_VALUE:
        value = f"{value[:_MOST_VALUE]}… ({len(value):,} characters)"
    plain = html.escape(value).replace("|", "&#124;").replace("\n", "&#10;").replace("`", "&#96;")
    return f"<code>{plain}</code>"
