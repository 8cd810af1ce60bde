"""One rehearsal workspace for all tests, in a process of its own. They see the project's own folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient

ROOT = Path(__file__).parents[2]
# The deployment is no part of the wheel; the pipeline is still the installed one, which comes first.
sys.path.append(str(ROOT))

from infra.rehearsal import server  # noqa: E402
from tests.rehearsal import user  # noqa: E402
from tests.rehearsal.principals import deployed, registered  # noqa: E402

__all__ = ["deployed", "registered"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return user.make_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rehearsal")


@pytest.fixture(scope="session")
def served(state: Path) -> Iterator[server.Served]:
    with server.serve(state) as running:
        yield running


@pytest.fixture(scope="session")
def client(served: server.Served, wheel: Path) -> WorkspaceClient:
    connected = user.connect(served)
    user.upload(connected, wheel)
    return connected
