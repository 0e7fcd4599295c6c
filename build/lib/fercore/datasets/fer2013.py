"""FER2013 (Goodfellow et al. 2013): 35,887 grey faces of 48 x 48 pixels with a fixed three-way split.

Three layouts are read, the first that is found: ``fer2013.csv`` (the official file), ``icml_face_data.csv`` (the same
rows; two column names carry a leading space) and folders ``train/<emotion>/Training_<n>.jpg``,
``test/<emotion>/{PublicTest,PrivateTest}_<n>.jpg``. The votes of FER+ (Barsoum et al. 2016) may lie beside a table.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fercore.checkpoints import digest
from fercore.datasets.base import OTHER_RELEASE, About, FaceDataset, content_checksum
from fercore.datasets.cache import cached
from fercore.datasets.folders import Found, Item, leaves, read_found
from fercore.emotions import EMOTIONS, NAMES, Emotion
from fercore.errors import DatasetError

SIZE = 48
PIXELS = SIZE * SIZE
USAGES = ("Training", "PublicTest", "PrivateTest")
TABLES = ("fer2013.csv", "icml_face_data.csv")
OFFICIAL_MD5 = "f8428a1edbd21e88f42c73edd2a14f95"  # of fer2013.csv, as torchvision.datasets.FER2013 checks it
# Of its pixels and labels.
OFFICIAL_CONTENT = "sha256:dfa10f704ce43176926fa4a1d4ae1249caa95437f8022664b01859e189e13400"
# Images per split and emotion in canonical order, counted on the official file.
_COUNTS = {
    "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}
ABOUT = About(
    name="fer2013",
    title="FER2013",
    layout=("fer2013.csv", "icml_face_data.csv", "the folders train/ and test/"),
    source="Get fer2013.csv or icml_face_data.csv from Kaggle's 'Challenges in Representation Learning: Facial "
    "Expression Recognition Challenge'.",
    terms="research use, under the competition's rules; the project does not redistribute it.",
    counts={usage: dict(zip(EMOTIONS, counts, strict=True)) for usage, counts in _COUNTS.items()},
    citation="goodfellow2013challenges",
)
_LABELS = [str(int(emotion)) for emotion in EMOTIONS]
_AGAIN = "The file is damaged or cut short: copy or download it again."
_OTHERS = "Kaggle's train.csv and test.csv lack columns: use fer2013.csv or icml_face_data.csv."
_LEVELS = [(f"(?ai:{'|'.join(NAMES)})", f"an emotion ({', '.join(NAMES)})")]

VOTES_FILE = "fer2013new.csv"
VOTES_SOURCE = "Get fer2013new.csv from github.com/microsoft/FERPlus (MIT licence)"
# Its columns of votes: emotions, then that the worker did not know, and that there is no face.
_VOTED = {
    "neutral": Emotion.NEUTRAL,
    "happiness": Emotion.HAPPY,
    "surprise": Emotion.SURPRISE,
    "sadness": Emotion.SAD,
    "anger": Emotion.ANGRY,
    "disgust": Emotion.DISGUST,
    "fear": Emotion.FEAR,
    "contempt": Emotion.CONTEMPT,
}
VOTED, VOTE_COLUMNS = tuple(_VOTED.values()), (*_VOTED, "unknown", "NF")
UNKNOWN_VOTE, NO_FACE_VOTE = 8, 9


def load(root: str | Path, verify: bool = True, progress: bool = True) -> FaceDataset:
    """Read FER2013: (35887, 48, 48, 1) uint8 in file order, with ``usage``; it names no subjects.

    Where ``fer2013new.csv`` lies beside a table, ``extras["votes"]`` are the votes of FER+, see :func:`read_votes`.
    """
    folder = ABOUT.folder(root)
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table is not None:
        votes = find_votes(Path(root))
        files = [table] if votes is None else [table, votes]
        chosen = (table, votes, verify, progress)
        return cached(Path(root), "fer2013", files, {"verify": verify}, lambda _: _from_table(*chosen))
    if not all((folder / part).is_dir() for part in ("train", "test")):
        raise ABOUT.absent(root)
    found = _find_images(folder)

    def check() -> None:
        # The counts alone: the images are JPEG files, whose pixels differ from those of the table.
        ABOUT.check(folder, found.labels, found.column("usage"))

    return read_found(ABOUT, root, found, check, SIZE, 1, verify=verify, progress=progress, exact=True)


def _from_table(table: Path, votes: Path | None, verify: bool, progress: bool) -> FaceDataset:
    images, labels, usage, lines = _read_table(table, progress)
    checksum, md5 = content_checksum(images, labels), digest(table, "md5")
    if verify:
        ABOUT.check(table, labels, usage)
        if checksum != OFFICIAL_CONTENT:
            found = "pixels or labels are not the official ones, or in another order"
            raise DatasetError(f"{table}: {found} ({checksum}). {OTHER_RELEASE}")
    return FaceDataset(
        name="fer2013",
        title=ABOUT.title,
        images=images,
        labels=labels,
        checksum=checksum,
        source=f"{table.name}, md5 {md5}" + (" (the official file)" if md5 == OFFICIAL_MD5 else ""),
        usage=usage,
        paths=np.array([f"{table.name}:{line}" for line in lines]),
        extras={} if votes is None else {"votes": read_votes(votes, usage)},
    )


def _read_table(path: Path, progress: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Return images (N, 48, 48, 1) uint8, labels (N,) int64, usage (N,) str, and the line of each in the file."""
    images, labels, usage, lines = [], [], [], []
    rows = _rows(path, ("emotion", "pixels", "Usage"), f"{_AGAIN} {_OTHERS}")
    bar = tqdm(rows, total=ABOUT.images, desc=f"Reading {path.name}", unit="row", disable=not progress)
    for line, (emotion, pixels, split) in bar:
        where = f"{path}, line {line}"
        if emotion not in _LABELS:
            raise DatasetError(f"{where}: the label is {emotion[:20]!r}, not a number from 0 to 6. {_AGAIN}")
        if split not in USAGES:
            raise DatasetError(f"{where}: Usage is {split[:20]!r}, not one of {', '.join(USAGES)}. {_AGAIN}")
        images.append(_pixels(where, pixels))
        labels.append(int(emotion))
        usage.append(split)
        lines.append(line)
    if not images:
        raise DatasetError(f"{path} holds no rows. {_AGAIN}")
    stacked = np.stack(images).reshape(-1, SIZE, SIZE, 1)
    return stacked, np.array(labels, dtype=np.int64), np.array(usage), lines


