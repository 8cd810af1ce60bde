"""Makes the train and the validation table, and announces the MLflow run."""

from __future__ import annotations

from ml_pipeline import names
from ml_pipeline.data import sides, tables
from ml_pipeline.data.features import Features, check, check_folds
from ml_pipeline.data.hashing import Profile
from ml_pipeline.entry_point import Results
from ml_pipeline.errors import InputError
from ml_pipeline.registry import runs
from ml_pipeline.registry.evidence import TableVersion
from ml_pipeline.settings.types import Columns, Folds, Reason, Share


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
    stratify: bool = False,
    experiment: str,
    job_run_id: str,
    git_branch: str,
    git_commit: str,
    pull_request: int | None = None,
    reason: Reason,
    run_by: str = "",
) -> Results:
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
    in_validation = sides.chosen(
        rows,
        key or rows.columns,
        salt="validation",
        share=validation_share,
        stratify=target if stratify else "",
        inside=validation_table,
        outside=train_table,
    )
    profiles = check(rows, in_validation, target=target, key=key, features=chosen, where=where)
    _check_folds(profiles[False], profiles[True], target=target, folds=folds, where=where)
    parts = {
        train_table: (rows.where(~in_validation), profiles[False].digest),
        validation_table: (rows.where(in_validation), profiles[True].digest),
    }
    written = tables.replace_both(parts)
    read = {train_validation_table: (version, fingerprint)}
    read |= {table: (written[table].version, digest.text) for table, (_, digest) in parts.items()}
    tags = {
        names.JOB_RUN_ID: job_run_id,
        names.GIT_BRANCH: git_branch,
        names.GIT_COMMIT: git_commit,
        "mlflow.source.git.commit": git_commit,
        "mlflow.source.git.branch": git_branch,
        names.PULL_REQUEST: "" if pull_request is None else str(pull_request),
        names.REASON: reason,
        names.CLASSES: str(len(profiles[False].groups)),
        **({names.RUN_BY: run_by} if run_by else {}),
    }
    each_side = (names.TRAIN_VALIDATION_SIDE, names.TRAIN_SIDE, names.VALIDATION_SIDE)
    for side, (table, (at, rows_of_run)) in zip(each_side, read.items(), strict=True):
        tags |= TableVersion(side=side, table=table, version=at, fingerprint=rows_of_run).tags
    runs.create_run(experiment, name=f"{git_branch} {job_run_id}", tags=tags)
    return {table: str(each) for table, each in written.items()}


def _check_folds(train: Profile, validation: Profile, *, target: str, folds: int, where: str) -> None:
    """Whether the train side can be cross-validated, and the validation side can validate."""
    if not validation.digest.rows:
        raise InputError(
            f"validation_share: leaves no row of {where} for validation; accepted: more rows or a greater share"
        )
    groups = {**dict.fromkeys(validation.groups, 0), **train.groups}
    check_folds(groups, target=target, folds=folds, where=where)
