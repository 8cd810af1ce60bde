"""Changes modules in many small ways, and says which changes no test notices.

All of it is one process with one Spark session: mutmut makes a module that holds every mutant and looks up at each
call which one is meant. Of the tests that reach the changed function, those run first that noticed most in the least
time. Those of the whole flow are left out: they take too long.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import os
import random
import signal
import sys
import tempfile
import time
import types
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
from _pytest.runner import runtestprotocol
from mutmut.mutation import trampoline
from mutmut.mutation.file_mutation import mutate_file_contents

import ml_pipeline

TESTS = [f"tests/ml_pipeline/{name}.py" for name in ("steps/test_split", "model/test_decision", "test_mutants")]
LATE, SECONDS = "the test takes too long", 300


def load(name: str) -> tuple[list[str], str]:
    """Put a module with all its mutants in the place of the original; their names, and the code."""
    package, _, last = f"ml_pipeline.{name}".rpartition(".")
    file = Path(ml_pipeline.__path__[0], f"{name.replace('.', '/')}.py")
    made = mutate_file_contents(str(file), file.read_text(encoding="utf-8"))
    module = sys.modules[f"ml_pipeline.{name}"] = types.ModuleType(f"ml_pipeline.{name}")
    exec(compile(made.code, f"{name} (mutated)", "exec"), module.__dict__)
    setattr(importlib.import_module(package), last, module)
    return list(made.mutant_names), made.code


def difference(code: str, mutant: str) -> str:
    """What a mutant changes."""
    nodes = {node.name: ast.unparse(node) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)}
    old, new = (nodes[name].splitlines()[1:] for name in (f"{mutant.rpartition('_')[0]}_orig", mutant))
    return "\n".join(line for line in list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:] if line[:2] != "@@")


def failure(item: pytest.Item) -> str:
    """Run one test; what the session and the module hold stays for the next."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(LATE))
    item.session._setupstate.teardown_exact(item.parent)  # type: ignore[arg-type]
    signal.alarm(SECONDS)
    reports = runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]
    signal.alarm(0)
    return next((report.longreprtext or "failed" for report in reports if report.failed), "")


class Mutation:
    """In the place of pytest's own loop over the tests."""

    def __init__(self, names: list[str], sample: int) -> None:
        self.modules, self.sample = {name: load(name) for name in names}, sample
        self.hits, self.scores = set[str](), list[float]()
        self.reached, self.seconds = dict[pytest.Item, set[str]](), dict[pytest.Item, float]()
        self.kills = Counter[tuple[str, pytest.Item]]()
        setattr(trampoline, "record_trampoline_hit", lambda name, **_: self.hits.add(name))  # noqa: B010

    def baseline(self, items: list[pytest.Item]) -> None:
        """Without a mutant all tests pass, or a failure with one says nothing; learns which functions they reach."""
        os.environ["MUTANT_UNDER_TEST"] = "stats"
        for item in items:
            self.hits, began = set(), time.monotonic()
            if why := failure(item):
                pytest.exit(f"{item.nodeid} fails without a mutant:\n{why}", returncode=2)
            self.reached[item], self.seconds[item] = self.hits, time.monotonic() - began

    def end(self, mutant: str, items: list[pytest.Item]) -> str:
        """What becomes of a mutant, and by which test."""
        function, os.environ["MUTANT_UNDER_TEST"] = mutant.partition("__mutmut_")[0], mutant
        able = [item for item in items if function in self.reached[item]]
        for item in sorted(able, key=lambda item: -(self.kills[function, item] + 0.1) / self.seconds[item]):
            if why := failure(item):
                self.kills[function, item] += 1
                return f"{'timeout' if LATE in why else 'killed'} by {item.name}"
        return "survived"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every mutant, or an even sample of them."""
        say = session.config.pluginmanager.getplugin("terminalreporter").write_line
        self.baseline(session.items)
        for module, (names, code) in self.modules.items():
            began, ends = time.monotonic(), Counter[str]()
            step, start = max(1.0, len(names) / (self.sample or len(names))), random.Random(21).random()
            for name in [names[int(step * (start + i))] for i in range(round(len(names) / step))]:
                end = self.end(f"ml_pipeline.{module}.{name}", session.items)
                say(f"{name} {end}" + (f"\n{difference(code, name)}" if end == "survived" else ""))
                ends[end.partition(" ")[0]] += 1
            self.scores.append(1 - ends["survived"] / ends.total())
            took = f"of {len(names)} mutants {ends.total()} tried in {(time.monotonic() - began) / 60:.1f} minutes"
            say(f"{module}: {self.scores[-1]:.0%} noticed ({took}: {dict(ends)})")
        self.baseline(session.items)
        return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=["steps.split", "steps.prepare", "steps.compare"])
    parser.add_argument("--sample", type=int, default=0, help="how many mutants of each module are tried; 0: all")
    parser.add_argument("--threshold", type=float, default=0.8, help="the least share of a module's mutants to notice")
    arguments = parser.parse_args()
    hypothesis.settings.register_profile("mutation", database=None, deadline=None, derandomize=True)
    hypothesis.settings.load_profile("mutation")
    mutation = Mutation(arguments.modules, arguments.sample)
    with tempfile.TemporaryDirectory() as folder:
        code = pytest.main([*TESTS, "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/t"], plugins=[mutation])
    sys.exit(code or min(mutation.scores) < arguments.threshold)
