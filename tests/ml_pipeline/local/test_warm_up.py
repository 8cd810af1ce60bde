from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_pipeline.local import warm_up
from tests import commands

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.ml_pipeline.conftest import State


def test_a_small_source_has_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "SMALL", 10)
    (tmp_path / "folder").mkdir()
    for name, size in {"small.csv": 10, "large.csv": 11, "folder/a": 6, "folder/b": 5}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    assert warm_up.is_small({"sklearn": "iris"})
    assert warm_up.is_small({"csv": str(tmp_path / "small.csv"), "separator": ","})
    assert not warm_up.is_small({"csv": str(tmp_path / "large.csv")})
    assert not warm_up.is_small({"parquet": str(tmp_path / "folder")})
    assert not warm_up.is_small({"parquet": "s3://elsewhere/rows"})
    assert not warm_up.is_small({"table": "main.sales.orders"})


@pytest.mark.parametrize("small", [True, False])
def test_queries_on_a_small_source_alone_are_interpreted(
    state: State, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    if not small:
        monkeypatch.setattr(warm_up, "SMALL", 1)
    names = ("spark.sql.codegen.wholeStage", "spark.sql.codegen.factoryMode")
    before = {name: str(spark.conf.get(name)) for name in names}
    for name in names:
        spark.conf.unset(name)
    compiled = [spark.conf.get(name) for name in names]
    source = state.csv("a,b,target\n" + "1,2,x\n3,4,y\n" * 20)
    state.run("datasets", source=source, test_share=0.4)
    deadline = time.monotonic() + 5
    while small and spark.conf.get(names[1]) == compiled[1] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [spark.conf.get(name) for name in names] == (["false", "NO_CODEGEN"] if small else compiled)
    for name in names:
        spark.conf.set(name, before[name])


OWN = """
from sklearn.tree import DecisionTreeClassifier


class Tree(DecisionTreeClassifier):
    pass
"""


@pytest.mark.slow
def test_a_class_beside_the_pipelines_file_is_found_by_every_process(
    tmp_path: Path, pipeline_writer: Callable[..., Path]
) -> None:
    """The command, the two processes of the search and Spark's workers, none of which starts in that folder."""
    folder, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "own_models.py").write_text(OWN)
    estimator = {"class": "own_models.Tree", "grid": {"max_depth": [2, 3]}}
    file = pipeline_writer(folder, estimator=estimator, n_jobs=2)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ml-pipeline")), "run", str(file), "--state", "state"],
        capture_output=True,
        text=True,
        check=False,
        cwd=elsewhere,
        env=commands.environment(),
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS  batch_inference.score" in done.stdout
