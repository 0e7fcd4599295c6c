"""The folders of CK+: which sequences there are, their frames, and the emotion of those that have one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from fercore.datasets import ckplus_crop
from fercore.datasets.reading import check_size, read_image
from fercore.datasets.trees import entries
from fercore.emotions import Emotion
from fercore.errors import DatasetError

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
        crop = ckplus_crop.resolve(crop, self.paths[0].parents[3])
        boxes = [ckplus_crop.face_box(path, crop) for path in self.paths]
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
