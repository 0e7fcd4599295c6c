"""Landmarks of a dataset: found once, kept in chunks that survive a kill, and read ever after.

A chunk is one safetensors file ``<data folder>/.cache/landmarks-<dataset>-<key>/<chunk>.safetensors``. The key stands
for the networks and the code; the chunk's name for its pixels. So a subset of a dataset, whose checksum is that of the
whole, never gets the landmarks of other images.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fercore import checkpoints, datasets
from fercore.datasets.base import FaceDataset
from fercore.emotions import Emotion
from fercore.errors import CheckpointError
from ferlab import definitions
from ferlab.landmarks import extraction, models
from ferlab.landmarks.extraction import COUNT, FaceLandmarks

CHUNK = 1000  # images between two files: what a kill can cost


def landmarks_of(
    dataset: FaceDataset,
    index: np.ndarray | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> FaceLandmarks:
    """Return the landmarks of a dataset's images, from the dataset, the cache, or by finding them.

    The embedded faces bring their exact landmarks: then z is 0, every face is found, and its score is 1. Otherwise only
    the chunks of 1,000 images that hold an asked image and are not kept yet are computed.

    Args:
        dataset: The images.
        index: (M,) integers or (N,) bool, which images; all by default.
        folder: Where chunks are kept; ``.cache`` in the data folder by default.
        progress: Show a bar over the images that must be computed.

    Returns:
        Landmarks of the M images in the order of ``index``.

    Raises:
        ModelFileError: If something must be computed and the networks cannot be had.

    Warns:
        UserWarning: If a chunk cannot be kept (a read-only folder, a full disk); it is returned all the same.
    """
    rows = np.arange(len(dataset)) if index is None else np.arange(len(dataset))[index]
    if "landmarks" in dataset.extras:
        return _exact(dataset.extras["landmarks"][rows])
    root = datasets.data_root() / ".cache" if folder is None else Path(folder)
    place = root / f"landmarks-{dataset.name}-{key()[:12]}"
    result = FaceLandmarks(
        np.full((len(rows), COUNT, 3), np.nan, np.float32),
        np.zeros(len(rows), bool),
        np.zeros(len(rows), np.float32),
    )
    wanted = np.unique(rows // CHUNK)
    # Read before anything is computed, so that the bar shows what there is to do.
    kept = {chunk: _Chunk(dataset.images[chunk * CHUNK : (chunk + 1) * CHUNK], place) for chunk in wanted}
    missing = sum(len(chunk.images) for chunk in kept.values() if not chunk.path.exists())
    with tqdm(total=missing, desc="Landmarks", unit="face", disable=not progress or not missing) as bar:
        for number, chunk in kept.items():
            tensors = chunk.tensors(bar)
            own = np.flatnonzero(rows // CHUNK == number)
            inside = rows[own] - number * CHUNK
            result.points[own] = tensors["points"].numpy()[inside]
            result.found[own] = tensors["found"].numpy()[inside]
            result.score[own] = tensors["score"].numpy()[inside]
    return result


def coverage(found: np.ndarray, labels: np.ndarray) -> dict[Emotion, tuple[int, int]]:
    """Count the faces that were found: failures are not spread evenly over the emotions.

    Args:
        found: (N,) bool.
        labels: (N,) integers.

    Returns:
        Emotion -> (images with a face, all its images), of the emotions that occur, in canonical order.
    """
    return {
        Emotion(label): (int(found[labels == label].sum()), int((labels == label).sum()))
        for label in np.unique(labels)
    }


def key() -> str:
    """Return the SHA-256 of what decides landmarks besides the image: the networks and the code that runs them."""
    code = definitions.code(extraction.extract)
    content = "".join(model.sha256 for model in models.FILES) + code
    return hashlib.sha256(content.encode()).hexdigest()


def _exact(points: np.ndarray) -> FaceLandmarks:
    """Known landmarks (M, 468, 2) with z = 0."""
    flat = np.zeros((*points.shape[:2], 3), np.float32)
    flat[..., : points.shape[2]] = points
    return FaceLandmarks(flat, np.ones(len(flat), bool), np.ones(len(flat), np.float32))


class _Chunk:
    """Up to :data:`CHUNK` images, and the file that keeps their landmarks."""

    def __init__(self, images: np.ndarray, place: Path) -> None:
        content = hashlib.sha256(repr(images.shape).encode())
        content.update(np.ascontiguousarray(images))
        self.images, self.digest = images, content.hexdigest()
        self.path = place / f"{self.digest[:24]}.safetensors"

    def tensors(self, bar: tqdm) -> dict[str, Tensor]:
        """Return points, found and score; compute and keep them if they are not there or damaged."""
        if (kept := self._read()) is not None:
            return kept
        found = []
        for start in range(0, len(self.images), 50):  # so that the bar moves
            found.append(extraction.extract(self.images[start : start + 50], progress=False))
            bar.update(len(found[-1]))
        computed = {
            name: torch.from_numpy(np.concatenate([getattr(part, name) for part in found]))
            for name in ("points", "found", "score")
        }
        try:
            checkpoints.save(self.path, computed, {"images": self.digest})
        except OSError as error:
            warnings.warn(
                f"{self.path}: landmarks could not be kept ({error}); they will be found anew each time.",
                UserWarning,
                stacklevel=3,
            )
        return computed

    def _read(self) -> dict[str, Tensor] | None:
        if not self.path.exists():
            return None
        try:
            tensors, about = checkpoints.read(self.path)
        except CheckpointError:  # damaged: computed again and replaced
            return None
        return tensors if about.get("images") == self.digest else None
