"""DnCShap with contexts chosen beforehand: one or two fixed ones for every node, all of them (exact), or K at random.

The K sampled contexts of a node form a two-level fractional factorial design (Box, Hunter and Hunter 2005, chapter 6):
K = 2^k runs, one factor per level above the node, "is the sibling on that level visible?". The first k factors run
through all combinations. Every further factor is the parity of some of the k basic bits of the run, with a sign drawn
at random for each node. So each context, taken alone, is uniform (the mean is unbiased), every factor is balanced, and
effects in which few siblings take part cancel exactly: up to three where a node has at most K / 2 factors.

A child takes over the contexts of its parent, each with or without the sibling: they are nested as in the recursion of
the paper. See :mod:`fercore.shapley.splits` for the asymmetries δ. All methods yield scores level by level, (N, m, K)
for the m nodes of level l = 0 ... L, and T(root) = f(x) - f(b).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from fercore.shapley.game import TargetGame
from fercore.shapley.splits import (
    SplitLevel,
    asymmetries,
    draw_balanced,
    hand_down,
    pools,
    see,
    sibling_subsets,
    split_levels,
)
from fercore.shapley.tree import PartitionTree

Fixed = Literal["absent", "present", "both"]
Share = Literal["pixels", "half"]


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


# --- all contexts


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


def exact_evaluations(tree: PartitionTree) -> int:
    """Return the number of coalitions of :func:`exact_levels`."""
    return _evaluations(tree, [2 ** ((tree.arity - 1) * level) for level in range(tree.depth)])


def _evaluations(tree: PartitionTree, contexts: list[int]) -> int:
    """Return the number of coalitions where every split of level l is seen in so many contexts."""
    pairs = sum(len(tree.splits(level)[0]) * count for level, count in enumerate(contexts))
    return 2 + pairs * (2**tree.arity - 2)


def _look(game: TargetGame, contexts: np.ndarray, splits: SplitLevel) -> np.ndarray:
    """Return the asymmetries δ (N, s, runs, a, K) of every split in its contexts (s, runs, bytes)."""
    packed = contexts[:, :, None] | splits.interior[:, None]
    values = game.values(packed.reshape(-1, packed.shape[-1]))
    return asymmetries(values.reshape(len(values), *packed.shape[:3], -1), game.tree.arity)


# --- K contexts


def sampled_levels(game: TargetGame, n_contexts: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield scores and their standard errors (N, m, K) of level l = 0 ... L with K contexts, a power of two from 2 on.

    Where all is halved, a split that has no more contexts than that is exact; with more children, contexts are drawn in
    proportion to their probabilities. All images share the contexts, so their errors are alike: for a mean over images,
    take another seed for each.
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
        looks = _look(game, contexts, splits)
        scores = hand_down(tree, level, splits, scores, 1 / arity, looks.mean(axis=2))
        # Contexts that are not equally likely are drawn as from an endless population.
        error = _variance_of_mean(looks, 2.0**level if arity == 2 or level == 0 else np.inf)
        variances = hand_down(tree, level, splits, variances, 1 / arity**2, error)
        yield scores, np.sqrt(variances)


def sampled_evaluations(tree: PartitionTree, n_contexts: int) -> int:
    """Return the most coalitions that :func:`sampled_levels` can evaluate, at most 2Kn + 2 where all is halved."""
    exact = [2**level if tree.arity == 2 or level == 0 else n_contexts for level in range(tree.depth)]
    return _evaluations(tree, [min(n_contexts, count) for count in exact])


def _draw(
    level: int, runs: int, most: int, splits: int, arity: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose how splits go on from the runs of the level above: which they extend (M,), by whom (s, M, a - 1)."""
    every = np.arange(runs)
    if arity > 2:
        subsets, chances = sibling_subsets(arity)
        drawn = np.stack([draw_balanced(most, chances, rng) for _ in range(splits)])
        return np.repeat(every, most // runs), subsets[drawn]
    if 2 * runs <= most:  # both: full factorial so far
        return np.tile(every, 2), np.repeat([False, True], runs)[:, None]
    return every, (_parities(level - 1, runs) ^ (rng.random((splits, 1)) < 0.5))[:, :, None]


def _parities(factor: int, runs: int) -> np.ndarray:
    """Return the levels of a factor over the runs of the design, bool array (runs,)."""
    numbers = np.arange(runs)
    masks = sorted(numbers[1:], key=lambda m: (m & (m - 1) != 0, m.bit_count() % 2 == 0, m.bit_count(), m))
    mask = masks[factor % len(masks)]
    return np.array([int(n & mask).bit_count() % 2 == 1 for n in numbers])


def _variance_of_mean(looks: np.ndarray, population: float) -> np.ndarray:
    """Return the variance of the mean over runs of (N, s, runs, a, K), for runs drawn without replacement.

    The formula is that of independent draws. It is too large where effects of few siblings prevail, for a balanced
    design cancels them, and too small where effects of many siblings prevail that the design takes for a constant.
    """
    runs = looks.shape[2]
    if runs >= population:
        return np.zeros_like(looks[:, :, 0])
    return looks.var(axis=2, ddof=1) / runs * (1 - runs / population)
