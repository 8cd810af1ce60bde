"""The parts of a scorecard: a table that the run was measured on, a model, a class, a notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline import names
from ml_pipeline.names import FAILED, INCONCLUSIVE
from ml_pipeline.registry.evidence import ClassMetrics, Decision, RivalRow
from ml_pipeline.reports.plots import Mark

if TYPE_CHECKING:
    from ml_pipeline.registry import Run

_MOST_DRAWN = 4
"""Rivals of a table that the picture of the verdict shows."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The run on the validation or on the test table."""

    name: str
    value: float | None
    decision: Decision | None
    """``None`` if nothing was decided on this table yet."""

    @property
    def verdict(self) -> str:
        """The verdict on this table; empty before there is one."""
        return self.decision.verdict if self.decision else ""

    @property
    def champion(self) -> RivalRow | None:
        """The champion on this table, if it was compared."""
        rivals = self.decision.rivals if self.decision else []
        return next((rival for rival in rivals if is_champion(rival)), None)

    @property
    def deciding(self) -> list[RivalRow]:
        """The champion, then the rivals that the run failed against, then those that the rows can't decide about."""
        rivals = self.decision.rivals if self.decision else []
        rank = {FAILED: 1, INCONCLUSIVE: 2}
        order = sorted(rivals, key=lambda rival: 0 if is_champion(rival) else rank.get(rival.outcome or "", 3))
        open_ = [rival for rival in order if is_champion(rival) or rival.outcome in rank]
        return (open_ or order[:1])[:_MOST_DRAWN]

    @property
    def values(self) -> list[Mark]:
        """The run's metric and the champion's."""
        if self.value is None:
            return []
        low, high = (self.decision.low, self.decision.high) if self.decision else (None, None)
        marks = [Mark(label=f"{self.name}: this run", value=self.value, low=low, high=high, kind="mine")]
        if rival := self.champion:
            marks.append(Mark(label=f"{self.name}: {rival.name}", value=rival.value, kind="other"))
        return marks

    @property
    def differences(self) -> list[Mark]:
        """How much better the run is than each rival that decides."""
        return [difference(rival, label=f"{self.name}: {rival.name}") for rival in self.deciding]


def is_champion(rival: RivalRow) -> bool:
    """Whether a rival is the champion, as the steps name it."""
    return rival.name.startswith("the champion")


def difference(rival: RivalRow, *, label: str = "") -> Mark:
    """The run minus a rival, with its interval."""
    kind = rival.outcome or "other"
    return Mark(label=label or rival.name, value=rival.difference, low=rival.low, high=rival.high, kind=kind)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model in the table: the run itself, the champion, or another run of the branch."""

    name: str
    run_id: str
    value: float | None
    """The metric on the run's validation rows; of a run that was not compared, on its own."""
    rival: RivalRow | None = None
    """How much better the run is than this one; ``None`` if the comparison left it out."""
    run: Run | None = None
    """What the tracking server has of it, if anything."""

    @property
    def commit(self) -> str:
        """The commit that was built."""
        return self._tag(names.GIT_COMMIT)[:12]

    @property
    def verdict(self) -> str:
        """The verdict of its own comparison."""
        return self._tag(names.VALIDATE)

    @property
    def data(self) -> str:
        """The version of the train-validation table that it learned from."""
        return self._tag(f"{names.TRAIN_VALIDATION_SIDE}_version")

    @property
    def seconds(self) -> float | None:
        """How long the training took."""
        return self.run.data.metrics.get("training_seconds") if self.run else None

    @property
    def started(self) -> int:
        """When it began; 0 if the tracking server has no such run."""
        return int(self.run.info.start_time or 0) if self.run else 0

    @property
    def mark(self) -> Mark | None:
        """The difference, as a mark."""
        return difference(self.rival) if self.rival else None

    def _tag(self, name: str) -> str:
        return str(self.run.data.tags.get(name, "")) if self.run else ""


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class: what the run measured of it, and how that differs from the champion on the same rows."""

    name: str
    measured: ClassMetrics
    champion: ClassMetrics | None
    tolerance: float
    verdict: str
    """Of the comparison: ``better`` or ``worse`` if chance does not explain how F1 differs."""

    def change(self, figure: str) -> float | None:
        """How much better the run is than the champion."""
        mine, theirs = getattr(self.measured, figure), getattr(self.champion, figure, None)
        return None if theirs is None else float(mine - theirs)

    @property
    def mark(self) -> str:
        """``worse`` or ``better`` if F1 differs by more than the tolerance, and by more than chance explains."""
        change = self.change("f1")
        if change is None or abs(change) <= self.tolerance + 1e-12:
            return ""
        mark = "worse" if change < 0 else "better"
        return mark if mark == self.verdict else ""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a reviewer must not miss besides the verdict."""

    verdict: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Served:
    """The version that has the alias ``champion`` now, which may not be the one that the run was compared with."""

    version: str
    run_id: str


def summary(rows: Sequence[ClassRow]) -> str:
    """In words, how classes differ from the champion."""
    count = f"{len(rows)} class{'es' if len(rows) != 1 else ''}"
    if all(row.champion is None for row in rows):
        return count
    marks = [row.mark for row in rows]
    return f"{count}: {marks.count('worse')} worse, {marks.count('better')} better"
