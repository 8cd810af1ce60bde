"""The command against the rehearsal workspace, with the real SDK; the wheel does what a run's parameters say."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.service.iam import AccessControlRequest, PermissionLevel
from databricks.sdk.service.jobs import JobSettings, Run, RunType
from databricks.sdk.service.workspace import ImportFormat

from ml_pipeline.workspace.connection import Connection
from tests import commands

if TYPE_CHECKING:
    from infra.rehearsal.server import Served

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
TABLE = '[workspace]\nhost = "{}"\nauth = "environment"\nfolder = "/Shared/x"\n'
WHEEL = "stand_in-1.0-py3-none-any.whl"
PROGRAM = """
import sys, time

def main():
    given = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
    print("deployed wheel", given, flush=True)
    if given["do"] == "fail":
        for number in range(30):
            print(f"log line {number}")
        raise ValueError("the rows are gone")
    if given["do"] == "sleep":
        time.sleep(600)
"""


def build(file: Path, program: str = PROGRAM) -> Path:
    name = "stand_in-1.0.dist-info"
    content = {
        "stand_in.py": program,
        f"{name}/METADATA": "Metadata-Version: 2.1\nName: stand_in\nVersion: 1.0\n",
        f"{name}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}/entry_points.txt": "[console_scripts]\nrun-task = stand_in:main\n",
    }
    content[f"{name}/RECORD"] = "".join(f"{path},,\n" for path in [*content, f"{name}/RECORD"])
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return file


def settings(name: str, whl: str) -> JobSettings:
    """A job as it is deployed: it is called as the declared one, and has some of its parameters."""

    def task(key: str, *before: str, do: str, **more: Any) -> dict[str, Any]:
        named = {"do": do, "commit": "{{job.parameters.git_commit}}", "run": "{{job.run_id}}"}
        return {
            "task_key": key,
            "depends_on": [{"task_key": other} for other in before],
            "job_cluster_key": "main",
            "libraries": [{"whl": whl}],
            "python_wheel_task": {"package_name": "stand_in", "entry_point": "run-task", "named_parameters": named},
            "timeout_seconds": 300,
            **more,
        }

    parameters = {"git_branch": "local", "git_commit": "local", "reason": "none", "run_by": "{{job.start_time.year}}"}
    return JobSettings.from_dict(
        {
            "name": name,
            "tasks": [
                task("prepare", do="{{job.parameters.reason}}"),
                task("train", "prepare", do="by {{job.parameters.run_by}}"),
            ],
            "job_clusters": [
                {
                    "job_cluster_key": "main",
                    "new_cluster": {
                        "spark_version": "17.3.x-cpu-ml-scala2.13",
                        "node_type_id": "i3.xlarge",
                        "num_workers": 0,
                    },
                }
            ],
            "parameters": [{"name": key, "default": default} for key, default in parameters.items()],
            "timeout_seconds": 600,
            "max_concurrent_runs": 3,
            "email_notifications": {"on_failure": ["team@example.com"]},
        }
    )


@dataclass(frozen=True)
class Project:
    """A folder with an environment file of its own, and the workspace that it refers to."""

    folder: Path
    name: str
    host: str
    token: str
    client: WorkspaceClient

    def deploy(self, job: str = "training", instance: str = "") -> int:
        folder = "/Shared/deployed"
        wheel = build(self.folder / "deployed" / WHEEL)
        self.client.workspace.mkdirs(folder)
        whl = f"{folder}/{WHEEL}"
        self.client.workspace.upload(whl, wheel.read_bytes(), format=ImportFormat.RAW, overwrite=True)
        deployed = settings("-".join(filter(None, ("ml-pipeline", self.name, instance, job))), f"/Workspace{whl}")
        created = self.client.jobs.create(
            **{key: getattr(deployed, key) for key in deployed.as_dict()},
        )
        assert created.job_id is not None
        return created.job_id

    def runs(self, job_id: int) -> list[Run]:
        """The runs of a job, the newest first."""
        listed = self.client.jobs.list_runs(job_id=job_id)
        return [self.client.jobs.get_run(run.run_id) for run in listed if run.run_id]

    def newest(self) -> Run:
        found = next(iter(self.client.jobs.list_runs(limit=1)))
        assert found.run_id
        return self.client.jobs.get_run(found.run_id)

    def logs(self, run: Run) -> list[str]:
        tasks = sorted(run.tasks or [], key=lambda task: task.task_key)
        return [self.client.jobs.get_run_output(task.run_id).logs or "" for task in tasks if task.run_id]

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the command in a process of its own, as a person with a token."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("ml-pipeline")), *self._command(arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=commands.environment(**self._signed_in(PYTHONUNBUFFERED="1", **variables)),
        )

    def launch(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Call the command, as a person with a token."""
        return commands.call(*self._command(arguments), cwd=self.folder, **self._signed_in(**variables))

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return ["launch", "--environment", self.name, *arguments]

    def _signed_in(self, **variables: str) -> dict[str, str]:
        return {"HOME": str(self.folder), "DATABRICKS_TOKEN": self.token, **variables}

    def change(self, old: str, new: str) -> None:
        file = self.folder / "environments" / f"{self.name}.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a person reads of a failure, which is all that is written there."""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def states(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    """Task and state of each line about a task."""
    lines = [line.split() for line in done.stdout.splitlines() if " training." in line]
    return [(words[1], words[0]) for words in lines]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # The rehearsal workspace is no part of the wheel; the pipeline is still the installed one, which comes first.
    sys.path.append(str(ROOT))
    from infra.rehearsal.server import serve

    try:
        with serve(tmp_path_factory.mktemp("workspace")) as answering:
            yield answering
    finally:
        sys.path.remove(str(ROOT))


@pytest.fixture
def new_project(tmp_path: Path) -> Callable[[str, str], Project]:
    def made(host: str, token: str) -> Project:
        name = f"env{time.time_ns()}"  # The tests share one workspace.
        folder = tmp_path / "environments"
        folder.mkdir()
        (folder / f"{name}.toml").write_text(
            TABLE.format(host) + '[compute]\nspark_version = "17.3.x-cpu-ml-scala2.13"\nnode_type_id = "i3.xlarge"\n'
            '[catalog]\nname = "local"\n[state]\nbackend = "local"\n'
        )
        client = WorkspaceClient(config=Config(host=host, token=token, auth_type="pat", retry_timeout_seconds=1))
        return Project(tmp_path, name, host, token, client)

    return made


@pytest.fixture
def project(served: Served, new_project: Callable[[str, str], Project]) -> Project:
    return new_project(served.host, served.token)


@pytest.fixture
def alone(new_project: Callable[[str, str], Project]) -> Project:
    """A project whose workspace does not answer."""
    return new_project("http://127.0.0.1:9", "secret-0123")


def test_a_run_is_followed_to_its_success(project: Project) -> None:
    job_id = project.deploy()
    done = project.launch("training", "--parameter", "git_commit=c1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (run,) = project.runs(job_id)
    assert f"run {run.run_id}: {run.run_page_url}" in done.stdout.splitlines()
    ended = [task for task, state in states(done) if state == "SUCCESS"]
    assert ended == ["training.prepare", "training.train"]
    assert ("training.train", "SKIPPED") not in states(done)
    (prepare, train) = project.logs(run)
    assert "'commit': 'c1'" in prepare
    assert "'do': 'none'" in prepare
    assert "'do': 'by 20" in train


def test_a_failed_task_shows_its_error_and_the_end_of_its_log(project: Project) -> None:
    project.deploy()
    done = project.launch("training", "--parameter", "reason=fail")
    assert done.returncode == 1
    assert ("training.prepare", "FAILED") in states(done)
    assert states(done)[-1] == ("training.train", "SKIPPED"), done.stdout
    assert "after training.prepare" in done.stdout
    shown = [line for line in done.stdout.splitlines() if line.startswith("  | ")]
    assert shown[0] == "  | ..."
    assert len(shown) == 21
    assert "  | log line 29" in shown
    assert "  | log line 1" not in shown
    assert "  ValueError: the rows are gone" in done.stdout.splitlines()
    assert "is FAILED: Task prepare failed" in error_line(done)
    assert f"{project.host}/jobs/" in error_line(done)


def test_no_job_of_that_name_is_refused_with_those_there_are(project: Project) -> None:
    project.deploy("validation")
    project.deploy("training", "pr-12")
    done = project.launch("training")
    assert done.returncode == 2
    assert f"no job 'ml-pipeline-{project.name}-training'" in error_line(done)
    assert f"ml-pipeline-{project.name}-pr-12-training, ml-pipeline-{project.name}-validation" in error_line(done)
    assert done.stdout == ""


def test_two_jobs_of_one_name_are_refused_with_their_ids(project: Project) -> None:
    ids = [project.deploy(), project.deploy()]
    done = project.launch("training")
    assert done.returncode == 2
    assert ", ".join(map(str, sorted(ids))) in error_line(done)
    assert [project.runs(job_id) for job_id in ids] == [[], []]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        pytest.param(["training", "--parameter", "comit=1"], "did you mean 'git_commit'?; accepted: git_br", id="name"),
        pytest.param(["datasets", "--parameter", "comit=1"], "accepted: none", id="a job without any"),
        pytest.param(["training", "--parameter", "reason"], "KEY=VALUE", id="no value"),
        pytest.param(["trainin"], "job 'trainin' is unknown; accepted: datasets", id="job"),
        pytest.param(["training", "--existing-cluster", "1"], "--as-run-submit", id="cluster without wheel"),
        pytest.param(["training", "--as-run-submit"], "dist: there is no such wheel", id="no wheel"),
        pytest.param(["training", "--as-run-submit", "--wheel", "x.whl"], "there is no such wheel", id="absent wheel"),
    ],
)
def test_bad_input_is_refused_before_the_workspace_is_asked(alone: Project, arguments: list[str], match: str) -> None:
    done = alone.launch(*arguments)
    assert done.returncode == 2
    assert match in error_line(done)
    assert done.stdout == ""


