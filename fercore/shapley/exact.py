"""DnCShap with one or two fixed contexts per node: nothing else visible, everything else visible, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import factorial
from typing import Literal

import numpy as np

from fercore.shapley.game import TargetGame
from fercore.shapley.tree import PartitionTree

SetFunction = Callable[[np.ndarray], np.ndarray]

MAX_PLAYERS = 16  # 65,536 coalitions, and as many tree-consistent orders at most


def exact_shapley(game: SetFunction, n_players: int) -> np.ndarray:
    """Return the exact Shapley values, the weighted mean of the marginal contributions over all 2^n coalitions.

    ``φ_i = Σ_{S ∌ i} |S|! (n - |S| - 1)! / n! · [v(S ∪ {i}) - v(S)]``, Equations 2 and 3 of the paper (Shapley 1953,
    "A value for n-person games"). With two players it is Equation 4.

    Args:
        game: v, from a boolean array (2^n, n) to an array (2^n,) or (2^n, K); called once.
        n_players: n, from 1 to 16.

    Returns:
        float64 array (n,) or (n, K).

    Raises:
        ValueError: If n is out of range or the game returns another number of values than coalitions.
    """
    _check_players(n_players)
    codes = np.arange(2**n_players)
    values = _evaluate(game, codes, n_players)
    sizes = _members(codes, n_players).sum(axis=1)
    weights = np.array(
        [factorial(s) * factorial(n_players - s - 1) / factorial(n_players) for s in range(n_players)]
    )
    result = []
    for player in range(n_players):
        without = codes[(codes >> player) & 1 == 0]
        marginal = values[without | (1 << player)] - values[without]
        result.append(np.tensordot(weights[sizes[without]], marginal, axes=1))
    return np.stack(result)


def exact_owen(game: SetFunction, n_players: int) -> np.ndarray:
    """Return the exact Owen values on a balanced binary tree over the players.

    The value of a player is its mean marginal contribution over all orders in which the players of every tree node
    arrive one after the other: each of the n - 1 inner nodes may swap its two children, so there are 2^(n - 1) orders
    (128 for 8 players). Owen 1977, "Values of games with a priori unions", has one level of unions; on a tree of
    several levels these are strictly Winter values (Winter 1989, "A value for cooperative games with levels structure
    of cooperation"). ``shap`` calls them Owen values.

    Args:
        game: v, from a boolean array (M, n) to an array (M,) or (M, K); called once, on distinct coalitions.
        n_players: n, a power of two from 1 to 16. Players 2j and 2j + 1 share a parent, and so on upwards.

    Returns:
        float64 array (n,) or (n, K).

    Raises:
        ValueError: If n is out of range or not a power of two, or the game returns a wrong number of values.
    """
    _check_players(n_players)
    if n_players & (n_players - 1):
        raise ValueError(f"A balanced binary tree has a power of two of leaves; n_players is {n_players}.")
    orders = tree_orders(n_players)
    # Column k holds the coalition of the first k players of the order.
    prefixes = np.concatenate(
        [np.zeros((len(orders), 1), dtype=np.int64), np.cumsum(1 << orders, axis=1)], axis=1
    )
    codes, where = np.unique(prefixes, return_inverse=True)
    values = _evaluate(game, codes, n_players)[where.reshape(prefixes.shape)]
    marginal = np.diff(values, axis=1)
    result = np.zeros((n_players, *values.shape[2:]))
    np.add.at(result, orders, marginal)
    return result / len(orders)


def tree_orders(n_players: int) -> np.ndarray:
    """Return all orders that are consistent with the balanced tree, int64 array (2^(n - 1), n)."""
    if n_players == 1:
        return np.zeros((1, 1), dtype=np.int64)
    half = tree_orders(n_players // 2)
    first = np.repeat(half, len(half), axis=0)
    second = np.tile(half, (len(half), 1)) + n_players // 2
    return np.concatenate([np.hstack([first, second]), np.hstack([second, first])])


def _check_players(n_players: int) -> None:
    """Refuse games that enumeration cannot reach."""
    if not 1 <= n_players <= MAX_PLAYERS:
        raise ValueError(
            f"Enumeration is for 1 to {MAX_PLAYERS} players; n_players is {n_players}. Use DnCShap for more."
        )


def _members(codes: np.ndarray, n_players: int) -> np.ndarray:
    """Write coalition numbers (M,), bit i for player i, as a boolean array (M, n)."""
    return (codes[:, None] >> np.arange(n_players)) & 1 == 1


def _evaluate(game: SetFunction, codes: np.ndarray, n_players: int) -> np.ndarray:
    """Evaluate the game on coalition numbers, float64 array (M, ...)."""
    values = np.asarray(game(_members(codes, n_players)), dtype=np.float64)
    if values.ndim == 0 or len(values) != len(codes):
        raise ValueError(
            f"The game must return one value per coalition: {len(codes)}, not shape {values.shape}."
        )
    return values


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
