"""The MLflow experiment that runs are logged to."""

from __future__ import annotations

from infra.bindings import Construct, Directory, MlflowExperiment, TerraformResourceLifecycle


class Experiment(Construct):
    """An MLflow experiment; its runs are state."""

    def __init__(self, scope: Construct, *, name: str, after: Directory, lifecycle: TerraformResourceLifecycle) -> None:
        super().__init__(scope, "experiment")
        self.experiment = MlflowExperiment(self, "experiment", name=name, depends_on=[after], lifecycle=lifecycle)
