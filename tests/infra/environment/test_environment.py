"""Environment files: what is accepted, and what one says of those that are not."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from infra.environment import environment
from ml_pipeline.errors import InputError
from ml_pipeline.settings import quartz
from ml_pipeline.settings.environment import Tables

ROOT = Path(__file__).parents[3]
ENVIRONMENTS = ROOT / "tests" / "environments"
DEPLOYED = ("dev", "prod", "rehearsal", "staging")


def toml(value: Any) -> str:
    """A table as TOML; just what these tests need."""

    def plain(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, dict):
            return "{" + ", ".join(f'"{name}" = {plain(inner)}' for name, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(plain, value)) + "]"
        return repr(value)

    return "\n".join(f'"{name}" = {plain(inner)}' for name, inner in value.items())


def content(name: str) -> dict[str, Any]:
    return tomllib.loads((ENVIRONMENTS / f"{name}.toml").read_text(encoding="utf-8"))


def changed(name: str, path: str, value: Any) -> dict[str, Any]:
    """An environment file's content with one key set, or removed by ``None``."""
    tables = content(name)
    *tables_, key = path.split(".")
    inner = tables
    for table in tables_:
        inner = inner.setdefault(table, {})
    if value is None:
        del inner[key]
    else:
        inner[key] = value
    return tables


def load(tmp_path: Path, tables: dict[str, Any], instance: str = "") -> environment.Environment:
    file = tmp_path / "dev.toml"
    file.write_text(toml(tables), encoding="utf-8")
    return environment.load(file, instance=instance)


@pytest.mark.parametrize("name", DEPLOYED)
def test_every_environment_file_with_a_workspace_is_accepted(name: str) -> None:
    loaded = environment.load(ENVIRONMENTS / f"{name}.toml")
    assert (loaded.full_name, loaded.paused) == (name, name != "prod")
    assert loaded.pipeline.schema_name == f"{name}.ml_pipeline_iris"
    assert loaded.pipeline.experiment == f"{loaded.workspace.folder}/ml-pipeline-{name}/iris"
    assert loaded.protected == (name == "prod")


def test_all_of_them_are_deployed_and_local_is_not() -> None:
    assert [each.name for each in environment.load_all(ENVIRONMENTS)] == list(DEPLOYED)


@pytest.mark.parametrize("name", DEPLOYED)
def test_an_instance_shares_nothing_and_is_paused_and_unprotected(name: str) -> None:
    one, copy_ = (environment.load(ENVIRONMENTS / f"{name}.toml", instance=i) for i in ("", "pr-123"))
    assert copy_.full_name == f"{name}-pr-123"
    assert copy_.folder != one.folder
    assert copy_.pipeline.schema_name == f"{name}.ml_pipeline_iris_pr_123"
    assert copy_.pipeline.experiment == f"{copy_.workspace.folder}/ml-pipeline-{name}-pr-123/iris"
    assert copy_.paused
    assert not copy_.protected
    tables = {value for job in copy_.jobs for task in job.tasks for value in task.parameters.values() if "." in value}
    assert not {value for value in tables if value.startswith(f"{name}.ml_pipeline_iris.")}


@pytest.mark.parametrize("instance", ["PR-1", "pr_1", "-a", "a-", "1a", "a" * 31, "a b", "ä"])
def test_a_bad_name_of_an_instance_is_refused(instance: str) -> None:
    with pytest.raises(InputError, match=r"INSTANCE .*accepted"):
        environment.load(ENVIRONMENTS / "dev.toml", instance=instance)


BAD_VALUES: dict[str, list[Any]] = {
    "str": [7, True, [], {}, ""],
    "int": ["x", 1.5, True, -1],
    "bool": ["true", 1, []],
    "list": ["x", 7, {"a": 1}, [7]],
    "dict": ["x", 7, ["a"]],
    "Literal": ["no-such-choice", 7],
}


def kind_of(field: FieldInfo) -> str:
    text = str(field.annotation)
    return next((kind for kind in ("Literal", "list", "dict", "bool", "int") if re.search(rf"\b{kind}\b", text)), "str")


