"""How long synthesis of every stack takes, against the same program with the provider's whole package imported.

The check of estimators and metrics, which runs meanwhile in a process of its own, is left out.

Both run in turn, in processes of their own; what counts is the ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from results import Results  # type: ignore[import-not-found]

OURS = "from infra import synthesis; synthesis.synthesize()"
WHOLE = f"import cdktf_cdktf_provider_databricks; {OURS}"


def seconds(program: str) -> float:
    """Wall time of a synthesis, into a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "CDKTF_OUTDIR": folder},
        )
        took = time.monotonic() - began
    if done.returncode:
        sys.exit(f"synthesis failed:\n{done.stdout}{done.stderr}")
    return took


def main() -> None:
    """Print the pairs, and judge their median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="how often each of the two runs")
    arguments = parser.parse_args()
    results = Results("synth")
    seconds(WHOLE)  # Compiles what is imported, and warms the disk's cache for both.
    ratios = []
    print(f"{'whole package':>14} {'ours':>14} {'ratio':>8}")
    for _ in range(arguments.pairs):
        whole, ours = seconds(WHOLE), seconds(OURS)
        ratios.append(ours / whole)
        print(f"{whole:12.1f} s {ours:12.1f} s {ratios[-1]:8.2f}", flush=True)
    results.add("synthesis against loading the whole package", statistics.median(ratios), at_most=0.2)
    sys.exit(results.finish())


if __name__ == "__main__":
    main()
