"""`infra doctor` against a workspace: what is missing is named, and the commands that it prints make it."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound
from databricks.sdk.service import catalog, compute, workspace

from infra import commands
from infra.doctor import workspace as doctor
from infra.doctor.environments import PLACEHOLDER
from infra.doctor.finding import Finding
from infra.environment import environment
from infra.rehearsal import server

ROOT = Path(__file__).parents[2]
DEPLOYER, RUNNER = "00000000-0000-0000-0000-0000000000d1", "00000000-0000-0000-0000-0000000000d2"
FOLDER = f"/Users/{DEPLOYER}/doctor"
WORKSPACE = f"""\
[workspace]
host = "HOST"
auth = "github-oidc"
client_id = "{DEPLOYER}"
run_as = "{RUNNER}"
folder = "{FOLDER}"
"""
COMPUTE = """\
[compute]
spark_env_vars = { API_TOKEN = "{{secrets/doctor/token}}" }
"""


@pytest.fixture
def file(served: server.Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of an environment whose workspace is the rehearsal's, for a person who signs in there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
    monkeypatch.setenv("DATABRICKS_HOST", served.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", served.token)
    text = (ROOT / "tests" / "environments" / "staging.toml").read_text(encoding="utf-8")
    rest = text[text.index("[compute]") :].replace("m6id.xlarge", "i3.xlarge").replace("[compute]\n", COMPUTE)
    (tmp_path / "environments").mkdir()
    file = tmp_path / "environments" / "staging.toml"
    file.write_text(WORKSPACE.replace("HOST", served.host) + rest, encoding="utf-8")
    return file


def findings(file: Path) -> dict[str, Finding]:
    return {one.subject: one for one in doctor.findings(file, environment.load(file))}


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def missing(*_: object, **__: object) -> object:
    raise NotFound("it does not exist")


def run(client: WorkspaceClient, host: str, line: str) -> None:
    """Do what Databricks' command line does for a line that the doctor printed."""
    variable, program, *words = shlex.split(line)
    assert (variable, program) == (f"DATABRICKS_HOST={host}", "databricks")
    match words:
        case ["workspace", "mkdirs", path]:
            client.workspace.mkdirs(path)
        case ["grants", "update", "catalog", name, "--json", body]:
            client.api_client.do("PATCH", f"/api/2.1/unity-catalog/permissions/catalog/{name}", body=json.loads(body))
        case ["secrets", "create-scope", scope]:
            client.secrets.create_scope(scope)
        case ["secrets", "put-secret", scope, key]:
            client.secrets.put_secret(scope, key, string_value="a secret")
        case ["secrets", "put-acl", scope, principal, permission]:
            client.secrets.put_acl(scope, principal, workspace.AclPermission(permission))
        case _:
            raise AssertionError(line)


def test_the_printed_commands_set_up_a_workspace(
    file: Path, served: server.Served, client: WorkspaceClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(["doctor", "--environment", "staging"]) == 1
    out, error = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("DATABRICKS_HOST=")]
    for text in (
        f"{FOLDER} is missing",
        f"{DEPLOYER} is not granted USE_CATALOG and CREATE_SCHEMA on staging; "
        f"{RUNNER} is not granted USE_CATALOG on staging; account users is not granted USE_CATALOG on staging",
        f"scope doctor is missing; secret doctor/token is missing; {RUNNER} may not read scope doctor",
    ):
        assert text in out
    assert error.startswith("error: not ready for the git flow (4 ok, 3 gap, 0 not checked); review and run")
    assert len(lines) == 7

    for line in lines:
        run(client, served.host, line)

    assert commands.main(["doctor", "--environment", "staging"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "7 ok, 0 gap, 0 not checked"
    assert served.token not in out
    assert file.exists()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"i3.xlarge"', '"i9.huge"', "compute: node type i9.huge is not offered"),
        ('"17.3.x-cpu-ml-scala2.13"', '"10.4.x-scala2.12"', "compute: version 10.4.x-scala2.12 is not offered"),
        ("num_workers = 0", 'num_workers = 0\npolicy_id = "P1"', "compute: policy P1 is missing"),
        (DEPLOYER, PLACEHOLDER, "file: workspace.client_id is the example's"),
    ],
)
def test_what_a_file_names_and_the_workspace_lacks_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, text: str
) -> None:
    # The rehearsal workspace does not implement policies.
    monkeypatch.setattr(compute.ClusterPoliciesAPI, "get", missing)
    change(file, old, new)
    (found,) = [one for one in findings(file).values() if f"{one.subject}: {one.text}" == f"staging: {text}"]
    assert found.state == "gap"
    assert found.remedy.startswith(("# change ", "# edit "))


def test_a_missing_catalog_or_principal_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog.CatalogsAPI, "get", missing)
    monkeypatch.setattr("databricks.sdk.service.iam.ServicePrincipalsV2API.list", lambda *_, **__: iter(()))
    monkeypatch.setattr("databricks.sdk.service.iam.ServicePrincipalsAPI.list", lambda *_, **__: iter(()))
    found = findings(file)
    assert found["staging: catalog"].text == "staging is missing"
    assert found["staging: catalog"].remedy.endswith(" databricks catalogs create staging")
    assert found["staging: service principals"].text == (
        f"{DEPLOYER} is not in the workspace; {RUNNER} is not in the workspace"
    )


@pytest.mark.parametrize(
    ("variables", "outcome", "text"),
    [
        ({"DATABRICKS_TOKEN": "another"}, "gap", "rejects the credentials"),
        ({"DATABRICKS_TOKEN": ""}, "not checked", "no credentials: "),
        ({"DATABRICKS_HOST": "https://other.cloud.databricks.com"}, "not checked", "DATABRICKS_TOKEN is not for http"),
        ({"DATABRICKS_HOST": ""}, "not checked", "DATABRICKS_TOKEN is not for http"),
    ],
)
def test_a_sign_in_that_fails_ends_the_checks_of_a_workspace(
    file: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], outcome: str, text: str
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file.with_name("none")))
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    found = findings(file)
    assert found["staging: sign-in"].state == outcome
    assert text in found["staging: sign-in"].text
    assert found.keys() == {"staging: file", "staging: sign-in"}


def test_a_profile_signs_in_and_leaves_the_variables_for_the_next_workspace(
    file: Path, served: server.Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = file.with_name("profiles")
    profile.write_text(f"[team]\nhost = {served.host}\ntoken = {served.token}\n", encoding="utf-8")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(profile))
    monkeypatch.setenv("DATABRICKS_TOKEN", "of another workspace")
    change(file, "i3.xlarge", "i9.huge")
    change(file, f'auth = "github-oidc"\nclient_id = "{DEPLOYER}"', 'auth = "profile"\nprofile = "team"')

    found = findings(file)

    assert found["staging: sign-in"].state == "ok"
    call = found["staging: compute"].remedy
    assert call.endswith(" databricks clusters list-node-types --profile team")
    assert os.environ["DATABRICKS_TOKEN"] == "of another workspace"


def test_the_workspace_of_an_example_is_not_asked(file: Path, served: server.Served) -> None:
    change(file, served.host, "https://staging.cloud.databricks.com")
    found = findings(file)
    assert found["staging: file"].text == "workspace.host is the example's"
    assert found["staging: sign-in"].state == "not checked"
