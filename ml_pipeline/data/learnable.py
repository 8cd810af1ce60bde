"""Whether rows can be learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.data import hashing, sources
from ml_pipeline.data.columns import INFINITE, quote
from ml_pipeline.data.features import Features
from ml_pipeline.data.hashing import Profile
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_MOST_CLASSES = 1000


def check(
    rows: DataFrame, sides: Column, *, target: str, key: list[str], features: Features, where: str
) -> dict[bool, Profile]:
    """Whether rows can be learned from, and what they are on both sides of a split.

    Raises:
        InputError: there is no row; the target or the key is missing in one; a feature has no value in any, or
            infinity in one; the target holds no classes, or one.
    """
    columns = list(dict.fromkeys([target, *key, *features.kinds]))
    with sources.reading(where):
        profiles = hashing.profile(
            rows,
            sides,
            columns=columns,
            by=rows[quote(target)],
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
            raise InputError(f"features: column '{profile.infinite}' of {where} {INFINITE}")
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
