"""Every message of the troubleshooting page is caused for real, and every exit code is on the page of the commands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import commands as infra_commands
from infra import distribution, terraform
from infra.environment import environment
from infra.github import release
from infra.review import lock
from ml_pipeline import errors, preflight
from ml_pipeline.cli import guard
from ml_pipeline.data import jvm
from ml_pipeline.errors import CheckFailedError, InputError, PipelineError
from ml_pipeline.local import warm_up
from tests import commands
from tests.github.conftest import serve

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^### `(.+)`$", PAGE, flags=re.MULTILINE)

Cause = Callable[[Path, pytest.MonkeyPatch], str]
CAUSES: dict[str, tuple[Cause, bool]] = {}
"""What causes each message; whether it takes Spark or a server."""

PIPELINE = """\
target = "left"
metric = "accuracy"
threshold = 0.5
[source]
csv = "rows.csv"
[estimator]
class = "sklearn.tree.DecisionTreeClassifier"
"""
ENVIRONMENT = """\
[workspace]
host = "http://127.0.0.1:9"
auth = "environment"
[compute]
spark_version = "17.3.x-cpu-ml-scala2.13"
node_type_id = "m6id.xlarge"
[catalog]
name = "dev"
[state]
backend = "local"
"""


def causes(message: str, *, slow: bool = False) -> Callable[[Cause], Cause]:
    def register(cause: Cause) -> Cause:
        CAUSES[message] = cause, slow
        return cause

    return register


def project(folder: Path, *changes: tuple[str, str], rows: str = "", environment: str = ENVIRONMENT) -> Path:
    """A pipeline file with changes, its rows, and the environment ``dev``."""
    text = PIPELINE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "my.toml").write_text(text)
    (folder / "rows.csv").write_text(
        rows or "plan,months,left\n" + "".join(f"a{n % 3},{n},{'ny'[n % 2]}\n" for n in range(60))
    )
    (folder / "environments").mkdir(exist_ok=True)
    (folder / "environments" / "dev.toml").write_text(environment)
    return folder


def ended(*arguments: str, cwd: Path, code: int = 2, **variables: str) -> str:
    """The errors of a command that ends with an exit code."""
    done = commands.call(*arguments, cwd=cwd, **variables)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def raised(call: Callable[[], object]) -> str:
    with pytest.raises(PipelineError) as error:
        call()
    return str(error.value)


@causes("FILE: KEY: unknown key, did you mean 'OTHER'?")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ("threshold", "treshold")))


@causes("FILE: KEY: is missing")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ('metric = "accuracy"\n', "")))


@causes("FILE: KEY: must be a number without quotes (given: 'TEXT')")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ("threshold = 0.5", 'threshold = "0.5"')))


@causes("FILE: is not valid TOML: REASON (at line N, column N)")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ('"accuracy"', "accuracy")))


@causes("FILE: source: names KIND and KIND; accepted: exactly one of sklearn, csv, parquet, table")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ("[source]", '[source]\nparquet = "rows"')))


@causes("FILE: [pipeline] is no longer part of an environment")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    here = project(folder, environment=ENVIRONMENT + "[pipeline]\nseed = 1\n")
    return ended("check", "my.toml", "--environment", "dev", cwd=here)


@causes("environment 'NAME': no file FILE; accepted: NAMES")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", "--environment", "prd", cwd=project(folder))


@causes("'NAME' is neither a pipeline nor a job; pipelines: NAMES; jobs: NAMES")
def _(_folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("run", "trainin", cwd=ROOT)


@causes("--parameter NAME: no job of this run has it; accepted: NAMES")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("run", "my.toml", "--parameter", "batch=2026-01-02", "--state", "state", cwd=project(folder))


@causes("batch_date: is not a date; expected YYYY-MM-DD")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    arguments = ("batch_inference", "--parameter", "batch_date=2026-1-2", "--state", "state")
    return ended("run", "my.toml", *arguments, cwd=project(folder))


@causes("FILE: source.csv: 'PATH' is relative; accepted: a path that a cluster reaches, such as one under /Volumes")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    folder = project(folder, environment=ENVIRONMENT.replace("[state]", "[pipelines.churn]\n[state]"))
    own = folder / "ml_pipeline" / "pipelines" / "churn"
    own.mkdir(parents=True)
    (folder / "my.toml").rename(own / "pipeline.toml")
    return ended("check", "churn", "--environment", "dev", cwd=folder)


@causes("cron 'CRON' fires N times a day, and each run would replace the batch of the day; accepted: once a day")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    change = ("[estimator]", '[schedule]\ncron = "0 0 6,18 * * ?"\n[estimator]')
    return ended("check", "my.toml", cwd=project(folder, change))


@causes("FILE: metric: REASON; accepted: NAMES")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ('"accuracy"', '"acuracy"')))


@causes("FILE: estimator.parameters.NAME: CLASS has no such parameter; accepted: NAMES")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    change = ('DecisionTreeClassifier"', 'DecisionTreeClassifier"\nparameters = { depth = 3 }')
    return ended("check", "my.toml", cwd=project(folder, change))


@causes("FILE: estimator.class: 'NAME' can't be imported; accepted: the dotted path of a class")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ("sklearn.tree.Decision", "sklearn.trees.Decision")))


@causes("source csv PATH: no such file or folder")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ("rows.csv", "row.csv")))


@causes("source csv PATH: is empty; expected a line with the names of the columns, and rows")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    here = project(folder)
    (here / "rows.csv").write_text("")
    return ended("check", "my.toml", cwd=here)


@causes("source csv PATH: has one column, 'NAME'; if ';' separates columns, set source.separator to it")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, rows="plan;left\na;y\nb;n\n"))


@causes("source csv PATH has no column 'NAME'; accepted: NAMES")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("check", "my.toml", cwd=project(folder, ('"left"', '"gone"')))


@causes("FILE: already exists; choose another name, or another --output")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("init", "my", "--csv", "rows.csv", "--target", "left", cwd=project(folder))


@causes("--target: column 'NAME' of SOURCE is a quantity: N different values of type TYPE", slow=True)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    arguments = ("--csv", "rows.csv", "--target", "months", "--state", "state")
    rows = "plan,months\n" + "".join(f"a{n % 3},{n}.5\n" for n in range(60))
    return ended("init", "other", *arguments, cwd=project(folder, rows=rows))


@causes("column 'NAME' has N numbers in FILE, and FILE has text, such as 'TEXT'", slow=True)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    rows = "plan,months,left\n" + "".join(f"a,{n or 'n/a'},{'ny'[n % 2]}\n" for n in range(60))
    return ended("run", "my.toml", "--state", "state", cwd=project(folder, rows=rows))


@causes("class 'NAME' of column 'NAME' in SOURCE has N rows", slow=True)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    rows = "plan,months,left\n" + "".join(f"a,{n},{'y' if n == 1 else 'n'}\n" for n in range(60))
    return ended("run", "my.toml", "--state", "state", cwd=project(folder, rows=rows))


@causes("table NAME: there is no such Delta table", slow=True)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("run", "my.toml", "training", "--state", "state", cwd=project(folder))


@causes("experiment NAME has no finished run; train one first")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("report", "--pipeline", "my.toml", "--state", "state", cwd=project(folder))


@causes("--state FOLDER: was moved or copied: MLflow keeps the artifacts of experiment NAME in PLACE", slow=True)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    here = project(folder)
    commands.call("run", "my.toml", "training", "--state", "state", cwd=here)
    (here / "state").rename(here / "moved")
    return ended("report", "--pipeline", "my.toml", "--state", "moved", cwd=here, code=1)


@causes("the model is rejected: REASON", slow=True)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    here = project(folder, ("threshold = 0.5", "threshold = 1.1"))
    return ended("run", "my.toml", "--state", "state", cwd=here, code=1)


@causes("model NAME has no alias 'challenger'; validate a run first", slow=True)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("run", "my.toml", "promotion", "--state", "state", cwd=project(folder))


@causes("the disk is full (CAUSE); nothing of this batch or table was committed")
def _(_folder: Path, _: pytest.MonkeyPatch) -> str:
    return str(errors.explain(OSError("x: No space left on device")))


@causes("MLflow's database is locked (CAUSE); end the process that holds it, or try again")
def _(_folder: Path, _: pytest.MonkeyPatch) -> str:
    return str(errors.explain(OSError("(sqlite3.OperationalError) database is locked")))


@causes("Spark's memory is too small: CAUSE")
def _(_folder: Path, _: pytest.MonkeyPatch) -> str:
    return str(errors.explain(RuntimeError("java.lang.OutOfMemoryError: Java heap space")))


@causes("Spark needs Java 17 or 21: REASON")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("JAVA_HOME", str(folder))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    return raised(jvm.find)


@causes("Python 3.11 to 3.13 is needed, and PROGRAM is 3.10: install one")
def _(_folder: Path, _: pytest.MonkeyPatch) -> str:
    return str(preflight.python_problem((3, 10)))


@causes("N GiB of free disk space is needed, and FOLDER has N GiB: make room there")
def _(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(preflight.DISK_VARIABLE, "1000000")
    return str(preflight.disk_problem())


@causes("ENV is missing: make deploy ENV=dev")
def _(_folder: Path, _: pytest.MonkeyPatch) -> str:
    return subprocess.run(["make", "--dry-run", "deploy"], cwd=ROOT, capture_output=True, text=True, check=False).stderr


@causes("Terraform is missing: install it, 1.10 or later")
def _(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TERRAFORM_BINARY_NAME", "no-such-terraform")
    terraform.problem.cache_clear()
    problem = terraform.problem()
    terraform.problem.cache_clear()
    return str(problem)


@causes("PATH: there is no such wheel; expected one that 'make wheel' built, or its folder")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return raised(lambda: distribution.take(folder / "absent.whl", into=folder))


@causes("INSTANCE 'NAME': accepted: up to 30 lower-case letters, digits and hyphens, such as 'pr-123'")
def _(_folder: Path, _: pytest.MonkeyPatch) -> str:
    return raised(lambda: environment.load(ROOT / "environments" / "dev.toml", instance="PR_1"))


@causes("FILE: workspace: no credentials: REASON")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended("launch", "training", "--environment", "tests/environments/dev.toml", cwd=ROOT, HOME=str(folder))


@causes("HOST: can't be reached: REASON; see the host and the network")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    return ended(
        "launch",
        "training",
        "--environment",
        "rehearsal",
        cwd=ROOT,
        code=1,
        HOME=str(folder),
        DATABRICKS_HOST="http://127.0.0.1:9",
        DATABRICKS_TOKEN="x",
    )


@causes("HOST: no job 'NAME'; deployed of 'NAME': none", slow=True)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    from infra.rehearsal import server

    with server.serve(folder / "workspace") as workspace:
        return ended(
            "launch",
            "training",
            "--environment",
            "rehearsal",
            cwd=ROOT,
            HOME=str(folder),
            DATABRICKS_HOST=workspace.host,
            DATABRICKS_TOKEN=workspace.token,
        )


@causes("--port N --state FOLDER: [Errno N] Address already in use")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [
            sys.executable,
            "-m",
            "infra",
            "rehearsal",
            "--port",
            str(taken.getsockname()[1]),
            "--state",
            str(folder),
        ]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120).stderr


def locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stack that this machine began to deploy, with a Terraform that reports a lock."""
    stack = folder / "stacks" / "dev"
    (stack / ".terraform").mkdir(parents=True)
    program = folder / "terraform"
    information = "ID: 1-2-3\nWho: ann@laptop\nCreated: 2026-01-02 03:04:05.6 +0000 UTC"
    program.write_text(f"#!/bin/sh\nprintf 'Lock Info:\n{information}\n' >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("CDKTF_OUTDIR", str(folder))
    monkeypatch.setenv("TERRAFORM_BINARY_NAME", str(program))
    lock.begin("dev")
    return stack


@causes("STACK: WHO holds the lock LOCK since TIME, and not this deployment; it stays.")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    locked(folder, monkeypatch)
    return raised(lambda: lock.release("dev"))


@causes("STACK: Terraform still works on this machine; its lock stays")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    stack = locked(folder, monkeypatch)
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)
    with subprocess.Popen(["sleep", "60"], cwd=stack) as working:
        message = raised(lambda: lock.release("dev"))
        working.kill()
    return message


