"""Types of the keys of an environment file's deployment tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ml_pipeline.settings.types import matching

Bucket = Annotated[
    str,
    matching(
        r"(?!xn--|sthree-|amzn-s3-demo-)(?![0-9]+(\.[0-9]+){3}$)(?!.*(\.\.|-s3alias$|--ol-s3$|\.mrap$|--(x|table)-s3$))"
        "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "a name that S3 takes: 3 to 63 lower-case letters, digits, hyphens and single dots, no IP address, no reserved "
        "beginning or end, such as 'my-bucket'",
    ),
]
TagName = Annotated[
    str,
    matching("[A-Za-z0-9 _.:/=+@-]{1,127}", "up to 127 letters, digits, blanks and _.:/=+@-, such as 'cost centre'"),
]
Region = Annotated[str, matching("[a-z]{2}(-[a-z]+)+-[0-9]", "a region of AWS, such as 'eu-central-1'")]
KeyPath = Annotated[
    str,
    matching("[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", "a path without a slash at its ends, such as 'team/ml-pipeline'"),
]
KmsKey = Annotated[
    str,
    matching(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9_/-]+",
        "the ARN of a key, such as 'arn:aws:kms:eu-central-1:123456789012:alias/my-key'",
    ),
]
ConnectionId = Annotated[
    str, matching("[A-Za-z0-9_.-]+", "letters, digits, underscores, dots and hyphens, such as 'databricks_default'")
]
Engine = Literal["databricks", "airflow"]
_MOST = 100_000
"""What Databricks takes of machines, and more than anybody wants of the rest."""
Positive = Annotated[int, Field(gt=0, le=_MOST)]
Count = Annotated[int, Field(ge=0, le=_MOST)]
