"""MLflow's own client, with ``databricks`` and ``databricks-uc``: runs, artifacts, models, and what is refused."""

from __future__ import annotations

import http.client
import io
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
        mlflow.log_artifact(str(large))
    there = MlflowClient()
    found = there.get_run(run.info.run_id).info
    paths = [one.path for one in there.list_artifacts(found.run_id)]
    back = mlflow.artifacts.download_artifacts(run_id=found.run_id, artifact_path="", dst_path=str(tmp_path / "back"))

    assert found.artifact_uri == (f"dbfs:/databricks/mlflow-tracking/{found.experiment_id}/{found.run_id}/artifacts")
    assert sorted(paths) == ["a folder", "empty.txt", "large"]
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
    "value too long": (lambda call: call.set_model_version_tag(MODEL, "1", "a", "v" * 1001), WRONG, "1001"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(model: str, what: str) -> None:
    call, code, named = REFUSED[what]
    with pytest.raises(MlflowException) as caught:
        call(MlflowClient())
    assert caught.value.error_code == code
    assert named in str(caught.value)
    assert model in [one.name for one in MlflowClient().search_registered_models()]


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