def test_several_wheels_are_refused(alone: Project) -> None:
    build(alone.folder / "dist" / WHEEL)
    build(alone.folder / "dist" / WHEEL.replace("1.0", "2.0"))
    done = alone.launch("training", "--as-run-submit")
    assert done.returncode == 2
    assert "stand_in-1.0-py3-none-any.whl, stand_in-2.0-py3-none-any.whl" in error_line(done)


def test_branch_and_commit_are_those_of_the_repository(project: Project) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q", "-b", "mine"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *arguments], cwd=project.folder, check=True)
    command = [*git, "rev-parse", "HEAD"]
    commit = subprocess.run(command, cwd=project.folder, check=True, capture_output=True, text=True).stdout.strip()
    job_id = project.deploy("training", "pr-12")
    arguments = ["training", "--no-wait", "--parameter", "git_branch=other"]
    assert project.launch(*arguments, INSTANCE="pr-12").returncode == 0
    assert project.launch("training", "--no-wait", "--instance", "pr-12").returncode == 0
    newer, older = project.runs(job_id)
    given = [{each.name: each.value for each in run.job_parameters or []} for run in (older, newer)]
    assert [(values["git_branch"], values["git_commit"]) for values in given] == [("other", commit), ("mine", commit)]


def test_without_waiting_the_run_goes_on(project: Project) -> None:
    job_id = project.deploy()
    done = project.launch("training", "--no-wait", "--parameter", "reason=sleep")
    assert done.returncode == 0
    (run,) = project.runs(job_id)
    assert done.stdout.splitlines() == [f"run {run.run_id}: {run.run_page_url}"]
    assert run.state
    assert run.state.result_state is None
    project.client.jobs.cancel_run(run.run_id or 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cancels_the_run(project: Project, number: signal.Signals) -> None:
    job_id = project.deploy()
    process = project.start("training", "--parameter", "reason=sleep")
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("RUNNING"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    (run,) = project.runs(job_id)
    assert process.returncode == 130, err
    assert out.splitlines()[-1] == f"run {run.run_id} is CANCELED"
    assert run.state
    assert run.state.result_state
    assert run.state.result_state.value == "CANCELED"
    assert "Traceback" not in "".join(seen) + out + err


def test_a_wheel_runs_once_beside_the_deployed_job(project: Project) -> None:
    job_id = project.deploy()
    before = project.client.jobs.get(job_id).as_dict()
    build(project.folder / "dist" / WHEEL, PROGRAM.replace("deployed wheel", "wheel of the branch"))
    arguments = ["training", "--as-run-submit", "--parameter", "git_commit=c1"]
    done = project.launch(*arguments, "--parameter", "reason={{not ours}} $1 \\1")
    assert done.returncode == 0, done.stderr + done.stdout
    run = project.newest()
    assert run.run_type is RunType.SUBMIT_RUN
    assert run.run_name
    assert f"{project.name}-training" in run.run_name
    prepare, train = project.logs(run)
    assert prepare.startswith("wheel of the branch ")
    assert "'commit': 'c1'" in prepare
    assert "'do': '{{not ours}} $1" in prepare
    assert f"'run': '{run.run_id}'" in prepare
    assert "'do': 'by 20" in train
    libraries = {library.whl for task in run.tasks or [] for library in task.libraries or []}
    (whl,) = libraries
    assert whl
    assert whl.startswith("/Workspace/Users/rehearsal@localhost/.ml-pipeline/wheels/")
    assert f"wheel: {whl}" in done.stdout.splitlines()
    content = project.client.workspace.export(whl.removeprefix("/Workspace"), format=None).content or ""
    assert base64.b64decode(content) == (project.folder / "dist" / WHEEL).read_bytes()
    for task in run.tasks or []:
        assert task.new_cluster
        assert task.new_cluster.node_type_id == "i3.xlarge"
        assert task.timeout_seconds == 300
        assert task.job_cluster_key is None
        assert task.email_notifications is None
    # The deployed job is what it was, and ran nothing.
    assert project.client.jobs.get(job_id).as_dict() == before
    assert project.runs(job_id) == []
    again = project.launch(*arguments, "--no-wait")
    assert f"wheel: {whl} (there already)" in again.stdout.splitlines()
    build(project.folder / "dist" / WHEEL, PROGRAM.replace("deployed wheel", "another wheel"))
    other = project.launch(*arguments, "--no-wait")
    assert f"wheel: {whl}" not in other.stdout
    assert "there already" not in other.stdout


def test_a_wheel_runs_on_an_interactive_cluster(project: Project) -> None:
    project.deploy()
    cluster = project.client.clusters.create(spark_version="17.3.x-cpu-ml-scala2.13", num_workers=0).cluster_id
    wheel = build(project.folder / WHEEL, PROGRAM)
    done = project.launch("training", "--as-run-submit", "--wheel", str(wheel), "--existing-cluster", cluster)
    assert done.returncode == 0, done.stderr + done.stdout
    tasks = project.newest().tasks or []
    assert [(task.existing_cluster_id, task.new_cluster) for task in tasks] == 2 * [(cluster, None)]


def test_a_wheel_that_the_job_does_not_use_is_refused(project: Project) -> None:
    project.deploy()
    wheel = build(project.folder / WHEEL.replace("stand_in", "another"))
    done = project.launch("training", "--as-run-submit", "--wheel", str(wheel))
    assert done.returncode == 2
    assert "uses no wheel 'another'" in error_line(done)
    assert WHEEL in error_line(done)


@pytest.mark.parametrize("more", [[], ["--verbose"]])
def test_a_wrong_token_is_refused_and_never_shown(project: Project, more: list[str]) -> None:
    done = project.launch("training", *more, DATABRICKS_TOKEN="secret-0123")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert f"{project.host}: rejects the credentials" in line
    assert "DATABRICKS_TOKEN" in line
    assert ("Traceback" in done.stderr) == bool(more)
    assert "secret-0123" not in done.stdout + done.stderr


def test_a_token_that_can_not_be_sent_is_never_shown(alone: Project) -> None:
    done = alone.launch("training", "--verbose", DATABRICKS_TOKEN="secret-0123\n")
    assert done.returncode == 2
    assert "the token has a line break" in done.stderr.splitlines()[-1]
    assert "secret-0123" not in done.stdout + done.stderr


def test_an_unreachable_host_is_named(alone: Project) -> None:
    began = time.monotonic()
    done = alone.launch("training")
    assert done.returncode == 1
    assert "http://127.0.0.1:9: can't be reached: [Errno 111] Connection refused" in error_line(done)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        pytest.param(TABLE.format("http://127.0.0.1:9"), "", "the table [workspace] is missing; ", id="no table"),
        pytest.param('auth = "environment"', "", "workspace.auth: is missing", id="no auth"),
        pytest.param('"environment"', '"token"', "workspace.auth: must be 'github-oidc', 'profile' or", id="auth"),
        pytest.param('"environment"', '"profile"', "auth 'profile' needs the key 'profile'", id="no profile"),
        pytest.param('host = "http://127.0.0.1:9"', "", "and so is the variable DATABRICKS_HOST", id="no host"),
    ],
)
def test_an_environment_that_is_not_deployed_is_refused(alone: Project, old: str, new: str, match: str) -> None:
    alone.change(old, new)
    done = alone.launch("training")
    assert done.returncode == 2
    assert f"environments/{alone.name}.toml: " in error_line(done)
    assert match.removesuffix("; ") in error_line(done)


