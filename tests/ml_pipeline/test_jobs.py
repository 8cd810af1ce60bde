import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_pipeline import entry_point, jobs
from ml_pipeline.errors import InputError
from ml_pipeline.graph import Job, Task, references
from ml_pipeline.settings.files import find_pipeline, load
from ml_pipeline.settings.pipeline import PipelineSettings, Source

ENVIRONMENTS = sorted((Path(__file__).parents[2] / "environments").glob("*.toml"))
FLOW = ["datasets", "training", "validation", "promotion", "batch_inference"]
GOOD = {
    "schema": "lake.churn",
    "experiment": "/Shared/churn",
    "model": "churn_model",
    "source": {"csv": "/data/rows.csv", "separator": ";"},
    "target": "churned",
    "key": ["customer id"],
    "features": ["age", "plan"],
    "positive_class": "yes",
    "test_share": 0.25,
    "validation_share": 0.3,
    "estimator": {"class": "sklearn.linear_model.LogisticRegression", "grid": {"C": [0.1, 1.0]}},
    "folds": 4,
    "metric": "f1",
    "threshold": 0.7,
    "tolerance": 0.02,
    "significance": 0.1,
    "on_inconclusive": "fail",
    "seed": 3,
    "n_jobs": 2,
    "reason": "retraining",
    "batch_inference": {"source": {"table": "lake.churn.today"}},
}


def declared(**changes: object) -> dict[str, Job]:
    settings = PipelineSettings.model_validate(GOOD | changes)
    return {job.name: job for job in jobs.declare(settings)}


def arguments(job: Job, task: str, **parameters: str) -> dict[str, Any]:
    values = job.values_of_run(run_id="42", start_date="2024-02-29", parameters=parameters)
    (found,) = [candidate for candidate in job.tasks if candidate.name == task]
    return entry_point.parse(found.arguments(values)).arguments


def tasks(flow: dict[str, Job]) -> list[Task]:
    return [task for job in flow.values() for task in job.tasks]


def test_there_are_environments_to_test() -> None:
    assert "local" in [file.stem for file in ENVIRONMENTS]


@pytest.mark.parametrize("file", ENVIRONMENTS, ids=lambda file: file.stem)
def test_an_environment_of_the_repository_declares_steps_that_exist_and_take_their_parameters(file: Path) -> None:
    flow = jobs.declare(load(find_pipeline("iris"), file))

    assert [job.name for job in flow] == FLOW
    for job in flow:
        values = job.values_of_run(run_id="42", start_date="2024-02-29", parameters={})
        for task in job.tasks:
            call = entry_point.parse(task.arguments(values))
            assert f"{call.function.__module__}:{call.function.__name__}" == task.entry_point


def test_the_flow_has_its_order_and_each_job_follows_the_one_before() -> None:
    flow = declared()

    assert list(flow) == FLOW
    assert [flow[name].depends_on for name in FLOW] == [(), *((name,) for name in FLOW[:-1])]


def test_training_prepares_then_trains_then_compares() -> None:
    training = declared()["training"]

    assert [(task.name, task.depends_on) for task in training.tasks] == [
        ("prepare", ()),
        ("train", ("prepare",)),
        ("compare", ("train",)),
    ]


def test_every_reference_is_declared_and_every_declared_parameter_is_used() -> None:
    for job in declared().values():
        values = [value for task in job.tasks for value in task.parameters.values()]
        used = {reference for value in values for reference in references(value)}
        parameters = {f"job.parameters.{parameter.name}" for parameter in job.parameters}

        assert used <= set(job.values)
        assert parameters <= used


def test_a_check_that_failed_is_not_tried_again() -> None:
    retries = {task.name: task.max_retries for task in tasks(declared(monitoring={}))}

    assert [name for name, most in retries.items() if most == 0] == ["compare", "validate", "monitor"]


def test_only_training_runs_beside_itself() -> None:
    assert [name for name, job in declared().items() if job.max_concurrent_runs > 1] == ["training"]


def test_every_job_and_parameter_is_described() -> None:
    for job in declared().values():
        assert job.description
        assert all(parameter.description for parameter in job.parameters)


