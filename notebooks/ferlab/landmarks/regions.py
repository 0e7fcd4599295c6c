"""The seven facial regions of an image, from its landmarks."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from ferlab.faces.mesh import REGIONS
from ferlab.faces.render import region_mask
from ferlab.landmarks.extraction import COUNT

LABELS: tuple[str, ...] = ("outside", *REGIONS)  # name of each label


def region_labels(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Label the pixels of an image by facial region: uint8 (height, width), 0 outside the face, then ``LABELS``.

    Points are (468, 2 or 3) in pixels, else ValueError; all is 0 where they are NaN. Good up to about 20° of yaw."""
    points = np.asarray(points)
    if points.shape not in ((COUNT, 2), (COUNT, 3)):
        raise ValueError(f"A face has {COUNT} points of 2 or 3 coordinates, not an array {points.shape}.")
    if not np.isfinite(points).all():
        return np.zeros((height, width), np.uint8)
    return np.ascontiguousarray(region_mask(points[:, :2], max(height, width))[:height, :width])


def region_maps(points: np.ndarray, height: int, width: int, progress: bool = True) -> np.ndarray:
    """Label the pixels of many images from points (N, 468, 2 or 3): (N, height, width), as :func:`region_labels`."""
    labels = np.zeros((len(points), height, width), np.uint8)
    for row, face in enumerate(tqdm(points, desc="Regions", unit="face", disable=not progress)):
        labels[row] = region_labels(face, height, width)
    return labels