def test_no_credentials_are_bad_configuration(alone: Project) -> None:
    done = alone.launch("training", DATABRICKS_TOKEN="")
    assert done.returncode == 2
    assert "no credentials: " in error_line(done)
    assert "set DATABRICKS_TOKEN" in error_line(done)


def test_a_profile_counts_more_than_the_variables(project: Project) -> None:
    project.deploy()
    project.change(f'host = "{project.host}"\nauth = "environment"', 'auth = "profile"\nprofile = "mine"')
    (project.folder / ".databrickscfg").write_text(f"[mine]\nhost = {project.host}\ntoken = {project.token}\n")
    variables = {"DATABRICKS_HOST": "http://127.0.0.1:9", "DATABRICKS_TOKEN": "of another workspace"}
    done = project.launch("training", "--no-wait", **variables)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("given", "inside", "code", "retrain"),
    [
        ("none", "none", 0, "SKIPPED training.retrain nothing failed before it"),
        ("fail", "none", 1, "SUCCESS training.retrain"),
        ("fail", "fail", 1, "FAILED training.retrain"),
    ],
    ids=["excluded", "ran", "failed"],
)
def test_a_task_that_runs_another_job_is_followed(
    project: Project, given: str, inside: str, code: int, retrain: str
) -> None:
    job_id, other = project.deploy(), project.deploy("promotion")
    task = {
        "task_key": "retrain",
        "depends_on": [{"task_key": "prepare"}],
        "run_if": "AT_LEAST_ONE_FAILED",
        "run_job_task": {"job_id": other, "job_parameters": {"reason": inside}},
    }
    project.client.jobs.update(job_id, new_settings=JobSettings.from_dict({"tasks": [task]}))
    done = project.launch("training", "--parameter", f"reason={given}")
    assert done.returncode == code, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(line.startswith(retrain) for line in lines), done.stdout
    started = project.runs(other)
    assert len(started) == (given == "fail")
    said = [line for line in lines if line.startswith("it ran another job")]
    assert said == ([f"it ran another job, as run {started[0].run_id}"] if inside == "fail" else [])


