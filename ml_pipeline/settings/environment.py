"""An environment file: its tables, typed and strict, and the rules for what is deployed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from ml_pipeline.errors import InputError, collecting
from ml_pipeline.settings import files, messages, pipeline, references
from ml_pipeline.settings.layers import leaves, merged, origin, relative_paths
from ml_pipeline.settings.quartz import as_cron, checked
from ml_pipeline.settings.types import NonEmpty, Settings, exactly_one, matching
from ml_pipeline.settings.workspace import Catalog, Host, Workspace

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
SparkName = Annotated[
    str, matching(r"spark\.[A-Za-z0-9_.:/-]+", "the name of a Spark property, such as 'spark.sql.shuffle.partitions'")
]
VariableName = Annotated[
    str, matching("[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable, such as 'HTTPS_PROXY'")
]
_TAKEN_SPARK = ("spark.master", "spark.databricks.cluster.profile")
_TAKEN_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PATH", "HOME", "PYTHONPATH", "SPARK_HOME")
_TAKEN_BEGINNINGS = ("DATABRICKS_", "ML_PIPELINE_")
Region = Annotated[str, matching("[a-z]{2}(-[a-z]+)+-[0-9]", "a region of AWS, such as 'eu-central-1'")]
KeyPath = Annotated[
    str,
    matching("[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", "a path without a slash at its ends, such as 'team/ml-pipeline'"),
]
KmsKey = Annotated[
    str,
    matching(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+",
        # The resource's documentation asks for the key's ARN; that of an alias shows as a change in each plan.
        "the ARN of a key, not of an alias, such as 'arn:aws:kms:eu-central-1:123456789012:key/1234abcd'",
    ),
]
RoleArn = Annotated[
    str,
    matching(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+",
        "the ARN of a role, such as 'arn:aws:iam::123456789012:role/terraform'",
    ),
]
ResourceGroup = Annotated[
    str,
    matching(
        # learn.microsoft.com, "Naming rules and restrictions for Azure resources".
        "[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]",
        "a resource group's name: up to 90 letters, digits, underscores, parentheses, hyphens and dots, no dot at the "
        "end, such as 'terraform-state'",
    ),
]
StorageAccount = Annotated[
    str,
    matching(
        # learn.microsoft.com, "Storage account overview".
        "[a-z0-9]{3,24}",
        "a storage account's name: 3 to 24 lower-case letters and digits, such as 'myterraformstate'",
    ),
]
Container = Annotated[
    str,
    matching(
        # learn.microsoft.com, "Naming and Referencing Containers, Blobs, and Metadata".
        "(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*",
        "a container's name: 3 to 63 lower-case letters, digits and single hyphens between them, such as 'tfstate'",
    ),
]
Guid = Annotated[
    str,
    matching(
        "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "a GUID, such as '12345678-90ab-cdef-1234-567890abcdef'"
    ),
]
GoogleBucket = Annotated[
    str,
    matching(
        # cloud.google.com, "About Cloud Storage buckets", bucket names. Longer names are those of verified domains.
        r"(?!goog)(?!.*(google|g00gle|\.\.))(?![0-9]+(\.[0-9]+){3}$)[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]",
        "a name that Cloud Storage takes: 3 to 63 lower-case letters, digits, hyphens, underscores and single dots, no "
        "IP address, no 'goog' at the beginning, no 'google', such as 'my-bucket'",
    ),
]
CryptoKey = Annotated[
    str,
    matching(
        # cloud.google.com, "Getting a Cloud KMS resource ID". Cloud Storage chooses the version.
        "projects/[a-z0-9.:-]+/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}",
        "the name of a Cloud KMS key without a version, such as 'projects/p/locations/europe-west1/keyRings/r/"
        "cryptoKeys/k'",
    ),
]
ServiceAccount = Annotated[
    str,
    matching(
        # cloud.google.com, "Types of service accounts".
        r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com",
        "the email address of a service account, such as 'terraform@my-project.iam.gserviceaccount.com'",
    ),
]
ConnectionId = Annotated[
    str, matching("[A-Za-z0-9_.-]+", "letters, digits, underscores, dots and hyphens, such as 'databricks_default'")
]
_TAKEN_TAGS = (
    *("project", "environment", "instance", "deployment", "commit"),
    *("ResourceClass", "Name", "Vendor", "Creator", "ClusterName", "ClusterId", "RunName", "JobId"),
)
"""Tags that the stacks set, and those that Databricks does (docs.databricks.com, "Use tags to attribute usage")."""
Engine = Literal["databricks", "airflow"]
_MOST = 100_000
"""What Databricks takes of machines, and more than anybody wants of the rest."""
Positive = Annotated[int, Field(gt=0, le=_MOST)]
Count = Annotated[int, Field(ge=0, le=_MOST)]


class Pool(Settings):
    """An instance pool, which keeps machines between tasks."""

    node_type_id: NonEmpty
    """Type of the machines, such as ``m6id.xlarge``."""
    min_idle_instances: Count = 0
    """Number of machines that stay idle in the pool."""
    max_capacity: Positive = 10
    """Greatest number of machines."""
    idle_instance_autotermination_minutes: Annotated[int, Field(ge=0, le=10_000)] = 15
    """Minutes until an idle machine ends."""
    availability: Literal["on_demand", "spot"] = "on_demand"
    """``spot`` machines are cheaper, but the cloud may take them back, which ends the runs on them."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.min_idle_instances > self.max_capacity:
            raise ValueError(f"min_idle_instances {self.min_idle_instances} is above max_capacity {self.max_capacity}")
        return self


