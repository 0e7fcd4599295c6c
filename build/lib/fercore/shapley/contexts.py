"""How a node's score is divided among its children, in contexts chosen beforehand: fixed ones, all (exact), or K.

Let a node P with children A_1 ... A_a be seen in a context C, a union of siblings of P and of its ancestors. Within P
the children play a game of a players, S ↦ v(C ∪ S), and what matters for the level below is by how much the Shapley
values of the children differ from their mean, their *asymmetries*

    δ_i(C) = φ_i(C) - mean_j φ_j(C),        for two children  δ_A(C) = ½ [v(C ∪ A) - v(C ∪ B)] = -δ_B(C).

They need the interior coalitions alone, 2^a - 2 of them, neither v(C) nor v(C ∪ P). The Owen (Winter) value of a child
is then T(A_i) = T(P) / a + E_C δ_i(C), and all that is left to choose is in which contexts to look.

Under orders that respect the tree, the children of an ancestor arrive in a random order, so the visible siblings of a
node are a subset E with probability |E|! (a - 1 - |E|)! / a!; with two children it is the fall of a coin. A child takes
over the contexts of its parent, each with some of its siblings or none: they are nested as in the recursion of the
paper. All methods yield scores level by level, (N, m, K) for the m nodes of level l = 0 ... L, and
T(root) = f(x) - f(b).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from fercore.shapley.exact import members, shapley_weights
from fercore.shapley.game import TargetGame
from fercore.shapley.tree import PartitionTree

Fixed = Literal["absent", "present", "both"]
Share = Literal["pixels", "half"]

# More contexts than this per node are not told apart: deeper levels take a balanced sample of their contexts.
POOL_LIMIT = 128


# --- splits


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
    proper = members(np.arange(1, 2**tree.arity - 1), tree.arity)
    for level in range(tree.depth):
        parents, children = tree.splits(level)
        of_children = tree.coalitions(level + 1)[children]
        interior = np.stack([np.bitwise_or.reduce(of_children[:, some], axis=1) for some in proper], axis=1)
        above = slots = np.zeros(len(parents), dtype=np.int64)
        below_of, siblings = np.empty((0, tree.arity), dtype=np.int64), np.zeros_like(of_children[:, 1:])
        if level:
            kin = result[-1].children
            above = np.searchsorted(result[-1].parents, tree.parents(level)[parents])
            slots = parents - kin[above, 0]
            below_of = np.full(kin.shape, -1)
            below_of[above, slots] = np.arange(len(parents))
            siblings = tree.coalitions(level)[kin[above[:, None], _other_slots(tree.arity)[slots]]]
        result.append(SplitLevel(parents, children, above, slots, below_of, siblings, interior))
    return result


def _other_slots(arity: int) -> np.ndarray:
    """Return the numbers of the other children for each of a, int64 array (a, a - 1)."""
    return np.array([[j for j in range(arity) if j != i] for i in range(arity)])


@cache
def _asymmetry_matrix(arity: int) -> np.ndarray:
    """Return the matrix (a, 2^a) that maps v(C ∪ S), S by its bit code, to the asymmetries of the a children.

    The columns of S = ∅ and of all children are zero: both ends count equally for every child.
    """
    inside = (np.arange(2**arity) >> np.arange(arity)[:, None]) & 1 == 1
    sizes = inside.sum(axis=0)
    weights = np.append(shapley_weights(arity), 0.0)
    shapley = np.where(inside, weights[sizes - 1], -weights[sizes])
    return shapley - shapley.mean(axis=0)


def asymmetries(values: np.ndarray, arity: int) -> np.ndarray:
    """Return δ (..., a, K) from the values of the interior coalitions, v(C ∪ S) of S = 1 ... 2^a - 2: (..., q, K)."""
    return _asymmetry_matrix(arity)[:, 1:-1] @ values


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


# --- which contexts there are


def sibling_subsets(arity: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all subsets of a node's siblings, bool array (2^(a-1), a - 1), and their probabilities (2^(a-1),)."""
    subsets = members(np.arange(2 ** (arity - 1)), arity - 1)
    return subsets, shapley_weights(arity)[subsets.sum(axis=1)]


