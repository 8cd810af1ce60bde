"""One environment as one stack: wires the constructs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from infra.bindings import (
    AzurermBackend,
    Construct,
    DatabricksProvider,
    Directory,
    GcsBackend,
    Job,
    LocalBackend,
    MlflowExperiment,
    RegisteredModel,
    Repo,
    S3Backend,
    S3BackendAssumeRoleConfig,
    S3BackendEndpointConfig,
    TerraformOutput,
    TerraformResourceLifecycle,
    TerraformStack,
)
from infra.constructs import permissions
from infra.constructs.airflow import DeliveredDag
from infra.constructs.catalog import CatalogSchema
from infra.constructs.cluster_pool import Machines
from infra.constructs.job import DeployedJob
from infra.constructs.permissions import AccessControl
from infra.constructs.wheel import Wheel
from infra.environment.environment import Environment
from ml_pipeline.settings.state import AzurermState, LocalState, S3State

SCHEDULED = "batch_inference"
"""The job that ``[schedule]`` is about."""


class EnvironmentStack(TerraformStack):
    """All that an environment, or an instance of it, has in its workspace.

    Args:
        scope: What it is a part of.
        environment: The environment.
        wheel: The pipeline's wheel.
        commit: The commit that is deployed.
        imported: What Terraform imports, since an earlier deployment made it: ids by address.
        forgotten: What Terraform's state forgets and the workspace keeps: addresses.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        environment: Environment,
        wheel: Path,
        commit: str,
        imported: Mapping[str, str] | None = None,
        forgotten: Collection[str] = (),
    ) -> None:
        super().__init__(scope, environment.full_name)
        _backend(self, environment)
        _provider(self, environment)
        tags = {"project": environment.project, "environment": environment.name}
        if environment.instance:
            tags["instance"] = environment.instance
        kept = TerraformResourceLifecycle(prevent_destroy=environment.protected)

        folder = Directory(
            self, "folder", path=environment.folder, delete_recursive=not environment.protected, lifecycle=kept
        )
        built = Wheel(self, wheel=wheel, folder=folder, path=environment.folder)
        machines = Machines(
            self,
            name=environment.deployed_name,
            compute=environment.compute,
            cloud=environment.workspace.cloud,
            tags=tags,
        )
        experiment = MlflowExperiment(
            # A scope of its own: it is a part of the address in the state.
            Construct(self, "experiment"),
            "experiment",
            name=environment.pipeline.experiment,
            depends_on=[folder],
            lifecycle=kept,
        )
        catalog = CatalogSchema(self, environment=environment, lifecycle=kept)
        if environment.workspace.git_folder and not environment.instance:
            git = environment.workspace.git_folder
            Repo(self, "git-folder", url=git.url, git_provider=git.provider, path=git.path, branch=git.branch)
        # A job's tags become its clusters' (provider's documentation, job.md), which must not repeat a key of their
        # pool's (instance_pool.md). Nor is the commit on the pool: warm machines would be replaced with each.
        of_jobs = {"deployment": environment.full_name, "commit": commit}
        _jobs(self, environment, machines=machines, wheel=built, model=catalog.model, tags=of_jobs)
        run_as = environment.workspace.run_as
        shared = partial(
            AccessControl,
            self,
            roles=environment.permissions.workspace,
            deployer=environment.deployer,
            service_principal=run_as,
        )
        shared(of="folder", levels=permissions.FOLDER, directory_path=environment.folder, after=folder)
        shared(of="experiment", levels=permissions.EXPERIMENT, experiment_id=experiment.id)
        if machines.pool:
            pool = machines.pool.id
            shared(of="pool", levels=permissions.POOL, instance_pool_id=pool)
            _output(self, "pool", pool, "Id of the instance pool")
        _output(self, "experiment", experiment.id, "Id of the MLflow experiment")
        _output(self, "model", catalog.model.id, "Full name of the registered model")
        if imported:
            self.add_override("import", [{"to": address, "id": id_} for address, id_ in imported.items()])
        if forgotten:
            self.add_override("removed", [{"from": each, "lifecycle": {"destroy": False}} for each in forgotten])


