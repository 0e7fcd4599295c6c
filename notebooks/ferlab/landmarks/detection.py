"""The most likely face of an image, by MediaPipe's short-range detector (BlazeFace)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ferlab.landmarks import models
from ferlab.landmarks.crops import Square

SIZE = 128
PADDING = 0.25  # of the longer side, on each side: faces that fill the picture are found more often (see extraction)
OVERLAP = 0.3  # boxes that overlap the best one by more are averaged with it
_LAYERS = ((16, 2), (8, 6))  # cells a side, anchors a cell: strides 8, 16, 16, 16 with two anchors each


@cache
def anchors() -> np.ndarray:
    """Return the centres of the 896 anchors, (896, 2) float64 in 0..1, by row, column and layer.

    They are those of MediaPipe's ``face_detection_short_range_common.pbtxt``.
    """
    grids = []
    for cells, count in _LAYERS:
        places = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(places, places, indexing="ij")
        grids.append(np.repeat(np.stack((x, y), axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(grids)


def decode(regressors: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the network's outputs, (896, 16) in pixels and (896,), into boxes (896, 8, 2) and scores (896,) in 0..1.

    A box is centre, size, right eye, left eye, nose, mouth, right ear, left ear; places are relative to the anchor.
    """
    boxes = regressors.reshape(-1, 8, 2).astype(np.float64)
    centres = anchors() * SIZE
    boxes[:, 0] += centres
    boxes[:, 2:] += centres[:, None]
    return boxes, 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -100.0, 100.0)))


def blend(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average the best of boxes (B, 8, 2) with those that overlap it and score half as much, by score (B,): (8, 2)."""
    best = int(scores.argmax())
    sizes = np.maximum(boxes[:, 1], 0.0)
    low, high = boxes[:, 0] - sizes / 2, boxes[:, 0] + sizes / 2
    sides = np.minimum(high, high[best]) - np.maximum(low, low[best])
    shared = np.maximum(sides, 0.0).prod(axis=1)
    union = sizes.prod(axis=1) + sizes[best].prod() - shared
    chosen = (shared > OVERLAP * union) & (scores >= scores[best] / 2)
    chosen[best] = True
    return np.average(boxes[chosen], axis=0, weights=scores[chosen])


def detect(image: np.ndarray) -> tuple[Square, float]:
    """Return the most likely face of an image (H, W, 3) uint8 RGB, level with its eyes, and how likely it is."""
    height, width = image.shape[:2]
    whole = Square(width / 2, height / 2, max(height, width) * (1 + 2 * PADDING))
    pixels = whole.cut(image, SIZE).astype(np.float32) / 127.5 - 1.0
    regressors, logits = models.network(models.DETECTOR)(pixels)
    boxes, scores = decode(regressors[0], logits[0, :, 0])
    face = blend(boxes, scores)
    (x, y), _, right_eye, left_eye = whole.back(face, SIZE)[:4]
    dx, dy = left_eye - right_eye
    side = float((face[1] * whole.side / SIZE).max())
    return Square(float(x), float(y), side, math.atan2(dy, dx)), float(scores.max())
