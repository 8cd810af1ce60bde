"""Where the marks of a drawing are, as shares of its width and height: templates draw them as SVG.

Places are percentages rather than pixels. A drawing fills the room that it has, and its texts keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ml_pipeline import wording

_STEPS = (1, 2, 2.5, 5, 10)
_FLAT = 1e-3
"""The least span of an axis: below it, differences are rounding."""
_LARGE = 1e5
MINUS = "\N{MINUS SIGN}"


def number(value: float | None) -> str:
    """A number as text; empty without one."""
    return "" if value is None else wording.number(value).replace("-", MINUS)


def signed(value: float | None) -> str:
    """A difference as text; empty without one."""
    return "" if value is None else wording.signed(value).replace("-", MINUS)


def limit(value: float) -> str:
    """A number that a person set, as it was written."""
    return f"{value:g}".replace("-", MINUS)


def percent(share: float) -> str:
    """A share as a place in a drawing."""
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def short(count: int) -> str:
    """A count in at most four letters, such as 1.2k."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count // size}{unit}"
    return str(count)


def _tick(value: float, shape: str) -> str:
    text = format(value, shape).replace("e+0", "e")
    # Zero has no sign.
    return text.replace("-", MINUS) if float(text) else text.lstrip("+-")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale with round ticks."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Iterable[float], *, ticks: int = 4) -> Axis:
        """The smallest axis between two round numbers that holds all values."""
        held = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(held), max(held)
        if high - low < _FLAT:
            low, high = low - _FLAT, high + _FLAT
        rough = (high - low) / ticks
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))
        # A hair's breadth of room: 0.3 / 0.1 is a little less than 3 in binary fractions.
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls(low=first * step, high=last * step, step=step)

    def at(self, value: float) -> float:
        """The place of a value, in percent; one that is outside is at the end."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)

    def ticks(self, *, sign: bool = False) -> list[tuple[float, str]]:
        """The place and the text of each tick."""
        values = [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]
        power, most = math.floor(math.log10(self.step) + 1e-9), max(map(abs, values))
        digits = max(0, -power)
        digits += not math.isclose(round(self.step, digits), self.step)
        shape = f".{digits}f" if most < _LARGE else f".{math.floor(math.log10(most)) - power + 2}g"
        return [(self.at(value), _tick(value, f"{'+' if sign else ''}{shape}")) for value in values]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value in a plot, with its interval."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: str
    """The mark's class: ``mine``, ``other`` or a verdict."""

    @property
    def values(self) -> list[float]:
        """All that the axis must hold."""
        return [value for value in (self.low, self.value, self.high) if value is not None]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Values with their intervals, one below the other."""

    title: str
    marks: Sequence[Mark]
    limit: float | None
    """What lies below it fails."""
    limit_label: str = ""
    differences: bool = False
    """Whether values are differences: with a sign, around zero."""

    @property
    def axis(self) -> Axis:
        """The scale that the values share."""
        values = [value for mark in self.marks for value in mark.values]
        values += [0.0] if self.differences else []
        if self.limit is not None:
            # Some of what fails is in sight.
            values += [self.limit, self.limit - (max(*values, self.limit) - self.limit) / 10]
        return Axis.around(values)

    def text(self, value: float | None) -> str:
        """A value as text."""
        return signed(value) if self.differences else number(value)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a drawing, in percent from its left and its top."""

    x: float
    y: float
    kind: str = ""
    label: str = ""


def line(x: Sequence[float], y: Sequence[float], *, steps: bool = False) -> str:
    """The points of an SVG line between rates from 0 to 1, in a drawing of 100 by 100."""
    points = [(100 * a, 100 - 100 * b) for a, b in zip(x, y, strict=True)]
    if steps:
        points = [
            point
            for (a, b), (c, d) in zip(points, [*points[1:], points[-1]], strict=True)
            for point in ((a, b), (a, d))
        ]
    return " ".join(f"{a:.2f},{b:.2f}" for a, b in points)


def trend(values: Sequence[tuple[float, str, str]], axis: Axis) -> list[Point]:
    """The points of a series, with their kind and label, evenly spaced from left to right."""
    room = max(1, len(values) - 1)
    return [
        Point(x=round(2 + 96 * i / room, 2), y=round(100 - axis.at(value), 2), kind=kind, label=label)
        for i, (value, kind, label) in enumerate(values)
    ]
