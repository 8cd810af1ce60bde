"""Who may do what with a job, the experiment or the pool."""

from __future__ import annotations

from collections.abc import Mapping

from infra.bindings import Construct, Permissions, PermissionsAccessControl
from ml_pipeline.settings import environment as tables

JOB = {"managers": "CAN_MANAGE", "runners": "CAN_MANAGE_RUN", "viewers": "CAN_VIEW"}
EXPERIMENT = {"managers": "CAN_MANAGE", "runners": "CAN_EDIT", "viewers": "CAN_READ"}
POOL = {"managers": "CAN_MANAGE", "runners": "CAN_ATTACH_TO", "viewers": "CAN_ATTACH_TO"}


class AccessControl(Construct):
    """The access control list of one object of the workspace."""

    def __init__(
        self,
        scope: Construct,
        *,
        of: str,
        permissions: tables.Permissions,
        levels: Mapping[str, str],
        service_principal: str | None = None,
        job_id: str | None = None,
        experiment_id: str | None = None,
        instance_pool_id: str | None = None,
    ) -> None:
        super().__init__(scope, f"{of}-permissions")
        access = [
            PermissionsAccessControl(group_name=group, permission_level=level)
            for role, level in levels.items()
            for group in sorted(getattr(permissions, role))
        ]
        if service_principal:
            # Jobs that run as it log to the experiment, and start clusters from the pool.
            access.append(
                PermissionsAccessControl(service_principal_name=service_principal, permission_level=levels["runners"])
            )
        Permissions(
            self,
            "permissions",
            job_id=job_id,
            experiment_id=experiment_id,
            instance_pool_id=instance_pool_id,
            access_control=access,
        )
