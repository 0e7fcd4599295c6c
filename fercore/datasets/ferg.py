"""FERG-DB (Aneja et al. 2016): 55,767 drawn faces of six characters, 256 x 256 pixels in colour.

The layout is the official one: ``FERG_DB_256/<character>/<character>_<emotion>/<character>_<emotion>_<number>.png``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fercore.datasets.base import About, FaceDataset
from fercore.datasets.folders import Found, Item, check_size, entries, passed_over, read_found, top_folder
from fercore.emotions import Emotion
from fercore.errors import DatasetError

TOP = "FERG_DB_256"
CHARACTERS = ("aia", "bonnie", "jules", "malcolm", "mery", "ray")
EMOTIONS = {  # as the folders name them, in the order of the table below
    "anger": Emotion.ANGRY,
    "disgust": Emotion.DISGUST,
    "fear": Emotion.FEAR,
    "joy": Emotion.HAPPY,
    "neutral": Emotion.NEUTRAL,
    "sadness": Emotion.SAD,
    "surprise": Emotion.SURPRISE,
}
# Images per character and emotion, from the README of the release.
_COUNTS = {
    "aia": (1644, 1596, 1116, 1232, 1200, 1469, 1746),
    "bonnie": (2059, 2088, 1255, 1438, 1243, 1506, 1682),
    "jules": (1479, 1321, 1858, 1317, 1344, 1475, 1961),
    "malcolm": (1100, 1190, 1018, 1089, 1083, 1034, 1065),
    "mery": (1428, 911, 1035, 1140, 941, 1045, 1058),
    "ray": (1459, 1465, 1137, 1114, 1128, 1098, 1200),
}
ABOUT = About(
    name="ferg",
    title="FERG-DB",
    layout=(
        f"{TOP}/<character>/<character>_<emotion>/*.png",
        f"the folders of the characters ({', '.join(CHARACTERS)})",
    ),
    source="Ask the University of Washington for it at grail.cs.washington.edu/projects/deepexpr/ferg-2d-db.html.",
    terms="given on request, for research and other non-commercial use; publications cite Aneja et al. 2016.",
    counts={name: dict(zip(EMOTIONS.values(), counts, strict=True)) for name, counts in _COUNTS.items()},
    citation="aneja2016modeling",
)
_FILE_NAME = re.compile(r"([a-z]+)_([a-z]+)_[0-9]+\.png", re.IGNORECASE)


def load(root: str | Path, size: int = 48, verify: bool = True, progress: bool = True) -> FaceDataset:
    """Read FERG-DB from ``<root>/ferg``.

    Args:
        root: The data folder (see :func:`fercore.datasets.data_root`).
        size: Height and width that the images are resized to, 16 ... 512 pixels.
        verify: Check the number of images per character and emotion against the official ones.
        progress: Show a progress bar: the first time takes minutes, later ones read the cache.

    Returns:
        Images (55767, size, size, 3) uint8, memory-mapped; subjects are the characters. There are no sequences, hence
        no groups. The order is by character, emotion and number.

    Raises:
        DatasetNotFoundError: If the folders of the characters are not there.
        DatasetError: If a folder is no character or emotion, a file belongs elsewhere, or an image is damaged.
        ValueError: If ``size`` is out of range.
    """
    check_size(size)
    top = top_folder(ABOUT, root, [TOP], CHARACTERS)
    found = _find(top)
    check = (lambda: ABOUT.check(top, found.labels, found.subjects)) if verify else None
    return read_found(ABOUT, root, found, check, size=size, channels=3, progress=progress)


def _find(top: Path) -> Found:
    characters, strays = entries(top)
    items: list[Item] = []
    for character in characters:
        if character.name not in CHARACTERS:
            raise DatasetError(
                f"{character}: no character of FERG-DB; expected {', '.join(CHARACTERS)}. Move it away."
            )
        folders, files = entries(character)
        strays += files
        for folder in folders:
            inside = list(_images(folder, character.name))
            items += [entry for entry in inside if isinstance(entry, Item)]
            strays += [entry for entry in inside if isinstance(entry, Path)]
    files = [*(item.path for item in items), *strays]
    return Found(items, files, f"image folders of {top.name}/", passed_over(ABOUT.title, strays))


def _images(folder: Path, character: str) -> Iterator[Item | Path]:
    """Yield the images of one emotion of a character, and as bare paths the files that are none."""
    emotion = folder.name.removeprefix(f"{character}_")
    if folder.name == emotion or emotion not in EMOTIONS:
        expected = ", ".join(f"{character}_{name}" for name in EMOTIONS)
        raise DatasetError(f"{folder}: no emotion of {character}; expected {expected}. Move it away.")
    folders, files = entries(folder)
    if folders:
        raise DatasetError(f"{folders[0]}: a folder among the images of {folder.name}. Move it away.")
    for path in files:
        if (name := _FILE_NAME.fullmatch(path.name)) is None:
            yield path
        elif (name[1].lower(), name[2].lower()) != (character, emotion):
            raise DatasetError(f"{path}: the name contradicts the folder {folder.name}/. Put the file back.")
        else:
            yield Item(path, EMOTIONS[emotion], character)
