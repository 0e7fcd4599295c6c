"""How much two maps overlap: the soft Dice coefficient of the paper's Table 4, and what chance alone would give.

The paper calls it "Dice loss" and does not say how maps are scaled. Without a common scale the coefficient has no
meaning: of a map and c times the same map it is 2c / (1 + c²). On maps of unit length it is the cosine of the angle
between them, and that is what is computed here.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ferlab.measures import ratio

View = Literal["magnitude", "positive", "signed"]
VIEWS: tuple[View, ...] = get_args(View)

# Expected coefficient of two independent maps of many standard normal pixels: E[a]² / E[a²] of what the view leaves.
CHANCE: dict[View, float] = {"magnitude": 2 / np.pi, "positive": 1 / np.pi, "signed": 0.0}


def soft_dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return 2 Σab / (Σa² + Σb²) of maps (..., H, W): (...) float64 in -1..1; NaN for two maps of zeros."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return ratio(2 * (a * b).sum(axis=(-2, -1)), (a**2).sum(axis=(-2, -1)) + (b**2).sum(axis=(-2, -1)))


def viewed(maps: np.ndarray, view: View) -> np.ndarray:
    """Return magnitudes of maps (N, H, W), positive parts, or the maps, at unit length; NaN where a view is empty."""
    seen = {"magnitude": np.abs, "positive": lambda m: np.clip(m, 0, None), "signed": np.asarray}[view](maps)
    seen = np.asarray(seen, dtype=np.float64)
    return ratio(seen, np.sqrt((seen**2).sum(axis=(1, 2), keepdims=True)))


def overlap(a: np.ndarray, b: np.ndarray, view: View = "magnitude") -> np.ndarray:
    """Return the soft Dice coefficient of pairs of maps (N, H, W) of the same images: (N,), NaN for empty views."""
    return soft_dice(viewed(a, view), viewed(b, view))


def shuffled_level(a: np.ndarray, b: np.ndarray, view: View = "magnitude") -> np.ndarray:
    """Return the mean overlap (N,) of pairs of maps (N, H, W) over all ways to shuffle the pixels of one of them."""
    a, b = viewed(a, view), viewed(b, view)
    return a.sum(axis=(1, 2)) * b.sum(axis=(1, 2)) / a[0].size  # P times the product of the means of P pixels


def swapped_level(a: np.ndarray, b: np.ndarray, view: View = "magnitude") -> np.ndarray:
    """Return the mean overlap (N,) of each map of ``a`` (N, H, W) with those of ``b``, not empty, of *other* images."""
    a, b = (viewed(maps, view).reshape(len(maps), -1) for maps in (a, b))
    pairs = a @ b.T
    np.fill_diagonal(pairs, np.nan)
    known = np.isfinite(pairs)
    return ratio(np.where(known, pairs, 0).sum(axis=1), known.sum(axis=1))


def simulated_chance(view: View, pixels: int = 2304, pairs: int = 1000, seed: int = 0) -> float:
    """Return the mean overlap of pairs of independent maps of standard normal pixels, to check :data:`CHANCE`."""
    a, b = np.random.default_rng(seed).standard_normal((2, pairs, pixels, 1))
    return float(overlap(a, b, view).mean())
