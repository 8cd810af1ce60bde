"""The pages, as a browser shows them."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service import catalog, jobs

from infra.rehearsal import pages, server
from infra.rehearsal.pages import picture
from ml_pipeline.names import JOBS
from tests.rehearsal import user
from tests.rehearsal.user import task

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).parents[2]
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

    assert "<code>0 0 6 * * ?</code> Europe/Berlin (PAUSED)" in overview
    assert "/mlflow/" in overview
    assert f'href="/jobs/{run.job_id}/runs/{run.run_id}"' in job
    assert "no such luck" in shown
    assert "<svg" in shown
    for content in (overview, job, shown):
        assert EVIL not in content
        assert "&lt;script&gt;" in content
        assert "data-busy" not in content


def test_the_failing_task_comes_first(served: server.Served, run: jobs.Run) -> None:
    overview = page(served, "/")
    shown = page(served, f"/jobs/{run.job_id}/runs/{run.run_id}")

    assert re.findall(r"<h3>(\w+)</h3>", shown) == ["right", "first", "left"]
    _, _, failed = overview.partition("<h2>Failed</h2>")
    first, _, jobs_ = failed.partition("<h2>Jobs</h2>")
    assert ": right</a>" in first
    assert "ValueError: no such luck" in first
    assert jobs_


def test_what_a_deployment_and_its_jobs_made_is_shown(served: server.Served, client: WorkspaceClient) -> None:
    experiment = client.experiments.create_experiment(f"/Shared/{EVIL.partition('/')[0]}").experiment_id
    assert experiment is not None
    started = client.experiments.create_run(experiment_id=experiment, run_name=EVIL).run
    assert started is not None
    assert started.info is not None
    client.schemas.create(name="shown", catalog_name="main", comment=EVIL)
    client.registered_models.create(catalog_name="main", schema_name="shown", name="model")
    client.volumes.create("main", "shown", "volume", catalog.VolumeType.MANAGED)
    client.files.upload("/Volumes/main/shown/volume/folder/rows.csv", io.BytesIO(b"1,2,3"))
    experiments, models, schemas = (page(served, path) for path in ("/experiments", "/models", "/schemas"))

    assert f"/mlflow/#/experiments/{experiment}/runs/{started.info.run_id}" in experiments
    assert "main.shown.model" in models
    assert "main.shown.volume" in schemas
    assert user.WHEEL in page(served, "/files/Shared")
    assert "rows.csv" in page(served, "/files/Volumes/main/shown/volume/folder")
    assert "5 B" in page(served, "/files/Volumes/main/shown/volume/folder")
    for content in (experiments, models, schemas):
        assert EVIL.partition("/")[0] not in content


def test_a_path_leads_out_of_no_folder(served: server.Served) -> None:
    for path in (
        "/files/../../etc",
        "/files/%2e%2e/%2e%2e/etc",
        "/files/Volumes/main/none/none",
        "/files/Shared/absent",
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            page(served, f"/files/{path}")
        assert caught.value.code in (400, 404, 501)


def test_the_next_commands_that_pages_name_exist() -> None:
    templates = "".join(file.read_text() for file in sorted(Path(pages.__file__).with_name("templates").glob("*.html")))
    targets = re.findall(r"\bmake ([a-z-]+)", templates)
    launched = re.findall(r"\.venv/bin/ml-pipeline (\w+) (\w+) --environment rehearsal", templates)

    assert "deploy" in targets
    assert set(targets) <= set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {command for command, _ in launched} == {"launch"}
    assert {job for _, job in launched} <= set(JOBS)


def test_a_page_renews_itself_only_while_something_runs(served: server.Served, client: WorkspaceClient) -> None:
    job_id = user.create(client, task("slow", "sleep", 600))
    run_id = user.start(client, job_id)
    shown = page(served, f"/jobs/{job_id}/runs/{run_id}")
    client.jobs.cancel_run(run_id)
    user.finish(client, run_id)

    assert "<main data-busy>" in shown
    assert "data-busy" not in page(served, f"/jobs/{job_id}/runs/{run_id}")


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
    url = f"{served.host}/jobs/{run.job_id}/runs/{run.run_id}{served.link.removeprefix(f'{served.host}/')}"
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    done = subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, check=True, timeout=120)

    assert f"run {run.run_id}</h1>" in done.stdout
    assert done.stdout.count("<rect") == 3
    assert "<title>broken in</title>" not in done.stdout
    assert "a job &lt;script&gt;" in done.stdout
