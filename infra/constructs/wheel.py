"""The pipeline's wheel, as a file of the workspace whose path tells its content."""

from __future__ import annotations

from pathlib import Path

from infra import distribution
from infra.bindings import Construct, Directory, TerraformAsset, TerraformResourceLifecycle, WorkspaceFile


class Wheel(Construct):
    """A wheel in a folder, under a path that holds a hash of its content: new content never takes the place of old.

    Its address in the state holds the hash too: what was deployed before is another resource, and the state can forget
    it while its file stays.
    """

    def __init__(self, scope: Construct, *, wheel: Path, folder: Directory, path: str) -> None:
        super().__init__(scope, "wheel")
        digest = distribution.digest(wheel)[:16]
        path = f"{path}/wheels/{digest}/{wheel.name}"
        self.file = WorkspaceFile(
            self,
            "file",
            # A copy among the stack's files: its path is the same on every machine.
            source=TerraformAsset(self, "asset", path=str(wheel)).path,
            path=path,
            depends_on=[folder],
            # Where the old one is not kept, the jobs move to the new one before it goes.
            lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
        )
        self.file.override_logical_id(f"wheel-{digest}")
        self.path = f"/Workspace{path}"
        """What a job's library refers to."""