def test_each_table_is_read_where_it_was_written() -> None:
    flow = declared()
    split = arguments(flow["datasets"], "split")
    prepare = arguments(flow["training"], "prepare")
    validate = arguments(flow["validation"], "validate")
    score = arguments(flow["batch_inference"], "score")
    made = [split["train_validation_table"], split["test_table"], prepare["train_table"], prepare["validation_table"]]
    written = [*made, score["predictions_table"]]

    assert prepare["train_validation_table"] == split["train_validation_table"]
    assert validate["test_table"] == split["test_table"]
    assert all(table.startswith("lake.churn.") for table in written)
    assert len(set(written)) == 5


def test_only_the_datasets_job_writes_the_test_table_and_training_never_sees_it() -> None:
    holders = {task.name for task in tasks(declared()) for name in task.parameters if name == "test_table"}

    assert holders == {"split", "validate"}


def test_settings_reach_the_steps_with_their_types() -> None:
    flow = declared()
    columns = {"target": "churned", "key": ["customer id"], "features": ["age", "plan"]}
    source = Source(csv="/data/rows.csv", separator=";")
    decision = {"metric": "f1", "threshold": 0.7, "tolerance": 0.02, "significance": 0.1, "on_inconclusive": "fail"}
    model = {"experiment": "/Shared/churn", "model": "lake.churn.churn_model"}
    split = arguments(flow["datasets"], "split")
    prepare = arguments(flow["training"], "prepare")
    train = arguments(flow["training"], "train")
    compare = arguments(flow["training"], "compare")
    validate = arguments(flow["validation"], "validate", git_commit="abc")

    assert split.items() >= {**columns, "source": source, "test_share": 0.25}.items()
    assert prepare.items() >= {**columns, "folds": 4, "validation_share": 0.3, "job_run_id": "42"}.items()
    assert train.items() >= {**columns, "metric": "f1", "folds": 4, "seed": 3, "n_jobs": 2, "job_run_id": "42"}.items()
    assert train["positive_class"] == "yes"
    assert train["estimator"].class_ == "sklearn.linear_model.LogisticRegression"
    assert train["estimator"].grid == {"C": [0.1, 1.0]}
    assert compare == {**decision, **model, "job_run_id": "42"}
    assert validate == {**decision, **model, "git_commit": "abc", "test_table": "lake.churn.test"}
    assert arguments(flow["promotion"], "promote", run_by="ann") == {
        "model": "lake.churn.churn_model",
        "run_by": "ann",
        "job_run_id": "42",
    }


def test_what_is_known_at_run_time_reaches_the_steps() -> None:
    given = {"git_branch": "b", "git_commit": "c", "pull_request": "12", "reason": "ci", "run_by": "ann"}

    prepare = arguments(declared()["training"], "prepare", **given)

    assert prepare.items() >= (given | {"pull_request": 12}).items()


def test_the_reason_of_the_environment_holds_unless_a_run_says_otherwise() -> None:
    training = declared(reason="retraining")["training"]

    assert arguments(training, "prepare")["reason"] == "retraining"
    assert arguments(training, "prepare", reason="feature")["reason"] == "feature"


def test_a_batch_is_of_the_day_the_run_starts_unless_a_run_says_otherwise() -> None:
    scoring = declared()["batch_inference"]

    assert arguments(scoring, "score")["batch_date"] == datetime.date(2024, 2, 29)
    assert arguments(scoring, "score", batch_date="2024-01-31")["batch_date"] == datetime.date(2024, 1, 31)


@pytest.mark.parametrize(
    "text", ["1704067200", "2024-1-31", "20240131", "31.01.2024", "2024-01-31T00:00:00", "2023-02-29", "2024-01-31\n"]
)
def test_a_batch_that_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^batch_date: "):
        arguments(declared()["batch_inference"], "score", batch_date=text)


@pytest.mark.parametrize(
    ("batch_inference", "scored"),
    [
        ({"source": {"table": "lake.churn.today"}}, Source(table="lake.churn.today")),
        ({}, Source(csv="/data/rows.csv", separator=";")),
    ],
    ids=["its own source", "the pipeline's source"],
)
def test_batch_inference_scores(batch_inference: dict[str, Any], scored: Source) -> None:
    flow = declared(batch_inference=batch_inference)

    assert arguments(flow["batch_inference"], "score")["source"] == scored
    split = arguments(flow["datasets"], "split")
    assert split["scored"] == (split["source"] == scored)
    assert split["probabilities"] == batch_inference.get("probabilities", False)


