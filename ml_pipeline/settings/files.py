"""Files of environments and pipelines: found, read, and checked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ml_pipeline.errors import InputError
from ml_pipeline.names import JOBS
from ml_pipeline.settings import messages
from ml_pipeline.settings.layers import LEVELS, Layer, absolute, leaves, merged, origin
from ml_pipeline.settings.messages import one_line, suggest
from ml_pipeline.settings.pipeline import Pipeline, PipelineSettings
from ml_pipeline.settings.project import TABLE, Project
from ml_pipeline.settings.workspace import DEFAULT_FOLDER, Catalog

_INTEGERS = "whole numbers of 64 bits, as TOML has them"
_FILE = "pipeline.toml"

TABLES = ("pipelines", "workspace", "compute", "schedule", "catalog", "permissions", "state")
"""The tables that an environment file may hold; ``pipelines`` and ``catalog`` concern the settings of a pipeline."""


def _read(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        numbers = [(key, value) for key, value in leaves(content) if isinstance(value, int)]
    except OSError as error:
        raise InputError(f"{file}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not text in UTF-8; expected a TOML file") from error
    except RecursionError:
        raise InputError(f"{file}: is nested too deeply; accepted: {LEVELS} levels of tables and lists") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: is not valid TOML: {error}") from error
    except ValueError:
        # Python's limit of digits, which the parser passes on.
        raise InputError(f"{file}: holds a number of thousands of digits; accepted: {_INTEGERS}") from None
    for key, value in numbers:
        if not -(2**63) <= value < 2**63:
            raise InputError(f"{file}: {one_line(key)}: is too great a number; accepted: {_INTEGERS}")
    if "pipeline" in content:
        raise InputError(
            f"{file}: [pipeline] is no longer part of an environment; move its keys to the top of a pipeline file "
            f"(ml_pipeline/pipelines/NAME/{_FILE}, or any file for 'ml-pipeline run FILE'), what differs in this "
            "environment to [pipelines.NAME], and the schema to [catalog]"
        )
    return content


def read(file: Path) -> dict[str, Any]:
    """The tables of an environment file, not validated.

    Raises:
        InputError: the file can't be read, is not TOML, or has an unknown table.
    """
    content = _read(file)
    for table in content:
        if table not in TABLES:
            raise InputError(f"{file}: {one_line(table)}: unknown table{suggest(table, TABLES)}")
    return content


def layers(pipeline: Path, environment: Path | None = None) -> tuple[Layer, ...]:
    """The settings of a pipeline's file, and those that an environment overrides.

    Raises:
        InputError: a file can't be read or is not TOML, or the environment names an unknown pipeline.
    """
    name = pipeline_name(pipeline)
    found = [Layer(file=pipeline, content=_read(pipeline))]
    known = tuple(sorted({name, *pipelines()}))
    if environment and (overrides := _overrides(environment, known)):
        found.append(Layer(file=environment, table=f"pipelines.{name}", content=overrides.get(name, {})))
    return tuple(found)


def _overrides(environment: Path, known: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The tables of ``[pipelines]``, by the pipelines' names."""
    overrides = read(environment).get("pipelines", {})
    if not isinstance(overrides, dict):
        raise InputError(f"{environment}: pipelines: must be a table (given: {overrides!r})")
    for name, table in overrides.items():
        key = f"pipelines.{one_line(name)}"
        if name not in known:
            raise InputError(f"{environment}: {key}: unknown pipeline{suggest(name, known)}")
        if not isinstance(table, dict):
            raise InputError(f"{environment}: {key}: must be a table (given: {table!r})")
    return overrides


def load(pipeline: Path, environment: Path | None = None, *, instance: str = "") -> PipelineSettings:
    """Read the settings of a pipeline in an environment.

    Relative paths are counted from the folder of the file that names them. ``[catalog]`` of the environment gives the
    schema; if the environment is deployed, a relative experiment lies in its folder of the workspace.

    Without an environment, settings are those of a run on this machine. An instance of an environment has a schema and
    an experiment of its own.

    Raises:
        InputError: a file can't be read or is not TOML, or a key is missing, unknown or has a wrong value.
    """
    found = layers(pipeline, environment)
    for layer in found:
        for key, text in leaves(layer.content, layer.table):
            if isinstance(text, str) and "{{" in text:
                raise InputError(
                    f"{layer.file}: {one_line(key)}: holds '{{{{', by which Databricks refers to values of a run"
                )
        if "schema" in layer.content:
            raise InputError(f"{layer.place('schema')}: belongs to the environment; accepted: [catalog] of its file")
    content = merged(map(absolute, found))
    content["schema"] = _schema(pipeline_name(pipeline), environment, instance)
    content["experiment"] = _experiment(pipeline_name(pipeline), environment, instance, found)
    try:
        return PipelineSettings.model_validate(content)
    except ValidationError as error:
        raise InputError(*_explained(error, found)) from None


def _explained(error: ValidationError, found: tuple[Layer, ...]) -> list[str]:
    lines: dict[Path, list[str]] = {}
    for path, line in messages.lines(error, Pipeline).items():
        layer = origin(found, path)
        key = layer.key(path)
        lines.setdefault(layer.file, []).append(f"{key}: {line}" if key else line)
    return [one_line(f"{file}: {line}") for file, each in lines.items() for line in each]


def project(environment: Path) -> str:
    """The name of the project that an environment file belongs to.

    The ``pyproject.toml`` beside the folder of environments holds it; a file elsewhere has the default.

    Raises:
        InputError: that file can't be read or is not TOML, or the name is not accepted.
    """
    file = environment.resolve().parent.parent / "pyproject.toml"
    if not file.is_file():
        return Project().project
    file = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    tool = _read(file).get("tool", {})
    try:
        return Project.model_validate(tool.get("ml-pipeline", {}) if isinstance(tool, dict) else tool).project
    except ValidationError as error:
        raise InputError(f"{file}: " + messages.explain(error, Project, prefix=TABLE)) from None


