"""The DAG in both of Airflow's versions: it parses fast, without network, connection or workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.airflow.conftest import HERE, INSTALLED, VERSIONS, Deliver, airflow, said


@pytest.fixture(params=INSTALLED)
def major(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def parsed(major: str, folder: Path, tmp_path: Path) -> Any:
    found = said(airflow(major, tmp_path, HERE / "parse.py", folder))
    assert found["airflow"] == VERSIONS[major]
    return found


def test_the_dag_of_production_parses_fast_and_says_what_the_file_says(
    major: str, deliver: Deliver, tmp_path: Path
) -> None:
    times = '[pipelines.iris.schedule]\ncron = "0 30 5 ? * MON-FRI"\ntime_zone = "Europe/Berlin"\n'
    zone = {"[catalog]": f"{times}\n[catalog]"}
    found = parsed(major, deliver("prod", zone), tmp_path)
    assert found["errors"] == {}
    assert found["seconds"] < 1
    assert found["foreign"] == []
    assert found["dags"] == {
        "ml-pipeline-prod-batch_inference": {
            "schedule": ["CronTriggerTimetable", "30 5 * * 1,2,3,4,5", "Europe/Berlin"],
            "catchup": False,
            "max_active_runs": 1,
            "paused": False,
            "operator": ["RunDeployedJob", "DatabricksRunNowOperator"],
            "job": "ml-pipeline-prod-batch_inference",
            "parameters": {"batch_date": "{{ ds if ds is defined else dag_run.run_after | ds }}"},
            "connection": "databricks_default",
            "retries": 1,
            "timeout_seconds": 5 * 3600,
        }
    }


def test_what_is_paused_runs_when_somebody_asks(major: str, deliver: Deliver, tmp_path: Path) -> None:
    found = parsed(major, deliver("dev"), tmp_path)
    (dag,) = found["dags"].values()
    assert (found["errors"], dag["schedule"], dag["paused"]) == ({}, None, False)


def test_without_its_settings_it_is_an_import_error_that_names_the_file(
    major: str, deliver: Deliver, tmp_path: Path
) -> None:
    folder = deliver()
    (settings,) = folder.glob("*.json")
    settings.unlink()
    (error,) = parsed(major, folder, tmp_path)["errors"].values()
    assert settings.name in error
