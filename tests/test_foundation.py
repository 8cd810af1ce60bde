"""What the other tests stand on: they run on the wheel, its libraries are locked, every target is told."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import ml_pipeline

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = [
    "requirements.lock",
    "requirements-latest.lock",
    "requirements-fork.lock",
    "requirements-docs.lock",
    "requirements-airflow-3.lock",
    "requirements-airflow-2.lock",
    "requirements-bootstrap.lock",
]


def sources() -> dict[str, bytes]:
    files = (path.relative_to(ROOT) for path in (ROOT / "ml_pipeline").rglob("*") if path.is_file())
    return {str(path): (ROOT / path).read_bytes() for path in files if "__pycache__" not in path.parts}


def test_the_tests_run_on_the_installed_wheel() -> None:
    location = Path(ml_pipeline.__file__).parent

    assert location.parent.name == "site-packages"
    assert location != ROOT / "ml_pipeline"


def test_the_installed_wheel_is_built_from_these_sources() -> None:
    installed = Path(ml_pipeline.__file__).parents[1]

    stale = [name for name, content in sources().items() if (installed / name).read_bytes() != content]

    assert stale == []


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    wheel = distribution("ml-pipeline")
    files = {str(path) for path in wheel.files or () if "__pycache__" not in path.parts}
    scripts = {f"../../../bin/{script}" for script in PROJECT["project"]["scripts"]}
    metadata = {name for name in files if name.startswith(f"ml_pipeline-{wheel.version}.dist-info/")}

    assert {"ml_pipeline/__init__.py", "ml_pipeline/py.typed"} <= files
    assert files - scripts - metadata == set(sources())


def test_the_runtime_has_all_that_the_wheel_asks_for() -> None:
    pins = {}
    for line in PROJECT["dependency-groups"]["runtime-17-3-ml"]:
        pin = Requirement(line)
        pins[pin.name] = next(iter(pin.specifier)).version

    asked = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    shipped = [requirement for requirement in asked if requirement.name in pins]

    assert len(shipped) >= 8
    assert [str(r) for r in shipped if Version(pins[r.name]) not in r.specifier] == []


def requirements(lock: str) -> list[str]:
    """Give each requirement of a lock file with its continuation lines."""
    text = re.sub(r"^\s*#.*\n?", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_pins_each_requirement_by_version_and_hash(lock: str) -> None:
    locked = requirements(lock)

    assert locked
    for requirement in locked:
        assert re.match(r"[a-z0-9-]+==\S+ ", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_place_to_download_from(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert not re.search(r"://|--index|--extra-index|--find-links|file:|\s/\w", text)


def test_the_lock_file_of_the_deployment_pins_hashes_and_names_no_place() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    locked = {path: package for path, package in packages.items() if path and not package.get("inBundle")}

    assert locked["node_modules/cdktf-cli"]["version"] == "0.21.0"
    assert [path for path, package in locked.items() if not package["integrity"].startswith("sha512-")] == []
    assert "://" not in (ROOT / "package-lock.json").read_text()


def test_the_lock_file_holds_the_libraries_of_the_runtime() -> None:
    locked = {requirement.split(" ")[0] for requirement in requirements("requirements.lock")}
    exact = {pin for pin in PROJECT["dependency-groups"]["runtime-17-3-ml"] if "*" not in pin}

    assert len(exact) >= 8
    assert exact <= locked


def test_make_help_tells_about_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, flags=re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[0].split())
    told = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split(maxsplit=1) for line in told.splitlines()]

    assert {"setup", "run", "check", "test", "test-latest", "lock"} <= targets
    assert {name for name, text in lines if text} == targets == phony


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        ("Move modules into packages by layer\n\nThe reason.\n", True),
        ("Process batches in order\n", True),
        ("Embed the figures\n\n# A comment of git's.\n", True),
        ("Merge branch 'development' into a feature branch\n", True),
        ("The tests are fast\n", False),
        ("Added a thing\n", False),
        ("Adding a thing\n", False),
        ("Adds a thing\n", False),
        ("add a thing\n", False),
        ("Add a thing.\n", False),
        ("Add a thing\nand the reason without a blank line\n", False),
        (f"Move {'x' * 67}\n", True),
        (f"Move {'x' * 68}\n", False),
    ],
)
def test_a_commit_subject_is_imperative_and_short(message: str, accepted: bool, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_text(message)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (hook,) = [hook for hook in hooks if hook["id"] == "commit-subject"]

    # As pre-commit runs a hook of the language pygrep.
    command = [sys.executable, "-m", "pre_commit.languages.pygrep", *hook["args"], hook["entry"], str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert hook["stages"] == ["commit-msg"]
    assert (done.returncode == 0) == accepted, done.stdout


def test_make_help_is_aligned_and_fits_a_terminal() -> None:
    # A make that runs the tests would have this one name its directories.
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    starts = {re.match(r"[a-z-]+ +", line).end() for line in lines}  # type: ignore[union-attr]

    assert len(lines) > 20
    assert len(starts) == 1
    assert [line for line in lines if len(line) > 80] == []
