"""Writes the reference of the settings, and the JSON Schemas that editors use, from the models."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_pipeline.settings.environment import Tables
from ml_pipeline.settings.pipeline import Pipeline
from ml_pipeline.settings.project import Project

Schema = dict[str, Any]

REFERENCE = Path("docs/settings.md")
PIPELINE, ENVIRONMENT = Path("docs/schemas/pipeline.schema.json"), Path("docs/schemas/environment.schema.json")
_INTRODUCTION = """\
# Settings

`python -m infra settings` generates this page and the JSON Schemas from the models; don't edit it. Both kinds of files
are strict: an unknown key or a wrong value is an error that names the file and the key.
[Pipeline and environment files](environments.md) explains how the files work together.

Each file begins with the path of its schema. An editor with Taplo then completes and checks the keys, such as Visual
Studio Code with *Even Better TOML*:

```toml
#:schema ../docs/schemas/environment.schema.json
```
"""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of a table, as the reference lists it."""

    name: str
    type: str
    default: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table of a file with its keys."""

    path: str
    """Dotted key of the table; empty at the top of the file."""
    description: str
    keys: tuple[Key, ...]

    @property
    def title(self) -> str:
        """The table, with the constant that tells it from others of the same name."""
        constant = next((f" with `{key.name} = {key.type[1:-1]}`" for key in self.keys if key.type[:2] == '`"'), "")
        return f"`[{self.path}]`{constant if ' or ' not in constant else ''}"


def documents() -> dict[Path, str]:
    """The content of each generated file."""
    schemas = {PIPELINE: pipeline_schema(), ENVIRONMENT: environment_schema()}
    texts = {file: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for file, schema in schemas.items()}
    return {**texts, REFERENCE: reference()}


def write() -> None:
    """Write all of them."""
    for file, text in documents().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def pipeline_schema() -> Schema:
    """The JSON Schema of a pipeline file."""
    schema: Schema = _plain(Pipeline.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Pipeline file"}


def environment_schema() -> Schema:
    """The JSON Schema of an environment file: its own tables, and optional overrides of a pipeline's keys."""
    schema, pipeline = _plain(Tables.model_json_schema()), _plain(Pipeline.model_json_schema())
    overrides = _renamed(_optional({"Pipeline": {**pipeline, "$defs": {}}, **pipeline["$defs"]}), "Override")
    schema["$defs"] |= overrides
    schema["properties"]["pipelines"]["additionalProperties"] = {"$ref": "#/$defs/PipelineOverride"}
    needed = schema.pop("required")
    # An environment that is not deployed may lack tables.
    schema |= {"if": {"required": ["workspace"]}, "then": {"required": needed}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Environment file"}


def _plain(schema: Any) -> Any:
    """A schema without what TOML lacks (null) and without titles, which repeat the keys."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema if each != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    if plain.get("default", ...) is None:
        del plain["default"]
    if len(plain.get("anyOf", [])) == 1:
        (only,) = plain.pop("anyOf")
        plain = {**only, **plain}
    if isinstance(plain.get("description"), str):
        plain["description"] = " ".join(plain["description"].replace("``", "`").split())
    if "patternProperties" in plain:
        plain["additionalProperties"] = False
    return plain


def _optional(schema: Any) -> Any:
    """A schema without required keys: an override adds to the keys of the pipeline's file."""
    if isinstance(schema, list):
        return [_optional(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {"required", "oneOf"} if isinstance(schema.get("properties"), dict) else set()
    return {key: _optional(value) for key, value in schema.items() if key not in dropped}


def _renamed(definitions: Schema, suffix: str) -> Schema:
    """Definitions with other names, also where they refer to each other."""
    text = json.dumps({f"{name}{suffix}": definition for name, definition in definitions.items()})
    for name in definitions:
        text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{name}{suffix}"')
    renamed: Schema = json.loads(text)
    return renamed


def reference() -> str:
    """The page of all settings."""
    parts = [_INTRODUCTION]
    schemas = {
        "Pipeline files": pipeline_schema(),
        "Environment files": environment_schema(),
        "Project": _plain(Project.model_json_schema()),
    }
    for title, schema in schemas.items():
        parts.append(f"## {title}\n\n{schema['description']}\n")
        first: dict[tuple[Key, ...], Section] = {}
        parts += [_page(section, like=first.setdefault(section.keys, section)) for section in sections(schema)]
    return "\n".join(parts)


def _page(section: Section, *, like: Section) -> str:
    heading = f"### {section.title}\n\n{section.description}\n" if section.path else ""
    if like is not section:
        return f"{heading}\nThe keys are those of `[{like.path}]`.\n"
    rows = (f"| `{key.name}` | {key.type} | {key.default} | {key.description} |" for key in section.keys)
    return "\n".join(
        [*([heading] if heading else []), "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    )


def sections(schema: Schema) -> Iterator[Section]:
    """The tables of a file in the order of the model; the keys at the top first, if there are any."""
    yield from _sections(schema, schema, "")


def _sections(schema: Schema, table: Schema, path: str) -> Iterator[Section]:
    keys, inner = [], []
    required = table.get("required", [])
    for name, value in table["properties"].items():
        dotted = f"{path}.{name}" if path else name
        tables = list(_tables(schema, value, dotted))
        # An override has the keys of the pipeline's file, which are listed there.
        if tables and name != "pipelines":
            inner += tables
        if not tables or any(each["type"] != "table" for each in _kinds(schema, value)) or name == "pipelines":
            keys.append(_key(schema, name, value, required=name in required))
    if keys:
        yield Section(path=path, description=table.get("description", ""), keys=tuple(keys))
    for dotted, description, one in inner:
        for section in _sections(schema, one, dotted):
            shown = description if section.path == dotted and description else section.description
            yield Section(path=section.path, description=shown, keys=section.keys)


def _tables(schema: Schema, value: Schema, path: str) -> Iterator[tuple[str, str, Schema]]:
    """The tables with known keys that a value may be: path, description, schema."""
    own = value.get("description", "")
    for each in _alternatives(value):
        found = _resolved(schema, each)
        if "properties" in found:
            yield path, own, found
        elif isinstance(found.get("additionalProperties"), dict):
            for _, description, inner in _tables(schema, found["additionalProperties"], path):
                yield f"{path}.NAME", description or inner.get("description", ""), inner


def _alternatives(value: Schema) -> list[Schema]:
    return list(value.get("anyOf") or value.get("oneOf") or [value])


def _resolved(schema: Schema, value: Schema) -> Schema:
    if "$ref" not in value:
        return value
    found: Schema = schema["$defs"][value["$ref"].rpartition("/")[2]]
    return found


def _kinds(schema: Schema, value: Schema) -> list[Schema]:
    """The alternatives of a value, each with its type: ``table`` if it is a table with known keys."""
    found = []
    for each in _alternatives(value):
        one = copy.copy(_resolved(schema, each))
        if "properties" in one or isinstance(one.get("additionalProperties"), dict):
            one["type"] = "table"
        found.append({"type": "any", **one})
    return found


def _key(schema: Schema, name: str, value: Schema, *, required: bool) -> Key:
    default = "required" if required else f"`{json.dumps(value['default'])}`" if "default" in value else ""
    types = " or ".join(dict.fromkeys(_type(each) for each in _kinds(schema, value)))
    description = value.get("description") or _resolved(schema, value).get("description", "")
    return Key(name=name, type=types, default=default, description=description.replace("|", "\\|"))


_NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`", "any": "any"}
_LIMITS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def _type(value: Schema) -> str:
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return " or ".join(f"`{json.dumps(each)}`" for each in value["enum"])
    if value["type"] == "array":
        return f"list of {_NAMES.get(value.get('items', {}).get('type', 'any'), 'any')}s".replace("anys", "values")
    if value["type"] in ("table", "object"):
        return "table"
    limits = [text.format(f"{value[key]:,.15g}") for key, text in _LIMITS.items() if key in value]
    limits += [value["$comment"]] if "$comment" in value else []
    name = _NAMES[value["type"]]
    return f"{name}, {', '.join(limits)}" if limits else name
