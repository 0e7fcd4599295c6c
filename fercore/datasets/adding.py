"""Put an official archive where the loaders look: all of it, checked, or nothing.

The archive is unpacked into ``<data folder>/.adding-…/``, which lies on the same disk as its destination. There the
loader compares it with the official counts, and only then is it renamed into place. What has to make way is moved aside
and removed at the very end, so a failure or Ctrl-C at any time leaves the data folder as it was.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fercore import datasets
from fercore.archives import Archive, kind, opened, single, unpack
from fercore.datasets import ckplus, fer2013, ferplus
from fercore.datasets.reading import visible
from fercore.datasets.recognise import CKPLUS_NEEDED, FERPLUS, NESTED, Found, Part, recognise, table_name
from fercore.errors import DatasetError, DatasetNotFoundError, FercoreError

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
    ferplus.read_votes(path, np.repeat(list(counts), [sum(part.values()) for part in counts.values()]))


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
        if (votes := ferplus.find_votes(root)) is not None:
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
    return [entry for entry in _entries(job.root / job.folder) if entry.name != ferplus.VOTES_FILE]


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
            check_votes(root / job.folder / ferplus.VOTES_FILE)
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
