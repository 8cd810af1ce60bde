"""Texts from templates. No value of a report can become Markdown or HTML.

None shows a secret either: a value that looks like one, or that the environment calls one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from ml_pipeline.reports.plots import limit, number, percent, short, signed
from ml_pipeline.wording import counted

_CODE, _PROSE = 60, 1_500
"""Characters that a name, and that a sentence, has at most."""
# What a code span can't hold in a table, and what is not a word in a sentence.
_UNFIT = re.compile(r"[`|\\]")
_SPECIAL = re.compile(r"[^\w\s.,:;!?+%()=/'\"…-]|(?<![^\W_])_|_(?![^\W_])")
# GitHub makes links of these, and tells whoever is mentioned.
_LINK = re.compile(r"(?<=[@#])|(?<=:)(?=//)|(?<=\bwww)(?=\.)")
_BREAK = "\N{ZERO WIDTH SPACE}"
_HALF = 20
_LEAST_REACH = 1e-3
"""Half the least width of a plot in text: below it, differences are rounding."""
REDACTED = "***"
_SECRET_NAME = re.compile(
    r"(?i)(secret|passw|token(?!iz)|credential|api_?key|private_?key|access_?key|connection_?string)"
)
_LEAST = 8
"""Characters of an environment variable's value that is looked for: a shorter one is part of too many words."""
_TOKENS = re.compile(
    r"""
      (?<=://) [^\s/@]+ (?=@)                             # user and password of an address
    | \b dapi [0-9a-f]{20,} (?:-\d+)?                     # Databricks
    | \b dose [0-9a-f]{20,}
    | \b gh[pousr]_ \w{20,} | \b github_pat_ \w{20,}      # GitHub
    | \b (?:AKIA|ASIA) [0-9A-Z]{16} \b                    # AWS
    | \b xox[abeprs]- [\w-]{10,}                          # Slack
    | \b eyJ [\w-]{8,} \. [\w-]{8,} (?:\. [\w-]*)?        # a JSON web token
    | -----BEGIN [ A-Z]* PRIVATE [ ] KEY----- .*
    | (?<=[?&]sig=) [^&\s]+                               # a signed address
    | (?i:(?<=bearer[ ])) [\w.~+/-]{12,}=*
    """,
    re.VERBOSE | re.DOTALL,
)
# `password=...` and `"token": "..."` within a longer text.
_ASSIGNED = re.compile(
    r"(?i)(\b[\w-]*(?:secret|passw\w*|token(?!iz)|api_?key)[\w-]*[\"']?\s*[=:]\s*[\"']?)([^\s\"',;&}]{4,})"
)


def names_a_secret(name: str) -> bool:
    """Whether the value of something by this name is secret, whatever it is."""
    return bool(_SECRET_NAME.search(name))


def redact(text: str) -> str:
    """A text without the secrets in it."""
    for name, value in os.environ.items():
        if len(value) >= _LEAST and names_a_secret(name):
            text = text.replace(value, REDACTED)
    return _ASSIGNED.sub(rf"\1{REDACTED}", _TOKENS.sub(REDACTED, text))


def cut(text: Any, most: int) -> str:
    """A text in one line, without secrets and invisible characters, and no longer than so many characters."""
    line = "".join(character if character.isprintable() else " " for character in redact(str(text)))
    line = " ".join(line.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def code(text: Any, most: int = _CODE) -> Markup:
    """A name in Markdown, as code: nothing in it is a mark, a mention or a link, in a table or out of it."""
    shown = cut(text, most)
    if not shown:
        return Markup("-")
    if not _UNFIT.search(shown):
        return Markup(f"`{shown}`")  # noqa: S704 (Markdown: a code span takes it as it is)
    entities = re.sub(r"[^\w -]|_", _entity, shown)
    return Markup(f"<code>{entities}</code>")  # noqa: S704 (each mark is an entity)


def prose(text: Any, most: int = _PROSE) -> Markup:
    """A sentence in Markdown, in which no name is a mark, a mention or a link."""
    broken = _LINK.sub(_BREAK, cut(text, most))
    return Markup(_SPECIAL.sub(_entity, broken))  # noqa: S704 (each mark is an entity)


def _entity(found: re.Match[str]) -> str:
    return found[0] if found[0] == _BREAK else f"&#{ord(found[0])};"


def intervals(rows: Sequence[tuple[str, float, float, float]], *, tolerance: float | None) -> str:
    """A plot in text of names, differences and the bounds of their intervals; zero and the tolerance are lines."""
    reach = max([tolerance or 0.0, _LEAST_REACH, *(abs(bound) for row in rows for bound in row[1:])])

    def column(value: float) -> int:
        return round(_HALF * value / reach) + _HALF

    width = max(len(cut(name, 28)) for name, *_ in rows)
    lines = [f"{'':{width}}  {signed(-reach):<{_HALF}}0{signed(reach):>{_HALF}}"]
    for name, value, low, high in rows:
        line = [" "] * (2 * _HALF + 1)
        first, last = column(low), column(high)
        line[first : last + 1] = "─" * (last + 1 - first)
        if tolerance is not None:
            line[column(-tolerance)] = "┊"
        line[column(0.0)] = "┼" if low < 0 < high else "│"
        line[first], line[last] = "├", "┤"
        line[column(value)] = "●"
        # The fence around it is of the same backticks.
        label = cut(name, 28).replace("`", "'")
        lines.append(f"{label:{width}}  {''.join(line)}  {signed(value)}")
    return "\n".join(line.rstrip() for line in lines)


def _finalize(value: Any) -> Any:
    return redact(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render(name: str, **values: Any) -> str:
    """The text of a file from its template, ``NAME.j2``; in a page, values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ml_pipeline.reports"),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        code=code,
        counted=counted,
        cut=cut,
        limit=limit,
        number=number,
        percent=percent,
        prose=prose,
        short=short,
        signed=signed,
    )
    return environment.get_template(f"{name}.j2").render(**values)
