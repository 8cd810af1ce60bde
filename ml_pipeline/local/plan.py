"""Prepares every task of jobs before the first one runs; ``ml-pipeline check`` ends there."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_pipeline import entry_point, graph
from ml_pipeline.errors import InputError, collecting
from ml_pipeline.local import source_check
from ml_pipeline.names import TRAINING, VALIDATION


@dataclass(frozen=True)
class Plan:
    """A run of a job, with what each of its tasks does."""

    job: graph.Job
    steps: dict[str, entry_point.Call | Plan]


def check_names(jobs: Sequence[graph.Job], parameters: Mapping[str, str]) -> None:
    """Reject, with an ``InputError``, a parameter that none of the jobs has."""
    accepted = sorted({parameter.name for job in jobs for parameter in job.parameters})
    unknown = [name for name in parameters if name not in accepted]
    if unknown:
        known = ", ".join(accepted) or "none"
        raise InputError(*(f"--parameter {name}: no job of this run has it; accepted: {known}" for name in unknown))


def plan(
    jobs: Sequence[graph.Job],
    *,
    parameters: Mapping[str, str],
    defaults: Mapping[str, str] | None = None,
    declared: Sequence[graph.Job] = (),
    here: bool,
) -> list[Plan]:
    """What each task of jobs does.

    Args:
        jobs: The jobs, in flow order.
        parameters: Values for every job that declares them.
        defaults: They take the place of the declared ones, also in the jobs that a task starts.
        declared: All jobs, among which are those that a task starts.
        here: Whether the sources are on this machine: then they are there, with the columns that the settings name.

    Raises:
        InputError: all that is wrong with the parameters of any task.
    """
    planning = _Planning({job.name: job for job in (*declared, *jobs)}, {**(defaults or {})}, here)
    given = {**planning.inherited, **parameters}
    plans = [planning.of(job, given) for job in jobs]
    if here and {TRAINING, VALIDATION} <= {job.name for job in jobs}:
        planning.check_reason(next(each for each in plans if each.job.name == TRAINING))
    if planning.problems:
        # Several tasks may have the same parameter.
        raise InputError(*dict.fromkeys(planning.problems))
    return plans


class _Planning:
    def __init__(self, known: Mapping[str, graph.Job], defaults: Mapping[str, str], here: bool) -> None:
        self._known = known
        self.inherited = defaults
        self._here = here
        self.problems: list[str] = []

    def check_reason(self, training: Plan) -> None:
        """Whether validation will find the run that is trained before it."""
        calls = [step for step in training.steps.values() if isinstance(step, entry_point.Call)]
        reason = next((call.arguments["reason"] for call in calls if "reason" in call.arguments), "ci")
        if reason != "ci":
            self.problems.append(
                f"reason: validation finds no run with '{reason}'; accepted: 'ci', or only the jobs before validation"
            )

    def of(self, job: graph.Job, parameters: Mapping[str, str]) -> Plan:
        now = datetime.datetime.now(datetime.UTC)
        names = {parameter.name for parameter in job.parameters}
        values = job.values_of_run(
            run_id=f"{now:%Y%m%d%H%M%S}{uuid.uuid4().int % 10**6:06}",
            start_date=now.date().isoformat(),
            parameters={name: value for name, value in parameters.items() if name in names},
        )
        steps: dict[str, entry_point.Call | Plan] = {}
        for task in job.tasks:
            if task.run_job:
                given = {**self.inherited, **task.job_parameters(values)}
                steps[task.name] = self.of(self._known[task.run_job], given)
                continue
            problems: list[str] = []
            with collecting(problems):
                steps[task.name] = call = entry_point.parse(task.arguments(values))
                if self._here and "source" in call.arguments:
                    source_check.check(**call.arguments)
            # A person knows the setting, whichever step has it.
            self.problems += [problem.removeprefix(f"{task.entry_point}: ") for problem in problems]
        return Plan(job, steps)
