"""The project's name, with which the names of all that it deploys begin."""

from __future__ import annotations

from typing import Annotated

from ml_pipeline.settings.types import Settings, matching

TABLE = "tool.ml-pipeline"
"""Dotted key of the table in ``pyproject.toml``."""


class Project(Settings):
    """The table ``[tool.ml-pipeline]`` of ``pyproject.toml``."""

    project: Annotated[
        str,
        # A pool's name has up to 100: with these an environment's 38, an instance's 30, and two hyphens.
        matching(
            "[a-z]([a-z0-9-]{0,28}[a-z0-9])?",
            "up to 30 lower-case letters, digits and hyphens that begin with a letter and end with a letter or digit, "
            "such as 'churn'",
        ),
    ] = "ml-pipeline"
    """Name of the project. Jobs, pool, folder, experiment, state and schema have it, and so does the tag `project`."""
