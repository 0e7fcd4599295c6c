"""FERG-DB (Aneja et al. 2016): 55,767 drawn faces of six characters, 256 x 256 pixels in colour.

The layout is the official one: ``FERG_DB_256/<character>/<character>_<emotion>/<character>_<emotion>_<number>.png``.
"""

from __future__ import annotations

import re
from pathlib import Path

from fercore.datasets.base import About, FaceDataset
from fercore.datasets.folders import Found, Item, check_size, leaves, named, read_found, top_folder
from fercore.emotions import Emotion

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
_LEVELS = [
    ("|".join(CHARACTERS), f"a character of FERG-DB ({', '.join(CHARACTERS)})"),
    (rf"(\w+)/\1_(?:{'|'.join(EMOTIONS)})", f"an emotion of its character ({', '.join(EMOTIONS)})"),
]
_FILE_NAME = re.compile(r"([a-z]+_[a-z]+)_[0-9]+\.png", re.IGNORECASE)


def load(root: str | Path, size: int = 48, verify: bool = True, progress: bool = True) -> FaceDataset:
    """Read FERG-DB: (55767, size, size, 3) uint8, memory-mapped, by character, emotion and number.

    Subjects are the characters. There are no sequences, hence no groups.
    """
    check_size(size)
    top = top_folder(ABOUT, root, TOP, CHARACTERS)
    items, strays = [], []
    for folder, files in leaves(top, _LEVELS, strays):
        character, emotion = folder.name.split("_")
        own = named(_FILE_NAME, files, strays, folder.name)
        items += [Item(path, EMOTIONS[emotion], subject=character) for path in own]
    found = Found(items, strays, f"image folders of {top.name}/")

    def check() -> None:
        ABOUT.check(top, found.labels, found.column("subject"))

    return read_found(ABOUT, root, found, check, size, 3, verify=verify, progress=progress)
