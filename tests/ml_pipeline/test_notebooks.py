"""The notebooks run here as they do on Databricks, one after the other."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.ml_pipeline.conftest import State

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))


def test_there_are_notebooks_in_the_format_of_databricks() -> None:
    assert [file.stem for file in NOTEBOOKS] == [
        "1_create_datasets",
        "2_explore",
        "3_train_from_branch",
        "4_try_scoring",
    ]
    for file in NOTEBOOKS:
        text = file.read_text(encoding="utf-8")
        assert text.startswith("# Databricks notebook source\n# MAGIC %md\n")
        assert text.count("# COMMAND ----------") >= 2


def test_the_notebooks_run_one_after_the_other(
    state: State, pipeline_file: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(pipeline_file)
    monkeypatch.setenv("ML_PIPELINE_FILE", str(pipeline_file()))
    monkeypatch.chdir(Path(__file__).parents[2])
    said = {}
    for file in NOTEBOOKS:
        runpy.run_path(str(file), run_name="__main__")
        said[file.stem] = capsys.readouterr().out
    assert "datasets split SUCCESS" in said["1_create_datasets"]
    assert "sepal length (cm)" in said["2_explore"]
    assert "training compare SUCCESS" in said["3_train_from_branch"]
    assert f"{state.newest().info.run_id} passed" in said["3_train_from_branch"]
    assert "prediction" in said["4_try_scoring"]
    assert state.versions("predictions") == {}
