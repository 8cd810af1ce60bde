"""Who may do what in Unity Catalog."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied

from infra.rehearsal import server
from tests.rehearsal import user
from tests.rehearsal.principals import (
    LOGS,
    NAMES,
    OUTSIDER,
    OWN,
    READER,
    READS,
    Registered,
    did,
    new_version,
    registry,
)

FILE = "/Volumes/principals/deployed/files/x"
PRIVILEGED: Mapping[str, tuple[Callable[[WorkspaceClient, Registered], Any], set[str]]] = {
    "see the schema": (lambda c, r: c.schemas.get(r.schema), READS),
    "describe the schema": (lambda c, r: c.schemas.update(r.schema, comment="x"), LOGS),
    "make a schema": (lambda c, _: c.schemas.create(f"s{uuid.uuid4()}", "principals"), OWN),
    "delete a schema": (lambda c, _: c.schemas.delete("principals.of-the-administrator", force=True), set()),
    "make a model": (
        lambda c, _: c.registered_models.create(
            catalog_name="principals", schema_name="deployed", name=f"m{uuid.uuid4()}"
        ),
        LOGS,
    ),
    "see the model": (lambda c, r: c.registered_models.get(r.model), READS),
    "see the model by MLflow": (lambda c, r: registry(c, "GET", "registered-models/get", name=r.model), READS),
    "see a version": (lambda c, r: c.model_versions.get(r.model, int(r.version)), READS),
    "see a version by MLflow": (
        lambda c, r: registry(c, "GET", "model-versions/get", name=r.model, version=r.version),
        READS,
    ),
    "list versions": (lambda c, r: [*c.model_versions.list(r.model)], READS),
    "make a version": (new_version, LOGS),
    "write a version's file": (
        lambda c, r: c.files.upload(
            f"/Models/principals/deployed/model/{r.version}/f", io.BytesIO(b""), overwrite=True
        ),
        LOGS,
    ),
    "set an alias": (
        lambda c, r: registry(c, "POST", "registered-models/alias", name=r.model, alias="champion", version=r.version),
        LOGS,
    ),
    "set an alias with another name in the address": (
        lambda c, r: c.api_client.do(
            "POST",
            "/api/2.0/mlflow/unity-catalog/registered-models/alias",
            query={"name": "principals.deployed.none"},
            body={"name": r.model, "alias": "champion", "version": r.version},
        ),
        LOGS,
    ),
    "tag a version": (
        lambda c, r: registry(c, "POST", "model-versions/set-tag", name=r.model, version=r.version, key="k", value="v"),
        LOGS,
    ),
    "describe the model": (
        lambda c, r: registry(c, "PATCH", "registered-models/update", name=r.model, description="d"),
        LOGS,
    ),
    "delete a model": (lambda c, r: c.registered_models.delete(r.another("gone")), LOGS),
    "read a file": (lambda c, _: c.files.download(FILE), READS),
    "write a file": (lambda c, _: c.files.upload(FILE, io.BytesIO(b"y"), overwrite=True), LOGS),
    "grant": (
        lambda c, r: r.grant(c, "schema", r.schema, READER, "USE_SCHEMA"),
        LOGS,
    ),
    "grant on the catalog": (lambda c, r: r.grant(c, "catalog", "principals", READER, "USE_CATALOG"), set()),
}


@pytest.mark.parametrize("what", PRIVILEGED)
def test_each_has_the_privileges_that_they_should_and_no_more(registered: Registered, what: str) -> None:
    act, allowed = PRIVILEGED[what]
    done = {principal for principal in NAMES if did(act, registered.clients[principal], registered)}
    assert {NAMES[one] for one in done} == {NAMES[one] for one in allowed}


def test_lists_of_a_catalog_show_what_each_may_see(registered: Registered) -> None:
    for principal, client in registered.clients.items():
        sees = principal in READS
        assert (registered.schema in [one.full_name for one in client.schemas.list("principals")]) == sees
        models = client.registered_models.list(catalog_name="principals", schema_name="deployed")
        assert (registered.model in [one.full_name for one in models]) == sees
        found = registry(client, "GET", "registered-models/search").get("registered_models", [])
        assert (registered.model in [one["name"] for one in found]) == sees


def test_a_privilege_on_a_schema_is_nothing_without_those_above_it(
    registered: Registered, client: WorkspaceClient, served: server.Served
) -> None:
    """ALL_PRIVILEGES is not MANAGE, and neither is of use to who may not use the catalog."""
    outsider = user.connect(served, OUTSIDER)
    registered.grant(client, "schema", registered.schema, OUTSIDER, "ALL_PRIVILEGES")
    with pytest.raises(PermissionDenied):
        outsider.registered_models.get(registered.model)
    registered.grant(client, "catalog", "principals", OUTSIDER, "USE_CATALOG")
    assert outsider.registered_models.get(registered.model).full_name == registered.model
    with pytest.raises(PermissionDenied, match="MANAGE"):
        registry(
            outsider, "POST", "registered-models/alias", name=registered.model, alias="a", version=registered.version
        )
