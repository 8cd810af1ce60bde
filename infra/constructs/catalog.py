"""What the pipeline needs in Unity Catalog: a schema with a volume and a registered model, and who may use them."""

from __future__ import annotations

from infra.bindings import Construct, Grant, RegisteredModel, Schema, TerraformResourceLifecycle, Volume
from infra.environment.environment import Environment

VIEW = ("EXECUTE", "READ_VOLUME", "SELECT", "USE_SCHEMA")
# The alias of a model is moved by its owner, or with MANAGE, which ALL_PRIVILEGES does not hold (docs.databricks.com,
# "Manage model lifecycle in Unity Catalog").
MANAGE = ("ALL_PRIVILEGES", "MANAGE")
RUN = ("APPLY_TAG", "CREATE_MODEL_VERSION", "CREATE_TABLE", "MODIFY", "WRITE_VOLUME")


class CatalogSchema(Construct):
    """A schema with a volume, a registered model and grants; tables are made by the pipeline's steps."""

    def __init__(self, scope: Construct, *, environment: Environment, lifecycle: TerraformResourceLifecycle) -> None:
        super().__init__(scope, "catalog")
        catalog, roles = environment.catalog, environment.permissions.catalog
        self.schema = Schema(
            self,
            "schema",
            catalog_name=catalog.name,
            name=environment.pipeline.schema_name.partition(".")[2],
            # Tells whose it is: a schema that an interrupted deployment made is known by it.
            comment="Tables, files and model of the pipeline, deployed as "
            f"{environment.full_name} of the project {environment.project}",
            # The steps make tables that Terraform knows nothing of.
            force_destroy=not environment.protected,
            lifecycle=lifecycle,
        )
        self.volume = Volume(
            self,
            "volume",
            catalog_name=catalog.name,
            schema_name=self.schema.name,
            name=catalog.volume,
            volume_type="MANAGED",
            lifecycle=lifecycle,
        )
        self.model = RegisteredModel(
            self,
            "model",
            catalog_name=catalog.name,
            schema_name=self.schema.name,
            name=environment.pipeline.model,
            lifecycle=lifecycle,
        )
        privileges: dict[str, tuple[str, ...]] = {
            **dict.fromkeys(roles.viewers, VIEW),
            **dict.fromkeys(roles.runners, (*VIEW, *RUN)),
            **dict.fromkeys(roles.managers, MANAGE),
        }
        if environment.workspace.run_as:
            privileges[environment.workspace.run_as] = MANAGE
        # One for each principal: what others were granted elsewhere stays.
        for principal, granted in sorted(privileges.items()):
            Grant(self, f"grant-{principal}", schema=self.schema.id, principal=principal, privileges=sorted(granted))
