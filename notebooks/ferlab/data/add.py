"""Put an official archive where the loaders look: all of it, checked, or nothing.

The archive is unpacked into ``<data folder>/.adding-…/``, which lies on the same disk as its destination. There the
loader compares it with the official counts, and only then is it renamed into place. What has to make way is moved aside
and removed at the very end, so a failure or Ctrl-C at any time leaves the data folder as it was.
"""

from __future__ import annotations
import unicodedata
from dataclasses import dataclass, field
from typing import Any, NoReturn
from fercore.errors import DatasetError
import contextlib
import gzip
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO
from tqdm import tqdm
import csv
import re
from fercore.datasets import ck48
from fercore.datasets import ckplus
from fercore.datasets import ferg
from fercore.datasets import fer2013
from fercore.datasets import jaffe
from fercore.datasets.ckplus import EMOTION
from fercore.datasets.ckplus import IMAGES
from fercore.emotions import NAMES
import itertools
import os
import tempfile
import numpy as np
from fercore import datasets
from fercore.datasets.folders import visible
from fercore.errors import DatasetNotFoundError
from fercore.errors import FercoreError


MAX_MEMBERS = 500_000
MAX_TOTAL = 20 * 10**9  # bytes
MAX_RATIO = 200  # of unpacked to packed size of a member, for more than:
RATIO_FROM = 10 * 10**6  # bytes
MAX_TOTAL_RATIO = 100  # of all that is unpacked to the archive's size, for more than:
TOTAL_RATIO_FROM = 50 * 10**6  # bytes


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: Relative, with forward slashes, checked by :func:`safe_name`.
        size: Bytes, as the archive declares them.
        raw: What the archive's own module knows it by.
    """

    name: str
    size: int
    raw: Any = field(default=None, compare=False, repr=False)


def safe_name(name: str) -> str:
    """Return a member's name without empty and ``.`` parts; ``""`` if nothing is left.

    Raises:
        ValueError: If it could lead anywhere but to a place below the folder it is unpacked into; says why.
    """
    if name.startswith("/"):
        raise ValueError("is an absolute path")
    if "\\" in name:
        raise ValueError("has a backslash in its name")
    if ":" in name:
        raise ValueError("has a colon in its name, as drives have")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise ValueError("has a character in its name that is no text")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    # Windows drops dots and blanks at the end of a name: ".. " is ".." there.
    if any(not part.rstrip(" .") for part in parts):
        raise ValueError("leads out of its folder")
    return "/".join(parts)


def in_bytes(count: float) -> str:
    """Return a number of bytes for people: ``"1.2 GB"``."""
    if count < 1000:
        return f"{count} bytes"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:,.1f} GB"


class Inspector:
    """Takes the members one after the other and refuses the archive at the first that breaks a rule.

    Args:
        title: Name of the archive, for messages.
        packed: Size of the archive in bytes.

    Attributes:
        members: The files taken, without what macOS leaves in archives.
    """

    def __init__(self, title: str, packed: int) -> None:
        self.title = title
        self.members: list[Member] = []
        self._packed = packed
        self._count = self._total = 0
        self._last = ""
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def where(self) -> str:
        """Say how far the members could be listed."""
        return f"after the member {self._last!r}" if self._last else "at its start"

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise the ``DatasetError`` that names the archive, a member, and the rule that it breaks."""
        raise DatasetError(
            f"{self.title} was refused: {name[:100]!r} {why}. Nothing was unpacked. The official archives are not "
            "like this: get yours again from its owner."
        )

    def take(self, name: str, size: int, packed: int | None, folder: bool, raw: Any = None) -> None:
        """Check the next member and keep it.

        Args:
            name: As the archive has it.
            size: Declared size in bytes.
            packed: Compressed size in bytes; None where only the archive as a whole has one.
            folder: It is a folder.
            raw: What the archive's own module knows it by.

        Raises:
            DatasetError: If it breaks a rule.
        """
        self._count += 1
        if self._count > MAX_MEMBERS:
            self.refuse(name, f"is one of more than {MAX_MEMBERS:,} members")
        try:
            clean = safe_name(name)
        except ValueError as error:
            self.refuse(name, str(error))
        if not clean and not folder:
            self.refuse(name, "is a file without a name")
        self._weigh(name, size, packed)
        self._refuse_collision(name, clean, folder)
        self._last = clean
        if not folder and not _is_junk(clean):
            self.members.append(Member(clean, size, raw))

    def _weigh(self, name: str, size: int, packed: int | None) -> None:
        self._total += size
        if size < 0:
            self.refuse(name, "has a negative size")
        if self._total > MAX_TOTAL:
            self.refuse(name, f"brings the archive to more than {in_bytes(MAX_TOTAL)}")
        if packed is not None and size > RATIO_FROM and size > MAX_RATIO * packed:
            self.refuse(name, f"makes {in_bytes(size)} out of {in_bytes(packed)}, more than {MAX_RATIO} : 1")
        total, archive = self._total, self._packed
        if total > TOTAL_RATIO_FROM and total > MAX_TOTAL_RATIO * archive:
            brings = f"brings what is unpacked to {in_bytes(total)} out of {in_bytes(archive)}"
            self.refuse(name, f"{brings}, more than {MAX_TOTAL_RATIO} : 1")

    def _refuse_collision(self, name: str, clean: str, folder: bool) -> None:
        if not clean:  # "./", the folder itself
            return
        key = _key(clean)
        parents = [key[:end] for end, letter in enumerate(key) if letter == "/"]
        if key in self._files or (key in self._folders and not folder) or not self._files.isdisjoint(parents):
            self.refuse(
                name,
                "is there twice, or beside a name that differs only in case or spelling, or as file and folder",
            )
        self._folders.update(parents)
        (self._folders if folder else self._files).add(key)


