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
_BLOCK = 1024 * LANES
"""Rows that meet a tree while it is in the cache."""
_NODE = np.dtype([("threshold", "f4"), ("feature", "u4"), ("child", "u4"), ("unused", "u4")])
"""One node in 16 bytes, so that no node lies across two cache lines."""

TOO_LARGE = "Input X contains infinity or a value too large for dtype('float32')."
"""Scikit-learn's own words."""

Walk = Callable[..., None]


def walk(  # noqa: PLR0917 (Numba knows no keyword-only arguments)
    rows: NDArray[np.float32],
    nodes: NDArray[Any],
    values: NDArray[np.float64],
    roots: NDArray[np.uint64],
    depths: NDArray[np.int64],
    divisor: float,
    sums: NDArray[np.float64],
    best: NDArray[np.int64],
) -> None:
    """Add every tree's leaf values to each row's sums, in the order of the trees, divide, and find the greatest.

    Positions are unsigned and arrays are flat, since a signed one is looked at for being counted from the end: that
    doubles the time.

    Args:
        rows: Finite features, (rows, features); a multiple of ``LANES``.
        nodes: All trees' nodes; siblings are neighbours, and a leaf is its own child.
        values: Class probabilities of each node, (nodes, classes).
        roots: Position of each tree's root.
        depths: Depth of each tree.
        divisor: What the sums are divided by.
        sums: What is added to, (rows, classes).
        best: The first class with the greatest quotient, of each row.
    """
    features, classes = np.uint64(rows.shape[1]), np.uint64(values.shape[1])
    flat, added, summed = rows.reshape(-1), values.reshape(-1), sums.reshape(-1)
    at = np.empty(LANES, np.uint64)
    for begin in range(0, rows.shape[0], _BLOCK):
        for tree in range(roots.shape[0]):
            for first in range(begin, min(begin + _BLOCK, rows.shape[0]), LANES):
                for lane in range(LANES):
                    at[lane] = roots[tree]
                for _ in range(depths[tree]):
                    for lane in range(LANES):
                        node = nodes[at[lane]]
                        value = flat[np.uint64(first + lane) * features + np.uint64(node.feature)]
                        at[lane] = np.uint64(node.child) + np.uint64(not (value <= node.threshold))
                for lane in range(LANES):
                    leaf, row = at[lane] * classes, np.uint64(first + lane) * classes
                    for label in range(classes):
                        summed[row + np.uint64(label)] += added[leaf + np.uint64(label)]
        for each in range(begin, min(begin + _BLOCK, rows.shape[0])):
            for place in range(sums.shape[1]):
                sums[each, place] /= divisor
                if sums[each, place] > sums[each, best[each]]:
                    best[each] = place


@functools.cache
def compiled() -> Walk:
    """The walk as machine code, compiled at most once in a process, and kept on disk for others where there is room.

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
class Forest:
    """The trees of a forest, one node after the other."""

    nodes: NDArray[Any]
    values: NDArray[np.float64]
    roots: NDArray[np.uint64]
    depths: NDArray[np.int64]
    averages: bool
    """Whether the sums are divided by the number of trees; a single tree's are not."""

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
        trees = [member.tree_ for member in ([estimator] if single else estimator.estimators_)]
        counts = np.array([tree.node_count for tree in trees])
        roots = np.cumsum(counts) - counts
        parts = [_flatten(tree, int(root)) for tree, root in zip(trees, roots, strict=True)]
        nodes, values = (np.ascontiguousarray(np.concatenate(part)) for part in zip(*parts, strict=True))
        depths = np.array([tree.max_depth for tree in trees], np.int64)
        return cls(nodes, values, roots.astype(np.uint64), depths, averages=not single)

    def __call__(
        self, features: NDArray[np.float64], *, scores: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
        """Each row's class, and if asked for its class probabilities, of (rows, features) without NaN.

        Raises:
            ImportError: Numba is not installed.
            ValueError: a value is infinite or too large for float32.
        """
        # The walk takes whole groups of rows; those that fill up the last one are zeros.
        single = np.zeros((-(-len(features) // LANES) * LANES, features.shape[1]), np.float32)
        with np.errstate(over="ignore"):
            single[: len(features)] = features
        if not np.isfinite(single).all():
            raise ValueError(TOO_LARGE)
        sums = np.zeros((len(single), self.values.shape[1]))
        best = np.zeros(len(single), np.int64)
        trees = len(self.roots) if self.averages else 1
        compiled()(single, self.nodes, self.values, self.roots, self.depths, float(trees), sums, best)
        return best[: len(features)], sums[: len(features)] if scores else None


def _flatten(tree: Any, root: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A tree's nodes and values, level by level, so that siblings become neighbours."""
    left, right = tree.children_left, tree.children_right
    order, position = np.zeros(tree.node_count, np.int64), np.zeros(tree.node_count, np.int64)
    known = 1
    for place in range(tree.node_count):
        node = order[place]
        position[node] = place
        if left[node] >= 0:
            order[known : known + 2] = left[node], right[node]
            known += 2
    leaf = left[order] < 0
    nodes = np.zeros(tree.node_count, _NODE)
    nodes["threshold"] = np.where(leaf, np.inf, _round_down(tree.threshold[order]))
    nodes["feature"] = np.where(leaf, 0, tree.feature[order])
    nodes["child"] = root + np.where(leaf, np.arange(tree.node_count), position[left[order]])
    return nodes, tree.value[order, 0, :]


def _round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The greatest float32 that is not above a threshold: just as many float32 values are at most either of them."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
        return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
