"""The door to every step: ``run-task --entry-point=package.module:function --name=value ...``.

Databricks passes named parameters as text. Each is parsed by the step's own type annotation, and a wrong one is
rejected by name before anything runs.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from ml_pipeline import errors
from ml_pipeline.errors import InputError, collecting
from ml_pipeline.graph import ENTRY_POINT
from ml_pipeline.settings import messages

_OPTION = "--entry-point="


@dataclass(frozen=True)
class Call:
    """A step, ready to run."""

    function: Callable[..., Any]
    arguments: dict[str, Any]

    def __call__(self) -> dict[str, str]:
        """Run the step; it returns what it shows the person who runs it.

        Raises:
            PipelineError: the step failed, or something that it works with is at fault.
        """
        try:
            return self.function(**self.arguments) or {}
        except Exception as error:
            if (fault := errors.explain(error)) is None:
                raise
            raise fault from error


def parse(arguments: Sequence[str]) -> Call:
    """Find the step that a command line names, and parse its parameters.

    Raises:
        InputError: the step doesn't exist, or a parameter is unknown, missing or wrong.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or not equals:
            raise InputError(f"run-task: '{argument}' is not a parameter; accepted: --NAME=VALUE")
        if name[2:] in given:
            raise InputError(f"run-task: {name} is given twice")
        given[name[2:]] = value
    if "entry-point" not in given:
        raise InputError(f"run-task: {_OPTION}PACKAGE.MODULE:FUNCTION is missing")
    entry_point = given.pop("entry-point")
    function = _load(entry_point)
    parameters = inspect.signature(function, eval_str=True).parameters
    unknown = [name for name in given if name not in parameters]
    problems = [
        f"{entry_point}: {name}: unknown parameter{messages.suggest(name, tuple(parameters))}" for name in unknown
    ]
    parsed = {}
    for name, parameter in parameters.items():
        optional = parameter.default is not parameter.empty
        # Databricks has no parameter without a value: an empty one is one that was not given.
        if given.get(name, "") == "" and (optional or name not in given):
            # A misspelt parameter is both unknown and missing: only the first shows what to do.
            problems += [] if optional or unknown else [f"{entry_point}: {name}: is missing"]
            continue
        with collecting(problems):
            parsed[name] = _value(name, given[name], parameter.annotation)
    if problems:
        raise InputError(*problems)
    return Call(function, parsed)


def _load(entry_point: str) -> Callable[..., Any]:
    module, _, name = entry_point.partition(":")
    function = None
    if ENTRY_POINT.fullmatch(entry_point):
        try:
            function = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            # A step that lacks one of its own imports is another matter.
            if not error.name or not f"{module}.".startswith(f"{error.name}."):
                raise
    if not inspect.isfunction(function):
        raise InputError(f"run-task: entry point '{entry_point}' does not exist; accepted: PACKAGE.MODULE:FUNCTION")
    return function


def _value(name: str, text: str, annotation: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    model = plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None
    structured = model is not None or get_origin(plain) in (list, dict)
    try:
        return adapter.validate_json(text) if structured else adapter.validate_strings(text)
    except ValidationError as error:
        # A person knows the setting, whichever step has it.
        raise InputError(*messages.problems(error, model, prefix=name)) from None


Results = dict[str, str]
"""What a step shows the person who runs it: names and texts."""