def _key(name: str) -> str:
    """Return a name as the most forgiving file system compares it."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return "/".join(part.rstrip(" .") for part in folded.split("/"))


def _is_junk(name: str) -> bool:
    """Tell whether a member is what macOS leaves in archives."""
    *folders, last = name.split("/")
    return "__MACOSX" in folders or last == ".DS_Store" or last.startswith("._")


_BLOCK = 2**20
_MAX_HEADER = 2**24  # tarfile reads a header in one piece, however long it claims to be
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000  # zip's flags: encrypted, strongly encrypted, directory encrypted
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others, zipfile does not bound the memory
_TAR_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
)
_MAGIC = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "tar.gz"}
_FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True)
class Archive:
    """An open archive whose members all keep the rules of this module.

    Attributes:
        title: The archive's name, for messages.
        members: Its files, without folders and without what operating systems leave behind.
        open: Gives the bytes of a member.
    """

    title: str
    members: tuple[Member, ...]
    open: Callable[[Member], IO[bytes]]


def kind(path: Path) -> str | None:
    """Return ``"zip"``, ``"tar"`` or ``"tar.gz"`` by a file's first bytes; None if it is no archive.

    Raises:
        DatasetError: If it is an archive of another kind.
    """
    with open(path, "rb") as file:
        start = file.read(512)
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise DatasetError(
                f"{path} is a {name} archive. Only zip, tar and tar.gz are read here: unpack it yourself, pack the "
                "folder as zip, and add that."
            )
    if start[257:262] == b"ustar":
        return "tar"
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)


@contextlib.contextmanager
def opened(path: Path, title: str | None = None) -> Iterator[Archive]:
    """Open an archive and check all its members.

    Args:
        path: Zip, tar or tar.gz.
        title: What to call it in messages; its path by default.

    Yields:
        The archive.

    Raises:
        DatasetError: If it is of another kind, damaged, or breaks a rule of this module.
    """
    title = title or str(path)
    inspector = Inspector(title, path.stat().st_size)
    sort = kind(path)
    if sort is None:
        raise DatasetError(
            f"{title} is neither a zip nor a tar archive, nor a CSV file of FER2013 or FER+. It may be damaged: "
            "download it again."
        )
    with contextlib.ExitStack() as stack:
        with _reading(title, inspector.where):
            if sort == "zip":
                reader = stack.enter_context(zipfile.ZipFile(path))
                _list_zip(reader, inspector)
            else:
                reader = _open_tar(path, sort, stack)
                _list_tar(reader, inspector)
        yield Archive(title, tuple(inspector.members), lambda member: _open_member(reader, member))


@contextlib.contextmanager
def single(path: Path, name: str) -> Iterator[Archive]:
    """Treat a file that is no archive as one with a single member of a given name."""
    yield Archive(str(path), (Member(name, path.stat().st_size),), lambda _: path.open("rb"))


def unpack(archive: Archive, places: Mapping[Member, str], folder: Path, progress: bool = True) -> None:
    """Copy members to places in a folder. If it fails, what has been written is left to the caller to remove.

    Args:
        archive: An open archive.
        places: For each member its path below ``folder``.
        folder: Where to write; nothing in it is overwritten.
        progress: Show a progress bar.

    Raises:
        DatasetError: If the disk is too small, a member is damaged, or it is not as long as declared.
    """
    targets = {member: folder / safe_name(place) for member, place in places.items()}
    total = sum(member.size for member in targets)
    _check_space(archive, folder, total)
    style = {"unit": "B", "unit_scale": True, "desc": "Unpacking", "disable": not progress}
    with tqdm(total=total, **style) as bar:
        for member, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:
                for block in _blocks(archive, member):
                    file.write(block)
                    bar.update(len(block))


@contextlib.contextmanager
def _reading(title: str, where: Callable[[], str]) -> Iterator[None]:
    """Turn what the archive modules raise on damaged input into one error that names archive and place."""
    try:
        yield
    except DatasetError:
        raise
    except _DAMAGE as error:
        raise DatasetError(
            f"{title} is damaged or cut short {where()} ({error}). Copy or download it again."
        ) from error


def _list_zip(reader: zipfile.ZipFile, inspector: Inspector) -> None:
    for info in reader.infolist():
        name = info.orig_filename  # zipfile cuts `filename` at a null character
        mode = info.external_attr >> 16
        if info.flag_bits & _ENCRYPTED:
            inspector.refuse(name, "is encrypted")
        if info.compress_type not in _ZIP_METHODS:
            inspector.refuse(name, f"is packed by zip's method {info.compress_type}, which is not read here")
        if stat.S_ISLNK(mode):
            inspector.refuse(name, "is a symbolic link")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            inspector.refuse(name, "is a device or a pipe")
        folder = name.endswith("/") or stat.S_ISDIR(mode)
        inspector.take(name, info.file_size, info.compress_size, folder, info)


class _Frugal:
    """A file that gives no more at once than an honest header needs."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _open_tar(path: Path, sort: str, stack: contextlib.ExitStack) -> tarfile.TarFile:
    opener = gzip.open if sort == "tar.gz" else open
    file = stack.enter_context(opener(path, "rb"))
    return stack.enter_context(tarfile.TarFile(fileobj=_Frugal(file)))


