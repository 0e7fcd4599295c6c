"""Shapley and Owen (Winter) values of small games by enumeration: what every faster method is tested against."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np

SetFunction = Callable[[np.ndarray], np.ndarray]

MAX_PLAYERS = 16  # 65,536 coalitions, and half as many tree-consistent orders


def shapley_weights(n_players: int) -> np.ndarray:
    """Return |S|! (n - |S| - 1)! / n! for |S| = 0 ... n - 1, float64 array (n,)."""
    sizes = range(n_players)
    return np.array([factorial(s) * factorial(n_players - s - 1) / factorial(n_players) for s in sizes])


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
    weights, sizes = shapley_weights(n_players), members(codes, n_players).sum(axis=1)
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
        game: As for :func:`exact_shapley`, but asked for the distinct coalitions on the way only, (M, n).
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
    prefixes = np.pad(np.cumsum(1 << orders, axis=1), ((0, 0), (1, 0)))
    codes, where = np.unique(prefixes, return_inverse=True)
    values = _evaluate(game, codes, n_players)[where.reshape(prefixes.shape)]
    result = np.zeros((n_players, *values.shape[2:]))
    np.add.at(result, orders, np.diff(values, axis=1))
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
            f"Enumeration is for 1 to {MAX_PLAYERS} players, not {n_players}. Use DnCShap for more."
        )


def members(codes: np.ndarray, n_players: int) -> np.ndarray:
    """Write coalition numbers (M,), bit i for player i, as a boolean array (M, n)."""
    return (codes[:, None] >> np.arange(n_players)) & 1 == 1


def _evaluate(game: SetFunction, codes: np.ndarray, n_players: int) -> np.ndarray:
    """Evaluate the game on coalition numbers, float64 array (M, ...)."""
    values = np.asarray(game(members(codes, n_players)), dtype=np.float64)
    if values.ndim == 0 or len(values) != len(codes):
        raise ValueError(f"The game must return one value per coalition: {len(codes)}, not {values.shape}.")
    return values
