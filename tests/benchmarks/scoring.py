"""How fast the scoring function is, against MLflow's, against scikit-learn in one process and against Arrow alone.

All score the same rows of one Parquet table with the same forest, into Spark's sink that keeps nothing, with a JVM that
compiles as on a cluster. Each has a process of its own in each round, so that none finds warm what another one warmed:
its first pass is cold, the median of the later ones is warm. Ahead of both, the JVM has read the rows. The medians of
the rounds count. Then how time and the driver's memory grow with the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from results import Results  # type: ignore[import-not-found]

from ml_pipeline.data import session
from ml_pipeline.data.features import Features
from ml_pipeline.model import evaluator, predictor, search
from ml_pipeline.model.estimators import Estimator
from ml_pipeline.model.metrics import Classes
from ml_pipeline.names import EVALUATOR
from ml_pipeline.registry import models, runs

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

FEATURES = ["a", "b", "c", "d"]
EXPERIMENT = "/Shared/benchmark"
GROWTH = (1, 2, 4, 8)
"""Millions of rows."""


def example(rows: int, *, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(random.normal(size=(rows, 4)), columns=FEATURES)


def trained(rows: int, depth: int | None) -> Any:
    """A forest of 50 trees behind imputer and scaler, as training makes it."""
    train = example(rows, seed=1)
    noise = np.random.default_rng(2).normal(scale=0.5, size=rows)
    target = (train["a"] * train["b"] + train["c"] + noise > 0).to_numpy().astype(int) + (train["d"] > 1).to_numpy()
    parameters = {"n_estimators": 50, "max_depth": depth}
    forest = Estimator.model_validate({"class": "sklearn.ensemble.RandomForestClassifier", "parameters": parameters})
    chosen = Features(dict.fromkeys(FEATURES, "double"))
    grid = search.grid(forest, chosen, metric="accuracy", folds=2, seed=0, n_jobs=1, classes=Classes.of(target))
    return grid.estimator.fit(train, target)


def table(rows: int, folder: Path) -> DataFrame:
    path = folder / f"{rows}.parquet"
    if not path.exists():
        random = ", ".join(f"randn({number}) AS {name}" for number, name in enumerate(FEATURES))
        made = session.spark().range(0, rows, 1, 2 * (os.cpu_count() or 1)).selectExpr("id", *random.split(", "))
        made.write.parquet(str(path))
    return session.spark().read.parquet(str(path))


def seconds(action: Callable[[], Any]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def sink(rows: DataFrame, column: Column) -> None:
    rows.withColumn("prediction", column).write.format("noop").mode("overwrite").save()


def identity(rows: DataFrame) -> Column:
    """An Arrow pass without a model: the same columns go, one column comes back."""
    from pyspark.sql.pandas.functions import pandas_udf

    def first(*columns: pd.Series) -> pd.Series:  # type: ignore[type-arg]
        return columns[0]

    return pandas_udf(first, "double")(*(rows[name] for name in FEATURES))  # type: ignore[call-overload, no-any-return]


def peak_megabytes(*, anew: bool = False) -> float:
    """The most memory that the driver's Python and its JVM held at once, each by itself, since it was counted anew."""
    from pyspark import SparkContext

    assert SparkContext._gateway is not None
    total = 0.0
    for process in (os.getpid(), SparkContext._gateway.proc.pid):
        folder = Path(f"/proc/{process}")
        if anew:
            (folder / "clear_refs").write_text("5")
        peak = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
        total += int(peak.split()[1]) / 1024
    return total


def contestants(data: DataFrame, folder: Path, uri: str) -> dict[str, Callable[[], Callable[[], Any]]]:
    """What scores the rows, by name: what is called once, cold, and gives what is called for each pass."""

    def ours() -> Callable[[], Any]:
        column = predictor.answers(data, {"m": predictor.load(uri)}, where="rows")["m"]["prediction"]
        return lambda: sink(data, column)

    def theirs() -> Callable[[], Any]:
        import mlflow.pyfunc

        function = mlflow.pyfunc.spark_udf(session.spark(), uri, result_type="long", env_manager="local")
        return lambda: sink(data, function(*FEATURES))

    def alone() -> Callable[[], Any]:
        model, _ = models.load_model(uri)
        local = pd.read_parquet(folder, columns=FEATURES)
        model.set_params(estimator__n_jobs=-1)
        return lambda: model.predict(local)

    return {
        "ours": ours,
        "spark_udf": theirs,
        "scikit-learn, all cores": alone,
        "Arrow without a model": lambda: lambda: sink(data, identity(data)),
    }


def measure(name: str, rows: int, passes: int, folder: Path, uri: str) -> dict[str, float]:
    """Seconds of a contestant's first pass and of its later ones, in this process."""
    data = table(rows, folder)
    for _ in range(2):
        seconds(lambda: data.write.format("noop").mode("overwrite").save())
    prepare = contestants(data, folder / f"{rows}.parquet", uri)[name]
    began = time.monotonic()
    step = prepare()
    prepared = time.monotonic() - began
    first = seconds(step)
    # scikit-learn in one process has no workers to start: reading the rows is no part of its passes.
    cold = first if name.startswith("scikit") else prepared + first
    seconds(step)
    return {"cold": cold, "warm": statistics.median(seconds(step) for _ in range(passes))}


