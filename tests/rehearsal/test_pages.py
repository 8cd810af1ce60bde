"""The pages, as a browser shows them."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service import jobs

from infra.rehearsal import server
from infra.rehearsal.pages import picture
from tests.rehearsal import user
from tests.rehearsal.user import task

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>document.title='broken in'</script>"


def page(served: server.Served, path: str) -> str:
    asked = urllib.request.Request(f"{served.host}{path}", headers={"Authorization": f"Bearer {served.token}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def run(client: WorkspaceClient) -> jobs.Run:
    tasks = (task("first", "say", EVIL), task("left", "say", after=("first",)), task("right", "fail", after=("first",)))
    schedule = jobs.CronSchedule("0 0 6 * * ?", "Europe/Berlin", pause_status=jobs.PauseStatus.PAUSED)
    return user.run(client, *tasks, name=f"a job {EVIL}", schedule=schedule)


def test_what_is_shown(served: server.Served, run: jobs.Run) -> None:
    overview, job = page(served, "/"), page(served, f"/jobs/{run.job_id}")
    shown = page(served, f"/jobs/{run.job_id}/runs/{run.run_id}")

    assert "0 0 6 * * ? Europe/Berlin (PAUSED)" in overview
    assert "/mlflow/" in overview
    assert f'href="/jobs/{run.job_id}/runs/{run.run_id}"' in job
    assert "no such luck" in shown
    assert "<svg" in shown
    for content in (overview, job, shown):
        assert EVIL not in content
        assert "&lt;script&gt;" in content
        assert "http-equiv" not in content


def test_a_page_is_fetched_again_only_while_something_runs(served: server.Served, client: WorkspaceClient) -> None:
    job_id = user.create(client, task("slow", "sleep", 600))
    run_id = user.start(client, job_id)
    shown = page(served, f"/jobs/{job_id}/runs/{run_id}")
    client.jobs.cancel_run(run_id)
    user.finish(client, run_id)

    assert 'http-equiv="refresh"' in shown
    assert "http-equiv" not in page(served, f"/jobs/{job_id}/runs/{run_id}")


def test_the_picture_has_each_task_right_of_those_before_it() -> None:
    after = {"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": ()}
    tasks = [{"task_key": key, "depends_on": [{"task_key": one} for one in before]} for key, before in after.items()]

    boxes, width, height = picture(tasks)

    places = {box.key: (box.x, box.y) for box in boxes}
    assert len(set(places.values())) == 4
    assert all(places[key][0] > places[one][0] for key, before in after.items() for one in before)
    assert all(x < width and y < height for x, y in places.values())


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser(served: server.Served, run: jobs.Run, tmp_path: Path) -> None:
    url = f"{served.host}/jobs/{run.job_id}/runs/{run.run_id}?token={served.token}"
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    done = subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, check=True, timeout=120)

    assert f"run {run.run_id}</h1>" in done.stdout
    assert done.stdout.count("<rect") == 3
    assert "<title>broken in</title>" not in done.stdout
    assert "a job &lt;script&gt;" in done.stdout
