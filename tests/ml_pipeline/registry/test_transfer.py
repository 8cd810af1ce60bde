"""A real model goes from one state folder into another, each with a registry of its own, and is at home there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ml_pipeline.data import tables
from ml_pipeline.errors import CheckFailedError, InputError, PipelineError
from ml_pipeline.registry import champion as champion_alias
from ml_pipeline.registry import models, run_copy, runs, tracking, transfer
from ml_pipeline.registry.champion import HISTORY, MOVES
from ml_pipeline.registry.transfer import CHECKSUMS
from ml_pipeline.steps import promote

if TYPE_CHECKING:
    from ml_pipeline.entry_point import Results
    from tests.ml_pipeline.conftest import State

pytestmark = pytest.mark.slow

EXPERIMENT, MODEL = "/Shared/test", "local.test.model"
WHERE = "https://dev.example.com"


def export(output: Path, **given: Any) -> Results:
    given = {"commit": "c1"} if not {"commit", "alias"} & set(given) else given
    return transfer.export_model(output, experiment=EXPERIMENT, model=MODEL, environment="dev", where=WHERE, **given)


def take(folder: Path, **given: Any) -> Results:
    return transfer.import_model(folder, experiment=EXPERIMENT, model=MODEL, **given)


def files(run_id: str) -> dict[str, bytes]:
    """What is kept with a run, beside its model."""
    client = tracking.client()
    paths = [item.path for item in client.list_artifacts(run_id)]
    return {path: Path(client.download_artifacts(run_id, path)).read_bytes() for path in paths}


@pytest.fixture
def exported(trained: State, tmp_path: Path) -> Path:
    trained.activate()
    export(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_that_came_is_validated_promoted_serves_and_is_watched(
    trained: State, new_state: Callable[[], State], tmp_path: Path
) -> None:
    run = trained.activate().newest()
    rows = trained.frame("validation").drop(columns="target")
    theirs, signature = models.load_model(models.run_uri(run))
    answers, kept = theirs.predict(rows), files(run.info.run_id)
    said = export(tmp_path / "model")
    assert said == {"exported": f"run {run.info.run_id} of dev to {tmp_path / 'model'}"}

    there = new_state()
    made = take(tmp_path / "model")
    (copy,) = there.found()
    assert made == {"MLflow run": f"{copy.info.run_id}, copied of run {run.info.run_id} of dev"}
    assert copy.info.run_id != run.info.run_id
    assert (copy.info.status, copy.info.run_name) == ("FINISHED", run.info.run_name)
    assert (copy.info.start_time, copy.info.end_time) == (run.info.start_time, run.info.end_time)
    assert copy.data.params == run.data.params
    assert copy.data.metrics == run.data.metrics
    assert [item.dataset.name for item in copy.inputs.dataset_inputs] == ["local.test.train", "local.test.validation"]
    assert files(copy.info.run_id) == kept
    lineage = {"run_id": run.info.run_id, "experiment": EXPERIMENT, "environment": "dev", "tracking_uri": WHERE}
    lineage |= {"git_commit": "c1", "job_run_id": run.data.tags["job_run_id"]}
    for name, value in lineage.items():
        assert copy.data.tags[f"source.{name}"] == copy.data.tags[f"origin.{name}"] == value
    same = {"git_branch", "git_commit", "development", "validate", "train_fingerprint", "reason"}
    assert {name: copy.data.tags[name] for name in same} == {name: run.data.tags[name] for name in same}
    # Another workspace may have a job run of that number.
    assert "job_run_id" not in copy.data.tags

    ours, our_signature = models.load_model(models.run_uri(copy))
    assert (ours.predict(rows) == answers).all()
    assert our_signature == signature
    assert models.tag_of_model(models.run_uri(copy), "evaluator") == run.data.tags["evaluator"]

    # Of its tables there is none here: the test table is this environment's, and drift is told by what came along.
    there.run("datasets", "validation", "promotion", "batch_inference", monitoring={}).succeeded()
    champion = there.champion()
    assert (int(champion.version), champion.run_id, champion.tags["test"]) == (1, copy.info.run_id, "passed")
    assert not tables.exists("local.test.train")


def test_an_import_is_done_once_and_an_interrupted_one_anew(
    exported: Path, new_state: Callable[[], State], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = new_state()
    with monkeypatch.context() as patched:
        patched.setattr(tracking.client(), "finalize_logged_model", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take(exported)
    (partial,) = there.found()
    assert partial.info.status == "RUNNING"
    with pytest.raises(PipelineError, match="has no finished run"):
        runs.the_run(EXPERIMENT, git_commit="c1", development="passed")

    take(exported)
    (made,) = there.found()
    assert made.info.run_id != partial.info.run_id
    assert runs.the_run(EXPERIMENT, git_commit="c1", development="passed").info.run_id == made.info.run_id
    before = tracking.client().search_logged_models([made.info.experiment_id])
    assert take(exported)["MLflow run"].startswith(f"{made.info.run_id}, there already")
    assert [run.info.run_id for run in there.found()] == [made.info.run_id]
    assert len(tracking.client().search_logged_models([made.info.experiment_id])) == len(before) == 1


def test_a_commit_has_one_run_that_passed_whatever_comes(
    exported: Path, trained: State, new_state: Callable[[], State], tmp_path: Path
) -> None:
    there = new_state()
    take(exported, commit="merged")
    (copy,) = there.found()
    assert (copy.data.tags["git_commit"], copy.data.tags["source.git_commit"]) == ("merged", "c1")
    # A second one of the same commit, such as one that was trained for it again.
    other = runs.create_run(EXPERIMENT, name="other", tags={"git_commit": "merged", "development": "passed"})
    tracking.client().set_terminated(other.info.run_id)
    take(exported, commit="merged")
    assert runs.the_run(EXPERIMENT, git_commit="merged", development="passed").info.run_id == copy.info.run_id

    # From there it goes on, and comes back to where it was trained: it is known there.
    export(tmp_path / "on", commit="merged")
    manifest = json.loads((tmp_path / "on" / "manifest.json").read_text())
    assert manifest["source"]["run_id"] == copy.info.run_id
    assert manifest["run"]["tags"]["origin.git_commit"] == "c1"
    third = new_state()
    take(tmp_path / "on")
    (again,) = third.found()
    assert again.data.tags["source.run_id"] == copy.info.run_id
    assert again.data.tags["origin.run_id"] == copy.data.tags["source.run_id"]
    export(tmp_path / "back", commit="merged")
    home = trained.activate()
    mine = home.newest().info.run_id
    assert take(tmp_path / "back", commit="c1")["MLflow run"] == f"{mine}, which was trained here"
    assert len(home.found()) == 1


def test_a_champion_leaves_the_trail_that_promotion_leaves(
    flown: State, new_state: Callable[[], State], tmp_path: Path
) -> None:
    flown.activate()
    assert "local.test.model version 1" in export(tmp_path / "one", alias="champion")["exported"]
    # A model that was trained anew takes its place.
    flown.run("training", "validation", "promotion", parameters={"git_commit": "c2"}, tolerance=0.5).succeeded()
    export(tmp_path / "two", alias="champion")
    there = new_state()
    said = take(tmp_path / "one", become="champion", run_by="ann")
    assert said[MODEL] == "version 1 is the champion"
    for _ in range(2):  # Again, it changes nothing.
        take(tmp_path / "two", become="champion", run_by="bob")
    champion = there.champion()
    assert (int(champion.version), champion.tags["test"], champion.tags["source_version"]) == (2, "passed", "2")
    assert (champion.tags["source_model"], champion.tags["source_environment"]) == (MODEL, "dev")
    moves = [
        [(move["move"], move["by"]) for move in json.loads(models.version(MODEL, str(number)).tags[MOVES])]
        for number in (1, 2)
    ]
    assert moves == [[("imported", "ann"), ("replaced", "bob")], [("imported", "bob")]]
    assert json.loads(tracking.client().get_registered_model(MODEL).tags[HISTORY]) == ["1", "2"]
    assert "version 1 is the champion again" in champion_alias.rollback(model=MODEL)[MODEL]


def test_a_challenger_has_passed_validation_where_it_comes_from(
    exported: Path, flown: State, new_state: Callable[[], State], tmp_path: Path
) -> None:
    there = new_state()
    for alias in ("challenger", "champion"):
        with there.refuses(f"^--as {alias}: the model did not pass validation", CheckFailedError):
            take(exported, become=alias)
    assert there.found() == []

    flown.activate()
    export(tmp_path / "validated")
    there.activate()
    assert take(tmp_path / "validated", become="challenger")[MODEL] == "version 1 is the challenger"
    assert promote.promote(model=MODEL)[MODEL] == "version 1 is the champion"


def test_what_serves_elsewhere_is_no_challenger_any_more(flown: State, trained: State, tmp_path: Path) -> None:
    flown.activate()
    export(tmp_path / "champion", alias="champion")
    # Here the same run was validated, and is known by the run that it is a copy of.
    here = trained.activate()
    here.run("validation").succeeded()
    assert models.version_by_alias(MODEL, "challenger") is not None
    said = take(tmp_path / "champion", become="champion")
    assert said[MODEL] == "version 1 is the champion"
    assert said["MLflow run"].endswith("which was trained here")
    assert models.version_by_alias(MODEL, "challenger") is None
    assert len(here.found()) == 1
    assert not any(name.startswith("source.") for name in here.champion().tags)


def test_where_there_is_none_it_says_so(state: State, tmp_path: Path) -> None:
    for which in ({"commit": "c9"}, {"alias": "champion"}):
        assert "no experiment" in export(tmp_path / "none", if_any=True, **which)["nothing to export"]
    assert not tracking.has_experiment(EXPERIMENT)
    tracking.experiment_id(EXPERIMENT)
    for which in ({"commit": "c9"}, {"alias": "champion"}):
        assert str(*which.values()) in export(tmp_path / "none", if_any=True, **which)["nothing to export"]
    with state.refuses("has no finished run with git_commit c9, development passed", PipelineError):
        export(tmp_path / "none", commit="c9")
    with state.refuses("has no alias 'champion'"):
        export(tmp_path / "none", alias="champion")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(exported: Path, state: State) -> None:
    before = (exported / CHECKSUMS).read_bytes()
    with state.refuses(f"--output {exported}: is there already; accepted: a new or an empty folder"):
        export(exported)
    assert (exported / CHECKSUMS).read_bytes() == before


def _cut(folder: Path) -> None:
    file = folder / run_copy.MODEL / "model.pkl"
    file.write_bytes(file.read_bytes()[:-1])


def _format(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": "another"}))
    (folder / CHECKSUMS).unlink()
    transfer.seal(folder)


def _link(folder: Path) -> None:
    file = folder / run_copy.ARTIFACTS / "evaluation.json"
    shutil.move(file, folder.parent / "elsewhere.json")
    file.symlink_to(folder.parent / "elsewhere.json")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param(_cut, r"model\.pkl: was changed; accepted: a folder as export-model wrote it", id="cut"),
        pytest.param(lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json: is missing", id="missing"),
        pytest.param(lambda folder: (folder / "more").touch(), "more: was added", id="added"),
        pytest.param(lambda folder: (folder / CHECKSUMS).unlink(), "is not a whole exported model", id="unsealed"),
        pytest.param(lambda folder: (folder / CHECKSUMS).write_text("x"), "holds no checksums", id="no checksums"),
        pytest.param(_format, "format 'another'; accepted: ml-pipeline model, version 1", id="format"),
        pytest.param(_link, "is a link, which may lead out of the folder", id="link"),
        pytest.param(shutil.rmtree, "is not a whole exported model", id="no folder"),
    ],
)
def test_a_folder_that_is_not_what_was_written_is_refused(
    exported: Path, state: State, change: Callable[[Path], None], match: str
) -> None:
    state.activate()
    change(exported)
    with state.refuses(match, InputError):
        take(exported)
    assert state.found() == []
