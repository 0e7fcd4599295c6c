"""CK+ (Lucey et al. 2010): 593 posed sequences of 123 people, from the neutral face to the peak of an expression.

The layout is the official one. An emotion file holds one number for a whole sequence; 327 sequences have one::

    cohn-kanade-images/S005/001/S005_001_00000011.png
    Emotion/S005/001/S005_001_00000011_emotion.txt
    Landmarks/S005/001/S005_001_00000011_landmarks.txt    (optional: 68 lines of x and y)

The release gives no still images. The usual choice, and the paper's, is the last three frames of each sequence with an
emotion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fercore.datasets.base import About, FaceDataset, compare
from fercore.datasets.folders import (
    Box,
    Found,
    Item,
    check_size,
    leaves,
    named,
    read_found,
    read_image,
    top_folder,
)
from fercore.emotions import Emotion
from fercore.errors import DatasetError, DatasetNotFoundError

TOP, IMAGES, EMOTION, LANDMARKS = "CK+", "cohn-kanade-images", "Emotion", "Landmarks"
FRAMES = 3
POINTS = 68
CROPS = ("auto", "landmarks", "centre")
MARGIN = 1.3  # side of the square, in units of the longer side of the landmarks' bounding box
CODES = {  # in the emotion files; 0, neutral, does not occur
    1: Emotion.ANGRY,
    2: Emotion.CONTEMPT,
    3: Emotion.DISGUST,
    4: Emotion.FEAR,
    5: Emotion.HAPPY,
    6: Emotion.SAD,
    7: Emotion.SURPRISE,
}
# Labelled sequences per emotion in the release, in the order of its codes.
SEQUENCES = dict(zip(CODES.values(), (45, 18, 59, 25, 69, 28, 83), strict=True))
RELEASE = {
    "sequences": 593,
    "subjects": 123,
    "sequences with an emotion file": 327,
    "subjects with an emotion file": 118,
}
ABOUT = About(
    name="ckplus",
    title="CK+",
    layout=(f"the folders {IMAGES}/ and {EMOTION}/",),
    source="Ask the University of Pittsburgh for it at jeffcohn.net.",
    terms="for research, after signing the agreement, no redistribution; the release names the subjects who may be "
    "shown, and publications cite Lucey et al. 2010.",
    counts={
        "all": {emotion: FRAMES * n for emotion, n in SEQUENCES.items() if emotion is not Emotion.CONTEMPT}
    },
    citation="lucey2010extended",
)
_LEVELS = [("S[0-9]{3}", "a subject, S005 say"), ("S[0-9]{3}/[0-9]{3}", "a sequence, 001 say")]
_FRAME = re.compile(r"(S[0-9]{3}_[0-9]{3})_([0-9]+)\.png")
_LABEL = re.compile(r"(S[0-9]{3}_[0-9]{3})_[0-9]+_emotion\.txt")
_FARTHEST = 2000  # pixels; the images are 640 wide, and a landmark may lie a little outside
_AGAIN = "Copy the sequence again, or pass verify=False to use it as it is."


@dataclass(frozen=True)
class Sequence:
    """One recording from the neutral face to the peak: name ``"S005_001"``, subject ``"S005"``, frames in their order.

    ``label`` and the emotion file that it is from are None where the release gives none.
    """

    name: str
    subject: str
    label: Emotion | None
    paths: tuple[Path, ...]
    emotion_file: Path | None = None

    def images(self, size: int = 48, crop: str = "auto") -> np.ndarray:
        """Read the frames, each cut by its own landmarks: (T, size, size, 1) uint8; options as in :func:`load`."""
        check_size(size)
        crop = _resolve(crop, self.paths[0].parents[3])
        return np.stack([read_image(path, size, 1, face_box(path, crop)) for path in self.paths])


def load(
    root: str | Path,
    size: int = 48,
    verify: bool = True,
    progress: bool = True,
    contempt: bool = False,
    neutral: bool = False,
    frames: int = FRAMES,
    crop: str = "auto",
) -> FaceDataset:
    """Read the peak frames of the labelled sequences of CK+: (927, size, size, 1) uint8, (981, …) with contempt.

    Subjects are ``"S005"``, groups are the sequences, ``"S005_001"``. ``neutral`` takes also the first frame of each,
    ``frames`` is how many are taken from the end. ``crop="landmarks"`` cuts a square around the landmarks, 1.3 times as
    wide as the longer side of their bounding box, ``"centre"`` takes the largest square in the middle, and ``"auto"``
    goes by landmarks where there are any. ``verify`` checks also that each sequence ends with the frame of its emotion
    file and has no gap among the frames that are taken from its end.
    """
    check_size(size)
    if type(frames) is not int or frames < 1:
        raise ValueError(f"frames={frames!r}: a whole number from 1.")
    top = _top(root)
    crop = _resolve(crop, top)
    every, strays = _scan(top)
    labelled = [sequence for sequence in every if sequence.label is not None]
    chosen = [sequence for sequence in labelled if contempt or sequence.label is not Emotion.CONTEMPT]
    items = [item for sequence in chosen for item in _items(sequence, frames, neutral, crop)]

    skipped = []
    if unlabelled := len(every) - len(labelled):
        skipped.append(f"sequences without an emotion file, as the release has them: {unlabelled}")
    if left_out := len(labelled) - len(chosen):
        skipped.append(f"sequences of contempt: {left_out} (contempt=True reads them)")
    what = f"last {frames} frames" + (" and the first" if neutral else "")
    cut = "cut by landmarks" if crop == "landmarks" else "largest square in the middle"
    source = f"{what} of {len(chosen)} labelled sequences of {IMAGES}/, {cut}"
    also = [path for sequence in every for path in sequence.paths]
    also += [sequence.emotion_file for sequence in labelled]
    also += [_landmark_file(item.path) for item in items if item.box]
    found = Found(items, strays, source, tuple(skipped), also)

    def check() -> None:
        official = {e: frames * n for e, n in SEQUENCES.items() if contempt or e is not Emotion.CONTEMPT}
        if neutral:
            official[Emotion.NEUTRAL] = sum(official.values()) // frames
        replace(ABOUT, counts={"all": official}).check(top, found.labels)
        subjects = [{sequence.subject for sequence in group} for group in (every, labelled)]
        numbers = map(len, (every, subjects[0], labelled, subjects[1]))
        compare(top, dict(zip(RELEASE, numbers, strict=True)), RELEASE)
        for sequence in chosen:
            _check_peak(sequence, frames)

    options = {"contempt": contempt, "neutral": neutral, "frames": frames, "crop": crop}
    return read_found(ABOUT, root, found, check, size, 1, verify=verify, progress=progress, **options)


def sequences(root: str | Path, contempt: bool = False, labelled: bool = True) -> list[Sequence]:
    """List whole clips by name, without reading an image: by default the 309 sequences of six emotions.

    ``labelled=False`` lists also the 266 without an emotion, whose label is None.
    """
    left_out = [None] * labelled + [Emotion.CONTEMPT] * (not contempt)
    return [sequence for sequence in _scan(_top(root))[0] if sequence.label not in left_out]


def _top(root: str | Path) -> Path:
    """Return the folder that holds the images and the emotions."""
    top = top_folder(ABOUT, root, TOP, [IMAGES])
    if not (top / EMOTION).is_dir():
        missing = f"the folder {EMOTION}/ beside {IMAGES}/ (it comes in an archive of its own)"
        raise replace(ABOUT, layout=(missing,)).absent(root)
    return top


def _scan(top: Path) -> tuple[list[Sequence], list[Path]]:
    """Return all sequences by name, and the files that are neither a frame nor an emotion."""
    strays: list[Path] = []
    emotion_files: dict[str, Path] = {}
    for name, (first, *others) in _files_of_sequences(top / EMOTION, _LABEL, strays):
        if others:
            raise DatasetError(f"{others[0]}: a second emotion file beside {first.name}. Keep the true one.")
        emotion_files[name] = first
    found = []
    for name, frames in _files_of_sequences(top / IMAGES, _FRAME, strays):
        file = emotion_files.pop(name, None)
        if file is not None and not any(path.stem == _stem(file) for path in frames):
            raise DatasetError(f"{file}: its frame {_stem(file)}.png is not in {IMAGES}/. Copy them again.")
        label = None if file is None else _read_label(file)
        found.append(Sequence(name, name[:4], label, tuple(frames), file))
    for name, file in emotion_files.items():
        raise DatasetError(f"{file}: its sequence {name} is not in {IMAGES}/. Copy the images again.")
    return found, strays


def _files_of_sequences(
    top: Path, pattern: re.Pattern[str], strays: list[Path]
) -> Iterator[tuple[str, list[Path]]]:
    """Yield the name of each sequence below a folder, ``S005_001``, with its files of a pattern, if there are any."""
    for folder, files in leaves(top, _LEVELS, strays):
        name = f"{folder.parent.name}_{folder.name}"
        if own := named(pattern, files, strays, name):
            yield name, list(own)


def _stem(emotion_file: Path) -> str:
    """Return the name of the frame of an emotion file, ``S005_001_00000011``."""
    return emotion_file.name.removesuffix("_emotion.txt")


def _read_label(path: Path) -> Emotion:
    """Read a code such as ``   3.0000000e+00``."""
    try:
        return CODES[float(path.read_bytes().decode("ascii"))]
    except (OSError, ValueError, KeyError) as error:
        form = "one whole number from 1 to 7, 3.0000000e+00 say"
        raise DatasetError(f"{path}, line 1: an emotion file holds {form}. Copy it again.") from error


def _items(sequence: Sequence, frames: int, neutral: bool, crop: str) -> Iterator[Item]:
    """Yield the first frame where it is asked for, and the last ones."""
    paths = sequence.paths
    if len(paths) < frames + neutral:  # the first is not a peak frame as well
        number = f"{len(paths)} frames instead of at least {frames + neutral}"
        raise DatasetError(f"{paths[0].parent} has {number}. Copy the sequence again, or ask for fewer.")
    first = [(paths[0], Emotion.NEUTRAL)] if neutral else []
    for path, label in [*first, *((path, sequence.label) for path in paths[-frames:])]:
        yield Item(path, label, sequence.subject, sequence.name, box=face_box(path, crop))


def _check_peak(sequence: Sequence, frames: int) -> None:
    """Check that a sequence ends with the frame of its emotion file, and that no frame is missing before it."""
    last = sequence.paths[-1]
    if last.stem != _stem(sequence.emotion_file):
        official = f"{sequence.emotion_file.name}, the last one of sequence {sequence.name} in the release"
        raise DatasetError(f"{last} comes after the frame of {official}. {_AGAIN}")
    numbers = [int(path.stem.rpartition("_")[2]) for path in sequence.paths[-frames:]]
    if numbers != list(range(numbers[-1] - frames + 1, numbers[-1] + 1)):
        listed = ", ".join(map(str, numbers))
        raise DatasetError(
            f"{last.parent}: the last frames are {listed}: one is missing or there twice. {_AGAIN}"
        )


def _resolve(crop: str, top: Path) -> str:
    """Return what a crop means for the tree under ``top``: ``"landmarks"`` or ``"centre"``."""
    if crop not in CROPS:
        raise ValueError(f"crop={crop!r}: choose one of {', '.join(CROPS)}.")
    there = (top / LANDMARKS).is_dir()
    if crop == "landmarks" and not there:
        remedy = "Put it beside the images (it comes in an archive of its own), or pass crop='centre'."
        raise DatasetNotFoundError(f"{top / LANDMARKS} is not there. {remedy}")
    return "landmarks" if there and crop != "centre" else "centre"


def face_box(frame: Path, crop: str) -> Box | None:
    """Return what to cut out of a frame: a square around its landmarks; None for the largest one in the middle."""
    if crop == "centre":
        return None
    points = _points(_landmark_file(frame))
    low, high = points.min(axis=0), points.max(axis=0)
    (x, y), half = (low + high) / 2, MARGIN * (high - low).max() / 2
    return float(x - half), float(y - half), float(x + half), float(y + half)


def _landmark_file(frame: Path) -> Path:
    """Return ``Landmarks/S005/001/S005_001_00000011_landmarks.txt`` for a frame."""
    return frame.parents[3].joinpath(LANDMARKS, *frame.parts[-3:-1], f"{frame.stem}_landmarks.txt")


def _points(path: Path) -> np.ndarray:
    """Read the (68, 2) landmarks, x and y in pixels."""
    remedy = "Copy it again from the archive, or pass crop='centre'."
    try:
        lines = path.read_bytes().decode("ascii").strip().splitlines()
        points = np.array([[float(number) for number in line.split()] for line in lines])
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a table of numbers ({error}). {remedy}") from error
    if points.shape != (POINTS, 2):
        raise DatasetError(f"{path}: {len(lines)} lines instead of {POINTS} of x and y. {remedy}")
    if not (np.abs(points) <= _FARTHEST).all() or not np.ptp(points, axis=0).any():  # NaN fails as well
        raise DatasetError(f"{path}: the landmarks lie far outside the image, or all in one point. {remedy}")
    return points
