"""Runs in an Airflow environment: ``dag.test()`` of the only DAG of a folder, with the time that it is for.

A third argument takes the place of the token by which the workspace knows a request that it has had before.
"""

import sys
from datetime import datetime
from pathlib import Path

from airflow.models.dagbag import DagBag


def main(folder: Path, logical_date: str, *token: str) -> str:
    (dag,) = DagBag(str(folder), include_examples=False).dags.values()
    (task,) = dag.tasks
    if token:
        task.json["idempotency_token"] = token[0]
    when = datetime.fromisoformat(logical_date) if logical_date else None
    return str(dag.test(logical_date=when).state)


if __name__ == "__main__":
    print(f"the DAG is {main(Path(sys.argv[1]), *sys.argv[2:])}")
