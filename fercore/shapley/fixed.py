"""DnCShap with one or two fixed contexts per node: nothing else visible, everything else visible, or both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from fercore.shapley.game import TargetGame
from fercore.shapley.tree import PartitionTree

Fixed = Literal["absent", "present", "both"]
Share = Literal["pixels", "half"]
SHARES: tuple[Share, ...] = ("pixels", "half")


def fixed_levels(game: TargetGame, contexts: Fixed, share: Share) -> Iterator[np.ndarray]:
    """Yield the scores (N, m, K) of the nodes of level l = 0 ... L under fixed contexts.

    A node hands its score T(P) down to its children. With M(A) the mean of A's marginal contribution over its contexts,

        T(A) = M(A) + s_A [T(P) - Σ_B M(B)],    B the children of P and Σ_B s_B = 1,

    which for two children is T(A) = φ_A + s_A [T(P) - φ_A - φ_B] with φ of Equation 4 and equal shares.

    Args:
        game: The game; ``game.tree`` has m nodes on a level.
        contexts: ``"absent"``, ``"present"`` or ``"both"``.
        share: s, ``"pixels"`` or ``"half"``.
    """
    scores = (game.full - game.empty)[:, None, :]  # T(root) = f(x) - f(b)
    yield scores
    for level in range(1, game.tree.depth + 1):
        scores = share_out(game.tree, level, scores, _marginals(game, level, contexts), share)
        yield scores


def fixed_coalitions(tree: PartitionTree, contexts: Fixed) -> np.ndarray:
    """Return all coalitions of :func:`fixed_levels`, packed, uint8 array (rows, bytes): none depends on another."""
    nodes = np.concatenate(
        [tree.coalitions(level) for level in range(1, tree.depth + 1)] or [tree.coalitions(0)]
    )
    hidden = tree.coalitions(0) ^ nodes
    return {"absent": nodes, "present": hidden, "both": np.concatenate([nodes, hidden])}[contexts]


def fixed_evaluations(tree: PartitionTree, contexts: Fixed) -> int:
    """Return the number of distinct coalitions of :func:`fixed_levels`: 2n or 4n - 4 where everything is halved."""
    nodes = sum(tree.splits(level)[1].size for level in range(tree.depth))
    if contexts != "both":
        return 2 + nodes
    # To hide one half of the image is to show the other one.
    return 2 + 2 * nodes - (2 if tree.arity == 2 and nodes else 0)


def share_out(
    tree: PartitionTree, level: int, above: np.ndarray, marginals: np.ndarray, share: Share
) -> np.ndarray:
    """Hand the scores of a level down: T(A) = M(A) + s_A [T(P) - Σ_B M(B)].

    Args:
        tree: The partition tree.
        level: The level that receives scores, 1 ... L, of m nodes.
        above: T(P) of the nodes of the level above, float64 array (N, m', K).
        marginals: M, float64 array (N, m, K).
        share: ``"pixels"``: s_A is A's part of the pixels of P; ``"half"``: children share equally.

    Returns:
        Float64 array (N, m, K); the children of each node sum to its score, and a node that was not cut keeps it.
    """
    parents = tree.parents(level)
    of_each = np.bincount(parents)
    starts = np.cumsum(of_each) - of_each
    common = above - np.add.reduceat(marginals, starts, axis=1)
    by_pixels = tree.pixels(level) / tree.pixels(level - 1)[parents]
    shares = by_pixels if share == "pixels" else 1 / of_each[parents]
    return marginals + shares[:, None] * common[:, parents]


def _marginals(game: TargetGame, level: int, contexts: Fixed) -> np.ndarray:
    """Return M, the mean marginal contribution of each node of a level over its contexts: (N, m, K)."""
    nodes = game.tree.coalitions(level)
    count = len(nodes)
    if contexts == "absent":
        return game.values(nodes) - game.empty[:, None]
    if contexts == "present":
        return game.full[:, None] - game.values(game.everyone ^ nodes)
    values = game.values(np.concatenate([nodes, game.everyone ^ nodes]))  # one batch for both contexts
    return 0.5 * (values[:, :count] - game.empty[:, None] + game.full[:, None] - values[:, count:])
