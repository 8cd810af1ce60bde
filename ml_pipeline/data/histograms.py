"""Histograms of a batch and of the training rows in the same bins, computed in Spark, whatever the size.

The training rows are read once for the bins and once to count, the batch once. Neither needs a plan with an expression
for each bin of each feature, which Spark takes longer to compile than to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from ml_pipeline.data import columns
from ml_pipeline.data import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Counts = NDArray[np.int64]

BINS = 10
"""Bins of a number: tenths of the training rows."""
RARE = 0.01
"""Share of the training rows below which categories of a text are counted together."""
LEAST = 5
"""Training rows that a category of its own has at least (Cochran, Some methods for strengthening the common chi-squared
tests, 1954): a few rows say little of its share, and none at all nothing of what the training rows happen to lack."""
MISSING, OTHER = "(missing)", "(other)"


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """One feature's rows by bin, in the training data and in a batch."""

    feature: str
    bins: tuple[str, ...]
    """What each bin holds, in words; the last one holds the rows without a value."""
    training: Counts
    """Rows of the training data by bin."""
    batch: Counts
    """Rows of the batch by bin."""
    edges: Sequence[float] = ()
    """For a number the upper bounds of all bins but the last two: the greatest values, and the missing ones."""

    @property
    def missing(self) -> tuple[float, float]:
        """Share of rows without a value, in the training data and in the batch."""
        return float(shares(self.training)[-1]), float(shares(self.batch)[-1])


def shares(counts: Counts) -> NDArray[np.float64]:
    """Counts as shares of their sum."""
    return np.divide(counts, max(1, counts.sum()))


def edges_of(quantiles: Sequence[float | None]) -> tuple[float, ...]:
    """Upper bounds of a number's bins, from the quantiles of the training data.

    Args:
        quantiles: Ascending, the least and the greatest value among them; ``None`` where there is no value.

    Returns:
        Distinct finite bounds. The bin of x is the first whose bound is x or more, or one after the last. Where many
        rows share the least value, it has a bin of its own: else nothing would tell it from smaller ones.
    """
    values = [float(value) for value in quantiles if value is not None and np.isfinite(value)]
    if not values:
        return ()
    inner = values[1:-1] or values
    below = [float(np.nextafter(values[0], -np.inf))] if inner[0] == values[0] else []
    return tuple(sorted({*below, *inner}))


