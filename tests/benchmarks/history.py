"""How long comparison and monitoring take with a long history, against a short one.

Both start from the same flow. Past runs are copies of the one that it made, in MLflow's database; past batches are
commits of their own, as batch inference makes them. Each history has a process of its own; the medians count.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from ml_pipeline import entry_point, jobs
from ml_pipeline.data import session, tables
from ml_pipeline.settings import files

SHORT = {"runs": 10, "batches": 10}
DAY = datetime.date(2026, 1, 1)
# What a run has in MLflow's database, beside itself.
PARTS = ("tags", "params", "metrics", "latest_metrics")
STEPS = {"training": "compare", "batch_inference": "monitor"}


def add_runs(database: Path, count: int) -> None:
    """Copy the training run; the copies share its artifacts."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        (origin,) = connection.execute(
            "SELECT run_uuid FROM runs WHERE run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = 'job')"
        ).fetchone()
        columns = {
            table: [column[1] for column in connection.execute(f"PRAGMA table_info({table})")]
            for table in ("runs", *PARTS)
        }
        for _ in range(count):
            copy = uuid.uuid4().hex
            for table, names in columns.items():
                chosen = ", ".join("?" if name == "run_uuid" else f'"{name}"' for name in names)
                # What a job run left is found by its id, which only one run has.
                where = " AND key <> 'job_run_id'" if table == "tags" else ""
                connection.execute(
                    f"INSERT INTO {table} SELECT {chosen} FROM {table} WHERE run_uuid = ?{where}",
                    (copy, origin),
                )


def add_batches(schema: str, count: int) -> None:
    """Repeat the batch that is there, and what was found of it, for days before it.

    Each gets a commit of its own, written as Delta's protocol has it: Spark takes an hour to make so many.
    """
    spark = session.spark()
    for name in (f"{schema}.predictions", f"{schema}.monitoring"):
        table = Path(tables.where(name))
        log = table / "_delta_log"
        commits = sorted(log.glob("*.json"))
        actions = [json.loads(line) for commit in commits for line in commit.read_text(encoding="utf-8").splitlines()]
        origin = next(
            a["add"] for a in actions if DAY.isoformat() in a.get("add", {}).get("partitionValues", {}).values()
        )
        # With column mapping its name in the table's files is another.
        (column,) = origin["partitionValues"]
        there = len(list(table.glob(f"{column}=*")))
        for number in range(there, count + 1):
            day = (DAY - datetime.timedelta(days=number)).isoformat()
            file = table / f"{column}={day}" / Path(origin["path"]).name
            file.parent.mkdir()
            shutil.copy(table / origin["path"], file)
            copied = origin | {"path": str(file.relative_to(table)), "partitionValues": {column: day}}
            content = [{"commitInfo": {"operation": "WRITE"}}, {"txn": {"appId": f"{name} {day}", "version": 0}}]
            version = len(commits) + number - there
            text = "\n".join(map(json.dumps, [*content, {"add": copied}]))
            (log / f"{version:020}.json").write_text(text, encoding="utf-8")
        jvm: Any = spark.sparkContext._jvm
        jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, str(table)).checkpoint()
        assert tables.read(name).select("batch_date").distinct().count() == count + 1


def measure(environment: Path, passes: int) -> dict[str, float]:
    """Median seconds of each step, after one that warms it up."""
    declared = {job.name: job for job in jobs.declare(files.load(files.find_pipeline("iris"), environment))}
    took = {}
    for job_name, step in STEPS.items():
        job = declared[job_name]
        task = next(task for task in job.tasks if task.name == step)
        given = {"batch_date": DAY.isoformat()} if job_name == "batch_inference" else {}
        run_id = Path(os.environ["ML_PIPELINE_STATE"], "job_run").read_text(encoding="utf-8")
        # Of another job, it is another run: the training run is found by its own.
        run_id = run_id if job_name == "training" else f"{run_id}0"
        call = entry_point.parse(task.arguments(job.values_of_run(run_id=run_id, start_date="", parameters=given)))
        times = []
        for _ in range(passes + 1):
            began = time.monotonic()
            call()
            times.append(time.monotonic() - began)
        took[step] = statistics.median(times[1:])
    return took


def flow(environment: Path, state: Path) -> None:
    """Run the flow, and keep the id of its job run."""
    program = str(Path(sys.executable).with_name("ml-pipeline"))
    command = [program, "run", "--environment", str(environment), "--state", str(state)]
    subprocess.run([*command, "--parameter", f"batch_date={DAY}"], check=True, stdout=subprocess.DEVNULL)
    with contextlib.closing(sqlite3.connect(state / "mlflow.db")) as connection:
        (run_id,) = connection.execute(
            "SELECT value FROM tags WHERE key = 'job_run_id' AND run_uuid NOT IN "
            "(SELECT run_uuid FROM tags WHERE key = 'job')"
        ).fetchone()
    (state / "job_run").write_text(run_id, encoding="utf-8")


def child(state: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env={**os.environ, "ML_PIPELINE_STATE": str(state)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--passes", type=int, default=5)
    for internal in ("--grow", "--measure"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grow:
        add_runs(Path(os.environ["ML_PIPELINE_STATE"], "mlflow.db"), arguments.runs)
        add_batches(files.load(files.find_pipeline("iris"), Path(arguments.grow)).schema_name, arguments.batches)
        print("{}")
        session.close()
        return
    if arguments.measure:
        print(json.dumps(measure(Path(arguments.measure), arguments.passes)))
        session.close()
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = folder / "history.toml"
        text = Path("environments/local.toml").read_text(encoding="utf-8")
        environment.write_text(text.replace("monitoring = false", ""), encoding="utf-8")
        state = folder / "state"
        flow(environment, state)
        took = {}
        for what, size in (("short", SHORT), ("long", {"runs": arguments.runs, "batches": arguments.batches})):
            child(state, "--grow", str(environment), "--runs", str(size["runs"]), "--batches", str(size["batches"]))
            took[what] = child(state, "--measure", str(environment), "--passes", str(arguments.passes))
        shutil.rmtree(state)
        print(f"{'':>10} {'10, 10':>10} {f'{arguments.runs:,}, {arguments.batches:,}':>14} {'ratio':>8}")
        for step in STEPS.values():
            short, long = took["short"][step], took["long"][step]
            print(f"{step:>10} {short:>8.2f} s {long:>12.2f} s {long / short:>6.2f} x")


if __name__ == "__main__":
    main()