@causes("STACK: no deployment began on this machine, so it left no lock")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    command = [sys.executable, "-m", "infra", "unlock", "dev"]
    shell = {**os.environ, "CDKTF_OUTDIR": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=shell, capture_output=True, text=True, check=True).stdout


@causes("TAG: no release has its wheel; accepted: a version that cd-prod.yml released")
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    with serve() as github:
        return github.call("release", "download", "--into", str(folder)).stderr


@causes(
    "TAG: the wheel of the release is not the one that was released: the tag records 'TEXT'; accepted: a new version"
)
def _(folder: Path, _: pytest.MonkeyPatch) -> str:
    version = release.version(ROOT / "pyproject.toml")
    tag = f"v{version}"
    with serve() as github:
        github.refs[tag] = {"type": "commit", "sha": "abc"}
        github.assets["replaced.whl"] = b"another wheel"
        asset = {"name": "replaced.whl", "id": 0}
        github.releases.append({"tag_name": tag, "draft": False, "assets": [asset]})
        return github.call("release", "download", "--into", str(folder)).stderr


def pattern(message: str) -> str:
    """The message with its placeholders, which are words in capitals, as a regular expression."""
    parts = re.split(r"\b(?!TOML|MM|YYYY|DD|GiB|INSTANCE|ENV|PYTHON)([A-Z]{2,}|N)\b", message)
    return ".+".join(re.escape(part) for part in parts[::2])


