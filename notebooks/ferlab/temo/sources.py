"""Where landmark clips come from: embedded faces, sequences of CK+, still images, and tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fercore import datasets
from fercore.datasets import ckplus
from fercore.datasets.base import FaceDataset, content_checksum
from fercore.datasets.splits import identical
from fercore.emotions import EMOTIONS, Emotion
from ferlab import landmarks
from ferlab.faces import action_units, make_character, sample_expression, sample_scene
from ferlab.faces.scene import _PIVOT, CAMERA_DISTANCE, rotation
from ferlab.temo.clips import FRAMES, LandmarkClips, normalise, pack

# Standard deviation of what a landmark model adds, in distances between the eyes: MediaPipe's model on faces of 48
# pixels differs by 0.011 to 0.031 from itself on the same faces at full size.
NOISE = 0.02
DRIFT = 3.0  # degrees that the head turns during an embedded clip, standard deviation per axis


def from_faces(
    characters: int = 20,
    variants: int = 3,
    frames: int = FRAMES,
    seed: int = 0,
    dims: int = 2,
    noise: float = NOISE,
    weakest: float = 0.3,
    progress: bool = True,
) -> LandmarkClips:
    """Make clips of the embedded characters, undrawn: expressions rise from neutral to ``weakest``..1 of full.

    ``noise`` is the landmarks' standard deviation in eye distances. ValueError for numbers below 1 or negative noise.
    """
    if min(characters, variants, frames) < 1 or noise < 0:
        raise ValueError(f"{characters=}, {variants=}, {frames=}, {noise=}: at least 1, noise not negative.")
    jobs = [(c, e, v) for c in range(characters) for e in EMOTIONS for v in range(variants)]
    bar = tqdm(jobs, desc="Moving faces", unit="clip", disable=not progress)
    points = np.stack([_ramp(seed, *job, frames, weakest, noise) for job in bar])[..., :dims]
    return LandmarkClips(
        name="faces",
        points=points.astype(np.float32),
        labels=np.array([int(emotion) for _, emotion, _ in jobs], dtype=np.int64),
        groups=np.array([f"c{c:02d}" for c, _, _ in jobs]),
        lengths=np.full(len(jobs), frames, dtype=np.int64),
        source=f"moved here: {characters} characters x 7 emotions x {variants} clips, seed {seed}, noise {noise:g}",
    )


def _ramp(
    seed: int, index: int, emotion: Emotion, variant: int, frames: int, weakest: float, noise: float
) -> np.ndarray:
    """Return one clip, normalised landmarks (T, 468, 3)."""
    rng = np.random.default_rng([seed, index, int(emotion), variant, 1])
    peak = sample_expression(emotion, rng) * rng.uniform(weakest, 1.0)
    asymmetry, start = float(rng.uniform(-0.15, 0.15)), np.array(sample_scene(rng).pose)
    turn = rng.normal(0.0, DRIFT, size=3)
    person, clip = make_character(index, seed), []
    for moment in np.linspace(0.0, 1.0, frames) if frames > 1 else (1.0,):
        level = moment**2 * (3.0 - 2.0 * moment)  # as in ferlab.faces.clip: slow onset, slow apex
        moved = action_units.deform(person.vertices, level * peak, asymmetry)
        placed = (moved - _PIVOT) @ rotation(tuple(start + moment * turn)).T + _PIVOT
        shrink = CAMERA_DISTANCE / (CAMERA_DISTANCE - placed[:, 2:])
        clip.append(placed * shrink * (1.0, -1.0, -1.0))
    exact = normalise(np.stack(clip))
    # Measured landmarks are normalised by measured eyes, so once more.
    return normalise(exact + noise * rng.standard_normal(exact.shape))


def from_dataset(
    name: str,
    frames: int = FRAMES,
    dims: int = 2,
    most: int = 0,
    seed: int = 0,
    progress: bool = True,
    **embedded: Any,
) -> LandmarkClips:
    """Make clips of one length from "faces", "ckplus" (resampled) or others' images, at most ``most`` a class (0: all).

    UnknownNameError or DatasetNotFoundError without the dataset, FercoreError without the networks for landmarks.
    """
    if name == "faces":
        return from_faces(frames=frames, dims=dims, seed=seed, progress=progress, **embedded)
    if name == "ckplus":
        return from_ckplus(datasets.data_root(), dims=dims, progress=progress).resample(frames)
    data = datasets.load(name)
    drawn = data.subset(balanced(data.labels, most, seed)) if most else data
    found = landmarks.landmarks_of(drawn, progress=progress)
    return from_stills(drawn, found.points, found.found, dims=dims)


def from_stills(dataset: FaceDataset, points: np.ndarray, found: np.ndarray, dims: int = 2) -> LandmarkClips:
    """Make clips of one frame from landmarks (N, 468, 2 or 3) of a dataset's images, where there are any (N,)."""
    groups = dataset.subjects if dataset.subjects is not None else dataset.groups
    if groups is None:  # copies stay together
        groups = np.array([f"image {number}" for number in identical(dataset.images)])
    clips = pack(dataset.name, points[:, None], dataset.labels, groups, np.asarray(found)[:, None], dims)
    share = f"{len(clips):,} of {len(dataset):,} images have landmarks"
    return replace(clips, source=f"{dataset.source}; {share}")


def from_ckplus(
    root: str | Path, size: int = 192, contempt: bool = False, dims: int = 2, progress: bool = True
) -> LandmarkClips:
    """Make clips of the labelled sequences of CK+ in a data folder, from the neutral to the peak frame.

    Frames are read at ``size`` pixels. Clips have different lengths; groups are the subjects.
    """
    sequences, points, found = ckplus.sequences(root, contempt=contempt), [], []
    for sequence in tqdm(sequences, desc="Finding landmarks", unit="clip", disable=not progress):
        images = sequence.images(size)
        labels = np.full(len(images), int(sequence.label), dtype=np.int64)
        frames = FaceDataset("ckplus", "CK+", images, labels, content_checksum(images, labels))
        own = landmarks.landmarks_of(frames, progress=False)
        points.append(own.points)
        found.append(own.found)
    about = [int(sequence.label) for sequence in sequences], [sequence.subject for sequence in sequences]
    clips = pack("ckplus", points, *about, found, dims)
    return replace(clips, source=f"{len(clips)} of {len(sequences)} labelled sequences have landmarks")


def balanced(labels: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Draw at most ``most`` images of each class: sorted int64 indices."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(labels == label))[:most] for label in np.unique(labels)]
    return np.sort(np.concatenate(rows))


def from_table(name: str, values: np.ndarray, labels: np.ndarray) -> LandmarkClips:
    """Treat the columns of a table (N, P) as points of one coordinate in one frame: all else works on it too."""
    points, rows = np.asarray(values, dtype=np.float32)[:, None, :, None], np.arange(len(values))
    return LandmarkClips(name, points, labels.astype(np.int64), rows.astype(str), np.ones_like(rows))
