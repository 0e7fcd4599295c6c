"""The splits of a tree, level by level, as arrays: what sampled and adaptive contexts are both built on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fercore.shapley.contexts import asymmetry_matrix
from fercore.shapley.tree import PartitionTree


@dataclass(frozen=True, eq=False)
class SplitLevel:
    """The s nodes of one level that are cut.

    Attributes:
        parents: int64 array (s,): their positions within the level.
        children: int64 array (s, a): the positions of their children within the next level.
        above: int64 array (s,): the split of the level above of which each is a child; zeros for the root.
        slots: int64 array (s,): which child of it.
        below_of: int64 array (s', a): for each split of the level above, which splits its children are; -1 for children
            that are not cut.
        siblings: uint8 array (s, a - 1, bytes): the coalitions of the other children of ``above``, in their order.
        interior: uint8 array (s, 2^a - 2, bytes): the union of every proper, non-empty subset of the children.
    """

    parents: np.ndarray
    children: np.ndarray
    above: np.ndarray
    slots: np.ndarray
    below_of: np.ndarray
    siblings: np.ndarray
    interior: np.ndarray


def split_levels(tree: PartitionTree) -> list[SplitLevel]:
    """Return the splits of levels 0 ... L - 1."""
    result: list[SplitLevel] = []
    for level in range(tree.depth):
        parents, children = tree.splits(level)
        below = tree.coalitions(level + 1)
        interior = np.zeros((len(parents), 2**tree.arity - 2, below.shape[1]), dtype=np.uint8)
        for code in range(1, 2**tree.arity - 1):
            for slot in range(tree.arity):
                if code >> slot & 1:
                    interior[:, code - 1] |= below[children[:, slot]]
        above = slots = np.zeros(len(parents), dtype=np.int64)
        siblings = np.zeros((len(parents), tree.arity - 1, below.shape[1]), dtype=np.uint8)
        below_of = np.full((len(result[-1].parents) if level else 0, tree.arity), -1)
        if level:
            above, slots = _place(result[-1].children, parents, tree.n_nodes(level))
            below_of[above, slots] = np.arange(len(parents))
            others = np.array([[j for j in range(tree.arity) if j != i] for i in range(tree.arity)])
            siblings = tree.coalitions(level)[result[-1].children[above[:, None], others[slots]]]
        result.append(SplitLevel(parents, children, above, slots, below_of, siblings, interior))
    return result


def _place(children: np.ndarray, nodes: np.ndarray, n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Find which split of the level above, and which child of it, each node is."""
    split, slot = np.zeros(n_nodes, dtype=np.int64), np.zeros(n_nodes, dtype=np.int64)
    split[children] = np.arange(len(children))[:, None]
    slot[children] = np.arange(children.shape[1])
    return split[nodes], slot[nodes]


def hand_down(
    tree: PartitionTree,
    level: int,
    splits: SplitLevel,
    totals: np.ndarray,
    shares: np.ndarray,
    extra: np.ndarray,
) -> np.ndarray:
    """Return the scores of the next level: T(A_i) = share_i T(P) + δ_i for children, T(P) for nodes carried over.

    Args:
        tree: The partition tree.
        level: Level of the totals.
        splits: The splits of that level.
        totals: T, float64 array (N, m, K).
        shares: float64 array broadcastable to (N, s, a, K).
        extra: δ, float64 array (N, s, a, K).

    Returns:
        float64 array (N, m', K).
    """
    result = totals[:, tree.parents(level + 1)]
    result[:, splits.children] = shares * totals[:, splits.parents, None] + extra
    return result


def asymmetries(values: np.ndarray, arity: int) -> np.ndarray:
    """Return δ (..., a, K) from the values of the interior coalitions, v(C ∪ S) of S = 1 ... 2^a - 2: (..., q, K)."""
    return asymmetry_matrix(arity)[:, 1:-1] @ values
