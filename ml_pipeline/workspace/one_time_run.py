"""The branch's wheel as a one-time run, beside the deployed job that it is made after."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ml_pipeline import graph
from ml_pipeline.errors import InputError

Document = dict[str, Any]
"""An object as the API has it."""

_NOTIFICATIONS = ("email_notifications", "webhook_notifications", "notification_settings", "health")


def find_wheel(given: Path | None = None, *, package: str | None = None) -> Path:
    """The wheel in a file, or the only one in a folder; by default the one in ``dist``, of any package.

    Raises:
        InputError: there is none, more than one, or one of another package.
    """
    given = given or Path("dist")
    wheels = sorted(given.glob(f"{package or '*'}-*.whl")) if given.is_dir() else [given]
    if len(wheels) != 1:
        held = ", ".join(wheel.name for wheel in wheels) or "no wheel"
        raise InputError(f"{given}: holds {held}; expected exactly one, which 'make wheel' builds")
    (wheel,) = wheels
    if not wheel.is_file():
        raise InputError(f"{wheel}: there is no such wheel; expected one that 'make wheel' built, or its folder")
    names: list[str] = []
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    name = _distribution(wheel.name)
    if not name or (package and (name != package or f"{package}/__init__.py" not in names)):
        of = f" of {package}" if package else ""
        raise InputError(f"{wheel}: is not a wheel{of}; expected one that 'make wheel' built, or its folder")
    return wheel


def settings_of(deployed: Document, parameters: Mapping[str, str], *, wheel: str, cluster: str | None) -> Document:
    """The settings of a one-time run that does what a deployed job does, with another wheel.

    A one-time run has neither job parameters, whose values are put in, nor clusters that tasks share: each task gets
    its own. It notifies nobody but who started it.

    Parameters that are not given take the deployed defaults. The wheel is a path in the workspace; an interactive
    cluster takes the place of the deployed job's compute.

    Raises:
        InputError: the deployed job lacks a parameter, or does not use such a wheel.
    """
    name = deployed["name"]
    defaults = {parameter["name"]: parameter["default"] for parameter in deployed.get("parameters", ())}
    if unknown := sorted(parameters.keys() - defaults.keys()):
        raise InputError(f"--parameter {unknown[0]}: the deployed job '{name}' does not have it yet; deploy it first")
    values = {f"job.parameters.{key}": value for key, value in {**defaults, **parameters}.items()}
    clusters = {each["job_cluster_key"]: each["new_cluster"] for each in deployed.get("job_clusters", ())}
    kind = _distribution(wheel)
    used = [library.get("whl", "") for task in deployed["tasks"] for library in task.get("libraries", ())]
    if kind not in map(_distribution, used):
        there = ", ".join(filter(None, used)) or "none"
        raise InputError(f"the deployed job '{name}' uses no wheel '{kind}', which is to be replaced; it uses: {there}")
    tasks = []
    for task in deployed["tasks"]:
        made = {key: value for key, value in task.items() if key not in _NOTIFICATIONS}
        shared = made.pop("job_cluster_key", None)
        if "run_job_task" in made:
            pass  # It runs on the other job's compute.
        elif cluster:
            made.pop("new_cluster", None)
            made["existing_cluster_id"] = cluster
        elif shared:
            made["new_cluster"] = clusters[shared]
        tasks.append(_replaced(made, values, wheel))
    kept: Document = {key: deployed[key] for key in ("name", "timeout_seconds", "run_as") if key in deployed}
    return {**kept, "tasks": tasks}


def _distribution(wheel: str) -> str:
    file = PurePosixPath(wheel)
    return file.name.partition("-")[0] if file.suffix == ".whl" else ""


def _replaced(value: Any, values: Mapping[str, str], wheel: str) -> Any:
    """The same with job parameters replaced by their values, and the wheel by another one of the same name."""
    if isinstance(value, dict):
        return {key: _replaced(inner, values, wheel) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, values, wheel) for inner in value]
    if not isinstance(value, str):
        return value
    if _distribution(value) == _distribution(wheel):
        return wheel
    # What only the run knows, such as its id, stays for Databricks to replace.
    return graph.substitute(value, {name: values.get(name, f"{{{{{name}}}}}") for name in graph.references(value)})
