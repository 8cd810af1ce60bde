"""Types that settings and parameters of steps are made of."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

Reason = Literal["feature", "ci", "retraining"]
Share = Annotated[float, Field(gt=0, lt=1)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
_MOST = 100_000
"""What Databricks takes of machines, and more than anybody wants of the rest."""
Positive = Annotated[int, Field(gt=0, le=_MOST)]
Count = Annotated[int, Field(ge=0, le=_MOST)]


@dataclass(frozen=True)
class matching:  # noqa: N801 (it reads as a part of an annotation)
    """Of a text that must match a pattern from end to end; the message describes which texts do."""

    pattern: str
    accepted: str

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"must be {self.accepted}")
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$", "$comment": self.accepted}


def exactly_one(*keys: str) -> dict[str, Any]:
    """The part of a JSON Schema by which a table has exactly one of several keys."""
    return {"oneOf": [{"required": [key]} for key in keys]}


Identifier = Annotated[
    str,
    matching(
        "[a-z][a-z0-9_]{0,254}",
        "up to 255 lower-case letters, digits and underscores that begin with a letter, such as 'churn_model'",
    ),
]
SchemaName = Annotated[
    str, matching(r"[A-Za-z0-9_-]{1,255}\.[A-Za-z0-9_-]{1,255}", "a catalog and a schema, such as 'lake.churn'")
]


def _some(number: int) -> int:
    if number == 0:
        raise ValueError("must not be 0; accepted: -1 for one of each core, or a number of processes")
    return number


def _time_zone(name: str) -> str:
    # A machine may lack the database, and its own names mean nothing to another one.
    if name != "UTC" and name not in zoneinfo.available_timezones() - {"localtime", "Factory", "posixrules"}:
        raise ValueError("is not a time zone; accepted: a name of the IANA database, such as 'UTC' or 'Europe/Berlin'")
    return name


def _distinct(columns: list[str]) -> list[str]:
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise ValueError(f"names {', '.join(map(repr, repeated))} more than once")
    return columns


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _iso_day(text: object) -> object:
    if isinstance(text, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError("is not a date; expected YYYY-MM-DD")
    return text


TimeZone = Annotated[str, AfterValidator(_time_zone)]
Day = Annotated[datetime.date, BeforeValidator(_iso_day)]
"""A day, ``YYYY-MM-DD``."""
Columns = Annotated[list[NonEmpty], Field(json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)]
ClassName = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | int | float)]
Folds = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Threshold = Annotated[float, Field(allow_inf_nan=False)]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Significance = Annotated[float, Field(ge=1e-6, lt=0.5)]
Bound = Annotated[float, Field(allow_inf_nan=False)]
Processes = Annotated[int, Field(json_schema_extra={"not": {"const": 0}}), AfterValidator(_some)]
Rows = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Base of all settings: immutable, strict, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        use_attribute_docstrings=True,
        # A hyper-parameter may well be infinite.
        ser_json_inf_nan="constants",
    )


ColumnType = Literal["boolean", "long", "double", "string", "date", "timestamp"]


def _source_type(text: str) -> str:
    digits, scale = map(int, found.groups()) if (found := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", text)) else (0, 0)
    if found and 1 <= digits <= 38 and scale <= digits:
        return f"decimal({digits},{scale})"
    if text not in (*get_args(ColumnType), "decimal"):
        known = ", ".join(get_args(ColumnType))
        raise ValueError(f"is not a type of a column; accepted: {known}, decimal(DIGITS,SCALE) with up to 38 digits")
    return "decimal(38,18)" if text == "decimal" else text


SourceType = Annotated[
    str,
    Field(json_schema_extra={"pattern": rf"^({'|'.join(get_args(ColumnType))}|decimal(\(\d+, ?\d+\))?)$"}),
    AfterValidator(_source_type),
]
Bucket = Annotated[
    str,
    matching(
        r"(?!xn--|sthree-|amzn-s3-demo-)(?![0-9]+(\.[0-9]+){3}$)(?!.*(\.\.|-s3alias$|--ol-s3$|\.mrap$|--(x|table)-s3$))"
        "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "a name that S3 takes: 3 to 63 lower-case letters, digits, hyphens and single dots, no IP address, no reserved "
        "beginning or end, such as 'my-bucket'",
    ),
]
Region = Annotated[str, matching("[a-z]{2}(-[a-z]+)+-[0-9]", "a region of AWS, such as 'eu-central-1'")]
KeyPath = Annotated[
    str,
    matching("[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", "a path without a slash at its ends, such as 'team/ml-pipeline'"),
]
KmsKey = Annotated[
    str,
    matching(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+",
        # The resource's documentation asks for the key's ARN; that of an alias shows as a change in each plan.
        "the ARN of a key, not of an alias, such as 'arn:aws:kms:eu-central-1:123456789012:key/1234abcd'",
    ),
]
