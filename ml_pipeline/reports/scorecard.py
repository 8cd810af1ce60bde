"""The scorecard of a training run, as Markdown and as one self-contained HTML page, both from one template's data.

It holds figures, drawings and the verdict; no row of data, and no secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.errors import InputError
from ml_pipeline.names import CHAMPION
from ml_pipeline.registry import models, runs
from ml_pipeline.registry.diagnostics import Diagnostics
from ml_pipeline.registry.evidence import Comparison, PerClass, Validation
from ml_pipeline.reports.card import MOST_ASKED, Scorecard
from ml_pipeline.reports.entries import Served
from ml_pipeline.reports.rendering import render

if TYPE_CHECKING:
    from ml_pipeline.registry import Run

MOST_CHARACTERS = 30_000
"""Of the Markdown: a comment on GitHub takes 65,536, and what the deployment would change is in it too."""
_MOST_ROWS = (20, 10, 5, 2)
"""Rows of a table of the Markdown, and what is tried next where that is too long."""


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
    newest = runs.search(experiment, condition, most=1)
    if not newest:
        which = f" {run_id}" if run_id else f" of commit {commit}" if commit else ""
        raise InputError(f"experiment {experiment} has no finished run{which}; train one first")
    run = newest[0]
    champion = models.version_by_alias(model, CHAMPION)
    comparison, per_class = Comparison.find(run), PerClass.find(run)
    return Scorecard(
        run=run,
        model=model,
        metric=run.data.params["metric"],
        comparison=comparison,
        test=Validation.find(run),
        per_class=per_class.classes if per_class else {},
        diagnostics=Diagnostics.find(run),
        served=Served(version=str(champion.version), run_id=str(champion.run_id)) if champion else None,
        compared=_run(comparison.champion.run_id) if comparison and comparison.champion else None,
        branch=runs.of_branch(experiment, run, run.data.params["metric"], most=MOST_ASKED),
    )


def _run(run_id: str) -> Run | None:
    try:
        return runs.run(run_id)
    except InputError:
        return None  # A champion may come from another tracking server.


def write(scorecard: Scorecard, folder: Path) -> list[Path]:
    """Write ``report.md`` and ``report.html``; the page draws, the Markdown has a plot in text."""
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