def compare(rows: int, rounds: int, passes: int, folder: Path, uri: str) -> dict[tuple[str, str], float]:
    took: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        order = list(contestants(table(rows, folder), folder, uri))
        for name in order[number % len(order) :] + order[: number % len(order)]:
            command = [sys.executable, __file__, "--only", name, "--rows", str(rows), "--passes", str(passes)]
            done = subprocess.run(
                [*command, "--folder", str(folder), "--model", uri], check=True, stdout=subprocess.PIPE, text=True
            )
            for when, value in json.loads(done.stdout.splitlines()[-1]).items():
                took.setdefault((name, when), []).append(value)
                print(f"{name:>24}, {when} {value:>9.2f}  (load {os.getloadavg()[0]:.1f})", flush=True)
    medians = {which: statistics.median(times) for which, times in took.items()}
    print(f"{'':>30} {'seconds':>9} {'rows/s':>12} {'ours, cold':>12} {'ours, warm':>12}")
    for (name, when), median in medians.items():
        ratios = "".join(f"{median / medians['ours', mine]:>10.2f} x " for mine in ("cold", "warm"))
        print(f"{name:>24}, {when} {median:>9.2f} {rows / median:>12,.0f} {ratios}", flush=True)
    return medians


def grow(rounds: int, folder: Path, uri: str) -> float:
    """Print how time grows with the rows; returns rows per second of the most against the fewest."""
    counts, mine = [1_000_000 * factor for factor in GROWTH], predictor.load(uri)
    took: dict[int, list[float]] = {count: [] for count in counts}
    peaks: dict[int, float] = {}
    data = {count: table(count, folder) for count in counts}
    for _ in range(rounds):
        for count, rows in data.items():
            column = predictor.answers(rows, {"m": mine}, where="rows")["m"]["prediction"]
            peak_megabytes(anew=True)
            took[count].append(seconds(lambda rows=rows, column=column: sink(rows, column)))  # type: ignore[misc]
            peaks[count] = max(peaks.get(count, 0), peak_megabytes())
    one = statistics.median(took[counts[0]]) / counts[0]
    print(f"{'rows':>24} {'seconds':>9} {'rows/s':>12} {'per row':>9} {'driver':>9}")
    for count, times in took.items():
        median = statistics.median(times)
        growth = f"{median / count / one:>7.2f} x {peaks[count]:>6.0f} MB"
        print(f"{count:>24,} {median:>9.2f} {count / median:>12,.0f} {growth}")
    return one * counts[-1] / statistics.median(took[counts[-1]])


def logged(train_rows: int, depth: int | None) -> str:
    """Where MLflow has the forest, as training logs it."""
    model = trained(train_rows, depth)
    by, why = evaluator.choose(model, example(10_000, seed=3), train_rows=train_rows)
    signature = models.signature_of(dict.fromkeys(FEATURES, "double"), "long")
    run = runs.create_run(EXPERIMENT, name="forest", tags={EVALUATOR: by})
    with runs.resumed(run):
        models.log_model(model, signature=signature, example=example(5, seed=1), types={})
    nodes = sum(tree.tree_.node_count for tree in model[-1].estimators_)
    print(f"50 trees, {nodes:,} nodes, {len(FEATURES)} features; evaluator {by}: {why}", flush=True)
    return models.run_uri(run)


def main() -> None:
    """Print both tables, and judge the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each")
    parser.add_argument("--passes", type=int, default=3, help="warm passes of each process")
    parser.add_argument("--train-rows", type=int, default=20_000, help="rows that the forest learns from")
    parser.add_argument("--depth", type=int, default=8, help="depth of its trees; 0: as deep as they grow")
    parser.add_argument("--no-growth", action="store_true", help="leave the second table out")
    for internal in ("--only", "--folder", "--model"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault(session.JAVA_OPTIONS, "")
    if arguments.only:
        folder = Path(arguments.folder)
        os.environ["ML_PIPELINE_STATE"] = str(folder)
        print(json.dumps(measure(arguments.only, arguments.rows, arguments.passes, folder, arguments.model)))
        session.close()
        return
    results = Results("scoring")
    with tempfile.TemporaryDirectory() as name:
        os.environ["ML_PIPELINE_STATE"] = name
        uri = logged(arguments.train_rows, arguments.depth or None)
        medians = compare(arguments.rows, arguments.rounds, arguments.passes, Path(name), uri)
        for when in ("warm", "cold"):
            results.add(
                f"spark_udf against ours, {when}", medians["spark_udf", when] / medians["ours", when], at_least=4
            )
        arrow = medians["Arrow without a model", "warm"] / medians["ours", "warm"]
        results.add("share of an Arrow pass without a model", arrow, at_least=0.85)
        if not arguments.no_growth:
            results.add("rows per second, 8 M rows against 1 M", grow(arguments.rounds, Path(name), uri), at_least=0.9)
        session.close()
    sys.exit(results.finish())


if __name__ == "__main__":
    main()
