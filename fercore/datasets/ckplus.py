"""CK+ (Lucey et al. 2010): 593 posed sequences of 123 people, from the neutral face to the peak of an expression.

The layout is the official one. An emotion file holds one number for a whole sequence; 327 sequences have one::

    cohn-kanade-images/S005/001/S005_001_00000011.png
    Emotion/S005/001/S005_001_00000011_emotion.txt
    Landmarks/S005/001/S005_001_00000011_landmarks.txt    (optional: 68 lines of x and y)

The release gives no still images. The usual choice, and the paper's, is the last three frames of each sequence with an
emotion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from fercore.datasets.base import About, FaceDataset
from fercore.datasets.folders import (
    Box,
    Found,
    Item,
    check_size,
    compare,
    entries,
    passed_over,
    read_found,
    read_image,
    top_folder,
)
from fercore.emotions import Emotion
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


IMAGES, EMOTION = "cohn-kanade-images", "Emotion"
CODES = {  # in the emotion files; 0, neutral, does not occur
    1: Emotion.ANGRY,
    2: Emotion.CONTEMPT,
    3: Emotion.DISGUST,
    4: Emotion.FEAR,
    5: Emotion.HAPPY,
    6: Emotion.SAD,
    7: Emotion.SURPRISE,
}
_SUBJECT, _NUMBER = re.compile(r"S[0-9]{3}"), re.compile(r"[0-9]{3}")
_FRAME = re.compile(r"(S[0-9]{3}_[0-9]{3})_([0-9]+)\.png")
_LABEL = re.compile(r"(S[0-9]{3}_[0-9]{3})_[0-9]+_emotion\.txt")


@dataclass(frozen=True)
class Sequence:
    """One recording, from the neutral face to the peak.

    Attributes:
        name: ``"S005_001"``.
        subject: ``"S005"``.
        label: The emotion; None where the release gives none.
        paths: The frames in the order of their numbers.
    """

    name: str
    subject: str
    label: Emotion | None
    paths: tuple[Path, ...]

    def images(self, size: int = 48, crop: str = "auto") -> np.ndarray:
        """Read the frames.

        Args:
            size: Height and width that they are resized to, 16 ... 512 pixels.
            crop: As in :func:`fercore.datasets.ckplus.load`; each frame is cut by its own landmarks.

        Returns:
            (T, size, size, 1) uint8.

        Raises:
            DatasetError: If a frame or its landmarks are damaged; names the file.
            ValueError: If ``size`` or ``crop`` is none of those allowed.
        """
        check_size(size)
        crop = resolve(crop, self.paths[0].parents[3])
        boxes = [face_box(path, crop) for path in self.paths]
        return np.stack([read_image(path, size, 1, box) for path, box in zip(self.paths, boxes, strict=True)])


@dataclass(frozen=True)
class Tree:
    """What the two folders hold.

    Attributes:
        sequences: All recordings, by name.
        emotions: The emotion files.
        strays: Files that are neither a frame nor an emotion.
    """

    sequences: list[Sequence]
    emotions: list[Path]
    strays: list[Path]


def scan(top: Path) -> Tree:
    """List the sequences under ``top``, without reading any image.

    Args:
        top: The folder that holds ``cohn-kanade-images`` and ``Emotion``.

    Raises:
        DatasetError: If a folder or file is in the wrong place, an emotion file is damaged, or it lacks its frame;
            names it.
    """
    strays: list[Path] = []
    labels = _label_files(top / EMOTION, strays)
    found: list[Sequence] = []
    for name, files in _sequence_folders(top / IMAGES, strays):
        frames: list[Path] = []
        for path in files:
            (frames if _is_of(_FRAME, path, name) else strays).append(path)
        if frames:
            label = _read_label(labels[name]) if name in labels else None
            found.append(Sequence(name, name[:4], label, tuple(frames)))
    _refuse_orphans(labels, found)
    return Tree(found, list(labels.values()), strays)


def check_peaks(sequences: Iterable[Sequence], emotions: Iterable[Path], frames: int) -> None:
    """Check that sequences end with the frame of their emotion file, and that no frame is missing before it.

    Args:
        sequences: Those to check, each with an emotion file and at least ``frames`` frames.
        emotions: The emotion files, of other sequences too.
        frames: How many frames at the end have to follow each other without a gap.

    Raises:
        DatasetError: If a frame is missing or too many; names it and its sequence.
    """
    files = {path.name[:8]: path for path in emotions}
    for sequence in sequences:
        last, emotion = sequence.paths[-1], files[sequence.name]
        if last.stem != emotion.name.removesuffix("_emotion.txt"):
            raise DatasetError(
                f"{last} comes after the frame of {emotion.name}, which is the last one of sequence {sequence.name} in "
                f"the release. Copy the sequence again, or pass verify=False to use it as it is."
            )
        _refuse_gaps(sequence.paths[-frames:])


def _refuse_gaps(paths: tuple[Path, ...]) -> None:
    """Refuse frames whose numbers do not follow each other."""
    remedy = "Copy the sequence again, or pass verify=False to use it as it is."
    for before, after in pairwise(paths):
        here, there = (int(_FRAME.fullmatch(path.name)[2]) for path in (before, after))
        if here == there:
            raise DatasetError(f"{after}: frame {there} is also there as {before.name}. {remedy}")
        if there != here + 1:
            gap = f"frame {here + 1} is" if there == here + 2 else f"frames {here + 1} to {there - 1} are"
            raise DatasetError(f"{before.parent}: {gap} missing before {after.name}. {remedy}")


def _sequence_folders(top: Path, strays: list[Path]) -> Iterator[tuple[str, list[Path]]]:
    """Yield the name of each sequence, ``S005_001``, with the files in its folder; add those above to ``strays``."""
    subjects, files = entries(top)
    strays += files
    for subject in subjects:
        _require(_SUBJECT, subject, "a subject, S005 say")
        folders, files = entries(subject)
        strays += files
        for folder in folders:
            _require(_NUMBER, folder, "a sequence, 001 say")
            nested, files = entries(folder)
            if nested:
                raise DatasetError(f"{nested[0]}: a folder inside a sequence. Move it away.")
            yield f"{subject.name}_{folder.name}", files


def _require(pattern: re.Pattern[str], folder: Path, what: str) -> None:
    if not pattern.fullmatch(folder.name):
        raise DatasetError(f"{folder}: the name is not that of {what}. Move the folder away.")


def _is_of(pattern: re.Pattern[str], path: Path, name: str) -> bool:
    """Say whether a file's name has the pattern; refuse one that has, but with the name of another sequence."""
    match = pattern.fullmatch(path.name)
    if match is not None and match[1] != name:
        raise DatasetError(f"{path}: the name contradicts the folder of sequence {name}. Put the file back.")
    return match is not None


