"""How long the whole flow on Iris takes, against the least that any program on Spark and Delta takes.

The least is a program that opens the same Spark session, writes one Delta table and reads it. Both run in turn, in
processes of their own, each time from nothing; what counts is the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ml_pipeline.data import session


def bare(state: Path) -> None:
    """Open a session, write one Delta table and read it."""
    spark = session.create(state)
    rows = spark.range(150).selectExpr("id", "rand(1) AS a", "rand(2) AS b", "rand(3) AS c", "rand(4) AS d")
    rows.write.format("delta").save(str(state / "table"))
    assert len(spark.read.format("delta").load(str(state / "table")).collect()) == 150
    spark.stop()


def seconds(command: list[str], environment: Path) -> float:
    """Wall time of a command, which is given a fresh folder as its last argument."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        done = subprocess.run([*command, folder], capture_output=True, text=True, check=False, cwd=environment.parent)
        took = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return took


def main() -> None:
    """Print the pairs, and judge their median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="how often each of the two runs")
    parser.add_argument("--environment", type=Path, default=Path("environments/local.toml"))
    parser.add_argument("--bare", type=Path, metavar="STATE", help="run only the bare session, in this folder")
    arguments = parser.parse_args()
    if arguments.bare:
        bare(arguments.bare)
        return
    from results import Results  # type: ignore[import-not-found]

    results = Results("flow")
    environment = arguments.environment.resolve()
    bare_session = [sys.executable, "-P", str(Path(__file__).resolve()), "--bare"]
    program = str(Path(sys.executable).with_name("ml-pipeline"))
    flow = [program, "run", "--environment", str(environment), "--state"]
    seconds(bare_session, environment)  # The first session fetches Delta's jars, and warms the disk's cache for both.
    seconds(flow, environment)
    ratios = []
    print(f"{'bare session':>14} {'whole flow':>14} {'ratio':>8}")
    for _ in range(arguments.pairs):
        least, ours = seconds(bare_session, environment), seconds(flow, environment)
        ratios.append(ours / least)
        print(f"{least:12.1f} s {ours:12.1f} s {ratios[-1]:8.2f}", flush=True)
    results.add("the flow on Iris against a bare session", statistics.median(ratios), at_most=1.3)
    sys.exit(results.finish())


if __name__ == "__main__":
    main()