def _list_tar(reader: tarfile.TarFile, inspector: Inspector) -> None:
    for info in reader:
        if info.issym() or info.islnk():
            inspector.refuse(info.name, f"is a {'symbolic' if info.issym() else 'hard'} link")
        if info.type not in (*_TAR_FILES, tarfile.DIRTYPE) or info.issparse():
            inspector.refuse(info.name, "is a device, a pipe or a sparse file")
        inspector.take(info.name, info.size, None, info.isdir(), info)
    # tarfile takes a broken header for the end; and gzip's checksum comes after it.
    reader.fileobj.seek(reader.offset)
    end = reader.fileobj.read(_BLOCK)
    if len(end) < tarfile.BLOCKSIZE or any(end[: tarfile.BLOCKSIZE]):
        raise tarfile.ReadError("the mark of the end is missing")


def _open_member(reader: zipfile.ZipFile | tarfile.TarFile, member: Member) -> IO[bytes]:
    return reader.open(member.raw) if isinstance(reader, zipfile.ZipFile) else reader.extractfile(member.raw)


def _blocks(archive: Archive, member: Member) -> Iterator[bytes]:
    """Yield the bytes of a member in blocks, never more than it declared."""
    came = 0
    with _reading(archive.title, lambda: f"in the member {member.name!r}"), archive.open(member) as stream:
        while came <= member.size and (block := stream.read(_BLOCK)):
            came += len(block)
            if came <= member.size:
                yield block
    if came != member.size:
        more = "more" if came > member.size else "less"
        raise DatasetError(
            f"{archive.title} is damaged or forged: {member.name!r} holds {more} than the {member.size:,} bytes it "
            "declares. Copy or download it again."
        )