def _label_files(top: Path, strays: list[Path]) -> dict[str, Path]:
    """Return the emotion file of each sequence that has one; add other files to ``strays``."""
    labels: dict[str, Path] = {}
    for name, files in _sequence_folders(top, strays):
        for path in files:
            if not _is_of(_LABEL, path, name):
                strays.append(path)
            elif name in labels:
                raise DatasetError(
                    f"{path}: a second emotion file beside {labels[name].name}. Keep the one of the release."
                )
            else:
                labels[name] = path
    return labels


def _read_label(path: Path) -> Emotion:
    """Read a code such as ``   3.0000000e+00``."""
    try:
        code = float(path.read_bytes().decode("ascii"))
    except (OSError, ValueError):
        code = math.nan
    if code not in CODES:
        raise DatasetError(
            f"{path}, line 1: an emotion file holds one whole number from 1 to 7, 3.0000000e+00 say. Copy it again "
            "from the archive."
        )
    return CODES[int(code)]


def _refuse_orphans(labels: dict[str, Path], found: list[Sequence]) -> None:
    """Refuse an emotion file without its sequence, or of a frame that is not there."""
    frames = {sequence.name: {path.stem for path in sequence.paths} for sequence in found}
    for name, path in labels.items():
        stem = path.name.removesuffix("_emotion.txt")
        if stem not in frames.get(name, ()):
            missing = f"frame {stem}.png" if name in frames else f"sequence {name}"
            raise DatasetError(f"{path}: its {missing} is not in {IMAGES}/. Copy the images again.")


__all__ = ["ABOUT", "Sequence", "load", "sequences"]

TOP = "CK+"
FRAMES = 3
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


@dataclass(frozen=True)
class _Choice:
    """The options of :func:`load` that decide which images there are; ``crop`` is resolved."""

    contempt: bool
    neutral: bool
    frames: int
    crop: str

    def takes(self, sequence: Sequence) -> bool:
        """Say whether images of a sequence are wanted."""
        wanted = self.contempt or sequence.label is not Emotion.CONTEMPT
        return wanted and sequence.label is not None

    def counts(self) -> dict[Emotion, int]:
        """Images per emotion in the release."""
        chosen = {
            emotion: n for emotion, n in SEQUENCES.items() if self.contempt or emotion is not Emotion.CONTEMPT
        }
        first = {Emotion.NEUTRAL: sum(chosen.values())} if self.neutral else {}
        return {emotion: self.frames * n for emotion, n in chosen.items()} | first


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
    """Read the peak frames of the labelled sequences of CK+ from ``<root>/ckplus``.

    Args:
        root: The data folder (see :func:`fercore.datasets.data_root`).
        size: Height and width that the images are resized to, 16 ... 512 pixels.
        verify: Check sequences, subjects, and images per emotion against the official numbers, and that each sequence
            ends with the frame of its emotion file and has no gap among the frames that are taken from its end.
        progress: Show a progress bar.
        contempt: Take also the 18 sequences of contempt, with the label ``Emotion.CONTEMPT``.
        neutral: Take also the first frame of each sequence, with the label ``Emotion.NEUTRAL``.
        frames: How many frames of each sequence, from its end.
        crop: ``"landmarks"`` cuts a square around the 68 landmarks, 1.3 times as wide as the longer side of their
            bounding box; ``"centre"`` takes the largest square in the middle; ``"auto"`` cuts by landmarks where there
            is a folder ``Landmarks``.

    Returns:
        Images (927, size, size, 1) uint8 by default, (981, …) with contempt, by sequence and frame. Subjects are
        ``"S005"``, groups are the sequences, ``"S005_001"``.

    Raises:
        DatasetNotFoundError: If the folder of the images or that of the emotions is not there.
        DatasetError: If an image, emotion or landmark file is damaged, missing or in the wrong place; names it.
        ValueError: If an option is none of those allowed.
    """
    check_size(size)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise ValueError(f"frames={frames!r}: a whole number from 1.")
    top = _top(root)
    choice = _Choice(bool(contempt), bool(neutral), frames, resolve(crop, top))
    tree = scan(top)
    found = _find(tree, choice)
    check = (lambda: _check(top, tree, found, choice)) if verify else None
    options = asdict(choice)
    return read_found(ABOUT, root, found, check, size=size, channels=1, progress=progress, options=options)


