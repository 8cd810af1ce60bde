"""The tables of an environment file that say where and how the pipeline is deployed, typed and strict."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from infra.environment.quartz import as_cron
from infra.environment.quartz import checked as checked_cron
from ml_pipeline import jobs
from ml_pipeline.errors import InputError
from ml_pipeline.graph import Job
from ml_pipeline.settings import messages
from ml_pipeline.settings.files import DEFAULT_FOLDER, full_name, leaves, own_folder, read
from ml_pipeline.settings.files import load as load_pipeline
from ml_pipeline.settings.pipeline import PipelineSettings
from ml_pipeline.settings.types import Identifier, NonEmpty, Settings, matching


def _port(address: str) -> str:
    port = re.search(r":([0-9]+)/?$", address)
    if port and not 0 < int(port[1]) < 2**16:
        raise ValueError("must have a port from 1 to 65535, or none")
    return address


_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
Host = Annotated[
    str,
    matching(
        rf"https://{_LABEL}(\.{_LABEL})*(:[0-9]{{1,5}})?/?|http://(127\.0\.0\.1|localhost):[0-9]{{1,5}}/?",
        "an HTTPS address without a path, such as 'https://dev.cloud.databricks.com'",
    ),
    AfterValidator(_port),
]
WorkspacePath = Annotated[
    str,
    matching(
        r"/(Shared|Users|Repos)(/(?!\.{1,2}(/|$))(?! )[A-Za-z0-9@._ -]+(?<! ))*",
        "a path under /Shared, /Users or /Repos without '..', '//' and a slash at the end, such as '/Shared/team'",
    ),
]
CatalogName = Annotated[
    str, matching("[A-Za-z0-9_-]{1,255}", "up to 255 letters, digits, underscores and hyphens, such as 'dev'")
]
OwnSchema = Annotated[
    str,
    matching(
        # A copy's schema has a name of up to 30 characters after it, and Unity Catalog takes 255.
        "(?!information_schema$)[a-z][a-z0-9_]{0,223}",
        "up to 224 lower-case letters, digits and underscores that begin with a letter, such as 'iris', and not "
        "'information_schema', which each catalog has",
    ),
]
ApplicationId = Annotated[
    str,
    matching(
        "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "the application id of a service principal, such as '12345678-90ab-cdef-1234-567890abcdef'",
    ),
]
Bucket = Annotated[
    str,
    matching(
        r"(?!xn--|sthree-|amzn-s3-demo-)(?![0-9]+(\.[0-9]+){3}$)(?!.*(\.\.|-s3alias$|--ol-s3$|\.mrap$|--(x|table)-s3$))"
        "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "a name that S3 takes: 3 to 63 lower-case letters, digits, hyphens and single dots, no IP address, no reserved "
        "beginning or end, such as 'my-bucket'",
    ),
]
TagName = Annotated[
    str,
    matching("[A-Za-z0-9 _.:/=+@-]{1,127}", "up to 127 letters, digits, blanks and _.:/=+@-, such as 'cost centre'"),
]
Region = Annotated[str, matching("[a-z]{2}(-[a-z]+)+-[0-9]", "a region of AWS, such as 'eu-central-1'")]
KeyPath = Annotated[
    str,
    matching("[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", "a path without a slash at its ends, such as 'team/ml-pipeline'"),
]
KmsKey = Annotated[
    str,
    matching(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9_/-]+",
        "the ARN of a key, such as 'arn:aws:kms:eu-central-1:123456789012:alias/my-key'",
    ),
]
ConnectionId = Annotated[
    str, matching("[A-Za-z0-9_.-]+", "letters, digits, underscores, dots and hyphens, such as 'databricks_default'")
]
Engine = Literal["databricks", "airflow"]
_MOST = 100_000
"""What Databricks takes of machines, and more than anybody wants of the rest."""
Positive = Annotated[int, Field(gt=0, le=_MOST)]
Count = Annotated[int, Field(ge=0, le=_MOST)]


def _time_zone(name: str) -> str:
    # What a machine's own files call so says nothing to another one.
    if name not in zoneinfo.available_timezones() - {"localtime", "Factory", "posixrules"}:
        raise ValueError("is no time zone; accepted: a name of the IANA database, such as 'UTC' or 'Europe/Berlin'")
    return name


def _instance(name: str) -> str:
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?", name):
        raise InputError(
            f"INSTANCE '{name}': accepted: up to 30 lower-case letters, digits and hyphens, such as 'pr-123'"
        )
    return name


class GitFolder(Settings):
    """A Databricks Git folder that is linked to the repository."""

    url: Annotated[
        str,
        matching(
            r"https://[^@\s]+", "an HTTPS address without credentials, such as 'https://github.com/team/project.git'"
        ),
    ]
    """HTTPS address of the repository, without credentials."""
    provider: Literal[
        "gitHub",
        "gitHubEnterprise",
        "gitLab",
        "gitLabEnterpriseEdition",
        "bitbucketCloud",
        "bitbucketServer",
        "azureDevOpsServices",
        "awsCodeCommit",
    ] = "gitHub"
    path: WorkspacePath
    """Where in the workspace it lies."""
    branch: NonEmpty = "main"
    """The branch that is checked out."""


class Workspace(Settings):
    """The ``[workspace]`` table: which workspace, and who signs in."""

    host: Host | None = None
    """Address of the workspace; with ``auth = "environment"`` it may be left to DATABRICKS_HOST."""
    auth: Literal["github-oidc", "profile", "environment"]
    """Who signs in: the GitHub workflow by OpenID Connect, a profile of ~/.databrickscfg, or the SDK's variables."""
    client_id: ApplicationId | None = None
    """Service principal of the GitHub workflow."""
    profile: NonEmpty | None = None
    """Name of the profile."""
    production: bool = False
    """Whether what holds state is protected from being destroyed, and schedules run."""
    folder: WorkspacePath = DEFAULT_FOLDER
    """Folder of the workspace, one that exists, in which each environment and instance has one of its own."""
    run_as: ApplicationId | None = None
    """Service principal as which jobs run; who deploys where it is left out."""
    notify: list[Annotated[str, matching(r"[^@\s]+@[^@\s]+", "a mail address, such as 'team@example.com'")]] = []
    """Mail addresses that hear of failed and of slow runs."""
    git_folder: GitFolder | None = None

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        needed = {"github-oidc": ("client_id", "host"), "profile": ("profile",), "environment": ()}
        for key in needed[self.auth]:
            if getattr(self, key) is None:
                raise ValueError(f"auth '{self.auth}' needs the key '{key}'")
        for key, auth in (("client_id", "github-oidc"), ("profile", "profile")):
            if getattr(self, key) is not None and self.auth != auth:
                raise ValueError(f"{key} is for auth '{auth}'; accepted: that one, or no {key}")
        return self


