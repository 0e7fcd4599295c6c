"""DnCShap with all contexts of every split (exact), or with K sampled ones (unbiased, linear in time).

The sampled contexts of a node form a two-level fractional factorial design (Box, Hunter and Hunter 2005, chapter 6):
K = 2^k runs, one factor per level above the node, "is the sibling on that level visible?". The first k factors run
through all combinations. Every further factor is the parity of some of the k basic bits of the run, with a sign drawn
at random for each node. So each context, taken alone, is uniform (the mean is unbiased), every factor is balanced, and
effects in which few siblings take part cancel exactly: up to three where a node has at most K / 2 factors.

A child takes over the contexts of its parent, each with or without the sibling: they are nested as in the recursion of
the paper. See :mod:`fercore.shapley.splits` for the asymmetries δ.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fercore.shapley.game import TargetGame
from fercore.shapley.splits import (
    SplitLevel,
    asymmetries,
    draw_balanced,
    hand_down,
    sibling_subsets,
    split_levels,
)
from fercore.shapley.tree import PartitionTree


def exact_levels(game: TargetGame) -> Iterator[np.ndarray]:
    """Yield the exact Owen (Winter) values (N, m, K) of the nodes of level l = 0 ... L.

    The contexts of a split are all unions of siblings of the node and of its ancestors, with their probabilities under
    orders that respect the tree. Where all is halved there are 2^l on level l, all equally likely, which makes
    2(n² - 1)/3 + 2 evaluations.
    """
    tree, arity = game.tree, game.tree.arity
    subsets, chances = sibling_subsets(arity)
    contexts, weights = np.zeros((1, 1, game.everyone.shape[1]), dtype=np.uint8), np.ones(1)
    scores = (game.full - game.empty)[:, None, :]
    yield scores
    for level, splits in enumerate(split_levels(tree)):
        if level:
            old = contexts[splits.above]
            shown = [_union(splits.siblings[:, subset]) for subset in subsets]
            contexts = np.concatenate([old | union[:, None] for union in shown], axis=1)
            weights = np.concatenate([weights * chance for chance in chances])
        mean = np.einsum("nsmak,m->nsak", _look(game, contexts, splits), weights)
        scores = hand_down(tree, level, splits, scores, np.array(1 / arity), mean)
        yield scores


def exact_evaluations(tree: PartitionTree) -> int:
    """Return the number of coalitions of :func:`exact_levels`."""
    subsets = 2 ** (tree.arity - 1)
    pairs = sum(len(tree.splits(level)[0]) * subsets**level for level in range(tree.depth))
    return 2 + pairs * (2**tree.arity - 2)


def sampled_levels(game: TargetGame, n_contexts: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield scores and their standard errors (N, m, K) of the nodes of level l = 0 ... L.

    Args:
        game: The game; ``game.tree`` has m nodes on a level.
        n_contexts: K, a power of two from 2 on. Where all is halved, a split that has no more contexts than that is
            exact; with more children, contexts are drawn in proportion to their probabilities.
        seed: Of the random signs. All images share the contexts, so their errors are alike: for a mean over images,
            take another seed for each.
    """
    tree, arity = game.tree, game.tree.arity
    rng = np.random.default_rng(seed)
    contexts = np.zeros((1, 1, game.everyone.shape[1]), dtype=np.uint8)  # (splits, runs, bytes)
    scores = (game.full - game.empty)[:, None, :]
    variances = np.zeros_like(scores)
    yield scores, np.sqrt(variances)
    for level, splits in enumerate(split_levels(tree)):
        if level:
            contexts = _extend(contexts, splits, level, n_contexts, arity, rng)
        looks = _look(game, contexts, splits)
        scores = hand_down(tree, level, splits, scores, np.array(1 / arity), looks.mean(axis=2))
        error = _variance_of_mean(looks, _n_contexts(level, arity))
        variances = hand_down(tree, level, splits, variances, np.array(1 / arity**2), error)
        yield scores, np.sqrt(variances)


def sampled_evaluations(tree: PartitionTree, n_contexts: int) -> int:
    """Return the most coalitions that :func:`sampled_levels` can evaluate, at most 2Kn + 2 where all is halved."""
    runs = [
        min(n_contexts, 2**level) if tree.arity == 2 or level == 0 else n_contexts
        for level in range(tree.depth)
    ]
    pairs = sum(len(tree.splits(level)[0]) * count for level, count in enumerate(runs))
    return 2 + pairs * (2**tree.arity - 2)


def _look(game: TargetGame, contexts: np.ndarray, splits: SplitLevel) -> np.ndarray:
    """Return the asymmetries δ (N, s, runs, a, K) of every split in its contexts (s, runs, bytes)."""
    packed = contexts[:, :, None] | splits.interior[:, None]
    values = game.values(packed.reshape(-1, packed.shape[-1]))
    return asymmetries(values.reshape(len(values), *packed.shape[:3], -1), game.tree.arity)


def _union(coalitions: np.ndarray) -> np.ndarray:
    """Unite packed coalitions (s, any number, bytes) into (s, bytes)."""
    return np.bitwise_or.reduce(coalitions, axis=1)


def _extend(
    contexts: np.ndarray, splits: SplitLevel, level: int, most: int, arity: int, rng: np.random.Generator
) -> np.ndarray:
    """Hand the contexts (s, runs, bytes) of a level on to its children, each with or without siblings: (s', ...)."""
    old = contexts[splits.above]
    count, runs = old.shape[:2]
    if arity == 2 and 2 * runs <= most:  # both: full factorial so far
        return np.concatenate([old, old | splits.siblings], axis=1)
    if arity == 2:
        shown = _parities(level - 1, runs)[None] ^ (rng.random((count, 1)) < 0.5)
        return old | np.where(shown[:, :, None], splits.siblings, 0).astype(np.uint8)
    subsets, chances = sibling_subsets(arity)
    if runs < most:
        old = np.repeat(old, most // runs, axis=1)
    drawn = np.stack([draw_balanced(most, chances, rng) for _ in range(count)])
    for sibling in range(arity - 1):
        old = old | np.where(subsets[drawn, sibling, None], splits.siblings[:, None, sibling], 0).astype(
            np.uint8
        )
    return old


def _parities(factor: int, runs: int) -> np.ndarray:
    """Return the levels of a factor over the runs of the design, bool array (runs,)."""
    numbers = np.arange(runs)
    masks = sorted(numbers[1:], key=lambda m: (m & (m - 1) != 0, m.bit_count() % 2 == 0, m.bit_count(), m))
    mask = masks[factor % len(masks)] if runs > 1 else 0
    return np.array([int(n & mask).bit_count() % 2 == 1 for n in numbers])


def _n_contexts(level: int, arity: int) -> float:
    """Return how many contexts a split of a level has; infinite where they are not equally likely."""
    return 2.0**level if arity == 2 or level == 0 else np.inf


def _variance_of_mean(looks: np.ndarray, population: float) -> np.ndarray:
    """Return the variance of the mean over runs of (N, s, runs, a, K), for runs drawn without replacement.

    The formula is that of independent draws. It is too large where effects of few siblings prevail, for a balanced
    design cancels them, and too small where effects of many siblings prevail that the design takes for a constant.
    """
    runs = looks.shape[2]
    if runs >= population:
        return np.zeros_like(looks[:, :, 0])
    return looks.var(axis=2, ddof=1) / runs * (1 - runs / population)
