"""The only module that knows the framework: CDK for Terraform, and its Databricks provider.

Replacing the framework, by its community fork or by another, is a change to this file.
"""

from __future__ import annotations

import importlib.util
import os
import sys

# The framework runs on Node, and has a dozen lines to say of Node 20 each time it starts.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

_PROVIDER = "cdktf_cdktf_provider_databricks"


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

# ruff: noqa: E402 (the provider's package is prepared first)
from cdktf import (
    App,
    LocalBackend,
    S3Backend,
    TerraformAsset,
    TerraformOutput,
    TerraformResourceLifecycle,
    TerraformStack,
    Testing,
)
from cdktf_cdktf_provider_databricks.directory import Directory
from cdktf_cdktf_provider_databricks.grants import Grants, GrantsGrant
from cdktf_cdktf_provider_databricks.instance_pool import InstancePool
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
    JobTaskLibrary,
    JobTaskPythonWheelTask,
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

__all__ = [
    "App",
    "Construct",
    "DatabricksProvider",
    "Directory",
    "Grants",
    "GrantsGrant",
    "InstancePool",
    "Job",
    "JobEmailNotifications",
    "JobHealth",
    "JobHealthRules",
    "JobJobCluster",
    "JobJobClusterNewCluster",
    "JobParameter",
    "JobQueue",
    "JobRunAs",
    "JobSchedule",
    "JobTask",
    "JobTaskDependsOn",
    "JobTaskLibrary",
    "JobTaskPythonWheelTask",
    "LocalBackend",
    "MlflowExperiment",
    "Permissions",
    "PermissionsAccessControl",
    "RegisteredModel",
    "Repo",
    "S3Backend",
    "Schema",
    "TerraformAsset",
    "TerraformOutput",
    "TerraformResourceLifecycle",
    "TerraformStack",
    "Testing",
    "Volume",
    "WorkspaceFile",
]
