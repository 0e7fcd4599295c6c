"""468 landmarks of the face in an image, by MediaPipe's networks run in OpenCV.

MediaPipe's own steps (``face_landmark_front_cpu.pbtxt``) with two changes for small pictures that a face fills: a
border of replicated pixels, and where the detector is unsure, the whole picture is tried as well, and what the landmark
network is surest of is taken. The square around a first set of landmarks gives the second one, which is returned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from ferlab.landmarks import detection, models
from ferlab.landmarks.crops import Square, around

COUNT = 468
SIZE = 192
MARGIN = 1.5  # side of the square over the face's, as in MediaPipe
SURE = 0.5  # detector scores from here on are believed (MediaPipe's own threshold)
# A face is there from this probability on. MediaPipe's graph says 0.1. Of 300 crops from two photographs without faces
# (scikit-learn's samples) 3 reach that and none 0.5; FER2013's PrivateTest loses 0.7 % of its images by it.
PRESENCE = 0.5
WHOLE = (1.1, 1.4)  # squares around the whole picture, over its longer side
_OUTER_CORNERS = (33, 263)  # of the subject's right and left eye


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """Landmarks of N images."""

    #: (N, 468, 3) float32, x and y in pixels of the image, (0, 0) its top left corner and (0.5, 0.5) the centre of its
    #: first pixel; they may lie outside. z in the same unit, smaller towards the camera. NaN where no face was found.
    points: np.ndarray
    found: np.ndarray  #: (N,) bool, whether there is a face
    score: np.ndarray  #: (N,) float32 in 0..1, the landmark network's probability that there is one

    def subset(self, index: np.ndarray) -> FaceLandmarks:
        """Return the images chosen by an integer index (M,) or a boolean one (N,)."""
        return FaceLandmarks(self.points[index], self.found[index], self.score[index])


def extract(images: np.ndarray, progress: bool = True) -> FaceLandmarks:
    """Find the landmarks of one face in each image (N, H, W, 1 or 3), uint8, any size; it counts from a score of 0.5.

    ValueError for images of another type or shape; ModelFileError without the networks says where to put them.
    """
    shape = images.shape
    if len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape[1:] or images.dtype != np.uint8:
        raise ValueError(
            f"Images must be uint8 of shape (N, H, W, 1 or 3), not {images.dtype} of shape {shape}."
        )
    points = np.full((len(images), COUNT, 3), np.nan, np.float32)
    score = np.zeros(len(images), np.float32)
    for row, image in enumerate(tqdm(images, desc="Landmarks", unit="face", disable=not progress)):
        colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        found, score[row] = _face(np.ascontiguousarray(colour))
        if score[row] >= PRESENCE:
            points[row] = found
    return FaceLandmarks(points, score >= PRESENCE, score)


def _face(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the landmarks (468, 3) and probability of the face in the detector's square, else of the likeliest."""
    box, sure = detection.detect(image)
    looks = []
    if MARGIN * box.side >= 1.0:
        looks.append(_refined(image, replace(box, side=MARGIN * box.side)))
        if sure >= SURE and looks[0][1] >= PRESENCE:
            return looks[0]
    height, width = image.shape[:2]
    for factor in WHOLE:
        looks.append(_refined(image, Square(width / 2, height / 2, factor * max(height, width))))
    return max(looks, key=lambda look: look[1])


def _refined(image: np.ndarray, square: Square) -> tuple[np.ndarray, float]:
    """Return landmarks and probability after a second look at the square around the first landmarks."""
    points, score = _look(image, square)
    flat = points[:, :2]
    closer = around(flat, *flat[list(_OUTER_CORNERS)], MARGIN)
    return _look(image, closer) if closer.side >= 1.0 else (points, score)


def _look(image: np.ndarray, square: Square) -> tuple[np.ndarray, float]:
    """Run the landmark network on a square: points (468, 3) in pixels of the image, and its probability."""
    pixels = square.cut(image, SIZE).astype(np.float32) / 255.0
    points, logit = models.network(models.LANDMARKS)(pixels)
    score = 1.0 / (1.0 + math.exp(-float(np.clip(logit.ravel()[0], -100.0, 100.0))))
    return square.back(points.reshape(COUNT, 3), SIZE), score