def model_of(field: FieldInfo) -> type[BaseModel] | None:
    from typing import get_args

    candidates = (field.annotation, *get_args(field.annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def mistakes(model: type[BaseModel], tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every way in which one key of a table can be wrong: unknown, missing, of another type, out of range."""
    yield f"{prefix}no_such_key", 1
    for name, field in model.model_fields.items():
        key = field.alias or name
        path = f"{prefix}{key}"
        given = tables.get(key)
        inner = model_of(field)
        if field.is_required() and key in tables:
            yield path, None
        if inner is not None and isinstance(given, dict) and key != "state":
            yield from mistakes(inner, given, f"{path}.")
            yield path, "text"
        elif key != "state":
            # An optional text may be anything that is no text, and empty never.
            for value in BAD_VALUES[kind_of(field)]:
                yield path, value


GENERATED = [pytest.param(path, value, id=f"{path}={value!r}") for path, value in mistakes(Tables, content("dev"))]


def test_there_are_many_generated_mistakes() -> None:
    assert len(GENERATED) >= 100


@pytest.mark.parametrize(("path", "value"), GENERATED)
def test_a_mistake_is_one_message_with_file_and_key(tmp_path: Path, path: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, changed("dev", path, value))
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "dev.toml") in message
    assert path.rpartition(".")[2] in message
    assert len(message.removeprefix(str(tmp_path))) < 700


CHOSEN = [
    ("dev", "compute.node_type_id", "m6id.large", "compute: has both node_type_id and pool; accepted: exactly one"),
    ("dev", "compute.pool", None, "compute: has neither node_type_id nor pool; accepted: exactly one"),
    ("dev", "compute.pool.min_idle_instances", 5, "compute.pool: min_idle_instances 5 is above max_capacity 4"),
    ("dev", "catalog.name", "", "catalog.name: .*(given: '')"),
    (
        "dev",
        "pipelines.iris.schedule.cron",
        "0 6 * * *",
        "dev.toml: pipelines.iris.schedule.cron: has 5 fields; accepted: a Quartz",
    ),
    ("dev", "pipelines.iris.schedule.cron", "0 0 25 * * ?", "iris.schedule.cron: hours '25'"),
    ("dev", "pipelines.iris.schedule.cron", "0 0 6 * * *", r"iris.schedule.cron: accepted: '\?' in exactly one"),
    ("dev", "schedule.cron", "0 0 6 * * ?", "schedule.cron: unknown key; accepted: engine, paused, airflow"),
    ("dev", "pipelines.iris.schedule.time_zone", "Mars/Olympus", "iris.schedule.time_zone: is not a time zone"),
    ("dev", "schedule.engine", "cron", "schedule.engine: .*'databricks' or 'airflow'"),
    ("dev", "schedule.airflow.buket", "b", "schedule.airflow.buket: unknown key, did you mean 'bucket'"),
    ("dev", "schedule.airflow.bucket", "s3://my-airflow", "schedule.airflow.bucket: "),
    ("dev", "schedule.airflow.kms_key_id", "alias/key", "schedule.airflow.kms_key_id: "),
    ("dev", "schedule.airflow.prefix", "/dags", "schedule.airflow.prefix: "),
    ("dev", "workspace.host", "http://example.com", "workspace.host: "),
    ("dev", "workspace.host", "https://user:pass@example.com", "workspace.host: "),
    ("dev", "workspace.auth", "profile", "workspace: auth 'profile' needs the key 'profile'"),
    ("dev", "workspace.profile", "DEFAULT", "workspace: profile is for auth 'profile'"),
    ("dev", "workspace.token", "dapi123", "workspace.token: unknown key"),
    ("staging", "workspace.client_id", None, "workspace: auth 'github-oidc' needs the key 'client_id'"),
    ("staging", "state.bucket", "Not_A_Bucket", "state.*bucket: "),
    ("staging", "state.backend", "oss", r"state.backend: must be 'local', 's3', 'azurerm' or 'gcs' \(given: 'oss'\)"),
    ("staging", "state.backend", None, "toml: state.backend: is missing; accepted: 'local', 's3', 'azurerm' or 'gcs'"),
    ("staging", "state.access_key", "AKIA", "toml: state.access_key: unknown key; accepted: backend, bucket, region, "),
    ("dev", "state.bucket", "b", r"toml: state.bucket: unknown key, .*; accepted: backend$"),
    ("dev", "state", "local", r"toml: state: must be a table \(given: 'local'\)"),
    ("staging", "state.region", None, "toml: state.region: is missing"),
    ("staging", "state.kms_key_id", "alias/key", "state.kms_key_id: must be the ARN of a key, not of an alias"),
    ("dev", "compute.num_workers", 100_001, "compute.num_workers: must be less than or equal to 100000"),
    ("dev", "compute.pool.max_capacity", 100_001, "compute.pool.max_capacity: must be less than or equal to 100000"),
    ("dev", "compute.pool.idle_instance_autotermination_minutes", 10_001, "must be less than or equal to 10000"),
    *(
        ("dev", f"compute.{table}", {name: value}, message)
        for table, name, value, message in (
            ("spark_conf", "shuffle", "8", "must be the name of a Spark property, such as"),
            ("spark_conf", "spark.master", "local[2]", "names 'spark.master', which the deployment or Databricks sets"),
            ("spark_env_vars", "a-b", "8", "must be the name of an environment variable, such as"),
            ("spark_env_vars", "DATABRICKS_TOKEN", "{{secrets/a/b}}", "names 'DATABRICKS_TOKEN', which the deployment"),
            ("spark_env_vars", "PATH", "/bin", "names 'PATH', which the deployment or Databricks sets"),
            ("spark_env_vars", "API_TOKEN", "geheim", r"'API_TOKEN': accepted: a reference to a secret"),
            ("spark_env_vars", "OPTIONS", "-p {{secrets/a/b}}", r"'OPTIONS': accepted: a reference to a secret"),
            ("spark_env_vars", "OPTIONS", "{{ secrets/a/b }}", r"'OPTIONS': accepted: a reference to a secret"),
            ("spark_env_vars", "OPTIONS", "{{secrets/a/b/c}}", r"'OPTIONS': accepted: a reference to a secret"),
            (
                "spark_conf",
                "spark.hadoop.fs.azure.account.key.x.dfs.core.windows.net",
                "geheim",
                "accepted: a reference",
            ),
            ("spark_conf", "spark.hadoop.javax.jdo.option.ConnectionPassword", "geheim", "accepted: a reference"),
        )
    ),
    ("dev", "compute.tags", {"environment": "x"}, "compute.tags: names 'environment', which .* accepted: other names"),
    ("dev", "compute.tags", {"project": "x"}, "compute.tags: names 'project', which .* accepted: other names"),
    ("dev", "compute.tags", {"instance": "x"}, "compute.tags: names 'instance', which .* accepted: other names"),
    ("dev", "compute.tags", {"ä": "x"}, r"compute.tags.*: must be up to 127 letters"),
    ("dev", "compute.spark_version", "17", "compute.spark_version: must be a runtime with its Scala, such as '17.3.x-"),
    (
        "dev",
        "catalog.schema",
        "information_schema",
        "catalog.schema: must be .*such as 'iris', and not 'information_sch",
    ),
    ("dev", "catalog.schema", "a" * 225, "catalog.schema: must be up to 224 lower-case"),
    ("dev", "catalog.name", "a" * 256, "catalog.name: must be up to 255 letters"),
    ("dev", "catalog.volume", "a" * 256, "catalog.volume: must be up to 255 lower-case"),
    ("dev", "permissions.viewers", ["x"], "permissions.viewers: "),
    ("dev", "permissions.workspace.managers", ["users"], "names 'users' more than once; accepted: each principal once"),
    ("dev", "permissions.catalog.viewers", ["users"], "'users' is a group of the workspace; accepted: groups of the"),
    ("dev", "compute.tags", {"deployment": "x"}, "names 'deployment', which the deployment or Databricks sets"),
    ("staging", "state.role_arn", "terraform", "state.role_arn: must be the ARN of a role"),
    ("staging", "state.endpoint", "http://example.com", "state.endpoint: must be an HTTPS address without a path"),
    ("prod", "workspace.folder", "/Shared/team", "every user of the workspace may write there"),
    ("dev", "pipelines.iris.schema", "dev.iris", r"pipelines.iris.schema: belongs to the environment; accepted: \[cat"),
    (
        "dev",
        "pipelines.iris.source",
        {"csv": "rows.csv"},
        "dev.toml: pipelines.iris.source.csv: 'rows.csv' is relative; accepted",
    ),
    (
        "dev",
        "pipelines.iris.monitoring.labels",
        {"csv": "l.csv"},
        "iris.monitoring.labels.csv: 'l.csv' is relative; acc",
    ),
    (
        "dev",
        "pipelines.iris.batch_inference",
        {"source": {"table": "./t"}},
        "batch_inference.source.table: './t' is relative",
    ),
    ("dev", "pipelines.iris.metrik", "accuracy", "dev.toml: pipelines.iris.metrik: unknown key, did you mean 'metric'"),
    ("dev", "pipelines.irs", {}, "dev.toml: pipelines.irs: unknown pipeline, did you mean 'iris'"),
    ("dev", "pipeline", {}, r"dev.toml: \[pipeline\] is no longer part of an environment; move its keys"),
    ("dev", "workspce", {}, "workspce: unknown table, did you mean 'workspace'"),
]


def test_what_may_be_a_secret_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, changed("dev", "compute.spark_env_vars", {"API_TOKEN": "geheim"}))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(("name", "path", "value", "match"), CHOSEN)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, path: str, value: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        load(tmp_path, changed(name, path, value))


@pytest.mark.parametrize(
    ("path", "accepted", "refused"),
    [
        (
            "workspace.host",
            ["https://a.b-c.com", "https://a.com/", "https://a.com:65535", "http://127.0.0.1:8080"],
            ["https://-", "https://a-", "https://a..b", "https://a.com:65536", "https://a.com:0", "https://a.com:٣"],
        ),
        (
            "workspace.folder",
            ["/Shared", "/Users/me@example.com", "/Shared/a b/.c", "/Shared/...a"],
            ["/Shared/..", "/Shared/./a", "/Shared/../Users", "/Shared//a", "/Shared/", "/Shared/ "],
        ),
        (
            "schedule.airflow.bucket",
            ["my-bucket", "my.bucket.1", "192.168.1.x", "a" * 63],
            ["my..a", "192.168.1.1", "xn--a", "a-s3alias", "a--x-s3", "sthree-a", ".ab", "ab", "a" * 64, "Ab1"],
        ),
        ("pipelines.iris.schedule.time_zone", ["Europe/Berlin"], ["localtime", "Factory", "posixrules"]),
    ],
)
def test_a_text_is_accepted_or_refused_with_an_example(
    tmp_path: Path, path: str, accepted: list[str], refused: list[str]
) -> None:
    for value in accepted:
        load(tmp_path, changed("dev", path, value))
    for value in refused:
        with pytest.raises(InputError, match=rf"dev\.toml: {path}: ") as caught:
            load(tmp_path, changed("dev", path, value))
        message = str(caught.value)
        assert "such as" in message or "accepted" in message or "from 1 to 65535" in message, message
        assert "[a-z" not in message.lower()


ID = "12345678-90ab-cdef-1234-567890abcdef"
KEY = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"
STATES = {
    "azurerm": {"resource_group_name": "rg", "storage_account_name": "mystate", "container_name": "tfstate"},
    "gcs": {"bucket": "my-state"},
}


@pytest.mark.parametrize(
    ("backend", "key", "accepted", "rejected"),
    [
        ("azurerm", "resource_group_name", ["a", "My_(group).1", "a" * 90], ["", "a.", "a/b", "a b", "a" * 91]),
        ("azurerm", "storage_account_name", ["abc", "a1" * 12], ["ab", "a" * 25, "My1", "my-state", "my.state"]),
        ("azurerm", "container_name", ["abc", "1-a-b", "a" * 63], ["ab", "a" * 64, "-ab", "ab-", "a--b", "A1b", "a.b"]),
        ("azurerm", "key_prefix", ["team/a"], ["/a", "a/"]),
        ("azurerm", "subscription_id", [ID, ID.upper()], ["", "my-subscription", f"{ID}0"]),
        ("azurerm", "tenant_id", [ID], ["example.onmicrosoft.com"]),
        (
            "gcs",
            "bucket",
            ["abc", "my_bucket.1-a", "a" * 63],
            ["ab", "a" * 64, "goog-a", "my-google", "g00gle-a", "192.168.1.1", "a..b", "_ab", "ab-", "Abc", "gs://a"],
        ),
        ("gcs", "key_prefix", ["team/a"], ["/a", "a/"]),
        ("gcs", "kms_encryption_key", [KEY, KEY.replace("/p/", "/a.com:p/")], ["k", f"{KEY}/cryptoKeyVersions/1"]),
        (
            "gcs",
            "impersonate_service_account",
            ["a-1@my-project.iam.gserviceaccount.com", "p@appspot.gserviceaccount.com"],
            ["a", "ann@example.com", "a@b.gserviceaccount.com.example.com"],
        ),
    ],
)
def test_each_key_of_a_state_in_azure_or_google_has_its_rule(
    tmp_path: Path, backend: str, key: str, accepted: list[str], rejected: list[str]
) -> None:
    state = {"backend": backend, **STATES[backend]}
    for value in accepted:
        loaded = load(tmp_path, changed("dev", "state", {**state, key: value}))
        assert getattr(loaded.state, key) == value
    wrong: list[Any] = [*rejected, 1, True, ["a"], "key${a}"]
    for value in wrong:
        with pytest.raises(InputError, match=rf"dev\.toml: state\.{key}: (must be .*|holds .*)$") as caught:
            load(tmp_path, changed("dev", "state", {**state, key: value}))
        assert "such as" in str(caught.value) or not isinstance(value, str)


@pytest.mark.parametrize("backend", STATES)
def test_a_state_in_azure_or_google_lacks_no_key(tmp_path: Path, backend: str) -> None:
    for key in STATES[backend]:
        state = {name: value for name, value in STATES[backend].items() if name != key}
        with pytest.raises(InputError, match=rf"dev\.toml: state\.{key}: is missing"):
            load(tmp_path, changed("dev", "state", {"backend": backend, **state}))


@pytest.mark.parametrize(
    ("backend", "key"),
    [
        *(("azurerm", key) for key in ("access_key", "sas_token", "client_id", "client_secret", "oidc_token", "key")),
        *(("gcs", key) for key in ("credentials", "access_token", "encryption_key", "prefix")),
    ],
)
def test_a_credential_is_not_a_key_of_a_state(tmp_path: Path, backend: str, key: str) -> None:
    with pytest.raises(InputError, match=rf"dev\.toml: state\.{key}: unknown key"):
        load(tmp_path, changed("dev", "state", {"backend": backend, **STATES[backend], key: "a"}))


def test_both_buckets_are_checked_alike(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"state\.bucket: must be a name that S3 takes"):
        load(tmp_path, changed("staging", "state.bucket", "my..a"))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("workspace.profile", '${file("/etc/hostname")}', "workspace.profile"),
        ("compute.pool.node_type_id", "a%{ if true }b", "compute.pool.node_type_id"),
        ("compute.tags", {"team": "$${a}"}, "compute.tags.team"),
        ("compute.tags", {"${a}": "b"}, r"compute.tags.\$\{a\}"),
        ("permissions.workspace.viewers", ["users", "${a}"], "permissions.workspace.viewers"),
        ("pipelines.iris.positive_class", "${a}", "pipelines.iris.positive_class"),
        ("pipelines.iris.estimator.parameters", {"a": [{"b": "%{c}"}]}, "pipelines.iris.estimator.parameters.a.b"),
    ],
)
def test_a_text_that_terraform_would_evaluate_is_refused(tmp_path: Path, path: str, value: Any, named: str) -> None:
    with pytest.raises(
        InputError, match=rf"dev\.toml: {named}: holds '[$%]\{{', which Terraform would evaluate; accept"
    ):
        load(tmp_path, changed("dev", path, value))


MISTAKES_OF_A_PIPELINE = [
    (
        'sklearn = "iris"',
        'csv = "rows.csv"',
        "source.csv: 'rows.csv' is relative; accepted: a path that a cluster reaches",
    ),
    (
        'metric = "accuracy"',
        'metric = "${a}"',
        "metric: holds '${', which Terraform would evaluate; accepted in what is",
    ),
    ('metric = "accuracy"', 'metrik = "accuracy"', "metrik: unknown key, did you mean 'metric'?"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES_OF_A_PIPELINE)
def test_a_mistake_in_a_pipeline_names_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    file = Path("ml_pipeline/pipelines/iris/pipeline.toml")
    text = (ROOT / file).read_text(encoding="utf-8")
    (tmp_path / file.parent).mkdir(parents=True)
    (tmp_path / file).write_text(text.replace(f"\n{old}", f"\n{new}"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=f"^{re.escape(f'{file}: {message}')}"):
        load(tmp_path, content("dev"))


def test_an_override_mends_what_only_this_machine_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ml_pipeline/pipelines/iris/pipeline.toml"
    text = (ROOT / "ml_pipeline/pipelines/iris/pipeline.toml").read_text(encoding="utf-8")
    file.parent.mkdir(parents=True)
    file.write_text(text.replace('\nsklearn = "iris"', '\ncsv = "rows.csv"'), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    loaded = load(tmp_path, changed("dev", "pipelines.iris.source", {"csv": "/Volumes/dev/iris/rows.csv"}))

    assert loaded.pipeline.source.csv == "/Volumes/dev/iris/rows.csv"


def test_without_a_schedule_of_its_own_an_environment_has_none(tmp_path: Path) -> None:
    assert load(tmp_path, changed("dev", "schedule", None)).schedule is None


@pytest.mark.parametrize(
    "name",
    ["my env", "dev*", "dev\n", ".", "", "-x", "_x", "dev$", "ü", "Dev", "dev.eu", "a" * 39, "a" * 200],
)
def test_a_file_whose_name_can_t_begin_names_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.toml"
    file.write_text((ENVIRONMENTS / "dev.toml").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        environment.load_all(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{str(file)!r}: ")
    assert "accepted: up to 38 lower-case letters" in message
    assert "\n" not in message


def test_a_file_that_is_not_deployed_may_have_any_name(tmp_path: Path) -> None:
    for name, copied in (("My own", "local"), ("0-a_b", "dev")):
        text = (ENVIRONMENTS / f"{copied}.toml").read_text(encoding="utf-8")
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    assert [each.name for each in environment.load_all(tmp_path)] == ["0-a_b"]


@pytest.mark.parametrize(
    ("names", "instance", "colliding"),
    [
        (("dev", "dev-eu"), "eu", "dev-eu"),
        (("a", "a-b"), "b-c", "a-b"),
        (("a-b", "a-b-c"), "c", "a-b-c"),
        (("a", "a-b"), "c", ""),
        (("a", "a-b"), "bc", ""),
        (("a", "a_b"), "b", ""),
        (("dev", "prod"), "prod", ""),
        (("dev", "dev-eu"), "", ""),
    ],
)
def test_a_copy_never_has_the_name_of_another_environment_or_of_its_copy(
    tmp_path: Path, names: tuple[str, ...], instance: str, colliding: str
) -> None:
    for name in names:
        (tmp_path / f"{name}.toml").write_text((ENVIRONMENTS / "dev.toml").read_text(encoding="utf-8"), "utf-8")
    if not colliding:
        loaded = environment.load_all(tmp_path, instance=instance)
        assert len({each.full_name for each in loaded}) == len(names)
        return
    with pytest.raises(InputError) as caught:
        environment.load_all(tmp_path, instance=instance)
    assert str(caught.value) == (
        f"INSTANCE '{instance}': '{names[0]}-{instance}' is the name of {tmp_path / colliding}.toml "
        "or of an instance of it; accepted: another name"
    )


def test_another_engine_is_one_word_of_the_file_and_needs_its_table(tmp_path: Path) -> None:
    tables = changed("prod", "schedule.engine", "airflow")
    loaded = load(tmp_path, tables)
    assert (loaded.scheduled_by("airflow"), loaded.scheduled_by("databricks")) == (True, False)
    assert not load(tmp_path, tables, "pr-1").scheduled_by("airflow")
    del tables["schedule"]["airflow"]
    with pytest.raises(InputError, match=r"dev\.toml: schedule: engine 'airflow' needs the table 'airflow'"):
        load(tmp_path, tables)


UNSAYABLE = [
    ("30 0 6 * * ?", "seconds '30'"),
    ("0 0 6 L * ?", "day of month 'L'"),
    ("0 0 6 15W * ?", "day of month '15W'"),
    ("0 0 6 ? * 6#3", "day of week '6#3'"),
    ("0 0 6 ? * FRIL", "day of week 'FRIL'"),
    ("0 0 6 * * ? 2099", "year '2099'"),
]


@pytest.mark.parametrize(("cron", "named"), UNSAYABLE)
def test_what_airflow_can_t_be_told_is_refused_with_that_engine_only(tmp_path: Path, cron: str, named: str) -> None:
    tables = changed("dev", "pipelines.iris.schedule.cron", cron)
    load(tmp_path, tables)
    tables["schedule"]["engine"] = "airflow"
    with pytest.raises(InputError) as caught:
        load(tmp_path, tables)
    message = str(caught.value).removeprefix(str(tmp_path))
    assert message.startswith(
        f"/dev.toml: pipelines.iris.schedule: cron '{cron}': {named} can't be said to Airflow; accepted"
    )


@pytest.mark.parametrize(
    ("quartz_cron", "cron"),
    [
        ("0 0 6 * * ?", "0 6 * * *"),
        ("0 0 6 ? * *", "0 6 * * *"),
        ("0 0/15 8-10 ? * MON-FRI *", "0,15,30,45 8,9,10 * * 1,2,3,4,5"),
        ("0 */20 22-2/2 ? * FRI-MON", "0,20,40 0,2,22 * * 0,1,5,6"),
        ("0 0 0 ? * 1,7", "0 0 * * 0,6"),
        ("0 30 4 1/10 JAN,jul ?", "30 4 1,11,21,31 1,7 *"),
        ("0 * * 1-31 1/1 ?", "* * * * *"),
        ("0 /20 6 * * ?", "0,20,40 6 * * *"),
    ],
)
def test_a_quartz_expression_is_said_to_airflow(quartz_cron: str, cron: str) -> None:
    assert quartz.as_cron(quartz_cron) == cron


@pytest.mark.parametrize(
    ("tables", "more", "instance", "said"),
    [
        (changed("dev", "workspace.hots", "x"), "", "", "{file}: workspace.hots: unknown key, did you mean 'host'"),
        (content("dev"), f"a = {'1' * 5000}", "", "{file}: holds a number of thousands of digits; accepted: "),
        (content("dev"), f"a = {'[' * 3000}{']' * 3000}", "", "{file}: is nested too deeply; accepted: "),
        (
            content("dev"),
            "",
            "eu",
            "INSTANCE 'eu': 'dev-eu' is the name of environments/dev-eu.toml or of an instance of it; ",
        ),
    ],
    ids=["key", "digits", "brackets", "collision"],
)
def test_the_program_says_it_in_one_line_and_writes_nothing(
    tmp_path: Path, tables: dict[str, Any], more: str, instance: str, said: str
) -> None:
    (tmp_path / "environments").mkdir()
    file = tmp_path / "environments" / "dev.toml"
    file.write_text(f"{toml(tables)}\n{more}", encoding="utf-8")
    if instance:
        (tmp_path / "environments" / f"dev-{instance}.toml").write_text(toml(content("dev")), encoding="utf-8")
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from infra.commands import main; sys.exit(main(['synth']))",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "INSTANCE": instance}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said.format(file='environments/dev.toml')}")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["environments"]


@pytest.mark.slow
def test_synthesis_rejects_what_the_check_rejects_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    text = toml(changed("dev", "pipelines.iris", {"metric": "acuracy"}))
    (tmp_path / "environments" / "dev.toml").write_text(text, encoding="utf-8")
    (tmp_path / "dist").mkdir()
    with zipfile.ZipFile(tmp_path / "dist" / "ml_pipeline-0.1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("ml_pipeline/__init__.py", "")
    lines = []
    for program, *arguments in (
        ("from infra.commands import main; sys.exit(main(sys.argv[1:]))", "synth"),
        ("from ml_pipeline.cli.main import main; main()", "check", "--environment=environments/dev.toml"),
    ):
        command = [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r}); {program}", *arguments]
        environment_ = {**os.environ, "CDKTF_OUTDIR": str(tmp_path / "out")}
        done = subprocess.run(command, cwd=tmp_path, env=environment_, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        lines.append(done.stderr)
    assert lines[0] == lines[1]
    assert lines[0].startswith("error: environments/dev.toml: pipelines.iris.metric: is not a scikit-learn scorer")
    assert not list(tmp_path.glob("out/stacks/*"))


def test_where_nothing_is_deployed_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "local.toml").write_text((ENVIRONMENTS / "local.toml").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(InputError, match=r"no environment file has a \[workspace\] table"):
        environment.load_all(tmp_path)


@pytest.mark.parametrize(
    "expression",
    ["0 0 6 * * ?", "0 0/15 8-17 ? * MON-FRI", "0 30 10 L * ?", "0 0 12 1W * ?", "0 0 0 LW * ?", "0 0 3 ? * 6#3",
     "0 0 3 ? * FRIL", "59 59 23 31 DEC ? 2099", "0 0,30 * ? JAN,JUL 2", "0 0 1 L-3 * ? *",
     "0 /5 * * * ?", "0 0 6 29 FEB ?", "0 0 6 ? FEB MON#5", "0 0 6 ? * FRI-MON", "0 0 6 1,15 * ? 2098,2099"],
)  # fmt: skip
def test_quartz_expressions_are_accepted(expression: str) -> None:
    assert quartz.checked(expression) == expression


@pytest.mark.parametrize(
    "expression",
    ["", "* * * * *", "0 0 6 * * ? 2030 x", "60 0 6 * * ?", "0 0 6 ? * ?", "0 0 6 32 * ?", "0 0 6 ? * 8",
     "0 0 6 ? * MON#6", "0 0 6 * 13 ?", "0 0/0 6 * * ?", "0 0 6 * FOO ?", "0 a-b 6 * * ?", "0 -5 6 * * ?",
     "0 0 6 * * ? 1969", "0 0 6,, * * ?", "@daily", "0 0 6 1,? * ?", "0 0 6 L,15 * ?", "0 0 6 1W,15 * ?",
     "0 0 6 ? * 2#1,3#2", "0 0 6 ? * FRIL,2", "0 ٣ 6 * * ?", "0 0 6 * * ?\n", "0 0 6 * * ? 2001",
     "0 0 6 * * ? 1970-2001", "0 0 6 * * ? 2099-2098", "0 0 6 30 FEB ?", "0 0 6 31 4,6 ?", "0 0 6 29 FEB ? 2098,2099",
     "0 / 6 * * ?", "0 0 6 ? * MON/2", "0 0 6 ? * MON-5", "0 0 6 ? * 2-FRI", f"0 {'1' * 5000} 6 * * ?"],
)  # fmt: skip
def test_other_expressions_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="accepted"):
        quartz.checked(expression)


def test_a_copy_of_the_content_is_what_is_changed() -> None:
    before = copy.deepcopy(content("dev"))
    changed("dev", "workspace.host", "x")
    assert content("dev") == before
