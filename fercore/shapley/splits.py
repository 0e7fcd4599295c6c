"""What it takes to split a node's score: the asymmetries of its children in a context, and which contexts there are.

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

import numpy as np

from fercore.shapley.exact import shapley_weights
from fercore.shapley.tree import PartitionTree

# More contexts than this per node are not told apart: deeper levels take a balanced sample of their contexts.
POOL_LIMIT = 128


@dataclass(frozen=True, eq=False)
class SplitLevel:
    """The s nodes of one level that are cut."""

    parents: np.ndarray  # int64 (s,): their positions within the level
    children: np.ndarray  # int64 (s, a): the positions of their children within the next level
    above: np.ndarray  # int64 (s,): the split of the level above of which each is a child; 0 for the root
    slots: np.ndarray  # int64 (s,): which child of it
    below_of: np.ndarray  # int64 (s', a): which splits the children of those above are, -1 if not cut
    siblings: np.ndarray  # uint8 (s, a - 1, bytes): coalitions of the other children of ``above``
    interior: np.ndarray  # uint8 (s, 2^a - 2, bytes): unions of the proper, non-empty subsets of the children


def split_levels(tree: PartitionTree) -> list[SplitLevel]:
    """Return the splits of levels 0 ... L - 1."""
    result: list[SplitLevel] = []
    for level in range(tree.depth):
        parents, children = tree.splits(level)
        of_children = tree.coalitions(level + 1)[children]
        members = (np.arange(1, 2**tree.arity - 1)[:, None] >> np.arange(tree.arity)) & 1 == 1
        unions = [np.bitwise_or.reduce(of_children[:, subset], axis=1) for subset in members]
        interior = np.stack(unions, axis=1)
        above = slots = np.zeros(len(parents), dtype=np.int64)
        below_of, siblings = np.empty((0, tree.arity), dtype=np.int64), np.zeros_like(of_children[:, 1:])
        if level:
            kin = result[-1].children
            above = np.searchsorted(result[-1].parents, tree.parents(level)[parents])
            slots = parents - kin[above, 0]
            below_of = np.full(kin.shape, -1)
            below_of[above, slots] = np.arange(len(parents))
            siblings = tree.coalitions(level)[kin[above[:, None], other_slots(tree.arity)[slots]]]
        result.append(SplitLevel(parents, children, above, slots, below_of, siblings, interior))
    return result


@cache
def other_slots(arity: int) -> np.ndarray:
    """Return the numbers of the other children for each of a, int64 array (a, a - 1)."""
    return np.array([[j for j in range(arity) if j != i] for i in range(arity)])


@cache
def asymmetry_matrix(arity: int) -> np.ndarray:
    """Return the matrix (a, 2^a) that maps v(C ∪ S), S by its bit code, to the asymmetries of the a children.

    The columns of S = ∅ and of all children are zero: both ends count equally for every child.
    """
    members = (np.arange(2**arity) >> np.arange(arity)[:, None]) & 1 == 1
    sizes = members.sum(axis=0)
    weights = np.append(shapley_weights(arity), 0.0)
    shapley = np.where(members, weights[sizes - 1], -weights[sizes])
    return shapley - shapley.mean(axis=0)


def asymmetries(values: np.ndarray, arity: int) -> np.ndarray:
    """Return δ (..., a, K) from the values of the interior coalitions, v(C ∪ S) of S = 1 ... 2^a - 2: (..., q, K)."""
    return asymmetry_matrix(arity)[:, 1:-1] @ values


def hand_down(
    tree: PartitionTree,
    level: int,
    splits: SplitLevel,
    totals: np.ndarray,
    shares: np.ndarray | float,
    extra: np.ndarray,
) -> np.ndarray:
    """Return the scores of the next level: T(A_i) = share_i T(P) + δ_i for children, T(P) for nodes carried over.

    ``totals`` is T, (N, m, K), of ``level`` with these ``splits``; ``shares`` broadcasts to (N, s, a, K), and ``extra``
    is δ, (N, s, a, K). The result is (N, m', K).
    """
    result = totals[:, tree.parents(level + 1)]
    result[:, splits.children] = shares * totals[:, splits.parents, None] + extra
    return result


def sibling_subsets(arity: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all subsets of a node's siblings, bool array (2^(a-1), a - 1), and their probabilities (2^(a-1),)."""
    subsets = (np.arange(2 ** (arity - 1))[:, None] >> np.arange(arity - 1)) & 1 == 1
    return subsets, shapley_weights(arity)[subsets.sum(axis=1)]


def draw_balanced(count: int, chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw numbers 0 ... m - 1 with these chances, each as nearly in proportion as can be: int64 array (count,)."""
    points = (rng.permutation(count) + rng.random()) / count
    return np.minimum(np.searchsorted(np.cumsum(chances), points, side="right"), len(chances) - 1)


def see(contexts: np.ndarray, splits: SplitLevel, origin: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Hand the contexts of a level, (s', M', bytes), on to the splits of the next: (s, M, bytes).

    Each extends the one numbered ``origin``, (M,), by the siblings ``shown``, bool (M, a - 1) or (s, M, a - 1).
    """
    result = contexts[splits.above][:, origin]
    for sibling in range(shown.shape[-1]):
        result |= splits.siblings[:, None, sibling] * shown[..., sibling, None]
    return result


@dataclass(frozen=True, eq=False)
class Pool:
    """The contexts considered for every split of one level, M of them, each extending one of the level above."""

    origin: np.ndarray  # int64 (M,): the context of the level above that it extends
    extra: np.ndarray  # bool (M, a - 1): which siblings of the node it shows besides, in their order
    weights: np.ndarray  # float64 (M,): probability of each, sums to 1
    signs: np.ndarray  # int8 (M, level * (a - 1)): for every sibling on the way down +1 if visible, else -1
    complete: bool  # whether these are all the contexts there are

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

    def codes(self, slots: np.ndarray) -> np.ndarray:
        """Return, as bit codes among their parents' children, what nodes (s,) see that are child ``slots``: (s, M)."""
        bits = 1 << other_slots(self.extra.shape[1] + 1)
        return (bits[slots][:, None, :] * self.extra).sum(axis=2)


def pools(tree: PartitionTree, seed: int = 0, limit: float = POOL_LIMIT) -> list[Pool]:
    """Return the pool of contexts of levels 0 ... L - 1: all contexts up to this limit, a balanced sample beyond.

    The seed is that of the samples, unused where all pools are complete (n ≤ 256 halved regions with the usual limit).
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
        shown = np.where(subsets[chosen], 1, -1).astype(np.int8)
        signs = np.concatenate([above.signs[origin], shown], axis=1)
        result.append(Pool(origin, subsets[chosen], weights, signs, complete))
    return result[: tree.depth]
