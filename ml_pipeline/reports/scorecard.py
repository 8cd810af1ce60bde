"""The scorecard of a training run, as Markdown and as one self-contained HTML page, both from one template's data.

It holds figures, pictures and the verdict; no row of data, and no secret.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ml_pipeline.data import hashing
from ml_pipeline.errors import InputError
from ml_pipeline.registry import models, runs
from ml_pipeline.reports.redaction import REDACTED, names_a_secret
from ml_pipeline.reports.rendering import cut, intervals, render

if TYPE_CHECKING:
    from mlflow.entities import Run

PICTURES = {
    "comparison": "Comparison with the champion and the branch's runs",
    "confusion_matrix": "Confusion matrix",
    "per_class": "Precision, recall and F1 by class",
    "feature_importance": "Feature importance",
}
_DATA = ("reason", "git_branch", "git_commit", "pull_request", "run_by", "job_run_id")
MOST_CHARACTERS = 30_000
"""Of the Markdown: a comment on GitHub takes 65,536, and what the deployment would change is in it too."""
_MOST_ROWS = (20, 10, 5, 2)
"""Rows of a table of the Markdown, and what is tried next where that is too long."""
_MOST_PLOTTED = 10
_MOST_ASKED = 50
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
    rival: Mapping[str, Any] | None = None
    """How much better the run is than this one, as the comparison found; ``None`` where it did not compare."""
    run: Run | None = None
    """What the tracking server has of it, if anything."""

    @property
    def commit(self) -> str:
        """The commit that was built."""
        return self._tag("git_commit")[:12]

    @property
    def word(self) -> str:
        """``passed`` or ``failed`` in its own comparison."""
        return self._tag("validate")

    @property
    def data(self) -> str:
        """The version of the train-validation table that it learned from."""
        return self._tag("train_validation_version")

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
    measured: Mapping[str, float]
    champion: Mapping[str, float] | None
    tolerance: float
    verdict: str
    """Of the comparison: ``better`` or ``worse`` where chance does not explain how F1 differs."""

    def change(self, figure: str) -> float | None:
        """How much better the run is than the champion."""
        return None if self.champion is None else self.measured[figure] - self.champion[figure]

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
    """All that the report says of one training run."""

    run: Run
    model: str
    metric: str
    comparison: dict[str, Any] | None
    """What ``compare`` found; ``None`` if it has not run."""
    test: dict[str, Any] | None
    """What ``validate`` found; ``None`` if it has not run."""
    per_class: dict[str, dict[str, float]]
    pictures: list[Picture]
    champion: str
    """The version in service, in words."""
    compared: Run | None = None
    """The run of the champion that it was compared with, where the tracking server has it."""
    branch: Sequence[Run] = ()
    """Other finished runs of the branch, the best first."""

    @property
    def verdict(self) -> str:
        """``passed`` or ``failed``: the latest word; ``not compared`` before there is one."""
        tags = self.run.data.tags
        return str(tags.get("test", tags.get("validate", "not compared")))

    @property
    def reason(self) -> str:
        """Why."""
        tags = self.run.data.tags
        return str(tags.get("test.reason", tags.get("validate.reason", "the comparison has not run")))

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
        significance = (self.comparison or {}).get("significance")
        return "interval" if significance is None else f"{100 * (1 - significance):g}% interval"

    @property
    def entries(self) -> list[Entry]:
        """The run, the champion that it was compared with, and the branch's other runs, the best first."""
        runs = {run.info.run_id: run for run in self.branch}
        rivals = (self.comparison or {}).get("rivals", [])
        if self.compared:
            runs[self.compared.info.run_id] = self.compared
        mine = Entry(name="this run", run_id=self.run.info.run_id, value=self._measured(self.run), run=self.run)
        found = {mine.run_id: mine}
        for rival in rivals:
            other = rival["run_id"]
            entry = Entry(name=rival["name"], run_id=other, value=rival["value"], rival=rival, run=runs.get(other))
            # The champion, which comes first, may be a run of the branch too.
            found.setdefault(other, entry)
        for run in self.branch:
            run_id = run.info.run_id
            entry = Entry(name=f"run {run.info.run_name}", run_id=run_id, value=self._measured(run), run=run)
            found.setdefault(run_id, entry)
        return list(found.values())

    def more(self, most: int) -> str:
        """How many runs of the branch are left out of a table with so many rows; empty if none."""
        count, perhaps = max(0, len(self.entries) - most), len(self.branch) >= _MOST_ASKED
        if not count:
            return "the branch may have more runs than these" if perhaps else ""
        return f"{'at least ' if perhaps else ''}{count} more of the branch are not shown"

    @property
    def reach(self) -> float:
        """The greatest distance from zero that a plot of the intervals needs."""
        rivals = [entry.rival for entry in self.entries if entry.rival]
        return max([1e-6, *(abs(float(rival[bound])) for rival in rivals for bound in ("low", "high", "difference"))])

    def plot(self, most: int) -> str:
        """The differences with their intervals, as text; empty where there are none."""
        rows = [
            (entry.name.replace(", version", ""), *(entry.rival[name] for name in ("difference", "low", "high")))
            for entry in self.entries[: min(most, _MOST_PLOTTED)]
            if entry.rival
        ]
        return intervals(rows, reach=self.reach) if rows else ""

    @property
    def classes(self) -> list[ClassRow]:
        """The classes: those that fell most against the champion first, without one those with the least F1."""
        compared = (self.comparison or {}).get("champion") or {}
        champion, verdicts = compared.get("per_class", {}), compared.get("verdicts", {})
        tolerance = (self.comparison or {}).get("tolerance", 0.0)
        rows = [
            ClassRow(
                name=name,
                measured=measured,
                champion=champion.get(name),
                tolerance=tolerance,
                verdict=verdicts.get(name, ""),
            )
            for name, measured in self.per_class.items()
        ]
        rows.sort(key=lambda row: (row.change("f1") or 0.0, row.measured["f1"]))
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
        return [
            (side, self.run.data.tags[f"{side}_table"], _version(self.run, side), _version(self.compared, side))
            for side in ("train_validation", "train", "validation", "test")
            if f"{side}_table" in self.run.data.tags
        ]

    @property
    def provenance(self) -> dict[str, str]:
        """Who ran it, and why."""
        tags = self.run.data.tags
        user = {"user": tags["mlflow.user"]} if "mlflow.user" in tags else {}
        return {name.replace("_", " "): tags[name] for name in _DATA if tags.get(name)} | user

    def _measured(self, run: Run) -> float | None:
        value = run.data.metrics.get(f"validation_{self.metric}")
        return None if value is None else float(value)


