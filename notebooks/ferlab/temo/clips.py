"""Landmark clips: short sequences of facial landmarks, normalised so that place, size and tilt of the head are gone.

The second paper feeds its networks with the 468 landmarks of the frames of a video (arXiv 2407.14865, abstract and
summary). How it prepares them is not public; the normalisation here is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fercore.datasets import DATASETS
from fercore.errors import DatasetError

# The corners of the subject's right and left eye on the 468-vertex mesh: what moves least with an expression.
RIGHT_EYE, LEFT_EYE = (33, 133), (263, 362)
FRAMES = 8  # frames that clips are resampled to


@dataclass(frozen=True, eq=False)
class LandmarkClips:
    """N clips of P points each, in time order from neutral to peak; a still image is a clip of one frame.

    Attributes:
        name: Key of the dataset, e.g. ``"faces"``.
        points: (N, T, P, C) float32, C = 2 (x right, y down) or 3 (with depth); frames from ``lengths`` on are zero.
            Facial landmarks are in units of the distance between the eyes, seen from the midpoint between them.
        labels: (N,) int64 classes.
        groups: (N,) str: clips of a group (a subject, copies of an image) never lie on both sides of a split.
        lengths: (N,) int64 in 1..T: frames of each clip that exist.
        skipped: What was left out and why, one sentence each.
        coverage: Share of each class's clips that have landmarks, by class; None where all have by construction.
        source: Where the clips came from, for people.

    Raises:
        DatasetError: If shapes do not fit together, a length is out of range, or a landmark is NaN or infinite.
    """

    name: str
    points: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    lengths: np.ndarray
    skipped: tuple[str, ...] = ()
    coverage: dict[int, float] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Check once, so that nothing downstream has to."""
        if self.points.ndim != 4 or not self.points.size:
            raise DatasetError(f"Clips are (N, T, P, C) and not empty; this array is {self.points.shape}.")
        for column in ("labels", "groups", "lengths"):
            if len(getattr(self, column)) != len(self.points):
                raise DatasetError(
                    f"{len(getattr(self, column))} {column} for {len(self.points)} clips: one of each is needed."
                )
        outside = np.flatnonzero((self.lengths < 1) | (self.lengths > self.points.shape[1]))
        if outside.size:
            raise DatasetError(
                f"Clip {outside[0]} has {self.lengths[outside[0]]} frames; lengths are 1 to {self.points.shape[1]}. "
                "Leave clips without a face out."
            )
        broken = np.flatnonzero(~np.isfinite(self.points).all(axis=(1, 2, 3)))
        if broken.size:
            raise DatasetError(
                f"{broken.size} clips have landmarks that are NaN or infinite, clip {broken[0]} first. Drop the frames "
                "in which no face was found (ferlab.temo.pack does)."
            )

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.points)

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that occur, ascending."""
        return tuple(int(label) for label in np.unique(self.labels))

    @property
    def title(self) -> str:
        """Name for people, the dataset's title, or the name where there is no such dataset."""
        return DATASETS.get(self.name, (self.name, ""))[0]

    @property
    def stills(self) -> bool:
        """Whether every clip is a single frame."""
        return self.points.shape[1] == 1

    @property
    def checksum(self) -> str:
        """``"sha256:<hex>"`` of points, labels, groups and lengths."""
        content = hashlib.sha256(repr(self.points.shape).encode())
        for column in (self.points, self.labels, self.lengths):
            content.update(np.ascontiguousarray(column))
        content.update("\n".join(self.groups.tolist()).encode())
        return f"sha256:{content.hexdigest()}"

    def mask(self) -> np.ndarray:
        """Return which frames exist, bool array (N, T)."""
        return np.arange(self.points.shape[1]) < self.lengths[:, None]

    def subset(self, index: np.ndarray) -> LandmarkClips:
        """Return the clips chosen by an integer index (M,) or a boolean one (N,)."""
        columns = ("points", "labels", "groups", "lengths")
        return replace(self, **{name: getattr(self, name)[index] for name in columns})

    def resample(self, frames: int = FRAMES) -> LandmarkClips:
        """Return the clips at ``frames`` equally spaced moments, linear between frames; first and last frame stay.

        Raises:
            ValueError: If ``frames`` is not positive.
        """
        if frames < 1:
            raise ValueError(f"A clip has at least 1 frame, not {frames}.")
        points = np.stack(
            [_at(clip[:length], frames) for clip, length in zip(self.points, self.lengths, strict=True)]
        )
        return replace(self, points=points, lengths=np.full(len(self), frames, dtype=np.int64))


def _at(clip: np.ndarray, frames: int) -> np.ndarray:
    """Interpolate a clip (T, P, C) at ``frames`` moments; one moment is the last frame, the peak."""
    moments = np.linspace(0, len(clip) - 1, frames) if frames > 1 else np.array([len(clip) - 1.0])
    low = np.floor(moments).astype(int)
    high = np.minimum(low + 1, len(clip) - 1)
    share = (moments - low)[:, None, None].astype(clip.dtype)
    return (1 - share) * clip[low] + share * clip[high]


