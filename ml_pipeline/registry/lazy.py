"""MLflow, imported when it is first used: that takes seconds, which the first step on Spark need not wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["mlflow"]

if TYPE_CHECKING:
    import mlflow
    import mlflow.entities
    import mlflow.sklearn
    import mlflow.types
else:

    class _Mlflow:
        def __getattr__(self, name: str) -> Any:
            import mlflow

            return getattr(mlflow, name)

    mlflow = _Mlflow()
