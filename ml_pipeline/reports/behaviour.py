"""How a model behaves on the validation table, as the scorecard draws it."""

from __future__ import annotations

from dataclasses import dataclass

from ml_pipeline.registry.diagnostics import Candidate, Diagnostics
from ml_pipeline.reports.plots import Mark, Plot, line
from ml_pipeline.reports.rendering import REDACTED, cut, names_a_secret

MANY = 8
"""Classes past which a matrix is too dense for its numbers on a narrow screen."""
_MOST_IN_HEAD, _MOST_LETTERS = 4, 12
"""Classes, and letters of their names, that fit above the columns of a matrix; else they have numbers there."""


@dataclass(frozen=True)
class Behaviour:
    """The diagnostics of a run, with what a drawing needs besides."""

    of: Diagnostics

    @property
    def dense(self) -> bool:
        """Whether the matrix has many columns."""
        return len(self.of.classes) > MANY

    @property
    def named(self) -> bool:
        """Whether the names of classes fit above the columns."""
        return len(self.of.classes) <= _MOST_IN_HEAD and max(map(len, self.of.classes)) <= _MOST_LETTERS

    @property
    def roc(self) -> str:
        """The points of the curve."""
        return line(self.of.roc.x, self.of.roc.y) if self.of.roc else ""

    @property
    def precision_recall(self) -> str:
        """The points of the curve."""
        curve = self.of.precision_recall
        return line(curve.x, curve.y, steps=True) if curve else ""

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: the mean distance of both shares, by rows (Naeini et al., 2015)."""
        rows = sum(part.rows for part in self.of.calibration)
        return sum(part.rows * abs(part.observed - part.predicted) for part in self.of.calibration) / max(1, rows)

    @property
    def importance(self) -> Plot:
        """The drop of the metric, by feature."""
        marks = [
            Mark(
                label=row.feature,
                value=row.drop,
                low=row.drop - row.deviation,
                high=row.drop + row.deviation,
                kind="mine",
            )
            for row in self.of.importance
        ]
        return Plot(title="", marks=marks, limit=None, differences=True)

    @property
    def searched(self) -> list[tuple[str, Candidate, Mark]]:
        """The candidates of a search, each with its parameters as text; empty if there was nothing to choose from."""
        if len(self.of.candidates) < 2:
            return []
        return [(_text(one.parameters), one, _mark(one.mean, one.deviation)) for one in self.of.candidates]

    @property
    def search(self) -> Plot:
        """The candidates on one scale."""
        return Plot(title="", marks=[mark for *_, mark in self.searched], limit=None)


def _mark(mean: float, deviation: float) -> Mark:
    return Mark(label="", value=mean, low=mean - deviation, high=mean + deviation, kind="mine")


def _text(parameters: dict[str, str]) -> str:
    shown = {name: REDACTED if names_a_secret(name) else cut(value, 80) for name, value in parameters.items()}
    return ", ".join(f"{cut(name, 80)} = {value}" for name, value in shown.items())
