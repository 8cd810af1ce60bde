"""The framework's community fork in its place: two names change in one file, and the stacks stay the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-fork" / "bin" / "python"
NAMES = {"cdktf_cdktf_provider_databricks": "cdktn_provider_databricks", "cdktf": "cdktn"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists() or shutil.which("node") is None,
        reason="the fork is not installed (make test-fork installs it), or Node is missing",
    ),
]


def synthesized(python: Path, project: Path, instance: str) -> dict[str, Any]:
    out = project / "out"
    environment = {**os.environ, "CDKTF_OUTDIR": str(out), "CDKTN_OUTDIR": str(out), "INSTANCE": instance}
    environment |= {"GIT_COMMIT": "0" * 40}
    done = subprocess.run(
        [python, "-m", "infra", "synth"], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    stacks = {path.parent.name: json.loads(path.read_text()) for path in out.glob("stacks/*/cdk.tf.json")}
    for stack in stacks.values():
        stack["//"]["metadata"].pop("version")
        stack["terraform"]["required_providers"]["databricks"].pop("version")
    return stacks


def copied(project: Path) -> Path:
    for folder in ("infra", "ml_pipeline", "environments", "dist"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return project


@pytest.mark.parametrize("instance", ["", "pr-123"])
def test_the_fork_synthesizes_the_same_stacks(tmp_path: Path, instance: str) -> None:
    ours = synthesized(ROOT / ".venv" / "bin" / "python", copied(tmp_path / "ours"), instance)
    project = copied(tmp_path / "theirs")
    seam = project / "infra" / "bindings.py"
    text = seam.read_text(encoding="utf-8")
    for old, new in NAMES.items():
        assert re.search(rf"\b{old}\b", text)
        text = re.sub(rf"\b{old}\b", new, text)
    seam.write_text(text, encoding="utf-8")

    assert len(ours) == len(list((ROOT / "environments").glob("*.toml"))) - 1
    assert synthesized(PYTHON, project, instance) == ours


def test_the_fork_alone_is_installed_there() -> None:
    look = "import importlib.util as u; print([n for n in ('cdktf', 'mlflow', 'pyspark') if u.find_spec(n)])"
    done = subprocess.run([PYTHON, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
