"""What the README says of commands is so: each exists, and none is left out."""

import re
import subprocess
from pathlib import Path

import pytest

from ml_pipeline.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL))
MADE = sorted(set(re.findall(r"^make ([a-z-]+)((?: [A-Z]+=\S+)*)", BLOCKS, flags=re.MULTILINE)))
# What `make help` is for: these serve the other targets.
UNLISTED = {"setup", "format", "lock", "wheel", "clean", "help"}


@pytest.mark.parametrize(("target", "variables"), MADE)
def test_a_target_that_the_readme_names_can_be_made(target: str, variables: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target, *variables.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_names_every_target_that_a_person_calls() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, flags=re.MULTILINE))
    assert targets - UNLISTED == {target for target, _ in MADE}


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_the_readme_names_every_command(command: str) -> None:
    assert f"| `ml-pipeline {command}" in README


def test_every_option_of_the_examples_exists() -> None:
    used = re.findall(r"^\.venv/bin/ml-pipeline (\w+) (.*)$", BLOCKS, flags=re.MULTILINE)
    assert used
    for command, rest in used:
        known = {name for parameter in cli.commands[command].params for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known


def test_every_job_is_described() -> None:
    from ml_pipeline import jobs, settings

    declared = jobs.declare(settings.load(ROOT / "environments" / "local.toml"))
    assert [job.name for job in declared if f"- **{job.name}** " not in README] == []
