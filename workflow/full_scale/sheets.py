"""FER2013 as PNG sheets: 48 x 48 grey images in the official order, 64 to a row, small enough to travel in parts."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fercore import load
from fercore.datasets import fer2013
from fercore.datasets.base import FaceDataset, content_checksum
from fercore.errors import DatasetError, DatasetNotFoundError

COLUMNS = 64
SHEETS = {  # by official part, in the official order
    "Training": ("Training-0.png", "Training-1.png"),
    "PublicTest": ("PublicTest.png",),
    "PrivateTest": ("PrivateTest.png",),
}


def read(folder: Path) -> FaceDataset:
    """Read FER2013, as :func:`fercore.load` gives it, from a folder of sheets or from one with the official file."""
    if not (folder / "labels.csv").is_file():
        return load("fer2013", root=folder, progress=False)
    names = [name for sheets in SHEETS.values() for name in sheets]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DatasetNotFoundError(f"{folder} lacks {', '.join(missing)}: copy all of {', '.join(names)}.")
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        usage = np.array([row["Usage"] for row in rows])
        labels = np.array([int(row["emotion"]) for row in rows], dtype=np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{folder / 'labels.csv'} is damaged ({error!r}): copy it again.") from error
    images = np.concatenate([_part(folder, part, int((usage == part).sum())) for part in SHEETS])[..., None]
    checksum = content_checksum(images, labels)
    if checksum != fer2013.OFFICIAL_CONTENT:
        raise DatasetError(f"{folder}: the sheets do not hold the official images: copy them again.")
    return FaceDataset("fer2013", fer2013.ABOUT.title, images, labels, checksum, "PNG sheets", usage=usage)


def _part(folder: Path, part: str, count: int) -> np.ndarray:
    """Return the (count, 48, 48) uint8 images of one part."""
    side = fer2013.SIZE
    try:
        sheet = np.concatenate([np.asarray(Image.open(folder / name)) for name in SHEETS[part]])
    except OSError as error:
        raise DatasetError(f"{folder}: a sheet of {part} cannot be read ({error}): copy it again.") from error
    rows = sheet.shape[0] // side
    images = sheet.reshape(rows, side, COLUMNS, side).transpose(0, 2, 1, 3).reshape(-1, side, side)
    if len(images) < count:
        raise DatasetError(f"{folder}: the sheets of {part} hold {len(images)} images, not {count}.")
    return images[:count]


def first(data: FaceDataset, limit: int) -> FaceDataset:
    """Return the first images of each part as a dataset of its own, with its own checksum."""
    chosen = np.concatenate([np.flatnonzero(data.usage == part)[:limit] for part in SHEETS])
    some = data.subset(chosen)
    return replace(some, checksum=content_checksum(some.images, some.labels))


def write(data: FaceDataset, folder: Path) -> None:
    """Write FER2013 as sheets, for a machine that has only what is carried to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, names in SHEETS.items():
        images = data.images[data.usage == part, :, :, 0]
        blank = np.zeros((-len(images) % COLUMNS, *images.shape[1:]), np.uint8)
        tiles = np.concatenate([images, blank]).reshape(-1, COLUMNS, *images.shape[1:])
        for name, rows in zip(names, np.array_split(tiles, len(names)), strict=True):
            sheet = rows.transpose(0, 2, 1, 3).reshape(-1, COLUMNS * images.shape[2])
            Image.fromarray(sheet).save(folder / name)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        rows = zip(data.usage, data.labels.tolist(), strict=True)
        csv.writer(file).writerows([("Usage", "emotion"), *rows])
