"""The generated reference and schemas: up to date, complete, and as strict as the models."""

from __future__ import annotations

import copy
import functools
import json
import operator
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from infra import settings_reference
from ml_pipeline.settings.environment import Tables
from ml_pipeline.settings.pipeline import Pipeline
from ml_pipeline.settings.project import Project
from ml_pipeline.settings.state import LocalState

ROOT = Path(__file__).parents[2]
SHIPPED = {
    **dict.fromkeys(sorted((ROOT / "environments").glob("*.toml")), settings_reference.ENVIRONMENT),
    **dict.fromkeys(sorted((ROOT / "ml_pipeline/pipelines").glob("*/pipeline.toml")), settings_reference.PIPELINE),
}


def validator(file: Path) -> Any:
    schema = json.loads((ROOT / file).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", settings_reference.documents(), ids=str)
def test_a_generated_file_is_up_to_date(file: Path) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == settings_reference.documents()[file], "run `make docs`"


def models(field: FieldInfo) -> Iterator[type[BaseModel]]:
    """The models that a field's annotation holds."""
    wanted: list[Any] = [field.annotation]
    while wanted:
        one = wanted.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            yield one
        wanted += get_args(one)


def fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    """Every setting: the table that holds it, its key, its field."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield path, key, field
        inner = ".".join(filter(None, (path, key, "NAME" if "dict[" in str(field.annotation) else "")))
        for one in models(field):
            yield from fields(one, inner)


PAGE = (ROOT / settings_reference.REFERENCE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("title", "model", "fewest"),
    [("Pipeline files", Pipeline, 41), ("Environment files", Tables, 41), ("Project", Project, 1)],
)
def test_each_setting_is_on_the_page_with_type_and_meaning(title: str, model: type[BaseModel], fewest: int) -> None:
    page = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    tables: dict[str, str] = {}
    for part in re.split(r"^### ", page, flags=re.MULTILINE):
        found = re.match(r"`\[([\w.]+)\]`", part)
        path = found[1] if found else ""
        tables[path] = tables.get(path, "") + part
    settings = list(fields(model))
    assert len(settings) >= fewest
    for path, key, field in settings:
        if any(models(field)):
            continue
        table = tables[path]
        if like := re.search(r"The keys are those of `\[([\w.]+)\]`", table):
            table = tables[like[1]]
        row = re.search(rf"^\| `{key}` \| (.+) \| (.*) \| (.+) \|$", table, flags=re.MULTILINE)
        assert row, f"{path}.{key}"
        assert (row[2] == "required") == field.is_required(), f"{path}.{key}"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_shipped_file_names_its_schema_and_is_valid(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    named = re.match(r"#:schema (\S+)\n", text)
    assert named
    assert Path(os.path.normpath(file.parent / named[1])) == ROOT / SHIPPED[file]
    assert list(validator(SHIPPED[file]).iter_errors(tomllib.loads(text))) == []


FULL_PIPELINE: dict[str, Any] = {
    "experiment": "e",
    "target": "y",
    "transform": "m.f",
    "metric": "accuracy",
    "threshold": 0.5,
    "source": {"csv": "rows.csv", "columns": {"a": {"type": "date", "format": "dd.MM.yyyy"}, "b": "decimal(10,2)"}},
    "estimator": {"class": "a.B", "parameters": {"c": 1}, "grid": {"d": [1]}},
    "checks": {"columns": {"a": {"type": "long", "minimum": 0, "maximum": 1, "accepted": [1]}}, "unique": ["a"]},
    "key": ["k"],
    "batch_inference": {"source": {"parquet": "p"}},
    "monitoring": {"max_lateness_hours": 1.0, "labels": {"table": "a.b.c"}},
    "schedule": {"cron": "0 0 6 * * ?"},
}
ID = "12345678-90ab-cdef-1234-567890abcdef"
FULL_ENVIRONMENT: dict[str, Any] = {
    "workspace": {
        "host": "https://a.cloud.databricks.com",
        "auth": "profile",
        "profile": "p",
        "run_as": ID,
        "notify": ["a@example.com"],
        "git_folder": {"url": "https://example.com/a.git", "path": "/Users/a"},
    },
    "compute": {
        "spark_version": "17.3.x-cpu-ml-scala2.13",
        "policy_id": "p",
        "spark_conf": {"spark.sql.shuffle.partitions": "8"},
        "spark_env_vars": {"API_TOKEN": "{{secrets/scope/key}}"},
        "tags": {"cost centre": "1"},
        "pool": {"node_type_id": "m"},
    },
    "schedule": {"paused": True, "airflow": {"bucket": "my-bucket", "region": "eu-central-1"}},
    "catalog": {"name": "dev", "schema": "s"},
    "permissions": {"workspace": {"managers": ["a"]}, "catalog": {"managers": ["a"]}},
    "state": {
        "backend": "s3",
        "bucket": "my-bucket",
        "region": "eu-central-1",
        "role_arn": "arn:aws:iam::123456789012:role/terraform",
        "endpoint": "https://s3.example.com",
    },
    "pipelines": {"iris": {"threshold": 0.9, "monitoring": False, "source": {"csv": "other.csv"}}},
}
FILES: dict[type[BaseModel], tuple[Path, dict[str, Any]]] = {
    Pipeline: (settings_reference.PIPELINE, FULL_PIPELINE),
    Tables: (settings_reference.ENVIRONMENT, FULL_ENVIRONMENT),
}


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The content with another value for a key."""
    content = copy.deepcopy(content)
    *tables, key = path.split(".")
    functools.reduce(lambda table, name: table.setdefault(name, {}), tables, content)[key] = value
    return content


def value_at(content: dict[str, Any], path: str) -> Any:
    try:
        return functools.reduce(operator.getitem, filter(None, path.split(".")), content)
    except (KeyError, TypeError):
        return None


def accepts(model: type[BaseModel], content: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the model and the schema accept a file."""
    try:
        model.model_validate(content)
    except ValidationError:
        by_model = False
    else:
        by_model = True
    return by_model, validator(FILES[model][0]).is_valid(content)


@pytest.mark.parametrize("model", FILES, ids=lambda model: str(model.__name__))
def test_a_file_with_many_keys_is_accepted(model: type[BaseModel]) -> None:
    assert accepts(model, FILES[model][1]) == (True, True)


def mistakes() -> Iterator[tuple[type[BaseModel], str, Any]]:
    """A wrong value for each setting, and an unknown key in each table."""
    for model, (_, content) in FILES.items():
        tables = set()
        for table, key, field in fields(model):
            path = table.replace("NAME", "a")
            # Of the kinds of state, the content has one.
            if isinstance(value_at(content, path), dict) and key not in ("pipelines", *LocalState.model_fields):
                tables.add(path)
                if "Any" not in str(field.annotation):
                    yield model, f"{path}.{key}".strip("."), [[]]
        for path in sorted(tables):
            yield model, f"{path}.no_such_key".strip("."), 1


MISTAKES = [
    *mistakes(),
    (Pipeline, "source", {"csv": "a", "parquet": "b"}),
    (Pipeline, "source", {}),
    (Pipeline, "test_share", 1.0),
    (Pipeline, "n_jobs", 0),
    (Pipeline, "key", ["a", "a"]),
    (Pipeline, "source.columns.a", "text"),
    (Pipeline, "model", "My Model"),
    (Pipeline, "estimator.grid.d", []),
    (Tables, "compute.node_type_id", "m"),
    (Tables, "compute.spark_version", "17"),
    (Tables, "compute.pool.max_capacity", 0),
    (Tables, "compute.tags", {"ä": "1"}),
    (Tables, "workspace.host", "http://example.com"),
    (Tables, "workspace.auth", "token"),
    (Tables, "workspace.notify", ["nobody"]),
    (Tables, "state", {"backend": "gcs"}),
    (Tables, "state", {"backend": "gcs", "bucket": "goog-a"}),
    (Tables, "state", {"backend": "azurerm", "storage_account_name": "mystate", "container_name": "tfstate"}),
    (Tables, "state.kms_key_id", "alias/key"),
    (Tables, "catalog", {}),
]


@pytest.mark.parametrize(
    ("model", "path", "value"), MISTAKES, ids=[f"{path}-{n}" for n, (_, path, _) in enumerate(MISTAKES)]
)
def test_the_schema_rejects_what_the_model_rejects(model: type[BaseModel], path: str, value: Any) -> None:
    assert accepts(model, changed(FILES[model][1], path, value)) == (False, False)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pipelines.iris.treshold", 0.9),
        ("pipelines.iris.threshold", "high"),
        ("pipelines.iris.monitoring.max_drift", 0),
        ("pipelines.iris", 1),
        ("no_such_table", {}),
    ],
)
def test_the_schema_rejects_mistakes_in_overrides(path: str, value: Any) -> None:
    content = changed(FULL_ENVIRONMENT, "pipelines.iris.monitoring", {})
    assert validator(settings_reference.ENVIRONMENT).is_valid(content)
    assert not validator(settings_reference.ENVIRONMENT).is_valid(changed(content, path, value))


def test_an_environment_that_is_deployed_needs_its_tables() -> None:
    check = validator(settings_reference.ENVIRONMENT)
    assert check.is_valid({"catalog": {"name": "local"}})
    for table in ("compute", "catalog", "state"):
        content = {name: value for name, value in FULL_ENVIRONMENT.items() if name != table}
        assert not check.is_valid(content)
