"""Makes the train and the validation table, and announces the MLflow run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.data import hashing, tables
from ml_pipeline.data.features import Features
from ml_pipeline.data.hashing import Profile
from ml_pipeline.data.learnable import check
from ml_pipeline.entry_point import Made
from ml_pipeline.errors import InputError
from ml_pipeline.registry import runs
from ml_pipeline.settings.types import Columns, Folds, Reason, Share

if TYPE_CHECKING:
    pass


def prepare(
    *,
    train_validation_table: str,
    train_table: str,
    validation_table: str,
    target: str,
    key: Columns,
    features: Columns,
    folds: Folds,
    validation_share: Share,
    experiment: str,
    job_run_id: str,
    git_branch: str,
    git_commit: str,
    pull_request: int | None = None,
    reason: Reason,
    run_by: str = "",
) -> Made:
    """Check the train-validation table, make the train and the validation table of it, and announce the MLflow run.

    The run is tagged with the job's run id, by which the next steps find it, and with the version of each table, which
    is what they read, whatever another run writes meanwhile.

    Raises:
        InputError: columns or rows can't be learned from; nothing is written then.
    """
    where = f"table {train_validation_table}"
    rows = tables.read(train_validation_table)
    version, fingerprint = tables.last_write(train_validation_table)
    rows = tables.read(train_validation_table, version=version)
    chosen = Features.of(rows, target=target, key=key, features=features, where=where)
    in_validation = hashing.bucket(rows, key or rows.columns, salt="validation") < validation_share
    profiles = check(rows, in_validation, target=target, key=key, features=chosen, where=where)
    _check_folds(profiles[False], profiles[True], target=target, folds=folds, where=where)
    train, validation = tables.replace_both(
        {
            train_table: (rows.where(~in_validation), profiles[False].digest),
            validation_table: (rows.where(in_validation), profiles[True].digest),
        }
    )
    tags = {
        "job_run_id": job_run_id,
        "git_branch": git_branch,
        "git_commit": git_commit,
        "mlflow.source.git.commit": git_commit,
        "mlflow.source.git.branch": git_branch,
        "pull_request": "" if pull_request is None else str(pull_request),
        "reason": reason,
        "train_validation_table": train_validation_table,
        "train_validation_version": str(version),
        "train_validation_fingerprint": fingerprint,
        "train_table": train_table,
        "train_version": str(train.version),
        "classes": str(len(profiles[False].groups)),
        "train_fingerprint": train.digest.text,
        "validation_table": validation_table,
        "validation_version": str(validation.version),
        "validation_fingerprint": validation.digest.text,
    }
    if run_by:
        tags["run_by"] = run_by
    runs.create_run(experiment, name=f"{git_branch} {job_run_id}", tags=tags)
    return {train_table: str(train), validation_table: str(validation)}


def _check_folds(train: Profile, validation: Profile, *, target: str, folds: int, where: str) -> None:
    """Whether the train side can be cross-validated, and the validation side can validate."""
    if not validation.digest.rows:
        raise InputError(
            f"validation_share: leaves no row of {where} for validation; accepted: more rows or a greater share"
        )
    for value in sorted({**train.groups, **validation.groups}, key=str):
        rows = train.groups.get(value, 0)
        if rows < folds:
            raise InputError(
                f"folds: class {value!r} of column '{target}' has {rows} rows to train on in {where}, "
                f"fewer than the {folds} folds; accepted: more rows of it, or fewer folds"
            )
