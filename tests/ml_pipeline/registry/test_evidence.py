from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ml_pipeline.data.hashing import Sample, tag
from ml_pipeline.errors import PipelineError
from ml_pipeline.registry import runs, tracking
from ml_pipeline.registry.evidence import (
    ClassMetrics,
    ComparedChampion,
    Comparison,
    Document,
    Evaluation,
    PerClass,
    Reference,
    RivalRow,
    TableVersion,
    Validation,
    same_rows,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tests.ml_pipeline.conftest import State

EXPERIMENT = "/Shared/test"
METRICS = {"precision": 0.5, "recall": 0.25, "f1": 1.0, "rows": 8.0}
RIVAL = RivalRow(name="run é", run_id="r", value=0.8, difference=0.1, low=-0.1, high=0.3, verdict="indistinguishable")
DOCUMENTS = [
    Evaluation(metric="f1", value=0.9, classes=["a", "b"], bootstrap=[0.8, 1.0], labels=[0, 1]),
    Evaluation(metric="f1", value=1.0, classes=[False, True], bootstrap=[1.0]),
    PerClass(classes={"version": ClassMetrics(**METRICS)}),
    Comparison(
        metric="f1",
        value=0.9,
        threshold=0.7,
        tolerance=0.0,
        significance=0.05,
        rivals=[RIVAL],
        champion=ComparedChampion(version="3", run_id="r", per_class={"a": ClassMetrics(**METRICS)}),
        verdict="passed",
        reason="f1 0.9",
    ),
    Validation(metric="f1", value=0.9, rivals=[RIVAL], verdict="inconclusive", reason="f1 0.9"),
    Reference(edges={"x": [0.5, 1.0]}, categories={"y": ["a"]}, rows={"x": [1, 2, 3, 0], "y": [4, 0, 0]}),
]
EARLIER: list[tuple[type[Document], dict[str, Any]]] = [
    (Evaluation, {"metric": "f1", "value": 0.9, "classes": [0, 1], "bootstrap": [0.9]}),
    (PerClass, {"version": METRICS, "classes": METRICS}),
    (
        Comparison,
        {"metric": "f1", "value": 1, "threshold": 0.7, "tolerance": 0.0, "rivals": [], "champion": None}
        | {"passed": True, "reason": ""},
    ),
    (Validation, {"metric": "f1", "value": 0.9, "rivals": [], "passed": True, "reason": ""}),
    (Reference, {"edges": {}, "categories": {}, "rows": {}}),
]


def a_run(**tags: str) -> Run:
    return runs.create_run(EXPERIMENT, name="n", tags=tags)


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.NAME)
def test_a_document_is_read_as_it_was_logged(document: Document) -> None:
    run = a_run()
    assert type(document).find(run) is None
    document.log(run)
    assert type(document).find(run) == type(document).read(run) == document
    assert json.loads(runs.read_file(run, f"{document.NAME}.json") or b"")["version"] == document.VERSION


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize(("kind", "content"), EARLIER, ids=lambda value: getattr(value, "NAME", ""))
def test_a_document_of_an_earlier_release_has_no_version_and_is_read(
    kind: type[Document], content: dict[str, Any]
) -> None:
    run = a_run()
    tracking.client().log_dict(run.info.run_id, content, f"{kind.NAME}.json")
    fields = kind.read(run).model_dump(exclude_unset=True)
    expected: dict[str, Any] = {"classes": content} if kind is PerClass else dict(content)
    if expected.pop("passed", None):
        expected["verdict"] = "passed"
    assert fields == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"version": 3, "classes": {}}, "has format version 3; expected at most 2. A newer release wrote it: use that"),
        ({"version": 2, "classes": {}, "other": 1}, "other: unknown key; accepted: classes"),
        ({"version": 2}, "classes: is missing"),
        ({"version": 2, "classes": {"a": {**METRICS, "f1": "high"}}}, "must be a number without quotes"),
        ([1], "is not a JSON object"),
    ],
)
def test_a_document_that_this_release_can_not_read_is_rejected_in_one_line(
    state: State, content: Any, message: str
) -> None:
    run = a_run()
    tracking.client().log_dict(run.info.run_id, content, "per_class.json")
    with state.refuses(f"^run {run.info.run_id}: per_class.json.* {message}", PipelineError):
        PerClass.find(run)


def test_a_missing_document_is_named(state: State) -> None:
    run = a_run()
    with state.refuses(f"^run {run.info.run_id} has no reference.json$", PipelineError):
        Reference.read(run)


def test_the_tables_of_a_run_are_its_tags(state: State) -> None:
    sample = Sample(rows=5, of=12, by=("id",))
    table = TableVersion(side="train", table="a.b.train", version=0, fingerprint="12-ab", sample=sample)
    run = a_run(**table.tags)
    table.log_sample(run)
    run = runs.run(run.info.run_id)
    names = ("train_table", "train_version", "train_fingerprint", "train_sample")
    assert [run.data.tags[name] for name in names] == ["a.b.train", "0", "12-ab", tag(sample)]
    assert TableVersion.read(run, "train") == TableVersion.find(run, "train") == table
    assert table.rows == 12
    assert same_rows(run, "train") == {"train_fingerprint": "12-ab", "train_sample": tag(sample)}
    assert TableVersion.find(run, "validation") is None
    assert TableVersion.find(None, "train") is None
    with state.refuses("has no tags validation_table and validation_version$", PipelineError):
        TableVersion.read(run, "validation")
