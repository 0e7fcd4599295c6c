"""JAFFE (Lyons et al. 1998): 213 grey photographs, 256 x 256 pixels, of ten women who pose seven expressions.

The layout is the official one, a flat folder of ``KA.AN1.39.tiff``: subject, expression and repeat, serial number. The
serial numbers have gaps, and the repeats are not always 1, 2, 3.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from fercore.datasets.base import About, FaceDataset, compare
from fercore.datasets.folders import Found, Item, check_size, entries, named, read_found
from fercore.emotions import Emotion
from fercore.errors import DatasetError

TOPS = ("jaffe", "jaffedbase")
EMOTIONS = {  # as the file names have them
    "AN": Emotion.ANGRY,
    "DI": Emotion.DISGUST,
    "FE": Emotion.FEAR,
    "HA": Emotion.HAPPY,
    "NE": Emotion.NEUTRAL,
    "SA": Emotion.SAD,
    "SU": Emotion.SURPRISE,
}
# Images per subject and per emotion, counted on the file names of the release.
_CODES = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
SUBJECTS = dict(zip(_CODES, (23, 22, 22, 20, 21, 21, 20, 21, 21, 22), strict=True))
ABOUT = About(
    name="jaffe",
    title="JAFFE",
    layout=("jaffe/*.tiff", "jaffedbase/*.tiff", "the 213 TIFF files"),
    source="Ask for it on Zenodo, doi.org/10.5281/zenodo.3451524.",
    terms="for non-commercial research, no redistribution; a publication may show at most a few images and cites "
    "Lyons et al. 1998 and 2020.",
    counts={"all": dict(zip(EMOTIONS.values(), (30, 29, 32, 31, 30, 31, 30), strict=True))},
    citation="lyons1998coding",
)
_FILE_NAME = re.compile(rf"([A-Z]{{2}})\.({'|'.join(EMOTIONS)})[0-9]\.([0-9]+)\.tiff?")


def load(root: str | Path, size: int = 48, verify: bool = True, progress: bool = True) -> FaceDataset:
    """Read JAFFE: (213, size, size, 1) uint8, by name; subjects are its first two letters, and there are no groups."""
    check_size(size)
    folder = ABOUT.folder(root)
    found = _find(folder)

    def check() -> None:
        ABOUT.check(folder, found.labels)
        counted = Counter(f"images of {item.subject}" for item in found.items)
        compare(folder, counted, {f"images of {subject}": count for subject, count in SUBJECTS.items()})

    return read_found(ABOUT, root, found, check, size, 1, verify=verify, progress=progress)


def _find(folder: Path) -> Found:
    """Take the first folder that holds an image of JAFFE; refuse two with one serial number (copies, or renamed)."""
    for place in (*(folder / top for top in TOPS), folder):
        strays, files = entries(place) if place.is_dir() else ([], [])
        if names := named(_FILE_NAME, files, strays):
            seen: dict[int, Path] = {}
            for path, name in names.items():
                if (first := seen.setdefault(int(name[3]), path)) is not path:
                    twin = f"{path} has the serial number of {first.name}"
                    raise DatasetError(f"{twin}. Keep the official one.")
            items = [Item(path, EMOTIONS[name[2]], subject=name[1]) for path, name in names.items()]
            return Found(items, strays, f"TIFF files of {place.name}/")
    raise ABOUT.absent(folder.parent)
