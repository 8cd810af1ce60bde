"""The tutorial as a new user follows it: each command runs, each file is written, each output is the one shown."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deployment.conftest import ROOT, deployed, missing

PROBLEM = missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IMAGES = os.environ.get("TUTORIAL_IMAGES")
"""The folder that gets new screenshots; `make screenshots` sets it."""
MADE = (
    *(".git", ".venv*", ".*_cache", ".state", ".rehearsal", ".terraform", ".gen", ".benchmarks", ".hypothesis"),
    *("node_modules", "dist", "cdktf.out", "site", "mutants", "mlruns", "*.tfstate*", "__pycache__"),
)
"""What is not in a new clone."""
MAKE = """#!/bin/sh -e
# Set-up is done: another one would change the environment that runs the tests.
case $1 in
    setup) exit 0 ;;
    deploy) {make} --old-file=.venv/.synced wheel ;;
esac
exec {make} --old-file=setup "$@"
"""


@dataclass
class Part:
    """A block or an image of the tutorial."""

    kind: str
    """Language of the block, or ``image``."""
    text: str
    before: str
    """The sentence before it."""


def parts() -> Iterator[Part]:
    place = r"^```(\w+)\n(.*?)^```$|^!\[[^]]*\]\(images/([\w-]+)\.webp\)$"
    end = 0
    for found in re.finditer(place, TUTORIAL, flags=re.MULTILINE | re.DOTALL):
        before = TUTORIAL[end : found.start()].strip().rpartition("\n\n")[2]
        yield Part(found[1] or "image", found[2] or found[3], before)
        end = found.end()


@dataclass
class User:
    """A person with a clone of the project, who follows the tutorial to the letter."""

    clone: Path
    rows: Path
    port: int
    exports: list[str] = field(default_factory=list)
    workspace: subprocess.Popen[str] | None = None
    output: str = ""
    """What the last commands printed."""
    launched: str = ""
    """What the last launch of jobs printed."""

    def own(self, text: str) -> str:
        """The text with a folder and a port that no other test has, with the project's own name, and offline."""
        text = text.replace("ml_pipeline_churn", f"{deployed().project.replace('-', '_')}_churn")
        text = text.replace("/tmp/churn", str(self.rows)).replace("8765", str(self.port))
        return text.replace("OPTIONS=--auto-approve", "OPTIONS='--auto-approve --skip-provider-lock'")

    def follow(self, part: Part) -> None:
        text = self.own(part.text)
        if part.kind == "bash" and " -m infra rehearsal " in text:
            self.serve(text)
        elif part.kind == "bash":
            self.exports += re.findall(r"^export .*$", text, flags=re.MULTILINE)
            self.run(text)
        elif part.kind == "toml":
            (name,) = re.findall(r"`([\w/-]+\.toml)`", part.before)
            with (self.clone / name).open("a" if "Append" in part.before else "x", encoding="utf-8") as file:
                file.write(f"\n{text}")
        elif part.kind == "text":
            self.compare(text)
        elif part.kind == "image" and IMAGES:
            self.photograph(part.text, Path(IMAGES))

    @property
    def environment(self) -> dict[str, str]:
        named = ("ML_PIPELINE", "MLFLOW", "DATABRICKS", "INSTANCE", "PYTHON", "MAKE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(named)}
        return {**kept, "PATH": f"{self.clone / 'bin'}:{os.environ['PATH']}", "COLUMNS": "160", "NO_COLOR": "1"}

    def run(self, text: str) -> None:
        script = "\n".join(["set -e", *self.exports, text])
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.clone, env=self.environment, capture_output=True, text=True, check=False
        )
        self.output = done.stdout + done.stderr
        assert done.returncode == 0, f"{text}\n{self.output}"
        if "/runs/" in self.output:
            self.launched = self.output

    def serve(self, text: str) -> None:
        command = shlex.split(text)
        self.workspace = subprocess.Popen(
            command,
            cwd=self.clone,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz").close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        pytest.fail("the rehearsal workspace does not start")

    def compare(self, text: str) -> None:
        """Each line that the tutorial shows was printed, in this order; numbers and widths may differ."""
        printed = iter(
            " ".join(line.split()) for line in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "\n", self.output).splitlines()
        )
        for line in text.splitlines():
            if line != "...":
                wanted = re.sub(r"\d+", r"\\d+", re.escape(" ".join(line.split())))
                assert any(re.search(wanted, each) for each in printed), f"{line}\nis not printed:\n{self.output}"

    def photograph(self, name: str, folder: Path) -> None:
        """Take a screenshot of what the tutorial shows."""
        from PIL import Image

        files = {
            "tutorial-scorecard": lambda: self.clone / ".state" / "report.html",
            "tutorial-workspace": lambda: self.page("/"),
            "tutorial-run": lambda: self.page(self.last_run()),
        }
        file = folder.resolve() / f"{name}.png"
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,760")
        assert CHROMIUM, "screenshots need Chromium"
        command = [CHROMIUM, *options, "--virtual-time-budget=10000", f"--screenshot={file}", files[name]().as_uri()]
        subprocess.run(command, capture_output=True, check=True, timeout=120)
        with Image.open(file) as image:
            image.convert("RGB").save(file.with_suffix(".webp"), quality=80, method=6)
        file.unlink()

    def page(self, path: str) -> Path:
        """A page of the workspace as a file: a browser can't send the token."""
        token = (self.clone / ".rehearsal" / "token").read_text(encoding="utf-8").strip()
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        file = self.clone / "page.html"
        with urllib.request.urlopen(request) as answer:
            file.write_bytes(answer.read())
        return file

    def last_run(self) -> str:
        """The path of the newest run's page."""
        found = re.findall(rf":{self.port}(/jobs/\d+/runs/\d+)", self.launched)
        return str(found[-1]) if found else ""


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    clone, rows = tmp_path / "clone", tmp_path / "churn"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*MADE))
    for name in (".venv", "node_modules"):
        (clone / name).symlink_to(ROOT / name)
    (clone / "bin").mkdir()
    (clone / "bin" / "make").write_text(MAKE.format(make=shutil.which("make")))
    (clone / "bin" / "make").chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = User(clone, rows, port)
    yield user
    if user.workspace:
        user.workspace.send_signal(signal.SIGINT)
        user.workspace.wait(60)


def test_the_tutorial_leads_from_a_csv_file_to_a_scored_batch(user: User) -> None:
    for part in parts():
        user.follow(part)


def test_every_part_is_one_that_the_test_follows() -> None:
    found = [part.kind for part in parts()]
    assert set(found) == {"bash", "toml", "text", "image"}
    assert TUTORIAL.count("```") == 2 * sum(kind != "image" for kind in found)
    assert TUTORIAL.count("![") == found.count("image")