def _jobs(
    stack: TerraformStack,
    environment: Environment,
    *,
    machines: Machines,
    wheel: Wheel,
    model: RegisteredModel,
    tags: Mapping[str, str],
) -> None:
    known: dict[str, Job] = {}
    # Such a task starts the other job with the rights of its own job.
    started = {task.run_job for job in environment.jobs for task in job.tasks}
    for job in environment.jobs:
        deployed = known[job.name] = DeployedJob(
            stack,
            job=job,
            environment=environment,
            machines=machines,
            wheel=wheel,
            after=model,
            known=known,
            scheduled=job.name == SCHEDULED,
            tags=tags,
        ).job
        AccessControl(
            stack,
            roles=environment.permissions.workspace,
            deployer=environment.deployer,
            service_principal=environment.workspace.run_as if job.name in started else None,
            of=job.name,
            levels=permissions.JOB,
            job_id=deployed.id,
        )
        _output(stack, f"job_{job.name}", deployed.id, f"Id of the job {job.name}")
        if job.name == SCHEDULED and environment.schedule and environment.schedule.engine == "airflow":
            DeliveredDag(stack, job=job, environment=environment, schedule=environment.schedule, after=deployed)


def _backend(stack: TerraformStack, environment: Environment) -> None:
    state, name = environment.state, environment.full_name
    if isinstance(state, LocalState):
        # Beside the folder of all stacks. Relative to the stack's own, so that it is the same on every machine.
        LocalBackend(stack, path=f"../../../terraform.{name}.tfstate")
        return
    path = f"{state.key_prefix or environment.project}/{name}"
    if isinstance(state, S3State):
        S3Backend(
            stack,
            bucket=state.bucket,
            key=f"{path}.tfstate",
            region=state.region,
            encrypt=state.encrypt,
            kms_key_id=state.kms_key_id,
            assume_role=S3BackendAssumeRoleConfig(role_arn=state.role_arn) if state.role_arn else None,
            endpoints=S3BackendEndpointConfig(s3=state.endpoint) if state.endpoint else None,
            use_path_style=state.use_path_style or None,
            # Terraform would ask Amazon's STS about the credentials of the other store (its documentation of the S3
            # backend: "useful for AWS API implementations that do not have STS available").
            skip_credentials_validation=bool(state.endpoint) or None,
            skip_requesting_account_id=bool(state.endpoint) or None,
        )
        # Terraform 1.10 brought the lock file, after the framework's last release.
        stack.add_override("terraform.backend.s3.use_lockfile", state.use_lockfile)
    elif isinstance(state, AzurermState):
        AzurermBackend(
            stack,
            resource_group_name=state.resource_group_name,
            storage_account_name=state.storage_account_name,
            container_name=state.container_name,
            key=f"{path}.tfstate",
            subscription_id=state.subscription_id,
            tenant_id=state.tenant_id,
            # Without it, Terraform looks up the account's access key.
            use_azuread_auth=True,
            # Takes effect only if there is a token of GitHub; the Azure CLI's sign-in works too.
            use_oidc=True,
        )
    else:
        GcsBackend(
            stack,
            bucket=state.bucket,
            # Terraform appends "/default.tfstate".
            prefix=path,
            kms_encryption_key=state.kms_encryption_key,
            impersonate_service_account=state.impersonate_service_account,
        )


def _provider(stack: TerraformStack, environment: Environment) -> None:
    workspace = environment.workspace
    oidc = workspace.auth == "github-oidc"
    DatabricksProvider(
        stack,
        "databricks",
        host=workspace.host,
        auth_type="github-oidc" if oidc else None,
        # The provider rejects a token beside a client id ("more than one authorization method configured").
        client_id=workspace.client_id if oidc else None,
        profile=workspace.profile,
    )


def _output(stack: TerraformStack, name: str, value: str, description: str) -> None:
    output = TerraformOutput(stack, f"output-{name}", value=value, description=description)
    output.override_logical_id(name)
