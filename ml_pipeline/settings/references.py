"""References to secrets, which take the place of secrets in settings."""

from __future__ import annotations

import re

SECRET = re.compile(r"\{\{secrets/([A-Za-z0-9_.-]{1,128})/([A-Za-z0-9_.-]{1,128})\}\}")
"""A secret, by its scope and key (docs.databricks.com, "Use a secret in a Spark configuration property or environment
variable"; provider's documentation, secret.md)."""
_SECRET_NAME = re.compile(
    r"password|passwd|secret|token|credential|(access|account|api|private|sas)[._-]?key", re.IGNORECASE
)
_ABOUT_SECRETS = re.compile(r"(provider|type|endpoint|url|uri|enabled|class|scope|file|path)$", re.IGNORECASE)
"""The last word of names such as ``spark.hadoop.fs.s3a.aws.credentials.provider``, which hold no secret."""


def keeps_its_secret(name: str, value: str) -> bool:
    """Whether a value is a reference to a secret, or has neither a part of one nor the name of a secret."""
    named = _SECRET_NAME.search(name) and not _ABOUT_SECRETS.search(name)
    return bool(SECRET.fullmatch(value)) or not (named or "{{" in value)