class Pool(Settings):
    """The ``[compute.pool]`` table: machines that are kept warm between tasks."""

    node_type_id: NonEmpty
    min_idle_instances: Count = 0
    max_capacity: Positive = 10
    idle_instance_autotermination_minutes: Annotated[int, Field(ge=0, le=10_000)] = 15

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.min_idle_instances > self.max_capacity:
            raise ValueError(f"min_idle_instances {self.min_idle_instances} is above max_capacity {self.max_capacity}")
        return self


class Compute(Settings):
    """The ``[compute]`` table: the job clusters, drawn from a pool or made of machines of one type."""

    spark_version: Annotated[
        str,
        matching(
            r"[0-9]+\.([0-9]+|x)\.x?-?[a-z0-9.-]*scala2\.1[23]",
            "a runtime with its Scala, such as '17.3.x-cpu-ml-scala2.13'",
        ),
    ]
    """Runtime, such as ``17.3.x-cpu-ml-scala2.13``."""
    node_type_id: NonEmpty | None = None
    """Type of the machines, where there is no pool."""
    pool: Pool | None = None
    num_workers: Count = 0
    """Machines beside the driver; 0 is a cluster of one machine."""
    tags: dict[TagName, NonEmpty] = {}
    """Tags of clusters and pool, by which the cloud's bill tells them apart."""

    @field_validator("tags")
    @classmethod
    def _free(cls, tags: dict[str, str]) -> dict[str, str]:
        for name in ("environment", "instance"):
            if name in tags:
                raise ValueError(f"names '{name}', which the deployment sets itself; accepted: other names")
        return tags

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.node_type_id is None) == (self.pool is None):
            both = "both node_type_id and pool" if self.pool else "neither node_type_id nor pool"
            raise ValueError(f"has {both}; accepted: exactly one of them")
        return self


