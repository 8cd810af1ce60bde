"""Runs declared jobs on this machine, in dependency order, through the same door as Databricks: ``run-task``."""

from __future__ import annotations

import functools
import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ml_pipeline import entry_point, graph
from ml_pipeline.errors import InputError
from ml_pipeline.local import plan, warm_up
from ml_pipeline.local.plan import Plan
from ml_pipeline.names import BATCH_INFERENCE, DATASETS, PROMOTION, VALIDATION

State = Literal["SUCCESS", "FAILED", "SKIPPED", "EXCLUDED"]


@dataclass(kw_only=True)
class TaskRun:
    """What became of one task."""

    job: str
    task: str
    state: State
    seconds: float = 0.0
    made: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    because: str = ""
    """For a skipped task: what failed before it; for one that ran a job: what failed in it."""


_WITHOUT_SPARK = (PROMOTION,)
"""Jobs that read and write no table."""
_WITHOUT_TRACKING = (DATASETS,)
"""Jobs that make no request to MLflow."""
_SCORING = (VALIDATION, BATCH_INFERENCE)
"""Jobs whose tasks score, for which Spark starts a Python worker."""

Follow = Callable[[str, str, TaskRun | None], None]
"""Called with each task as it starts (job, task, None) and as it ends."""


def select(jobs: Sequence[graph.Job], names: Sequence[str]) -> tuple[graph.Job, ...]:
    """The named jobs in flow order; all of them where no name is given.

    Raises:
        InputError: a name is unknown.
    """
    known = [job.name for job in jobs]
    for name in names:
        if name not in known:
            raise InputError(f"job '{name}' is unknown; accepted: {', '.join(known)}")
    return tuple(job for job in jobs if not names or job.name in names)


def run(
    jobs: Sequence[graph.Job],
    *,
    parameters: Mapping[str, str],
    defaults: Mapping[str, str],
    follow: Follow,
    declared: Sequence[graph.Job] = (),
) -> list[TaskRun]:
    """Run jobs one after the other; what depends on a failure is skipped.

    Parameters are for every job that declares them. Defaults take the place of the declared ones, also in the jobs that
    a task starts, which are among ``declared``.

    Raises:
        InputError: a parameter is unknown, or one of a task is wrong; nothing has run then.
    """
    plan.check_names(jobs, parameters)
    with warm_up.eager_threads():
        startable = {job.name: job for job in (*declared, *jobs)}
        if any(job.name not in _WITHOUT_SPARK for job in jobs):
            tasks = [task for job in startable.values() for task in job.tasks]
            sources = [json.loads(task.parameters["source"]) for task in tasks if "source" in task.parameters]
            warm_up.start_spark(small=bool(sources) and all(map(warm_up.is_small, sources)))
        planned = functools.partial(
            plan.plan, jobs, parameters=parameters, defaults=defaults, declared=declared, here=True
        )
        return _run_all(jobs, warm_up.without_collection(planned), follow)


def _run_all(jobs: Sequence[graph.Job], plans: Sequence[Plan], follow: Follow) -> list[TaskRun]:
    tracking = warm_up.open_tracking()
    runs: list[TaskRun] = []
    ended: dict[str, State] = {}

    def note(run_: TaskRun) -> None:
        follow(run_.job, run_.task, run_)
        if not runs and any(later.name in _SCORING for later in jobs[1:]):
            warm_up.start_worker()
        runs.append(run_)

    def carry_out(planned: Plan, ended: dict[str, State]) -> None:
        job = planned.job
        for task in job.tasks:
            run_ = _hindered(job, task, ended)
            if run_ is None:
                follow(job.name, task.name, None)
                if job.name not in _WITHOUT_TRACKING:
                    tracking.join()  # Two threads must not import MLflow at the same time.
                step = planned.steps[task.name]
                run_ = start(job.name, task.name, step) if isinstance(step, Plan) else _run(job.name, task.name, step)
            ended[f"{job.name}.{task.name}"] = run_.state
            note(run_)
        failed = _failed([f"{job.name}.{task.name}" for task in job.tasks], ended)
        ended[job.name] = "FAILED" if failed else "SUCCESS"

    def start(job: str, task: str, planned: Plan) -> TaskRun:
        began, inside = time.monotonic(), dict[str, State]()
        carry_out(planned, inside)
        because = next((name for name, state in inside.items() if state == "FAILED" and name != planned.job.name), "")
        return TaskRun(
            job=job, task=task, state=inside[planned.job.name], seconds=time.monotonic() - began, because=because
        )

    for each in plans:
        carry_out(each, ended)
    return runs


def _hindered(job: graph.Job, task: graph.Task, ended: Mapping[str, State]) -> TaskRun | None:
    """What becomes of a task that may not run, as on Databricks; ``None`` if it may."""
    before = [f"{job.name}.{name}" for name in task.depends_on]
    failed = _failed([*job.depends_on, *(before if task.run_if == "ALL_SUCCESS" else [])], ended)
    if failed:
        return TaskRun(job=job.name, task=task.name, state="SKIPPED", because=failed)
    unwanted = task.run_if == "AT_LEAST_ONE_FAILED" and not _failed(before, ended)
    if unwanted or (before and all(ended[name] == "EXCLUDED" for name in before)):
        return TaskRun(job=job.name, task=task.name, state="EXCLUDED")
    return None


def _failed(names: Sequence[str], ended: Mapping[str, State]) -> str:
    """The first of them that failed, or was skipped since another one did."""
    return next((name for name in names if ended.get(name) in ("FAILED", "SKIPPED")), "")


def _run(job: str, task: str, call: entry_point.Call) -> TaskRun:
    began = time.monotonic()
    try:
        made = call()
    except Exception as error:
        return TaskRun(job=job, task=task, state="FAILED", seconds=time.monotonic() - began, error=error)
    return TaskRun(job=job, task=task, state="SUCCESS", seconds=time.monotonic() - began, made=made)


def git_parameters() -> dict[str, str]:
    """Branch and commit of the repository in which this runs; nothing outside of one."""
    commands = {"git_branch": ("symbolic-ref", "--short", "HEAD"), "git_commit": ("rev-parse", "HEAD")}
    found = {}
    for name, command in commands.items():
        try:
            done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)  # noqa: S607
        except OSError:
            return {}
        if done.returncode == 0:
            found[name] = done.stdout.strip()
    return found
