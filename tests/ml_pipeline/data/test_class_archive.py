import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml_pipeline.data import session

pytestmark = pytest.mark.slow

SESSION = """
import sys
from pathlib import Path
from ml_pipeline.data import session

archive = Path(sys.argv[1])
session.archive = lambda: archive
print(session.create(Path(sys.argv[2])).range(3).count())
"""


def started(archive: Path, state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, session.JAVA_OPTIONS: " ".join([session.DEFAULT_JAVA_OPTIONS, *options])}
    command = [sys.executable, "-P", "-c", SESSION, str(archive), str(state)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_session_maps_the_archive_of_this_installation(tmp_path: Path) -> None:
    if not session.archive().is_file():
        pytest.skip("there is no archive: make test writes it")

    # With -Xshare:on, a JVM that can't map its archive ends (man java, "-Xshare").
    done = started(session.archive(), tmp_path, "-Xshare:on")

    assert done.stdout == "3\n", done.stderr


def test_an_archive_that_does_not_fit_is_ignored(tmp_path: Path) -> None:
    archive = tmp_path / "classes.jsa"
    archive.write_bytes(b"no archive" * 1000)

    assert started(archive, tmp_path / "state", "-Xshare:on").returncode != 0
    assert started(archive, tmp_path / "state").stdout == "3\n"
