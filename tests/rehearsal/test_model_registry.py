"""MLflow's own client, with ``databricks`` and ``databricks-uc``: runs, artifacts, models, and what is refused."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pandas as pd
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors.base import DatabricksError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from infra.rehearsal import server
from tests.rehearsal import user

EXPERIMENT = "/Shared/registry"
MODEL = "main.registry.model"


@pytest.fixture(scope="module")
def model(client: WorkspaceClient, served: server.Served) -> str:
    """A model whose version 1 is the champion."""
    client.schemas.create("registry", "main")
    with pytest.MonkeyPatch.context() as monkeypatch:
        user.use_mlflow(served, monkeypatch)
        user.register(MODEL, experiment=EXPERIMENT)
        MlflowClient().set_registered_model_alias(MODEL, "champion", "1")
    return MODEL


@pytest.fixture(autouse=True)
def there(served: server.Served, monkeypatch: pytest.MonkeyPatch) -> None:
    user.use_mlflow(served, monkeypatch)


def test_artifacts_go_to_signed_addresses_and_come_back(tmp_path: Path) -> None:
    mlflow.set_experiment(EXPERIMENT)
    large = tmp_path / "large"
    large.write_bytes(bytes(70 * 1024 * 1024))
    with mlflow.start_run() as run:
        mlflow.log_text("", "empty.txt")
        mlflow.log_text("x", "a folder/ü/small.txt")
        mlflow.log_text("x", "q?x#y%20z.txt")
        mlflow.log_artifact(str(large))
    there = MlflowClient()
    found = there.get_run(run.info.run_id).info
    paths = [one.path for one in there.list_artifacts(found.run_id)]
    back = mlflow.artifacts.download_artifacts(run_id=found.run_id, artifact_path="", dst_path=str(tmp_path / "back"))

    assert found.artifact_uri == (f"dbfs:/databricks/mlflow-tracking/{found.experiment_id}/{found.run_id}/artifacts")
    assert sorted(paths) == ["a folder", "empty.txt", "large", "q?x#y%20z.txt"]
    assert Path(back, "a folder", "ü", "small.txt").read_text() == "x"
    assert Path(back, "empty.txt").read_bytes() == b""
    assert Path(back, "large").stat().st_size == large.stat().st_size


def signed(client: WorkspaceClient, what: str, path: str) -> str:
    run = client.experiments.create_run(experiment_id=mlflow.set_experiment(EXPERIMENT).experiment_id).run
    assert run is not None
    assert run.info is not None
    asked = {"run_id": run.info.run_id, "path": [path]}
    answer = client.api_client.do("POST", f"/api/2.0/mlflow/artifacts/credentials-for-{what}", body=asked)
    assert isinstance(answer, dict)
    return str(answer["credential_infos"][0]["signed_uri"])


def status(method: str, uri: str) -> int:
    """Of an answer to whoever has nothing but the address."""
    parts = urlsplit(uri)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request(method, f"{parts.path}?{parts.query}", b"content" if method == "PUT" else None)
    return connection.getresponse().status


def test_a_signed_address_is_for_one_file_and_one_method(client: WorkspaceClient) -> None:
    write = signed(client, "write", "file.txt")

    assert status("PUT", write) == 200
    assert status("GET", write) == 403
    assert status("PUT", write.replace("file.txt", "other.txt")) == 403
    assert status("PUT", write.partition("?")[0]) == 403
    assert status("GET", signed(client, "read", "none.txt")) == 404
    with pytest.raises(DatabricksError, match="Invalid path") as caught:
        signed(client, "write", "../../../token")
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_model_is_logged_registered_and_loaded(model: str) -> None:
    rows = pd.DataFrame({"a": [0.0, 3.0]})
    there = MlflowClient()
    version = there.get_model_version_by_alias(model, "champion")
    run = there.get_run(str(version.run_id))
    loaded = mlflow.pyfunc.load_model(f"models:/{model}@champion")

    assert list(loaded.predict(rows)) == ["x", "y"]
    assert (str(version.version), version.status, version.aliases) == ("1", "READY", ["champion"])
    assert there.get_model_version(model, "1").run_id == run.info.run_id
    (logged,) = run.outputs.model_outputs
    location = there.get_logged_model(logged.model_id).artifact_location
    assert location.startswith(f"dbfs:/databricks/mlflow-tracking/{run.info.experiment_id}/logged_models/")
    assert list(mlflow.pyfunc.load_model(f"models:/{logged.model_id}").predict(rows)) == ["x", "y"]


def test_a_version_without_its_files_is_pending(client: WorkspaceClient, model: str) -> None:
    asked = {"name": model, "source": "dbfs:/databricks/mlflow-tracking/1/2/artifacts"}
    made = client.api_client.do("POST", "/api/2.0/mlflow/unity-catalog/model-versions/create", body=asked)
    assert isinstance(made, dict)
    version = made["model_version"]["version"]
    there = MlflowClient()
    before = there.get_model_version(model, version).status
    there.delete_model_version(model, version)

    assert before == "PENDING_REGISTRATION"
    with pytest.raises(DatabricksError, match="does not exist"):
        client.files.upload(f"/Models/{model.replace('.', '/')}/{version}/model.pkl", io.BytesIO(b""))


def test_a_model_is_renamed_described_and_removed(client: WorkspaceClient) -> None:
    there, new = MlflowClient(), "main.changed.after"
    client.schemas.create("changed", "main")
    user.register("main.changed.before", experiment=EXPERIMENT)
    there.set_registered_model_alias("main.changed.before", "champion", "1")
    there.rename_registered_model("main.changed.before", new)
    there.update_registered_model(new, "of a model")
    there.update_model_version(new, "1", "of a version")
    there.set_registered_model_tag(new, "team", "ml")
    there.set_model_version_tag(new, "1", "test", "passed")
    found, version = there.get_registered_model(new), there.get_model_version(new, "1")

    assert mlflow.pyfunc.load_model(f"models:/{new}/1") is not None
    assert (found.description, found.tags, found.aliases) == ("of a model", {"team": "ml"}, {"champion": "1"})
    assert (version.description, version.tags) == ("of a version", {"test": "passed"})
    there.delete_registered_model_tag(new, "team")
    there.delete_model_version_tag(new, "1", "test")
    there.delete_registered_model_alias(new, "champion")
    assert (there.get_registered_model(new).tags, there.get_model_version(new, "1").aliases) == ({}, [])
    there.delete_registered_model(new)
    client.schemas.delete("main.changed")  # It would not, if anything were left.


def test_the_sdk_sees_the_same(client: WorkspaceClient, model: str) -> None:
    (listed,) = client.model_versions.list(model)
    (alias,) = client.model_versions.get_by_alias(model, "champion").aliases or []
    source = client.model_versions.get(model, 1).source

    assert (listed.version, listed.catalog_name, listed.schema_name, listed.model_name) == (
        1,
        "main",
        "registry",
        "model",
    )
    assert (alias.alias_name, alias.version_num) == ("champion", 1)
    assert str(source).startswith("models:/")
    assert EXPERIMENT in [one.name for one in client.experiments.list_experiments()]
    assert model in [one.name for one in MlflowClient().search_registered_models()]
    assert [one.version for one in MlflowClient().search_model_versions(f"name='{model}'")] == ["1"]


UNKNOWN, WRONG = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
# What is called, the error code, and what the message names.
REFUSED: dict[str, tuple[Callable[[MlflowClient], object], str, str]] = {
    "model twice": (lambda call: call.create_registered_model(MODEL), "RESOURCE_ALREADY_EXISTS", MODEL),
    "schema": (lambda call: call.create_registered_model("main.nowhere.m"), UNKNOWN, "main.nowhere"),
    "model": (lambda call: call.get_registered_model("main.registry.none"), UNKNOWN, "main.registry.none"),
    "model of a version": (lambda call: call.get_model_version("main.registry.none", "1"), UNKNOWN, "registry.none"),
    "version": (lambda call: call.get_model_version(MODEL, "99"), UNKNOWN, "99"),
    "alias": (lambda call: call.get_model_version_by_alias(MODEL, "nobody"), UNKNOWN, "nobody"),
    "filter": (lambda call: call.search_model_versions("tag.a = 'b'"), WRONG, "tag.a"),
    "two filters": (lambda call: call.search_model_versions("name='a' and run_id='b'"), WRONG, "run_id"),
    "key with a dot": (lambda call: call.set_model_version_tag(MODEL, "1", "a.b", ""), WRONG, "a.b"),
    "key of a model": (lambda call: call.set_registered_model_tag(MODEL, "a=b", ""), WRONG, "a=b"),
    "key too long": (lambda call: call.set_model_version_tag(MODEL, "1", "k" * 256, ""), WRONG, "kk"),
    "value too long": (lambda call: call.set_model_version_tag(MODEL, "1", "a", "v" * 1001), WRONG, "1000"),
    "name with a slash": (lambda call: call.rename_registered_model(MODEL, "main.registry.x/y"), WRONG, "x/y"),
    "name with a space": (lambda call: call.create_registered_model("main.registry.x y"), WRONG, "x y"),
    "name of the schema": (lambda call: call.create_registered_model("main.x/y.z"), WRONG, "schema_name"),
    "name too long": (lambda call: call.create_registered_model(f"main.registry.{'x' * 256}"), WRONG, "255"),
    "a page of none": (lambda call: call.search_registered_models(max_results=0), WRONG, "max_results"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(model: str, what: str) -> None:
    call, code, named = REFUSED[what]
    with pytest.raises(MlflowException) as caught:
        call(MlflowClient())
    assert caught.value.error_code == code
    assert named in str(caught.value)
    assert model in [one.name for one in MlflowClient().search_registered_models()]


REGISTRY, RUNS, CATALOG = "/api/2.0/mlflow/unity-catalog", "/api/2.0/mlflow", "/api/2.1/unity-catalog"
NEW = {"name": "main.registry.half"}
# What no client of MLflow's sends, and what the message names.
RAW: dict[str, tuple[str, str, object, str]] = {
    "tags": ("POST", f"{REGISTRY}/registered-models/create", NEW | {"tags": "abc"}, "tags"),
    "a tag": ("POST", f"{REGISTRY}/registered-models/create", NEW | {"tags": [1]}, "tags"),
    "a tag's value": (
        "POST",
        f"{REGISTRY}/registered-models/create",
        NEW | {"tags": [{"key": "a", "value": 3}]},
        "'a'",
    ),
    "a tag's key": ("POST", f"{REGISTRY}/registered-models/create", NEW | {"tags": [{"key": "a@"}]}, "a@"),
    "description": ("POST", f"{REGISTRY}/registered-models/create", NEW | {"description": 5}, "comment"),
    "new name": ("PATCH", f"{REGISTRY}/registered-models/update", {"name": MODEL, "new_name": 3}, "new_name"),
    "name of a path": ("PATCH", f"{CATALOG}/models/{MODEL}", {"new_name": "x/../../y"}, "new_name"),
    "name of a folder": ("POST", f"{CATALOG}/schemas", {"name": "s", "catalog_name": "/tmp/x"}, "catalog_name"),
    "number": ("POST", f"{REGISTRY}/model-versions/finalize", {"name": MODEL, "version": "01"}, "01"),
    "no number": ("POST", f"{REGISTRY}/model-versions/finalize", {"name": MODEL, "version": 1}, "version"),
    "logged model": (
        "POST",
        f"{REGISTRY}/model-versions/create",
        {"name": MODEL, "source": "dbfs:/x", "model_id": "m-123"},
        "m-123",
    ),
    "path": ("POST", f"{RUNS}/artifacts/credentials-for-read", {"run_id": "{run}", "path": ["a\0b"]}, "path"),
    "paths": ("POST", f"{RUNS}/artifacts/credentials-for-read", {"run_id": "{run}", "path": [5]}, "path"),
    "location": (
        "POST",
        f"{RUNS}/experiments/create",
        {"name": "/Shared/located", "artifact_location": "/tmp/x"},
        "artifact_location",
    ),
    "folder": ("POST", f"{RUNS}/experiments/create", {"name": "/Shared"}, "/Shared"),
    "batch": ("POST", f"{RUNS}/runs/log-batch", {"run_id": "{run}", "tags": [5]}, "log-batch"),
    "page": ("DELETE", "/ajax-api/2.0/mlflow/registered-models/delete", {"name": MODEL}, "pages"),
    "page below": ("DELETE", "/mlflow/ajax-api/2.0/mlflow/registered-models/delete", {"name": MODEL}, "pages"),
}


@pytest.mark.parametrize("what", RAW)
def test_refusals_of_what_no_client_sends(client: WorkspaceClient, model: str, what: str) -> None:
    method, path, sent, named = RAW[what]
    run = MlflowClient().create_run(mlflow.set_experiment(EXPERIMENT).experiment_id).info.run_id
    given = json.loads(json.dumps(sent).replace("{run}", run))
    with pytest.raises(DatabricksError) as caught:
        client.api_client.do(method, path, body=given)
    assert named in str(caught.value)
    assert caught.value.error_code not in ("INTERNAL_ERROR", "UNKNOWN")
    assert model in [one.name for one in MlflowClient().search_registered_models()]
    assert "main.registry.half" not in [one.full_name for one in client.registered_models.list(catalog_name="main")]
    with pytest.raises(MlflowException):
        MlflowClient().get_registered_model("main.registry.half")
    assert [str(one.version) for one in MlflowClient().search_model_versions(f"name='{model}'")] == ["1"]


def test_a_model_is_not_renamed_onto_another(model: str) -> None:
    there = MlflowClient()
    there.create_registered_model("main.registry.other")
    with pytest.raises(MlflowException, match="already exists") as caught:
        there.rename_registered_model("main.registry.other", model)
    assert caught.value.error_code == "RESOURCE_ALREADY_EXISTS"
    there.delete_registered_model("main.registry.other")
    assert there.get_model_version_by_alias(model, "champion").status == "READY"


def test_a_name_is_kept_in_lower_case(client: WorkspaceClient, model: str) -> None:
    schema = client.schemas.create("Upper", "main")
    there = MlflowClient()
    assert (schema.name, schema.full_name) == ("upper", "main.upper")
    assert there.create_registered_model("main.registry.Upper").name == "main.registry.upper"
    assert there.get_registered_model("Main.Registry.UPPER").name == "main.registry.upper"
    there.delete_registered_model("main.registry.uppeR")
    assert there.get_model_version(model.upper(), "1").status == "READY"


def test_the_files_of_a_version_stay_as_they_are(client: WorkspaceClient, model: str) -> None:
    folder = f"/Models/{model.replace('.', '/')}/1"
    (first, *_) = [one.path for one in client.files.list_directory_contents(folder) if not one.is_directory]
    for change in (
        lambda: client.files.upload(str(first), io.BytesIO(b"other"), overwrite=True),
        lambda: client.files.delete(str(first)),
        lambda: client.files.delete_directory(folder),
    ):
        with pytest.raises(DatabricksError, match="can't be changed") as caught:
            change()
        assert caught.value.error_code == "PERMISSION_DENIED"


def test_a_version_of_files_of_this_machine(client: WorkspaceClient, model: str, tmp_path: Path) -> None:
    mlflow.artifacts.download_artifacts(f"models:/{model}/1", dst_path=str(tmp_path))
    client.schemas.create("files", "main")
    there = MlflowClient()
    there.create_registered_model("main.files.m")
    version = there.create_model_version("main.files.m", str(tmp_path))
    assert version.source == str(tmp_path)
    assert mlflow.pyfunc.load_model("models:/main.files.m/1") is not None


def test_a_name_has_three_levels() -> None:
    with pytest.raises(MlflowException, match="all three levels"):
        MlflowClient().create_registered_model("registry.model")


def test_the_51st_tag_is_refused(client: WorkspaceClient) -> None:
    client.schemas.create("tags", "main")
    there = MlflowClient()
    there.create_registered_model("main.tags.m", tags={"first": ""})
    for number in range(49):
        there.set_registered_model_tag("main.tags.m", f"tag {number}", "")
    there.set_registered_model_tag("main.tags.m", "first", "again")
    with pytest.raises(MlflowException, match="51 tags; at most 50"):
        there.set_registered_model_tag("main.tags.m", "one more", "")


def test_the_workspaces_own_registry_holds_no_model_of_the_catalog(model: str) -> None:
    with pytest.raises(MlflowException) as caught:
        MlflowClient("databricks", "databricks").get_registered_model(model)
    assert caught.value.error_code == "NOT_IMPLEMENTED"
