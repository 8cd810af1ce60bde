"""The content of a training run's scorecard: what the templates of the report read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline import names
from ml_pipeline.names import FAILED, INCONCLUSIVE
from ml_pipeline.registry.diagnostics import Diagnostics
from ml_pipeline.registry.evidence import ClassMetrics, Comparison, TableVersion, Validation
from ml_pipeline.reports.behaviour import Behaviour
from ml_pipeline.reports.entries import ClassRow, Entry, Notice, Served, Side, summary
from ml_pipeline.reports.plots import Axis, Plot, Point, limit, number, trend
from ml_pipeline.reports.rendering import REDACTED, cut, intervals, names_a_secret
from ml_pipeline.wording import counted

if TYPE_CHECKING:
    from ml_pipeline.registry import Run

_DATA = (names.REASON, names.GIT_BRANCH, names.GIT_COMMIT, names.PULL_REQUEST, names.RUN_BY, names.JOB_RUN_ID)
_MOST_PLOTTED = 10
MOST_ASKED = 50
"""Runs of the branch that are asked for: the report of a long history takes no longer."""
_MOST_CLASSES, _MOST_PARAMS = 200, 100


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
    diagnostics: Diagnostics | None
    """``None`` if an earlier release trained the run."""
    served: Served | None
    compared: Run | None = None
    """The run of the champion that it was compared with, if the tracking server has it."""
    branch: Sequence[Run] = ()
    """Other finished runs of the branch, the best first."""

    @property
    def verdict(self) -> str:
        """The latest verdict; ``not compared`` before there is one."""
        tags = self.run.data.tags
        return str(tags.get(names.TEST, tags.get(names.VALIDATE, "not compared")))

    @property
    def decided_on(self) -> str:
        """The table of the latest verdict."""
        tags = self.run.data.tags
        return "test" if names.TEST in tags else "validation" if names.VALIDATE in tags else ""

    @property
    def reason(self) -> str:
        """Why."""
        tags = self.run.data.tags
        return str(tags.get(f"{names.TEST}.reason", tags.get(f"{names.VALIDATE}.reason", "the comparison has not run")))

    @property
    def validation_side(self) -> Side:
        """The run on the validation table."""
        return Side(name="validation", value=self._measured(self.run), decision=self.comparison)

    @property
    def test_side(self) -> Side:
        """The run on the test table."""
        return Side(name="test", value=self.test.value if self.test else None, decision=self.test)

    @property
    def sides(self) -> list[Side]:
        """The tables that the run was measured on."""
        return [side for side in (self.validation_side, self.test_side) if side.value is not None]

    @property
    def notices(self) -> list[Notice]:
        """Verdicts other than the latest that did not pass, and what a table is too small to show."""
        found = []
        for side in self.sides:
            if side.verdict in (FAILED, INCONCLUSIVE) and side.name != self.decided_on and side.decision:
                title = f"{side.verdict} on the {side.name} table"
                found.append(Notice(verdict=side.verdict, title=title, text=side.decision.reason))
            if side.decision and side.decision.warning:
                title = f"the {side.name} table is small"
                found.append(Notice(verdict=INCONCLUSIVE, title=title, text=side.decision.warning))
        return found

    @property
    def threshold(self) -> float | None:
        """The least value that is accepted."""
        return self.comparison.threshold if self.comparison else self.test.threshold if self.test else None

    @property
    def threshold_text(self) -> str:
        """The threshold as it was set."""
        return "not known" if self.threshold is None else limit(self.threshold)

    @property
    def tolerance(self) -> float | None:
        """How far the run may fall below a rival; ``None`` if no document has it."""
        return self.comparison.tolerance if self.comparison else self.test.tolerance if self.test else None

    @property
    def tolerance_note(self) -> str:
        """The tolerance in words; empty if it is not known."""
        return "" if self.tolerance is None else f"tolerance {limit(self.tolerance)}"

    @property
    def _margin(self) -> float | None:
        return None if self.tolerance is None else -self.tolerance

    @property
    def champion(self) -> str:
        """The champion that the run was compared with, in words."""
        compared = next((side.champion for side in reversed(self.sides) if side.champion), None)
        if compared:
            return compared.name.removeprefix("the champion, ")
        if self.comparison or not self.served:
            return "none"
        return f"version {self.served.version}"

    @property
    def is_champion(self) -> bool:
        """Whether this run's model is in service."""
        return self.served is not None and self.served.run_id == self.run.info.run_id

    @property
    def champion_now(self) -> str:
        """What has changed since the comparison, in words."""
        if not self.served:
            return ""
        if self.is_champion:
            return f"this run is version {self.served.version}, the champion now"
        now = f"version {self.served.version}"
        return "" if now == self.champion else f"{now} is the champion now"

    @property
    def champion_notes(self) -> list[str]:
        """The champion's metric on each table, and what has changed since the comparison."""
        measured = [f"{number(side.champion.value)} on {side.name}" for side in self.sides if side.champion]
        if self.champion == "none" and self.comparison:
            measured = ["when this run was compared"]
        return [*measured, self.champion_now]

    @property
    def behaviour(self) -> Behaviour | None:
        """The model on the validation table; ``None`` if an earlier release trained the run."""
        return Behaviour(self.diagnostics) if self.diagnostics else None

    @property
    def confidence(self) -> str:
        """What the intervals are, such as ``95% interval``; without a number if the comparison kept none."""
        significance = self.comparison.significance if self.comparison else None
        return "interval" if significance is None else f"{100 * (1 - significance):g}% interval"

    @property
    def plots(self) -> list[Plot]:
        """Why the run passed or failed: its metric against the threshold, its difference against the tolerance."""
        values = [mark for side in self.sides for mark in side.values]
        differences = [mark for side in self.sides for mark in side.differences]
        plots = [
            Plot(title=self.metric, marks=values, limit=self.threshold, limit_label=f"threshold {self.threshold_text}"),
            Plot(
                title=f"difference of {self.metric}: this run minus the other model",
                marks=differences,
                limit=self._margin,
                limit_label=self.tolerance_note,
                differences=True,
            ),
        ]
        return [plot for plot in plots if plot.marks]

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
    def differences(self) -> Plot:
        """All differences from other models on the validation table."""
        marks = [entry.mark for entry in self.entries if entry.mark]
        return Plot(title="difference", marks=marks, limit=self._margin, differences=True)

    @property
    def trend(self) -> tuple[Axis, list[Point]] | None:
        """The metric of the branch's runs in the order of time; ``None`` unless there are several."""
        runs = sorted((entry for entry in self.entries if entry.value is not None and entry.run), key=_started)
        if len(runs) < 2:
            return None
        mine = self.run.info.run_id
        values = [
            (entry.value or 0.0, "mine" if entry.run_id == mine else entry.verdict or "other", entry.name)
            for entry in runs
        ]
        limits = [] if self.threshold is None else [self.threshold]
        axis = Axis.around([*(value for value, *_ in values), *limits])
        return axis, trend(values, axis)

    def plot(self, most: int) -> str:
        """The differences with their intervals, as text; empty if there are none."""
        rows = [
            (entry.name.replace(", version", ""), entry.rival.difference, entry.rival.low, entry.rival.high)
            for entry in self.entries[: min(most, _MOST_PLOTTED)]
            if entry.rival
        ]
        return intervals(rows, tolerance=self.tolerance) if rows else ""

    @property
    def classes(self) -> list[ClassRow]:
        """The classes: those that fell most against the champion first, without one those with the least F1."""
        champion = self.comparison.champion if self.comparison else None
        theirs, verdicts = (champion.per_class, champion.verdicts) if champion else ({}, {})
        rows = [
            ClassRow(
                name=name,
                measured=measured,
                champion=theirs.get(name),
                tolerance=self.tolerance or 0.0,
                verdict=verdicts.get(name, ""),
            )
            for name, measured in self.per_class.items()
        ]
        return sorted(rows, key=lambda row: (row.change("f1") or 0.0, row.measured.f1))

    @property
    def most_classes(self) -> int:
        """Classes that the page shows."""
        return _MOST_CLASSES

    @property
    def classes_summary(self) -> str:
        """In words, how the classes differ from the champion."""
        return summary(self.classes)

    @property
    def data(self) -> list[tuple[str, str, str, str]]:
        """Each table that was read: which side it is, its name, the version that the run read, and the champion's."""
        sides = (names.TRAIN_VALIDATION_SIDE, names.TRAIN_SIDE, names.VALIDATION_SIDE, names.TEST_SIDE)
        pairs = ((TableVersion.find(self.run, side), TableVersion.find(self.compared, side)) for side in sides)
        return [
            (mine.side.replace("_", "-"), mine.table, _version(mine), _version(theirs))
            for mine, theirs in pairs
            if mine
        ]

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
    def provenance(self) -> dict[str, str]:
        """Who ran it, and why."""
        tags = self.run.data.tags
        user = {"user": tags["mlflow.user"]} if "mlflow.user" in tags else {}
        known = {name.replace("_", " "): tags[name] for name in _DATA if tags.get(name)}
        return {"run": self.run.info.run_id} | known | user

    def _measured(self, run: Run) -> float | None:
        value = run.data.metrics.get(f"validation_{self.metric}")
        return None if value is None else float(value)


def _started(entry: Entry) -> int:
    return entry.started


def _version(table: TableVersion | None) -> str:
    if table is None:
        return ""
    return f"version {table.version}, {counted(table.rows, 'row')}" if table.fingerprint else f"version {table.version}"
