"""Which dataset an archive holds, by what is in it; the archive's own name does not matter."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from fercore.archive_rules import Member, in_bytes
from fercore.archives import Archive
from fercore.datasets import ck48, ckplus_crop, ferg, ferplus, jaffe
from fercore.datasets.ckplus_tree import EMOTION, IMAGES
from fercore.emotions import NAMES
from fercore.errors import DatasetError

_SHOWN = 6  # members that the error for an unknown archive names
_WEB_PAGE = re.compile(rb"<(!doctype\s+html|html|head)\b", re.IGNORECASE)
_START = 4096  # bytes of a file that is no archive
# Bytes that an archive may declare for a dataset, several times what the official ones have.
LIMITS = {
    "fer2013": 10**9,
    "ferplus": 50 * 10**6,
    "ferg": 12 * 10**9,
    "jaffe": 200 * 10**6,
    "ckplus": 6 * 10**9,
    "ck48": 200 * 10**6,
}


@dataclass(frozen=True)
class Part:
    """Something that an official archive holds: a dataset, or a part of one that comes on its own.

    Attributes:
        dataset: Key for the loader.
        title: Name for people.
        archive: Name that its archive goes by.
        looks: What it is recognised by, for people.
        sign: Regular expression of such a file, below the folder that counts; wrappers around that are dropped.
        keep: Regular expression of the files that are taken from that folder.
        folder: Where they go below the dataset's folder.
        merges: It joins what is there already, instead of being the dataset.
    """

    dataset: str
    title: str
    archive: str
    looks: str
    sign: str
    keep: str
    folder: str = ""
    merges: bool = False


@dataclass(frozen=True)
class Found:
    """A part that an archive holds.

    Attributes:
        part: Which.
        places: For each member that belongs to it, its path below the dataset's folder.
    """

    part: Part
    places: dict[Member, str]


def _fer2013(archive: str, looks: str, sign: str, keep: str) -> Part:
    return Part("fer2013", "FER2013", archive, looks, sign, keep)


def _ckplus(title: str, archive: str, folder: str, ending: str) -> Part:
    sequence = r"S\d{3}/\d{3}/"
    sign, keep = rf"{sequence}S\d{{3}}_\d{{3}}_\d+{ending}", rf"{sequence}[^/]+{ending}"
    looks = f"{folder}/S005/001/S005_001_00000011" + ending.replace("\\", "")
    return Part("ckplus", f"CK+ {title}", archive, looks, sign, keep, folder, merges=True)


# The official archive of FER2013, which Kaggle packs into a zip.
NESTED = _fer2013("Kaggle's zip", "fer2013.tar.gz", r"fer2013\.tar\.gz", r"fer2013\.tar\.gz")
# The ways in which FER2013 comes; of those in one archive the first is taken.
FER2013 = (
    _fer2013("fer2013.tar.gz", "fer2013.csv", r"fer2013\.csv", r"fer2013\.(csv|bib)|README[^/]*"),
    _fer2013("Kaggle's zip", "icml_face_data.csv", r"icml_face_data\.csv", r"icml_face_data\.csv"),
    _fer2013(
        "Kaggle's zip of folders",
        "train/<emotion>/Training_<n>.jpg and test/<emotion>/PublicTest_<n>.jpg",
        rf"(train|test)/(?i:{'|'.join(NAMES)})/(?i:Training|PublicTest|PrivateTest)_\d+\.(?i:jpe?g|png)",
        r"(train|test)/.+",
    ),
    NESTED,
)
FERPLUS = Part(
    "fer2013",
    "FER+",
    "the zip of the repository FERPlus",
    ferplus.VOTES_FILE,
    re.escape(ferplus.VOTES_FILE),
    re.escape(ferplus.VOTES_FILE),
    merges=True,
)
FERG = Part(
    "ferg",
    "FERG-DB",
    "FERG_DB_256.zip",
    "FERG_DB_256/aia/aia_anger/aia_anger_1.png",
    rf"({'|'.join(ferg.CHARACTERS)})/[a-z]+_({'|'.join(ferg.EMOTIONS)})/[a-z]+_[a-z]+_\d+\.png",
    r".+",
    ferg.TOP,
)
JAFFE = Part(
    "jaffe",
    "JAFFE",
    "jaffe.zip",
    "jaffe/KA.AN1.39.tiff",
    rf"[A-Z]{{2}}\.({'|'.join(jaffe.EMOTIONS)})\d\.\d+\.tiff?",
    r"[^/]+",
    jaffe.TOPS[0],
)
CKPLUS_NEEDED = (
    _ckplus("image sequences", "extended-cohn-kanade-images.zip", IMAGES, r"\.png"),
    _ckplus("emotions", "Emotion_labels.zip", EMOTION, r"_emotion\.txt"),
)
CKPLUS_MORE = (
    _ckplus("landmarks", "Landmarks.zip", ckplus_crop.LANDMARKS, r"_landmarks\.txt"),
    _ckplus("action units", "FACS_labels.zip", "FACS", r"_facs\.txt"),
)
CK48 = Part(
    "ck48",
    "CK+48",
    "CK+48.zip",
    "CK+48/anger/S010_004_00000017.png",
    rf"({'|'.join(ck48.EMOTIONS)})/S\d{{3}}_\d{{3}}_\d+\.png",
    r"[^/]+/[^/]+",
    ck48.TOP,
)
PARTS = (*FER2013, FERPLUS, FERG, JAFFE, *CKPLUS_NEEDED, *CKPLUS_MORE, CK48)


def recognise(archive: Archive, nested: bool = False) -> tuple[Found, ...]:
    """Find what an archive holds.

    Args:
        archive: An open archive.
        nested: It came out of another one; then it may not hold :data:`NESTED` in turn.

    Returns:
        One dataset, or parts of one.

    Raises:
        DatasetError: If it holds none of the datasets, more than one, or one twice; says what was looked for. Also if
            it declares more bytes for one than :data:`LIMITS` allows.
    """
    parts = [part for part in PARTS if not (nested and part is NESTED)]
    found = [hit for part in parts if (hit := _find(part, archive)) is not None]
    tables = [hit for hit in found if hit.part in FER2013]
    found = [hit for hit in found if hit not in tables[1:]]
    if not found:
        raise _unknown(archive)
    if len({hit.part.dataset for hit in found}) > 1:
        titles = " and ".join(hit.part.title for hit in found)
        raise DatasetError(f"{archive.title} holds {titles}. Pack each dataset into an archive of its own.")
    _refuse_oversize(archive, found)
    return tuple(found)


def _refuse_oversize(archive: Archive, found: list[Found]) -> None:
    totals: dict[str, int] = {}
    for hit in found:
        key = "ferplus" if hit.part is FERPLUS else hit.part.dataset
        totals[key] = totals.get(key, 0) + sum(member.size for member in hit.places)
        if totals[key] > LIMITS[key]:
            raise DatasetError(
                f"{archive.title} was refused: it declares {in_bytes(totals[key])} for {hit.part.title}, more than "
                f"{in_bytes(LIMITS[key])}. Nothing was unpacked. The official archives are not like this: get yours "
                "again from its owner."
            )


def table_name(path: Path) -> str | None:
    """Return the name under which the loaders look for a CSV file, by its header; None where it is none of theirs.

    Args:
        path: A file that is no archive.

    Raises:
        DatasetError: If the file is empty, a web page, in UTF-16, or a table of FER2013 that lacks a column.
    """
    with open(path, "rb") as file:
        start = file.read(_START)
    _refuse_foreign(path, start)
    lines = start.decode("utf-8-sig", errors="replace").splitlines()
    try:
        header = next(csv.reader(lines[:1]), [])
    except csv.Error:
        return None
    columns = [name.strip().lower() for name in header]
    if {"usage", "neutral", "contempt", "nf"} <= set(columns):
        return ferplus.VOTES_FILE
    if {"emotion", "pixels", "usage"} <= set(columns):
        return "fer2013.csv" if columns.index("pixels") < columns.index("usage") else "icml_face_data.csv"
    if "pixels" in columns:
        missing = [name for name in ("emotion", "Usage") if name.lower() not in columns]
        raise DatasetError(
            f"{path}, line 1: no column {', '.join(missing)}. Kaggle's train.csv and test.csv lack the split or the "
            "labels: add fer2013.csv or icml_face_data.csv, or the archive that holds one of them."
        )
    return None


def _refuse_foreign(path: Path, start: bytes) -> None:
    """Say what a file is that is often saved in the place of an archive or a table, by its first bytes."""
    again = "Download the archive again"
    if not start:
        raise DatasetError(f"{path} is empty: the download was cut short. {again}.")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DatasetError(
            f"{path} is text in UTF-16, which is not read here. {again}, or save the table as UTF-8."
        )
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") and _WEB_PAGE.search(start):
        raise DatasetError(
            f"{path} is a web page (HTML): a login page, say, was saved instead of the archive. {again} in a browser "
            "that is logged in."
        )


def looked_for() -> str:
    """Return what archives are recognised by, one line per part."""
    return "\n".join(f"  {part.title}: {part.looks}" for part in PARTS)


def _find(part: Part, archive: Archive) -> Found | None:
    sign = re.compile(rf"(?:.*/)?(?P<rest>{part.sign})")
    matches = (sign.fullmatch(member.name) for member in archive.members)
    bases = sorted({match.string[: match.start("rest")] for match in matches if match})
    if not bases:
        return None
    if len(bases) > 1:
        listed = ", ".join(base or "its top" for base in bases[:3])
        raise DatasetError(
            f"{archive.title} holds {part.title} {len(bases)} times ({listed}). Pack one of them."
        )
    keep, base = re.compile(part.keep), bases[0]
    below = {m: m.name[len(base) :] for m in archive.members if m.name.startswith(base)}
    kept = {member: rest for member, rest in below.items() if keep.fullmatch(rest)}
    return Found(part, {m: f"{part.folder}/{rest}" if part.folder else rest for m, rest in kept.items()})


def _unknown(archive: Archive) -> DatasetError:
    names = [member.name for member in archive.members]
    holds = "no files"
    if names:
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        holds = ", ".join(repr(name[:100]) for name in names[:_SHOWN]) + more
    return DatasetError(
        f"{archive.title} is none of the official archives. It holds {holds}. What was looked for, in any folder:\n"
        f"{looked_for()}"
    )
