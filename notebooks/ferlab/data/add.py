"""Put an official archive where the loaders look: all of it, checked, or nothing.

Files are taken that are named as in an official release; what else an archive holds is passed over. They are unpacked
into ``<data folder>/.adding-…/``, on the same disk as their destination, checked there by the dataset's own loader, and
only then renamed into place. Data that are there already are never touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from fercore import datasets
from fercore.datasets import ck48, ckplus, fer2013, ferg, jaffe
from fercore.emotions import NAMES
from fercore.errors import DatasetError, DatasetNotFoundError, FercoreError

# Of members and bytes in an archive; and how much larger than the archive what is in it may be, to stop archive bombs.
MAX_MEMBERS, MAX_BYTES = 500_000, 20 * 10**9
MAX_RATIO, RATIO_FROM = 100, 50 * 10**6
# The folders that CK+ cannot do without, and the archives that bring them.
CKPLUS_NEEDED = {ckplus.IMAGES: "extended-cohn-kanade-images.zip", ckplus.EMOTION: "Emotion_labels.zip"}
_SPLIT = f"(?:train|test)/(?ai:{'|'.join(NAMES)})/(?i:Training|PublicTest|PrivateTest)"
_CHARACTER = f"(?:{'|'.join(ferg.CHARACTERS)})/[a-z]+_(?:{'|'.join(ferg.EMOTIONS)})"
_FRAME = "S[0-9]{3}/[0-9]{3}/S[0-9]{3}_[0-9]{3}_[0-9]+"
# What the files of each dataset are called, and the folder they go to below the dataset's own. The characters are
# spelled out, so that no name leads elsewhere.
_RULES = [
    (dataset, folder, re.compile(f"(?:.*/)?({name})"))
    for dataset, folder, name in (
        ("fer2013", ".", r"fer2013\.csv|icml_face_data\.csv"),
        ("fer2013", ".", rf"{_SPLIT}_[0-9]+\.(?i:jpe?g|png)"),
        ("ferplus", ".", re.escape(fer2013.VOTES_FILE)),
        ("ferg", ferg.TOP, rf"{_CHARACTER}/[A-Za-z]+_[A-Za-z]+_[0-9]+\.png"),
        ("jaffe", jaffe.TOPS[0], rf"[A-Z]{{2}}\.(?:{'|'.join(jaffe.EMOTIONS)})[0-9]\.[0-9]+\.tiff?"),
        ("ckplus", ckplus.IMAGES, rf"{_FRAME}\.png"),
        ("ckplus", ckplus.EMOTION, rf"{_FRAME}_emotion\.txt"),
        ("ckplus", ckplus.LANDMARKS, rf"{_FRAME}_landmarks\.txt"),
        ("ckplus", "FACS", rf"{_FRAME}_facs\.txt"),
        ("ck48", ck48.TOP, rf"(?:{'|'.join(ck48.EMOTIONS)})/S[0-9]{{3}}_[0-9]{{3}}_[0-9]+\.png"),
    )
]


@dataclass(frozen=True)
class Added:
    """What an archive has brought, what the loader said of it, and what CK+ still lacks: folders and archives."""

    dataset: str
    title: str
    folder: Path
    files: int
    images: int | None
    skipped: tuple[str, ...]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Member:
    """A file or folder in an archive; the name of a folder ends in a slash, a link or device is not regular."""

    name: str
    size: int
    regular: bool
    open: Callable[[], IO[bytes]]


def add(
    path: str | Path, root: str | Path | None = None, verify: bool = True, progress: bool = True
) -> Added:
    """Add a zip, a tar or a bare CSV file of FER2013 or FER+ to the data folder, checked by the loader.

    Where that cannot be (``DatasetNotFoundError``, ``DatasetError``), the data folder is as before.
    """
    path, root = Path(path), Path(datasets.data_root() if root is None else root).absolute()
    if not path.is_file():
        raise DatasetNotFoundError(f"{path} is no file. Name the zip, tar.gz or CSV file as you got it.")
    new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=root, ignore_cleanup_errors=True) as working:
            return _add(path, root, Path(working), verify, progress)
    except FercoreError:
        raise
    except OSError as error:
        raise DatasetError(f"{path} could not be added to {root} ({error}). See to the disk.") from error
    finally:
        if new:
            with contextlib.suppress(OSError):  # something was added
                root.rmdir()


def missing_parts(root: str | Path) -> dict[str, str]:
    """Return the folders that CK+ still lacks before it can be loaded, with the archives that hold them."""
    top = _folder(Path(root), "ckplus")
    return {folder: archive for folder, archive in CKPLUS_NEEDED.items() if not (top / folder).is_dir()}


def check_votes(path: Path) -> None:
    """Check that ``fer2013new.csv`` has votes for every image of FER2013, split by split (``DatasetError``)."""
    counts = fer2013.ABOUT.counts
    fer2013.read_votes(path, np.repeat(list(counts), [sum(part.values()) for part in counts.values()]))


def _add(path: Path, root: Path, working: Path, verify: bool, progress: bool) -> Added:
    with _reading(path), _opened(path) as members:
        dataset, places = _recognise(path, members)
        target = _folder(root, dataset)
        staged = working / target.relative_to(root)
        tops = sorted({place.parts[0] for place in places})
        _refuse_present(path, root, dataset, tops)
        for place, member in tqdm(places.items(), desc="Unpacking", unit="file", disable=not progress):
            (staged / place).parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, open(staged / place, "xb") as file:
                shutil.copyfileobj(source, file)
    for part in (ckplus.IMAGES, ckplus.EMOTION, ckplus.LANDMARKS) if dataset == "ckplus" else ():
        if (target / part).is_dir() and not (staged / part).exists():  # so that the loader sees them together
            (staged / part).symlink_to(target / part)
    images, skipped = _verified(path, dataset, working, progress) if verify else (None, ())
    missing = missing_parts(working) if dataset == "ckplus" else {}
    _place(tops, staged, target)
    _keep_cache(working / ".cache", root / ".cache")
    title = "FER+" if dataset == "ferplus" else datasets.title(dataset)
    return Added(dataset, title, target, len(places), images, skipped, missing)


def _folder(root: Path, dataset: str) -> Path:
    """Return where a dataset goes: to a copy of CK+ below its own top folder, if there is one."""
    wrapped = root / "ckplus" / ckplus.TOP
    return wrapped if dataset == "ckplus" and wrapped.is_dir() else root / dataset


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever zipfile, tarfile and zlib raise on damaged input into one error."""
    try:
        yield
    except Exception as error:
        if isinstance(error, FercoreError) or (isinstance(error, OSError) and error.errno):
            raise
        raise DatasetError(f"{path} is damaged or cut short ({error!r:.99}). Download it again.") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Iterable[Member]]:
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            yield _tar_members(archive)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield _zip_members(archive)
    else:
        yield [Member(_table_name(path), path.stat().st_size, True, partial(path.open, "rb"))]


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        regular = kind in (0, stat.S_IFREG, stat.S_IFDIR)
        yield Member(info.filename, info.file_size, regular, partial(archive.open, info))


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        name = info.name + "/" * info.isdir()
        regular = info.isdir() or (info.isfile() and not info.issparse())
        yield Member(name, info.size, regular, partial(archive.extractfile, info))
    while archive.fileobj.read(2**20):  # gzip compares its checksum at the very end
        pass


