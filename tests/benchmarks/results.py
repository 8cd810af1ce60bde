"""Judges the ratios of a benchmark by their limits, keeps them, and draws how they changed.

A ratio counts only if the machine does nothing else: its load is measured before and after.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

FOLDER = Path(".benchmarks")
BUSY = 0.15
"""Share of the CPU that other programs may use."""


def load() -> float:
    """Share of the CPU that is in use while this process waits for three seconds."""
    return float(psutil.cpu_percent(interval=3)) / 100


@dataclass
class Results:
    """The ratios of one benchmark."""

    benchmark: str
    load: float = field(default_factory=load)
    ratios: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, value: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
        """Add a ratio, and the limit that it shall keep."""
        kept = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        limit = f"at most {at_most:g}" if at_most is not None else f"at least {at_least:g}" if at_least else ""
        self.ratios.append({"name": name, "value": round(value, 3), "limit": limit, "kept": kept})

    def finish(self) -> int:
        """Print the ratios; on an idle machine also keep them, and draw the page.

        Returns:
            The exit code: 0, 1 if a limit is not kept, 2 if the machine was too busy to judge.
        """
        self.load = max(self.load, load())
        print(f"\n{self.benchmark}: other programs used {self.load:.0%} of the CPU")
        for each in self.ratios:
            verdict = "" if not each["limit"] else "kept" if each["kept"] else "NOT KEPT"
            print(f"{each['name']:<60} {each['value']:>8.2f}  {each['limit']:<14} {verdict}")
        if self.load > BUSY:
            print(f"not judged: the machine is busy (limit {BUSY:.0%}); run it again on an idle one")
            return 2
        FOLDER.mkdir(exist_ok=True)
        with (FOLDER / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"benchmark": self.benchmark, **_when(), "load": self.load, "ratios": self.ratios}))
            file.write("\n")
        print(f"page: {draw()}")
        return 0 if all(each["kept"] for each in self.ratios) else 1


def _when() -> dict[str, str]:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    now = datetime.datetime.now(datetime.UTC)
    return {"time": now.isoformat(timespec="minutes"), "commit": done.stdout.strip()}


def draw() -> Path:
    """Draw each ratio over time, with its limit, as one picture."""
    from matplotlib.figure import Figure

    lines = (FOLDER / "history.jsonl").read_text(encoding="utf-8").splitlines()
    series: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for run in map(json.loads, lines):
        for ratio in run["ratios"]:
            label = f"{run['benchmark']}: {ratio['name']}"
            series.setdefault(label, []).append((f"{run['time'][:10]}\n{run['commit']}", ratio))
    figure = Figure(figsize=(9, 2 * len(series)), layout="constrained")
    for axes, (label, points) in zip(figure.subplots(len(series), squeeze=False)[:, 0], series.items(), strict=True):
        axes.plot([ratio["value"] for _, ratio in points], marker="o")
        axes.set_xticks(range(len(points)), [when for when, _ in points], fontsize=6)
        limit = points[-1][1]["limit"]
        axes.set_title(f"{label} {points[-1][1]['value']:g}{f' ({limit})' if limit else ''}", fontsize=9, loc="left")
        axes.set_ylim(bottom=0)
        if limit:
            axes.axhline(float(limit.split()[-1]), linestyle="--", color="grey")
    figure.savefig(FOLDER / "history.svg")
    return FOLDER / "history.svg"
