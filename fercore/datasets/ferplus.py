"""FER+ (Barsoum et al. 2016): ten crowd workers' votes on every image of FER2013, in the rows of ``fer2013new.csv``."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from fercore.emotions import Emotion
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