def _table_name(path: Path) -> str:
    """Return the name under which the loaders look for a bare table, by its columns."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        columns = {name.strip(' "\n').lower() for name in file.readline(1000).split(",")}
    if {"usage", "neutral", "contempt"} <= columns:
        return fer2013.VOTES_FILE
    if {"emotion", "pixels", "usage"} <= columns:
        return "fer2013.csv"
    raise DatasetError(
        f"{path} is neither a zip or tar archive nor a table of FER2013 (columns emotion, pixels, Usage) or FER+. "
        "It may be cut short, or a web page that was saved in its place: download it again."
    )


def _recognise(path: Path, members: Iterable[Member]) -> tuple[str, dict[Path, Member]]:
    """Return the dataset that an archive holds, and its files by their places in the dataset's folder."""
    found: dict[str, dict[Path, Member]] = {}
    for member in _safe(path, members):
        for dataset, folder, rule in _RULES:
            if match := rule.fullmatch(member.name):
                place = Path(folder, match[1])
                if found.setdefault(dataset, {}).setdefault(place, member) is not member:
                    raise DatasetError(f"{path} holds {place} twice. Pack one of the two copies.")
                break
    if len(found) != 1:
        holds = " and ".join(found) or "no file that is named as in one of the releases"
        raise DatasetError(
            f"{path} holds {holds}. `ferlab data status` lists what can be added, one at a time."
        )
    return found.popitem()


