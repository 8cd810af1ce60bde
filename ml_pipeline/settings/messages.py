"""Error messages of settings: which key, what was given, what is accepted."""

from __future__ import annotations

import difflib
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_Models = tuple[type[BaseModel], ...]

_WRITTEN = {
    "bool_type": "must be true or false, without quotes",
    "float_type": "must be a number without quotes",
    "int_type": "must be a whole number without quotes",
    "list_type": "must be a list in brackets",
    "string_type": "must be a text in quotes",
}
"""How TOML and JSON write what pydantic's types of errors ask for."""


class KeyValueError(ValueError):
    """What a validator of a table rejects in a key below it."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def explain(error: ValidationError, model: type[BaseModel] | None = None, *, prefix: str = "") -> str:
    """One line for all problems (``problems``)."""
    return "; ".join(problems(error, model, prefix=prefix))


def problems(error: ValidationError, model: type[BaseModel] | None = None, *, prefix: str = "") -> list[str]:
    """A line for each problem: which key, why, what was given and what is accepted.

    The keys of the model that was validated are suggested for unknown ones; the prefix is the dotted path of its table.
    """
    placed = {".".join(filter(None, (prefix, *path))): line for path, line in lines(error, model).items()}
    return [one_line(f"{key}: {line}" if key else line) for key, line in placed.items()]


def lines(error: ValidationError, model: type[BaseModel] | None = None) -> dict[tuple[str, ...], str]:
    """The same, by the path of each key."""
    found = error.errors(include_url=False)
    # A misspelt key is both unknown and missing: only the first shows what to do.
    if any(item["type"] == "extra_forbidden" for item in found):
        found = [item for item in found if item["type"] != "missing"]
    placed: dict[tuple[str, ...], str] = {}
    for item in found:
        path = item["loc"]
        keys, models, tag = _place(model, path)
        if item["type"] == "extra_forbidden":
            models = _place(model, path[:-1])[1]
        key = (*keys, *([tag] if tag and "union_tag" in item["type"] else []))
        key += getattr(item.get("ctx", {}).get("error"), "path", ())
        placed.setdefault(key, _explain_one(item, str(path[-1]) if path else "", models, tag))
    return placed


def one_line(text: str) -> str:
    """The text with its line ends as blanks."""
    return " ".join(text.splitlines())


def _explain_one(item: Any, name: str, models: _Models, tag: str) -> str:
    kind, given = item["type"], item["input"]
    if kind == "extra_forbidden":
        return "unknown key" + suggest(name, tuple(_fields(models)))
    if kind == "union_tag_not_found":
        return f"is missing; accepted: {_choice(_tags(models, tag))}"
    if kind == "union_tag_invalid":
        return f"must be {_choice(_tags(models, tag))} (given: {given[tag]!r})"
    if kind == "missing":
        return "is missing"
    if "a valid dictionary" in item["msg"]:
        return f"must be a table (given: {given!r})"
    theirs = item["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("should", "must", 1)
    message = _WRITTEN.get(kind, theirs)
    return message if isinstance(given, dict | BaseModel) else f"{message} (given: {given!r})"


def _place(model: type[BaseModel] | None, path: tuple[int | str, ...]) -> tuple[list[str], _Models, str]:
    """What pydantic's path is in the file: the keys, the models that a table there may have, what tells them apart."""
    keys: list[str] = []
    models: _Models = (model,) if model else ()
    tag, chosen = "", False
    for part in path:
        if tag:
            models, tag = tuple(each for each in models if part in _tags((each,), tag)), ""
            continue
        keys.append(str(part))
        # The keys of such a table are the author's own, as are the names of columns.
        if chosen:
            chosen = False
            continue
        field = _fields(models).get(str(part))
        annotation = field.annotation if field else None
        candidates = (annotation, *get_args(annotation))
        models = tuple(each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel))
        tag = str(field.discriminator or "") if field else ""
        chosen = get_origin(annotation) is dict
    return keys, models, tag


def _fields(models: _Models) -> dict[str, FieldInfo]:
    return {field.alias or name: field for model in models for name, field in model.model_fields.items()}


def _choice(values: list[str]) -> str:
    *others, last = map(repr, values)
    return f"{', '.join(others)} or {last}" if others else last


def _tags(models: _Models, tag: str) -> list[str]:
    return [value for model in models for value in get_args(model.model_fields[tag].annotation)]


def suggest(name: str, known: tuple[str, ...]) -> str:
    """What to say of an unknown name: the known one that is closest, and all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    guess = f", did you mean '{close[0]}'?" if close else ""
    return f"{guess}; accepted: {', '.join(known)}" if known else guess
