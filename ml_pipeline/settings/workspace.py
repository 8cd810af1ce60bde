"""Settings of the workspace that an environment is deployed to: who signs in, and where things go."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ml_pipeline.settings.types import Identifier, NonEmpty, Settings, matching

DEFAULT_FOLDER = "/Shared"
"""Folder of a workspace in which each environment has one of its own, unless ``[workspace]`` names another."""


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
APPLICATION_ID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
ApplicationId = Annotated[
    str,
    matching(
        APPLICATION_ID,
        "the application id of a service principal, such as '12345678-90ab-cdef-1234-567890abcdef'",
    ),
]


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
    """Host of the repository."""
    path: WorkspacePath
    """Path of the folder in the workspace."""
    branch: NonEmpty = "main"
    """Branch that is checked out."""


class Workspace(Settings):
    """The workspace, and who signs in."""

    host: Host | None = None
    """Address of the workspace. With ``auth = "environment"`` the variable ``DATABRICKS_HOST`` may replace it."""
    auth: Literal["github-oidc", "profile", "environment"]
    """Sign-in: the GitHub workflow by OpenID Connect, a profile of ``~/.databrickscfg``, or the SDK's variables."""
    client_id: ApplicationId | None = None
    """Service principal that deploys. It owns the jobs. Required with ``auth = "github-oidc"``."""
    profile: NonEmpty | None = None
    """Name of the profile, with ``auth = "profile"``."""
    production: bool = False
    """Whether plans may not destroy tables, models and runs, and schedules run."""
    folder: WorkspacePath = DEFAULT_FOLDER
    """Existing folder of the workspace, in which each environment and each instance has a folder."""
    run_as: ApplicationId | None = None
    """Service principal that runs the jobs; default: whoever deploys."""
    notify: list[Annotated[str, matching(r"[^@\s]+@[^@\s]+", "a mail address, such as 'team@example.com'")]] = []
    """Mail addresses that get a message about failed and slow runs."""
    git_folder: GitFolder | None = None

    @property
    def cloud(self) -> Literal["aws", "azure", "gcp"]:
        """Whose machines the workspace has, by its address (docs.databricks.com, "Workspace instance names")."""
        host = (self.host or "").rstrip("/")
        if host.endswith((".azuredatabricks.net", ".databricks.azure.cn", ".databricks.azure.us")):
            return "azure"
        return "gcp" if host.endswith(".gcp.databricks.com") else "aws"

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        needed = {"github-oidc": ("client_id", "host"), "profile": ("profile",), "environment": ()}
        for key in needed[self.auth]:
            if getattr(self, key) is None:
                raise ValueError(f"auth '{self.auth}' needs the key '{key}'")
        if self.production and self.folder.startswith("/Shared"):
            # docs.databricks.com, "Access control lists", special folders: all users can manage what is in /Shared.
            raise ValueError(
                f"folder '{self.folder}': every user of the workspace may write there, and production runs its wheel; "
                "accepted: another folder, such as '/Users/APPLICATION_ID', that of the service principal that deploys"
            )
        if self.profile is not None and self.auth != "profile":
            raise ValueError("profile is for auth 'profile'; accepted: that one, or no profile")
        return self


class Catalog(Settings):
    """The place of tables, files and model in Unity Catalog."""

    name: CatalogName
    """Name of an existing catalog."""
    schema_: OwnSchema | None = Field(default=None, alias="schema")
    """Name of the schema that is created in the catalog; default: the names of project and pipeline, such as
    ``ml_pipeline_iris``; in an environment that is not deployed, the pipeline's."""
    volume: Identifier = "files"
    """Name of the volume that is created in the schema."""
