"""The MLflow calls that copy a run with its model: into a folder, and from there into another experiment.

Since MLflow 3 a run's model is an object of its own, beside the run: both are copied, and the link between them.
Nothing here loads the model, which would run code of where it came from.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.errors import PipelineError
from ml_pipeline.registry import models, tracking
from ml_pipeline.registry.lazy import mlflow

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

    from ml_pipeline.registry import Run

ARTIFACTS, MODEL = "artifacts", "model"
"""The two parts of the folder: the run's files, and its model's."""
_KEPT = ("mlflow.user", "mlflow.source.", "mlflow.note.")
"""What MLflow's own tags begin with that say the same wherever the run is."""
_MOST = 100
"""Parameters, or metrics, that go in one call."""


def write(run: Run, folder: Path) -> dict[str, Any]:
    """Write the files of an ended run, and its model's, into an empty folder; all else is returned as plain data.

    Raises:
        PipelineError: the run has no model.
    """
    client = tracking.client()
    model = next((model for model in _models_of(run) if model.name == models.MODEL), None)
    if model is None:
        raise PipelineError(f"run {run.info.run_id} has no model that could be exported")
    artifacts = folder / ARTIFACTS
    artifacts.mkdir()
    for item in client.list_artifacts(run.info.run_id):
        if item.path != models.MODEL:
            client.download_artifacts(run.info.run_id, item.path, str(artifacts))
    mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(folder / MODEL))
    histories = (client.get_metric_history(run.info.run_id, name) for name in sorted(run.data.metrics))
    return {
        "name": run.info.run_name,
        "start_time": run.info.start_time,
        "end_time": run.info.end_time,
        "params": dict(run.data.params),
        "tags": portable(run.data.tags),
        "metrics": [
            [point.key, point.value, point.timestamp, point.step] for history in histories for point in history
        ],
        "datasets": [
            {"dataset": dict(used.dataset), "tags": {tag.key: tag.value for tag in used.tags}}
            for used in run.inputs.dataset_inputs
        ],
        "model": {
            "name": model.name,
            "type": model.model_type,
            "params": dict(model.params or {}),
            "tags": portable(model.tags or {}),
        },
    }


def portable(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that say the same wherever their object is."""
    return {name: text for name, text in tags.items() if not name.startswith("mlflow.") or name.startswith(_KEPT)}


def _models_of(run: Run) -> list[LoggedModel]:
    client = tracking.client()
    # Asked for by its id: a run that was searched for comes without them on some servers.
    outputs = client.get_run(run.info.run_id).outputs
    return [client.get_logged_model(output.model_id) for output in outputs.model_outputs]


def read(content: Mapping[str, Any], folder: Path, *, experiment: str, tags: Mapping[str, str]) -> Run:
    """Make a run of what ``write`` returned and of its folder; only once it is complete, it is finished."""
    from mlflow.utils import chunk_list

    client, experiment_id = tracking.client(), tracking.experiment_id(experiment)
    entities = mlflow.entities
    # With its tags, by which it is found where this is interrupted.
    run = client.create_run(experiment_id, start_time=content["start_time"], run_name=content["name"], tags=dict(tags))
    run_id = run.info.run_id
    for params in chunk_list(list(content["params"].items()), _MOST):  # type: ignore[no-untyped-call]
        client.log_batch(run_id, params=[entities.Param(*param) for param in params])  # type: ignore[no-untyped-call]
    for points in chunk_list(content["metrics"], _MOST):  # type: ignore[no-untyped-call]
        client.log_batch(run_id, metrics=[entities.Metric(*point) for point in points])
    for used in content["datasets"]:
        of_use = [entities.InputTag(name, text) for name, text in used["tags"].items()]
        client.log_inputs(run_id, datasets=[entities.DatasetInput(entities.Dataset(**used["dataset"]), of_use)])
    client.log_artifacts(run_id, str(folder / ARTIFACTS))
    of_model = content["model"]
    model = client.create_logged_model(
        experiment_id,
        name=of_model["name"],
        source_run_id=run_id,
        tags=of_model["tags"],
        params=of_model["params"],
        model_type=of_model["type"],
    )
    client.log_outputs(run_id, [entities.LoggedModelOutput(model.model_id, step=0)])
    with tempfile.TemporaryDirectory() as scratch:
        own = shutil.copytree(folder / MODEL, Path(scratch) / MODEL)
        # The model's own description names the run and the model that it is of.
        described = mlflow.models.Model.load(str(own))
        described.run_id, described.model_id = run_id, model.model_id
        described.save(str(own / "MLmodel"))
        client.log_model_artifacts(model.model_id, str(own))
    client.finalize_logged_model(model.model_id, "READY")
    client.set_terminated(run_id, end_time=content["end_time"])
    return client.get_run(run_id)


def delete(run: Run) -> None:
    """Delete a run and its models."""
    for model in _models_of(run):
        tracking.client().delete_logged_model(model.model_id)
    tracking.client().delete_run(run.info.run_id)
