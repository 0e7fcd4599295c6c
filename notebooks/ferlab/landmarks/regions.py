"""The seven facial regions of an image, from its landmarks."""

from __future__ import annotations

import numpy as np

from ferlab.faces.mesh import REGIONS
from ferlab.faces.render import region_mask
from ferlab.landmarks.extraction import COUNT

LABELS: tuple[str, ...] = ("outside", *REGIONS)  # name of each label


def region_labels(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Label the pixels of an image by facial region.

    The mesh's triangles are filled as they are for the embedded faces (:func:`ferlab.faces.region_mask`). On a face
    in profile the far side may cover what lies nearer, so labels are good up to about 20 degrees.

    Args:
        points: (468, 2 or 3) pixel coordinates; NaN for an image without a face.
        height: Of the image in pixels.
        width: Of the image in pixels.

    Returns:
        (height, width) uint8, 0 outside the face, 1..7 = ``ferlab.faces.REGIONS``; all 0 without a face.

    Raises:
        ValueError: If the points have another shape.
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[0] != COUNT or points.shape[1] not in (2, 3):
        raise ValueError(f"A face has {COUNT} points of 2 or 3 coordinates, not an array {points.shape}.")
    if not np.isfinite(points).all():
        return np.zeros((height, width), np.uint8)
    return np.ascontiguousarray(region_mask(points[:, :2], max(height, width))[:height, :width])


def region_maps(points: np.ndarray, height: int, width: int, progress: bool = True) -> np.ndarray:
    """Label the pixels of many images.

    Args:
        points: (N, 468, 2 or 3) as :func:`ferlab.landmarks.extract` gives them.
        height: Of the images in pixels.
        width: Of the images in pixels.
        progress: Show a bar over the images.

    Returns:
        (N, height, width) uint8, as :func:`region_labels`.
    """
    from tqdm import tqdm

    labels = np.zeros((len(points), height, width), np.uint8)
    for row, face in enumerate(tqdm(points, desc="Regions", unit="face", disable=not progress)):
        labels[row] = region_labels(face, height, width)
    return labels
