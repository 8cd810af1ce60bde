"""Forests of scikit-learn's decision trees, walked by compiled code; the probabilities are the same, bit for bit.

Numba compiles the walk. It is optional (the extra ``fast``) and imported only where a forest is walked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANES = 16
"""Rows that go down a tree together: the processor works on the others while it waits for one's node."""
_BLOCK_VALUES = 65_536
"""Features of the rows that one tree after the other meets, so that they stay in the cache."""
NODE = np.dtype([("threshold", "f4"), ("feature", "u4"), ("child", "u4"), ("unused", "u4")])
"""One node in 16 bytes, so that no node lies across two cache lines."""

Walk = Callable[..., None]


def walk(  # noqa: PLR0917 (Numba knows no keyword-only arguments)
    rows: NDArray[Any],
    nodes: NDArray[Any],
    values: NDArray[np.float64],
    roots: NDArray[np.uint64],
    depths: NDArray[np.int64],
    targets: NDArray[np.uint64],
    divisor: float,
    sums: NDArray[np.float64],
    best: NDArray[np.int64],
) -> None:
    """Add every tree's leaf values to each row's sums, in the order of the trees, divide, and find the greatest.

    Positions are unsigned and arrays are flat, since a signed one is looked at for being counted from the end: that
    doubles the time.

    Args:
        rows: Features without NaN, (rows, features); a multiple of ``LANES``.
        nodes: All trees' nodes; siblings are neighbours, and a leaf is its own child.
        values: Values of each node, (nodes, values).
        roots: Position of each tree's root.
        depths: Depth of each tree.
        targets: The first column of the sums that a tree adds to.
        divisor: What the sums are divided by.
        sums: What is added to, (rows, columns).
        best: The first column with the greatest quotient, of each row.
    """
    features, width, columns = np.uint64(rows.shape[1]), np.uint64(values.shape[1]), np.uint64(sums.shape[1])
    flat, added, summed = rows.reshape(-1), values.reshape(-1), sums.reshape(-1)
    at = np.empty(LANES, np.uint64)
    block = max(_BLOCK_VALUES // (rows.shape[1] * LANES), 1) * LANES
    for begin in range(0, rows.shape[0], block):
        for tree in range(roots.shape[0]):
            for first in range(begin, min(begin + block, rows.shape[0]), LANES):
                for lane in range(LANES):
                    at[lane] = roots[tree]
                for _ in range(depths[tree]):
                    for lane in range(LANES):
                        node = nodes[at[lane]]
                        value = flat[np.uint64(first + lane) * features + np.uint64(node.feature)]
                        at[lane] = np.uint64(node.child) + np.uint64(not (value <= node.threshold))
                for lane in range(LANES):
                    leaf, row = at[lane] * width, np.uint64(first + lane) * columns + targets[tree]
                    for place in range(width):
                        summed[row + np.uint64(place)] += added[leaf + np.uint64(place)]
        for each in range(begin, min(begin + block, rows.shape[0])):
            for column in range(sums.shape[1]):
                sums[each, column] /= divisor
                if sums[each, column] > sums[each, best[each]]:
                    best[each] = column


@functools.cache
def compiled() -> Walk:
    """The compiled walk, compiled at most once in a process, and kept on disk for others where there is room.

    Raises:
        ImportError: Numba is not installed.
    """
    import numba

    try:
        function = numba.njit(cache=True, nogil=True)(walk)
    except RuntimeError:  # Neither the package's folder nor the user's cache can be written.
        function = numba.njit(nogil=True)(walk)
    return function  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Tree:
    """One tree, whose leaves have no left child (-1)."""

    left: NDArray[Any]
    right: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[np.float64]
    missing_left: NDArray[Any]
    """Whether a missing value goes to the left child."""
    values: NDArray[np.float64]
    """(nodes, values)"""
    depth: int

    @classmethod
    def of(cls, tree: Any) -> Self:
        """A tree of ``sklearn.tree``."""
        split = (tree.children_left, tree.children_right, tree.feature, tree.threshold, tree.missing_go_to_left)
        return cls(*split, tree.value[:, 0, :], tree.max_depth)


@dataclass(frozen=True)
class Trees:
    """Trees, one node after the other."""

    nodes: NDArray[Any]
    missing_left: NDArray[np.bool_]
    """Of each node, whether a missing value goes to its left child."""
    values: NDArray[np.float64]
    roots: NDArray[np.uint64]
    depths: NDArray[np.int64]
    targets: NDArray[np.uint64]

    @classmethod
    def of(cls, trees: list[Tree], node: np.dtype[Any], *, columns: int = 1) -> Self:
        """Trees that add to one column of the sums after the other."""
        counts = np.array([len(tree.left) for tree in trees])
        roots = np.cumsum(counts) - counts
        parts = [_flatten(tree, int(root), node) for tree, root in zip(trees, roots, strict=True)]
        nodes, missing, values = (np.ascontiguousarray(np.concatenate(part)) for part in zip(*parts, strict=True))
        depths = np.array([tree.depth for tree in trees], np.int64)
        targets = np.arange(len(trees), dtype=np.uint64) % np.uint64(columns)
        return cls(nodes, missing, values, roots.astype(np.uint64), depths, targets)

    def __call__(
        self, features: NDArray[np.float64], start: NDArray[np.float64], divisor: float = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The column with the greatest sum of each row, and the sums, which begin with ``start``.

        Raises:
            ImportError: Numba is not installed.
            ValueError: a value is infinite or too large for the thresholds' type.
        """
        type_ = self.nodes.dtype["threshold"]
        with np.errstate(over="ignore"):
            features = features.astype(type_, copy=False)
        if type_ == np.float32 and np.isinf(features).any():
            raise ValueError(
                f"Input X contains infinity or a value too large for dtype('{type_}')."
            )  # As scikit-learn.
        nodes, missing = self.nodes, np.isnan(features)
        if missing.any():
            nodes, features = self._nodes_of_missing, _split_missing(features, missing)
        # The walk takes whole groups of rows; those that fill up the last one are zeros.
        rows = np.zeros((-(-len(features) // LANES) * LANES, features.shape[1]), type_)
        rows[: len(features)] = features
        sums = np.tile(np.asarray(start, np.float64), (len(rows), 1))
        best = np.zeros(len(rows), np.int64)
        trees = (nodes, self.values, self.roots, self.depths, self.targets)
        compiled()(rows, *trees, float(divisor), sums, best)
        return best[: len(features)], sums[: len(features)]

    @functools.cached_property
    def _nodes_of_missing(self) -> NDArray[Any]:
        """The nodes for the columns of ``_split_missing``."""
        nodes = self.nodes.copy()
        inner = nodes["child"] != np.arange(len(nodes))
        # Only missing values are greater than such a threshold, so that the greatest number must not be.
        nodes["threshold"][inner] = np.minimum(nodes["threshold"][inner], _greatest(nodes.dtype["threshold"]))
        nodes["feature"] = 2 * nodes["feature"] + (inner & self.missing_left)
        return nodes


def _greatest(type_: np.dtype[Any]) -> float:
    return float(np.finfo(type_).max)


def _split_missing(features: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Each feature twice: with infinity for a missing value, which goes right, and with minus infinity."""
    greatest = _greatest(features.dtype)
    known = np.clip(features, -greatest, greatest)
    twice = np.stack([np.where(missing, np.inf, known), np.where(missing, -np.inf, known)], axis=2)
    rows: NDArray[Any] = twice.reshape(len(features), 2 * features.shape[1])
    return rows


@dataclass(frozen=True)
class Forest:
    """A forest, whose trees' class probabilities are averaged."""

    trees: Trees
    divisor: int

    @classmethod
    def of(cls, estimator: Any) -> Self | None:
        """The forest of a fitted classifier; ``None`` where it is of another kind."""
        from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
        from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

        # Exactly these: a subclass may answer in another way.
        single = type(estimator) in (DecisionTreeClassifier, ExtraTreeClassifier)
        if not single and type(estimator) not in (RandomForestClassifier, ExtraTreesClassifier):
            return None
        if estimator.n_outputs_ != 1:
            return None
        members = [estimator] if single else estimator.estimators_
        return cls(Trees.of([Tree.of(member.tree_) for member in members], NODE), len(members))

    def __call__(
        self, features: NDArray[np.float64], *, scores: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
        """Each row's class, and if asked for its class probabilities."""
        best, sums = self.trees(features, np.zeros(self.trees.values.shape[1]), self.divisor)
        return best, sums if scores else None


def _flatten(tree: Tree, root: int, node: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.float64]]:
    """A tree's nodes, where missing values go, and values, level by level, so that siblings become neighbours."""
    count = len(tree.left)
    order, position = np.zeros(count, np.int64), np.zeros(count, np.int64)
    known = 1
    for place in range(count):
        parent = order[place]
        position[parent] = place
        if tree.left[parent] >= 0:
            order[known : known + 2] = tree.left[parent], tree.right[parent]
            known += 2
    leaf = tree.left[order] < 0
    threshold = tree.threshold[order]
    nodes = np.zeros(count, node)
    nodes["threshold"] = np.where(leaf, np.inf, _round_down(threshold) if node == NODE else threshold)
    nodes["feature"] = np.where(leaf, 0, tree.feature[order])
    nodes["child"] = root + np.where(leaf, np.arange(count), position[tree.left[order]])
    return nodes, tree.missing_left[order].astype(bool), tree.values[order]


def _round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The greatest float32 that is not above a threshold: just as many float32 values are at most either of them."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
        return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
