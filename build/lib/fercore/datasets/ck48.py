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

from fercore.datasets import ckplus
from fercore.datasets.base import About, FaceDataset, compare
from fercore.datasets.folders import Found, Item, check_size, leaves, named, read_found, top_folder
from fercore.emotions import Emotion
from fercore.errors import DatasetError

TOP = "CK+48"
FRAMES = 3  # of each sequence
# As the folders name them; the sequences are those of CK+.
_FOLDERS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
EMOTIONS = dict(zip(_FOLDERS, ckplus.SEQUENCES, strict=True))
_COUNTS = {emotion: FRAMES * sequences for emotion, sequences in ckplus.SEQUENCES.items()}
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
    items, strays, left_out = [], [], []
    homes: dict[str, Path] = {}  # the first folder of each sequence
    for folder, files in leaves(top, _LEVELS, strays):
        emotion = EMOTIONS[folder.name]
        for path, name in named(_FILE_NAME, files, strays).items():
            if (home := homes.setdefault(name[1], folder)) is not folder:
                place = f"sequence {name[1]} lie in {home.name}/"
                raise DatasetError(f"{path}: other frames of its {place}. Put it back.")
            if contempt or emotion is not Emotion.CONTEMPT:
                items.append(Item(path, emotion, name[2], name[1]))
            else:
                left_out.append(path)
    skipped = (f"images of contempt: {len(left_out)} (contempt=True reads them)",) if left_out else ()
    return Found(items, strays, f"image folders of {top.name}/", skipped, also=left_out)
