"""How much two maps overlap: the soft Dice coefficient of the paper's Table 4, and what chance alone would give.

The paper calls it "Dice loss" and does not say how maps are scaled. Without a common scale the coefficient has no
meaning: of a map and c times the same map it is 2c / (1 + c²). On maps of unit length it is the cosine of the angle
between them, and that is what is computed here.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

View = Literal["magnitude", "positive", "signed"]
VIEWS: tuple[View, ...] = get_args(View)

# Expected coefficient of two independent maps of many standard normal pixels: E[a]² / E[a²] of what the view leaves.
CHANCE: dict[View, float] = {"magnitude": 2 / np.pi, "positive": 1 / np.pi, "signed": 0.0}


def soft_dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return 2 Σab / (Σa² + Σb²) over the last two axes.

    Args:
        a: (..., H, W) float.
        b: The same.

    Returns:
        (...) float64 in -1..1; NaN for two maps of zeros.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    over, under = 2 * (a * b).sum(axis=(-2, -1)), (a**2).sum(axis=(-2, -1)) + (b**2).sum(axis=(-2, -1))
    return np.divide(over, under, out=np.full(np.shape(under), np.nan), where=under > 0)


def viewed(maps: np.ndarray, view: View) -> np.ndarray:
    """Return maps (N, H, W) as a view of them, scaled to unit length; a view without anything in it becomes NaN.

    Args:
        maps: (N, H, W) float, signed.
        view: ``"magnitude"`` (absolute values), ``"positive"`` (the positive part) or ``"signed"``.

    Raises:
        ValueError: If there is no such view.
    """
    if view not in VIEWS:
        raise ValueError(f"There is no view {view!r}; choose {', '.join(VIEWS)}.")
    seen = {"magnitude": np.abs, "positive": lambda m: np.clip(m, 0, None), "signed": np.asarray}[view](maps)
    seen = np.asarray(seen, dtype=np.float64)
    length = np.sqrt((seen**2).sum(axis=(1, 2), keepdims=True))
    return np.divide(seen, length, out=np.full(seen.shape, np.nan), where=length > 0)


def overlap(a: np.ndarray, b: np.ndarray, view: View = "magnitude") -> np.ndarray:
    """Return the soft Dice coefficient of pairs of maps (N, H, W) of the same images: (N,), NaN for empty views."""
    return soft_dice(viewed(a, view), viewed(b, view))


def shuffled_level(a: np.ndarray, b: np.ndarray, view: View = "magnitude") -> np.ndarray:
    """Return what the overlap of each pair would be, on average, if the pixels of one map were shuffled.

    It is exact: for maps of unit length with P pixels the mean over all permutations is P times the product of the
    means. It keeps how the values of the two maps are distributed and drops where they are.

    Args:
        a: (N, H, W) maps.
        b: The same.
        view: As in :func:`viewed`.

    Returns:
        (N,) float64.
    """
    a, b = viewed(a, view), viewed(b, view)
    return a.sum(axis=(1, 2)) * b.sum(axis=(1, 2)) / a[0].size


def swapped_level(a: np.ndarray, b: np.ndarray, view: View = "magnitude") -> np.ndarray:
    """Return the mean overlap of each map of ``a`` with the maps of ``b`` of all *other* images.

    It keeps, besides, where maps tend to lie whatever the image: in the middle of the face, say.

    Args:
        a: (N, H, W) maps, N at least 2.
        b: The same.
        view: As in :func:`viewed`.

    Returns:
        (N,) float64; empty maps of ``b`` are left out of the means, those of ``a`` are NaN.
    """
    a, b = (viewed(maps, view).reshape(len(maps), -1) for maps in (a, b))
    pairs = a @ b.T
    np.fill_diagonal(pairs, np.nan)
    known = np.isfinite(pairs)
    total, count = np.where(known, pairs, 0).sum(axis=1), known.sum(axis=1)
    return np.divide(total, count, out=np.full(len(a), np.nan), where=count > 0)


def simulated_chance(view: View, pixels: int = 2304, pairs: int = 1000, seed: int = 0) -> float:
    """Return the mean overlap of pairs of independent maps of standard normal pixels, to check :data:`CHANCE`."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, pairs, pixels, 1))
    return float(overlap(a, b, view).mean())