def full_name(environment: str, instance: str = "") -> str:
    """Name of the stack of an environment, or of an instance of it, such as ``dev`` or ``dev-pr-12``."""
    return f"{environment}-{instance}" if instance else environment


def deployed_name(environment: Path, instance: str = "") -> str:
    """What the names of all that an environment, or an instance of it, deploys start with.

    Such as ``ml-pipeline-dev`` or ``ml-pipeline-dev-pr-12``.
    """
    return f"{project(environment)}-{full_name(environment.stem, instance)}"


def _schema(pipeline: str, environment: Path | None, instance: str) -> str:
    content = read(environment) if environment else {}
    if "workspace" in content and "catalog" not in content:
        raise InputError(f"{environment}: the table [catalog] is missing")
    given = content.get("catalog", {"name": "local"})
    schema = pipeline
    if environment and "workspace" in content:
        schema = f"{project(environment).replace('-', '_')}_{pipeline}"
    try:
        catalog = Catalog.model_validate({"schema": schema, **given} if isinstance(given, dict) else given)
    except ValidationError as error:
        raise InputError(f"{environment}: " + messages.explain(error, Catalog, prefix="catalog")) from None
    suffix = f"_{instance.replace('-', '_')}" if instance else ""
    return f"{catalog.name}.{catalog.schema_}{suffix}"


def _experiment(pipeline: str, environment: Path | None, instance: str, found: tuple[Layer, ...]) -> Any:
    workspace = read(environment).get("workspace") if environment else None
    if environment is None or not isinstance(workspace, dict):
        return merged(found).get("experiment", f"{DEFAULT_FOLDER}/{pipeline}")
    experiment = merged(found).get("experiment", pipeline)
    if not isinstance(experiment, str) or not experiment:
        return experiment
    if not all(map(_is_name, experiment.removeprefix("/").split("/"))):
        raise InputError(
            f"{origin(found, ['experiment']).place('experiment')}: must be a path in the workspace without '.', '..' "
            f"and empty parts, such as 'churn' or '/Shared/churn' (given: {experiment!r})"
        )
    if not experiment.startswith("/"):
        folder = workspace.get("folder", DEFAULT_FOLDER)
        return f"{folder}/{deployed_name(environment, instance)}/{experiment}"
    return f"{experiment}-{instance}" if instance else experiment


def _is_name(part: str) -> bool:
    return part.isprintable() and part.strip() == part and part not in ("", ".", "..")


def find(environment: str, *, folder: Path) -> Path:
    """The file of an environment, given by its name or its path.

    Raises:
        InputError: there is no such file; the message lists the environments that there are.
    """
    path = Path(environment)
    if path.suffix == ".toml" or len(path.parts) > 1:
        return _file(path, "environment")
    named = folder / f"{environment}.toml"
    if not named.is_file():
        known = sorted(file.stem for file in folder.glob("*.toml"))
        raise InputError(
            f"environment '{environment}': no file {named}; accepted: "
            f"{', '.join(known) or 'none is there'}, or the path of a .toml file"
        )
    return named


def _file(path: Path, kind: str) -> Path:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected the {kind} file in it, such as {path / kind}.toml")
    if not path.exists():
        raise InputError(f"{path}: no such {kind} file")
    return path


def pipeline_name(file: Path) -> str:
    """Name of a pipeline: that of the folder of its ``pipeline.toml``, or of a file with another name.

    Raises:
        InputError: names of schemas and experiments can't be made from it.
    """
    name = file.resolve().parent.name if file.name == _FILE else file.stem
    if name in JOBS:
        raise InputError(f"{str(file)!r}: a job has the name {name!r}; accepted: another name for the pipeline")
    if not re.fullmatch("[a-z][a-z0-9_]{0,59}", name):
        raise InputError(
            f"{str(file)!r}: a pipeline can't be called {name!r}; accepted: up to 60 lower-case letters, digits and "
            "underscores that begin with a letter, such as 'churn.toml'"
        )
    return name


def pipelines() -> dict[str, Path]:
    """The files of the pipelines in ``ml_pipeline/pipelines/``, by name."""
    # In the repository, what a person edits counts at once; elsewhere, what is installed.
    source = Path("ml_pipeline/pipelines")
    folder = source if source.is_dir() else Path(__file__).parents[1] / "pipelines"
    return {file.parent.name: file for file in sorted(folder.glob(f"*/{_FILE}"))}


def is_pipeline(text: str) -> bool:
    """Whether a command's argument is a pipeline: the name of one, or a path that ends with ``.toml``."""
    return text.endswith(".toml") or text in pipelines()


def find_pipeline(pipeline: str = "", environment: Path | None = None) -> Path:
    """The file of a pipeline by its name or path; if empty, the one that the environment names, or the only one.

    Raises:
        InputError: there is no such file, or there is not exactly one; the message lists the pipelines.
    """
    if pipeline.endswith(".toml"):
        return _file(Path(pipeline), "pipeline")
    known = pipelines()
    accepted = f"accepted: {', '.join(known) or 'none is there'}, or the path of a .toml file"
    if pipeline and pipeline not in known:
        raise InputError(f"pipeline '{pipeline}' is unknown; {accepted}")
    named = _overrides(environment, tuple(known)) if environment and not pipeline else {}
    chosen = [pipeline] if pipeline else list(named) or list(known)
    if len(chosen) != 1:
        where = f"{environment}: pipelines: " if environment else ""
        raise InputError(f"{where}there are {len(chosen)} pipelines; name one; {accepted}")
    return known[chosen[0]]
