"""What the tests of the DAG share: Airflow's environments, and the DAG's file and settings as a stack delivers them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT))

VERSIONS = {"3": "3.0.6", "2": "2.11.0"}


def python(major: str) -> Path:
    return ROOT / f".venv-airflow-{major}" / "bin" / "python"


def airflow(major: str, home: Path, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Airflow's Python with nothing of this shell that could tell it of a connection or of this project."""
    kept = {key: value for key, value in os.environ.items() if not re.match("AIRFLOW|DATABRICKS|PYTHON", key)}
    own = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **more}
    return subprocess.run(
        [python(major), "-I", *arguments], cwd=home, env=kept | own, capture_output=True, text=True, check=False
    )


Run = Callable[..., subprocess.CompletedProcess[str]]


def runner(major: str, home: Path, host: str, token: str) -> Run:
    """Run ``dag.test()`` with a connection to the workspace, which exists only in the environment of the process."""
    migrated = airflow(major, home, "-m", "airflow", "db", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    address = urlsplit(host)
    parts = {"schema": address.scheme, "host": address.hostname, "port": address.port, "password": token}
    connection = json.dumps({"conn_type": "databricks", **parts})

    def run(folder: Path, *runs: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
        arguments = HERE / "run.py", folder, json.dumps(runs)
        done = airflow(major, home, *arguments, AIRFLOW_CONN_DATABRICKS_DEFAULT=connection)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def log(done: subprocess.CompletedProcess[str]) -> str:
    """The output on one line, without the colours and frames that are for a screen."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m|│", " ", done.stdout + done.stderr).split())


INSTALLED = [
    pytest.param(
        major,
        id=version,
        marks=pytest.mark.skipif(
            not python(major).exists() or shutil.which("node") is None,
            reason=f"Airflow {version} is not installed (make test-airflow installs it), or Node is missing",
        ),
    )
    for major, version in VERSIONS.items()
]
Deliver = Callable[..., Path]


@pytest.fixture(scope="session")
def deliver(tmp_path_factory: pytest.TempPathFactory) -> Deliver:
    """Writes what the stack of an environment puts into the bucket; with the one word changed, and what is said."""
    from infra.bindings import Testing
    from infra.environment import environment
    from infra.stack import EnvironmentStack

    wheel = tmp_path_factory.mktemp("dist") / "ml_pipeline-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("content", "any")

    def write(name: str = "rehearsal", changes: Mapping[str, str] = {}, **settings: object) -> Path:
        bucket = tmp_path_factory.mktemp("bucket")
        text = (ROOT / "tests" / "environments" / f"{name}.toml").read_text(encoding="utf-8")
        for old, new in {'engine = "databricks"': 'engine = "airflow"', **changes}.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        file = bucket / f"{name}.toml"
        file.write_text(text, encoding="utf-8")
        loaded = environment.load(file)
        stack = EnvironmentStack(Testing.app(), environment=loaded, wheel=wheel, commit="0" * 40)
        for each in json.loads(Testing.synth(stack))["resource"]["aws_s3_object"].values():
            path = bucket / each["key"]
            path.parent.mkdir(exist_ok=True)
            content = each["content"].replace("$${", "${").replace("%%{", "%{")
            if settings and path.suffix == ".json":
                content = json.dumps({**json.loads(content), **settings})
            path.write_text(content, encoding="utf-8")
        return bucket / "dags"

    return write


def said(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
