"""Takes secrets out of what is shown to others: a value that looks like one, or that the environment calls one."""

from __future__ import annotations

import os
import re

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
