"""The most likely face of an image, by MediaPipe's short-range detector (BlazeFace)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from ferlab.landmarks import models
from ferlab.landmarks.crops import Square

SIZE = 128
PADDING = 0.25  # of the longer side, on each side: faces that fill the picture are found more often (see extraction)
OVERLAP = 0.3  # boxes that overlap the best one by more are averaged with it
_LAYERS = ((16, 2), (8, 6))  # cells a side, anchors a cell: strides 8, 16, 16, 16 with two anchors each


@dataclass(frozen=True, eq=False)
class Detection:
    """A face as the detector sees it, in pixels of the image.

    Attributes:
        score: Its confidence, 0..1.
        centre: (2,) float64, of the box.
        size: (2,) float64, width and height of the box.
        eyes: (2, 2) float64: the subject's right eye, then the left one.
    """

    score: float
    centre: np.ndarray
    size: np.ndarray
    eyes: np.ndarray

    def square(self, factor: float) -> Square:
        """Return the square around the box's centre, level with the eyes, ``factor`` times the box's longer side."""
        dx, dy = self.eyes[1] - self.eyes[0]
        x, y = self.centre
        return Square(float(x), float(y), factor * float(self.size.max()), math.atan2(dy, dx))


@cache
def anchors() -> np.ndarray:
    """Centres of the 896 anchors, (896, 2) float64 in 0..1, by row, column and layer, read-only.

    From the options of MediaPipe's ``face_detection_short_range_common.pbtxt``: four layers of strides 8, 16, 16, 16 on
    128 pixels, aspect ratio 1 with an interpolated one, offsets one half, fixed anchor size.
    """
    grids = []
    for cells, count in _LAYERS:
        places = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(places, places, indexing="ij")
        grids.append(np.repeat(np.stack((x, y), axis=-1).reshape(-1, 2), count, axis=0))
    centres = np.concatenate(grids)
    centres.flags.writeable = False
    return centres


def decode(regressors: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the network's outputs into boxes.

    Args:
        regressors: (896, 16): x and y of the centre, width, height, and x and y of six points (right eye, left eye,
            nose, mouth, right ear, left ear); in pixels, places relative to the anchor.
        logits: (896,).

    Returns:
        Boxes (896, 8, 2) in pixels of the input (centre, size, the six points), and scores (896,) in 0..1.
    """
    boxes = regressors.reshape(-1, 8, 2).astype(np.float64)
    centres = anchors() * SIZE
    boxes[:, 0] += centres
    boxes[:, 2:] += centres[:, None]
    return boxes, 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -100.0, 100.0)))


def blend(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average the best box with those that overlap it, weighted by score: MediaPipe's weighted suppression.

    Args:
        boxes: (B, 8, 2) as :func:`decode` gives them.
        scores: (B,). Boxes that score less than half of the best do not count.

    Returns:
        (8, 2).
    """
    best = int(scores.argmax())
    sizes = np.maximum(boxes[:, 1], 0.0)
    low, high = boxes[:, 0] - sizes / 2, boxes[:, 0] + sizes / 2
    sides = np.minimum(high, high[best]) - np.maximum(low, low[best])
    shared = np.maximum(sides, 0.0).prod(axis=1)
    union = sizes.prod(axis=1) + sizes[best].prod() - shared
    chosen = (shared > OVERLAP * union) & (scores >= scores[best] / 2)
    chosen[best] = True
    return np.average(boxes[chosen], axis=0, weights=scores[chosen])


def detect(image: np.ndarray) -> Detection:
    """Return the most likely face; its score says how likely.

    Args:
        image: (H, W, 3) uint8 RGB of any size.

    Raises:
        ModelFileError: If the network cannot be had.
    """
    height, width = image.shape[:2]
    whole = Square(width / 2, height / 2, max(height, width) * (1 + 2 * PADDING))
    pixels = whole.cut(image, SIZE).astype(np.float32) / 127.5 - 1.0
    regressors, logits = models.network(models.DETECTOR)(pixels)
    boxes, scores = decode(regressors[0], logits[0, :, 0])
    face = blend(boxes, scores)
    places = whole.back(face, SIZE)
    return Detection(
        score=float(scores.max()),
        centre=places[0],
        size=face[1] * whole.side / SIZE,
        eyes=places[2:4],
    )
