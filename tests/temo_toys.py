"""Small sets of clips for the tests of :mod:`ferlab.temo`."""

from __future__ import annotations

import numpy as np
from ferlab.temo import LandmarkClips


def toy(
    count: int = 60, frames: int = 3, points: int = 12, classes: int = 3, groups: int = 12, seed: int = 0
) -> LandmarkClips:
    """Clips in which point c tells class c: it moves up over the frames, all else is noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    values = rng.normal(0, 0.3, (count, frames, points, 2))
    for label in range(classes):
        values[labels == label, :, label, 1] += np.linspace(0, 3, frames) if frames > 1 else 3
    names = np.array([f"g{index // classes % groups}" for index in range(count)])
    lengths = np.full(count, frames, dtype=np.int64)
    return LandmarkClips("toy", values.astype(np.float32), labels.astype(np.int64), names, lengths)


def face(seed: int = 0, dims: int = 2) -> np.ndarray:
    """One frame of 468 random points whose eyes are apart, (468, dims) float64."""
    points = np.random.default_rng(seed).normal(0, 1, (468, dims))
    points[[33, 133], 0] -= 4
    points[[263, 362], 0] += 4
    return points