class Compute(Settings):
    """The clusters of the jobs: either from a pool or of machines of one type."""

    model_config = ConfigDict(json_schema_extra=exactly_one("node_type_id", "pool"))

    spark_version: Annotated[
        str,
        matching(
            r"[0-9]+\.([0-9]+|x)\.x?-?[a-z0-9.-]*scala2\.1[23]",
            "a runtime with its Scala, such as '17.3.x-cpu-ml-scala2.13'",
        ),
    ]
    """Databricks Runtime, such as ``17.3.x-cpu-ml-scala2.13``."""
    node_type_id: NonEmpty | None = None
    """Type of the machines, if there is no pool."""
    pool: Pool | None = None
    """Instance pool of the machines."""
    num_workers: Count = 0
    """Number of machines beside the driver; 0 is a cluster of one machine."""
    policy_id: NonEmpty | None = None
    """Id of the cluster policy."""
    spark_conf: dict[SparkName, NonEmpty] = {}
    """Spark properties of the clusters; a secret is ``{{secrets/SCOPE/KEY}}``."""
    spark_env_vars: dict[VariableName, NonEmpty] = {}
    """Environment variables of the clusters; a secret is ``{{secrets/SCOPE/KEY}}``."""
    tags: dict[TagName, NonEmpty] = {}
    """Tags of the pool, or of the clusters if there is no pool, for the cloud's bill."""

    @field_validator("tags")
    @classmethod
    def _free(cls, tags: dict[str, str]) -> dict[str, str]:
        for name in tags:
            if name in _TAKEN_TAGS:
                raise ValueError(f"names '{name}', which the deployment or Databricks sets; accepted: other names")
        return tags

    @field_validator("spark_conf", "spark_env_vars")
    @classmethod
    def _open(cls, values: dict[str, str]) -> dict[str, str]:
        for name, value in values.items():
            if name in (*_TAKEN_SPARK, *_TAKEN_VARIABLES) or name.startswith(_TAKEN_BEGINNINGS):
                raise ValueError(f"names '{name}', which the deployment or Databricks sets; accepted: other names")
            if not references.keeps_its_secret(name, value):
                # The value may be a secret: it is not repeated.
                raise ValueError(
                    f"'{name}': accepted: a reference to a secret, '{{{{secrets/SCOPE/KEY}}}}', and nothing else"
                )
        return values

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.node_type_id is None) == (self.pool is None):
            both = "both node_type_id and pool" if self.pool else "neither node_type_id nor pool"
            raise ValueError(f"has {both}; accepted: exactly one of them")
        return self


class Airflow(Settings):
    """The Airflow that starts batch inference with ``engine = "airflow"``."""

    bucket: Bucket
    """S3 bucket of the DAGs."""
    region: Region
    """Region of the bucket."""
    prefix: KeyPath = "dags"
    """Folder of the DAGs in the bucket."""
    kms_key_id: KmsKey | None = None
    """ARN of the key that encrypts the DAG; default: the encryption of the bucket."""
    connection: ConnectionId = "databricks_default"
    """Name of Airflow's connection to the workspace."""
    retries: Count = 1
    """Number of retries if the run can't be started or followed; a run that failed is not repeated."""


