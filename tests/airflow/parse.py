"""Runs in an Airflow environment: parses a folder of DAGs as Airflow's DAG processor does, and says what it found."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def no_network(event: str, _: object) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise AssertionError(f"parsing asks the network: {event}")


sys.addaudithook(no_network)

from airflow.models.dagbag import DagBag  # noqa: E402 (nothing of it may ask the network either)
from airflow.utils.file import iter_airflow_imports  # noqa: E402
from airflow.version import version  # noqa: E402

FOREIGN = ("cdktf", "infra", "jsii", "ml_pipeline", "mlflow", "pyspark", "sklearn")


def main(folder: Path) -> dict[str, Any]:
    # The processor imports what a file wants of Airflow itself once, and parses the file in forks.
    for file in folder.glob("*.py"):
        for module in iter_airflow_imports(str(file)):
            importlib.import_module(module)
    bag = DagBag(str(folder), include_examples=False)
    return {
        "airflow": version,
        "errors": bag.import_errors,
        "seconds": sum(stat.duration.total_seconds() for stat in bag.dagbag_stats),
        "foreign": [name for name in FOREIGN if name in sys.modules],
        "dags": {dag_id: described(dag) for dag_id, dag in bag.dags.items()},
    }


def described(dag: Any) -> dict[str, Any]:
    (task,) = dag.tasks
    timetable = dag.timetable
    cron = timetable.summary if timetable.can_be_scheduled else None
    return {
        "schedule": [type(timetable).__name__, cron, str(timetable._timezone)] if cron else None,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "paused": dag.is_paused_upon_creation,
        "operator": [kind.__name__ for kind in type(task).__mro__][:2],
        "job": task.json["job_name"],
        "parameters": task.json["job_parameters"],
        "connection": task.databricks_conn_id,
        "retries": task.retries,
        "timeout_seconds": sys.modules[type(task).__module__].LIMIT.total_seconds(),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
