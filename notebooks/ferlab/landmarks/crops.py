"""Turned squares of an image: cut out for a network, and its answers carried back.

Coordinates are continuous, x right and y down: (0, 0) is the top left corner of the image and (0.5, 0.5) the centre of
its first pixel, as in :mod:`ferlab.faces`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Square:
    """A square region of an image, which may reach beyond its border.

    Attributes:
        x: Centre, pixels.
        y: Centre, pixels.
        side: Length of a side, pixels.
        angle: Direction of its upper edge, radians, clockwise as seen (y points down); 0 is upright.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def _axes(self) -> np.ndarray:
        """Its unit vectors, to the right and down, as rows."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return np.array(((cosine, sine), (-sine, cosine)))

    def cut(self, image: np.ndarray, size: int) -> np.ndarray:
        """Sample the square, upright.

        Args:
            image: (H, W, 3) uint8. Beyond its border its outermost pixels go on.
            size: Height and width of the result in pixels.

        Returns:
            (size, size, 3) uint8; bicubic where it is enlarged, averaged over areas where it is made smaller.
        """
        import cv2

        shrink = self.side / size
        ratio = np.ones(2)
        if shrink > 1.0:
            height, width = image.shape[:2]
            smaller = (max(1, round(width / shrink)), max(1, round(height / shrink)))
            image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
            ratio = np.array(smaller) / (width, height)
        linear = self._axes() * (size / self.side) / ratio
        shift = size / 2 - self._axes() @ (self.x, self.y) * (size / self.side)
        # OpenCV counts from the centre of the first pixel.
        matrix = np.column_stack((linear, shift + linear @ (0.5, 0.5) - 0.5))
        return cv2.warpAffine(
            image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )

    def back(self, points: np.ndarray, size: int) -> np.ndarray:
        """Carry points of a cut back to the image.

        Args:
            points: (..., 2) or (..., 3) in pixels of a cut; a depth is scaled alike.
            size: Size of that cut.

        Returns:
            Points of the same shape in pixels of the image, float64.
        """
        scaled = (np.asarray(points, dtype=np.float64) - size / 2 * _flat(points)) * (self.side / size)
        scaled[..., :2] = scaled[..., :2] @ self._axes() + (self.x, self.y)
        return scaled


def _flat(points: np.ndarray) -> np.ndarray:
    """1 for x and y, 0 for a depth, which has no origin in the image."""
    return np.array((1.0, 1.0, 0.0))[: points.shape[-1]]


def around(points: np.ndarray, right_eye: np.ndarray, left_eye: np.ndarray, factor: float) -> Square:
    """Return the square around points, turned so that the line between the eyes is level.

    Args:
        points: (P, 2) pixels.
        right_eye: (2,) the subject's right eye, which is on the left of an upright image.
        left_eye: (2,) the subject's left eye.
        factor: Side of the square over the longer side of the turned bounding box.
    """
    dx, dy = left_eye - right_eye
    axes = Square(0.0, 0.0, 1.0, math.atan2(dy, dx))._axes()
    turned = points @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    x, y = ((low + high) / 2) @ axes
    return Square(float(x), float(y), factor * float((high - low).max()), math.atan2(dy, dx))