@pytest.fixture(autouse=True)
def _without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run`` starts Spark while it checks; the session of this process belongs to other tests."""
    monkeypatch.setattr(warm_up, "start_spark", lambda **_: None)


def test_the_page_has_the_messages_that_are_caused_here() -> None:
    assert len(MESSAGES) >= 20
    assert sorted(MESSAGES) == sorted(CAUSES)


def test_each_message_has_a_cause_and_a_remedy() -> None:
    entries = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    for entry in entries:
        text = entry.partition("\n## ")[0]
        assert re.search(r"^- \*\*Cause:\*\* .+\n(  .+\n)*- \*\*Remedy:\*\* .+", text, flags=re.MULTILINE), entry


@pytest.mark.parametrize("message", [message for message, (_, slow) in CAUSES.items() if not slow])
def test_a_message_is_what_a_person_sees(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = CAUSES[message][0](tmp_path, monkeypatch)
    assert re.search(pattern(message), " ".join(printed.split())), printed


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("message", [message for message, (_, slow) in CAUSES.items() if slow])
def test_a_message_of_a_run_is_what_a_person_sees(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = CAUSES[message][0](tmp_path, monkeypatch)
    assert re.search(pattern(message), " ".join(printed.split())), printed


def _interrupt() -> None:
    raise KeyboardInterrupt


def _fail(error: Exception) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(10)


EXITS: dict[str, Callable[[], int]] = {
    "success": lambda: guard.guarded(lambda: None),
    "failed check": lambda: guard.guarded(_fail(CheckFailedError("x"))),
    "wrong input": lambda: guard.guarded(_fail(InputError("x"))),
    "unexpected error": lambda: guard.guarded(_fail(ValueError("x"))),
    "Ctrl-C": lambda: guard.guarded(_interrupt),
    "SIGTERM": lambda: guard.guarded(_terminate),
}


def documented() -> Iterator[tuple[int, str]]:
    """The exit codes of the page of the commands, with their meanings."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8").partition("## Exit codes\n")[2]
    for code, text in re.findall(r"^\| (\d+) \| (.+) \|$", page, flags=re.MULTILINE):
        yield int(code), text


@pytest.mark.parametrize("exit_", EXITS)
def test_an_exit_code_is_documented(exit_: str) -> None:
    meanings = dict(documented())
    assert exit_ in meanings[EXITS[exit_]()]


def test_no_other_exit_code_is_documented() -> None:
    assert sorted(code for code, _ in documented()) == sorted(command() for command in EXITS.values())


@pytest.mark.parametrize(("arguments", "code"), [(["drift"], 1), (["wheel", "take"], 2)])
def test_a_mistake_in_a_call_of_drift_has_a_code_of_its_own(arguments: list[str], code: int) -> None:
    # 2 means for drift that the deployment differs.
    assert infra_commands.main(arguments) == code
