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

from fercore.datasets.base import COLUMNS, FaceDataset
from fercore.errors import FercoreError

VERSION = 1  # of the readers: raise it when one of them gives other images, labels or columns
_FACTS = ("name", "title", "checksum", "source", "skipped")
_IN_MEMORY = 2**28  # sets of more bytes stay on the disk, memory-mapped


def cached(
    root: Path,
    name: str,
    files: Iterable[Path],
    options: dict[str, Any],
    build: Callable[[Path], FaceDataset],
) -> FaceDataset:
    """Return a dataset from the cache, or build it from ``files`` and JSON-able ``options`` and keep it.

    ``build`` checks the data, for nothing is checked later; it may write the images to the ``.npy`` file it is given.
    Where the cache cannot be written (a read-only folder, a full disk) there is a warning and the dataset all the same.
    """
    about = {"version": VERSION, "options": options, "files": _fingerprint(files, root)}
    of_options = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]
    entry = root / ".cache" / f"{name}-{of_options}"
    if (found := _read(entry, about)) is not None:
        return found
    reason = "it was changed at once"
    try:
        _make(entry, about, build)
    except FercoreError:
        raise
    except OSError as error:
        reason = str(error)
    if (found := _read(entry, about)) is not None:  # also if another process was faster
        return found
    said = f"{entry}: the cache could not be written ({reason}); the dataset will be read anew each time."
    warnings.warn(said, UserWarning, stacklevel=4)
    with tempfile.TemporaryDirectory() as folder:
        data = build(Path(folder, "images.npy"))
        return replace(data, images=np.array(data.images))  # their file is about to go


def _fingerprint(paths: Iterable[Path], root: Path) -> str:
    """Return the SHA-256 of names below ``root``, sizes and modification times of files, in their order."""
    content, above = hashlib.sha256(), os.fsencode(root)
    for path in paths:
        status, name = path.stat(), os.fsencode(path).removeprefix(above)
        content.update(name + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return content.hexdigest()


def _make(entry: Path, about: dict[str, Any], build: Callable[[Path], FaceDataset]) -> None:
    """Write an entry beside its place and rename it, so that nobody ever sees half of one."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{entry.name}.", dir=entry.parent) as folder:
        working = Path(folder, "entry")
        working.mkdir()
        data = build(working / "images.npy")
        if not (working / "images.npy").exists():
            np.save(working / "images.npy", data.images)
        columns = {column: getattr(data, column) for column in COLUMNS if getattr(data, column) is not None}
        columns |= {f"extra_{name}": rows for name, rows in data.extras.items()}
        np.savez(working / "columns.npz", **columns)
        facts = {fact: getattr(data, fact) for fact in _FACTS}
        (working / "about.json").write_text(json.dumps(about | {"facts": facts}), encoding="utf-8")
        if entry.exists():  # of other files
            shutil.rmtree(entry)
        working.rename(entry)


def _read(entry: Path, about: dict[str, Any]) -> FaceDataset | None:
    """Read an entry; None if there is none, it is of other files, or it is damaged."""
    try:
        kept = json.loads((entry / "about.json").read_text(encoding="utf-8"))
        if {name: kept.get(name) for name in about} != about:
            return None
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        with np.load(entry / "columns.npz", allow_pickle=False) as columns:
            rows = {name: columns[name] for name in columns.files}
        extras = {name.removeprefix("extra_"): rows.pop(name) for name in list(rows) if name not in COLUMNS}
        facts = kept["facts"] | {"skipped": tuple(kept["facts"]["skipped"])}
        small = images.nbytes <= _IN_MEMORY
        return FaceDataset(images=np.array(images) if small else images, extras=extras, **rows, **facts)
    except Exception:  # NumPy and zipfile raise TokenError, NotImplementedError and others on damaged files
        return None
