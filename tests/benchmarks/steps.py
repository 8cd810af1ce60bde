"""How long data preparation, scoring and monitoring take, against a bare Spark read and write of the same rows.

Bare is reading the source and writing it as one Delta table, in the same session and in turn with the steps. Each pass
runs the declared jobs in a schema of its own, so that no step finds its tables written; the first pass warms up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from results import Results  # type: ignore[import-not-found]

from ml_pipeline import jobs
from ml_pipeline.data import session
from ml_pipeline.local import runner
from ml_pipeline.settings import files

STEPS = ("split", "prepare", "score", "monitor")
PIPELINE = """
target = "target"
key = ["id"]
metric = "accuracy"
threshold = 0.0
seed = 1
reason = "ci"
max_training_rows = 20_000

[source]
parquet = "{source}"

[estimator]
class = "sklearn.ensemble.RandomForestClassifier"

[estimator.parameters]
n_estimators = 50
max_depth = 8
random_state = 1

[monitoring]
"""


def write_source(rows: int, source: Path) -> None:
    """Four features, a key and a target of three classes."""
    features = [f"randn({number}) AS {name}" for number, name in enumerate("abcd")]
    made = session.spark().range(0, rows, 1, 2 * (os.cpu_count() or 1)).selectExpr("id", *features)
    target = "CAST(a * b + c + 0.5 * randn(9) > 0 AS INT) + CAST(d > 1 AS INT) AS target"
    made.selectExpr("*", target).write.parquet(str(source))


def bare(source: Path, table: Path) -> float:
    """Seconds of reading the source and writing it as a Delta table."""
    began = time.monotonic()
    session.spark().read.parquet(str(source)).write.format("delta").save(str(table))
    return time.monotonic() - began


def flow(pipeline: Path) -> dict[str, float]:
    """Seconds of each step, in one pass of all jobs."""
    declared = jobs.declare(files.load(pipeline))
    runs = runner.run(declared, parameters={}, defaults={}, follow=lambda *_: None)
    for run in runs:
        if run.error:
            raise run.error
    return {run.task: run.seconds for run in runs if run.task in STEPS}


def main() -> None:
    """Print seconds, and judge the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--passes", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.setdefault(session.JAVA_OPTIONS, "")
    results = Results("steps")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ML_PIPELINE_STATE"] = name
        source, took = folder / "source.parquet", dict[str, list[float]]()
        write_source(arguments.rows, source)
        for number in range(arguments.passes + 1):
            pipeline = folder / f"pass{number}.toml"
            pipeline.write_text(PIPELINE.format(source=source), encoding="utf-8")
            measured = {"read and write": bare(source, folder / f"bare{number}"), **flow(pipeline)}
            print("  ".join(f"{what} {seconds:.1f} s" for what, seconds in measured.items()), flush=True)
            if number:
                for what, seconds in measured.items():
                    took.setdefault(what, []).append(seconds)
        session.close()
    medians = {what: statistics.median(seconds) for what, seconds in took.items()}
    print(f"{f'{arguments.rows:,} rows':>16} {'seconds':>9} {'rows/s':>12} {'ratio':>8}")
    for what, median in medians.items():
        ratio = median / medians["read and write"]
        print(f"{what:>16} {median:>9.2f} {arguments.rows / median:>12,.0f} {ratio:>6.2f} x")
        if what in STEPS:
            results.add(f"{what} against a bare read and write", ratio, at_most=1.5)
    sys.exit(results.finish())


if __name__ == "__main__":
    main()