def _safe(path: Path, members: Iterable[Member]) -> Iterator[Member]:
    """Yield the members, hidden ones left out; refuse the archive at the first that is unsafe."""
    total, limit = 0, min(MAX_BYTES, max(RATIO_FROM, MAX_RATIO * path.stat().st_size))
    for count, member in enumerate(members, 1):
        total += member.size
        parts = member.name.replace("\\", "/").split("/")
        why = ""
        if not parts[0] or ".." in parts or ":" in parts[0]:
            why = f"the name of {member.name[:100]!r} leads out of its folder"
        elif not member.regular:
            why = f"{member.name[:100]!r} is a link, a device or a sparse file"
        elif count > MAX_MEMBERS or not 0 <= member.size <= total <= limit:
            why = f"it has more than {MAX_MEMBERS:,} members or {limit:,} bytes"
        if why:
            raise DatasetError(
                f"{path} was refused: {why}. Official archives are not like this: get it again."
            )
        if not any(part == "__MACOSX" or (part.startswith(".") and part != ".") for part in parts):
            yield member


def _refuse_present(path: Path, root: Path, dataset: str, tops: Iterable[str]) -> None:
    """Refuse to add to what is there already; only parts of CK+ may join others, and the votes FER2013."""
    folder = _folder(root, dataset)
    present = [folder / top for top in tops]
    if dataset == "ferplus":
        present.append(root / "fer2013" / fer2013.VOTES_FILE)
    elif dataset != "ckplus":
        present += [entry for entry in sorted(folder.glob("[!.]*")) if entry.name != fer2013.VOTES_FILE]
    for entry in present:
        if os.path.lexists(entry):
            raise DatasetError(f"{path} was not added: {entry} is there already. Move it away first.")


def _verified(path: Path, dataset: str, working: Path, progress: bool) -> tuple[int | None, tuple[str, ...]]:
    """Have the loader check what was unpacked; return the images it reads, and what it passed over."""
    try:
        if dataset == "ferplus":
            check_votes(working / dataset / fer2013.VOTES_FILE)
        elif dataset != "ckplus" or not missing_parts(working):
            data = datasets.load(dataset, root=working, progress=progress)
            return len(data), data.skipped
        return None, ()
    except FercoreError as error:
        reason = str(error).replace(f"{working}{os.sep}", "")
        raise DatasetError(f"{path} was not added. {reason} To add it as it is: `--no-verify`.") from error


def _place(tops: Iterable[str], staged: Path, target: Path) -> None:
    """Rename what was unpacked into place: all of it, or nothing."""
    target.mkdir(parents=True, exist_ok=True)
    try:
        for top in tops:
            (staged / top).rename(target / top)
    except BaseException:
        for top in tops:
            if not (staged / top).exists():
                (target / top).rename(staged / top)
        with contextlib.suppress(OSError):  # not empty: something was there before
            target.rmdir()
        raise


def _keep_cache(filled: Path, kept: Path) -> None:
    """Move what the check has read to where the loaders look; without it they would read all images anew."""
    with contextlib.suppress(OSError):
        entries = list(filled.iterdir())
        kept.mkdir(exist_ok=True)
        for entry in entries:
            shutil.rmtree(kept / entry.name, ignore_errors=True)
            entry.rename(kept / entry.name)
