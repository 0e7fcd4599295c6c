"""The contexts of a split: which parts of the image outside a node may be visible when its children are compared.

Let a node P with children A_1 ... A_a be seen in a context C, a union of siblings of P and of its ancestors. Within P
the children play a game of a players, S ↦ v(C ∪ S), and what matters for the level below is by how much the Shapley
values of the children differ from their mean, their *asymmetries*

    δ_i(C) = φ_i(C) - mean_j φ_j(C),        for two children  δ_A(C) = ½ [v(C ∪ A) - v(C ∪ B)] = -δ_B(C).

They need the interior coalitions alone, 2^a - 2 of them, neither v(C) nor v(C ∪ P). The Owen (Winter) value of a child
is then T(A_i) = T(P) / a + E_C δ_i(C), and all that is left to choose is in which contexts to look.

Under orders that respect the tree, the children of an ancestor arrive in a random order, so the visible siblings of a
node are a subset E with probability |E|! (a - 1 - |E|)! / a!; with two children it is the fall of a coin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import factorial

import numpy as np

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


# More contexts than this per node are not told apart: deeper levels take a balanced sample of their contexts.
POOL_LIMIT = 128


@dataclass(frozen=True, eq=False)
class Pool:
    """The contexts considered for every split of one level, M of them, each extending one of the level above.

    Attributes:
        origin: int64 array (M,): the context of the level above that it extends.
        extra: bool array (M, a - 1): which siblings of the node it shows besides, in their order.
        weights: float64 array (M,): probability of each, sums to 1.
        signs: int8 array (M, level * (a - 1)): +1 for every sibling on the way down that is visible, else -1.
        complete: Whether these are all the contexts there are.
    """

    origin: np.ndarray
    extra: np.ndarray
    weights: np.ndarray
    signs: np.ndarray
    complete: bool

    def kernels(self, r: np.ndarray) -> np.ndarray:
        """Return k(C, C') = Π_j (1 + r s_j s'_j) over the siblings j on the way down, for every r (R,): (R, M, M).

        As a covariance over contexts it says that an effect in which k siblings take part has the variance r^k, the
        mean over all contexts (k = 0) the variance 1.
        """
        signs = self.signs.astype(np.float32)  # whole numbers: exact, and faster than integers
        siblings = signs.shape[1]
        alike = ((signs @ signs.T + siblings) / 2).astype(np.int64)
        numbers, r = np.arange(siblings + 1), r[:, None]
        return np.take((1 + r) ** numbers * (1 - r) ** (siblings - numbers), alike, axis=1)


def sibling_subsets(arity: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all subsets of a node's siblings, bool array (2^(a-1), a - 1), and their probabilities (2^(a-1),)."""
    codes = np.arange(2 ** (arity - 1))
    subsets = (codes[:, None] >> np.arange(arity - 1)) & 1 == 1
    sizes = subsets.sum(axis=1)
    chances = [factorial(t) * factorial(arity - 1 - t) / factorial(arity) for t in range(arity)]
    return subsets, np.array(chances)[sizes]


def pools(tree: PartitionTree, seed: int = 0, limit: int = POOL_LIMIT) -> list[Pool]:
    """Return the pool of contexts of levels 0 ... L - 1, complete as long as there are at most ``limit`` contexts.

    Args:
        tree: The partition tree.
        seed: Of the balanced samples on deeper levels; unused where all pools are complete (n ≤ 256 halved regions).
        limit: Largest size of a pool.
    """
    rng = np.random.default_rng(seed)
    subsets, chances = sibling_subsets(tree.arity)
    none = np.zeros((1, 0), dtype=np.int8)
    result = [Pool(np.zeros(1, np.int64), np.zeros((1, tree.arity - 1), bool), np.ones(1), none, True)]
    for _ in range(1, tree.depth):
        above = result[-1]
        size = len(above.weights)
        complete = above.complete and size * len(subsets) <= limit
        if complete:
            origin, chosen = np.tile(np.arange(size), len(subsets)), np.repeat(np.arange(len(subsets)), size)
            weights = above.weights[origin] * chances[chosen]
        else:
            origin = np.arange(size)  # each once: two draws for one might be the same context
            chosen, weights = draw_balanced(size, chances, rng), above.weights
        signs = np.where(subsets[chosen], 1, -1).astype(np.int8)
        result.append(
            Pool(
                origin,
                subsets[chosen],
                weights,
                np.concatenate([above.signs[origin], signs], axis=1),
                complete,
            )
        )
    return result[: max(tree.depth, 1)]


def draw_balanced(count: int, chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw numbers 0 ... m - 1 with these chances, each as nearly in proportion as can be: int64 array (count,)."""
    points = (rng.permutation(count) + rng.random()) / count
    return np.minimum(np.searchsorted(np.cumsum(chances), points, side="right"), len(chances) - 1)


@cache
def asymmetry_matrix(arity: int) -> np.ndarray:
    """Return the matrix (a, 2^a) that maps v(C ∪ S), S by its bit code, to the asymmetries of the a children.

    The columns of S = ∅ and of all children are zero: both ends count equally for every child.
    """
    codes = np.arange(2**arity)
    members = (codes >> np.arange(arity)[:, None]) & 1 == 1
    sizes = members.sum(axis=0)
    chance = [factorial(t) * factorial(arity - 1 - t) / factorial(arity) for t in range(arity)]
    joining, missing = (np.array([*chance, 0.0])[sizes - 1], np.array([*chance, 0.0])[sizes])
    shapley = np.where(members, joining, -missing)
    return shapley - shapley.mean(axis=0)


def extend_codes(arity: int, slots: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Return the bit code among its parent's children of the siblings that are visible.

    Args:
        arity: a.
        slots: Which child the node is, int64 array (s,).
        extra: Visible siblings in their order, bool array (M, a - 1).

    Returns:
        int64 array (s, M).
    """
    others = np.array([[j for j in range(arity) if j != i] for i in range(arity)]).reshape(arity, arity - 1)
    return ((1 << others)[slots][:, None, :] * extra[None]).sum(axis=2)
