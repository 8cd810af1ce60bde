"""Measures the CPU time of each test, and fails a run in which a folder exceeds its budget.

The unit is the CPU time of a bare session: it writes and reads one Delta table (``tests/benchmarks/flow.py``). It is
measured in the same run, so that a budget means the same on every machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[1]
# For infra; at the end, so that ml_pipeline is the installed wheel.
sys.path.append(str(ROOT))
COST = "cpu_seconds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--budget", metavar="NAME", help="fail if a folder exceeds its budget in this list of pyproject.toml"
    )
    for name in ("quick", "all"):
        parser.addini(
            f"budget_{name}", "folders, and the CPU time that their tests may take, in bare sessions", type="linelist"
        )


def pytest_configure() -> None:
    if sys.platform == "linux":
        # PR_SET_CHILD_SUBREAPER (man 2 prctl): a JVM whose command ended first still counts as a descendant.
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no process is left alone with a long one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def cpu_seconds() -> float:
    """CPU time of this process and all its descendants, those that ended included."""
    process = psutil.Process()
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # It ended, and its parent has counted it.
            total += sum(each.cpu_times()[:4])
    return total


_started = pytest.StashKey[float]()
_costs: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    item.stash[_started] = cpu_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    try:
        return (yield)
    finally:
        # A property of the report is what a worker of pytest-xdist hands over.
        item.user_properties.append((COST, max(cpu_seconds() - item.stash[_started], 0.0)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        _costs[report.nodeid] = dict(report.user_properties)[COST]  # type: ignore[assignment]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    name = session.config.getoption("--budget")
    if not name or hasattr(session.config, "workerinput"):
        return
    unit = _bare_session()
    spent: Counter[str] = Counter()
    for test, cost in _costs.items():
        spent[str(Path(test.partition("::")[0]).parent)] += cost
    budgets = dict(line.split(" = ") for line in session.config.getini(f"budget_{name}"))
    lines = [f"{'folder':<32}{'cost':>8}{'budget':>8}   in bare sessions of {unit:.1f} CPU seconds"]
    exceeded = False
    for folder, cost in spent.most_common():
        budget = float(budgets.get(folder, 2.0))
        exceeded |= cost > budget * unit
        lines.append(f"{folder:<32}{cost / unit:8.1f}{budget:8.1f}{'   EXCEEDED' if cost > budget * unit else ''}")
    lines += [
        f"{sum(spent.values()):.0f} CPU seconds in all; the costliest tests, with the fixtures that they set up first:"
    ]
    lines += [f"{cost / unit:8.1f} {test}" for test, cost in _costs.most_common(15)]
    session.config.stash[_summary] = lines
    if exceeded and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


_summary = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    if _summary in config.stash:
        terminalreporter.section("cost")
        for line in config.stash[_summary]:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one session of this process, which no test may close."""
    from ml_pipeline.data import session

    os.environ["ML_PIPELINE_STATE"] = str(tmp_path_factory.mktemp("spark"))
    opened = session.spark()
    session.suit_small_tables()
    yield opened
    session.close()


def _bare_session() -> float:
    before = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", str(ROOT / "tests" / "benchmarks" / "flow.py"), "--bare", folder]
        subprocess.run(command, check=True)
        return cpu_seconds() - before