def _pixels(where: str, text: str) -> np.ndarray:
    """Return the (2304,) uint8 pixels of a row."""
    try:
        pixels = np.fromstring(text, dtype=np.int64, sep=" ")  # five times faster than splitting
    except ValueError:
        raise DatasetError(f"{where}: a pixel is not a whole number. {_AGAIN}") from None
    if pixels.size != PIXELS:
        raise DatasetError(f"{where}: {pixels.size} pixels instead of {PIXELS}. {_AGAIN}")
    if pixels.min() < 0 or pixels.max() > 255:
        raise DatasetError(f"{where}: a pixel is outside 0..255. {_AGAIN}")
    return pixels.astype(np.uint8)


def _rows(path: Path, names: Sequence[str], remedy: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the named fields of each row of a CSV file, with or without a byte order mark.

    Columns may stand in any order, and their names have other cases and leading spaces.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            if missing := [name for name in names if name.lower() not in header]:
                found = ",".join(header)[:80]
                raise DatasetError(f"{path}, line 1: no column {', '.join(missing)} in {found!r}. {remedy}")
            columns = [header.index(name.lower()) for name in names]
            for row in rows:
                if len(row) <= max(columns):
                    found = f"{len(row)} fields instead of {max(columns) + 1}"
                    raise DatasetError(f"{path}, line {rows.line_num}: {found}. {remedy}")
                yield rows.line_num, [row[column].strip() for column in columns]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a readable CSV file ({error}). {remedy}") from error


def _find_images(folder: Path) -> Found:
    """List the images below train/ and test/, in the order of the table: by split and number."""
    found, strays = [], []
    for part, usages in (("train", USAGES[:1]), ("test", USAGES[1:])):
        for place, files in leaves(folder / part, _LEVELS, strays):
            label = Emotion[place.name.upper()]
            for path in files:
                if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
                    strays.append(path)
                    continue
                split, _, number = path.stem.partition("_")
                usage = next((usage for usage in usages if usage.lower() == split.lower()), None)
                if usage is None or not re.fullmatch("[0-9]+", number):
                    form = " or ".join(f"{usage}_<n>{path.suffix}" for usage in usages)
                    raise DatasetError(f"{path}: images in {part}/ are called {form}. Put it back.")
                found.append((USAGES.index(usage), int(number), label, path))
    items = [Item(path, label, usage=USAGES[split]) for split, _, label, path in sorted(found)]
    return Found(items, strays, "image folders train/ and test/")


def find_votes(root: Path) -> Path | None:
    """Return ``<root>/fer2013/fer2013new.csv`` or ``<root>/ferplus/fer2013new.csv``; None if there is neither."""
    places = (root / folder / VOTES_FILE for folder in ("fer2013", "ferplus"))
    return next((place for place in places if place.is_file()), None)


def read_votes(path: Path, usage: np.ndarray) -> np.ndarray:
    """Read the votes of FER+ for the rows of FER2013: (N, 10) uint8 in the order of ``VOTE_COLUMNS``; most sum to 10.

    ``usage`` is the split of each row of FER2013, which the file repeats: so a file in another order is noticed.
    """
    remedy = f"{VOTES_SOURCE} again."
    rows, votes = list(_rows(path, ("Usage", *VOTE_COLUMNS), remedy)), []
    if len(rows) != len(usage):
        raise DatasetError(f"{path} has {len(rows):,} rows for {len(usage):,} images. {remedy}")
    for (line, (split, *row)), wanted in zip(rows, usage.tolist(), strict=True):
        where, given = f"{path}, line {line}", ",".join(row)[:60]
        if not all(re.fullmatch("[0-9]|10", vote) for vote in row):
            raise DatasetError(f"{where}: votes are whole numbers from 0 to 10, not {given!r}. {remedy}")
        if split != wanted:
            raise DatasetError(f"{where}: Usage is {split!r}, in FER2013 {wanted!r}. {remedy}")
        votes.append([int(vote) for vote in row])
    return np.array(votes, dtype=np.uint8).reshape(-1, len(VOTE_COLUMNS))


def plurality(votes: np.ndarray) -> np.ndarray:
    """Return the emotion with most votes (N, 10) of each image: (N,) int64 labels 0 ... 7.

    It is -1 where "unknown" or "no face" leads, or where two lead together.
    """
    best = votes.argmax(axis=1)
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    labels = np.array([*(int(emotion) for emotion in VOTED), -1, -1])[best]
    return np.where(tied, -1, labels)