def _check_space(archive: Archive, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DatasetError(
            f"{archive.title} needs {in_bytes(needed)}, but only {in_bytes(free)} are free on the disk of "
            f"{folder.parent}. Make room, or name a folder on another disk with --root or FERCORE_DATA."
        )


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
    fer2013.VOTES_FILE,
    re.escape(fer2013.VOTES_FILE),
    re.escape(fer2013.VOTES_FILE),
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
    _ckplus("landmarks", "Landmarks.zip", ckplus.LANDMARKS, r"_landmarks\.txt"),
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
        return fer2013.VOTES_FILE
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


_OLD = ".old"  # in the working folder: what has made way
_CACHE = ".cache"  # where `fercore.datasets.cache.cached` keeps its entries, below a data folder


@dataclass(frozen=True)
class Added:
    """What an archive has brought.

    Attributes:
        dataset: Key for the loader.
        parts: What was in the archive.
        folder: Where it lies now.
        files: Number of files that were unpacked.
        images: Number of images that the loader reads; None where it could not or should not be asked.
        skipped: What the loader passed over, one sentence each.
        missing: Parts of the dataset that have to be added before it can be loaded.
    """

    dataset: str
    parts: tuple[Part, ...]
    folder: Path
    files: int
    images: int | None = None
    skipped: tuple[str, ...] = ()
    missing: tuple[Part, ...] = ()


@dataclass(frozen=True)
class _Job:
    """One archive on its way; ``folder`` is the name of its destination in ``root``, and in ``working`` until then."""

    title: str
    found: tuple[Found, ...]
    root: Path
    working: Path
    folder: Path
    replace: bool
    verify: bool
    progress: bool

    @property
    def whole(self) -> bool:
        """The archive holds a dataset and not only parts that join others."""
        return any(not hit.part.merges for hit in self.found)


def add(
    path: str | Path,
    root: str | Path | None = None,
    replace: bool = False,
    verify: bool = True,
    progress: bool = True,
) -> Added:
    """Add an official archive to the data folder.

    Args:
        path: Zip, tar or tar.gz as its owner gives it, or a bare CSV file of FER2013 or FER+.
        root: The data folder; :func:`fercore.datasets.data_root` by default.
        replace: Put it in the place of what is there already.
        verify: Compare it with the official counts, by the loader, before it is put in place.
        progress: Show progress bars.

    Returns:
        What was added, and where.

    Raises:
        DatasetNotFoundError: If there is no such file.
        DatasetError: If the archive is unknown, unsafe, damaged or not the official one, or the dataset is there
            already. The data folder is as before.
    """
    path, root = Path(path), Path(datasets.data_root() if root is None else root).absolute()
    if not path.is_file():
        what = "is a folder, not an archive" if path.is_dir() else "does not exist"
        raise DatasetNotFoundError(f"{path} {what}. Name the zip, tar.gz or CSV file as you got it.")
    try:
        with _working_folder(root) as working, _recognised(path, working, progress) as (archive, found):
            folder = _destination(root, found)
            job = _Job(str(path), found, root, working, folder, replace, verify, progress)
            return _add(job, archive)
    except FercoreError:
        raise
    except OSError as error:
        raise DatasetError(f"{path} could not be added to {root} ({error}).") from error


def missing_parts(root: str | Path) -> tuple[Part, ...]:
    """Return the parts that CK+ still lacks before it can be loaded."""
    top = _ckplus_top(Path(root))
    return tuple(part for part in CKPLUS_NEEDED if not (Path(root, top, part.folder)).is_dir())


def check_votes(path: Path) -> None:
    """Check that ``fer2013new.csv`` has a line of votes for every image of FER2013, split by split.

    Raises:
        DatasetError: If it is damaged or has other lines; names line and remedy.
    """
    counts = fer2013.ABOUT.counts
    fer2013.read_votes(path, np.repeat(list(counts), [sum(part.values()) for part in counts.values()]))


@contextlib.contextmanager
def _working_folder(root: Path) -> Iterator[Path]:
    """Make a folder beside the datasets; it goes at the end, with all that is left in it."""
    new = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=".adding-", dir=root))
    kept = False
    try:
        yield working
    except BaseException as error:
        old = working / _OLD
        if kept := old.is_dir() and any(
            old.iterdir()
        ):  # putting back has failed: this is somebody's only copy
            raise DatasetError(
                f"{old} holds what was there before and could not be put back. Do so."
            ) from error
        raise
    finally:
        if not kept:
            shutil.rmtree(working, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # not empty: the dataset is in it
                root.rmdir()


@contextlib.contextmanager
def _recognised(path: Path, working: Path, progress: bool) -> Iterator[tuple[Archive, tuple[Found, ...]]]:
    """Open what holds the dataset: a CSV file, an archive, or the archive of FER2013 inside Kaggle's."""
    name = table_name(path) if kind(path) is None else None
    with single(path, name) if name else opened(path) as archive:
        found = recognise(archive)
        inner = [member for hit in found if hit.part is NESTED for member in hit.places]
        if not inner:
            yield archive, found
            return
        unpack(archive, {inner[0]: ".inner"}, working, progress)
    with opened(working / ".inner", f"{path} ({inner[0].name} inside)") as archive:
        yield archive, recognise(archive, nested=True)


def _destination(root: Path, found: tuple[Found, ...]) -> Path:
    """Return where the files go, below the data folder; FER+ goes beside FER2013 where that is there."""
    dataset = found[0].part.dataset
    if dataset == "ckplus":
        return _ckplus_top(root)
    if all(hit.part is FERPLUS for hit in found):
        if (votes := fer2013.find_votes(root)) is not None:
            return votes.parent.relative_to(root)
        if not _entries(root / "fer2013"):
            return Path("ferplus")
    return Path(dataset)


def _ckplus_top(root: Path) -> Path:
    """Return the folder that holds the parts of CK+, below the data folder."""
    wrapped = Path("ckplus", ckplus.TOP)
    return wrapped if (root / wrapped).is_dir() else Path("ckplus")


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, hidden files left out; a file in its place is its own entry."""
    if folder.is_dir():
        return visible(list(folder.iterdir()))
    return [folder] if os.path.lexists(folder) else []


def _add(job: _Job, archive: Archive) -> Added:
    _refuse_overwriting(job, _in_the_way(job))
    places = {m: f"{job.folder.as_posix()}/{place}" for hit in job.found for m, place in hit.places.items()}
    unpack(archive, places, job.working, job.progress)
    dataset, parts = job.found[0].part.dataset, tuple(hit.part for hit in job.found)
    complete = job.whole or (dataset == "ckplus" and not missing_parts(job.working))
    facts = _verified(job, job.working, complete)
    with contextlib.ExitStack() as undo:
        _place(job, undo)
        missing = missing_parts(job.root) if dataset == "ckplus" else ()
        if dataset == "ckplus" and not complete and not missing:  # with the parts that were there before
            facts = _verified(job, job.root, True)
        _keep_cache(job)
        undo.pop_all()
    return Added(dataset, parts, job.root / job.folder, len(places), *facts, missing=missing)


def _in_the_way(job: _Job) -> list[Path]:
    """Return what is there already and would be replaced."""
    target = job.root / job.folder
    joining = [target / place for hit in job.found if hit.part.merges for place in hit.places.values()]
    return (_old_dataset(job) if job.whole else []) + [path for path in joining if os.path.lexists(path)]


def _old_dataset(job: _Job) -> list[Path]:
    """Return the files and folders of the dataset that is there; the votes of FER+ stay."""
    return [entry for entry in _entries(job.root / job.folder) if entry.name != fer2013.VOTES_FILE]


def _refuse_overwriting(job: _Job, occupied: list[Path]) -> None:
    if occupied and not job.replace:
        titles = " and ".join(hit.part.title for hit in job.found)
        more = f" and {len(occupied) - 1:,} more" if len(occupied) > 1 else ""
        raise DatasetError(
            f"{titles} was not added: {occupied[0]}{more} is there already. `--replace` puts {job.title} in its place."
        )


def _verified(job: _Job, root: Path, complete: bool) -> tuple[int | None, tuple[str, ...]]:
    """Check what lies under a data folder as far as it can be; return the images read, and what was passed over."""
    if not job.verify:
        return None, ()
    try:
        if any(hit.part is FERPLUS for hit in job.found):
            check_votes(root / job.folder / fer2013.VOTES_FILE)
        if not complete:
            return None, ()
        data = datasets.load(job.found[0].part.dataset, root=root, progress=job.progress)
        return len(data), data.skipped
    except FercoreError as error:
        reason = str(error).replace(f"{job.working}{os.sep}", "")
        raise DatasetError(
            f"{job.title} was not added, and nothing has changed. {reason} To add it as it is: `--no-verify`."
        ) from error


def _place(job: _Job, undo: contextlib.ExitStack) -> None:
    """Move the files from the working folder into place and what is there out of their way."""
    old = job.working / _OLD
    old.mkdir()
    aside = (old / str(number) for number in itertools.count())
    for entry in _old_dataset(job) if job.whole else []:
        _move(entry, next(aside), undo)
    for new, place in list(_moves(job.working / job.folder, job.root / job.folder)):
        if os.path.lexists(place):
            _refuse_overwriting(job, [place])
            _move(place, next(aside), undo)
        _move(new, place, undo)


def _keep_cache(job: _Job) -> None:
    """Move the loaders' cache, which the check has filled, to where they look; without it they read the images anew."""
    staged, kept = job.working / _CACHE, job.root / _CACHE
    with contextlib.suppress(OSError):
        entries = sorted(staged.iterdir())
        kept.mkdir(exist_ok=True)
        for entry in entries:
            shutil.rmtree(kept / entry.name, ignore_errors=True)
            entry.rename(kept / entry.name)


def _moves(new: Path, place: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the fewest renames that bring a folder's content into another."""
    if new.is_dir() and place.is_dir():
        for entry in sorted(new.iterdir()):
            yield from _moves(entry, place / entry.name)
    else:
        yield new, place


def _move(source: Path, target: Path, undo: contextlib.ExitStack) -> None:
    undo.callback(_move_back, source, target)  # before the move, so that nothing can come between the two
    source.rename(target)


def _move_back(source: Path, target: Path) -> None:
    if os.path.lexists(target):  # else the move was stopped before it began
        target.rename(source)