def _draw_balanced(count: int, chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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
        bits = 1 << _other_slots(self.extra.shape[1] + 1)
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
            chosen, weights = _draw_balanced(size, chances, rng), above.weights
        shown = np.where(subsets[chosen], 1, -1).astype(np.int8)
        signs = np.concatenate([above.signs[origin], shown], axis=1)
        result.append(Pool(origin, subsets[chosen], weights, signs, complete))
    return result[: tree.depth]


# --- fixed contexts


def fixed_levels(game: TargetGame, contexts: Fixed, share: Share) -> Iterator[np.ndarray]:
    """Yield the scores (N, m, K) of level l = 0 ... L with nothing else visible, everything else, or both.

    A node hands its score T(P) down to its children. With M(A) the mean of A's marginal contribution over its contexts,

        T(A) = M(A) + s_A [T(P) - Σ_B M(B)],    B the children of P and Σ_B s_B = 1,

    which for two children is T(A) = φ_A + s_A [T(P) - φ_A - φ_B] with φ of Equation 4 and equal shares. s_A is A's part
    of the pixels of P, or the same for all children (``"half"``).
    """
    tree, scores = game.tree, (game.full - game.empty)[:, None]
    yield scores
    for level in range(1, tree.depth + 1):
        parents, marginals = tree.parents(level), _marginals(game, level, contexts)
        of_each = np.bincount(parents)
        common = scores - np.add.reduceat(marginals, np.cumsum(of_each) - of_each, axis=1)
        by_pixels = tree.pixels(level) / tree.pixels(level - 1)[parents]
        shares = by_pixels if share == "pixels" else 1 / of_each[parents]
        scores = marginals + shares[:, None] * common[:, parents]
        yield scores


def _marginals(game: TargetGame, level: int, contexts: Fixed) -> np.ndarray:
    """Return M, the mean marginal contribution of each node of a level over its contexts: (N, m, K)."""
    nodes = game.tree.coalitions(level)
    if contexts == "absent":
        return game.values(nodes) - game.empty[:, None]
    if contexts == "present":
        return game.full[:, None] - game.values(game.everyone ^ nodes)
    both = game.values(np.concatenate([nodes, game.everyone ^ nodes]))  # one batch for both contexts
    alone, without = np.split(both, 2, axis=1)
    return 0.5 * (alone - game.empty[:, None] + game.full[:, None] - without)


def fixed_coalitions(tree: PartitionTree, contexts: Fixed) -> np.ndarray:
    """Return all coalitions of :func:`fixed_levels`, packed, uint8 array (rows, bytes): none depends on another."""
    nodes = np.concatenate([tree.coalitions(level) for level in range(min(1, tree.depth), tree.depth + 1)])
    hidden = tree.coalitions(0) ^ nodes
    return {"absent": nodes, "present": hidden, "both": np.concatenate([nodes, hidden])}[contexts]


def fixed_evaluations(tree: PartitionTree, contexts: Fixed) -> int:
    """Return the number of distinct coalitions of :func:`fixed_levels`: 2n or 4n - 4 where everything is halved."""
    everyone = tree.coalitions(0)
    asked = np.concatenate([np.zeros_like(everyone), everyone, fixed_coalitions(tree, contexts)])
    return len({row.tobytes() for row in asked})  # to hide one half of the image is to show the other one


# --- all contexts, or K of them


def exact_levels(game: TargetGame) -> Iterator[np.ndarray]:
    """Yield the exact Owen (Winter) values (N, m, K) of level l = 0 ... L.

    The contexts of a split are all unions of siblings of the node and of its ancestors, with their probabilities under
    orders that respect the tree. Where all is halved there are 2^l on level l, all equally likely, which makes
    2(n² - 1)/3 + 2 evaluations.
    """
    tree, contexts = game.tree, np.zeros_like(game.everyone)[None]
    scores = (game.full - game.empty)[:, None]
    yield scores
    for level, (splits, pool) in enumerate(zip(split_levels(tree), pools(tree, limit=np.inf), strict=True)):
        contexts = see(contexts, splits, pool.origin, pool.extra)
        mean = np.einsum("nsmak,m->nsak", _look(game, contexts, splits), pool.weights)
        scores = hand_down(tree, level, splits, scores, 1 / tree.arity, mean)
        yield scores


def _look(game: TargetGame, contexts: np.ndarray, splits: SplitLevel) -> np.ndarray:
    """Return the asymmetries δ (N, s, runs, a, K) of every split in its contexts (s, runs, bytes)."""
    packed = contexts[:, :, None] | splits.interior[:, None]
    values = game.values(packed.reshape(-1, packed.shape[-1]))
    return asymmetries(values.reshape(len(values), *packed.shape[:3], -1), game.tree.arity)


def split_evaluations(tree: PartitionTree, n_contexts: float = np.inf) -> int:
    """Return how many coalitions there are at most with every split in K contexts, or in all: 2Kn + 2 with halves."""
    contexts = [min(n_contexts, 2 ** ((tree.arity - 1) * level)) for level in range(tree.depth)]
    pairs = sum(len(tree.splits(level)[0]) * count for level, count in enumerate(contexts))
    return 2 + pairs * (2**tree.arity - 2)


def sampled_levels(game: TargetGame, n_contexts: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield scores and their standard errors (N, m, K) of level l = 0 ... L with K contexts, a power of two from 2 on.

    Where all is halved, the K contexts of a node form a two-level fractional factorial design (Box, Hunter and Hunter
    2005, chapter 6): K = 2^k runs, one factor per level above the node, "is the sibling on that level visible?". The
    first k factors run through all combinations. Every further factor is the parity of some of the k basic bits of the
    run, with a sign drawn at random for each node. So each context, taken alone, is uniform (the mean is unbiased),
    every factor is balanced, and effects in which few siblings take part cancel exactly: up to three where a node has
    at most K / 2 factors. A split that has no more contexts than K is exact.

    With more children, contexts are drawn in proportion to their probabilities. All images share the contexts, so their
    errors are alike: for a mean over images, take another seed for each.
    """
    tree, arity = game.tree, game.tree.arity
    rng = np.random.default_rng(seed)
    contexts = np.zeros_like(game.everyone)[None]  # (splits, runs, bytes)
    scores = (game.full - game.empty)[:, None]
    variances = np.zeros_like(scores)
    yield scores, np.sqrt(variances)
    for level, splits in enumerate(split_levels(tree)):
        if level:
            runs = contexts.shape[1]
            contexts = see(contexts, splits, *_draw(level, runs, n_contexts, len(splits.parents), arity, rng))
        looks, runs = _look(game, contexts, splits), contexts.shape[1]
        scores = hand_down(tree, level, splits, scores, 1 / arity, looks.mean(axis=2))
        # Contexts that are not equally likely are drawn as from an endless population.
        population = 2.0**level if arity == 2 or level == 0 else np.inf
        error = np.zeros_like(looks[:, :, 0])
        if runs < population:
            # That of independent draws. It is too large where effects of few siblings prevail, for a balanced design
            # cancels them, and too small where effects of many prevail that the design takes for a constant.
            error = looks.var(axis=2, ddof=1) / runs * (1 - runs / population)
        variances = hand_down(tree, level, splits, variances, 1 / arity**2, error)
        yield scores, np.sqrt(variances)


def _draw(
    level: int, runs: int, most: int, splits: int, arity: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose how splits go on from the runs of the level above: which they extend (M,), by whom (s, M, a - 1)."""
    every = np.arange(runs)
    if arity > 2:
        subsets, chances = sibling_subsets(arity)
        drawn = np.stack([_draw_balanced(most, chances, rng) for _ in range(splits)])
        return np.repeat(every, most // runs), subsets[drawn]
    if 2 * runs <= most:  # both: full factorial so far
        return np.tile(every, 2), np.repeat([False, True], runs)[:, None]
    # Single bits, then odd parities: with these alone any three factors are balanced. Even ones are the last resort.
    masks = sorted(every[1:], key=lambda m: (m & (m - 1) != 0, m.bit_count() % 2 == 0, m.bit_count(), m))
    parity = np.bitwise_count(every & masks[(level - 1) % len(masks)]) % 2 == 1
    return every, (parity ^ (rng.random((splits, 1)) < 0.5))[:, :, None]
