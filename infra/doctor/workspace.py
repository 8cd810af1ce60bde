"""The workspace of an environment: who signs in, and whether all that the environment's file names is there."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from infra.doctor.environments import PLACEHOLDER
from infra.doctor.finding import Finding, judged
from infra.environment.environment import Environment
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.settings.references import SECRET
from ml_pipeline.settings.workspace import Workspace
from ml_pipeline.workspace.connection import Connection

_EVERYBODY = "account users"
_ALL = "ALL_PRIVILEGES"
_SECRETS = ("DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET")
_PATIENCE = 10.0
"""Seconds for which a person waits for a workspace."""
T = TypeVar("T")


def findings(file: Path, environment: Environment) -> Iterator[Finding]:
    """What the environment's file and its workspace lack.

    Args:
        file: The environment's file.
        environment: Its content.
    """
    yield from _of_file(file, environment)
    subject = f"{environment.name}: sign-in"
    if environment.workspace.host == _shipped_host(environment):
        yield Finding(subject=subject, state="not checked", text="the workspace is not named yet")
        return
    try:
        workspace = _Workspace(file, environment)
        caller = workspace.caller()
    except InputError as error:
        yield Finding(subject=subject, state="not checked", text=str(error))
        return
    except PipelineError as error:
        yield Finding(subject=subject, state="gap", text=str(error), remedy=f"# see [workspace] of {file}")
        return
    yield Finding(subject=subject, state="ok", text=f"{caller} at {workspace.host}")
    yield from workspace.findings(environment.deployer or caller)


def _shipped_host(environment: Environment) -> str:
    return f"https://{environment.name}.cloud.databricks.com"


def _of_file(file: Path, environment: Environment) -> Iterator[Finding]:
    problems = []
    if environment.workspace.host == _shipped_host(environment):
        problems.append("workspace.host is the example's")
    if environment.deployer == PLACEHOLDER:
        problems.append("workspace.client_id is the example's")
    if environment.state.backend == "local":
        problems.append("state.backend is 'local', which is lost with the workflow's machine")
    remedy = f"# edit {file} (docs/setup.md, Service principals, Store of the state)"
    yield judged(f"{environment.name}: file", problems, ok="host, service principal and state", remedy=remedy)


def _signed_in(workspace: Workspace) -> Workspace:
    """The sign-in of a person, if the file's is that of a workflow.

    Raises:
        InputError: the variables are for another workspace.
    """
    of_workflow = workspace.auth == "github-oidc"
    if workspace.auth == "profile" or (of_workflow and os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")):
        return workspace
    named, host = (one.rstrip("/") for one in (os.environ.get("DATABRICKS_HOST", ""), workspace.host or ""))
    secret = next((name for name in _SECRETS if os.environ.get(name)), "")
    # The secret of one workspace is not sent to another one.
    if secret and host and named != host and (named or of_workflow):
        raise InputError(
            f"{secret} is not for {host}; set DATABRICKS_HOST too, or sign in with 'databricks auth login'"
        )
    return workspace.model_copy(update={"auth": "environment", "client_id": None})


class _Workspace(Connection):
    """The workspace of an environment.

    Raises:
        InputError: there are no usable credentials.
    """

    def __init__(self, file: Path, environment: Environment) -> None:
        before = dict(os.environ)
        super().__init__(file, _signed_in(environment.workspace))
        # A sign-in by profile removes variables that the next workspace may need.
        os.environ |= before
        self._environment = environment

    def ask(self, call: Callable[[], T], *, patience: float = _PATIENCE) -> T:
        """Send a request that may be repeated, for a short time."""
        return super().ask(call, patience=patience)

    def caller(self) -> str:
        """Who signs in."""
        return self.ask(self._client.current_user.me).user_name or "somebody"

    def findings(self, deployer: str) -> Iterator[Finding]:
        """What is missing for who deploys."""
        checks: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
            "service principals": self._principals,
            "folder": self._folder,
            "catalog": lambda: self._catalog(deployer),
            "compute": self._compute,
            "secrets": lambda: self._secrets(deployer),
        }
        for name, check in checks.items():
            subject = f"{self._environment.name}: {name}"
            try:
                found = list(check())
            except PipelineError as error:
                yield Finding(subject=subject, state="not checked", text=str(error))
                continue
            problems, remedies = [text for text, _ in found if text], [remedy for _, remedy in found]
            yield judged(subject, problems, ok="all there", remedy="\n".join(dict.fromkeys(remedies)))

    def _cli(self, call: str) -> str:
        """A call of Databricks' command line for this workspace."""
        if self._settings.auth == "profile":
            return f"databricks {call} --profile {shlex.quote(self._settings.profile or '')}"
        return f"DATABRICKS_HOST={shlex.quote(self.host)} databricks {call}"

    def _edit(self, key: str, call: str) -> str:
        """The step that changes a setting to one of a list."""
        return f"# change {key} in {self._file}: {self._cli(call)}"

    def _is_there(self, get: Callable[[], object]) -> bool:
        from databricks.sdk.errors import NotFound

        try:
            self.ask(get)
        except PipelineError as error:
            if isinstance(error.__cause__, NotFound):
                return False
            raise
        return True

    def _principals(self) -> Iterator[tuple[str, str]]:
        named = (self._environment.deployer, self._environment.workspace.run_as)
        for one in sorted({one for one in named if one}):
            listed = partial(self._client.service_principals.list, filter=f'applicationId eq "{one}"')
            if not list(self.ask(listed)):
                body = shlex.quote(json.dumps({"application_id": one, "active": True}))
                yield f"{one} is not in the workspace", self._cli(f"service-principals create --json {body}")

    def _folder(self) -> Iterator[tuple[str, str]]:
        folder = self._environment.workspace.folder
        if not self._is_there(lambda: self._client.workspace.get_status(folder)):
            yield f"{folder} is missing", self._cli(f"workspace mkdirs {shlex.quote(folder)}")

    def _catalog(self, deployer: str) -> Iterator[tuple[str, str]]:
        name = self._environment.catalog.name
        if not self._is_there(lambda: self._client.catalogs.get(name)):
            yield f"{name} is missing", self._cli(f"catalogs create {name}")
            return
        catalog = self.ask(lambda: self._client.catalogs.get(name))
        wanted = {deployer: ["USE_CATALOG", "CREATE_SCHEMA"]}
        roles = self._environment.permissions.catalog
        for one in (self._environment.workspace.run_as, *roles.managers, *roles.runners, *roles.viewers):
            if one:
                wanted.setdefault(one, ["USE_CATALOG"])
        grants = self.ask(lambda: self._client.grants.get_effective("catalog", name)).privilege_assignments or []
        for principal, privileges in wanted.items():
            # What a group is granted its members have too, but the workspace does not show who they are.
            own = [held for one in grants if one.principal in (principal, _EVERYBODY) for held in one.privileges or ()]
            held = {one.privilege.value for one in own if one.privilege}
            missing = [one for one in privileges if not held & {one, _ALL}]
            if missing and catalog.owner != principal:
                body = shlex.quote(json.dumps({"changes": [{"principal": principal, "add": missing}]}))
                yield (
                    f"{principal} is not granted {' and '.join(missing)} on {name}",
                    self._cli(f"grants update catalog {name} --json {body}"),
                )

    def _compute(self) -> Iterator[tuple[str, str]]:
        compute = self._environment.compute
        types = {one.node_type_id for one in self.ask(self._client.clusters.list_node_types).node_types or ()}
        node_type = compute.pool.node_type_id if compute.pool else compute.node_type_id
        if node_type and node_type not in types:
            yield f"node type {node_type} is not offered", self._edit("node_type_id", "clusters list-node-types")
        versions = {one.key for one in self.ask(self._client.clusters.spark_versions).versions or ()}
        if compute.spark_version not in versions:
            yield (
                f"version {compute.spark_version} is not offered",
                self._edit("spark_version", "clusters spark-versions"),
            )
        policy = compute.policy_id or ""
        if policy and not self._is_there(lambda: self._client.cluster_policies.get(policy)):
            yield f"policy {policy} is missing", self._edit("policy_id", "cluster-policies list")

    def _secrets(self, deployer: str) -> Iterator[tuple[str, str]]:
        compute = self._environment.compute
        values = [*compute.spark_conf.values(), *compute.spark_env_vars.values()]
        reader = self._environment.workspace.run_as or deployer
        named: dict[str, set[str]] = {}
        for scope, key in (match.groups() for value in values if (match := SECRET.fullmatch(value))):
            named.setdefault(scope, set()).add(key)
        made = {one.name for one in self.ask(lambda: list(self._client.secrets.list_scopes()))} if named else set()
        for scope, keys in sorted(named.items()):
            yield from self._scope(scope, keys, reader, made=scope in made)

    def _scope(self, scope: str, keys: Iterable[str], reader: str, *, made: bool) -> Iterator[tuple[str, str]]:
        held: set[str] = set()
        readers: set[str | None] = set()
        if made:
            held = {(one.key or "").lower() for one in self.ask(lambda: list(self._client.secrets.list_secrets(scope)))}
            readers = {one.principal for one in self.ask(lambda: list(self._client.secrets.list_acls(scope)))}
        else:
            yield f"scope {scope} is missing", self._cli(f"secrets create-scope {scope}")
        for key in sorted(keys):
            if key.lower() not in held:
                yield f"secret {scope}/{key} is missing", self._cli(f"secrets put-secret {scope} {key}")
        if not readers & {reader, "users"}:
            yield (
                f"{reader} may not read scope {scope}",
                self._cli(f"secrets put-acl {scope} {shlex.quote(reader)} READ"),
            )
