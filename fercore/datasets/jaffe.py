"""JAFFE (Lyons et al. 1998): 213 grey photographs, 256 x 256 pixels, of ten women who pose seven expressions.

The layout is the official one, a flat folder of ``KA.AN1.39.tiff``: subject, expression and repeat, serial number. The
serial numbers have gaps, and the repeats are not always 1, 2, 3.
"""

from __future__ import annotations

import re
from pathlib import Path

from fercore.datasets.base import About, FaceDataset
from fercore.datasets.folders import Found, Item, check_size, compare, entries, passed_over, read_found, tally
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
SUBJECTS = {
    "KA": 23,
    "KL": 22,
    "KM": 22,
    "KR": 20,
    "MK": 21,
    "NA": 21,
    "NM": 20,
    "TM": 21,
    "UY": 21,
    "YM": 22,
}
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
_FILE_NAME = re.compile(r"([A-Z]{2})\.(AN|DI|FE|HA|NE|SA|SU)[0-9]\.([0-9]+)\.tiff?")


def load(root: str | Path, size: int = 48, verify: bool = True, progress: bool = True) -> FaceDataset:
    """Read JAFFE from ``<root>/jaffe``.

    Args:
        root: The data folder (see :func:`fercore.datasets.data_root`).
        size: Height and width that the images are resized to, 16 ... 512 pixels.
        verify: Check the number of images per emotion and per subject against the official ones.
        progress: Show a progress bar.

    Returns:
        Images (213, size, size, 1) uint8, sorted by name; subjects are the first two letters. There are no sequences,
        hence no groups.

    Raises:
        DatasetNotFoundError: If the folder holds no image of JAFFE.
        DatasetError: If two files have one serial number, or an image is damaged.
        ValueError: If ``size`` is out of range.
    """
    check_size(size)
    found = _find(root)
    check = (lambda: _check(ABOUT.folder(root), found)) if verify else None
    return read_found(ABOUT, root, found, check, size=size, channels=1, progress=progress)


def _check(folder: Path, found: Found) -> None:
    ABOUT.check(folder, found.labels)
    official = {f"images of {subject}": count for subject, count in SUBJECTS.items()}
    compare(folder, tally(found.subjects.tolist(), "images of"), official)


def _find(root: str | Path) -> Found:
    """Take the first folder that holds an image of JAFFE."""
    folder = ABOUT.folder(root)
    for place in (*(folder / top for top in TOPS), folder):
        folders, files = entries(place) if place.is_dir() else ([], [])
        matches = {path: name for path in files if (name := _FILE_NAME.fullmatch(path.name))}
        if matches:
            _refuse_twins(matches)
            items = [Item(path, EMOTIONS[name[2]], name[1]) for path, name in matches.items()]
            strays = [path for path in (*files, *folders) if path not in matches]
            skipped = passed_over(ABOUT.title, strays)
            return Found(items, [*matches, *strays], f"TIFF files of {place.name}/", skipped)
    raise ABOUT.absent(root)


def _refuse_twins(matches: dict[Path, re.Match[str]]) -> None:
    """Refuse two files with one serial number: they are copies, or one has been renamed."""
    seen: dict[int, Path] = {}
    for path, name in matches.items():
        serial = int(name[3])
        if serial in seen:
            raise DatasetError(
                f"{path} has the serial number of {seen[serial].name}. Keep the one with the name of the release."
            )
        seen[serial] = path
