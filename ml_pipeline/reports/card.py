"""The content of a training run's scorecard: what the templates of the report read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from ml_pipeline import names
from ml_pipeline.registry.evidence import ClassMetrics, Comparison, RivalRow, TableVersion, Validation
from ml_pipeline.reports.rendering import REDACTED, cut, intervals, names_a_secret

if TYPE_CHECKING:
    from ml_pipeline.registry import Run

_DATA = (names.REASON, names.GIT_BRANCH, names.GIT_COMMIT, names.PULL_REQUEST, names.RUN_BY, names.JOB_RUN_ID)
_MOST_PLOTTED = 10
MOST_ASKED = 50
"""Runs of the branch that are asked for: the report of a long history takes no longer."""
_MOST_CLASSES, _MOST_PARAMS = 200, 100


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a run."""

    title: str
    png: bytes

    @property
    def data_uri(self) -> Markup:
        """The picture as text, to be part of a page."""
        return Markup("data:image/png;base64,") + base64.b64encode(self.png).decode()


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
    def word(self) -> str:
        """``passed`` or ``failed`` in its own comparison."""
        return self._tag(names.VALIDATE)

    @property
    def data(self) -> str:
        """The version of the train-validation table that it learned from."""
        return self._tag(f"{names.TRAIN_VALIDATION_SIDE}_version")

    @property
    def seconds(self) -> float | None:
        """How long the training took."""
        return self.run.data.metrics.get("training_seconds") if self.run else None

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
    """Of the comparison: ``better`` or ``worse`` where chance does not explain how F1 differs."""

    def change(self, figure: str) -> float | None:
        """How much better the run is than the champion."""
        mine, theirs = getattr(self.measured, figure), getattr(self.champion, figure, None)
        return None if theirs is None else float(mine - theirs)

    @property
    def mark(self) -> str:
        """``worse`` or ``better`` where F1 differs by more than the tolerance, and by more than chance explains."""
        change = self.change("f1")
        if change is None or abs(change) <= self.tolerance + 1e-12:
            return ""
        mark = "worse" if change < 0 else "better"
        return mark if mark == self.verdict else ""


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """The content of the report of one training run."""

    run: Run
    model: str
    metric: str
    comparison: Comparison | None
    """``None`` if the comparison has not run."""
    test: Validation | None
    """``None`` if the validation has not run."""
    per_class: Mapping[str, ClassMetrics]
    pictures: list[Picture]
    champion: str
    """The version in service, in words."""
    compared: Run | None = None
    """The run of the champion that it was compared with, where the tracking server has it."""
    branch: Sequence[Run] = ()
    """Other finished runs of the branch, the best first."""

    @property
    def verdict(self) -> str:
        """``passed`` or ``failed``, the latest one; ``not compared`` before there is one."""
        tags = self.run.data.tags
        return str(tags.get(names.TEST, tags.get(names.VALIDATE, "not compared")))

    @property
    def reason(self) -> str:
        """Why."""
        tags = self.run.data.tags
        return str(tags.get(f"{names.TEST}.reason", tags.get(f"{names.VALIDATE}.reason", "the comparison has not run")))

    @property
    def metrics(self) -> dict[str, float]:
        """The run's metrics by name."""
        return dict(sorted(self.run.data.metrics.items()))

    @property
    def params(self) -> dict[str, str]:
        """What the run was trained with; the value of a parameter that is named like a secret is left out."""
        params = sorted(self.run.data.params.items())[:_MOST_PARAMS]
        return {name: REDACTED if names_a_secret(name) else cut(value, 500) for name, value in params}

    @property
    def confidence(self) -> str:
        """What the intervals are, such as ``95% interval``; without a number where the comparison kept none."""
        significance = self.comparison.significance if self.comparison else None
        return "interval" if significance is None else f"{100 * (1 - significance):g}% interval"

    @property
    def entries(self) -> list[Entry]:
        """The run, the champion that it was compared with, and the branch's other runs, the best first."""
        runs = {run.info.run_id: run for run in self.branch}
        if self.compared:
            runs[self.compared.info.run_id] = self.compared
        mine = Entry(name="this run", run_id=self.run.info.run_id, value=self._measured(self.run), run=self.run)
        entries = {mine.run_id: mine}
        for rival in self.comparison.rivals if self.comparison else ():
            other = rival.run_id
            entry = Entry(name=rival.name, run_id=other, value=rival.value, rival=rival, run=runs.get(other))
            # The champion, which comes first, may be a run of the branch too.
            entries.setdefault(other, entry)
        for run in self.branch:
            run_id = run.info.run_id
            entry = Entry(name=f"run {run.info.run_name}", run_id=run_id, value=self._measured(run), run=run)
            entries.setdefault(run_id, entry)
        return list(entries.values())

    def more(self, most: int) -> str:
        """How many runs of the branch are left out of a table with so many rows; empty if none."""
        count, perhaps = max(0, len(self.entries) - most), len(self.branch) >= MOST_ASKED
        if not count:
            return "the branch may have more runs than these" if perhaps else ""
        return f"{'at least ' if perhaps else ''}{count} more of the branch are not shown"

    @property
    def reach(self) -> float:
        """The greatest distance from zero that a plot of the intervals needs."""
        rivals = [entry.rival for entry in self.entries if entry.rival]
        return max([1e-6, *(abs(bound) for rival in rivals for bound in (rival.low, rival.high, rival.difference))])

    def plot(self, most: int) -> str:
        """The differences with their intervals, as text; empty where there are none."""
        rows = [
            (entry.name.replace(", version", ""), entry.rival.difference, entry.rival.low, entry.rival.high)
            for entry in self.entries[: min(most, _MOST_PLOTTED)]
            if entry.rival
        ]
        return intervals(rows, reach=self.reach) if rows else ""

    @property
    def classes(self) -> list[ClassRow]:
        """The classes: those that fell most against the champion first, without one those with the least F1."""
        champion = self.comparison.champion if self.comparison else None
        theirs, verdicts = (champion.per_class, champion.verdicts) if champion else ({}, {})
        tolerance = (self.comparison.tolerance if self.comparison else None) or 0.0
        rows = [
            ClassRow(
                name=name,
                measured=measured,
                champion=theirs.get(name),
                tolerance=tolerance,
                verdict=verdicts.get(name, ""),
            )
            for name, measured in self.per_class.items()
        ]
        rows.sort(key=lambda row: (row.change("f1") or 0.0, row.measured.f1))
        return rows[:_MOST_CLASSES]

    @property
    def classes_summary(self) -> str:
        """In words, how the classes differ from the champion."""
        marks = [row.mark for row in self.classes]
        if all(row.champion is None for row in self.classes):
            return f"{len(self.per_class)} classes"
        return f"{len(self.per_class)} classes: {marks.count('worse')} worse, {marks.count('better')} better"

    @property
    def data(self) -> list[tuple[str, str, str, str]]:
        """Each table that was read: which side it is, its name, the version that the run read, and the champion's."""
        sides = (names.TRAIN_VALIDATION_SIDE, names.TRAIN_SIDE, names.VALIDATION_SIDE, names.TEST_SIDE)
        pairs = ((TableVersion.find(self.run, side), TableVersion.find(self.compared, side)) for side in sides)
        return [(mine.side, mine.table, _version(mine), _version(theirs)) for mine, theirs in pairs if mine]

    @property
    def provenance(self) -> dict[str, str]:
        """Who ran it, and why."""
        tags = self.run.data.tags
        user = {"user": tags["mlflow.user"]} if "mlflow.user" in tags else {}
        return {name.replace("_", " "): tags[name] for name in _DATA if tags.get(name)} | user

    def _measured(self, run: Run) -> float | None:
        value = run.data.metrics.get(f"validation_{self.metric}")
        return None if value is None else float(value)


def _version(table: TableVersion | None) -> str:
    if table is None:
        return ""
    return f"version {table.version}, {table.rows:,} rows" if table.fingerprint else f"version {table.version}"
