"""``ml-pipeline check`` reports all problems in one run, before Spark starts; other commands report the same."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml_pipeline.local import warm_up
from tests import commands
from tests.commands import call

WritePipeline = Callable[..., Path]

ROWS = "id,plan,months,left\n" + "".join(f"{i},{'ab'[i % 2]},{i},{'yn'[i % 2]}\n" for i in range(4))
SETTINGS: dict[str, Any] = {"source": {"csv": "rows.csv"}, "target": "left", "key": ["id"]}
DEPLOYED = """
[workspace]
host = "http://127.0.0.1:9"
auth = "environment"
[compute]
spark_version = "17.3.x-cpu-ml-scala2.13"
node_type_id = "m6id.xlarge"
[catalog]
name = "dev"
[state]
backend = "local"
"""


@pytest.fixture(autouse=True)
def _without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run`` starts Spark while it checks; the session of this process belongs to other tests."""
    monkeypatch.setattr(warm_up, "start_spark", lambda **_: None)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def problems(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of a command that a person's mistake ended."""
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


def test_a_good_file_gets_one_line(project: Path, pipeline_file: WritePipeline) -> None:
    pipeline_file(**SETTINGS, checks={"columns": {"plan": {"required": True}}, "unique": ["id"]})
    done = call("check", "test.toml", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "test.toml: no problem found\n", "")
    assert sorted(path.name for path in project.iterdir()) == ["rows.csv", "test.toml"]


def test_every_command_reports_the_same_problems_in_one_run(project: Path, pipeline_file: WritePipeline) -> None:
    pipeline_file(
        source={"csv": "rows.csv"},
        target="gone",
        key=["id", "number"],
        metric="acuracy",
        estimator={"class": "sklearn.tree.DecisionTreeClassifier", "parameters": {"depth": 3}},
        checks={"columns": {"plam": {"required": True}}},
    )
    found = problems(call("check", "test.toml", cwd=project))
    starts = ["target: source csv ", "key: source csv ", "estimator.parameters.depth: ", "metric: ", "checks.columns."]
    assert len(found) == len(starts)
    for line, start in zip(found, starts, strict=True):
        assert line.startswith(f"test.toml: {start}")
    assert found[0].endswith("has no column 'gone'; accepted: id, plan, months, left")
    for command in ("run", "jobs"):
        assert problems(call(command, "test.toml", cwd=project)) == found


def test_an_environment_is_checked_with_the_pipeline(project: Path, pipeline_file: WritePipeline) -> None:
    pipeline_file(source={"table": "main.sales.rows"}, folds=1)
    text = DEPLOYED.replace('"environment"', '"token"').replace("m6id.xlarge", "") + "[pipelines.test]\nseed = -1\n"
    (project / "environments").mkdir()
    (project / "environments" / "dev.toml").write_text(text)
    found = problems(call("check", "test.toml", "--environment", "dev", cwd=project))
    file = "environments/dev.toml"
    starts = [f"{file}: workspace.auth: ", f"{file}: compute.node_type_id: ", "test.toml: folds: "]
    starts += [f"{file}: pipelines.test.seed: "]
    assert len(found) == len(starts)
    for line, start in zip(found, starts, strict=True):
        assert line.startswith(start)
    for command in (["run", "test.toml"], ["jobs", "test.toml"], ["launch", "training", "--pipeline", "test.toml"]):
        assert problems(call(*command, "--environment", "dev", cwd=project)) == found


def test_a_step_names_the_file_that_overrides_its_setting(project: Path, pipeline_file: WritePipeline) -> None:
    pipeline_file(**SETTINGS)
    (project / "environments").mkdir()
    for name in ("dev", "prod"):
        text = f"{DEPLOYED}[pipelines.test]\nmetric = '{name}'\n"
        (project / "environments" / f"{name}.toml").write_text(text)
    arguments = ["--environment", "dev", "--environment", "prod"]
    found = problems(call("check", "test.toml", *arguments, cwd=project))
    assert [line.partition(": is no")[0] for line in found] == [
        f"environments/{name}.toml: pipelines.test.metric" for name in ("dev", "prod")
    ]


def test_a_source_in_a_workspace_is_left_to_the_workspace(project: Path, pipeline_file: WritePipeline) -> None:
    pipeline_file(source={"csv": "/Volumes/main/sales/rows.csv"}, target="left")
    (project / "dev.toml").write_text(DEPLOYED)
    done = call("check", "test.toml", "--environment", "dev.toml", cwd=project)
    assert (done.returncode, done.stdout) == (0, "test.toml in dev.toml: no problem found\n"), done.stderr
    assert "no such file or folder" in problems(call("check", "test.toml", cwd=project))[0]


def test_a_table_of_an_environment_on_this_machine_is_checked_too(project: Path, pipeline_file: WritePipeline) -> None:
    pipeline_file(**SETTINGS)
    (project / "here.toml").write_text('[catalog]\nname = "x"\n[permissions]\nviewer = ["all"]\n[compute.pool]\n')
    found = problems(call("check", "test.toml", "--environment", "here.toml", cwd=project))
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == ["permissions.viewer"]


def parquet(file: Path) -> None:
    pd.DataFrame({"a": [1, 2], "left": ["y", "n"]}).to_parquet(file)


def table(folder: Path, *commits: dict[str, Any]) -> None:
    (folder / "_delta_log").mkdir(parents=True)
    for version, action in enumerate(commits):
        (folder / "_delta_log" / f"{version:020}.json").write_text(json.dumps(action) + "\n")


def schema(*names: str) -> dict[str, Any]:
    return {"metaData": {"schemaString": json.dumps({"fields": [{"name": name} for name in names]})}}


def make(folder: Path) -> None:
    """Sources of every kind, right and wrong."""
    (folder / "folder").mkdir()
    (folder / "folder" / "_SUCCESS").touch()
    days = folder / "days"
    for day in ("2026-01-01", "2026-01-02"):
        (days / f"day={day}").mkdir(parents=True)
        (days / f"day={day}" / "part.csv").write_text(ROWS)
    (folder / "empty.csv").touch()
    (folder / "header.csv").write_text("left,a\n\n")
    (folder / "binary.csv").write_bytes(b"\x00\x01\x1b[31m\xff\xfe,b\n\x02")
    (folder / "twice.csv").write_text("left,a,a\n")
    (folder / "bom.csv").write_bytes(b"\xef\xbb\xbf" + ROWS.encode())
    (folder / "unnamed.csv").write_text(",left\n0,y\n")
    (folder / "semicolons.csv").write_text(ROWS.replace(",", ";"))
    (folder / "packed.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    (folder / "hidden.csv").write_text(ROWS.replace("left", "le\u200bft"))
    parquet(folder / "rows.parquet")
    (folder / "broken.parquet").write_text("no Parquet file")
    table(folder / "table", schema("left"), schema("left", "a"), {"add": {}})
    (folder / "no table").mkdir()


@pytest.mark.parametrize(
    ("source", "match"),
    [
        pytest.param({"csv": "rows.csv"}, "", id="csv"),
        pytest.param({"csv": "days"}, "", id="folder"),
        pytest.param({"csv": "bom.csv"}, "", id="byte order mark"),
        pytest.param({"csv": "packed.csv.gz"}, "", id="compressed"),
        pytest.param({"csv": "semicolons.csv", "separator": ";"}, "", id="separator"),
        pytest.param({"csv": "unnamed.csv"}, "", id="column without a name"),
        pytest.param({"parquet": "rows.parquet"}, "", id="parquet"),
        pytest.param({"table": "./table"}, "", id="table"),
        pytest.param({"csv": "absent.csv"}, "absent.csv: no such file or folder", id="no file"),
        pytest.param({"csv": "folder"}, "folder: holds no file that can be read", id="empty folder"),
        pytest.param({"csv": "empty.csv"}, "empty.csv: is empty; expected a line with the names", id="empty"),
        pytest.param({"csv": "binary.csv"}, "its first line is not text in UTF-8", id="binary"),
        pytest.param({"csv": "twice.csv"}, "several columns are named 'a'", id="column twice"),
        pytest.param({"csv": "semicolons.csv"}, "if ';' separates columns, set source.separator", id="one column"),
        pytest.param({"csv": "hidden.csv"}, r"column 'le\u200bft' contains an invisible character", id="hidden"),
        pytest.param({"csv": "header.csv"}, "header.csv: is empty; accepted: at least one row", id="no row"),
        pytest.param({"parquet": "absent"}, "absent: no such file or folder", id="no parquet"),
        pytest.param({"parquet": "broken.parquet"}, "broken.parquet: can't be read: ", id="not parquet"),
        pytest.param({"table": "./no table"}, "there is no such Delta table", id="no table"),
        pytest.param({"table": "main.sales.rows"}, "table main.sales.rows: there is no such Delta table", id="by name"),
    ],
)
def test_a_source_is_looked_at(project: Path, pipeline_file: WritePipeline, source: dict[str, str], match: str) -> None:
    make(project)
    pipeline_file(source=source, target="left")
    done = call("check", "test.toml", cwd=project)
    if not match:
        assert (done.returncode, done.stderr) == (0, "")
        return
    (line,) = problems(done)
    assert match in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("source", "accepted"),
    [
        ({"csv": "days"}, "id, plan, months, left, day"),
        ({"csv": "unnamed.csv"}, "_c0, left"),
        ({"parquet": "rows.parquet"}, "a, left"),
        ({"table": "./table"}, "left, a"),
        ({"sklearn": "iris"}, "sepal length (cm), sepal width (cm), petal length (cm), petal width (cm), target"),
    ],
)
def test_an_absent_column_is_named_with_those_there_are(
    project: Path, pipeline_file: WritePipeline, source: dict[str, str], accepted: str
) -> None:
    make(project)
    pipeline_file(source=source, target="gone")
    (line,) = problems(call("check", "test.toml", cwd=project))
    assert line.startswith("test.toml: target: source ")
    assert line.endswith(f"has no column 'gone'; accepted: {accepted}")


def test_a_character_that_nobody_sees_is_shown(project: Path, pipeline_file: WritePipeline) -> None:
    file = pipeline_file(source={"csv": "rows.csv"}, target="le\u200bft")
    assert "has no column 'le\\u200bft'" in problems(call("check", "test.toml", cwd=project))[0]
    file.write_text(file.read_text().replace("metric", '"metri\u200bc"'))
    (line,) = problems(call("check", "test.toml", cwd=project))
    assert line.startswith("test.toml: metri\\u200bc: unknown key, did you mean 'metric'?")


@pytest.mark.parametrize(
    ("source", "more", "start"),
    [
        ({"sklearn": "breast_cancer"}, {"positive_class": "yes"}, "positive_class: 'yes': accepted: "),
        ({"csv": "rows.csv"}, {"reason": "feature"}, "reason: validation finds no run with 'feature'; accepted: 'ci'"),
    ],
)
def test_what_would_fail_after_training_is_rejected(
    project: Path, pipeline_file: WritePipeline, source: dict[str, str], more: dict[str, str], start: str
) -> None:
    pipeline_file(source=source, target="target" if "sklearn" in source else "left", **more)
    (line,) = problems(call("run", "test.toml", cwd=project))
    assert line.startswith(f"test.toml: {start}")
    (project / "dev.toml").write_text(DEPLOYED)
    done = call("check", "test.toml", "--environment", "dev.toml", cwd=project)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("command", "option"), [("run", "--state"), ("check", "--state"), ("report", "--output")])
