"""CK+48: the last three frames of each labelled sequence of CK+, cut to the face, 48 x 48 pixels, by emotion.

This is an unofficial derivative of CK+ without a known maker; :mod:`fercore.datasets.ckplus` reads the official
release. The layout is ``CK+48/<emotion>/S010_004_00000017.png``. The three frames of a sequence are nearly the
same image.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from fercore.datasets.base import About, FaceDataset
from fercore.datasets.folders import (
    Found,
    Item,
    check_size,
    compare,
    entries,
    passed_over,
    read_found,
    tally,
    top_folder,
)
from fercore.emotions import Emotion
from fercore.errors import DatasetError

TOP = "CK+48"
FRAMES = 3  # of each sequence
# Folder -> (emotion, number of sequences).
EMOTIONS = {
    "anger": (Emotion.ANGRY, 45),
    "contempt": (Emotion.CONTEMPT, 18),
    "disgust": (Emotion.DISGUST, 59),
    "fear": (Emotion.FEAR, 25),
    "happy": (Emotion.HAPPY, 69),
    "sadness": (Emotion.SAD, 28),
    "surprise": (Emotion.SURPRISE, 83),
}
_COUNTS = {emotion: FRAMES * sequences for emotion, sequences in EMOTIONS.values()}
ABOUT = About(
    name="ck48",
    title="CK+48",
    layout=(f"{TOP}/<emotion>/*.png", f"the folders of the emotions ({', '.join(EMOTIONS)})"),
    source="It is an unofficial derivative of CK+ that circulates on Kaggle as CK+48; get the official release at "
    "jeffcohn.net, and its agreement with it.",
    terms="the terms of CK+: for research, after signing its agreement, no redistribution; publications cite "
    "Lucey et al. 2010.",
    counts={"all": {emotion: n for emotion, n in _COUNTS.items() if emotion is not Emotion.CONTEMPT}},
    citation="lucey2010extended",
)
_FILE_NAME = re.compile(r"((S[0-9]{3})_[0-9]{3})_[0-9]{8}\.png")


def load(
    root: str | Path, size: int = 48, verify: bool = True, progress: bool = True, contempt: bool = False
) -> FaceDataset:
    """Read CK+48 from ``<root>/ck48``.

    Args:
        root: The data folder (see :func:`fercore.datasets.data_root`).
        size: Height and width that the images are resized to, 16 ... 512 pixels; 48 leaves them as they are.
        verify: Check that there are three frames of each sequence, and the number of images per emotion.
        progress: Show a progress bar.
        contempt: Read also the 54 images of contempt, with the label ``Emotion.CONTEMPT``.

    Returns:
        Images (927, size, size, 1) uint8, (981, …) with contempt, by emotion and name. Subjects are ``"S010"``, groups
        are the sequences, ``"S010_004"``.

    Raises:
        DatasetNotFoundError: If the folders of the emotions are not there.
        DatasetError: If a folder is no emotion, a sequence lies in two of them, or an image is damaged.
        ValueError: If ``size`` is out of range.
    """
    check_size(size)
    top = top_folder(ABOUT, root, [TOP], EMOTIONS)
    found = _find(top, contempt)
    check = (lambda: _check(top, found, contempt)) if verify else None
    options = {"contempt": contempt}
    return read_found(ABOUT, root, found, check, size=size, channels=1, progress=progress, options=options)


def _check(top: Path, found: Found, contempt: bool) -> None:
    official = replace(ABOUT, counts={"all": _COUNTS}) if contempt else ABOUT
    official.check(top, found.labels)
    frames = tally((str(item.group) for item in found.items), "frames of")
    compare(top, frames, dict.fromkeys(frames, FRAMES))


def _find(top: Path, contempt: bool) -> Found:
    folders, strays = entries(top)
    items: list[Item] = []
    for folder in folders:
        if folder.name not in EMOTIONS:
            raise DatasetError(
                f"{folder}: no emotion of CK+48; expected {', '.join(EMOTIONS)}. Move it away."
            )
        nested, files = entries(folder)
        if nested:
            raise DatasetError(f"{nested[0]}: a folder among the images of {folder.name}. Move it away.")
        names = {path: _FILE_NAME.fullmatch(path.name) for path in files}
        strays += [path for path, name in names.items() if name is None]
        emotion, _ = EMOTIONS[folder.name]
        items += [Item(path, emotion, name[2], name[1]) for path, name in names.items() if name]
    _refuse_two_emotions(items)
    chosen = [item for item in items if contempt or item.label is not Emotion.CONTEMPT]
    left_out = len(items) - len(chosen)
    skipped = (f"images of contempt: {left_out} (contempt=True reads them)",) if left_out else ()
    files = [*(item.path for item in items), *strays]
    source = f"image folders of {top.name}/"
    return Found(chosen, files, source, skipped + passed_over(ABOUT.title, strays))


def _refuse_two_emotions(items: list[Item]) -> None:
    """Refuse a sequence that has frames in the folders of two emotions."""
    first: dict[str | None, Item] = {}
    for item in items:
        if (other := first.setdefault(item.group, item)).label is not item.label:
            raise DatasetError(
                f"{item.path}: other frames of its sequence {item.group} lie in {other.path.parent.name}/. Put it back."
            )
