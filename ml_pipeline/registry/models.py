"""Logged models and registered versions, which are found by alias."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_pipeline import errors
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.names import CHAMPION
from ml_pipeline.registry.lazy import mlflow
from ml_pipeline.registry.runs import quoted
from ml_pipeline.registry.tracking import client

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

SHADOW = "shadow"
"""Tag of a version: ``passed`` or ``failed`` by the last batch that it scored in shadow, with ``shadow_reason``."""
LONGEST_TAG = 1000
"""Characters of a tag's value in Unity Catalog, which also takes none of ``.,-=/:`` in a tag's name (Databricks: Apply
tags to Unity Catalog securable objects, constraints)."""
_RESERVED = str.maketrans(dict.fromkeys(".,-=/:", "_"))
MODEL = "model"
"""Name of the model within its run."""
_TYPES = "column_types"


def log_model(model: Any, *, signature: ModelSignature, example: pd.DataFrame, types: Mapping[str, str]) -> None:
    """Keep a scikit-learn model with the active run, and the types of all columns of the rows that it learned from."""
    import numpy as np
    import pandas as pd
    import sklearn

    # Named rather than inferred: inference loads the model in a process of its own, which takes many seconds.
    used = {"mlflow": mlflow, "scikit-learn": sklearn, "pandas": pd, "numpy": np}
    requirements = [f"{name}=={module.__version__}" for name, module in used.items()]
    requirements += _distributions(model)
    mlflow.sklearn.log_model(
        model,
        name=MODEL,
        signature=signature,
        input_example=example,
        metadata={_TYPES: dict(types)},
        pip_requirements=requirements,
        # The format that holds every estimator: skops has a list of trusted types, without scikit-learn's own trees.
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
    )


def _distributions(model: Any) -> list[str]:
    """The distributions beside scikit-learn, each with its version, that a model's estimators come from."""
    parts = [model, *model.get_params().values()]
    packages = {type(part).__module__.partition(".")[0] for part in parts if hasattr(part, "fit")}
    packages -= {"sklearn", "ml_pipeline"}
    if not packages:
        return []
    # It reads the metadata of every installed distribution.
    known = importlib.metadata.packages_distributions()
    names = {name for package in packages for name in known.get(package, ())}
    return [f"{name}=={importlib.metadata.version(name)}" for name in sorted(names)]


def load_model(uri: str) -> tuple[Any, ModelSignature]:
    """A scikit-learn model and its signature.

    Raises:
        PipelineError: there is no such model, or it can't be read.
    """
    client()  # Otherwise MLflow's default store is asked.
    try:
        signature = mlflow.models.get_model_info(uri).signature
        return mlflow.sklearn.load_model(uri), signature
    except Exception as error:
        # An artifact that was cut off can fail in as many ways as there are formats.
        raise PipelineError(f"model {uri} can't be loaded: {errors.cause(error)}") from error


def signature(uri: str) -> ModelSignature:
    """A model's signature.

    Raises:
        PipelineError: there is no such model.
    """
    return _info(uri).signature  # type: ignore[no-any-return]


def _info(uri: str) -> Any:
    client()  # Otherwise MLflow's default store is asked.
    try:
        return mlflow.models.get_model_info(uri)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise PipelineError(f"model {uri} can't be loaded: {errors.cause(error)}") from error


def column_types(uri: str) -> dict[str, str]:
    """The types of the columns that a model was trained beside; none if it was logged without them.

    Raises:
        PipelineError: there is no such model.
    """
    return dict((_info(uri).metadata or {}).get(_TYPES, {}))


def input_kinds(signature: ModelSignature) -> dict[str, str]:
    """The columns that a model takes, in its order, each a ``double`` or a ``string``."""
    return {column.name: column.type.name for column in signature.inputs.inputs}


def signature_of(kinds: Mapping[str, str], target_type: str) -> ModelSignature:
    """The signature of a model that takes such columns (``input_kinds``) and predicts classes of a type of MLflow's."""
    schema, column = mlflow.types.Schema, mlflow.types.ColSpec
    inputs = schema([column(kind, name) for name, kind in kinds.items()])
    return mlflow.models.ModelSignature(inputs=inputs, outputs=schema([column(target_type)]))


def tag_of_model(uri: str, name: str) -> str:
    """A tag of the run that logged a model; empty where the run, or the tag, is not to be had."""
    try:
        run_id = mlflow.models.get_model_info(uri).run_id
        return str(client().get_run(run_id).data.tags.get(name, ""))
    except mlflow.exceptions.MlflowException:
        return ""


def version_by_alias(model: str, alias: str) -> ModelVersion | None:
    """The version of a registered model that an alias points to."""
    try:
        found = client().get_model_version_by_alias(model, alias)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    # Version's own tags: the alias look-up leaves them out on some registries.
    return client().get_model_version(model, found.version)


def champion(model: str) -> ModelVersion:
    """The version in service.

    Raises:
        InputError: there is none.
    """
    version = version_by_alias(model, CHAMPION)
    if version is None:
        raise InputError(f"model {model} has no alias '{CHAMPION}'; promote a validated version first")
    return version


def version_uri(version: ModelVersion) -> str:
    """Where a version's model is loaded from."""
    return f"models:/{version.name}/{version.version}"


def run_uri(run: Run) -> str:
    """Where a run's model is loaded from."""
    return f"runs:/{run.info.run_id}/{MODEL}"


def register(run: Run, model: str, *, tags: Mapping[str, str]) -> ModelVersion:
    """The registered version of a run's model; a run is registered once, however often this is called."""
    with contextlib.suppress(mlflow.exceptions.MlflowException):
        client().create_registered_model(model)
    version = version_of_run(run, model)
    if version is None:
        # It prints what it does; the step prints that itself.
        with contextlib.redirect_stderr(io.StringIO()):
            version = mlflow.register_model(run_uri(run), model)
    set_version_tags(version, tags)
    return client().get_model_version(model, version.version)


def version_of_run(run: Run, model: str) -> ModelVersion | None:
    """The registered version of a run's model."""
    token: str | None = ""
    while token is not None:
        try:
            page = client().search_model_versions(f"name={quoted(model)}", page_token=token or None)
        except mlflow.exceptions.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        for version in page:
            if version.run_id == run.info.run_id:
                # Its own tags: the search leaves them out on some registries.
                return client().get_model_version(model, version.version)
        token = page.token or None
    return None


def registry_tag(name: str) -> str:
    """What a tag of a run is called where it is one of a registered model, or of a version."""
    return name.translate(_RESERVED)


def set_version_tags(version: ModelVersion, tags: Mapping[str, str]) -> None:
    """Set tags of a model version, under names that every registry takes; a value that is too long is cut."""
    for name, value in tags.items():
        short = value[:LONGEST_TAG].strip()
        client().set_model_version_tag(version.name, version.version, registry_tag(name), short)


def move_alias(alias: str, version: ModelVersion) -> None:
    """Let an alias point to a version, and to no other."""
    client().set_registered_model_alias(version.name, alias, version.version)


def version(model: str, number: str) -> ModelVersion:
    """A version of a registered model by its number."""
    return client().get_model_version(model, number)


def has_version(model: str, number: str) -> bool:
    """Whether a version of a registered model was not deleted."""
    try:
        return bool(version(model, number))
    except mlflow.exceptions.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
