"""What is cut out of a frame of CK+: the square around its 68 landmarks, or the one in the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fercore.datasets.reading import Box
from fercore.errors import DatasetError, DatasetNotFoundError

LANDMARKS = "Landmarks"
POINTS = 68
CROPS = ("auto", "landmarks", "centre")
MARGIN = 1.3  # side of the square, in units of the longer side of the landmarks' bounding box
_FARTHEST = 2000  # pixels; the images are 640 wide, and a landmark may lie a little outside


def resolve(crop: str, top: Path) -> str:
    """Return what a crop means for the tree under ``top``: ``"landmarks"`` or ``"centre"``.

    Args:
        crop: ``"landmarks"``, ``"centre"``, or ``"auto"`` for landmarks where the tree has their folder.
        top: The folder that may hold ``Landmarks``.

    Raises:
        ValueError: If there is no such crop.
        DatasetNotFoundError: If landmarks are asked for and there are none.
    """
    if crop not in CROPS:
        raise ValueError(f"crop={crop!r}: choose one of {', '.join(CROPS)}.")
    there = (top / LANDMARKS).is_dir()
    if crop == "landmarks" and not there:
        raise DatasetNotFoundError(
            f"{top / LANDMARKS} is not there. It comes in an archive of its own; put it beside the images, or pass "
            "crop='centre'."
        )
    return "landmarks" if there and crop != "centre" else "centre"


def landmark_file(frame: Path) -> Path:
    """Return where the landmarks of a frame lie: ``Landmarks/S005/001/S005_001_00000011_landmarks.txt``."""
    subject, sequence = frame.parts[-3:-1]
    return frame.parents[3] / LANDMARKS / subject / sequence / f"{frame.stem}_landmarks.txt"


def face_box(frame: Path, crop: str) -> Box | None:
    """Return what to cut out of a frame.

    Args:
        frame: ``…/cohn-kanade-images/S005/001/S005_001_00000011.png``.
        crop: As :func:`resolve` gives it.

    Returns:
        (left, upper, right, lower) in pixels: a square around the centre of the landmarks' bounding box, with
        :data:`MARGIN` times its longer side. None for ``"centre"``, the largest square in the middle of the frame.

    Raises:
        DatasetError: If the file of the landmarks is missing or damaged; names it.
    """
    if crop == "centre":
        return None
    points = _points(landmark_file(frame))
    low, high = points.min(axis=0), points.max(axis=0)
    (x, y), half = (low + high) / 2, MARGIN * (high - low).max() / 2
    return float(x - half), float(y - half), float(x + half), float(y + half)


def _points(path: Path) -> np.ndarray:
    """Read the (68, 2) landmarks, x and y in pixels."""
    remedy = "Copy it again from the archive, or pass crop='centre'."
    if not path.is_file():
        raise DatasetError(f"{path} is missing: every frame that is used needs its landmarks. {remedy}")
    try:
        lines = path.read_bytes().decode("ascii").strip().splitlines()
        points = np.array([[float(number) for number in line.split()] for line in lines])
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no table of numbers ({error}). {remedy}") from error
    if points.shape != (POINTS, 2):
        raise DatasetError(f"{path}: {len(lines)} lines instead of {POINTS} of x and y. {remedy}")
    if not (np.abs(points) <= _FARTHEST).all():  # NaN fails as well
        raise DatasetError(f"{path}: a landmark lies far outside the image. {remedy}")
    if not np.ptp(points, axis=0).any():
        raise DatasetError(f"{path}: all landmarks are the same point. {remedy}")
    return points
