from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from ml_pipeline.settings import files
from tests import commands

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

ODD = 'size (cm) "x".ö'


def frame(rows: int = 90, **changes: Any) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "customer_id": [f"{i:04}" for i in range(rows)],
        ODD: [i % 20 + 0.5 for i in range(rows)],
        "city": ["ab"[i % 2] for i in range(rows)],
        "comment": [f"text {i}" for i in range(rows)],
        "empty": [None] * rows,
        "same": [1] * rows,
        "kind": ["yes" if i % 20 > 9 else "no" for i in range(rows)],
    }
    return pd.DataFrame({**columns, **changes})


@pytest.fixture
def project(tmp_path: Path, spark: SparkSession) -> Path:
    (tmp_path / "data").mkdir()
    assert spark.version
    return tmp_path


def init(project: Path, *arguments: str, target: str = "kind") -> subprocess.CompletedProcess[str]:
    return commands.call("init", "churn", *arguments, "--target", target, "--state", "state", cwd=project)


def test_a_pipeline_from_a_csv_file_runs_at_once(project: Path) -> None:
    options: dict[str, Any] = {"sep": ";", "encoding": "latin-1", "decimal": ",", "na_rep": "none", "quotechar": "'"}
    frame().to_csv(project / "data" / "rows.csv", index=False, **options)
    given = {"separator": ";", "encoding": "ISO-8859-1", "decimal": ",", "null-value": "none", "quote": "'"}
    arguments = [text for name, value in given.items() for text in (f"--{name}", value)]
    done = init(project, "--csv", "data/rows.csv", *arguments)
    assert done.returncode == 0, done.stderr
    assert "wrote churn.toml; next: ml-pipeline run churn.toml" in done.stdout
    written = files.load(project / "churn.toml")
    assert (written.key, written.features, written.metric) == (["customer_id"], [ODD, "city"], "accuracy")
    types = {name: one.type for name, one in written.source.columns.items()}
    assert types == {"city": "string", "kind": "string", ODD: "double"}
    text = (project / "churn.toml").read_text()
    assert '# Left out: "comment" (almost each row has a text of its own).' in text
    assert '# Left out: "same" (constant).' in text
    assert '# Left out: "empty" (no value).' in text
    assert f"{project}" not in text
    done = commands.call("run", "churn.toml", "--state", "state", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "target", "key"),
    [("parquet", "flag", ["customer_id"]), ("table", "number", [])],
)
def test_other_sources_and_targets(project: Path, spark: SparkSession, kind: str, target: str, key: list[str]) -> None:
    rows = frame().drop(columns=["empty"] if key else ["empty", "customer_id", "comment"])
    rows[target] = [i % 10 == 0 for i in range(90)] if target == "flag" else [i % 3 for i in range(90)]
    path = project / "data" / "rows"
    spark.createDataFrame(rows).write.format("delta" if kind == "table" else kind).option(
        "delta.columnMapping.mode", "name"
    ).save(str(path))
    done = init(project, f"--{kind}", "./data/rows", "--output", "made/other.toml", target=target)
    assert done.returncode == 0, done.stderr
    written = files.load(project / "made" / "other.toml")
    assert Path(getattr(written.source, kind)).resolve() == path
    assert written.key == key
    assert written.metric == ("balanced_accuracy" if target == "flag" else "accuracy")
    assert not written.source.columns


@pytest.mark.parametrize(
    ("arguments", "target", "message"),
    [
        ([], "kind", "0 sources are named; expected exactly one of --csv, --parquet, --table"),
        (["--csv", "absent.csv"], "kind", "absent.csv: no such file or folder"),
        (["--csv", "data/rows.csv"], "absent", "has no column 'absent'; accepted: customer_id, size"),
        (["--csv", "data/rows.csv"], ODD, "is a quantity: 20 different values of type double"),
        (["--csv", "data/rows.csv"], "same", "is constant"),
        (["--csv", "data/rows.csv"], "mixed", "column 'mixed' has 89 numbers in"),
        (["--csv", "data/rows.csv", "--output", "there.toml"], "kind", "there.toml: already exists"),
        (["--csv", "data/rows.csv", "--output", "9.toml"], "kind", "a pipeline can't be called '9'"),
        (["--csv", "data/rows.csv", "--encoding", "cp1252"], "kind", "encoding"),
        (["--csv", "data/added.csv"], "kind", "column 'model_version' has the name of one that scoring adds"),
        (["--csv", "data/rows.csv"], "rare", "class 'once' of column 'rare' has 1 rows; training gets"),
    ],
)
def test_a_mistake_ends_in_one_line(project: Path, arguments: list[str], target: str, message: str) -> None:
    frame(mixed=[*range(89), "n/a"] if target == "mixed" else 1).to_csv(project / "data" / "rows.csv", index=False)
    if target == "rare":
        frame(rare=["often"] * 89 + ["once"]).to_csv(project / "data" / "rows.csv", index=False)
    frame(model_version=1).to_csv(project / "data" / "added.csv", index=False)
    (project / "there.toml").write_text("kept")
    done = init(project, *arguments, target=target)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (project / "there.toml").read_text() == "kept"
    assert not (project / "churn.toml").exists()


def test_whole_numbers_of_today_may_have_fractions_tomorrow(project: Path) -> None:
    rows = frame(kind=[i % 2 for i in range(90)]).drop(columns=["empty", "comment"]).rename(columns={ODD: "count"})
    rows.assign(count=pd.Series(range(90))).to_csv(project / "data" / "rows.csv", index=False)
    assert init(project, "--csv", "data/rows.csv").returncode == 0
    text = (project / "churn.toml").read_text()
    assert '# "count" = "long"' in text
    assert files.load(project / "churn.toml").source.columns.keys() == {"city"}


def test_the_folds_are_as_many_as_training_can_fill(project: Path) -> None:
    rows = frame(200, kind=["rare" if i % 25 == 0 else "often" for i in range(200)])
    rows.drop(columns=["comment"]).to_csv(project / "data" / "rows.csv", index=False)
    assert init(project, "--csv", "data/rows.csv").returncode == 0
    assert 2 <= files.load(project / "churn.toml").folds <= 5
    done = commands.call("run", "churn.toml", "--state", "state", cwd=project)
    assert "folds" not in done.stderr
    assert done.returncode in (0, 1), done.stderr


def test_the_file_names_its_schema_if_the_project_has_one(project: Path) -> None:
    (project / "docs" / "schemas").mkdir(parents=True)
    (project / "docs" / "schemas" / "pipeline.schema.json").touch()
    frame().to_csv(project / "data" / "rows.csv", index=False)
    done = init(project, "--csv", "data/rows.csv", "--output", "made/churn.toml")
    assert done.returncode == 0, done.stderr
    text = (project / "made" / "churn.toml").read_text(encoding="utf-8")
    assert text.startswith("#:schema ../docs/schemas/pipeline.schema.json\n")
