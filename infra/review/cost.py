"""An estimate of what an environment's pool and schedule cost in a month, from the rates in ``rates.toml``.

A machine that waits in a pool costs what the cloud takes for it; one that works costs Databricks units (DBU) on top
(Databricks' documentation of pools and of DBUs).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from infra.environment.environment import Environment
from ml_pipeline.errors import InputError
from ml_pipeline.settings import quartz
from ml_pipeline.settings.types import Settings

RATES = Path(__file__).with_name("rates.toml")
HOURS = 730
"""Hours of a month: 365 days of 24 hours, by 12."""
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Machine(Settings):
    """What one machine costs an hour."""

    hour: Price
    """US dollars to the cloud."""
    dbu: Price
    """Databricks units, while it works."""


class Rates(Settings):
    """The rates file."""

    minutes_per_run: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    dbu_price: Price
    """US dollars for one Databricks unit."""
    machines: dict[str, Machine] = Field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """One cost of a month."""

    what: str
    how: str
    dollars: float | None
    """None: there is no rate."""


@dataclass(frozen=True)
class Estimate:
    """What a month costs, as far as there are rates."""

    lines: tuple[Line, ...]

    def markdown(self) -> str:
        """A table, marked as an estimate; nothing where nothing costs."""
        if not self.lines:
            return ""
        known = [line.dollars for line in self.lines if line.dollars is not None]
        unknown = len(self.lines) - len(known)
        total = f"**${sum(known):,.2f}** a month{f', and {unknown} without a rate' if unknown else ''}"
        rows = [
            f"| {line.what} | {line.how} | {f'${line.dollars:,.2f}' if line.dollars is not None else 'no rate'} |"
            for line in self.lines
        ]
        title = f"#### Cost (an estimate from `infra/review/{RATES.name}`): {total}"
        return "\n".join([title, "", "| what | how | a month |", "|---|---|---|", *rows])


def rates(file: Path = RATES) -> Rates:
    """The rates.

    Raises:
        InputError: the file does not hold rates.
    """
    try:
        return Rates.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def estimate(environment: Environment, using: Rates | None = None) -> Estimate:
    """What an environment costs in a month."""
    using = using or rates()
    compute, schedule = environment.compute, environment.schedule
    type_ = compute.pool.node_type_id if compute.pool else str(compute.node_type_id)
    machine = using.machines.get(type_)
    lines = []
    if compute.pool and compute.pool.min_idle_instances:
        idle = compute.pool.min_idle_instances
        dollars = idle * HOURS * machine.hour if machine else None
        lines.append(Line("pool", f"{idle} idle {type_}, {HOURS} hours", dollars))
    if schedule and not environment.paused:
        runs = quartz.per_month(schedule.cron)
        hours = runs * using.minutes_per_run / 60 * (1 + compute.num_workers)
        dollars = hours * (machine.hour + machine.dbu * using.dbu_price) if machine else None
        how = f"{runs:,.1f} runs of {using.minutes_per_run:g} minutes on {1 + compute.num_workers} {type_}"
        lines.append(Line("schedule", how, dollars))
    return Estimate(tuple(lines))
