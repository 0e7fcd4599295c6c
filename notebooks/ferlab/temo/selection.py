"""Which k landmarks to keep: by integrated gradients, and the controls that a claim about them needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.feature_selection import f_classif

from ferlab.faces import mesh
from ferlab.temo.clips import LandmarkClips

SIZES = (468, 234, 128)  # the second paper's: all, half, and its smallest set


def combine(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the mean over baselines of relevance (M, P), each scaled to sum to 1 over the landmarks of a network.

    The scaling is ours: without it the baseline that is furthest from the faces would decide alone.
    """
    shares = [values / np.maximum(values.sum(axis=1, keepdims=True), 1e-300) for values in scores.values()]
    return np.mean(shares, axis=0)


def top(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the k landmarks of greatest score, best first, (..., k) int64 from (..., P); ties by number."""
    if not 1 <= k <= scores.shape[-1]:
        raise ValueError(f"k={k!r}: choose from 1 to {scores.shape[-1]} landmarks.")
    return np.argsort(-scores, axis=-1, kind="stable")[..., :k]


def contours() -> np.ndarray:
    """Return MediaPipe's own choice, the (128,) vertices of ``FACEMESH_CONTOURS``: lips, eyes, brows and face oval.

    Source: mediapipe/python/solutions/face_mesh_connections.py (Apache-2.0, Copyright 2021 The MediaPipe Authors).
    """
    lips = [ring for rings in (mesh.UPPER_LIP_RINGS, mesh.LOWER_LIP_RINGS) for ring in (rings[0], rings[3])]
    eyes = [mesh.RIGHT_EYE_UPPER, mesh.RIGHT_EYE_LOWER, mesh.LEFT_EYE_UPPER, mesh.LEFT_EYE_LOWER]
    brow = [*mesh.RIGHT_BROW_UPPER, *mesh.RIGHT_BROW_LOWER]
    return np.unique(np.concatenate([*lips, *eyes, brow, mesh.mirror()[brow], mesh.FACE_OVAL]))


def random_sets(points: int, k: int, draws: int, seed: int = 0) -> np.ndarray:
    """Draw ``draws`` sets of k landmarks without replacement, int64 (draws, k)."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(points, k, replace=False) for _ in range(draws)])


def univariate(clips: LandmarkClips, classes: tuple[int, ...]) -> np.ndarray:
    """Score landmarks (E, P), without a network, by the F of a class against the rest, summed over what each has."""
    flat = clips.points.reshape(len(clips), -1)
    scores = []
    for label in classes:
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic, _ = f_classif(flat, clips.labels == label)
        scores.append(np.nan_to_num(statistic, posinf=0.0).reshape(clips.points.shape[1:]).sum(axis=(0, 2)))
    return np.stack(scores)
