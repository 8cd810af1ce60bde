"""Runs of jobs: order, results, retries, timeouts and ends, by the SDK as it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import OperationFailed
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service import compute, jobs

from infra.rehearsal.run_state import hinders
from tests.rehearsal import user
from tests.rehearsal.user import task

pytestmark = pytest.mark.slow


def test_a_run_by_the_clients_own_wait(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("one", "say", "hello"), name="waits")

    run = client.jobs.run_now(job_id).result()

    assert user.result(run) == "SUCCESS"
    assert run.status is not None
    assert run.status.termination_details is not None
    assert run.status.termination_details.code is jobs.TerminationCodeCode.SUCCESS
    assert user.output(client, run, "one").logs == "said hello\n"
    assert run.run_page_url == f"{client.config.host}/jobs/{job_id}/runs/{run.run_id}"


def test_a_run_may_be_asked_for_in_the_body(client: WorkspaceClient) -> None:
    run = user.run(client, task("one", "say", "hello"))

    for kind, known in (("get", "state"), ("get-output", "metadata")):
        run_id = run.tasks[0].run_id if run.tasks else None
        answer = client.api_client.do("GET", f"/api/2.1/jobs/runs/{kind}", body={"run_id": run_id})
        assert isinstance(answer, dict)
        assert known in answer


def test_parameters(client: WorkspaceClient) -> None:
    wheel = jobs.PythonWheelTask(
        package_name="tiny",
        entry_point="say",
        named_parameters={
            "given": "{{job.parameters.given}}",
            "default": "{{ job.parameters.default }}",
            "run": "{{job.run_id}}",
            "names": "{{job.name}}/{{task.name}}",
            "unknown": "{{nothing.known}}",
        },
    )
    one = jobs.Task("one", libraries=[compute.Library(whl=user.WHEEL_PATH)], python_wheel_task=wheel)
    parameters = [
        jobs.JobParameterDefinition(name="given", default="not this"),
        jobs.JobParameterDefinition(name="default", default="{{job.start_time.iso_date}}"),
    ]
    job_id = user.create(client, one, name="parameters", parameters=parameters)

    run = user.finish(client, user.start(client, job_id, job_parameters={"given": "a b"}))

    today = time.strftime("%Y-%m-%d", time.gmtime())
    said = user.output(client, run, "one").logs
    expected = (
        f"--given=a b --default={today} --run={run.run_id} --names=parameters/one --unknown={{{{nothing.known}}}}"
    )
    assert said == f"said {expected}\n"


def test_an_unknown_parameter_is_refused(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("one", "say"))

    with pytest.raises(DatabricksError, match="'unknown' is not defined") as caught:
        client.jobs.run_now(job_id, job_parameters={"unknown": "1"})
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_an_entry_point_by_its_name_in_the_package(client: WorkspaceClient) -> None:
    run = user.run(client, task("one", "by_name"))

    assert user.output(client, run, "one").logs == "by its name in the package\n"


def test_a_failure_and_what_comes_after(client: WorkspaceClient) -> None:
    run = user.run(
        client,
        task("fails", "fail", max_retries=0),
        task("after", "say", after=("fails",)),
        task("later", "say", after=("after",)),
        task("anyway", "say", after=("fails",), run_if=jobs.RunIf.ALL_DONE),
        task("instead", "say", after=("fails",), run_if=jobs.RunIf.AT_LEAST_ONE_FAILED),
        task("beside", "say"),
        task("not", "say", after=("beside",), run_if=jobs.RunIf.AT_LEAST_ONE_FAILED),
    )

    assert user.results(run) == {
        "fails": "FAILED",
        "after": "UPSTREAM_FAILED",
        "later": "UPSTREAM_FAILED",
        "anyway": "SUCCESS",
        "instead": "SUCCESS",
        "beside": "SUCCESS",
        "not": "EXCLUDED",
    }
    assert run.state is not None
    assert (user.result(run), run.state.life_cycle_state) == ("FAILED", jobs.RunLifeCycleState.INTERNAL_ERROR)
    assert "Task fails failed with message" in (run.state.state_message or "")
    said = user.output(client, run, "fails")
    assert said.error == "ValueError: no such luck"
    assert "in fail" in (said.error_trace or "")
    assert (said.logs or "").startswith("about to fail\n")
    assert said.metadata is not None
    with pytest.raises(OperationFailed, match="fails failed"):
        client.jobs.wait_get_run_job_terminated_or_skipped(run.run_id or 0)


def test_a_failure_that_is_caught_by_the_last_task(client: WorkspaceClient) -> None:
    run = user.run(client, task("fails", "fail"), task("last", "say", after=("fails",), run_if=jobs.RunIf.ALL_DONE))

    assert user.result(run) == "SUCCESS_WITH_FAILURES"


def test_an_exit_code_is_a_failure(client: WorkspaceClient) -> None:
    assert user.result(user.run(client, task("one", "leave"))) == "FAILED"


@pytest.mark.parametrize(
    ("run_if", "before", "expected"),
    [
        ("ALL_SUCCESS", ["SUCCESS", "SUCCESS"], None),
        ("ALL_SUCCESS", ["SUCCESS", "FAILED"], "UPSTREAM_FAILED"),
        ("ALL_SUCCESS", ["SUCCESS", "CANCELED"], "UPSTREAM_CANCELED"),
        ("ALL_SUCCESS", ["EXCLUDED"], "EXCLUDED"),
        ("ALL_SUCCESS", [], None),
        ("ALL_DONE", ["FAILED", "CANCELED"], None),
        ("NONE_FAILED", ["SUCCESS", "EXCLUDED"], None),
        ("NONE_FAILED", ["SUCCESS", "FAILED"], "UPSTREAM_FAILED"),
        ("AT_LEAST_ONE_SUCCESS", ["SUCCESS", "FAILED"], None),
        ("AT_LEAST_ONE_SUCCESS", ["FAILED", "FAILED"], "UPSTREAM_FAILED"),
        ("ALL_FAILED", ["FAILED", "TIMEDOUT"], None),
        ("ALL_FAILED", ["FAILED", "SUCCESS"], "EXCLUDED"),
        ("AT_LEAST_ONE_FAILED", ["FAILED", "SUCCESS"], None),
        ("AT_LEAST_ONE_FAILED", ["SUCCESS", "SUCCESS"], "EXCLUDED"),
    ],
)
def test_when_a_task_may_run(run_if: str, before: list[str], expected: str | None) -> None:
    assert hinders(run_if, before) == expected


def test_two_tasks_run_at_the_same_time(client: WorkspaceClient, tmp_path: Path) -> None:
    run = user.run(client, task("a", "meet", tmp_path, "a", "b"), task("b", "meet", tmp_path, "b", "a"))

    assert user.results(run) == {"a": "SUCCESS", "b": "SUCCESS"}


def test_retries(client: WorkspaceClient, tmp_path: Path) -> None:
    again = task("again", "second_time", tmp_path / "mark", max_retries=2, min_retry_interval_millis=300)
    run = user.run(client, again, task("never", "fail", max_retries=1), task("after", "say", after=("again",)))

    attempts = [(found.task_key, found.attempt_number, user.result(found)) for found in run.tasks or []]
    assert sorted(attempts) == [
        ("after", 0, "SUCCESS"),
        ("again", 0, "FAILED"),
        ("again", 1, "SUCCESS"),
        ("never", 0, "FAILED"),
        ("never", 1, "FAILED"),
    ]
    first, second = (found for found in run.tasks or [] if found.task_key == "again")
    assert (second.start_time or 0) - (first.end_time or 0) >= 300
    assert first.run_id != second.run_id


def test_a_task_that_takes_too_long(client: WorkspaceClient) -> None:
    started = time.monotonic()
    run = user.run(client, task("slow", "sleep", 600, timeout_seconds=1), task("after", "say", after=("slow",)))

    assert time.monotonic() - started < 20
    assert user.results(run) == {"slow": "TIMEDOUT", "after": "UPSTREAM_FAILED"}


def test_a_job_that_takes_too_long(client: WorkspaceClient) -> None:
    run = user.run(client, task("slow", "sleep", 600), task("after", "say", after=("slow",)), timeout_seconds=1)

    assert user.result(run) == "TIMEDOUT"


def test_cancel(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("slow", "sleep", 600), task("after", "say", after=("slow",)))
    run_id = user.start(client, job_id)
    user.until(lambda: "sleeping" in (user.output(client, client.jobs.get_run(run_id), "slow").logs or ""))

    run = client.jobs.cancel_run(run_id).result()

    assert user.result(run) == "CANCELED"
    assert user.results(run) == {"slow": "CANCELED", "after": "CANCELED"}
    assert run.state is not None
    assert run.state.user_cancelled_or_timedout


def test_one_run_at_a_time_unless_allowed(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("slow", "sleep", 600), max_concurrent_runs=1)
    first = user.start(client, job_id)
    second = user.finish(client, user.start(client, job_id))
    active = [run.run_id for run in client.jobs.list_runs(job_id=job_id, active_only=True)]
    client.jobs.cancel_all_runs(job_id=job_id)
    user.finish(client, first)

    assert second.state is not None
    assert second.state.life_cycle_state is jobs.RunLifeCycleState.SKIPPED
    assert user.result(second) == "MAXIMUM_CONCURRENT_RUNS_REACHED"
    assert active == [first]


def test_a_queue(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("slow", "sleep", 1), queue=jobs.QueueSettings(enabled=True))
    first, second = user.start(client, job_id), user.start(client, job_id)
    waiting = client.jobs.get_run(second)
    ended = [user.finish(client, run_id) for run_id in (first, second)]

    assert waiting.state is not None
    assert waiting.state.life_cycle_state is jobs.RunLifeCycleState.QUEUED
    assert [user.result(run) for run in ended] == ["SUCCESS", "SUCCESS"]
    started, before = ended[1].tasks, ended[0].end_time
    assert started is not None
    assert (started[0].start_time or 0) >= (before or 0)


def test_a_run_that_asks_for_the_queue(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("slow", "sleep", 1))
    user.start(client, job_id)
    second = user.finish(client, user.start(client, job_id, queue=jobs.QueueSettings(enabled=True)))

    assert user.result(second) == "SUCCESS"


def test_a_token_names_a_run(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("one", "say"), max_concurrent_runs=5)

    first, second = (user.start(client, job_id, idempotency_token="once") for _ in range(2))

    assert first == second


def test_a_run_without_a_job(client: WorkspaceClient) -> None:
    submitted = jobs.SubmitTask(
        "one",
        libraries=[compute.Library(whl=user.WHEEL_PATH)],
        python_wheel_task=jobs.PythonWheelTask(package_name="tiny", entry_point="say", parameters=["once"]),
    )

    run = user.finish(client, client.jobs.submit(run_name="once", tasks=[submitted]).run_id)

    assert (user.result(run), run.run_type) == ("SUCCESS", jobs.RunType.SUBMIT_RUN)
    assert user.output(client, run, "one").logs == "said once\n"


def test_repair(client: WorkspaceClient, tmp_path: Path) -> None:
    run = user.run(
        client,
        task("fine", "say"),
        task("once", "second_time", tmp_path / "mark", after=("fine",)),
        task("after", "say", after=("once",)),
    )
    first = user.results(run)
    client.jobs.repair_run(run.run_id or 0, rerun_all_failed_tasks=True)
    repaired = user.finish(client, run.run_id or 0)

    assert first == {"fine": "SUCCESS", "once": "FAILED", "after": "UPSTREAM_FAILED"}
    assert user.results(repaired) == {"fine": "SUCCESS", "once": "SUCCESS", "after": "SUCCESS"}
    assert user.result(repaired) == "SUCCESS"
    assert [found.task_key for found in repaired.tasks or []].count("fine") == 1


def said(client: WorkspaceClient, run: jobs.Run, key: str) -> str:
    return user.output(client, run, key).logs or ""


def repaired_by(client: WorkspaceClient, run_id: int, **more: Any) -> int:
    repair: Any = client.jobs.repair_run(run_id, **more)
    return int(repair.response.repair_id)


def test_a_repair_with_other_parameters(client: WorkspaceClient) -> None:
    values = jobs.PythonWheelTask(
        package_name="tiny", entry_point="say", named_parameters={"a": "{{job.parameters.a}}"}
    )
    one = jobs.Task("one", libraries=[compute.Library(whl=user.WHEEL_PATH)], python_wheel_task=values)
    parameter = jobs.JobParameterDefinition(name="a", default="0")
    run_id = user.run(client, one, parameters=[parameter]).run_id or 0

    repair = repaired_by(client, run_id, rerun_tasks=["one"], job_parameters={"a": "1"})
    repaired = user.finish(client, run_id)
    assert said(client, repaired, "one") == "said --a=1\n"
    assert [entry.value for entry in repaired.job_parameters or []] == ["1"]
    client.jobs.repair_run(run_id, rerun_tasks=["one"], latest_repair_id=repair, python_named_params={"a": "2"})
    assert said(client, user.finish(client, run_id), "one") == "said --a=2\n"


def test_a_repair_that_can_not_be(client: WorkspaceClient) -> None:
    run_id = user.run(client, task("one", "say")).run_id or 0
    with pytest.raises(DatabricksError, match="'unknown' is not defined"):
        client.jobs.repair_run(run_id, rerun_tasks=["one"], job_parameters={"unknown": "1"})
    with pytest.raises(DatabricksError, match="Only one of rerun_tasks"):
        client.jobs.repair_run(run_id, rerun_tasks=["one"], rerun_all_failed_tasks=True)

    run = client.jobs.get_run(run_id, include_history=True)
    assert len(run.tasks or []) == len(run.repair_history or []) == 1


def test_the_history_begins_with_the_run_as_it_was(client: WorkspaceClient, tmp_path: Path) -> None:
    run_id = user.run(client, task("fine", "say"), task("once", "second_time", tmp_path / "mark")).run_id or 0
    repair = repaired_by(client, run_id, rerun_all_failed_tasks=True)
    user.finish(client, run_id)

    run = client.jobs.get_run(run_id, include_history=True)
    original, repaired = run.repair_history or []

    kinds = (jobs.RepairHistoryItemType.ORIGINAL, jobs.RepairHistoryItemType.REPAIR)
    assert (original.type, repaired.type) == kinds
    assert (original.id, repaired.id) == (None, repair)
    results = [entry.state and entry.state.result_state for entry in (original, repaired)]
    assert results == [jobs.RunResultState.FAILED, jobs.RunResultState.SUCCESS]
    attempts = [*(original.task_run_ids or []), *(repaired.task_run_ids or [])]
    assert len(original.task_run_ids or []) == 2
    assert attempts == [found.run_id for found in run.tasks or []]
    assert client.jobs.get_run(run_id).repair_history == []


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["b"], {"b"}),
        (["+b"], {"a", "b"}),
        (["b+"], {"b", "c"}),
        (["a", "d"], {"a", "d"}),
        (["+c+"], {"a", "b", "c"}),
    ],
)
def test_only_some_tasks(client: WorkspaceClient, only: list[str], expected: set[str]) -> None:
    chain = (task("a", "say"), task("b", "say", after=("a",)), task("c", "say", after=("b",)), task("d", "say"))
    run = user.finish(client, user.start(client, user.create(client, *chain), only=only))

    assert user.results(run) == dict.fromkeys(expected, "SUCCESS")


def test_only_a_task_that_there_is_not(client: WorkspaceClient) -> None:
    with pytest.raises(DatabricksError, match="no task 'none'") as caught:
        client.jobs.run_now(user.create(client, task("one", "say")), only=["+none"])

    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_output_of_a_whole_run_is_refused(client: WorkspaceClient) -> None:
    run = user.run(client, task("one", "say"))

    with pytest.raises(DatabricksError, match="multiple tasks is not supported") as caught:
        client.jobs.get_run_output(run.run_id or 0)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_run_is_listed_and_deleted(client: WorkspaceClient) -> None:
    job_id = user.create(client, task("one", "say"), max_concurrent_runs=5)
    ran = [user.finish(client, user.start(client, job_id)).run_id for _ in range(3)]

    listed = [run.run_id for run in client.jobs.list_runs(job_id=job_id, completed_only=True, limit=2)]
    client.jobs.delete_run(ran[0] or 0)

    assert listed == ran[::-1]
    with pytest.raises(DatabricksError, match="does not exist"):
        client.jobs.get_run(ran[0] or 0)


def test_a_wheel_that_can_not_be_installed(client: WorkspaceClient, wheel: Path) -> None:
    path = "/Shared/broken-1.0-py3-none-any.whl"
    user.upload(client, wheel, path)
    job_id = user.create(client, task("one", "say", wheel=path))
    run = user.finish(client, user.start(client, job_id))
    client.workspace.delete(path)
    gone = user.finish(client, user.start(client, job_id))

    for found in (run, gone):
        assert found.state is not None
        assert found.state.life_cycle_state is jobs.RunLifeCycleState.INTERNAL_ERROR
        assert "Library installation failed" in (found.state.state_message or "")
        assert found.status is not None
        assert found.status.termination_details is not None
        code = found.status.termination_details.code
        assert code is jobs.TerminationCodeCode.LIBRARY_INSTALLATION_ERROR


def test_a_new_wheel_of_the_same_name_is_what_runs(client: WorkspaceClient, tmp_path: Path) -> None:
    path = f"/Workspace/Shared/new/{user.WHEEL}"
    client.workspace.mkdirs("/Shared/new")
    said = []
    for word in ("old", "new"):
        user.upload(client, user.make_wheel(tmp_path, f"def say():\n    print('{word}')\n"), path)
        said.append(user.output(client, user.run(client, task("one", "say", wheel=path)), "one").logs)

    assert said == ["old\n", "new\n"]


def test_what_a_task_inherits(client: WorkspaceClient, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRELATED", "1")
    run = user.run(client, task("one", "environment"))

    lines = (user.output(client, run, "one").logs or "").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    assert values["ML_PIPELINE_STATE"] == str(state / "lakehouse")
    assert (values["MLFLOW_TRACKING_URI"], values["MLFLOW_REGISTRY_URI"]) == ("databricks", "databricks-uc")
    assert "DATABRICKS_RUNTIME_VERSION" not in values
    assert "PYTHONPATH" not in values


def run_job(key: str, job_id: int, *, after: tuple[str, ...] = (), **more: Any) -> jobs.Task:
    given = {name: more.pop(name) for name in ("job_parameters",) if name in more}
    return jobs.Task(
        task_key=key,
        depends_on=[jobs.TaskDependency(other) for other in after],
        run_job_task=jobs.RunJobTask(job_id, **given),
        **more,
    )


@pytest.mark.parametrize("first", ["fail", "say"])
def test_a_failing_task_lets_another_job_run(client: WorkspaceClient, first: str) -> None:
    wheel = jobs.PythonWheelTask(
        package_name="tiny", entry_point="say", named_parameters={"reason": "{{job.parameters.reason}}"}
    )
    learn = jobs.Task("learn", libraries=[compute.Library(whl=user.WHEEL_PATH)], python_wheel_task=wheel)
    reason = jobs.JobParameterDefinition(name="reason", default="none")
    other = user.create(client, learn, name=f"training after {first}", parameters=[reason])
    retrain = run_job(
        "retrain",
        other,
        after=("monitor",),
        run_if=jobs.RunIf.AT_LEAST_ONE_FAILED,
        job_parameters={"reason": "drift in {{job.run_id}}"},
    )
    run = user.run(client, task("monitor", first), retrain)

    started = list(client.jobs.list_runs(job_id=other))
    if first == "say":
        assert user.results(run) == {"monitor": "SUCCESS", "retrain": "EXCLUDED"}
        assert user.result(run) == "SUCCESS"
        assert started == []
        return
    assert user.results(run) == {"monitor": "FAILED", "retrain": "SUCCESS"}
    assert user.result(run) == "SUCCESS_WITH_FAILURES"
    (found,) = started
    assert found.trigger is jobs.TriggerType.RUN_JOB_TASK
    shown = user.output(client, run, "retrain")
    assert shown.run_job_output is not None
    assert shown.run_job_output.run_id == found.run_id
    whole = client.jobs.get_run(found.run_id or 0)
    assert user.result(whole) == "SUCCESS"
    assert user.output(client, whole, "learn").logs == f"said --reason=drift in {run.run_id}\n"


def test_a_failure_of_the_other_job_is_the_tasks(client: WorkspaceClient) -> None:
    other = user.create(client, task("one", "fail"))
    run = user.run(client, run_job("starts", other), task("after", "say", after=("starts",)))

    assert user.results(run) == {"starts": "FAILED", "after": "UPSTREAM_FAILED"}
    assert run.state is not None
    assert f"of job {other} is FAILED" in (run.state.state_message or "")


def test_a_task_that_takes_too_long_cancels_the_run_that_it_started(client: WorkspaceClient) -> None:
    other = user.create(client, task("slow", "sleep", 600))
    run = user.run(client, run_job("starts", other, timeout_seconds=1))

    assert user.results(run) == {"starts": "TIMEDOUT"}
    (started,) = client.jobs.list_runs(job_id=other)
    assert user.result(client.jobs.get_run(started.run_id or 0)) == "CANCELED"


def test_a_parameter_that_the_other_job_does_not_have(client: WorkspaceClient) -> None:
    other = user.create(client, task("one", "say"))
    run = user.run(client, run_job("starts", other, job_parameters={"unknown": "1"}))

    assert user.results(run) == {"starts": "FAILED"}
    assert run.state is not None
    assert "'unknown' is not defined" in (run.state.state_message or "")


def test_a_job_that_is_not_there_can_not_be_run_by_a_task(client: WorkspaceClient) -> None:
    with pytest.raises(DatabricksError, match="task 'starts': Job 1 does not exist"):
        user.create(client, run_job("starts", 1))
