"""A dataset read once is read fast ever after, until one of its files changes.

A cache entry is a folder ``<data folder>/.cache/<dataset>-<options>/`` with the images as a memory-mapped array and the
rest beside them. It holds a fingerprint of the files it was made from: their names, sizes and times of change.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fercore.datasets.base import FaceDataset
from fercore.errors import FercoreError

VERSION = 1  # of the readers: raise it when one of them gives other images, labels or columns
_COLUMNS = ("labels", "subjects", "groups", "usage", "paths")
_IN_MEMORY = 2**28  # sets of more bytes stay on the disk, memory-mapped


def fingerprint(paths: Iterable[Path], root: Path) -> str:
    """Return the SHA-256 of names below ``root``, sizes and modification times of files, in their order."""
    content, above = hashlib.sha256(), os.fsencode(root)
    for path in paths:
        status = path.stat()
        content.update(
            os.fsencode(path).removeprefix(above) + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode()
        )
    return content.hexdigest()


def cached(
    root: Path,
    name: str,
    files: Iterable[Path],
    options: dict[str, Any],
    build: Callable[[Path], FaceDataset],
) -> FaceDataset:
    """Return a dataset from the cache, or build it and keep it.

    Args:
        root: The data folder.
        name: Of the dataset.
        files: All files that it is read from, in a fixed order.
        options: What else decides its content, JSON-able.
        build: Makes the dataset; is given a file name under which it may write the images, as
            :func:`fercore.datasets.folders.read_images` does. It checks the data, for nothing is checked later.

    Returns:
        The dataset; its images are in memory up to 256 MiB, else memory-mapped and read-only.

    Raises:
        DatasetError: As ``build`` does; nothing is kept then.
        OSError: If there is no room for temporary files either, or a file cannot be read.

    Warns:
        UserWarning: If the cache cannot be written (a read-only folder, a full disk); the dataset is returned all the
            same, from memory.
    """
    about = {"version": VERSION, "options": options, "files": fingerprint(files, Path(root))}
    of_options = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]
    entry = Path(root) / ".cache" / f"{name}-{of_options}"
    if (found := _read(entry, about)) is not None:
        return found
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    except OSError as error:
        return _without_cache(entry, error, build)
    try:
        data = build(working / "images.npy")
        _write(working, data, about)
        _put_in_place(working, entry)
    except OSError as error:
        if isinstance(error, FercoreError):
            raise
        shutil.rmtree(working, ignore_errors=True)  # there may be room now, where temporary files go
        return _without_cache(entry, error, build)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return _read(entry, about) or _without_cache(entry, OSError("it was changed at once"), build)


def _without_cache(entry: Path, error: OSError, build: Callable[[Path], FaceDataset]) -> FaceDataset:
    warnings.warn(
        f"{entry}: the cache could not be written ({error}); the dataset will be read anew each time.",
        UserWarning,
        stacklevel=4,
    )
    with tempfile.TemporaryDirectory() as folder:
        return _in_memory(build(Path(folder, "images.npy")))


def _in_memory(data: FaceDataset) -> FaceDataset:
    """Copy memory-mapped images, whose file is about to go."""
    return replace(data, images=np.array(data.images))


def _write(folder: Path, data: FaceDataset, about: dict[str, Any]) -> None:
    """Write a dataset into a folder; images that ``build`` has written there already stay."""
    if not (folder / "images.npy").exists():
        np.save(folder / "images.npy", data.images)
    columns = {name: getattr(data, name) for name in _COLUMNS if getattr(data, name) is not None}
    columns |= {f"extra_{name}": column for name, column in data.extras.items()}
    np.savez(folder / "columns.npz", **columns)
    facts = {name: getattr(data, name) for name in ("name", "title", "checksum", "source", "skipped")}
    (folder / "about.json").write_text(json.dumps(about | {"facts": facts}), encoding="utf-8")


def _put_in_place(working: Path, entry: Path) -> None:
    """Rename a finished folder to its name; one that was there, of other files, goes."""
    if entry.exists():
        shutil.rmtree(entry)
    working.chmod(0o755)
    try:
        working.rename(entry)
    except OSError:
        if not entry.exists():  # else another process was faster, with the same content
            raise


def _read(entry: Path, about: dict[str, Any]) -> FaceDataset | None:
    """Read an entry; None if there is none, it is of other files, or it is damaged."""
    try:
        kept = json.loads((entry / "about.json").read_text(encoding="utf-8"))
        if {name: kept.get(name) for name in about} != about:
            return None
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        with np.load(entry / "columns.npz", allow_pickle=False) as columns:
            rows = {name: columns[name] for name in columns.files}
        extras = {name.removeprefix("extra_"): rows.pop(name) for name in list(rows) if name not in _COLUMNS}
        facts = kept["facts"] | {"skipped": tuple(kept["facts"]["skipped"])}
        small = images.nbytes <= _IN_MEMORY
        return FaceDataset(images=np.array(images) if small else images, extras=extras, **rows, **facts)
    except Exception:  # NumPy and zipfile raise TokenError, NotImplementedError and others on damaged files
        return None
