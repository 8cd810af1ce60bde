"""How a run on this machine follows conditions, and tasks that run a job; the steps are plain functions."""

from __future__ import annotations

import pytest

from ml_pipeline.errors import CheckFailedError
from ml_pipeline.graph import Job, JobParameter, RunIf, Task
from ml_pipeline.local import runner

CALLS: list[dict[str, str]] = []
STEP = f"{__name__}:step"


def step(*, does: str, run: str = "", reason: str = "", branch: str = "") -> dict[str, str]:
    """Notes its call; fails where it is told to."""
    CALLS.append({"does": does, "run": run, "reason": reason, "branch": branch})
    if does == "fail":
        raise CheckFailedError("it drifted")
    return {}


@pytest.fixture(autouse=True)
def _calls() -> None:
    CALLS.clear()


def parameter(name: str) -> JobParameter:
    return JobParameter(name=name, default="default", description="")


def called(name: str, does: str, *depends_on: str, run_if: RunIf = "ALL_SUCCESS") -> Task:
    own = {"does": does, "run": "{{job.run_id}}"}
    return Task(name=name, entry_point=STEP, parameters=own, depends_on=depends_on, run_if=run_if)


def flow(first: str, second: str, *, retraining: str = "learn") -> list[Job]:
    learn = Task(
        name="learn",
        entry_point=STEP,
        parameters={
            "does": retraining,
            "run": "{{job.run_id}}",
            "reason": "{{job.parameters.reason}}",
            "branch": "{{job.parameters.git_branch}}",
        },
    )
    retrain = Task(
        name="retrain",
        run_job="training",
        parameters={"reason": "drift in {{job.run_id}}"},
        depends_on=("monitor",),
        run_if="AT_LEAST_ONE_FAILED",
    )
    return [
        Job(name="training", description="", tasks=(learn,), parameters=(parameter("reason"), parameter("git_branch"))),
        Job(
            name="promotion",
            description="",
            tasks=(called("score", first), called("monitor", second, "score"), retrain, called("last", "x", "retrain")),
        ),
    ]


def run(jobs: list[Job], *names: str) -> dict[str, tuple[str, str]]:
    done = runner.run(
        [job for job in jobs if job.name in names],
        parameters={},
        defaults={"git_branch": "main"},
        follow=lambda *_: None,
        declared=jobs,
    )
    return {f"{run.job}.{run.task}": (run.state, run.because) for run in done}


def test_a_failure_starts_a_run_of_the_other_job_with_its_own_id_and_the_same_branch() -> None:
    assert run(flow("score", "fail"), "promotion") == {
        "promotion.score": ("SUCCESS", ""),
        "promotion.monitor": ("FAILED", ""),
        "training.learn": ("SUCCESS", ""),
        "promotion.retrain": ("SUCCESS", ""),
        "promotion.last": ("SUCCESS", ""),
    }
    score, _, learn, _ = CALLS
    assert learn["run"] not in ("", score["run"])
    assert (learn["reason"], learn["branch"]) == (f"drift in {score['run']}", "main")


def test_without_a_failure_what_handles_it_is_excluded_and_so_is_what_follows_it_alone() -> None:
    states = run(flow("score", "watch"), "promotion")

    assert states["promotion.retrain"] == states["promotion.last"] == ("EXCLUDED", "")
    assert [call["does"] for call in CALLS] == ["score", "watch"]


def test_a_task_that_was_skipped_after_a_failure_counts_as_failed() -> None:
    states = run(flow("fail", "watch"), "promotion")

    assert states["promotion.monitor"] == ("SKIPPED", "promotion.score")
    assert states["promotion.retrain"] == ("SUCCESS", "")


def test_a_failure_in_the_other_job_is_one_of_the_task_that_ran_it() -> None:
    states = run(flow("score", "fail", retraining="fail"), "promotion")

    assert states["training.learn"] == ("FAILED", "")
    assert states["promotion.retrain"] == ("FAILED", "training.learn")
    assert states["promotion.last"] == ("SKIPPED", "promotion.retrain")


def test_a_wrong_parameter_of_the_other_job_is_found_before_anything_runs() -> None:
    jobs = flow("score", "fail")
    wrong = Task(name="learn", entry_point=STEP, parameters={"unknown": "1"})
    jobs[0] = Job(name="training", description="", tasks=(wrong,), parameters=jobs[0].parameters)

    with pytest.raises(Exception, match="unknown"):
        run(jobs, "promotion")
    assert CALLS == []
