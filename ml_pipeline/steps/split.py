"""From a source to the test table, which is kept, and to the tables that one training run learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.data import columns, schema, sides, sources, tables
from ml_pipeline.data.features import Features, added, check, check_folds, refuse_names, transformed
from ml_pipeline.data.hashing import Profile
from ml_pipeline.entry_point import Results
from ml_pipeline.errors import InputError
from ml_pipeline.names import INTERNAL
from ml_pipeline.settings.pipeline import Source
from ml_pipeline.settings.types import ClassName, Columns, Folds, Share

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def split(
    *,
    source: Source,
    target: str,
    key: Columns,
    features: Columns,
    transform: str = "",
    positive_class: ClassName = "",
    test_share: Share,
    stratify: bool = False,
    folds: Folds = 2,
    scored: bool = True,
    probabilities: bool = False,
    train_validation_table: str,
    test_table: str,
) -> Results:
    """Split a source into the train-validation and the test table; the only step that writes the test table.

    The side of a row follows from a hash of its key alone (of the whole row where there is none). A row never changes
    sides, whatever is added later, and equal rows are on the same side. With ``stratify``, each class has the same
    share of the test table (``sides.chosen``). Where nothing changed, nothing is written.

    If batch inference scores the same source (``scored``), it keeps each of its columns, and adds a column for
    probabilities if it is to give them; no column of the source may have the name of one that it adds.

    Raises:
        InputError: the source can't be read, a key isn't unique, or columns or rows can't be learned from.
    """
    where = f"source {source}"
    read = sources.read_source(source)
    before = schema.types_of(tables.read(train_validation_table)) if tables.exists(train_validation_table) else {}
    computed = [target, *(features or [name for name in read.columns if name not in (target, *key)])]
    rows = schema.apply(read, schema.of_training(read, source, computed=computed, target=target, before=before))
    own = rows.columns
    rows = transformed(rows, transform, where=where)
    # A batch gets these columns too.
    refuse_names((name for name in rows.columns if name not in own), added(probabilities=probabilities), where=where)
    chosen = Features.of(rows, target=target, key=key, features=features, where=where)
    refuse_names(rows.columns, INTERNAL, where=where)
    # A model that no batch of this source could be scored with is rejected before it is trained.
    refuse_names(rows.columns if scored else chosen.kinds, added(probabilities=probabilities), where=where)
    in_test = sides.chosen(
        rows,
        key or rows.columns,
        salt="test",
        share=test_share,
        stratify=target if stratify else "",
        inside=test_table,
        outside=train_validation_table,
    )
    with tables.kept(rows, needed=sources.costly(source)):
        _check_key(rows, key, where=where)
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
        # What would fail later too, but after tables were written.
        check_folds(profiles[False].groups, target=target, folds=folds, where=where)
        if positive_class:
            # It imports scikit-learn, which takes seconds.
            from ml_pipeline.model.metrics import Classes

            Classes.of([*{**profiles[False].groups, **profiles[True].groups}], positive=positive_class)
        return {table: str(written) for table, written in tables.replace_both(parts).items()}


def _check_key(rows: DataFrame, key: list[str], *, where: str) -> None:
    """Whether the key tells each row from the others."""
    if not key:
        return
    with sources.reading(where):
        shared = columns.shared(rows, key)
    if shared is not None:
        *values, count = shared
        named = ", ".join(f"{name} = {value!r}" for name, value in zip(key, values, strict=True))
        raise InputError(f"key: {where} has {count:,} rows with {named}; expected a unique key")


def _check_learnable(train_validation: Profile, test: Profile, *, target: str, where: str) -> None:
    """Whether each class of the test side is one that can be learned, which only validation would miss otherwise."""
    for value in sorted(test.groups.keys() - train_validation.groups.keys(), key=str):
        raise InputError(
            f"test_share: class {value!r} of column '{target}' in {where} has {test.groups[value]:,} rows to test with "
            "and 0 to train and validate with; accepted: more rows of it, none, or another share"
        )
