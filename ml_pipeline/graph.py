"""Jobs and tasks as plain data, valid once constructed.

A job is what Databricks calls a job: tasks in a directed acyclic graph, job parameters known when a run starts, and
references to them in Databricks' own syntax, ``{{job.parameters.git_branch}}`` or ``{{job.run_id}}``. The same data is
rendered as a Databricks job and as a run on this machine. An Airflow DAG triggers the deployed job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Literal, Protocol, TypeVar, get_args

DYNAMIC_VALUES = ("job.run_id", "job.start_time.iso_date")
"""The dynamic value references of Databricks that tasks may use beside ``job.parameters.*``."""

RunIf = Literal["ALL_SUCCESS", "AT_LEAST_ONE_FAILED"]
"""When a task runs, in Databricks' terms; one that may not run since nothing failed before it is ``EXCLUDED``."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
ENTRY_POINT = re.compile(r"[a-zA-Z_]\w*(\.\w+)*:[a-zA-Z_]\w*")
"""``package.module:function``."""
_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


class _Node(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def depends_on(self) -> tuple[str, ...]: ...


T = TypeVar("T", bound=_Node)


def in_order(nodes: Iterable[T], *, what: str) -> tuple[T, ...]:
    """Sort nodes so that each comes after what it depends on; ties keep the order of declaration.

    Raises:
        ValueError: a name is used twice, a dependency is not declared, or the graph has a cycle.
    """
    by_name: dict[str, T] = {}
    for node in nodes:
        if node.name in by_name:
            raise ValueError(f"{what} '{node.name}' is declared twice")
        by_name[node.name] = node
    for node in by_name.values():
        for dependency in node.depends_on:
            if dependency not in by_name:
                raise ValueError(f"{what} '{node.name}' depends on unknown '{dependency}'; known: {', '.join(by_name)}")
    sorter = TopologicalSorter({name: node.depends_on for name, node in by_name.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"{what}s depend on each other in a cycle: {' -> '.join(error.args[1])}") from None
    declared = list(by_name)
    order: list[str] = []
    while ready := sorted(sorter.get_ready(), key=declared.index):
        order += ready
        sorter.done(*ready)
    return tuple(by_name[name] for name in order)


def references(value: str) -> tuple[str, ...]:
    """The dynamic values that a parameter refers to, without their braces."""
    return tuple(_REFERENCE.findall(value))


def substitute(value: str, values: Mapping[str, str]) -> str:
    """Replace each ``{{reference}}`` by its value, as Databricks does when a task starts."""
    return _REFERENCE.sub(lambda match: values[match[1]], value)


@dataclass(frozen=True, kw_only=True)
class JobParameter:
    """A value that is known only when a run starts."""

    name: str
    default: str
    """What a run gets that does not set it; may itself be a dynamic value reference."""
    description: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """One step: a function of the wheel, called with named parameters, or a run of another job."""

    name: str
    entry_point: str = ""
    """``package.module:function``."""
    run_job: str = ""
    """In place of an entry point: name of a job that comes before; the task starts a run of it and awaits its end."""
    parameters: Mapping[str, str]
    """Named parameters as Databricks passes them: strings, with references where a value is known only at run time.
    Those of a task that runs a job are parameters of that job."""
    depends_on: tuple[str, ...] = ()
    """Names of tasks of the same job that must have ended."""
    run_if: RunIf = "ALL_SUCCESS"
    """What must have become of those tasks. One that was skipped after a failure counts as failed."""
    timeout_seconds: int = 3600
    max_retries: int = 1
    min_retry_interval_seconds: int = 60

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"task name '{self.name}' is not lower case with underscores")
        if self.run_job and self.entry_point:
            raise ValueError(f"task '{self.name}' has an entry point and runs a job; accepted: one of the two")
        if not self.run_job and not ENTRY_POINT.fullmatch(self.entry_point):
            raise ValueError(f"task '{self.name}': entry point '{self.entry_point}' is not 'package.module:function'")
        if self.run_if not in get_args(RunIf):
            raise ValueError(f"task '{self.name}': run_if '{self.run_if}'; accepted: {', '.join(get_args(RunIf))}")
        if self.run_if != "ALL_SUCCESS" and not self.depends_on:
            raise ValueError(f"task '{self.name}': run_if '{self.run_if}' needs a task that it depends on")
        if self.timeout_seconds <= 0:
            raise ValueError(f"task '{self.name}': timeout_seconds {self.timeout_seconds} is not above 0")
        if self.max_retries < 0:
            raise ValueError(f"task '{self.name}': max_retries {self.max_retries} is below 0")

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """The command line of ``run-task`` for this task, with every reference replaced."""
        named = (f"--{name}={value}" for name, value in self.job_parameters(values).items())
        return [f"--entry-point={self.entry_point}", *named]

    def job_parameters(self, values: Mapping[str, str]) -> dict[str, str]:
        """The parameters, with every reference replaced."""
        return {name: substitute(value, values) for name, value in self.parameters.items()}


@dataclass(frozen=True, kw_only=True)
class Job:
    """Tasks that run together, after the jobs that they build on."""

    name: str
    description: str
    tasks: tuple[Task, ...]
    parameters: tuple[JobParameter, ...] = ()
    depends_on: tuple[str, ...] = ()
    """Names of the jobs that come before this one in the flow."""
    timeout_seconds: int = 4 * 3600
    max_concurrent_runs: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"job name '{self.name}' is not lower case with underscores")
        if not self.tasks:
            raise ValueError(f"job '{self.name}' has no task")
        object.__setattr__(self, "tasks", in_order(self.tasks, what=f"job '{self.name}': task"))
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"job '{self.name}' declares a parameter twice")
        for task in self.tasks:
            for name, value in task.parameters.items():
                self._check(f"task '{task.name}': parameter '{name}'", value, self.values)
        for parameter in self.parameters:
            self._check(f"parameter '{parameter.name}'", parameter.default, DYNAMIC_VALUES)

    @property
    def values(self) -> tuple[str, ...]:
        """Every reference that a task of this job may use."""
        return DYNAMIC_VALUES + tuple(f"job.parameters.{parameter.name}" for parameter in self.parameters)

    def _check(self, where: str, value: str, known: tuple[str, ...]) -> None:
        for reference in references(value):
            if reference not in known:
                raise ValueError(
                    f"job '{self.name}': {where} refers to unknown '{reference}'; known: {', '.join(known)}"
                )

    def check_parameters(self, names: Iterable[str], *, where: str = "") -> None:
        """Reject, with a ``ValueError``, names that are not those of the job's parameters."""
        known = [parameter.name for parameter in self.parameters]
        for name in names:
            if name not in known:
                accepted = ", ".join(known) or "none"
                raise ValueError(f"{where}job '{self.name}' has no parameter '{name}'; accepted: {accepted}")

    def values_of_run(self, *, run_id: str, start_date: str, parameters: Mapping[str, str]) -> dict[str, str]:
        """What each reference stands for in one run, which starts on a day in UTC, ``YYYY-MM-DD``.

        Job parameters that are left out take their defaults.

        Raises:
            ValueError: a parameter is not declared.
        """
        self.check_parameters(parameters)
        values = dict(zip(DYNAMIC_VALUES, (run_id, start_date), strict=True))
        given = {p.name: parameters.get(p.name, substitute(p.default, values)) for p in self.parameters}
        return values | {f"job.parameters.{name}": value for name, value in given.items()}


def check_started(jobs: Iterable[Job]) -> None:
    """Check the tasks that run a job: it comes before theirs, so that none starts itself, and takes what it is given.

    Raises:
        ValueError: a job, in the order of the flow, does not come before, or lacks a parameter.
    """
    before: dict[str, Job] = {}
    for job in jobs:
        for task in job.tasks:
            where, other = f"job '{job.name}': task '{task.name}'", task.run_job
            if other and other not in before:
                raise ValueError(f"{where} runs job '{other}'; accepted: {', '.join(before) or 'none'}")
            if other:
                before[other].check_parameters(task.parameters, where=f"{where}: ")
        before[job.name] = job
