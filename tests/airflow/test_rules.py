"""The decisions of the DAG about an attempt: whether it starts, and whether it gets the run of an earlier one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.airflow.conftest import HERE, INSTALLED, Deliver, airflow, said


@pytest.mark.parametrize("major", INSTALLED)
def test_an_attempt_starts_in_time_and_only_once(major: str, deliver: Deliver, tmp_path: Path) -> None:
    assert said(airflow(major, tmp_path, HERE / "rules.py", deliver())) == {
        "late": "AirflowSkipException",
        "late by less than an hour": "started",
        "late on the same day": "started",
        "late on the same day elsewhere": "AirflowSkipException",
        "late retry": "AirflowFailException",
        "started by a person": "started",
        "cleared by a person": "started",
        "token": 36,
        "token of a retry": True,
        "token after clearing": False,
        "token of another DAG run": False,
    }
