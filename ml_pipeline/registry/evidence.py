"""What steps leave with an MLflow run for later steps: typed documents, and references to tables.

A document is the file ``NAME.json`` of a run. It holds the ``version`` of its format; one without it was written by an
earlier release and has version 1. Only this module reads and writes documents.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import ValidationError

from ml_pipeline.data.hashing import Digest, Sample, tag
from ml_pipeline.errors import PipelineError
from ml_pipeline.names import FAILED, PASSED
from ml_pipeline.registry import runs, tracking
from ml_pipeline.settings import messages
from ml_pipeline.settings.types import Settings
from ml_pipeline.wording import number, signed

if TYPE_CHECKING:
    from ml_pipeline.registry import Run


Outcome = Literal["passed", "failed", "inconclusive"]
"""``failed`` if the evidence shows a model to be worse than allowed, ``inconclusive`` if it shows neither."""


class Document(Settings):
    """A file of a run, ``NAME.json``."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1

    def log(self, run: Run) -> None:
        """Write the document to a run."""
        content = {"version": self.VERSION} | self.model_dump()
        tracking.client().log_dict(run.info.run_id, content, f"{self.NAME}.json")

    @classmethod
    def find(cls, run: Run) -> Self | None:
        """The document of a run; ``None`` if the run has none.

        Raises:
            PipelineError: this release can't read it.
        """
        content = runs.read_file(run, f"{cls.NAME}.json")
        if content is None:
            return None
        where = f"run {run.info.run_id}: {cls.NAME}.json"
        try:
            fields = json.loads(content)
            version = fields.get("version")
            version = version if isinstance(version, int) else 1
            if version > cls.VERSION:
                raise PipelineError(
                    f"{where} has format version {version}; expected at most {cls.VERSION}. "
                    "A newer release wrote it: use that release"
                )
            return cls.model_validate(cls._current(fields, version))
        except ValidationError as error:
            raise PipelineError(f"{where}: {messages.explain(error, cls)}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise PipelineError(f"{where} is not a JSON object: {error}") from error

    @classmethod
    def read(cls, run: Run) -> Self:
        """The document of a run.

        Raises:
            PipelineError: the run has none, or this release can't read it.
        """
        document = cls.find(run)
        if document is None:
            raise PipelineError(f"run {run.info.run_id} has no {cls.NAME}.json")
        return document

    @classmethod
    def _current(cls, fields: dict[str, Any], _version: int) -> dict[str, Any]:
        """The fields of an earlier version as those of the present one."""
        return {name: value for name, value in fields.items() if name != "version"}


class Evaluation(Document):
    """How the model did on the rows of the validation table."""

    NAME: ClassVar[str] = "evaluation"

    metric: str
    value: float
    classes: list[Any]
    """The values of the target, in the order in which labels count them; the positive one last."""
    bootstrap: list[float]
    """The metric on resamples of the rows."""
    labels: list[int] = []
    """The first predictions, as positions among the classes; earlier releases kept none."""
    rows: int | None = None
    """Rows of the validation table; earlier releases kept none."""


class ClassMetrics(Settings):
    """How a model did on the rows of one class."""

    precision: float
    recall: float
    f1: float
    rows: float


class PerClass(Document):
    """How the model did on each class of the validation table."""

    NAME: ClassVar[str] = "per_class"
    VERSION: ClassVar[int] = 2

    classes: dict[str, ClassMetrics]

    @classmethod
    def _current(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:
        # Version 1 is the mapping alone, in which a class may have any name.
        return {"classes": fields} if version == 1 else super()._current(fields, version)


class RivalRow(Settings):
    """A model that the run's model was compared with, on the same rows."""

    name: str
    run_id: str
    value: float
    difference: float
    """How much better the run's model is; ``low`` and ``high`` bound the interval."""
    low: float
    high: float
    verdict: str
    """``better``, ``worse`` or ``indistinguishable``."""
    outcome: Outcome | None = None
    """Whether the run's model is worse by more than the tolerance; earlier releases kept none."""
    rows_needed: int | None = None
    """Rows that would decide if the difference stays the same; ``None`` if it is the tolerance itself."""

    @property
    def change(self) -> str:
        """The difference with its interval."""
        return f"difference {signed(self.difference)}, interval {signed(self.low)} to {signed(self.high)}"

    def __str__(self) -> str:
        side = "below" if self.difference < 0 else "above"
        lead = number(abs(self.difference))
        stands = "level with" if lead == number(0) else f"{lead} {side}"
        return f"{stands} {self.name} ({number(self.value)}; {self.verdict})"


class ComparedChampion(Settings):
    """The champion at the time of the comparison."""

    version: str
    run_id: str
    per_class: dict[str, ClassMetrics] = {}
    verdicts: dict[str, str] = {}
    """Of the run's F1 of each class; earlier releases kept none."""


class Decision(Document):
    """Whether the run's model may go on, and the evidence for it."""

    NAME: ClassVar[str] = "decision"
    VERSION: ClassVar[int] = 2

    metric: str
    value: float
    low: float | None = None
    """Bounds of the value's interval; this and what is ``None`` below was not kept by earlier releases."""
    high: float | None = None
    rows: int | None = None
    threshold: float | None = None
    tolerance: float | None = None
    significance: float | None = None
    rivals: list[RivalRow] = []
    verdict: Outcome
    reason: str
    warning: str = ""
    """What the table is too small to show."""

    @property
    def passed(self) -> bool:
        """Whether the model may go on: nothing shows that it is worse than allowed."""
        return self.verdict != FAILED

    @property
    def results(self) -> dict[str, str]:
        """What the task shows."""
        return {"verdict": f"{self.verdict}: {self.reason}"} | ({"warning": self.warning} if self.warning else {})

    def tags(self, name: str) -> dict[str, str]:
        """The verdict as tags of a run or of a version."""
        return {name: self.verdict, f"{name}.reason": self.reason}

    @classmethod
    def _current(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:
        content = super()._current(fields, version)
        return content if version > 1 else content | {"verdict": PASSED if content.pop("passed") else FAILED}


class Comparison(Decision):
    """The run's model against the threshold, the champion and the branch's runs, on the validation table."""

    NAME: ClassVar[str] = "comparison"

    champion: ComparedChampion | None = None


class Validation(Decision):
    """The run's model against the threshold and the champion, on the test table."""

    NAME: ClassVar[str] = "test"


class Reference(Document):
    """Histograms of the train table, which batches are compared with: its bins (``histograms.Bins``), and rows by bin.

    They are kept with the run because the table may be out of reach, or vacuumed, where the model is served.
    """

    NAME: ClassVar[str] = "reference"

    edges: dict[str, list[float]]
    categories: dict[str, list[str]]
    rows: dict[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class TableVersion:
    """The version of a table that a run read as one side of its data; kept in the run's tags."""

    side: str
    table: str
    version: int
    fingerprint: str = ""
    """Of all rows of the table (``hashing.Digest``)."""
    sample: Sample | None = None
    """The rows that the run took of it; ``None`` if it took all."""

    @classmethod
    def find(cls, run: Run | None, side: str) -> Self | None:
        """The table that a run read as this side; ``None`` if it read none."""
        tags = run.data.tags if run else {}
        if f"{side}_table" not in tags or f"{side}_version" not in tags:
            return None
        return cls(
            side=side,
            table=tags[f"{side}_table"],
            version=int(tags[f"{side}_version"]),
            fingerprint=tags.get(f"{side}_fingerprint", ""),
            sample=Sample.parse(tags.get(f"{side}_sample", "")),
        )

    @classmethod
    def read(cls, run: Run, side: str) -> Self:
        """The table that a run read as this side.

        Raises:
            PipelineError: it read none.
        """
        found = cls.find(run, side)
        if found is None:
            raise PipelineError(f"run {run.info.run_id} has no tags {side}_table and {side}_version")
        return found

    @property
    def rows(self) -> int:
        """Rows of the whole table; 0 if it has no fingerprint."""
        return Digest.parse(self.fingerprint).rows if self.fingerprint else 0

    @property
    def taken(self) -> int:
        """Rows that the run took of it; 0 if it has no fingerprint."""
        return self.sample.rows if self.sample else self.rows

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the run, all but that of the sample."""
        values = {"table": self.table, "version": str(self.version), "fingerprint": self.fingerprint}
        return {f"{self.side}_{name}": value for name, value in values.items()}

    def log_sample(self, run: Run) -> None:
        """Tag a run with the sample that it takes."""
        runs.set_tags(run, {f"{self.side}_sample": tag(self.sample)})


def same_rows(run: Run, side: str) -> dict[str, str]:
    """The tags that two runs share if they saw the same rows of a side."""
    names = (f"{side}_fingerprint", f"{side}_sample")
    return {name: run.data.tags[name] for name in names if name in run.data.tags}
