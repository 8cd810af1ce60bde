"""Kills batch inference again and again, and starts it twice at once; each row must have exactly one prediction.

``make soak`` runs it in full, the tests a few rounds of it. Each round scores a batch of its own in processes of their
own, from the command line that Databricks calls.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

FEATURES = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
MODEL = "local.iris.model"


@dataclass(frozen=True)
class Bench:
    """A state folder with a champion, and a source of rows with an id."""

    state: Path
    source: Path
    rows: int

    @classmethod
    def make(cls, folder: Path, *, state: Path | None, rows: int) -> Bench:
        """Run the flow on Iris if no state folder is given, and write the source."""
        source = folder / "rows.parquet"
        if state is None:
            state = folder / "state"
            program = str(Path(sys.executable).with_name("ml-pipeline"))
            subprocess.run([program, "run", "iris", "--state", str(state)], check=True, capture_output=True, cwd=folder)
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({name: rng.uniform(0.1, 8, rows) for name in FEATURES}).assign(id=np.arange(rows))
        frame.to_parquet(source)
        return cls(state, source, rows)

    def start(self, day: str) -> subprocess.Popen[str]:
        """Score a batch in a process group of its own."""
        parameters = {
            "entry-point": "ml_pipeline.steps.score:score",
            "source": f'{{"parquet": "{self.source}"}}',
            "model": MODEL,
            "mode": "champion",
            "probabilities": "false",
            "checks": '{"columns": {"id": {"required": true, "minimum": 0}}}',
            "predictions_table": "local.iris.predictions",
            "quarantine_table": "local.iris.quarantine",
            "shadow_table": "local.iris.shadow_predictions",
            "batch_date": day,
            "job_run_id": day,
        }
        program = str(Path(sys.executable).with_name("run-task"))
        return subprocess.Popen(
            [program, *(f"--{name}={value}" for name, value in parameters.items())],
            env={**_environment(), "ML_PIPELINE_STATE": str(self.state)},
            cwd=self.state,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def problem(self, day: str) -> str | None:
        """What is wrong with a batch; ``None`` where each row of the source has exactly one prediction."""
        os.environ["ML_PIPELINE_STATE"] = str(self.state)
        from ml_pipeline.data import tables

        batch = tables.read("local.iris.predictions").where(f"batch_date = DATE'{day}'")
        ids = [row["id"] for row in batch.select("id").collect()]
        if sorted(ids) != list(range(self.rows)):
            return f"batch {day}: {len(ids):,} predictions of {len(set(ids)):,} rows; the source has {self.rows:,}"
        return None


def _environment() -> dict[str, str]:
    """The variables that say nothing of another state."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ML_PIPELINE", "MLFLOW"))}


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code of a process, and what it said."""
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def days() -> Iterator[str]:
    """Days, each once."""
    yield from (day.date().isoformat() for day in pd.date_range("2026-01-01", periods=5000))


def killed(bench: Bench, day: str, *, after: float) -> str | None:
    """Kill a run after some seconds, run it again, and say what is wrong then."""
    first = bench.start(day)
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.wait(after)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    code, said = finished(bench.start(day))
    return bench.problem(day) if code == 0 else f"batch {day}, killed after {after:.1f} s, can't be run again: {said}"


def together(bench: Bench, day: str) -> str | None:
    """Start a batch twice at the same time; one at least must write it, and the other write it anew or say why not."""
    runs = [bench.start(day) for _ in range(2)]
    ended = [finished(run) for run in runs]
    refused = [said for code, said in ended if code]
    if len(refused) == 2 or not all("another run" in said for said in refused):
        return f"batch {day}: {refused}"
    return bench.problem(day)


def main() -> int:
    """Print each round, and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many runs are killed")
    parser.add_argument("--pairs", type=int, default=20, help="how many batches are started twice")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--state", type=Path, help=f"state folder with a champion of {MODEL}; default: a new one")
    arguments = parser.parse_args()
    day, problems = days(), []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.make(Path(folder), state=arguments.state, rows=arguments.rows)
        began = time.monotonic()
        code, said = finished(bench.start(next(day)))
        assert code == 0, said
        whole = time.monotonic() - began
        for number in range(arguments.kills):
            after = random.uniform(0, whole)
            problems.append(killed(bench, next(day), after=after))
            print(f"killed {number + 1} of {arguments.kills}, after {after:4.1f} of {whole:.1f} s: ", end="")
            print(problems[-1] or "each row once", flush=True)
        for number in range(arguments.pairs):
            problems.append(together(bench, next(day)))
            print(f"pair {number + 1} of {arguments.pairs}: {problems[-1] or 'each row once'}", flush=True)
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