def sequences(root: str | Path, contempt: bool = False, labelled: bool = True) -> list[Sequence]:
    """List the sequences of CK+ as whole clips, without reading any image.

    Args:
        root: The data folder.
        contempt: List also those of contempt.
        labelled: List only those with an emotion; False lists also the 266 without, whose label is None.

    Returns:
        By default the 309 sequences of six emotions, by name.

    Raises:
        DatasetNotFoundError: If the folder of the images or that of the emotions is not there.
        DatasetError: If an emotion file is damaged or in the wrong place; names it.
    """
    found = scan(_top(root)).sequences
    if labelled:
        found = [sequence for sequence in found if sequence.label is not None]
    return [sequence for sequence in found if contempt or sequence.label is not Emotion.CONTEMPT]


def _top(root: str | Path) -> Path:
    """Return the folder that holds the images and the emotions."""
    top = top_folder(ABOUT, root, [TOP], [IMAGES])
    if not (top / EMOTION).is_dir():
        missing = f"the folder {EMOTION}/ beside {IMAGES}/ (it comes in an archive of its own)"
        raise replace(ABOUT, layout=(missing,)).absent(root)
    return top


def _find(tree: Tree, choice: _Choice) -> Found:
    chosen = [sequence for sequence in tree.sequences if choice.takes(sequence)]
    items = [item for sequence in chosen for item in _items(sequence, choice)]
    every = [path for sequence in tree.sequences for path in sequence.paths]
    by_landmarks = choice.crop == "landmarks"
    landmarks = [landmark_file(item.path) for item in items] if by_landmarks else []
    what = f"last {choice.frames} frames" + (" and the first" if choice.neutral else "")
    cut = "cut by landmarks" if by_landmarks else "largest square in the middle"
    source = f"{what} of {len(chosen)} labelled sequences of {IMAGES}/, {cut}"
    return Found(items, [*every, *tree.emotions, *landmarks, *tree.strays], source, _skipped(tree, choice))


def _items(sequence: Sequence, choice: _Choice) -> Iterator[Item]:
    """Yield the first frame where it is asked for, and the last ones."""
    wanted = choice.frames + choice.neutral
    if len(sequence.paths) < wanted:
        raise DatasetError(
            f"{sequence.paths[0].parent} has {len(sequence.paths)} frames instead of at least {wanted}. Copy the "
            "sequence again, or ask for fewer frames."
        )
    peak = [(path, sequence.label) for path in sequence.paths[-choice.frames :]]
    first = [(sequence.paths[0], Emotion.NEUTRAL)] if choice.neutral else []
    for path, label in first + peak:
        yield Item(path, label, sequence.subject, sequence.name, face_box(path, choice.crop))


def _skipped(tree: Tree, choice: _Choice) -> tuple[str, ...]:
    labels = [sequence.label for sequence in tree.sequences]
    told = []
    if unlabelled := labels.count(None):
        told.append(f"sequences without an emotion file, as the release has them: {unlabelled}")
    if not choice.contempt and (contempt := labels.count(Emotion.CONTEMPT)):
        told.append(f"sequences of contempt: {contempt} (contempt=True reads them)")
    return (*told, *passed_over(ABOUT.title, tree.strays))


def _check(top: Path, tree: Tree, found: Found, choice: _Choice) -> None:
    replace(ABOUT, counts={"all": choice.counts()}).check(top, found.labels)
    labelled = [sequence for sequence in tree.sequences if sequence.label is not None]
    counted = (
        len(tree.sequences),
        len({sequence.subject for sequence in tree.sequences}),
        len(labelled),
        len({sequence.subject for sequence in labelled}),
    )
    compare(top, dict(zip(RELEASE, counted, strict=True)), RELEASE)
    check_peaks(filter(choice.takes, tree.sequences), tree.emotions, choice.frames)
