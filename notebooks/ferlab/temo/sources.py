"""Where landmark clips come from: embedded faces, sequences of CK+, and still images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fercore import datasets
from fercore.datasets.base import FaceDataset, content_checksum
from fercore.datasets.splits import identical
from fercore.emotions import EMOTIONS, Emotion
from fercore.errors import DatasetError
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
    """Make clips of the embedded characters, landmarks only, without drawing them.

    An expression is drawn as for the pictures (``ferlab.faces.sample_expression``), made weaker by a factor that
    is uniform in ``weakest``..1, and rises smoothly from neutral. The head has a random pose and turns a little during
    the clip. A neutral clip moves only its head. Then comes the noise of a landmark model.

    Args:
        characters: Number of characters; they are the groups.
        variants: Clips of each character with each of the seven emotions.
        frames: T.
        seed: Of characters, expressions, poses and noise.
        dims: 2, or 3 with depth.
        noise: Standard deviation of independent noise on every coordinate, in distances between the eyes; 0 gives the
            exact landmarks.
        weakest: Least factor on an expression, 0..1.
        progress: Show a bar.

    Returns:
        characters x 7 x variants clips, by character, emotion and variant.

    Raises:
        ValueError: If a number is not positive, or ``noise`` or ``weakest`` out of range.
    """
    from tqdm import tqdm

    if min(characters, variants, frames) < 1 or noise < 0 or not 0 <= weakest <= 1 or dims not in (2, 3):
        raise ValueError(
            f"characters={characters}, variants={variants} and frames={frames} must be at least 1, noise={noise} not "
            f"negative, weakest={weakest} in 0..1, dims={dims} 2 or 3."
        )
    jobs = [(c, e, v) for c in range(characters) for e in EMOTIONS for v in range(variants)]
    bar = tqdm(jobs, desc="Moving faces", unit="clip", disable=not progress)
    points = np.stack([_ramp(seed, job, frames, weakest, noise) for job in bar])[..., :dims]
    return LandmarkClips(
        name="faces",
        points=points.astype(np.float32),
        labels=np.array([int(emotion) for _, emotion, _ in jobs], dtype=np.int64),
        groups=np.array([f"c{c:02d}" for c, _, _ in jobs]),
        lengths=np.full(len(jobs), frames, dtype=np.int64),
        source=f"moved here: {characters} characters x 7 emotions x {variants} clips, seed {seed}, noise {noise:g}",
    )


def _ramp(seed: int, job: tuple[int, Emotion, int], frames: int, weakest: float, noise: float) -> np.ndarray:
    """Return one clip, normalised landmarks (T, 468, 3)."""
    from ferlab.faces import action_units, make_character, sample_expression, sample_scene
    from ferlab.faces.scene import _PIVOT, CAMERA_DISTANCE, rotation

    index, emotion, variant = job
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
    """Make the clips of a dataset by its name, all of one length.

    Args:
        name: ``"faces"``: :func:`from_faces`. ``"ckplus"``: the sequences, resampled to ``frames``. Any other: its
            images as clips of one frame.
        frames: T of clips that move.
        dims: Coordinates, 2 or 3.
        most: Images per class that are drawn from a dataset of stills; 0 takes all.
        seed: Of what is drawn.
        progress: Show bars.
        **embedded: Further arguments of :func:`from_faces`.

    Returns:
        The clips, of ``frames`` frames, or of one where they are stills.

    Raises:
        UnknownNameError: If there is no such dataset.
        DatasetNotFoundError: If its files are absent.
        FercoreError: If the networks that find landmarks cannot be had; says where to put them.
    """
    if name == "faces":
        return from_faces(frames=frames, dims=dims, seed=seed, progress=progress, **embedded)
    if name == "ckplus":
        return from_ckplus(datasets.data_root(), dims=dims, progress=progress).resample(frames)
    from ferlab.landmarks import landmarks_of

    data = datasets.load(name)
    drawn = data.subset(balanced(data.labels, most, seed)) if most else data
    found = landmarks_of(drawn, progress=progress)
    return from_stills(drawn, found.points, found.found, dims=dims)


def from_stills(
    dataset: FaceDataset,
    points: np.ndarray,
    found: np.ndarray,
    index: np.ndarray | None = None,
    dims: int = 2,
) -> LandmarkClips:
    """Make clips of one frame from still images.

    Args:
        dataset: The images' labels, and who is on them.
        points: (M, 468, 2 or 3) landmarks of the images ``index``.
        found: (M,) bool: images in which a face was found; the others are left out and counted by class.
        index: (M,) integers, which images of the dataset; all by default.
        dims: Coordinates to keep.

    Returns:
        The clips. Their groups are the subjects, else the dataset's groups, else images with equal pixels.

    Raises:
        DatasetError: If the numbers of images and landmarks differ, or no face was found at all.
    """
    index = np.arange(len(dataset)) if index is None else np.asarray(index)
    if len(index) != len(points):
        raise DatasetError(f"{len(points)} faces' landmarks for {len(index)} images of {dataset.title}.")
    groups = next((g for g in (dataset.subjects, dataset.groups) if g is not None), None)
    if groups is None:
        groups = np.array([f"image {number}" for number in identical(dataset.images[index])])
    else:
        groups = groups[index]
    there = np.asarray(found, dtype=bool)[:, None]
    clips = pack(dataset.name, np.asarray(points)[:, None], dataset.labels[index], groups, there, dims)
    return replace(clips, source=f"{dataset.source}; {len(clips):,} of {len(index):,} images have landmarks")


def from_ckplus(
    root: str | Path, size: int = 192, contempt: bool = False, dims: int = 2, progress: bool = True
) -> LandmarkClips:
    """Make clips of the labelled sequences of CK+, from the neutral to the peak frame.

    Landmarks are kept as they are found (:func:`ferlab.landmarks.landmarks_of`), so a run that is stopped goes on.

    Args:
        root: The data folder.
        size: Height and width that the frames are read at, pixels.
        contempt: Take also the sequences of contempt.
        dims: Coordinates to keep.
        progress: Show a bar.

    Returns:
        Clips of different lengths; groups are the subjects.

    Raises:
        DatasetNotFoundError: If CK+ is not there.
        DatasetError: If a file is damaged, or no face was found.
        FercoreError: If the networks that find landmarks cannot be had.
    """
    from tqdm import tqdm

    from fercore.datasets import ckplus

    sequences = ckplus.sequences(root, contempt=contempt)
    bar = tqdm(sequences, desc="Finding landmarks", unit="clip", disable=not progress)
    points, found = zip(*(_landmarks(sequence, size) for sequence in bar), strict=True)
    labels = [int(sequence.label) for sequence in sequences]
    clips = pack("ckplus", points, labels, [sequence.subject for sequence in sequences], found, dims)
    return replace(clips, source=f"{len(clips)} of {len(sequences)} labelled sequences have landmarks")


def _landmarks(sequence: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the landmarks (T, 468, 3) of a sequence of CK+, and where there are any (T,)."""
    from ferlab.landmarks import landmarks_of

    images = sequence.images(size)
    labels = np.full(len(images), int(sequence.label), dtype=np.int64)
    frames = FaceDataset("ckplus", "CK+", images, labels, content_checksum(images, labels))
    result = landmarks_of(frames, progress=False)
    return result.points, result.found


def balanced(labels: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Draw at most ``most`` images of each class: sorted int64 indices; 0 takes all."""
    rng, chosen = np.random.default_rng(seed), []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(rng.permutation(rows)[:most] if most else rows)
    return np.sort(np.concatenate(chosen))


def from_table(
    name: str, values: np.ndarray, labels: np.ndarray, groups: Sequence[Any] | None = None
) -> LandmarkClips:
    """Treat the columns of any table as points of one coordinate in one frame, so that all else works on it too.

    Args:
        name: Name of the table.
        values: (N, P) numbers, finite.
        labels: (N,) classes.
        groups: (N,) names of rows that belong together; every row alone by default.

    Returns:
        N clips of one frame with P points of one coordinate.
    """
    groups = np.arange(len(values)) if groups is None else groups
    points = np.asarray(values, dtype=np.float32)[:, None, :, None]
    one = np.ones(len(values), dtype=np.int64)
    return LandmarkClips(name, points, np.asarray(labels, dtype=np.int64), np.asarray(groups, dtype=str), one)
