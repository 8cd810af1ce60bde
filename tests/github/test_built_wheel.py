"""The wheel that was built is the one that is installed and deployed: by the Makefile, in a copy of the project."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from infra.distribution import find, seal, seal_of, take
from ml_pipeline.errors import CheckFailedError, InputError
from tests.github.conftest import ROOT

pytestmark = pytest.mark.slow

NAME = "ml_pipeline-0.1.0-py3-none-any.whl"
COPIED = (
    "Makefile",
    "pyproject.toml",
    "LICENSE",
    "ml_pipeline",
    "infra",
    "environments",
    "requirements.lock",
    "requirements-bootstrap.lock",
)


def write(file: Path, *names: str, comment: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "")
        archive.comment = comment.encode()
    return file


def test_what_is_no_wheel_of_this_package_is_refused(tmp_path: Path) -> None:
    ours = write(tmp_path / "one" / NAME, "ml_pipeline/__init__.py")
    assert find(ours) == find(ours.parent) == ours
    other = write(tmp_path / "other" / "numpy-2.0.0-py3-none-any.whl", "numpy/__init__.py")
    empty = write(tmp_path / "empty" / NAME)
    text = tmp_path / "text" / NAME
    text.parent.mkdir()
    text.write_text("no archive")
    write(tmp_path / "two" / NAME)
    write(tmp_path / "two" / NAME.replace("0.1", "0.2"))
    refused = {
        other: "is not a wheel of ml_pipeline; expected one that 'make wheel' built",
        empty: "is not a wheel of ml_pipeline",
        text: "is not a wheel of ml_pipeline",
        other.parent: "holds no wheel; expected exactly one",
        tmp_path / "two": f"holds {NAME}, ml_pipeline-0.2.0-py3-none-any.whl; expected exactly one",
        tmp_path / "nowhere.whl": "there is no such wheel",
    }
    for given, said in refused.items():
        with pytest.raises(InputError, match=said):
            find(given)


def test_a_wheel_that_changed_since_it_was_built_is_not_deployed(tmp_path: Path) -> None:
    wheel = write(tmp_path / "dist" / NAME, "ml_pipeline/__init__.py")
    seal(wheel)
    (tmp_path / "environments").symlink_to(ROOT / "environments")
    (tmp_path / "ml_pipeline").symlink_to(ROOT / "ml_pipeline")
    write(wheel, "ml_pipeline/__init__.py", comment="edited")
    done = subprocess.run(
        [sys.executable, "-m", "infra", "synth"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CDKTF_OUTDIR": str(tmp_path / "out")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert f"{NAME}: its SHA-256 is " in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_wheel_is_taken_once_and_another_takes_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dist = tmp_path / "dist"
    write(dist / "ml_pipeline-0.0.1-py3-none-any.whl", "ml_pipeline/__init__.py")
    first = write(tmp_path / "first" / NAME, "ml_pipeline/__init__.py", comment="first")
    second = write(tmp_path / "second" / NAME, "ml_pipeline/__init__.py", comment="second")

    for given in (first, second):
        content = given.read_bytes()
        take(given, into=dist)
        assert hashlib.sha256(content).hexdigest() in capsys.readouterr().out
        assert [file.read_bytes() for file in dist.glob("*.whl")] == [content]
        stamp = (dist / ".given").stat().st_mtime_ns
        # Also the one that lies there already.
        for again in (given, dist, dist / NAME):
            take(again, into=dist)
        assert (capsys.readouterr().out, (dist / ".given").stat().st_mtime_ns) == ("", stamp)


def test_a_wheel_that_was_changed_since_it_was_sealed_is_refused(tmp_path: Path) -> None:
    wheel = write(tmp_path / "wheel" / NAME, "ml_pipeline/__init__.py")
    seal(wheel)
    assert subprocess.run(["sha256sum", "--check", seal_of(wheel).name], cwd=wheel.parent, check=False).returncode == 0
    write(wheel, "ml_pipeline/__init__.py", comment="changed")
    with pytest.raises(CheckFailedError, match=r"its SHA-256 is [0-9a-f]{64}, which is not the one in .*\.sha256"):
        take(wheel, into=tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project in a folder whose name has a space, with an environment of its own above the libraries."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, folder / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    libraries = sysconfig.get_path("purelib")
    own = sysconfig.get_path("purelib", vars={"base": str(folder / ".venv"), "platbase": str(folder / ".venv")})
    Path(own, "libraries.pth").write_text(libraries)
    (folder / ".venv" / "bin" / "uv").symlink_to(Path(sys.executable).with_name("uv"))
    # The libraries are this environment's, and so is their archive of Java classes.
    for stamp in (".bootstrapped", ".synced", ".archived"):
        (folder / ".venv" / stamp).touch()
    return folder


def shell(**more: str) -> dict[str, str]:
    dropped = ("WHEEL", "INSTANCE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHONPATH")
    return {**{key: value for key, value in os.environ.items() if key not in dropped}, **more}


def run(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=shell(**more), capture_output=True, text=True, check=False)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """The project's wheel as nobody would build it: it holds a word more."""
    file = tmp_path / "wheel" / find(ROOT / "dist").name
    file.parent.mkdir()
    shutil.copy2(find(ROOT / "dist"), file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"built elsewhere"
    seal(file)
    return file


def test_make_installs_the_wheel_that_is_given_and_builds_none(clone: Path, given: Path) -> None:
    content = given.read_bytes()
    done = run(clone, "make", "setup", f"WHEEL={given}")
    assert done.returncode == 0, done.stderr
    assert f"wheel: {given.name} sha256:{hashlib.sha256(content).hexdigest()} (given, not built)" in done.stdout
    assert "building" not in done.stdout
    assert find(clone / "dist").read_bytes() == content
    where = run(clone.parent, str(clone / ".venv/bin/python"), "-c", "import ml_pipeline; print(ml_pipeline.__file__)")
    assert where.stdout.startswith(str(clone / ".venv"))

    again = run(clone, "make", "setup", WHEEL=str(given.parent))
    assert (again.returncode, "given, not built" in again.stdout) == (0, False)
    assert "installing" not in run(clone, "make", "--dry-run", "setup", WHEEL=str(given)).stdout

    given.write_bytes(content + b"!")
    done = run(clone, "make", "setup", WHEEL=str(given))
    assert done.returncode != 0
    assert "which is not the one in" in done.stderr
    assert find(clone / "dist").read_bytes() == content
    done = run(clone, "make", "setup", "WHEEL=nowhere")
    assert done.returncode != 0
    assert "error: nowhere: there is no such wheel; expected one that 'make wheel' built, or its folder" in done.stderr

    built = run(clone, "make", "setup")
    assert built.returncode == 0, built.stderr
    assert "building the wheel" in built.stdout
    wheel = find(clone / "dist")
    assert wheel.read_bytes() != content
    assert seal_of(wheel).read_text().split() == [hashlib.sha256(wheel.read_bytes()).hexdigest(), wheel.name]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is missing, on which the framework runs")
def test_the_stacks_deploy_the_wheel_that_is_given(clone: Path, given: Path) -> None:
    app = json.loads((ROOT / "cdktf.json").read_text())["app"]
    # The variable comes from the environment.
    done = run(clone, "sh", "-c", app, WHEEL=str(given.parent))
    assert done.returncode == 0, done.stderr
    wheels = list((clone / "cdktf.out" / "stacks").glob("*/assets/**/*.whl"))
    assert len(wheels) >= 4
    assert {wheel.read_bytes() for wheel in wheels} == {given.read_bytes()}
