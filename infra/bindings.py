"""The only module that knows the framework: CDK for Terraform, and its Databricks provider.

Replacing the framework, by its community fork or by another, is a change to this file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Sequence

# The framework runs on Node, and has a dozen lines to say of Node 20 each time it starts.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

_PROVIDER = "cdktf_cdktf_provider_databricks"
AWS_VERSION = "6.28.0"
"""Version of Terraform's AWS provider, pinned as the Databricks provider's is."""


def _without_init(package: str) -> None:
    """Make a package importable without running its ``__init__``.

    That of the provider imports all of its 250 sub-packages, which takes seconds; the stacks need a dozen.
    """
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is not None:
        sys.modules[package] = importlib.util.module_from_spec(spec)


_without_init(_PROVIDER)

# ruff: noqa: E402, F401 (the provider's package is prepared first; the names are for those who import this module)
from cdktf import (
    App,
    AzurermBackend,
    GcsBackend,
    ITerraformDependable,
    LocalBackend,
    S3Backend,
    S3BackendAssumeRoleConfig,
    S3BackendEndpointConfig,
    TerraformAsset,
    TerraformOutput,
    TerraformProvider,
    TerraformProviderGeneratorMetadata,
    TerraformResource,
    TerraformResourceLifecycle,
    TerraformStack,
    Testing,
    Token,
)
from cdktf_cdktf_provider_databricks.directory import Directory
from cdktf_cdktf_provider_databricks.grant import Grant
from cdktf_cdktf_provider_databricks.instance_pool import (
    InstancePool,
    InstancePoolAwsAttributes,
    InstancePoolAzureAttributes,
    InstancePoolGcpAttributes,
)
from cdktf_cdktf_provider_databricks.job import (
    Job,
    JobEmailNotifications,
    JobHealth,
    JobHealthRules,
    JobJobCluster,
    JobJobClusterNewCluster,
    JobParameter,
    JobQueue,
    JobRunAs,
    JobSchedule,
    JobTask,
    JobTaskDependsOn,
    JobTaskEmailNotifications,
    JobTaskLibrary,
    JobTaskPythonWheelTask,
    JobTaskRunJobTask,
)
from cdktf_cdktf_provider_databricks.mlflow_experiment import MlflowExperiment
from cdktf_cdktf_provider_databricks.permissions import Permissions, PermissionsAccessControl
from cdktf_cdktf_provider_databricks.provider import DatabricksProvider
from cdktf_cdktf_provider_databricks.registered_model import RegisteredModel
from cdktf_cdktf_provider_databricks.repo import Repo
from cdktf_cdktf_provider_databricks.schema import Schema
from cdktf_cdktf_provider_databricks.volume import Volume
from cdktf_cdktf_provider_databricks.workspace_file import WorkspaceFile
from constructs import Construct


class AwsProvider(TerraformProvider):
    """The AWS provider, with the credentials of the environment.

    Its generated package has over a thousand sub-packages, and one would be used: this and the class
    below declare the same.
    """

    def __init__(self, scope: Construct, id_: str, *, region: str) -> None:
        super().__init__(
            scope,
            id_,
            terraform_resource_type="aws",
            terraform_provider_source="hashicorp/aws",
            terraform_generator_metadata=TerraformProviderGeneratorMetadata(
                provider_name="aws", provider_version_constraint=AWS_VERSION
            ),
        )
        self.add_override("region", region)


class S3Object(TerraformResource):
    """A text as an object of a bucket; the plan shows a change of it line by line, and that somebody wrote over it."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        provider: AwsProvider,
        bucket: str,
        key: str,
        content: str,
        content_type: str,
        kms_key_id: str | None,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(
            scope, id_, terraform_resource_type="aws_s3_object", provider=provider, depends_on=list(depends_on)
        )
        # Terraform would take these two for the start of an expression.
        literal = content.replace("${", "$${").replace("%{", "%%{")
        # The provider reads an object's metadata anew, and not its content: who writes another one in its place leaves
        # none, and the plan shows it. The ETag isn't a hash of the content if the bucket encrypts with a key.
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
        metadata = {"sha256": hashlib.sha256(content.encode()).hexdigest()}
        encrypted = {"server_side_encryption": "aws:kms", "kms_key_id": kms_key_id} if kms_key_id else {}
        said = {"bucket": bucket, "key": key, "content": literal, "content_type": content_type, "metadata": metadata}
        for name, value in {**said, **encrypted}.items():
            self.add_override(name, value)