TOKEN, GITHUB = "/oidc/v1/token", "/github"


class Proxy(ThreadingHTTPServer):
    """The workspace, and GitHub's issuer of tokens; while a run is followed, either of them fails to issue some."""

    def __init__(self, workspace: Served) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.host, self.workspace = f"http://127.0.0.1:{self.server_port}", workspace
        self.followed = False
        self.failures: list[tuple[str, int]] = []
        """Path and status of each failure, in their order; with status 0 there is no answer."""


class Forward(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        failures = self.server.failures
        if self.server.followed and failures and self.path.startswith(failures[0][0]):
            _, status = failures.pop(0)
            if status:
                self._answer(status, b"<html>later</html>", "text/html")
            self.close_connection = True
        elif self.path.startswith(GITHUB):
            self._answer(200, json.dumps({"value": self.server.workspace.token}).encode(), "application/json")
        else:
            connection = http.client.HTTPConnection(self.server.workspace.host.removeprefix("http://"), timeout=60)
            connection.request(self.command, self.path, content, dict(self.headers))
            answer = connection.getresponse()
            self._answer(answer.status, answer.read(), answer.headers["Content-Type"])
            connection.close()
            self.server.followed |= "/runs/get" in self.path

    def do_POST(self) -> None:
        self.do_GET()

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its own name)
        """Say nothing."""