def _version(run: Run | None, side: str) -> str:
    if run is None or f"{side}_version" not in run.data.tags:
        return ""
    text = f"version {run.data.tags[f'{side}_version']}"
    fingerprint = run.data.tags.get(f"{side}_fingerprint", "")
    return f"{text}, {hashing.Digest.parse(fingerprint).rows:,} rows" if fingerprint else text


def collect(experiment: str, model: str, *, run_id: str | None = None, commit: str | None = None) -> Scorecard:
    """Gather the scorecard of a run: the experiment's newest finished one, unless a run, or a commit, is named.

    Raises:
        InputError: there is no such run.
    """
    # Each training run notes the metric that it was trained for; the runs of batches have no such parameter.
    condition = "attributes.status = 'FINISHED' and params.metric LIKE '%'"
    if run_id:
        condition += f" and attributes.run_id = {runs.quoted(run_id)}"
    if commit:
        condition += f" and {runs.matching(git_commit=commit)}"
    found = runs.search(experiment, condition, most=1)
    if not found:
        which = f" {run_id}" if run_id else f" of commit {commit}" if commit else ""
        raise InputError(f"experiment {experiment} has no finished run{which}; train one first")
    run = found[0]
    champion = models.version_by_alias(model, models.CHAMPION)
    pictures = {name: runs.read_file(run, f"{name}.png") for name in PICTURES}
    comparison = _json(run, "comparison")
    return Scorecard(
        run=run,
        model=model,
        metric=run.data.params["metric"],
        comparison=comparison,
        test=_json(run, "test"),
        per_class=_json(run, "per_class") or {},
        pictures=[Picture(title=PICTURES[name], png=png) for name, png in pictures.items() if png],
        champion="none"
        if champion is None
        else f"version {champion.version}, {'this run' if champion.run_id == run.info.run_id else champion.run_id}",
        compared=_run(((comparison or {}).get("champion") or {}).get("run_id")),
        branch=_branch(experiment, run),
    )


def _branch(experiment: str, run: Run) -> list[Run]:
    """The other runs of the branch that measured the same metric, sorted by the tracking server."""
    metric = run.data.params["metric"]
    return runs.search(
        experiment,
        f"attributes.status = 'FINISHED' and attributes.run_id != '{run.info.run_id}' and params.metric = "
        f"{runs.quoted(metric)} and {runs.matching(git_branch=run.data.tags['git_branch'])}",
        order_by=f"metrics.`validation_{metric}` DESC",
        most=_MOST_ASKED,
    )


def _run(run_id: str | None) -> Run | None:
    try:
        return runs.run(run_id) if run_id else None
    except InputError:
        return None  # A champion may come from another tracking server.


def _json(run: Run, name: str) -> Any:
    content = runs.read_file(run, f"{name}.json")
    return None if content is None else json.loads(content)


def write(scorecard: Scorecard, folder: Path) -> list[Path]:
    """Write ``report.md`` and ``report.html``; the page carries its pictures, the Markdown a plot of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"report.md": _markdown(scorecard), "report.html": render("report.html", card=scorecard)}
    written = []
    for name, text in texts.items():
        target = folder / name
        partial = target.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
        written.append(target)
    return written


def _markdown(scorecard: Scorecard) -> str:
    texts = (render("report.md", card=scorecard, most=most) for most in _MOST_ROWS)
    text = next(texts)
    while len(text) > MOST_CHARACTERS and (shorter := next(texts, None)):
        text = shorter
    return text
