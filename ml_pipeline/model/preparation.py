"""The preparation of a model's features (``search.grid``) as array code: scikit-learn's operations in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Columns = Mapping[str, Any]
"""A batch: by name doubles, with NaN for no value, or text as an Arrow array or an array of objects."""


@dataclass(frozen=True)
class Numbers:
    """Imputation, if the estimator takes no missing values, and standardization of number columns."""

    names: list[str]
    fill: NDArray[Any]
    """What replaces NaN in each column; NaN leaves it."""
    mean: NDArray[Any]
    scale: NDArray[Any]

    @classmethod
    def of(cls, steps: Any, names: list[str]) -> Self | None:
        """The fitted steps as arrays; ``None`` where they are others than imputer and scaler of numbers."""
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        kinds = [type(step) for _, step in steps.steps] if type(steps) is Pipeline else []
        if kinds not in ([SimpleImputer, StandardScaler], [StandardScaler]):
            return None
        imputer, scaler = (steps[0] if len(kinds) == 2 else None), steps[-1]
        fill = np.full(len(names), np.nan) if imputer is None else imputer.statistics_
        plain = imputer is None or (
            np.isnan(imputer.missing_values) and not imputer.add_indicator and not np.isnan(fill).any()
        )
        if not (plain and scaler.with_mean and scaler.with_std):
            return None
        return cls(names, fill, scaler.mean_, scaler.scale_)

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.names)

    def write(self, columns: Columns, features: NDArray[np.float64]) -> None:
        """Fill in the features, (rows, width)."""
        for place, name in enumerate(self.names):
            values = np.where(np.isnan(columns[name]), self.fill[place], columns[name])
            values -= self.mean[place]
            with np.errstate(over="ignore"):  # The kernel rejects what becomes infinite.
                np.divide(values, self.scale[place], out=features[:, place])


@dataclass(frozen=True)
class Text:
    """One-hot columns of one text column."""

    name: str
    places: dict[str | None, int]
    """The column of each category."""
    width: int
    unknown: int
    """The column of any other text; -1 if it has none."""

    @classmethod
    def of(cls, encoder: Any, names: list[str]) -> list[Self] | None:
        """A fitted encoder, column by column; ``None`` where it encodes in a way that is not known here."""
        from sklearn.preprocessing import OneHotEncoder

        known = type(encoder) is OneHotEncoder and encoder.handle_unknown in ("ignore", "infrequent_if_exist")
        if not known or encoder.drop is not None or encoder.sparse_output or encoder.dtype is not np.float64:
            return None
        rare = getattr(encoder, "infrequent_categories_", [None] * len(names))
        return [cls._of(*each, encoder) for each in zip(names, encoder.categories_, rare, strict=True)]

    @classmethod
    def _of(cls, name: str, categories: NDArray[Any], rare: NDArray[Any] | None, encoder: Any) -> Self:
        # The rare ones share the last column. A missing value can be None or, in newer libraries, NaN.
        known, shared = (
            [category if isinstance(category, str) else None for category in ([] if each is None else each.tolist())]
            for each in (categories, rare)
        )
        frequent = [category for category in known if category not in shared]
        places = {category: place for place, category in enumerate(frequent)} | dict.fromkeys(shared, len(frequent))
        unknown = len(frequent) if shared and encoder.handle_unknown == "infrequent_if_exist" else -1
        return cls(name, places, len(frequent) + bool(shared), unknown)

    def write(self, columns: Columns, features: NDArray[np.float64]) -> None:
        """Set the ones among zeros, (rows, width)."""
        import pyarrow as pa

        encoded = pa.array(columns[self.name], from_pandas=True).dictionary_encode(null_encoding="encode")
        places = [self.places.get(value, self.unknown) for value in encoded.dictionary.to_pylist()]
        found = np.array(places, np.int64)[encoded.indices.to_numpy()]
        rows = np.flatnonzero(found >= 0)
        features[rows, found[rows]] = 1


@dataclass(frozen=True)
class Preparation:
    """All features of a model, in its order."""

    parts: list[Numbers | Text]

    @classmethod
    def of(cls, columns: Any) -> Self | None:
        """A fitted ``ColumnTransformer`` as arrays; ``None`` if a part of it is not known here."""
        from sklearn.compose import ColumnTransformer

        if type(columns) is not ColumnTransformer or columns.transformer_weights is not None:
            return None
        parts: list[Numbers | Text] = []
        for step, names in [(step, names) for _, step, names in columns.transformers_ if step != "drop"]:
            part = Numbers.of(step, list(names)) or Text.of(step, list(names))
            if part is None:
                return None
            parts += part if isinstance(part, list) else [part]
        return cls(parts)

    def __call__(self, columns: Columns) -> NDArray[np.float64]:
        """The features, (rows, features), in the memory order in which scikit-learn has them."""
        rows = len(next(iter(columns.values())))
        # A matrix product may round in another way in the other order.
        order: Any = "F" if all(isinstance(part, Numbers) for part in self.parts) else "C"
        features, begin = np.zeros((rows, sum(part.width for part in self.parts)), order=order), 0
        for part in self.parts:
            part.write(columns, features[:, begin : begin + part.width])
            begin += part.width
        return features