def test_an_empty_folder_is_rejected(project: Path, pipeline_file: WritePipeline, command: str, option: str) -> None:
    pipeline_file(**SETTINGS)
    (line,) = problems(call(command, option, "", cwd=project))
    assert line == f"{option}: is empty; expected the path of a folder"


def test_it_costs_little_more_than_its_imports(project: Path, pipeline_file: WritePipeline) -> None:
    pipeline_file(**SETTINGS)
    imports = "import sklearn.ensemble, sklearn.compose, sklearn.model_selection"
    program = (
        "import sys, time\nfrom ml_pipeline.cli import main\nsys.argv = ['ml-pipeline', 'check', 'test.toml']\n"
        "main._run()\nprint(sorted({'pyspark', 'mlflow', 'delta', 'matplotlib'} & {*sys.modules}))\n"
    )
    seconds, loaded = [], ""
    for text in (imports, program):
        done = subprocess.run(
            [sys.executable, "-P", "-c", f"{text}\nimport time; print(time.process_time())"],
            capture_output=True,
            text=True,
            check=True,
            cwd=project,
            env=commands.environment(),
        )
        *printed, took = done.stdout.splitlines()
        seconds.append(float(took))
        loaded = "".join(printed[-1:])
    assert loaded == "[]"
    assert seconds[1] < 3 * seconds[0]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("own_features.add", ""),
        ("own_features.imported", ""),
        ("own_features.nope", "has no function 'nope'; accepted: add"),
        ("no_module.add", "there is no module 'no_module'; expected one beside the pipeline's file"),
        ("add", "there is no module ''"),
        ("broken.add", "broken.py, line 1: "),
    ],
)
def test_a_function_of_the_pipeline_is_looked_for(
    project: Path, pipeline_file: WritePipeline, transform: str, message: str
) -> None:
    # This process knows modules of other tests by their names.
    own = project.name
    (project / f"{own}.py").write_text("from json import loads as imported\n\n\ndef add(rows):\n    return rows\n")
    (project / "broken.py").write_text("def add(rows:\n")
    pipeline_file(**SETTINGS, transform=transform.replace("own_features", own))
    done = call("check", "test.toml", cwd=project)
    if message:
        (line,) = problems(done)
        assert line.startswith("test.toml: transform: ")
        assert message in line
    else:
        assert (done.returncode, done.stderr) == (0, "")
