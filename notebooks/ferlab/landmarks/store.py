"""Landmarks of a dataset, kept in chunks that survive a kill; the key stands for pixels, networks and code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fercore import datasets
from fercore.datasets.base import FaceDataset
from fercore.emotions import Emotion
from ferlab import definitions
from ferlab.kept import Kept, kept, key_of
from ferlab.landmarks import extraction, models
from ferlab.landmarks.extraction import FaceLandmarks

CHUNK = 1000  # images between two files: what a kill can cost
STEP = 50  # images between two moves of the bar


def landmarks_of(
    dataset: FaceDataset,
    index: np.ndarray | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> FaceLandmarks:
    """Return the landmarks of images ``index``, (M,) integers or (N,) bool, by default all; ``folder`` keeps them.

    Embedded faces bring exact ones: z 0, score 1. Warns where none can be kept; ModelFileError without the networks.
    """
    rows = np.arange(len(dataset)) if index is None else np.arange(len(dataset))[index]
    if "landmarks" in dataset.extras:
        exact = dataset.extras["landmarks"][rows].astype(np.float32)
        flat = np.concatenate([exact, np.zeros_like(exact[..., :1])], axis=2)
        return FaceLandmarks(flat, np.ones(len(rows), bool), np.ones(len(rows), np.float32))
    root = datasets.data_root() / ".cache" if folder is None else Path(folder)
    place = root / f"landmarks-{dataset.name}"
    numbers, chunk = np.unique(rows // CHUNK, return_inverse=True)
    parts = [dataset.images[number * CHUNK : (number + 1) * CHUNK] for number in numbers]
    code = [*(model.sha256 for model in models.FILES), definitions.code(extraction.extract)]
    keys = [key_of(part, code) for part in parts]
    paths = [place / f"{key[:24]}.safetensors" for key in keys]
    missing = sum(len(part) for part, path in zip(parts, paths, strict=True) if not path.exists())
    found = [extraction.extract(dataset.images[:0], progress=False)]
    with tqdm(total=missing, desc="Landmarks", unit="face", disable=not progress or not missing) as bar:
        for part, path, key in zip(parts, paths, keys, strict=True):
            tensors, _ = kept(path, key, lambda part=part: _find(part, bar))
            found.append(FaceLandmarks(**{name: value.numpy() for name, value in tensors.items()}))
    return _joined(found).subset(chunk * CHUNK + rows % CHUNK)  # all chunks are full, but for the last one


def _find(images: np.ndarray, bar: tqdm) -> Kept:
    """Find the landmarks of a chunk's images, step by step so that the bar moves."""
    found = []
    for start in range(0, len(images), STEP):
        found.append(extraction.extract(images[start : start + STEP], progress=False))
        bar.update(len(found[-1].found))
    return {name: torch.from_numpy(value) for name, value in vars(_joined(found)).items()}, {}


def _joined(parts: list[FaceLandmarks]) -> FaceLandmarks:
    columns = ("points", "found", "score")
    return FaceLandmarks(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def coverage(found: np.ndarray, labels: np.ndarray) -> dict[Emotion, tuple[int, int]]:
    """Count how many faces were found, bool (N,), and how many there are, by emotion: labels (N,)."""
    faces = {label: found[labels == label] for label in np.unique(labels)}
    return {Emotion(label): (int(own.sum()), len(own)) for label, own in faces.items()}
