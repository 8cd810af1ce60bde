"""From a source to the test table, which is kept, and to the tables that one training run learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline import tables, tracking
from ml_pipeline.errors import InputError
from ml_pipeline.features import INTERNAL, Features, added, refuse_names
from ml_pipeline.settings import Columns, Folds, Reason, Share, Source
from ml_pipeline.tables import Profile

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

Made = dict[str, str]
"""What a step made, for the person who runs it: a name, and what there is to say."""

_MOST_CLASSES = 1000


def split(
    *,
    source: Source,
    target: str,
    key: Columns,
    features: Columns,
    test_share: Share,
    scored: bool = True,
    probabilities: bool = False,
    train_validation_table: str,
    test_table: str,
) -> Made:
    """Split a source into the train-validation and the test table; the only step that writes the test table.

    The side of a row follows from a hash of its key alone (of the whole row where there is none). A row never changes
    sides, whatever is added later, and equal rows are on the same side. Where nothing changed, nothing is written.

    Args:
        source: The rows.
        target: The column to predict.
        key: Columns that say which row it is.
        features: Columns to learn from; all others where empty.
        test_share: Share of the rows that becomes the test table.
        scored: Whether batch inference scores the same source, and so keeps each of its columns.
        probabilities: Whether predictions come with probabilities, in a column of their own.
        train_validation_table: What the rows for training and validation are written to.
        test_table: What the others are written to.

    Raises:
        InputError: the source can't be read, or its columns or rows can't be learned from.
    """
    where = f"source {source}"
    rows = tables.read_source(source)
    chosen = Features.of(rows, target=target, key=key, features=features, where=where)
    refuse_names(rows.columns, INTERNAL, where=where)
    # A model that no batch of this source could be scored with is refused before it is trained.
    refuse_names(rows.columns if scored else chosen.kinds, added(probabilities=probabilities), where=where)
    in_test = tables.bucket(rows, key or rows.columns, salt="test") < test_share
    rows = rows.persist()
    try:
        profiles = check(rows, in_test, target=target, key=key, features=chosen, where=where)
        parts = {
            test_table: (rows.where(in_test), profiles[True].digest),
            train_validation_table: (rows.where(~in_test), profiles[False].digest),
        }
        for table, (_, digest) in parts.items():
            if not digest.rows:
                raise InputError(
                    f"test_share: {test_share} leaves no row of {where} for {table}; accepted: more rows, another share"
                )
        _check_learnable(profiles[False], profiles[True], target=target, where=where)
        return {written.table: str(written) for written in tables.replace_both(parts)}
    finally:
        rows.unpersist()


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
    in_validation = tables.bucket(rows, key or rows.columns, salt="validation") < validation_share
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
    tracking.create_run(experiment, name=f"{git_branch} {job_run_id}", tags=tags)
    return {train_table: str(train), validation_table: str(validation)}


def check(
    rows: DataFrame, sides: Column, *, target: str, key: list[str], features: Features, where: str
) -> dict[bool, Profile]:
    """Whether rows can be learned from, and what they are on both sides of a split.

    Raises:
        InputError: there is no row; the target or the key is missing in one; a feature has no value in any, or
            infinity in one; the target holds no classes, or one.
    """
    columns = list(dict.fromkeys([target, *key, *features.kinds]))
    with tables.reading(where):
        profiles = tables.profile(
            rows,
            sides,
            columns=columns,
            by=rows[tables.quote(target)],
            most=_MOST_CLASSES,
            finite=list(features.kinds),
        )
    if profiles is None:
        raise _quantities(target, where)
    total = sum(profile.digest.rows for profile in profiles.values())
    if not total:
        raise InputError(f"{where}: is empty; accepted: at least one row")
    for column in columns:
        count = sum(profile.present[column] for profile in profiles.values())
        if column in features.kinds and not count:
            raise InputError(f"features: column '{column}' of {where} has no value in any row; leave it out")
        if column in (target, *key) and count < total:
            setting = "target" if column == target else "key"
            raise InputError(
                f"{setting}: column '{column}' of {where} has no value in {total - count:,} of {total:,} rows; "
                "accepted: a value in each"
            )
    for profile in profiles.values():
        if profile.infinite is not None:
            raise InputError(f"features: column '{profile.infinite}' of {where} {tables.INFINITE}")
    classes = [value for profile in profiles.values() for value in profile.groups]
    fractional = [value for value in classes if isinstance(value, float) and not value.is_integer()]
    if fractional:
        raise _quantities(target, where, f", such as {fractional[0]}")
    if len(set(classes)) < 2:
        raise InputError(
            f"target: column '{target}' of {where} is constant ({classes[0]!r}); accepted: two classes or more"
        )
    return profiles


def _quantities(target: str, where: str, example: str = "") -> InputError:
    return InputError(
        f"target: column '{target}' of {where} holds quantities{example}; "
        f"accepted: classes (text, whole numbers or booleans, at most {_MOST_CLASSES} of them)"
    )


def _check_learnable(train_validation: Profile, test: Profile, *, target: str, where: str) -> None:
    """Whether each class of the test side is one that can be learned, which only validation would miss otherwise."""
    for value in sorted(test.groups.keys() - train_validation.groups.keys(), key=str):
        raise InputError(
            f"test_share: class {value!r} of column '{target}' in {where} has {test.groups[value]:,} rows to test with "
            "and 0 to train and validate with; accepted: more rows of it, none, or another share"
        )


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
