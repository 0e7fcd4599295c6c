"""Turned squares of an image: cut out for a network, and its answers carried back.

Coordinates are continuous, x right and y down: (0, 0) is the top left corner of the image and (0.5, 0.5) the centre of
its first pixel, as in :mod:`ferlab.faces`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Square:
    """A square of an image by its centre and side in pixels, which may reach beyond the border.

    ``angle`` is the direction of its upper edge in radians, clockwise as seen (y points down); 0 is upright.
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
        """Sample the square upright, (size, size, 3), from an image (H, W, 3) uint8 whose outermost pixels go on."""
        shrink, ratio = self.side / size, np.ones(2)
        if shrink > 1.0:
            height, width = image.shape[:2]
            smaller = (max(1, round(width / shrink)), max(1, round(height / shrink)))
            image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
            ratio = np.array(smaller) / (width, height)
        linear = self._axes() * (size / self.side) / ratio
        shift = size / 2 - self._axes() @ (self.x, self.y) * (size / self.side)
        # OpenCV counts from the centre of the first pixel.
        matrix = np.column_stack((linear, shift + linear @ (0.5, 0.5) - 0.5))
        how = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REPLICATE}
        return cv2.warpAffine(image, matrix, (size, size), **how)

    def back(self, points: np.ndarray, size: int) -> np.ndarray:
        """Carry points (..., 2 or 3) in pixels of a cut of that size back to the image; a depth is scaled alike."""
        centre = (
            size / 2 * np.array((1.0, 1.0, 0.0))[: points.shape[-1]]
        )  # a depth has no origin in the image
        scaled = (np.asarray(points, dtype=np.float64) - centre) * (self.side / size)
        scaled[..., :2] = scaled[..., :2] @ self._axes() + (self.x, self.y)
        return scaled


def around(points: np.ndarray, right_eye: np.ndarray, left_eye: np.ndarray, factor: float) -> Square:
    """Return the square around points (P, 2), level with the subject's eyes, ``factor`` times their bounding box."""
    dx, dy = left_eye - right_eye
    angle = math.atan2(dy, dx)
    axes = Square(0.0, 0.0, 1.0, angle)._axes()
    turned = points @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    x, y = ((low + high) / 2) @ axes
    return Square(float(x), float(y), factor * float((high - low).max()), angle)
