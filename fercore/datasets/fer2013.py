"""FER2013 (Goodfellow et al. 2013): 35,887 grey faces of 48 x 48 pixels with a fixed three-way split.

Three layouts are read, the first that is found: ``fer2013.csv`` (the official file), ``icml_face_data.csv`` (the same
rows; two column names carry a leading space) and folders ``train/<emotion>/Training_<n>.jpg``,
``test/<emotion>/{PublicTest,PrivateTest}_<n>.jpg``.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fercore.checkpoints import digest
from fercore.datasets.base import About, FaceDataset, content_checksum
from fercore.datasets.cache import cached
from fercore.datasets.folders import entries, passed_over, read_image
from fercore.emotions import EMOTIONS, NAMES, Emotion
from fercore.errors import DatasetError

VOTES_FILE = "fer2013new.csv"
VOTES_SOURCE = "Get fer2013new.csv from github.com/microsoft/FERPlus (MIT licence)"
# Its columns of votes; the last two say that the worker did not know, and that there is no face.
VOTE_COLUMNS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
UNKNOWN_VOTE, NO_FACE_VOTE = 8, 9
VOTED = (
    Emotion.NEUTRAL,
    Emotion.HAPPY,
    Emotion.SURPRISE,
    Emotion.SAD,
    Emotion.ANGRY,
    Emotion.DISGUST,
    Emotion.FEAR,
    Emotion.CONTEMPT,
)


def find_votes(root: Path) -> Path | None:
    """Return ``<root>/fer2013/fer2013new.csv`` or ``<root>/ferplus/fer2013new.csv``; None if there is neither."""
    places = (root / folder / VOTES_FILE for folder in ("fer2013", "ferplus"))
    return next((place for place in places if place.is_file()), None)


def read_votes(path: Path, usage: np.ndarray) -> np.ndarray:
    """Read the votes.

    Args:
        path: ``fer2013new.csv``.
        usage: (N,) str, the split of each row of FER2013, which the file repeats: so a file in another order is
            noticed.

    Returns:
        (N, 10) uint8 votes in the order of :data:`VOTE_COLUMNS`, one row per image of FER2013; most rows sum to 10.

    Raises:
        DatasetError: If the file is damaged or does not belong to these images; names line and remedy.
    """
    remedy = f"{VOTES_SOURCE} again."
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            if missing := [name for name in ("Usage", *VOTE_COLUMNS) if name not in header]:
                raise DatasetError(f"{path}, line 1: no column {', '.join(missing)}. {remedy}")
            where = [header.index(name) for name in ("Usage", *VOTE_COLUMNS)]
            listed = [_votes_of(f"{path}, line {rows.line_num}", row, where, remedy) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a readable CSV file ({error}). {remedy}") from error
    if len(listed) != len(usage):
        raise DatasetError(f"{path} has {len(listed):,} rows for {len(usage):,} images. {remedy}")
    for row, ((split, _), wanted) in enumerate(zip(listed, usage, strict=True)):
        if split != wanted:
            raise DatasetError(
                f"{path}, line {row + 2}: Usage is {split!r}, in FER2013 {str(wanted)!r}. {remedy}"
            )
    return np.array([votes for _, votes in listed], dtype=np.uint8).reshape(-1, len(VOTE_COLUMNS))


def _votes_of(where: str, row: list[str], columns: list[int], remedy: str) -> tuple[str, list[int]]:
    """Return split and votes of one row."""
    if len(row) <= max(columns):
        raise DatasetError(f"{where}: {len(row)} fields instead of {max(columns) + 1}. {remedy}")
    split, *votes = (row[column].strip() for column in columns)
    if not all(vote.isdecimal() and len(vote) <= 2 and int(vote) <= 10 for vote in votes):
        raise DatasetError(
            f"{where}: votes are whole numbers from 0 to 10, not {','.join(votes)[:60]!r}. {remedy}"
        )
    return split, [int(vote) for vote in votes]


def plurality(votes: np.ndarray) -> np.ndarray:
    """Return the emotion with most votes of each image.

    Args:
        votes: (N, 10) as :func:`read_votes` gives them.

    Returns:
        (N,) int64: labels 0 ... 7; -1 where "unknown" or "no face" leads, or where two lead together.
    """
    best = votes.argmax(axis=1)
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    labels = np.array([*(int(emotion) for emotion in VOTED), -1, -1])[best]
    return np.where(tied, -1, labels)


SIZE = 48
PIXELS = SIZE * SIZE
USAGES = ("Training", "PublicTest", "PrivateTest")
OFFICIAL_MD5 = "f8428a1edbd21e88f42c73edd2a14f95"  # of fer2013.csv, as torchvision.datasets.FER2013 checks it
OFFICIAL_CONTENT = (
    "sha256:dfa10f704ce43176926fa4a1d4ae1249caa95437f8022664b01859e189e13400"  # of its pixels and labels
)
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
HOW_TO_GET = ABOUT.source.removesuffix(".")
_FILE_NAME = re.compile(r"^(Training|PublicTest|PrivateTest)_(\d+)\.(?:jpe?g|png)$", re.IGNORECASE)
_Image = tuple[int, int, int, Path]  # split, number, label, file
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}


def load(root: str | Path, verify: bool = True, progress: bool = True) -> FaceDataset:
    """Read FER2013 from ``<root>/fer2013``.

    Args:
        root: The data folder (see :func:`fercore.datasets.data_root`).
        verify: Check the number of images per split and emotion, and for a table also its content, against the official
            ones.
        progress: Show a progress bar.

    Returns:
        Images (35887, 48, 48, 1) uint8 in file order, labels, and ``usage`` (``"Training"``, ``"PublicTest"`` or
        ``"PrivateTest"``). FER2013 names no subjects. Where ``fer2013new.csv`` lies beside a table, the votes of FER+
        are ``extras["votes"]``, see :mod:`fercore.datasets.fer2013`.

    Raises:
        DatasetNotFoundError: If none of the three layouts is there.
        DatasetError: If a file is damaged; names the file, the line and the remedy.
    """
    folder, options = ABOUT.folder(root), {"verify": verify}
    table = find_table(folder)
    if table is not None:
        votes = find_votes(Path(root))
        files = [table] if votes is None else [table, votes]
        return cached(root, "fer2013", files, options, lambda _: _from_table(table, votes, verify, progress))
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        found, strays = _image_files(folder)
        files = [path for *_, path in found] + strays
        chosen = folder, found, strays, verify, progress
        return cached(root, "fer2013", files, options, lambda _: _from_folders(*chosen))
    raise ABOUT.absent(root)


def find_table(folder: Path) -> Path | None:
    """Return the table in a folder, the official one first; None if there is none."""
    return next((folder / n for n in ("fer2013.csv", "icml_face_data.csv") if (folder / n).is_file()), None)


def _from_table(table: Path, votes: Path | None, verify: bool, progress: bool) -> FaceDataset:
    images, labels, usage, lines = _read_table(table, progress)
    checksum = content_checksum(images, labels)
    if verify:
        ABOUT.check(table, labels, usage)
        if checksum != OFFICIAL_CONTENT:
            raise DatasetError(
                f"{table}: the counts are right but pixels or labels are not the official ones ({checksum}). "
                f"The copy is damaged or in another order: copy it again, or pass verify=False to use it as it is."
            )
    return FaceDataset(
        name="fer2013",
        title=ABOUT.title,
        images=images,
        labels=labels,
        checksum=checksum,
        source=_describe_table(table),
        usage=usage,
        paths=np.array([f"{table.name}:{line}" for line in lines]),
        extras={} if votes is None else {"votes": read_votes(votes, usage)},
    )


def _from_folders(
    folder: Path, found: list[_Image], strays: list[Path], verify: bool, progress: bool
) -> FaceDataset:
    if not found:
        raise DatasetError(f"{folder}: train/ and test/ hold no images of FER2013. {HOW_TO_GET}.")
    bar = tqdm(found, desc="Reading images", disable=not progress)
    images = np.stack([_read_image(path) for *_, path in bar])
    labels = np.array([label for _, _, label, _ in found], dtype=np.int64)
    usage = np.array([USAGES[split] for split, *_ in found])
    if verify:  # the counts alone: the images are JPEG files, whose pixels differ from those of the table
        ABOUT.check(folder, labels, usage)
    return FaceDataset(
        name="fer2013",
        title=ABOUT.title,
        images=images,
        labels=labels,
        checksum=content_checksum(images, labels),
        source="image folders train/ and test/",
        usage=usage,
        paths=np.array([path.relative_to(folder).as_posix() for *_, path in found]),
        skipped=passed_over(ABOUT.title, strays),
    )


def _describe_table(path: Path) -> str:
    md5 = digest(path, "md5")
    return f"{path.name}, md5 {md5}" + (" (the official file)" if md5 == OFFICIAL_MD5 else "")


def _read_table(path: Path, progress: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Parse a CSV with the columns emotion, pixels and Usage in any order, with or without leading spaces or a BOM."""
    images, labels, usage, lines = [], [], [], []
    bar = {"total": ABOUT.images, "desc": f"Reading {path.name}", "unit": "row", "disable": not progress}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            columns = _columns(path, next(rows, []))
            for row in tqdm(rows, **bar):
                where = f"{path}, line {rows.line_num}"
                emotion, pixels, split = _fields(where, row, columns)
                labels.append(emotion)
                images.append(pixels)
                usage.append(split)
                lines.append(rows.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a readable CSV file ({error}). {HOW_TO_GET} again.") from error
    if not images:
        raise DatasetError(f"{path} holds no rows. {HOW_TO_GET} again.")
    stacked = np.stack(images).reshape(-1, SIZE, SIZE, 1)
    return stacked, np.array(labels, dtype=np.int64), np.array(usage), lines


def _columns(path: Path, header: list[str]) -> tuple[int, int, int]:
    names = [name.strip().lower() for name in header]
    missing = [name for name in ("emotion", "pixels", "usage") if name not in names]
    if missing:
        raise DatasetError(
            f"{path}, line 1: no column {', '.join(missing)}; the header is {','.join(header)[:80]!r}. "
            f"Kaggle's train.csv and test.csv lack the split or the labels: use fer2013.csv or icml_face_data.csv."
        )
    return names.index("emotion"), names.index("pixels"), names.index("usage")


def _fields(where: str, row: list[str], columns: tuple[int, int, int]) -> tuple[int, np.ndarray, str]:
    """Return label, (2304,) uint8 pixels and split of one row, or say what is wrong with it."""
    remedy = "The file is damaged or cut short: copy or download it again."
    if len(row) <= max(columns):
        raise DatasetError(f"{where}: {len(row)} fields instead of {max(columns) + 1}. {remedy}")
    emotion, text, split = (row[column].strip() for column in columns)
    if emotion not in {str(int(label)) for label in EMOTIONS}:
        raise DatasetError(f"{where}: the label is {emotion[:20]!r}, not a number from 0 to 6. {remedy}")
    if split not in USAGES:
        raise DatasetError(f"{where}: Usage is {split[:20]!r}, not one of {', '.join(USAGES)}. {remedy}")
    try:
        pixels = np.fromstring(text, dtype=np.int64, sep=" ")  # five times faster than splitting
    except ValueError:
        raise DatasetError(f"{where}: a pixel is not a whole number. {remedy}") from None
    if pixels.size != PIXELS:
        raise DatasetError(f"{where}: {pixels.size} pixels instead of {PIXELS}. {remedy}")
    if pixels.min() < 0 or pixels.max() > 255:
        raise DatasetError(f"{where}: a pixel is outside 0..255. {remedy}")
    return int(emotion), pixels.astype(np.uint8), split


def _image_files(folder: Path) -> tuple[list[_Image], list[Path]]:
    """Return every image, sorted by split and number, and the files that are none; hidden ones are passed over."""
    classes = {name.lower(): label for label, name in enumerate(NAMES)}
    found, strays = [], []
    for part in ("train", "test"):
        directories, beside = entries(folder / part)
        strays += beside
        for directory in directories:
            if directory.name.lower() not in classes:
                raise DatasetError(f"{directory}: not an emotion; expected {', '.join(classes)}.")
            nested, files = entries(directory)
            strays += nested
            for path in files:
                if path.suffix.lower() in _IMAGE_SUFFIXES:
                    found.append((*_place(path, part), classes[directory.name.lower()], path))
                else:
                    strays.append(path)
    return sorted(found), strays


def _place(path: Path, part: str) -> tuple[int, int]:
    """Return split and number that an image's name carries, or say what is wrong with it."""
    match = _FILE_NAME.match(path.name)
    if match is None:
        raise DatasetError(
            f"{path}: the name does not carry the split; expected Training_<n>.jpg, PublicTest_<n>.jpg or "
            f"PrivateTest_<n>.jpg. Put back the original names or move the file away."
        )
    split = [usage.lower() for usage in USAGES].index(match[1].lower())
    if (split == 0) != (part == "train"):
        raise DatasetError(f"{path}: an image of {USAGES[split]} lies in {part}/. Put it back.")
    return split, int(match[2])


def _read_image(path: Path) -> np.ndarray:
    """Read one image of the folders: (48, 48, 1) uint8."""
    pixels = read_image(path, None, 1)
    if pixels.shape[:2] != (SIZE, SIZE):
        raise DatasetError(
            f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels instead of {SIZE} x {SIZE}."
        )
    return pixels
