"""The scorecard of a training run, as Markdown and as one self-contained HTML page, both from one template's data.

It holds figures, pictures and the verdict; no row of data.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from ml_pipeline import tracking
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from mlflow.entities import Run

PICTURES = {
    "comparison": "Comparison with the champion and the branch's runs",
    "confusion_matrix": "Confusion matrix",
    "per_class": "Precision, recall and F1 by class",
    "feature_importance": "Feature importance",
}
_DATA = ("reason", "git_branch", "git_commit", "pull_request", "run_by", "job_run_id")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a run."""

    title: str
    png: bytes

    @property
    def data_uri(self) -> str:
        """The picture as text, to be part of a page."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


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
    def provenance(self) -> dict[str, str]:
        """Who ran it, why, and what it read."""
        tags = self.run.data.tags
        data = {
            tags[f"{side}_table"]: f"version {tags[f'{side}_version']}"
            for side in ("train", "validation", "test")
            if f"{side}_table" in tags
        }
        user = {"user": tags["mlflow.user"]} if "mlflow.user" in tags else {}
        return {name.replace("_", " "): tags[name] for name in _DATA if tags.get(name)} | user | data


def collect(experiment: str, model: str, *, run_id: str | None = None, commit: str | None = None) -> Scorecard:
    """Gather the scorecard of a run: the experiment's newest finished one, unless a run, or a commit, is named.

    Raises:
        InputError: there is no such run.
    """
    # Each training run notes the metric that it was trained for; the runs of batches have no such parameter.
    condition = "attributes.status = 'FINISHED' and params.metric LIKE '%'"
    if run_id:
        condition += f" and attributes.run_id = {tracking.quoted(run_id)}"
    if commit:
        condition += f" and {tracking.matching(git_commit=commit)}"
    found = tracking.search(experiment, condition, most=1)
    if not found:
        which = f" {run_id}" if run_id else f" of commit {commit}" if commit else ""
        raise InputError(f"experiment {experiment} has no finished run{which}; train one first")
    run = found[0]
    champion = tracking.version_by_alias(model, tracking.CHAMPION)
    pictures = {name: tracking.read_file(run, f"{name}.png") for name in PICTURES}
    return Scorecard(
        run=run,
        model=model,
        metric=run.data.params["metric"],
        comparison=_json(run, "comparison"),
        test=_json(run, "test"),
        per_class=_json(run, "per_class") or {},
        pictures=[Picture(title=PICTURES[name], png=png) for name, png in pictures.items() if png],
        champion="none"
        if champion is None
        else f"version {champion.version}, {'this run' if champion.run_id == run.info.run_id else champion.run_id}",
    )


def _json(run: Run, name: str) -> Any:
    content = tracking.read_file(run, f"{name}.json")
    return None if content is None else json.loads(content)


def render(name: str, **values: Any) -> str:
    """The text of a file from its template, ``NAME.j2``; in a page, values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ml_pipeline"),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment.get_template(f"{name}.j2").render(**values)


def write(scorecard: Scorecard, folder: Path) -> list[Path]:
    """Write ``report.md`` and ``report.html``; the page carries its pictures, the Markdown refers to none."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in ("report.md", "report.html"):
        target = folder / name
        partial = target.with_suffix(".partial")
        partial.write_text(render(name, card=scorecard), encoding="utf-8")
        partial.replace(target)
        written.append(target)
    return written
