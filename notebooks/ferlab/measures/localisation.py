"""Whether a map lies where the truth lies, for images whose relevant pixels are known.

The definitions are those of Quantus (Hedström et al. 2023) for relevance mass and rank accuracy (Arras et al. 2022) and
the pointing game (Zhang et al. 2018), except that equal values count by their share: maps of regions have many.
Maps (N, H, W) are floats and truths (N, H, W) are bool; scores (N,) lie in 0..1 and are NaN where the truth is empty.
"""

from __future__ import annotations

import numpy as np

from ferlab.measures import ratio


def mass_accuracy(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the share of the positive part of maps (N, H, W) in the truth (N, H, W): (N,), NaN where there is none."""
    positive = np.clip(np.asarray(maps, dtype=np.float64), 0, None)
    return _if_any(truth, ratio((positive * truth).sum(axis=(1, 2)), positive.sum(axis=(1, 2))))


def rank_accuracy(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the share of the truth (N, H, W) among the K largest pixels of maps (N, H, W), K its size: (N,)."""
    hits = [_hits(values.ravel(), inside.ravel()) for values, inside in zip(maps, truth, strict=True)]
    return ratio(np.array(hits), truth.sum(axis=(1, 2)))


def _hits(values: np.ndarray, inside: np.ndarray) -> float:
    """Return how many of the K largest values lie inside, ties by their share."""
    count = int(inside.sum())
    if count == 0:
        return 0.0
    last = np.partition(values, -count)[-count]
    above, equal = values > last, values == last
    return inside[above].sum() + (count - above.sum()) * inside[equal].mean()


def pointing_game(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return whether the largest pixel of maps (N, H, W) lies in the truth (N, H, W): (N,); of several, their share."""
    largest = maps == maps.max(axis=(1, 2), keepdims=True)
    return _if_any(truth, ratio((largest & truth).sum(axis=(1, 2)), largest.sum(axis=(1, 2))))


def _if_any(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(truth.any(axis=(1, 2)), values, np.nan)


def scores(maps: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``mass``, ``rank`` and ``pointing`` of maps (N, H, W) and a truth (N, H, W), (N,) each."""
    found = {"mass": mass_accuracy, "rank": rank_accuracy, "pointing": pointing_game}
    return {name: function(maps, truth) for name, function in found.items()}


def area_share(truth: np.ndarray) -> np.ndarray:
    """Return the share of the image that the truth (N, H, W) covers, (N,): what chance gives; NaN if empty."""
    return _if_any(truth, truth.mean(axis=(1, 2)))
