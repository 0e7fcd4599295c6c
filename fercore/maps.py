"""Which faces are explained, and what the maps of many faces have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fercore.emotions import Emotion


def choose(labels: np.ndarray, eligible: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Draw up to ``count`` eligible images of each emotion at random.

    Args:
        labels: (N,) integers 0..6.
        eligible: (N,) bool, which images may be drawn (the correctly classified ones, say).
        count: Images per emotion, at most.
        seed: Seed of the draw.

    Returns:
        (M,) int64 indices, grouped by emotion in canonical order; emotions without eligible images are left out.

    Raises:
        ValueError: If ``count`` is less than 1 or no image is eligible.
    """
    if count < 1:
        raise ValueError(f"{count} faces per emotion cannot be shown: ask for at least 1.")
    if not eligible.any():
        raise ValueError("No image is eligible: the network classifies none correctly. Train it for longer.")
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[eligible[order]]
    return np.concatenate([order[labels[order] == label][:count] for label in np.unique(labels)])


@dataclass(frozen=True, eq=False)
class MeanMaps:
    """The mean map of each of E emotions.

    Attributes:
        emotions: The emotions that have maps, in canonical order.
        counts: (E,) int64, maps behind each mean.
        faces: (E, H, W, C) float64 in 0..255, the mean images.
        maps: (E, H, W) float64, the mean maps.
        errors: (E, H, W) float64, the standard error of each pixel of a mean map: the scatter between faces over the
            square root of their number; NaN for an emotion with one map.
        worth: (E,) float64, the mean of f(x) - f(b), which is what a map distributes.
        shared_energy: (E,) float64 in 0..1: sum of squares of the mean map over the mean sum of squares of the maps. 1
            if all maps are equal, about 1 / count if they have nothing in common.
    """

    emotions: tuple[Emotion, ...]
    counts: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    errors: np.ndarray
    worth: np.ndarray
    shared_energy: np.ndarray


def average(maps: np.ndarray, images: np.ndarray, labels: np.ndarray) -> MeanMaps:
    """Average maps and images by emotion.

    Args:
        maps: (N, H, W) float, signed maps that sum to f(x) - f(b).
        images: (N, H, W, C) uint8.
        labels: (N,) integers 0..6.
    """
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    means = np.stack([maps[group].mean(axis=0, dtype=np.float64) for group in groups])
    energy = np.array([(maps[group] ** 2).sum(axis=(1, 2)).mean() for group in groups])
    return MeanMaps(
        emotions=tuple(Emotion(label) for label in np.unique(labels)),
        counts=np.array([len(group) for group in groups]),
        faces=np.stack([images[group].mean(axis=0) for group in groups]),
        maps=means,
        errors=np.stack([_standard_error(maps[group]) for group in groups]),
        worth=means.sum(axis=(1, 2)),
        shared_energy=np.divide(
            (means**2).sum(axis=(1, 2)), energy, out=np.zeros(len(groups)), where=energy > 0
        ),
    )


def _standard_error(maps: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean of maps (M, H, W), NaN where there is one."""
    if len(maps) < 2:
        return np.full(maps.shape[1:], np.nan)
    return maps.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(len(maps))


def why_none(emotion: Emotion, labels: np.ndarray, correct: np.ndarray, eligible: np.ndarray) -> str:
    """Say why an emotion has no map, in a sentence; an empty string where it has one.

    Args:
        emotion: The emotion.
        labels: (N,) integers, true labels of the test images.
        correct: (N,) bool, which are classified correctly.
        eligible: (N,) bool, which may be shown.
    """
    own = labels == emotion
    if (own & eligible).any():
        return ""
    if not own.any():
        return f"No test image is labelled {emotion.title}."
    if not (own & correct).any():
        return f"None of the {own.sum():,} images of {emotion.title} is classified correctly."
    return f"All correctly classified images of {emotion.title} are copies of training images."
