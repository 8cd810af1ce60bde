"""Where Terraform's state lies: the table ``[state]`` of an environment file."""

from __future__ import annotations

from typing import Annotated, Literal

from ml_pipeline.settings.types import Bucket, KeyPath, KmsKey, Region, Settings, matching
from ml_pipeline.settings.workspace import Host

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