class Scheduler(Settings):
    """Who starts batch inference at the times of the pipeline's ``[schedule]``."""

    engine: Engine = "databricks"
    """The schedule of the Databricks job, or an Airflow DAG."""
    paused: bool | None = None
    """Whether the schedule is paused; default: paused unless ``production`` is true."""
    airflow: Airflow | None = None
    """Place of the DAG; used only with ``engine = "airflow"``."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.engine == "airflow" and self.airflow is None:
            raise ValueError("engine 'airflow' needs the table 'airflow', with bucket and region")
        return self


class Schedule(Scheduler, pipeline.Schedule):
    """Who starts batch inference, and when."""


class Roles(Settings):
    """Principals by role: users by mail address, service principals by application id, groups by name."""

    managers: list[NonEmpty] = []
    """Principals that may change and run everything."""
    runners: list[NonEmpty] = []
    """Principals that may run jobs, log to the experiment, and use model and tables."""
    viewers: list[NonEmpty] = []
    """Principals that may view everything and read tables."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        principals = [*self.managers, *self.runners, *self.viewers]
        repeated = sorted({one for one in principals if principals.count(one) > 1})
        if repeated:
            raise ValueError(f"names {', '.join(map(repr, repeated))} more than once; accepted: each principal once")
        return self


class CatalogRoles(Roles):
    """Roles on schema, tables, files and model. Unity Catalog accepts only principals of the account."""

    @field_validator("managers", "runners", "viewers")
    @classmethod
    def _of_the_account(cls, principals: list[str]) -> list[str]:
        # docs.databricks.com, "Principal": both are groups of each workspace, which Unity Catalog does not find.
        for name in ("users", "admins"):
            if name in principals:
                raise ValueError(
                    f"'{name}' is a group of the workspace; accepted: groups of the account, such as "
                    "'account users', users and service principals"
                )
        return principals


class Permissions(Settings):
    """Who may do what."""

    workspace: Roles = Roles(viewers=["users"])
    """Roles on jobs, experiment and pool; default: everybody in the workspace may view them."""
    catalog: CatalogRoles = CatalogRoles(viewers=["account users"])
    """Roles on schema, tables, files and model; default: every user of the account may read them."""


class LocalState(Settings):
    """Terraform's state in a file beside the project."""

    backend: Literal["local"]
    """Kind of the store."""


class S3State(Settings):
    """Terraform's state in an S3 bucket, encrypted, with a lock file."""

    backend: Literal["s3"]
    """Kind of the store."""
    bucket: Bucket
    """S3 bucket of the state."""
    region: Region
    """Region of the bucket."""
    key_prefix: KeyPath | None = None
    """Start of the state's key; environment and instance follow. Default: the name of the project."""
    encrypt: bool = True
    """Whether the state is encrypted."""
    kms_key_id: KmsKey | None = None
    """ARN of the key of the encryption; default: the key of the bucket."""
    use_lockfile: bool = True
    """Whether Terraform locks the state with a file beside it."""
    role_arn: RoleArn | None = None
    """ARN of the role that Terraform assumes for the bucket; default: the identity that is signed in."""
    endpoint: Host | None = None
    """Address of another store with S3's interface; default: AWS."""
    use_path_style: bool = False
    """Whether the bucket is part of the path instead of the host name, as many other stores require."""


class AzurermState(Settings):
    """Terraform's state in Azure Blob Storage, which encrypts it; a lease on the blob is the lock.

    Terraform signs in with Microsoft Entra ID, never with an access key or a SAS token.
    """

    backend: Literal["azurerm"]
    """Kind of the store."""
    resource_group_name: ResourceGroup
    """Resource group of the storage account."""
    storage_account_name: StorageAccount
    """Storage account of the state."""
    container_name: Container
    """Container of the state."""
    key_prefix: KeyPath | None = None
    """Start of the state's key; environment and instance follow. Default: the name of the project."""
    subscription_id: Guid | None = None
    """Subscription of the storage account; default: ``ARM_SUBSCRIPTION_ID``."""
    tenant_id: Guid | None = None
    """Tenant that issues the tokens; default: ``ARM_TENANT_ID``, or the tenant of the Azure CLI."""


