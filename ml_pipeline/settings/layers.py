"""A pipeline's settings in layers: its own file first, then the overrides of an environment."""

from __future__ import annotations

import copy
import functools
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

LEVELS = 100
"""How deep tables and lists may be nested; pydantic writes no more than some 250 levels as JSON."""
_PATHS = ("csv", "parquet", "table")
_KINDS = {"sklearn", *_PATHS}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The settings of a pipeline that one file holds."""

    file: Path
    table: str = ""
    """Dotted key of the table in the file; empty if it is the whole file."""
    content: dict[str, Any]

    def key(self, path: Iterable[str]) -> str:
        """A key of the pipeline as the file has it."""
        return ".".join(filter(None, (self.table, *path)))

    def place(self, *path: str) -> str:
        """The file and its key, as an error names them."""
        return f"{self.file}: {self.key(path)}"

    def has(self, path: Sequence[str]) -> bool:
        """Whether the file sets the key, or a list that holds it."""
        value: object = self.content
        for part in path:
            if not isinstance(value, dict):
                return True
            if part not in value:
                return False
            value = value[part]
        return bool(path)


def origin(layers: Sequence[Layer], path: Sequence[str]) -> Layer:
    """The layer whose value counts for a key; the pipeline's own file if none sets it."""
    return next((layer for layer in reversed(layers) if layer.has(path)), layers[0])


def merged(layers: Iterable[Layer]) -> dict[str, Any]:
    """What the layers say together: a later one counts more, and tables are merged key by key."""
    return functools.reduce(_merge, (layer.content for layer in layers), {})


def _merge(base: dict[str, Any], override: dict[str, Any], table: str = "") -> dict[str, Any]:
    if _replaces(table, base, override):
        return override
    changes = {
        key: _merge(base[key], value, key) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in override.items()
    }
    return {**base, **changes}


def _replaces(table: str, base: dict[str, Any], override: dict[str, Any]) -> bool:
    """Whether the override names another kind of source, or another class, which the other keys are not for."""
    if table == "estimator":
        return override.get("class", base.get("class")) != base.get("class")
    return table in ("source", "labels") and bool((override.keys() & _KINDS) - base.keys())


def relative_paths(pipeline: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys of sources whose path is relative, each with the path."""
    for tables in (("source",), ("batch_inference", "source"), ("monitoring", "labels")):
        source: Any = pipeline
        for table in tables:
            source = source.get(table) if isinstance(source, dict) else None
        for kind in _PATHS if isinstance(source, dict) else ():
            path = source.get(kind)
            if isinstance(path, str) and (kind != "table" or "/" in path) and not re.match("$|/|[A-Za-z0-9]+:", path):
                yield (*tables, kind), path


def absolute(layer: Layer) -> Layer:
    """The layer with its relative paths counted from the folder of its file."""
    content = copy.deepcopy(layer.content)
    for (*tables, kind), path in relative_paths(layer.content):
        functools.reduce(operator.getitem, tables, content)[kind] = str(layer.file.resolve().parent / path)
    return replace(layer, content=content)


def leaves(value: object, key: str = "", *, level: int = 0) -> Iterator[tuple[str, object]]:
    """All texts, numbers and dates below a value, and the names of tables' keys, each with its dotted key."""
    if level > LEVELS:
        raise RecursionError
    if isinstance(value, dict):
        for name, inner in value.items():
            inner_key = f"{key}.{name}" if key else name
            yield inner_key, name
            yield from leaves(inner, inner_key, level=level + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, key, level=level + 1)
    else:
        yield key, value
