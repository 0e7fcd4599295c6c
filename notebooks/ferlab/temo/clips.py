"""Landmark clips: short sequences of facial landmarks, normalised so that place, size and tilt of the head are gone.

How the second paper (arXiv 2407.14865) prepares its landmarks is not public; the normalisation is ours.
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
    """N clips of P points each, in time order from neutral to peak; a still image is a clip of one frame."""

    name: str  #: key of the dataset, e.g. ``"faces"``
    #: (N, T, P, C) float32, C = 2 (x right, y down) or 3 (with depth); frames from ``lengths`` on are zero. Facial
    #: landmarks are in units of the distance between the eyes, seen from the midpoint between them.
    points: np.ndarray
    labels: np.ndarray  #: (N,) int64 classes
    groups: np.ndarray  #: (N,) str; a group, e.g. a subject, never lies on both sides of a split
    lengths: np.ndarray  #: (N,) int64 in 1..T, frames of each clip that exist
    skipped: tuple[str, ...] = ()  #: what was left out and why, one sentence each
    coverage: dict[int, float] | None = None  #: share of the clips with landmarks by class; None if all have
    source: str = ""  #: where the clips came from, for people

    def __post_init__(self) -> None:
        """Check once, so that nothing downstream has to."""
        if self.points.ndim != 4 or not self.points.size:
            raise DatasetError(f"Clips are (N, T, P, C) and not empty; this array is {self.points.shape}.")
        counts = [len(self.points), len(self.labels), len(self.groups), len(self.lengths)]
        if len(set(counts)) > 1:
            raise DatasetError("{} clips, {} labels, {} groups and {} lengths: one of each.".format(*counts))
        frames = self.points.shape[1]
        if self.lengths.min() < 1 or self.lengths.max() > frames:
            raise DatasetError(f"Lengths are 1 to {frames}; leave clips without a face out.")
        if not np.isfinite(self.points).all():
            raise DatasetError(
                "Some landmarks are NaN or infinite. ferlab.temo.pack drops frames without a face."
            )

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.points)

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that occur, ascending."""
        return tuple(np.unique(self.labels).tolist())

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
        """Return the clips at ``frames`` equally spaced moments, linear between frames; first and last frame stay."""
        pairs = zip(self.points, self.lengths, strict=True)
        points = np.stack([_at(clip[:length], frames) for clip, length in pairs])
        return replace(self, points=points, lengths=np.full(len(self), frames, dtype=np.int64))


def _at(clip: np.ndarray, frames: int) -> np.ndarray:
    """Interpolate a clip (T, P, C) at ``frames`` moments; one moment is the last frame, the peak."""
    moments = np.linspace(0, len(clip) - 1, frames) if frames > 1 else np.array([len(clip) - 1.0])
    low = np.floor(moments).astype(int)
    high = np.minimum(low + 1, len(clip) - 1)
    share = (moments - low)[:, None, None].astype(clip.dtype)
    return (1 - share) * clip[low] + share * clip[high]


def normalise(points: np.ndarray) -> np.ndarray:
    """Remove place, size and roll of faces (..., 468, 2 or 3), x right and y down; the unit is the eyes' distance.

    The origin is midway between them. Yaw and pitch stay. DatasetError for other shapes or eyes that coincide.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim < 2 or points.shape[-2] != 468 or points.shape[-1] not in (2, 3):
        raise DatasetError(f"Landmarks are (..., 468, 2 or 3); this array is {points.shape}.")
    right, left = (points[..., list(eye), :].mean(axis=-2) for eye in (RIGHT_EYE, LEFT_EYE))
    axis = (left - right)[..., :2]
    distance = np.linalg.norm(axis, axis=-1)
    if not (distance > 0).all():  # also false for NaN
        raise DatasetError("A face has no distance between its eyes, or NaN: no face was found there.")
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
    """Normalise N clips, each (T_i, 468, 2 or 3), and put their frames with a face into one array of 2 or 3 ``dims``.

    ``found`` is bool (T_i,) a clip, by default: no NaN. DatasetError: no face anywhere, or NaN in a face.
    """
    if found is None:
        found = [np.isfinite(clip).all(axis=(1, 2)) for clip in clips]
    shown = [clip[np.asarray(there, dtype=bool), :, :dims] for clip, there in zip(clips, found, strict=True)]
    labels, lengths = np.array(labels, dtype=np.int64), np.array(list(map(len, shown)), dtype=np.int64)
    some = lengths > 0
    if not some.any():
        raise DatasetError(f"{name}: none of the {len(clips)} clips shows a face.")
    points = np.zeros((some.sum(), lengths.max(), 468, dims), dtype=np.float32)
    for row, clip in enumerate(clip for clip in shown if len(clip)):
        points[row, : len(clip)] = normalise(clip)
    frames, skipped = sum(map(len, found)), []
    if not some.all():
        skipped.append(f"clips without any face: {(~some).sum():,} of {len(clips):,}")
    if len(clips) < frames > lengths.sum():
        skipped.append(f"frames without a face: {frames - lengths.sum():,} of {frames:,}")
    covered = {int(label): float(some[labels == label].mean()) for label in np.unique(labels)}
    own = labels[some], np.array(groups, dtype=str)[some], lengths[some]
    return LandmarkClips(name, points, *own, skipped=tuple(skipped), coverage=covered)