def bin_names(edges: Sequence[float]) -> tuple[str, ...]:
    """The bins of a number in words."""
    if not edges:
        return ("any value", MISSING)
    texts = [f"{edge:.4g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    if len(edges) > 1 and edges[1] == np.nextafter(edges[0], np.inf):
        return (f"below {texts[1]}", texts[1], *between[1:], f"above {texts[-1]}", MISSING)
    return (f"up to {texts[0]}", *between, f"above {texts[-1]}", MISSING)


def place(values: ArrayLike, edges: ArrayLike) -> Counts:
    """The bin of each number; a NaN is missing."""
    numbers, bounds = np.asarray(values, dtype=float), np.asarray(edges, dtype=float)
    return np.where(np.isnan(numbers), len(bounds) + 1, np.searchsorted(bounds, numbers, side="left"))


MOST_VALUES = 1_000_000
"""Values that are few: rows times features."""
_RELATIVE_ERROR = 0.005
"""Of the quantiles' ranks; whatever the bounds, rows are counted exactly."""


@dataclass(frozen=True, kw_only=True)
class Bins:
    """The bins of each feature, by its name."""

    edges: dict[str, Sequence[float]]
    """Of numbers: upper bounds (``edges_of``)."""
    categories: dict[str, Sequence[str]]
    """Of text: the categories with a bin of their own, the commonest first."""

    def sizes(self, names: Iterable[str]) -> list[int]:
        """How many bins each feature has: a number one more than bounds, a text one for the others; one for missing."""
        return [len(self.edges.get(name, self.categories.get(name, ()))) + 2 for name in names]


def bins(training: DataFrame, kinds: Mapping[str, str]) -> Bins:
    """Find the bins of each feature, a ``double`` or a ``string``, from the training rows."""
    numbers, text = ([name for name in kinds if kinds[name] == kind] for kind in ("double", "string"))
    return Bins(edges=_quantiles(training, numbers), categories=_categories(training, text))


def _quantiles(training: DataFrame, names: Sequence[str]) -> dict[str, Sequence[float]]:
    """Of numbers, by the algorithm of Greenwald and Khanna (Space-efficient online computation of quantiles, 2001)."""
    if not names:
        return {}
    # It takes names only, and reads a dot in one as a field of a struct.
    plain = training.select(*(F.col(columns.quote(name)).alias(str(i)) for i, name in enumerate(names)))
    shares = [i / BINS for i in range(BINS + 1)]
    found: Any = plain.approxQuantile(plain.columns, shares, _RELATIVE_ERROR)
    return {name: edges_of(quantiles) for name, quantiles in zip(names, found, strict=True)}


def _categories(training: DataFrame, names: Sequence[str]) -> dict[str, Sequence[str]]:
    """Of text, those that are not rare: at most 1 / ``RARE``, however many there are."""
    from pyspark.sql import Window

    if not names:
        return {}
    values = F.posexplode(F.array(*(F.col(columns.quote(name)) for name in names))).alias("feature", "text")
    counted = training.select(values).groupBy("feature", "text").count()
    total = F.sum("count").over(Window.partitionBy("feature"))
    common = counted.withColumn("total", total).where(F.col("count") >= F.greatest(RARE * F.col("total"), F.lit(LEAST)))
    found = sorted(common.where(F.col("text").isNotNull()).collect(), key=lambda row: (-row["count"], row["text"]))
    return {name: tuple(row["text"] for row in found if row["feature"] == i) for i, name in enumerate(names)}


def count(rows: DataFrame, kinds: Mapping[str, str], found: Bins) -> dict[str, Counts]:
    """Count rows, whose columns are features of their kind, in each bin.

    Returns:
        For each feature its rows by bin: for a number in the order of its bounds, for a text in that of its categories
        and then all others; the missing ones last.
    """
    names = list(kinds)

    def counted(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        totals = _tally(batches, names, found)
        held = np.flatnonzero(totals)
        yield pa.RecordBatch.from_arrays([pa.array(held), pa.array(totals[held])], ["bin", "rows"])

    # By position: where a name holds a dot, PySpark's own reading of it fails.
    plain = rows.select(*(F.col(columns.quote(name)).alias(str(i)) for i, name in enumerate(names)))
    partial = plain.mapInArrow(counted, "bin bigint, rows bigint")
    totals = np.zeros(sum(found.sizes(names)), dtype=np.int64)
    for bin_, total in partial.groupBy("bin").agg(F.sum("rows")).collect():
        totals[bin_] = total
    return _split(totals, names, found)


def _tally(batches: Iterable[pa.RecordBatch], names: Sequence[str], found: Bins) -> Counts:
    """Rows in each bin, those of all features one after the other."""
    sizes = found.sizes(names)
    starts = np.cumsum([0, *sizes])
    totals = np.zeros(starts[-1], dtype=np.int64)
    for batch in batches:
        for i, (name, column) in enumerate(zip(names, batch.columns, strict=True)):
            if name in found.edges:
                at = place(column.to_numpy(zero_copy_only=False), found.edges[name])
            else:
                categories = pa.array(found.categories[name], pa.string())
                known = pc.fill_null(pc.index_in(column.cast(pa.string()), categories), len(categories))
                at = pc.if_else(column.is_null(), len(categories) + 1, known).to_numpy(zero_copy_only=False)
            totals[starts[i] : starts[i + 1]] += np.bincount(at.astype(np.int64), minlength=sizes[i])
    return totals


def _split(totals: Counts, names: Sequence[str], found: Bins) -> dict[str, Counts]:
    return dict(zip(names, np.split(totals, np.cumsum(found.sizes(names))[:-1]), strict=True))


def small(rows: DataFrame, kinds: Mapping[str, str]) -> pa.Table | None:
    """The rows themselves where they are few: bins and counts of them then cost one pass and no worker.

    ``None`` where there are more values than the driver should hold.
    """
    most = MOST_VALUES // max(1, len(kinds))
    held = rows.select(*map(columns.quote, kinds)).limit(most + 1).toArrow()
    return held if held.num_rows <= most else None


def small_bins(held: pa.Table, kinds: Mapping[str, str]) -> Bins:
    """As ``bins``, of few rows."""
    edges: dict[str, Sequence[float]] = {}
    categories: dict[str, Sequence[str]] = {}
    for name, kind in kinds.items():
        column = held.column(name)
        if kind == "double":
            values = column.to_numpy()
            values = values[~np.isnan(values)]
            shares = np.arange(BINS + 1) / BINS
            edges[name] = edges_of(np.quantile(values, shares, method="inverted_cdf").tolist() if len(values) else ())
        else:
            least = max(LEAST, RARE * len(column))
            counted = pc.value_counts(column.cast(pa.string())).to_pylist()
            common = [row for row in counted if row["values"] is not None and row["counts"] >= least]
            common.sort(key=lambda row: (-row["counts"], row["values"]))
            categories[name] = tuple(row["values"] for row in common)
    return Bins(edges=edges, categories=categories)


def small_count(held: pa.Table, kinds: Mapping[str, str], found: Bins) -> dict[str, Counts]:
    """As ``count``, of few rows."""
    return _split(_tally(held.select(list(kinds)).to_batches(), list(kinds), found), list(kinds), found)


def count_any(rows: DataFrame, kinds: Mapping[str, str], found: Bins) -> dict[str, Counts]:
    """Count rows in each bin, in the way that suits how many there are."""
    held = small(rows, kinds)
    return count(rows, kinds, found) if held is None else small_count(held, kinds, found)


def bins_and_count(rows: DataFrame, kinds: Mapping[str, str]) -> tuple[Bins, dict[str, Counts]]:
    """Find the bins of rows and count the rows in them, in the way that suits how many there are."""
    held = small(rows, kinds)
    if held is not None:
        found = small_bins(held, kinds)
        return found, small_count(held, kinds, found)
    found = bins(rows, kinds)
    return found, count(rows, kinds, found)


def join(training: Mapping[str, Counts], batch: Mapping[str, Counts], found: Bins) -> list[Histogram]:
    """The histograms of features that were counted on both sides."""
    return [
        Histogram(
            feature=name,
            bins=bin_names(found.edges[name]) if name in found.edges else (*found.categories[name], OTHER, MISSING),
            training=training[name],
            batch=batch[name],
            edges=found.edges.get(name, ()),
        )
        for name in batch
    ]
