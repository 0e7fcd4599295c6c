"""Folders of image files: what the loaders of FERG-DB, JAFFE, CK+, CK+48 and the folders of FER2013 share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from fercore.datasets.base import About, FaceDataset, content_checksum
from fercore.datasets.cache import cached
from fercore.emotions import Emotion
from fercore.errors import DatasetError

Box = tuple[float, float, float, float]  # left, upper, right, lower in pixels
_NAMED = 5  # passed-over files that are named; the others are only counted


@dataclass(frozen=True)
class Item:
    """One image that is to be read: its file, its columns, and what to cut out (None: the largest square)."""

    path: Path
    label: Emotion
    subject: str | None = None
    group: str | None = None
    usage: str | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Found:
    """What a loader found and chose: items in the order of the dataset, what is read and passed over, for people.

    ``strays`` are no part of the dataset and are counted; ``also`` are further files that the choice depends on.
    """

    items: Sequence[Item]
    strays: Sequence[Path]
    source: str
    skipped: tuple[str, ...] = ()
    also: Sequence[Path] = ()

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 labels of the items."""
        return np.array([int(item.label) for item in self.items], dtype=np.int64)

    def column(self, name: str) -> np.ndarray | None:
        """(N,) str values of the items' ``subject``, ``group`` or ``usage``; None where an item has none."""
        values = [getattr(item, name) for item in self.items]
        return None if None in values else np.array(values, dtype=str)


def read_found(
    about: About,
    root: str | Path,
    found: Found,
    check: Callable[[], None],
    size: int,
    channels: int,
    *,
    verify: bool,
    progress: bool,
    exact: bool = False,
    **options: Any,
) -> FaceDataset:
    """Read what was found, or take it from the cache: images (N, size, size, channels) uint8.

    ``check`` compares what was found with the official release, where ``verify`` asks for it; ``exact`` refuses images
    that have not this size already; ``options`` are what else decides the content.
    """
    folder, labels = about.folder(root), found.labels
    if not found.items:
        raise DatasetError(f"{folder} holds no images of {about.title} to read. {about.source}")

    def build(target: Path) -> FaceDataset:
        if verify:
            check()
        images = read_images(found.items, size, channels, target, about.title, progress, exact)
        return FaceDataset(
            name=about.name,
            title=about.title,
            images=images,
            labels=labels,
            checksum=content_checksum(images, labels),
            source=found.source,
            subjects=found.column("subject"),
            groups=found.column("group"),
            usage=found.column("usage"),
            paths=np.array([item.path.relative_to(folder).as_posix() for item in found.items]),
            skipped=found.skipped + _passed_over(about.title, found.strays),
        )

    files = [*(item.path for item in found.items), *found.also, *found.strays]
    options |= {"size": size, "verify": verify}
    return cached(Path(root), about.name, files, options, build)


def read_images(
    items: Sequence[Item], size: int, channels: int, target: Path, title: str, progress: bool, exact: bool
) -> np.ndarray:
    """Read (N, size, size, channels) uint8 into the ``.npy`` file ``target``, with one image in memory at a time."""
    with open(target, "wb") as file:
        if hasattr(os, "posix_fallocate"):  # else a full disk is noticed by a signal that kills the process
            os.posix_fallocate(file.fileno(), 0, len(items) * size * size * channels + 128)
    images = np.lib.format.open_memmap(target, "w+", np.uint8, (len(items), size, size, channels))
    bar = tqdm(items, desc=f"Reading {title}", unit="image", disable=not progress)
    for row, item in enumerate(bar):
        images[row] = read_image(item.path, size, channels, item.box, exact)
    images.flush()
    return images


