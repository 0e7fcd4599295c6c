"""What the explainers are asked: which classes to explain, checked before the model runs and completed after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

Targets = int | str | Sequence[int] | Sequence[Sequence[int]] | np.ndarray | torch.Tensor | None


def as_targets(targets: Targets, n_images: int) -> np.ndarray | Literal["all"] | None:
    """Check which classes are to be explained, as far as possible before the model has run.

    Args:
        targets: None for the predicted class of each image, one class for all images, one class per image (N,), K
            chosen classes per image (N, K) or for all images (1, K), or ``"all"``. A class may be chosen twice.
        n_images: N.

    Returns:
        None, ``"all"``, or an int64 array (N, K).

    Raises:
        ValueError: If the shape is none of these, there is no target, or a name is not ``"all"``.
        TypeError: If a target is not an integer.
    """
    if targets is None:
        return None
    if isinstance(targets, str):
        if targets != "all":
            raise ValueError(
                f"targets is None, a class number, one number per image, an array (N, K), or 'all', not {targets!r}."
            )
        return "all"
    array = targets.cpu().numpy() if isinstance(targets, torch.Tensor) else np.asarray(targets)
    if array.size == 0:
        raise ValueError(
            f"targets is empty (shape {array.shape}): name a class, or leave it out for the predicted one."
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"targets must be integers (class numbers); got {array.dtype} {targets!r}.")
    rows = array[:, None] if array.ndim == 1 else np.atleast_2d(array)
    per_image = len(rows) == n_images or (array.ndim != 1 and len(rows) == 1)
    if rows.ndim != 2 or not per_image:
        raise ValueError(
            f"targets must hold one class per image: {n_images}, or K classes per image: ({n_images}, K) or (1, K); "
            f"its shape is {array.shape}."
        )
    return np.broadcast_to(rows, (n_images, rows.shape[1])).astype(np.int64)


def explained_classes(targets: np.ndarray | Literal["all"] | None, predictions: np.ndarray) -> np.ndarray:
    """Turn checked targets into class numbers, now that the number of classes is known.

    Args:
        targets: As :func:`as_targets` returns them.
        predictions: f(x), float array (N, classes).

    Returns:
        int64 array (N, K): K = 1 for the predicted class, the number of classes for ``"all"``, else as chosen.

    Raises:
        ValueError: If a target is not a class of the model.
    """
    n_images, n_classes = predictions.shape
    if targets is None:
        return predictions.argmax(axis=1)[:, None]
    if isinstance(targets, str):
        return np.tile(np.arange(n_classes), (n_images, 1))
    wrong = targets[(targets < 0) | (targets >= n_classes)]
    if wrong.size:
        raise ValueError(f"Target {wrong[0]} is out of range: the model has classes 0 to {n_classes - 1}.")
    return targets
