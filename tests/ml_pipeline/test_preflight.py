"""What a person sees who starts on a machine where something is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ml_pipeline import preflight

# -P, or Python would take the module from the current folder instead of the wheel.
MODULE = [sys.executable, "-P", "-m", "ml_pipeline.preflight"]


def script(python: str) -> list[str]:
    """Name the file itself, as the Makefile does: nothing is installed yet, so site-packages is left out."""
    return [python, "-S", preflight.__file__]


def run(command: list[str] = MODULE, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key not in {"JAVA_HOME", "PYTHONPATH"}}
    return subprocess.run(
        command,
        env=inherited | {"PREFLIGHT_DISK_GIB": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """Give the one line that a failed check prints."""
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.fixture
def java_home(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path


def fake_java(home: Path, *script: str) -> str:
    java = home / "bin" / "java"
    java.write_text("\n".join(["#!/bin/sh", *script, ""]))
    java.chmod(0o755)
    return str(home)


def says(version: str) -> str:
    return f"echo 'openjdk version \"{version}\" 2024-01-16' >&2"


@pytest.mark.parametrize("version", ["17.0.15", "21", "22-ea"])
def test_it_is_silent_where_nothing_is_missing(java_home: Path, version: str) -> None:
    result = run(JAVA_HOME=fake_java(java_home, says(version)))

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_it_needs_no_installed_library(java_home: Path) -> None:
    java = fake_java(java_home, says("17.0.15"))

    assert run(script(sys.executable), JAVA_HOME=java).returncode == 0


def test_it_finds_java_on_path(java_home: Path) -> None:
    fake_java(java_home, "echo 'Picked up _JAVA_OPTIONS: -Xmx1g' >&2", says("17.0.2"))

    assert run(PATH=str(java_home / "bin")).returncode == 0


def test_it_names_java_when_path_has_none(tmp_path: Path) -> None:
    line = complaint(run(PATH=str(tmp_path)))

    assert "no java on PATH" in line
    assert "apt install openjdk-17" in line


@pytest.mark.parametrize(("version", "major"), [("11.0.22", 11), ("1.8.0_292", 8), ("25.0.1", 25)])
def test_it_refuses_a_java_that_spark_does_not_run_on(java_home: Path, version: str, major: int) -> None:
    line = complaint(run(JAVA_HOME=fake_java(java_home, says(version))))

    assert f"is Java {major}: Spark needs Java 17 or 21" in line
    assert str(java_home) in line


def test_java_home_comes_before_path_as_it_does_for_spark(java_home: Path, tmp_path: Path) -> None:
    on_path = fake_java(java_home, says("17.0.15"))

    line = complaint(run(JAVA_HOME=str(tmp_path / "nowhere"), PATH=f"{on_path}/bin"))

    assert "cannot be run" in line


@pytest.mark.parametrize("script", [(says("17.0.15"), "exit 1"), ("echo no runtime is installed >&2",)])
def test_it_refuses_a_java_that_does_not_work(java_home: Path, script: tuple[str, ...]) -> None:
    assert "does not tell its version" in complaint(run(JAVA_HOME=fake_java(java_home, *script)))


def test_it_tells_how_much_disk_space_is_needed(java_home: Path) -> None:
    java = fake_java(java_home, says("17.0.15"))

    line = complaint(run(JAVA_HOME=java, PREFLIGHT_DISK_GIB="1e9"))

    assert "1000000000.0 GiB of free disk space is needed" in line


def test_a_cache_that_is_not_there_yet_is_measured_where_it_will_be(java_home: Path) -> None:
    java = fake_java(java_home, says("17.0.15"))

    assert run(JAVA_HOME=java, UV_CACHE_DIR=str(java_home / "not" / "yet")).returncode == 0


def test_it_tells_when_the_disk_space_to_ask_for_is_no_number(java_home: Path) -> None:
    java = fake_java(java_home, says("17.0.15"))

    assert "is '4GB', not a number" in complaint(run(JAVA_HOME=java, PREFLIGHT_DISK_GIB="4GB"))


def other_pythons() -> list[str]:
    """Find interpreters that the project does not support: on PATH, or where pyenv keeps them."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    unsupported = [f"3.{minor}" for minor in (*range(6, 11), *range(14, 20))]
    on_path = [shutil.which(f"python{version}") for version in unsupported]
    kept = [str(path) for version in unsupported for path in root.glob(f"{version}.*/bin/python3")]
    candidates = [*kept, *(path for path in on_path if path)]
    # A pyenv shim is on PATH even where the version behind it is not selected.
    starts = (subprocess.run([path, "-V"], capture_output=True, check=False) for path in candidates)
    return [path for path, start in zip(candidates, starts, strict=True) if start.returncode == 0]


def test_it_refuses_an_unsupported_python_and_runs_on_it() -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("this machine has supported Pythons only")

    for python in pythons:
        assert "Python 3.11 to 3.13 is needed" in complaint(run(script(python)))


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 14), (4, 0)])
def test_it_refuses_a_python_outside_the_supported_range(version: tuple[int, int]) -> None:
    problem = preflight.python_problem(version)

    assert problem is not None
    assert ".".join(map(str, version)) in problem


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_it_accepts_the_supported_pythons(version: tuple[int, int]) -> None:
    assert preflight.python_problem(version) is None


def test_it_names_the_package_where_venv_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)

    problem = preflight.venv_problem()

    assert problem is not None
    assert f"python3.{sys.version_info.minor}-venv" in problem


def test_the_java_check_can_be_called_by_others(java_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", fake_java(java_home, says("17.0.15")))
    assert preflight.java_problem() is None

    monkeypatch.setenv("JAVA_HOME", fake_java(java_home, says("11.0.22")))
    assert "is Java 11" in str(preflight.java_problem())
