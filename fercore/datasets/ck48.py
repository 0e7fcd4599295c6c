"""CK+48: the last three frames of each labelled sequence of CK+, cut to the face, 48 x 48 pixels, by emotion.

This is an unofficial derivative of CK+ without a known maker; :mod:`fercore.datasets.ckplus` reads the official
release. The layout is ``CK+48/<emotion>/S010_004_00000017.png``. The three frames of a sequence are nearly the
same image.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from fercore.datasets.base import About, FaceDataset
from fercore.datasets.folders import Found, Item, check_size, compare, leaves, read_found, top_folder
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
_LEVELS = [("|".join(EMOTIONS), f"an emotion of CK+48 ({', '.join(EMOTIONS)})")]
_FILE_NAME = re.compile(r"((S[0-9]{3})_[0-9]{3})_[0-9]{8}\.png")


def load(
    root: str | Path, size: int = 48, verify: bool = True, progress: bool = True, contempt: bool = False
) -> FaceDataset:
    """Read CK+48: (927, size, size, 1) uint8, (981, ...) with contempt, by emotion and name.

    Subjects are ``"S010"``, groups are the sequences, ``"S010_004"``.
    """
    check_size(size)
    top = top_folder(ABOUT, root, TOP, EMOTIONS)
    found = _find(top, contempt)

    def check() -> None:
        official = replace(ABOUT, counts={"all": _COUNTS}) if contempt else ABOUT
        official.check(top, found.labels)
        frames = Counter(f"frames of {item.group}" for item in found.items)
        compare(top, frames, dict.fromkeys(frames, FRAMES))

    return read_found(ABOUT, root, found, check, size, 1, verify=verify, progress=progress, contempt=contempt)


def _find(top: Path, contempt: bool) -> Found:
    items, strays = [], []
    for folder, files in leaves(top, _LEVELS, strays):
        names = {path: _FILE_NAME.fullmatch(path.name) for path in files}
        strays += [path for path, name in names.items() if name is None]
        emotion, _ = EMOTIONS[folder.name]
        items += [Item(path, emotion, name[2], name[1]) for path, name in names.items() if name]
    _refuse_two_emotions(items)
    chosen = [item for item in items if contempt or item.label is not Emotion.CONTEMPT]
    left_out = [] if contempt else [item.path for item in items if item.label is Emotion.CONTEMPT]
    skipped = (f"images of contempt: {len(left_out)} (contempt=True reads them)",) if left_out else ()
    return Found(chosen, strays, f"image folders of {top.name}/", skipped, also=left_out)


def _refuse_two_emotions(items: list[Item]) -> None:
    """Refuse a sequence that has frames in the folders of two emotions."""
    first: dict[str | None, Item] = {}
    for item in items:
        if (other := first.setdefault(item.group, item)).label is not item.label:
            place = f"sequence {item.group} lie in {other.path.parent.name}/"
            raise DatasetError(f"{item.path}: other frames of its {place}. Put it back.")
