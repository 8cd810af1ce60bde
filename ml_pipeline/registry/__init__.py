"""Runs, versions and aliases. MLflow is imported here only; other packages take its types from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

    __all__ = ["ModelSignature", "ModelVersion", "Run"]
