"""What the pipeline needs in Unity Catalog: a schema with a volume and a registered model, and who may use them."""

from __future__ import annotations

from infra.bindings import Construct, Grants, GrantsGrant, RegisteredModel, Schema, TerraformResourceLifecycle, Volume
from infra.environment.environment import Environment

_VIEW = ("EXECUTE", "READ_VOLUME", "SELECT", "USE_SCHEMA")
_RUN = ("APPLY_TAG", "CREATE_MODEL_VERSION", "CREATE_TABLE", "MODIFY", "WRITE_VOLUME")


class CatalogSchema(Construct):
    """A schema with a volume, a registered model and grants; tables are made by the pipeline's steps."""

    def __init__(self, scope: Construct, *, environment: Environment, lifecycle: TerraformResourceLifecycle) -> None:
        super().__init__(scope, "catalog")
        catalog, permissions = environment.catalog, environment.permissions
        self.schema = Schema(
            self,
            "schema",
            catalog_name=catalog.name,
            name=environment.pipeline.schema_name.partition(".")[2],
            # Tells whose it is: a schema that an interrupted deployment made is known by it.
            comment=f"Tables, files and model of the pipeline, deployed as {environment.full_name}",
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
            **dict.fromkeys(permissions.viewers, _VIEW),
            **dict.fromkeys(permissions.runners, (*_VIEW, *_RUN)),
            **dict.fromkeys(permissions.managers, ("ALL_PRIVILEGES",)),
        }
        if environment.workspace.run_as:
            privileges[environment.workspace.run_as] = ("ALL_PRIVILEGES",)
        Grants(
            self,
            "grants",
            schema=self.schema.id,
            grant=[
                GrantsGrant(principal=principal, privileges=sorted(granted))
                for principal, granted in sorted(privileges.items())
            ],
        )
