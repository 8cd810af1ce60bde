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
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
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


def test_it_is_silent_if_nothing_is_missing() -> None:
    result = run()

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_it_needs_no_installed_library() -> None:
    assert run(script(sys.executable)).returncode == 0


def test_it_tells_how_much_disk_space_is_needed() -> None:
    line = complaint(run(PREFLIGHT_DISK_GIB="1e9"))

    assert "1000000000.0 GiB of free disk space is needed" in line


def test_a_cache_that_is_not_there_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    assert run(UV_CACHE_DIR=str(tmp_path / "not" / "yet")).returncode == 0


def test_it_tells_when_the_disk_space_to_ask_for_is_no_number() -> None:
    assert "is '4GB', not a number" in complaint(run(PREFLIGHT_DISK_GIB="4GB"))


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