def read_image(
    path: Path, size: int, channels: int, box: Box | None = None, exact: bool = False
) -> np.ndarray:
    """Read an image, grey (ITU-R 601 luma) or RGB, cut out a box and resize it (bicubic, antialiased).

    Returns (size, size, channels) uint8. A box may have fractions and lie outside, where the image is black; None takes
    the largest square in the middle. ``exact`` refuses images of any other size.
    """
    try:
        with Image.open(path) as image:
            picture = image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # Pillow's decoders raise TypeError, KeyError and others on damaged files
        raise DatasetError(f"{path} is not a readable image ({error}). Copy it again.") from error
    width, height = picture.size
    if exact and (width, height) != (size, size):
        raise DatasetError(f"{path} has {width} x {height} pixels instead of {size} x {size}.")
    if box is None:
        side = min(width, height)
        left, upper = (width - side) // 2, (height - side) // 2
        box = (left, upper, left + side, upper + side)
    left, upper, right, lower = (round(edge) for edge in box)
    picture = picture.crop((left, upper, max(right, left + 1), max(lower, upper + 1)))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC)).reshape(size, size, channels)


def check_size(size: int) -> None:
    """Refuse image sizes outside 16 ... 512 pixels (``ValueError``)."""
    if type(size) is not int or not 16 <= size <= 512:
        raise ValueError(f"size={size!r}: images have 16 to 512 pixels a side.")


def natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts names with their numbers by value: ``"a_9"`` before ``"a_10"``."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files in a folder, in natural order, without hidden ones; refuse links to nothing."""
    folders, files = [], []
    try:
        with os.scandir(folder) as found:
            listed = sorted(found, key=lambda entry: natural(entry.name))
        for entry in listed:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if not (entry.is_dir() or entry.is_file()):
                raise DatasetError(f"{entry.path} is no file (a link to nothing?). Copy it again.")
            (folders if entry.is_dir() else files).append(Path(entry.path))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed ({error}). See to its permissions.") from error
    return folders, files


def leaves(
    top: Path, levels: Sequence[tuple[str, str]], strays: list[Path], above: str = ""
) -> Iterator[tuple[Path, list[Path]]]:
    """Yield the folders of images below ``top`` with their files, depth first; add files above them to ``strays``.

    A level is a regular expression for a folder's path below the first ``top``, and in words what such a folder is.
    """
    folders, files = entries(top)
    if not levels:
        if folders:
            raise DatasetError(f"{folders[0]}: a folder among the files of {top.name}/. Move it away.")
        yield top, files
        return
    strays += files
    (pattern, what), *deeper = levels
    for folder in folders:
        if not re.fullmatch(pattern, above + folder.name):
            raise DatasetError(f"{folder}: the name is not that of {what}. Move the folder away.")
        yield from leaves(folder, deeper, strays, f"{above}{folder.name}/")


def named(
    pattern: re.Pattern[str], files: Sequence[Path], strays: list[Path], stem: str | None = None
) -> dict[Path, re.Match[str]]:
    """Return the files whose names have the pattern, with what matched, and add the others to ``strays``.

    The first group of a name must be the ``stem`` that goes with its folder, where there is one.
    """
    own = {path: match for path in files if (match := pattern.fullmatch(path.name))}
    strays += [path for path in files if path not in own]
    for path, match in own.items():
        if stem is not None and match[1].lower() != stem.lower():
            raise DatasetError(f"{path}: the name contradicts the folder, that of {stem}. Put the file back.")
    return own


def top_folder(about: About, root: str | Path, top: str, needed: Iterable[str]) -> Path:
    """Return the folder with at least one of the needed folders: the official one, or else the dataset's own."""
    folder = about.folder(root)
    for place in (folder / top, folder):
        if any((place / name).is_dir() for name in needed):
            return place
    raise about.absent(root)


def _passed_over(title: str, strays: Sequence[Path]) -> tuple[str, ...]:
    """Return the sentence that counts and names the files that are no part of a dataset, if there are any."""
    if not strays:
        return ()
    names = [os.fsencode(path.name).decode(errors="replace") for path in strays[:_NAMED]]
    names += ["…"] * (len(strays) > _NAMED)
    return (f"files that are no images of {title}: {len(strays):,} ({', '.join(names)})",)