def normalise(points: np.ndarray) -> np.ndarray:
    """Remove place, size and roll of every face.

    The midpoint between the eyes becomes the origin, the line from the subject's right to its left eye the x axis, and
    the distance between the eyes, in the image plane, the unit. An eye is the mean of its two corners. Yaw and pitch
    stay: without a model of the head they cannot be told from the shape of the face.

    Args:
        points: (..., 468, 2 or 3), x right and y down in any unit, depth in the same unit.

    Returns:
        The same shape, float64.

    Raises:
        DatasetError: If there are not 468 points of 2 or 3 coordinates, or the eyes of a face coincide.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim < 2 or points.shape[-2] != 468 or points.shape[-1] not in (2, 3):
        raise DatasetError(f"Landmarks are (..., 468, 2 or 3); this array is {points.shape}.")
    right, left = (points[..., list(eye), :].mean(axis=-2) for eye in (RIGHT_EYE, LEFT_EYE))
    axis = (left - right)[..., :2]
    distance = np.linalg.norm(axis, axis=-1)
    if not (distance > 0).all():  # also false for NaN
        raise DatasetError(
            f"{(~(distance > 0)).sum()} faces have no distance between the eyes, or landmarks that are NaN: no face "
            "was found there. Leave them out."
        )
    cosine, sine = np.moveaxis(axis / distance[..., None], -1, 0)
    moved = points - ((left + right) / 2)[..., None, :]
    x, y = moved[..., 0], moved[..., 1]
    turned = [cosine[..., None] * x + sine[..., None] * y, cosine[..., None] * y - sine[..., None] * x]
    return np.stack([*turned, *np.moveaxis(moved[..., 2:], -1, 0)], axis=-1) / distance[..., None, None]


def pack(
    name: str,
    clips: Sequence[np.ndarray],
    labels: Sequence[int],
    groups: Sequence[str],
    found: Sequence[np.ndarray] | None = None,
    dims: int = 2,
) -> LandmarkClips:
    """Normalise clips of any lengths and put them into one array.

    Frames without a face are dropped; clips without any face are left out and counted, by class too.

    Args:
        name: Key of the dataset.
        clips: N arrays (T_i, 468, 2 or 3).
        labels: N classes.
        groups: N names, see :class:`LandmarkClips`.
        found: N bool arrays (T_i,): the frames that have a face; by default those without NaN.
        dims: Coordinates to keep, 2 or 3.

    Returns:
        The clips that show a face, as long as the longest of them.

    Raises:
        DatasetError: If the numbers of clips, labels, groups and frames differ, no clip has a face, a landmark in a
            frame with a face is NaN, or a clip has fewer coordinates than ``dims``.
        ValueError: If ``dims`` is neither 2 nor 3.
    """
    if dims not in (2, 3):
        raise ValueError(f"dims={dims!r}: a landmark has 2 or 3 coordinates.")
    if found is None:
        found = [np.isfinite(clip).all(axis=(1, 2)) for clip in clips]
    if not len(clips) == len(labels) == len(groups) == len(found):
        raise DatasetError(
            f"{len(clips)} clips, {len(labels)} labels, {len(groups)} groups and {len(found)} lists of found faces."
        )
    kept = [_kept(clip, there, dims) for clip, there in zip(clips, found, strict=True)]
    lengths, labels = np.array([len(clip) for clip in kept], dtype=np.int64), np.array(labels, dtype=np.int64)
    some = lengths > 0
    if not some.any():
        raise DatasetError(f"{name}: none of the {len(kept)} clips shows a face.")
    points = np.zeros((some.sum(), lengths.max(), 468, dims), dtype=np.float32)
    for row, clip in enumerate(clip for clip in kept if len(clip)):
        points[row, : len(clip)] = normalise(clip)
    frames = sum(len(there) for there in found)
    told = (
        (f"clips without any face: {(~some).sum():,} of {len(kept):,}", (~some).any()),
        (
            f"frames without a face: {frames - lengths.sum():,} of {frames:,}",
            len(kept) < frames > lengths.sum(),
        ),
    )
    covered = {int(label): float(some[labels == label].mean()) for label in np.unique(labels)}
    return LandmarkClips(
        name=name,
        points=points,
        labels=labels[some],
        groups=np.array(groups, dtype=str)[some],
        lengths=lengths[some],
        skipped=tuple(text for text, applies in told if applies),
        coverage=covered,
    )


def _kept(clip: np.ndarray, there: np.ndarray, dims: int) -> np.ndarray:
    """Return the frames of a clip that show a face, (t, 468, dims)."""
    if len(clip) != len(there) or clip.shape[-1] < dims:
        raise DatasetError(
            f"A clip of shape {clip.shape} does not go with {len(there)} frames of {dims} coordinates."
        )
    return np.asarray(clip)[np.asarray(there, dtype=bool), :, :dims]