class GcsState(Settings):
    """Terraform's state in Google Cloud Storage, which encrypts it; an object beside it is the lock.

    Terraform signs in with Application Default Credentials.
    """

    backend: Literal["gcs"]
    """Kind of the store."""
    bucket: GoogleBucket
    """Bucket of the state."""
    key_prefix: KeyPath | None = None
    """Start of the state's prefix; environment and instance follow. Default: the name of the project."""
    kms_encryption_key: CryptoKey | None = None
    """Name of the Cloud KMS key of the encryption; default: the key of the bucket."""
    impersonate_service_account: ServiceAccount | None = None
    """Service account that Terraform impersonates for the bucket; default: the identity that is signed in."""


State = LocalState | S3State | AzurermState | GcsState


class Tables(Settings):
    """An environment file: where to run. A file with a ``[workspace]`` table can be deployed."""

    workspace: Workspace
    compute: Compute
    schedule: Scheduler | None = None
    catalog: Catalog
    permissions: Permissions = Permissions()
    state: Annotated[State, Field(discriminator="backend")]
    pipelines: dict[str, Any] = {}
    """Overrides of a pipeline's settings, by the name of the pipeline."""


def check(file: Path, pipeline_file: Path | None = None) -> None:
    """Whether every table of an environment is right, also for the pipeline that it deploys.

    An environment without the table ``[workspace]`` is not deployed: it may lack tables.

    Raises:
        InputError: all that is wrong.
    """
    problems: list[str] = []
    if "workspace" in files.read(file):
        with collecting(problems):
            load(file)
        if pipeline_file:
            problems += _misplaced(pipeline_file, file)
    else:
        problems += _problems(file, partial=True)
    if problems:
        raise InputError(*problems)


def load(file: Path) -> Tables:
    """The tables of an environment that is deployed.

    Raises:
        InputError: all that is wrong.
    """
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,37}", file.stem):
        raise InputError(
            f"{str(file)!r}: the names of all that is deployed hold the file's; accepted: up to 38 lower-case "
            "letters, digits, hyphens and underscores that begin with a letter or digit, such as 'dev.toml'"
        )
    content = files.read(file)
    problems = [*_evaluated(file, content), *_problems(file)]
    with collecting(problems):
        files.project(file)
    if problems:
        raise InputError(*problems)
    return Tables.model_validate(content)


def _problems(file: Path, *, partial: bool = False) -> Iterator[str]:
    try:
        Tables.model_validate(files.read(file))
    except ValidationError as error:
        absent = {str(item["loc"][0]) for item in error.errors() if item["type"] == "missing" and len(item["loc"]) == 1}
        for problem in messages.problems(error, Tables):
            if not (partial and problem.partition(":")[0] in absent):
                yield f"{file}: {problem}"


def _misplaced(pipeline_file: Path, file: Path) -> Iterator[str]:
    """What of a pipeline no workspace takes: a cluster has none of this machine's files."""
    layers = files.layers(pipeline_file, file)
    yield from _evaluated(pipeline_file, layers[0].content)
    content = merged(layers)
    for path, relative in relative_paths(content):
        yield (
            f"{origin(layers, path).place(*path)}: '{relative}' is relative; "
            "accepted: a path that a cluster reaches, such as one under /Volumes"
        )
    scheduler, times = files.read(file).get("schedule"), content.get("schedule")
    cron = times.get("cron") if isinstance(times, dict) else None
    if isinstance(scheduler, dict) and scheduler.get("engine") == "airflow" and isinstance(cron, str):
        try:
            checked(cron)
        except ValueError:
            return  # The pipeline's settings report it.
        try:
            as_cron(cron)
        except ValueError as error:
            yield f"{origin(layers, ('schedule', 'cron')).place('schedule')}: {error}"


def _evaluated(file: Path, content: dict[str, Any]) -> Iterator[str]:
    for key, text in leaves(content):
        found = re.search(r"[$%]\{", text) if isinstance(text, str) else None
        if found:
            yield (
                f"{file}: {messages.one_line(key)}: holds '{found[0]}', which Terraform would evaluate; "
                "accepted in what is deployed: other text"
            )
