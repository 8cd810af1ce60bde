"""The pages in a real browser: at three widths, light and dark, each is readable. SHOTS keeps the screenshots."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service import catalog, jobs, ml
from playwright.sync_api import Browser, BrowserContext

from infra.rehearsal import server
from tests import browser
from tests.browser import Look
from tests.rehearsal import user
from tests.rehearsal.user import task

pytestmark = pytest.mark.slow

LOOKS = [Look(width=width, dark=dark) for width in (375, 768, 1280) for dark in (False, True)]
LONG = "a_task_whose_name_is_long_enough_to_be_cut_in_the_picture"
EMPTY = {
    "jobs": "/",
    "experiments": "/experiments",
    "models": "/models",
    "schemas": "/schemas",
    "folder": "/files/Shared",
}


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser.browser() as started:
        yield started


@dataclass(frozen=True)
class Signed:
    """A browser that opened the printed link, and the workspace that it is signed in to."""

    context: BrowserContext
    host: str

    def faults(self, name: str, path: str) -> list[str]:
        return browser.look(self.context, f"{self.host}{path}", LOOKS, pictures=browser.pictures(name))


def signed_in(opened: Browser, running: server.Served) -> Signed:
    # The pages allow no script but their own, and the checks are one.
    context = opened.new_context(bypass_csp=True)
    shown = context.new_page()
    shown.goto(running.link)
    assert shown.url == f"{running.host}/"
    shown.close()
    return Signed(context, running.host)


@pytest.fixture(scope="module")
def empty(opened: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    with server.serve(tmp_path_factory.mktemp("empty")) as running:
        yield signed_in(opened, running)


@pytest.fixture(scope="module")
def full(opened: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    state = tmp_path_factory.mktemp("full")
    with server.serve(state) as running:
        client = user.connect(running)
        user.upload(client, user.make_wheel(tmp_path_factory.mktemp("wheel")))
        deploy(client, state)
        yield signed_in(opened, running)


def deploy(client: WorkspaceClient, state: Path) -> None:
    """Fill a workspace as a deployment and its jobs do."""
    schedule = jobs.CronSchedule("0 0 6 * * ?", "Europe/Berlin", pause_status=jobs.PauseStatus.PAUSED)
    reason = [jobs.JobParameterDefinition(name="reason", default="")]
    tasks = (task("prepare", "say", "x" * 90), task("train", "fail", after=("prepare",)))
    user.run(client, *tasks, task("compare", "say", after=("train",)), name="rehearsal-training", schedule=schedule)
    both = (task("first", "say"), task(LONG, "say", after=("first",)), task("right", "say", after=("first",)))
    rest = (task("score", "say", after=(LONG, "right")), task("monitor", "leave", after=("score",)))
    last = task("retrain", "say", after=("monitor",))
    user.run(client, *both, *rest, last, name="rehearsal-batch_inference", parameters=reason)
    user.create(client, task("slow", "sleep", 600), name="rehearsal-validation")
    user.start(client, user.create(client, task("slow", "sleep", 600), name="rehearsal-slow"))
    experiment = client.experiments.create_experiment("/Shared/rehearsal-iris").experiment_id
    client.experiments.create_experiment("/Shared/rehearsal-another")
    begun = int(time.time() * 1000) - 90_000
    for status in (ml.UpdateRunStatus.FINISHED, ml.UpdateRunStatus.FAILED):
        run = client.experiments.create_run(experiment_id=experiment, run_name="trusting-grouse", start_time=begun).run
        assert run is not None
        assert run.info is not None
        for metric in ("validation_accuracy", "test_accuracy"):
            client.experiments.log_metric(key=metric, value=0.9643, timestamp=begun, run_id=run.info.run_id)
        client.experiments.update_run(run_id=run.info.run_id, status=status, end_time=begun + 61_000)
    for schema in ("iris", "another"):
        client.schemas.create(name=schema, catalog_name="main", comment="Tables and models of a pipeline")
        client.registered_models.create(catalog_name="main", schema_name=schema, name="model")
    client.volumes.create("main", "iris", "landing", catalog.VolumeType.MANAGED)
    client.schemas.create(name="empty", catalog_name="main")
    client.files.upload("/Volumes/main/iris/landing/today.csv", io.BytesIO(b"a,b"))
    state.joinpath("lakehouse", "warehouse", "main", "iris", "predictions").mkdir(parents=True)
    version = {"name": "main.iris.model", "source": "dbfs:/databricks/mlflow-tracking/1/x"}
    alias = {"name": "main.iris.model", "alias": "champion", "version": "1"}
    tagged = {"tags": [{"key": "test", "value": "passed"}]}
    client.api_client.do("POST", "/api/2.0/mlflow/unity-catalog/model-versions/create", body=version | tagged)
    client.api_client.do("POST", "/api/2.0/mlflow/unity-catalog/registered-models/alias", body=alias)
    client.instance_pools.create(instance_pool_name="rehearsal-pool", node_type_id="local")


@pytest.mark.parametrize(("name", "path"), EMPTY.items())
def test_an_empty_page_is_readable_and_names_the_next_command(empty: Signed, name: str, path: str) -> None:
    assert empty.faults(f"empty-{name}", path) == []
    shown = empty.context.new_page()
    shown.goto(f"{empty.host}{path}")
    assert "make deploy ENV=rehearsal" in shown.inner_text("pre")
    assert f"export DATABRICKS_HOST={empty.host}" in shown.inner_text("pre")
    shown.close()


@pytest.mark.parametrize(
    ("name", "path"),
    {
        "overview": "/",
        "experiments": "/experiments",
        "models": "/models",
        "schemas": "/schemas",
        "files": "/files",
        "folder": "/files/Shared",
        "volume": "/files/Volumes/main/iris/landing",
        "missing": "/jobs/999999",
    }.items(),
)
def test_a_page_is_readable(full: Signed, name: str, path: str) -> None:
    assert full.faults(name, path) == []


@pytest.mark.parametrize("name", ["training", "batch_inference", "slow"])
def test_the_pages_of_runs_and_jobs_are_readable(full: Signed, name: str) -> None:
    shown = full.context.new_page()
    shown.goto(full.host)
    shown.click(f"text=/rehearsal-{name}, run/")
    run = shown.url.removeprefix(full.host)
    shown.close()

    assert full.faults(f"run-{name}", run) == []
    if name == "training":
        assert full.faults("job", run.partition("/runs/")[0]) == []


def test_the_page_for_a_browser_that_is_not_signed_in_is_readable(opened: Browser, full: Signed) -> None:
    stranger = Signed(opened.new_context(bypass_csp=True), full.host)

    assert stranger.faults("sign-in", "/jobs/1") == []


def test_the_pages_are_dark_if_a_person_prefers_it(full: Signed) -> None:
    shown = full.context.new_page()
    shown.goto(full.host)
    backs = {}
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        backs[scheme] = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    shown.close()

    assert backs == {"light": "rgb(246, 248, 250)", "dark": "rgb(13, 17, 23)"}


def test_a_person_signs_in_by_the_form(opened: Browser, tmp_path: Path) -> None:
    with server.serve(tmp_path) as running:
        shown = opened.new_context().new_page()
        errors: list[str] = []
        shown.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        shown.goto(f"{running.host}/files")
        shown.fill("input", "wrong")
        shown.click("button")
        assert "not the token" in shown.inner_text("main")
        shown.fill("input", running.token)
        shown.click("button")
        assert shown.inner_text("h1") == "Files"
        assert shown.url == f"{running.host}/files"
        # The policy lets the page's own style through: nothing was blocked.
        assert shown.evaluate("getComputedStyle(document.body).margin") == "0px"
        assert [error for error in errors if "401" not in error] == []
        shown.goto(f"{running.host}/mlflow/")
        shown.wait_for_selector("text=Experiments")


def test_a_link_on_a_page_of_another_site_opens_signed_in(opened: Browser, tmp_path: Path) -> None:
    with server.serve(tmp_path / "one") as running:
        other = tmp_path / "other.html"
        other.write_text(f'<a href="{running.link}">open</a>')
        shown = opened.new_context().new_page()
        shown.route(
            "http://other.example/", lambda route: route.fulfill(body=other.read_text(), content_type="text/html")
        )
        shown.goto("http://other.example/")
        shown.click("a")
        shown.wait_for_selector("text=No job is deployed")
        assert shown.url == f"{running.host}/"


def test_a_page_renews_itself_while_a_run_goes_on_and_keeps_what_is_open(opened: Browser, tmp_path: Path) -> None:
    with server.serve(tmp_path / "workspace") as running:
        client = user.connect(running)
        user.upload(client, user.make_wheel(tmp_path))
        job_id = user.create(client, task("slow", "sleep", 600))
        run_id = user.start(client, job_id)
        shown = opened.new_context().new_page()
        shown.goto(running.link)
        shown.goto(f"{running.host}/jobs/{job_id}/runs/{run_id}")
        shown.click("text=Parameters")
        client.jobs.cancel_run(run_id)
        shown.wait_for_selector("main:not([data-busy])", timeout=20_000)

        assert shown.inner_text("h3 + .state") == "CANCELED"
        assert shown.locator("details[id^=parameters]").get_attribute("open") is not None
