"""The pipeline's wheel, as a file of the workspace whose path tells its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from infra.bindings import Construct, TerraformAsset, TerraformResourceLifecycle, WorkspaceFile
from ml_pipeline.errors import InputError

PACKAGE = "ml_pipeline"


def find(folder: Path) -> Path:
    """The one wheel of a folder.

    Raises:
        InputError: there is none, or more than one.
    """
    wheels = sorted(folder.glob(f"{PACKAGE}-*.whl"))
    if len(wheels) != 1:
        held = f"holds {', '.join(wheel.name for wheel in wheels)}" if wheels else "holds no wheel"
        raise InputError(f"{folder}: {held}; accepted: exactly one, which 'make wheel' builds")
    return wheels[0]


class Wheel(Construct):
    """A wheel under a path that holds a hash of its content: new content never takes the place of old."""

    def __init__(self, scope: Construct, *, wheel: Path, folder: str) -> None:
        super().__init__(scope, "wheel")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()[:16]
        path = f"{folder}/wheels/{digest}/{wheel.name}"
        self.file = WorkspaceFile(
            self,
            "file",
            # A copy among the stack's files: its path is the same on every machine.
            source=TerraformAsset(self, "asset", path=str(wheel)).path,
            path=path,
            # The jobs move to the new wheel before the old one goes.
            lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
        )
        self.path = f"/Workspace{path}"
        """What a job's library refers to."""
