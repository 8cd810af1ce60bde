"""Who may do what with a job, the experiment, the pool or the folder."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.bindings import Construct, Directory, Permissions, PermissionsAccessControl
from ml_pipeline.settings import environment as tables
from ml_pipeline.settings.workspace import APPLICATION_ID

JOB = {"managers": "CAN_MANAGE", "runners": "CAN_MANAGE_RUN", "viewers": "CAN_VIEW"}
EXPERIMENT = {"managers": "CAN_MANAGE", "runners": "CAN_EDIT", "viewers": "CAN_READ"}
POOL = {"managers": "CAN_MANAGE", "runners": "CAN_ATTACH_TO"}
# Jobs run the wheel that lies there: only who deploys may write.
FOLDER = dict.fromkeys(("managers", "runners", "viewers"), "CAN_READ")


class AccessControl(Construct):
    """The access control list of one object of the workspace."""

    def __init__(
        self,
        scope: Construct,
        *,
        of: str,
        roles: tables.Roles,
        levels: Mapping[str, str],
        deployer: str | None,
        service_principal: str | None = None,
        job_id: str | None = None,
        experiment_id: str | None = None,
        instance_pool_id: str | None = None,
        directory_path: str | None = None,
        after: Directory | None = None,
    ) -> None:
        super().__init__(scope, f"{of}-permissions")
        access = {principal: level for role, level in levels.items() for principal in sorted(getattr(roles, role))}
        if service_principal and service_principal not in roles.managers:
            # Jobs that run as it read the wheel, log to the experiment, take clusters from the pool, start another job.
            access[service_principal] = levels["runners"]
        if deployer:
            # The provider adds whoever applies to the list, and omits whoever reads from what it read, unless the list
            # names them (its permissions/permission_definitions.go, prepareResponse): two readers would see two lists.
            access[deployer] = "IS_OWNER" if job_id else "CAN_MANAGE"
        if not access:
            return
        Permissions(
            self,
            "permissions",
            job_id=job_id,
            experiment_id=experiment_id,
            instance_pool_id=instance_pool_id,
            directory_path=directory_path,
            depends_on=[after] if after else None,
            access_control=[_entry(principal, level) for principal, level in access.items()],
        )


def _entry(principal: str, level: str) -> PermissionsAccessControl:
    if "@" in principal:
        return PermissionsAccessControl(user_name=principal, permission_level=level)
    if re.fullmatch(APPLICATION_ID, principal):
        return PermissionsAccessControl(service_principal_name=principal, permission_level=level)
    return PermissionsAccessControl(group_name=principal, permission_level=level)
