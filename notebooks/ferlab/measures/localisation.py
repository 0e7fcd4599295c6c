"""Whether a map lies where the truth lies, for images whose relevant pixels are known.

The definitions are those of Quantus (Hedström et al. 2023) for relevance mass and rank accuracy (Arras et al. 2022) and
the pointing game (Zhang et al. 2018), except that equal values count by their share: maps of regions have many.
"""

from __future__ import annotations

import numpy as np


def mass_accuracy(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the share of the positive part of each map that lies in the truth.

    Args:
        maps: (N, H, W) float.
        truth: (N, H, W) bool.

    Returns:
        (N,) float64 in 0..1; NaN for a map without positive pixels, or an empty truth.
    """
    positive = np.clip(np.asarray(maps, dtype=np.float64), 0, None)
    return _where_known((positive * truth).sum(axis=(1, 2)), positive.sum(axis=(1, 2)), truth)


def rank_accuracy(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the share of the truth among the K largest pixels of each map, K being the size of the truth.

    Of pixels equal to the K-th largest as many count as are needed, at the rate at which the truth holds them.

    Args:
        maps: (N, H, W) float.
        truth: (N, H, W) bool.

    Returns:
        (N,) float64 in 0..1; NaN for an empty truth.
    """
    hits = [_hits(values.ravel(), inside.ravel()) for values, inside in zip(maps, truth, strict=True)]
    return _where_known(np.array(hits), truth.sum(axis=(1, 2)), truth)


def _hits(values: np.ndarray, inside: np.ndarray) -> float:
    """Return how many of the K largest values lie inside, ties by their share."""
    count = int(inside.sum())
    if count == 0:
        return 0.0
    last = np.partition(values, -count)[-count]
    above, equal = values > last, values == last
    return inside[above].sum() + (count - above.sum()) * inside[equal].mean()


def pointing_game(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return whether the largest pixel of each map lies in the truth; of several largest, the share that does.

    Args:
        maps: (N, H, W) float.
        truth: (N, H, W) bool.

    Returns:
        (N,) float64 in 0..1; NaN for an empty truth.
    """
    largest = maps == maps.max(axis=(1, 2), keepdims=True)
    return _where_known((largest & truth).sum(axis=(1, 2)), largest.sum(axis=(1, 2)), truth)


def _where_known(over: np.ndarray, under: np.ndarray, truth: np.ndarray) -> np.ndarray:
    known = truth.any(axis=(1, 2)) & (under > 0)
    return np.divide(over, under, out=np.full(len(truth), np.nan), where=known)


def scores(maps: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``mass``, ``rank`` and ``pointing``, (N,) each; see the functions."""
    found = {"mass": mass_accuracy, "rank": rank_accuracy, "pointing": pointing_game}
    return {name: function(maps, truth) for name, function in found.items()}


def area_share(truth: np.ndarray) -> np.ndarray:
    """Return the share of the image that the truth covers, (N,): what chance gives on each score; NaN if empty."""
    share = truth.mean(axis=(1, 2))
    return np.where(share > 0, share, np.nan)