class Airflow(Settings):
    """The ``[schedule.airflow]`` table: the Airflow that runs batch inference with ``engine = "airflow"``."""

    bucket: Bucket
    """The S3 bucket that it reads its DAGs from."""
    region: Region
    """Where the bucket is."""
    prefix: KeyPath = "dags"
    """The bucket's folder of DAGs."""
    kms_key_id: KmsKey | None = None
    """ARN of the key that encrypts the DAG; the bucket's own encryption where it is left out."""
    connection: ConnectionId = "databricks_default"
    """Airflow's connection to the workspace."""
    retries: Count = 1
    """How often a run that failed is started again, after what the job's own tasks try."""


class Schedule(Settings):
    """The ``[schedule]`` table: when batch inference runs, and who starts it."""

    engine: Engine = "databricks"
    """Which of the two starts it: the job's own schedule, or a DAG; the other one is paused or absent."""
    cron: Annotated[str, AfterValidator(checked_cron)]
    """Quartz cron expression, as Databricks takes it: seconds first."""
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    paused: bool | None = None
    """Whether it is paused; left out, it is paused outside production."""
    airflow: Airflow | None = None
    """Where the DAG goes; read with ``engine = "airflow"`` only, so that changing the engine is changing one word."""

    @model_validator(mode="after")
    def _fit_for_airflow(self) -> Self:
        if self.engine == "airflow":
            if self.airflow is None:
                raise ValueError("engine 'airflow' needs the table 'airflow', with bucket and region")
            as_cron(self.cron)
        return self


class Catalog(Settings):
    """The ``[catalog]`` table: the place of tables, files and model in Unity Catalog."""

    name: CatalogName
    """A catalog that exists."""
    schema_: OwnSchema = Field(alias="schema")
    """The schema that is made in it."""
    volume: Identifier = "files"
    """The volume that is made in the schema."""


class Permissions(Settings):
    """The ``[permissions]`` table: which groups may do what."""

    managers: list[NonEmpty] = []
    """May change and run everything."""
    runners: list[NonEmpty] = []
    """May run jobs, log to the experiment and use model and tables."""
    viewers: list[NonEmpty] = ["users"]
    """May look at everything and read tables."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        groups = [*self.managers, *self.runners, *self.viewers]
        if not groups:
            raise ValueError("names no group; accepted: at least one")
        repeated = sorted({group for group in groups if groups.count(group) > 1})
        if repeated:
            raise ValueError(f"names {', '.join(map(repr, repeated))} more than once; accepted: each group once")
        return self


class LocalState(Settings):
    """Terraform's state in a file beside the project."""

    backend: Literal["local"]


class S3State(Settings):
    """Terraform's state in an S3 bucket, encrypted, with a lock file."""

    backend: Literal["s3"]
    bucket: Bucket
    region: Region
    key_prefix: KeyPath = "ml-pipeline"
    """What the state's key starts with; environment and instance follow."""
    encrypt: bool = True
    kms_key_id: KmsKey | None = None
    """ARN of the key of the encryption; the bucket's own where it is left out."""
    use_lockfile: bool = True


class _Tables(Settings):
    workspace: Workspace
    compute: Compute
    schedule: Schedule | None = None
    catalog: Catalog
    permissions: Permissions = Permissions()
    state: Annotated[LocalState | S3State, Field(discriminator="backend")]
    pipeline: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment, or an isolated copy of it, as it is deployed."""

    name: str
    """The file's name."""
    instance: str
    """Name of the copy; empty for the environment itself."""
    workspace: Workspace
    compute: Compute
    schedule: Schedule | None
    catalog: Catalog
    permissions: Permissions
    state: LocalState | S3State
    pipeline: PipelineSettings
    jobs: tuple[Job, ...]

    def signed_in_as(self, client_id: str) -> Self:
        """The same, with another service principal of the workflow, where a workflow signs in."""
        if self.workspace.auth != "github-oidc" or not client_id:
            return self
        return replace(self, workspace=self.workspace.model_copy(update={"client_id": client_id}))

    @property
    def full_name(self) -> str:
        """Name of the stack, and the start of what the environment makes."""
        return full_name(self.name, self.instance)

    @property
    def folder(self) -> str:
        """Folder in the workspace that holds all of it."""
        return own_folder(self.workspace.folder, self.name, self.instance)

    @property
    def protected(self) -> bool:
        """Whether a plan must not destroy what holds state."""
        return self.workspace.production and not self.instance

    @property
    def paused(self) -> bool:
        """Whether its schedule is paused."""
        paused = self.schedule.paused if self.schedule else None
        return bool(self.instance) or (not self.workspace.production if paused is None else paused)

    def scheduled_by(self, engine: Engine) -> bool:
        """Whether this engine starts runs by itself: one of them at most does."""
        return self.schedule is not None and self.schedule.engine == engine and not self.paused