@pytest.fixture
def proxy(served: Served) -> Iterator[Proxy]:
    with Proxy(served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def launch_as_a_workflow(
    project: Project, proxy: Proxy, job_id: int, failures: list[tuple[str, int]]
) -> subprocess.CompletedProcess[str]:
    client_id = "00000000-0000-0000-0000-000000000001"
    runs = AccessControlRequest(service_principal_name=client_id, permission_level=PermissionLevel.CAN_MANAGE_RUN)
    project.client.permissions.update("jobs", str(job_id), access_control_list=[runs])
    project.change('auth = "environment"', f'auth = "github-oidc"\nclient_id = "{client_id}"')
    project.change(project.host, proxy.host)
    proxy.failures = failures
    github = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{proxy.host}{GITHUB}?", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job"}
    return project.launch("training", DATABRICKS_TOKEN="", **github)


def test_a_run_is_followed_though_for_a_while_no_token_is_issued(project: Project, proxy: Proxy) -> None:
    done = launch_as_a_workflow(
        project, proxy, project.deploy(), [(TOKEN, 503), (TOKEN, 429), (TOKEN, 0), (GITHUB, 503)]
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"WAITING  {proxy.host}: can't sign in: ") == 4, done.stdout
    assert proxy.failures == []


def test_a_run_that_can_no_longer_be_followed_is_named(
    project: Project, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Connection.ask.__kwdefaults__ or {}, "patience", 2.0)
    job_id = project.deploy()
    done = launch_as_a_workflow(project, proxy, job_id, 20 * [(TOKEN, 503)])
    (run,) = project.runs(job_id)
    assert done.returncode == 1
    assert f"run {run.run_id} goes on, but can't be followed: {proxy.host}: can't sign in: " in error_line(done)
    assert error_line(done).endswith(f"; see {run.run_page_url}")
