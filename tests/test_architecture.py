"""The architecture: its pictures are those of the code, its contracts can fail, and no module grows too large."""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest

from ml_pipeline import jobs
from ml_pipeline.graph import Task
from ml_pipeline.settings import files

ROOT = Path(__file__).parents[1]
CONTRACTS: dict[str, Any] = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
MODULES = [path for package in ("infra", "ml_pipeline") for path in sorted((ROOT / package).rglob("*.py"))]
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_MODULES = 400, 90, 12


def picture(title: str) -> str:
    """The Mermaid source below a heading of the page."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {re.escape(title)}$.*?```mermaid\n(.*?)```", page, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def edges(text: str) -> set[tuple[str, str, str]]:
    """The edges of a flowchart: from, to, and the arrow (``-->`` or ``-.->``)."""
    found = set()
    for line in text.splitlines():
        words = re.split(
            r"\s*(-->|-\.->)(?:\|[^|]*\|)?\s*", re.sub(r"\[\(.*?\)\]|\{\{.*?\}\}|\[\".*?\"\]", "", line).strip()
        )
        # Mermaid has keywords, such as "graph", that can't be names of nodes.
        nodes = [[node.strip().rstrip("_") for node in group.split("&")] for group in words[::2]]
        for before, arrow, after in zip(nodes, words[1::2], nodes[1:], strict=False):
            found |= {(one, other, arrow) for one in before for other in after}
    return found


def test_the_picture_of_the_layers_is_the_contract() -> None:
    layers = [[name.strip() for name in layer.split("|")] for layer in CONTRACTS["layers"]["layers"]]
    contracted = {
        (upper, lower, "-->") for above, below in itertools.pairwise(layers) for upper in above for lower in below
    }

    assert len(contracted) > 10
    assert edges(picture("Layers")) == contracted


def test_the_picture_of_the_data_has_each_task_and_each_table_that_the_jobs_declare() -> None:
    def node(name: str, tasks: set[str]) -> str:
        return f"{name}_table" if name in tasks | {"validation"} else name

    declared: list[Task] = [
        task
        for job in jobs.declare(files.load(files.find_pipeline("iris"), ROOT / "environments" / "dev.toml"))
        for task in job.tasks
        if task.entry_point
    ]
    tasks = {task.name for task in declared}
    drawn = edges(picture("The way of the data"))
    touched = {
        (task.name, node(value.rsplit(".", 1)[1], tasks))
        for task in declared
        for name, value in task.parameters.items()
        if name.endswith("_table")
    }
    nodes = {name for one, other, _ in drawn for name in (one, other)}

    assert len(touched) > 10
    assert tasks <= nodes
    assert {pair for pair in touched if not {(*pair, "-->"), (*reversed(pair), "-->")} & drawn} == set()
    assert nodes - tasks - {table for _, table in touched} == {"source", "run", "challenger", "champion"}


def test_the_picture_of_a_task_has_only_imports_of_the_code() -> None:
    imports = grimp.build_graph("ml_pipeline")
    drawn = edges(picture("The life of a task"))
    solid = {(f"ml_pipeline.{one}", f"ml_pipeline.{other}") for one, other, arrow in drawn if arrow == "-->"}

    assert len(solid) > 5
    assert {pair for pair in solid if not imports.direct_import_exists(importer=pair[0], imported=pair[1])} == set()
    assert {pair[:2] for pair in drawn if pair[2] == "-.->"} == {("entry_point", "steps.train")}


BREAKS = {
    "light-declaration": ("ml_pipeline/graph.py", "import numpy"),
    "layers": ("ml_pipeline/data/tables.py", "import ml_pipeline.model.metrics"),
    "independent-steps": ("ml_pipeline/steps/validate.py", "import ml_pipeline.steps.compare"),
    "spark-in-data": ("ml_pipeline/reports/scorecard.py", "import pyspark"),
    "mlflow-in-registry": ("ml_pipeline/steps/train.py", "import mlflow"),
    "no-deployment": ("ml_pipeline/jobs.py", "import infra.stack"),
    "light-synthesis": ("infra/stack.py", "import pandas"),
    "one-seam": ("infra/stack.py", "import cdktf"),
    "rehearsal-apart": ("infra/review/plan.py", "import infra.rehearsal.server"),
    "light-dags": ("infra/dags/batch_inference.py", "import pydantic"),
}
"""For each contract a line that breaks it."""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for package in ("infra", "ml_pipeline"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken(folder: Path) -> list[str]:
    """The names of the contracts that are broken."""
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "lint-imports", "--no-logo"], cwd=folder, capture_output=True, text=True, check=False
    )
    return re.findall(r"^(.*) BROKEN", done.stdout, flags=re.MULTILINE)


def test_no_contract_is_broken_in_a_copy(copied: Path) -> None:
    assert broken(copied) == []
    assert BREAKS.keys() == CONTRACTS.keys()


@pytest.mark.parametrize("contract", BREAKS)
def test_a_contract_is_broken_by_an_import_that_it_forbids(copied: Path, contract: str) -> None:
    name, line = BREAKS[contract]
    file = copied / name
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(f"{before}\n{line}\n", encoding="utf-8")
        assert CONTRACTS[contract]["name"] in broken(copied)
    finally:
        file.write_text(before, encoding="utf-8")


def test_a_new_folder_of_the_pipeline_needs_a_layer(copied: Path) -> None:
    folder = copied / "ml_pipeline" / "helpers"
    folder.mkdir()
    try:
        (folder / "__init__.py").touch()
        assert CONTRACTS["layers"]["name"] in broken(copied)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("package", ["infra", "ml_pipeline"])
def test_few_modules_lie_side_by_side(package: str) -> None:
    modules = [path.name for path in (ROOT / package).glob("*.py")]

    assert 0 < len(modules) <= MOST_MODULES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_and_its_functions_are_short_enough_to_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {
        node.name: lines
        for node in functions
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    }

    assert len(text.splitlines()) <= MOST_LINES
    assert long == {}