def load(file: Path, *, instance: str = "") -> Environment:
    """Read an environment file.

    Args:
        file: The file.
        instance: Name of an isolated copy; the environment itself where it is empty.

    Raises:
        InputError: the file, or the instance's name, is not what is accepted.
    """
    if instance:
        _instance(instance)
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,59}", file.stem):
        raise InputError(
            f"{str(file)!r}: the names of all that is deployed begin with the file's; accepted: up to 60 lower-case "
            "letters, digits, hyphens and underscores that begin with a letter or digit, such as 'dev.toml'"
        )
    content = read(file)
    _check_texts(file, content)
    try:
        tables = _Tables.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{file}: " + messages.explain(error, _Tables)) from None
    _check_sources(file, content["pipeline"])
    pipeline = load_pipeline(file, instance=instance)
    return Environment(
        name=file.stem,
        instance=instance,
        workspace=tables.workspace,
        compute=tables.compute,
        schedule=tables.schedule,
        catalog=tables.catalog,
        permissions=tables.permissions,
        state=tables.state,
        pipeline=pipeline,
        jobs=jobs.declare(pipeline),
    )


def _check_texts(file: Path, content: dict[str, Any]) -> None:
    for key, text in leaves(content):
        found = re.search(r"[$%]\{", text) if isinstance(text, str) else None
        if found:
            raise InputError(
                f"{file}: {' '.join(key.splitlines())}: holds '{found[0]}', which Terraform would evaluate; "
                "accepted in what is deployed: other text"
            )


def _check_sources(file: Path, pipeline: dict[str, Any]) -> None:
    """A cluster has none of this machine's files: a path must be one that it can reach."""
    scored, watched = pipeline.get("batch_inference"), pipeline.get("monitoring")
    tables = {
        "source": pipeline.get("source"),
        "batch_inference.source": isinstance(scored, dict) and scored.get("source"),
        "monitoring.labels": isinstance(watched, dict) and watched.get("labels"),
    }
    for where, source in tables.items():
        for kind in ("csv", "parquet", "table"):
            path = source.get(kind) if isinstance(source, dict) else None
            if isinstance(path, str) and (kind != "table" or "/" in path) and not re.match(r"/|[a-z0-9]+:/", path):
                raise InputError(
                    f"{file}: pipeline.{where}.{kind}: '{path}' is relative; "
                    "accepted: a path that a cluster reaches, such as one under /Volumes"
                )


def load_all(folder: Path, *, instance: str = "") -> list[Environment]:
    """Every environment of a folder that is deployed: those whose file has a ``[workspace]`` table.

    Raises:
        InputError: a file is not what is accepted, there is none to deploy, or the copy of one has the name of another
            one, or of its copy.
    """
    files = [file for file in sorted(folder.glob("*.toml")) if "workspace" in read(file)]
    if not files:
        raise InputError(f"{folder}: no environment file has a [workspace] table; accepted: at least one")
    if instance:
        _check_collisions(files, instance)
    return [load(file, instance=instance) for file in files]


def _check_collisions(files: list[Path], instance: str) -> None:
    """What has the same name has the same state: to destroy one would destroy the other."""
    for file in files:
        name = full_name(file.stem, instance)
        for other in files:
            if len(other.stem) > len(file.stem) and f"{name}-".startswith(f"{other.stem}-"):
                raise InputError(
                    f"INSTANCE '{instance}': '{name}' is the name of {other} or of a copy of it; accepted: another name"
                )