@pytest.mark.parametrize(
    ("positive_class", "text"),
    [
        pytest.param("yes", "yes", id="text"),
        pytest.param(1, "1", id="number"),
        pytest.param(True, "true", id="boolean"),
        pytest.param("1", "1", id="text that looks like a number"),
        pytest.param("[0, 50)", "[0, 50)", id="an interval"),
    ],
)
def test_the_positive_class_arrives_as_text(positive_class: object, text: str) -> None:
    assert arguments(declared(positive_class=positive_class)["training"], "train")["positive_class"] == text


def test_without_a_positive_class_the_step_takes_its_default() -> None:
    assert "positive_class" not in arguments(declared(positive_class="")["training"], "train")


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: "{{" not in name)


@settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.floats(0.0, 1.0, exclude_min=True, exclude_max=True))
def test_any_column_name_and_any_share_arrive_as_they_were_set(columns: list[str], share: float) -> None:
    target, *features = columns

    split = arguments(declared(target=target, key=[], features=features, test_share=share)["datasets"], "split")

    assert (split["target"], split["features"], split["test_share"]) == (target, features, share)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        pytest.param("as it is", "as it is", id="text"),
        pytest.param(None, "", id="nothing"),
        pytest.param(3, "3", id="number"),
        pytest.param(True, "true", id="boolean"),
        pytest.param(["a", 1], '["a", 1]', id="list"),
        pytest.param({"b": 1, "a": 2}, '{"a": 2, "b": 1}', id="table"),
    ],
)
def test_a_setting_is_encoded(value: object, encoded: str) -> None:
    assert jobs.encode(value) == encoded


def test_a_model_is_encoded_by_its_aliases_without_its_defaults() -> None:
    settings = PipelineSettings.model_validate(GOOD)

    assert json.loads(jobs.encode(settings.estimator)) == {
        "class": "sklearn.linear_model.LogisticRegression",
        "grid": {"C": [0.1, 1.0]},
    }
    assert json.loads(jobs.encode(settings.source)) == {"csv": "/data/rows.csv", "separator": ";"}


def test_what_can_not_be_a_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^object can't be a parameter$"):
        jobs.encode({"nested": object()})


def test_the_declaration_loads_no_library() -> None:
    # -P, or Python would take the package from the current folder instead of the wheel.
    program = "import sys; import ml_pipeline.jobs; print(*sys.modules, sep='\\n')"
    printed = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = {module.partition(".")[0] for module in printed.splitlines()}

    assert "ml_pipeline" in loaded
    assert loaded.isdisjoint({"delta", "mlflow", "numpy", "pandas", "pydantic", "pyspark", "sklearn"})


def test_a_batch_is_watched_where_the_settings_say_so_and_in_shadow() -> None:
    flows = {
        "plain": declared(),
        "watched": declared(monitoring={}),
        "shadow": declared(batch_inference={"mode": "shadow"}),
    }
    names = {case: [task.name for task in flow["batch_inference"].tasks] for case, flow in flows.items()}
    assert names == {"plain": ["score"], "watched": ["score", "monitor"], "shadow": ["score", "monitor"]}


def test_drift_that_retrains_runs_the_training_job_after_a_failed_monitor() -> None:
    plain, retraining = (declared(monitoring={"on_drift": choice})["batch_inference"] for choice in ("fail", "retrain"))

    assert [task.name for task in plain.tasks] == ["score", "monitor"]
    assert [task.name for task in retraining.tasks] == ["score", "monitor", "retrain"]
    retrain = retraining.tasks[-1]
    assert (retrain.run_job, retrain.depends_on, retrain.run_if) == ("training", ("monitor",), "AT_LEAST_ONE_FAILED")
    assert retrain.parameters == {"reason": "retraining"}
    assert retraining.timeout_seconds == plain.timeout_seconds + retrain.timeout_seconds
