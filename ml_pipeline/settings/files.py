"""Environment files: found, read, and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import (
    ValidationError,
)

from ml_pipeline.errors import InputError
from ml_pipeline.settings.messages import explain, one_line, suggest
from ml_pipeline.settings.pipeline import PipelineSettings
from ml_pipeline.settings.workspace import DEFAULT_FOLDER

_INTEGERS = "whole numbers of 64 bits, as TOML has them"
# pydantic writes no more than some 250 of them as JSON.
_LEVELS = 100

TABLES = ("pipeline", "workspace", "compute", "schedule", "catalog", "permissions", "state")
"""The tables that an environment file may hold; those beside ``pipeline`` belong to the deployment."""


def read(file: Path) -> dict[str, Any]:
    """An environment file's tables, as they are.

    Raises:
        InputError: the file can't be read, is no TOML, or has an unknown table or no ``[pipeline]``.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        numbers = [(key, value) for key, value in leaves(content) if isinstance(value, int)]
    except OSError as error:
        raise InputError(f"{file}: can't be read: {error.strerror}") from error
    except RecursionError:
        raise InputError(f"{file}: is nested too deeply; accepted: {_LEVELS} levels of tables and lists") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is not valid TOML: {error}") from error
    except ValueError:
        # Python's limit of digits, which the parser passes on.
        raise InputError(f"{file}: holds a number of thousands of digits; accepted: {_INTEGERS}") from None
    for key, value in numbers:
        if not -(2**63) <= value < 2**63:
            raise InputError(f"{file}: {one_line(key)}: is too great a number; accepted: {_INTEGERS}")
    for table in content:
        if table not in TABLES:
            raise InputError(f"{file}: {one_line(table)}: unknown table{suggest(table, TABLES)}")
    if not isinstance(content.get("pipeline"), dict):
        raise InputError(f"{file}: the table [pipeline] is missing")
    return content


def load(file: Path, *, instance: str = "") -> PipelineSettings:
    """Read the settings of an environment's pipeline.

    Relative paths in the file are counted from its own folder. Where the environment is deployed, ``[catalog]`` gives
    the schema, and a relative experiment lies in the environment's folder of the workspace.

    Args:
        file: The environment file.
        instance: Name of an isolated copy of the environment, which has a schema and an experiment of its own.

    Raises:
        InputError: the file can't be read, is no TOML, or a key is missing, unknown or has a wrong value.
    """
    content = read(file)
    for key, text in leaves(content["pipeline"], "pipeline"):
        if isinstance(text, str) and "{{" in text:
            raise InputError(f"{file}: {one_line(key)}: holds '{{{{', by which Databricks refers to values of a run")
    try:
        settings = PipelineSettings.model_validate(_placed(content, file, instance))
    except ValidationError as error:
        raise InputError(f"{file}: " + explain(error, PipelineSettings, prefix="pipeline")) from None
    return _with_absolute_paths(settings, file.resolve().parent)


def _with_absolute_paths(settings: PipelineSettings, folder: Path) -> PipelineSettings:
    scored, watched = settings.batch_inference.source, settings.monitoring
    labels = watched and watched.labels
    return settings.model_copy(
        update={
            "source": settings.source.relative_to(folder),
            "batch_inference": settings.batch_inference.model_copy(
                update={"source": scored and scored.relative_to(folder)}
            ),
            "monitoring": watched and watched.model_copy(update={"labels": labels and labels.relative_to(folder)}),
        }
    )


def full_name(environment: str, instance: str = "") -> str:
    """What the names of all that an environment, or an isolated copy of it, deploys start with."""
    return f"{environment}-{instance}" if instance else environment


def own_folder(folder: str, environment: str, instance: str = "") -> str:
    """The folder of a workspace that an environment, or an isolated copy of it, makes and removes."""
    return f"{folder}/ml-pipeline-{full_name(environment, instance)}"


def _placed(content: dict[str, Any], file: Path, instance: str) -> dict[str, Any]:
    pipeline, catalog, workspace = content["pipeline"], content.get("catalog"), content.get("workspace")
    placed = dict(pipeline)
    if isinstance(catalog, dict):
        if "schema" in pipeline:
            raise InputError(f"{file}: pipeline.schema: [catalog] says it already; accepted: one of the two")
        suffix = f"_{instance.replace('-', '_')}" if instance else ""
        placed["schema"] = f"{catalog.get('name')}.{catalog.get('schema')}{suffix}"
    experiment = pipeline.get("experiment")
    if isinstance(workspace, dict) and isinstance(experiment, str) and experiment:
        if not all(map(_is_name, experiment.removeprefix("/").split("/"))):
            raise InputError(
                f"{file}: pipeline.experiment: must be a path in the workspace without '.', '..' and empty parts, "
                f"such as 'churn' or '/Shared/churn' (given: {experiment!r})"
            )
        if not experiment.startswith("/"):
            folder = workspace.get("folder", DEFAULT_FOLDER)
            placed["experiment"] = f"{own_folder(folder, file.stem, instance)}/{experiment}"
        elif instance:
            placed["experiment"] = f"{experiment}-{instance}"
    return placed


def _is_name(part: str) -> bool:
    return part.isprintable() and part.strip() == part and part not in ("", ".", "..")


def leaves(value: object, key: str = "", *, level: int = 0) -> Iterator[tuple[str, object]]:
    """All texts, numbers and dates below a value, and the names of tables' keys, each with its dotted key."""
    if level > _LEVELS:
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


def find(environment: str, *, folder: Path) -> Path:
    """The file of an environment, given by its name or its path.

    Raises:
        InputError: there is no such file; the message lists the environments that there are.
    """
    path = Path(environment)
    if path.suffix == ".toml" or len(path.parts) > 1:
        if not path.is_file():
            raise InputError(f"{path}: no such environment file")
        return path
    named = folder / f"{environment}.toml"
    if not named.is_file():
        known = sorted(file.stem for file in folder.glob("*.toml"))
        raise InputError(
            f"environment '{environment}': no file {named}; accepted: "
            f"{', '.join(known) or 'none is there'}, or the path of a .toml file"
        )
    return named
