"""The nearest image by pixels: a classifier that learns nothing of emotions, and so shows what a split gives away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import identical

NAME = "1-NN on pixels"
_BLOCK = 512  # images whose distances to all others are in memory at once


def grey(images: np.ndarray) -> np.ndarray:
    """Return the pixels of images as rows of whole grey values.

    Args:
        images: (N, H, W, 1 or 3) uint8; colours become ITU-R 601 luma, rounded.

    Returns:
        (N, H * W) float64, whole numbers 0 ... 255. Sums of their products are exact, so that every machine finds the
        same neighbours.
    """
    if images.shape[-1] == 3:
        rows = [np.rint(image @ (0.299, 0.587, 0.114)) for image in images]
        return np.array(rows, dtype=np.float64).reshape(len(images), -1)
    return images.reshape(len(images), -1).astype(np.float64)


def nearest(
    images: np.ndarray,
    partitions: Mapping[str, np.ndarray],
    asked: np.ndarray | None = None,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Find the nearest image outside an image's own part, for several partitions in one pass over all pairs.

    With folds as parts this is whom a nearest-neighbour classifier finds that is tested on the image's fold and knows
    all other folds: scikit-learn's ``KNeighborsClassifier(1, algorithm="brute")``. Of equally near images the first
    one is taken.

    Args:
        images: (N, H, W, 1 or 3) uint8; compared in grey, by the sum of squared differences.
        partitions: (N,) integers by name, the part of each image; at least two parts in each.
        asked: (M,) int64, the images whose neighbours are sought; all by default.
        progress: Show a progress bar.

    Returns:
        (M,) int64 by name of the partition, the indices of the neighbours.
    """
    pixels = grey(images)
    norms = (pixels**2).sum(axis=1)
    asked = np.arange(len(images)) if asked is None else asked
    found = {name: np.empty(len(asked), dtype=np.int64) for name in partitions}
    with tqdm(total=len(asked), desc="Nearest neighbours", unit="image", disable=not progress) as bar:
        for start in range(0, len(asked), _BLOCK):
            rows = asked[start : start + _BLOCK]
            distances = norms - 2 * (pixels[rows] @ pixels.T)  # less |a|², the same for all candidates
            for name, parts in partitions.items():
                outside = parts[rows][:, None] != parts
                found[name][start : start + len(rows)] = np.where(outside, distances, np.inf).argmin(axis=1)
            bar.update(len(rows))
    return found


def floor(labels: np.ndarray) -> float:
    """Return the accuracy (0..1) of always naming the most frequent emotion."""
    return float(np.bincount(labels).max() / len(labels))


def score(
    title: str, protocol: str, classifier: str, hits: Sequence[np.ndarray], known: int, guess: float
) -> dict[str, Any]:
    """Return one row of a table of scores.

    Args:
        title: Name of the data.
        protocol: Name of the protocol.
        classifier: Name of the classifier.
        hits: For each fold that was run, (n,) bool: which of its test images were classified correctly.
        known: Images that the classifier was trained on, in one fold.
        guess: Accuracy of always naming the most frequent emotion.

    Returns:
        ``data``, ``protocol``, ``classifier``, ``images`` (tested, in all folds), ``known``, ``folds``, ``accuracy``
        (mean over the folds, 0..1), ``spread`` (standard deviation over the folds; NaN for one fold), ``floor``.
    """
    each = [part.mean() for part in hits if len(part)]
    return {
        "data": title,
        "protocol": protocol,
        "classifier": classifier,
        "images": sum(map(len, hits)),
        "known": known,
        "folds": len(each),
        "accuracy": float(np.mean(each)),
        "spread": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan,
        "floor": guess,
    }


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Whom the nearest-neighbour classifier found under several protocols.

    Attributes:
        data: The dataset.
        folds: (N,) int64 by protocol, which fold tests each image.
        found: (N,) int64 by protocol, its nearest image in the other folds.
        closest: (N,) int64, its nearest image of all.
    """

    data: FaceDataset
    folds: Mapping[str, np.ndarray]
    found: Mapping[str, np.ndarray]
    closest: np.ndarray

    def scores(self, chosen: np.ndarray | None = None) -> pd.DataFrame:
        """Return the accuracy by protocol, one row as of :func:`score` for each.

        Args:
            chosen: (N,) bool, the tested images that count; all by default. The images known stay all.
        """
        labels = self.data.labels
        chosen = np.ones(len(labels), bool) if chosen is None else chosen
        rows = []
        for name, folds in self.folds.items():
            right = labels[self.found[name]] == labels
            hits = [right[chosen & (folds == fold)] for fold in np.unique(folds)]
            known = round(len(labels) * (1 - 1 / len(hits)))
            rows.append(score(self.data.title, name, NAME, hits, known, floor(labels[chosen])))
        return pd.DataFrame(rows)

    def company(self) -> pd.DataFrame:
        """Say what images have in common with their nearest ones.

        Returns:
            One row per thing in common that the dataset knows of: ``nearest image`` (share of the images that have it
            in common with their nearest one, 0..1), ``any image`` (the share of all pairs).
        """
        columns = {
            "the same pixels": identical(self.data.images),
            "the same sequence": self.data.groups,
            "the same subject": self.data.subjects,
            "the same emotion": self.data.labels,
        }
        rows = {}
        for name, column in columns.items():
            if column is not None:
                sizes, images = np.unique(column, return_counts=True)[1], len(column)
                pairs = (sizes * (sizes - 1)).sum() / (images * (images - 1))
                rows[name] = {"nearest image": (column[self.closest] == column).mean(), "any image": pairs}
        return pd.DataFrame.from_dict(rows, orient="index")
