"""Folders of image files: what the loaders of FERG-DB, JAFFE, CK+ and CK+48 share."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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

Box = tuple[float, float, float, float]


def read_image(path: Path, size: int | None, channels: int, box: Box | None = None) -> np.ndarray:
    """Read an image, cut a box out of it and resize what is left to a square.

    Args:
        path: PNG, JPEG or TIFF file.
        size: Height and width of the result in pixels (bicubic, antialiased); None leaves the image as it is.
        channels: 1 for grey (ITU-R 601 luma of colour images), 3 for RGB.
        box: (left, upper, right, lower) in pixels, in fractions where it likes; outside the image is black. None takes
            the largest square in the middle.

    Returns:
        (H, W, channels) uint8.

    Raises:
        DatasetError: If the file is not a readable image; names it.
    """
    try:
        with Image.open(path) as image:
            picture = image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # Pillow's decoders raise TypeError, KeyError and others on damaged files
        raise DatasetError(
            f"{path} is not a readable image ({error}). Copy it again from the archive."
        ) from error
    if size is not None:
        if box is None:
            side, (width, height) = min(picture.size), picture.size
            left, upper = (width - side) // 2, (height - side) // 2
            box = (left, upper, left + side, upper + side)
        picture = _cut(picture, box).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(picture.height, picture.width, channels)


def _cut(picture: Image.Image, box: Box) -> Image.Image:
    """Cut out a box, rounded to whole pixels; Pillow fills what lies outside with black."""
    left, upper, right, lower = (round(edge) for edge in box)
    return picture.crop((left, upper, max(right, left + 1), max(lower, upper + 1)))


def read_images(
    paths: Sequence[Path],
    size: int,
    channels: int,
    target: Path,
    title: str,
    progress: bool,
    boxes: Sequence[Box | None] | None = None,
) -> np.ndarray:
    """Read many images into a file in NumPy's format, without ever holding more than one in memory.

    Args:
        paths: The N files.
        size: Height and width in pixels.
        channels: 1 or 3.
        target: Where to write the array (N, size, size, channels) uint8.
        title: Name of the dataset, for the progress bar.
        progress: Show a progress bar.
        boxes: What to cut out of each, as in :func:`read_image`.

    Returns:
        The array, memory-mapped.

    Raises:
        DatasetError: As :func:`read_image` does.
        OSError: If the disk has no room for the array.
    """
    with open(target, "wb") as file:
        if hasattr(os, "posix_fallocate"):  # else a full disk is noticed by a signal that kills the process
            os.posix_fallocate(file.fileno(), 0, len(paths) * size * size * channels + 128)
    images = np.lib.format.open_memmap(target, "w+", np.uint8, (len(paths), size, size, channels))
    bar = tqdm(paths, desc=f"Reading {title}", unit="image", disable=not progress)
    for row, path in enumerate(bar):
        images[row] = read_image(path, size, channels, None if boxes is None else boxes[row])
    images.flush()
    return images


def check_size(size: int) -> None:
    """Refuse image sizes outside 16 ... 512 pixels (``ValueError``)."""
    if isinstance(size, bool) or not isinstance(size, int) or not 16 <= size <= 512:
        raise ValueError(f"size={size!r}: images have 16 to 512 pixels a side.")


def visible(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that are not hidden (``.DS_Store``, ``._name``), sorted."""
    return sorted(path for path in paths if not path.name.startswith("."))


_NUMBER = re.compile(r"([0-9]+)")
_NAMED = 5  # passed-over files that are named; the others are only counted


@dataclass(frozen=True)
class Item:
    """One image that is to be read.

    Attributes:
        path: Its file.
        label: What it shows.
        subject: Who shows it.
        group: The sequence that it belongs to, if any.
        box: (left, upper, right, lower) in pixels, what to cut out; None for the largest square in the middle.
    """

    path: Path
    label: Emotion
    subject: str
    group: str | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Found:
    """What a loader found in the dataset's folder and chose from it.

    Attributes:
        items: The images to read, in the order of the dataset.
        files: Every file and folder that the choice depends on, in a fixed order: the cache is void when one changes.
        source: What is read, for people.
        skipped: What is passed over, one sentence each.
    """

    items: Sequence[Item]
    files: Sequence[Path]
    source: str
    skipped: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 labels of the items."""
        return np.array([int(item.label) for item in self.items], dtype=np.int64)

    @property
    def subjects(self) -> np.ndarray:
        """(N,) str subjects of the items."""
        return np.array([item.subject for item in self.items], dtype=str)


def natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts names with their numbers by value: ``"a_9"`` before ``"a_10"``."""
    parts = _NUMBER.split(name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files in a folder, in natural order, without hidden ones (``.DS_Store``, ``._name``).

    Raises:
        DatasetError: If the folder cannot be listed, or holds a link to nothing; names it.
    """
    folders, files = [], []
    try:
        with os.scandir(folder) as found:
            listed = sorted(found, key=lambda entry: natural(entry.name))
        for entry in listed:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if not (entry.is_dir() or entry.is_file()):
                raise DatasetError(
                    f"{entry.path} is no file (a link to nothing?). Copy it again from the archive."
                )
            (folders if entry.is_dir() else files).append(Path(entry.path))
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be listed ({error}). Check its permissions and the disk."
        ) from error
    return folders, files


def top_folder(about: About, root: str | Path, tops: Iterable[str], needed: Iterable[str]) -> Path:
    """Return the folder that holds the first level of a dataset's tree.

    Args:
        about: The dataset.
        root: The data folder.
        tops: Names that the official top folder goes by, in ``<root>/<name>``; the content may also lie there directly.
        needed: Folders of which the first level holds at least one.

    Raises:
        DatasetNotFoundError: If there is no such folder.
    """
    folder, needed = about.folder(root), tuple(needed)
    for place in (*(folder / top for top in tops), folder):
        if any((place / name).is_dir() for name in needed):
            return place
    raise about.absent(root)


def passed_over(title: str, strays: Sequence[Path]) -> tuple[str, ...]:
    """Return the sentence that counts and names the files that are no part of a dataset, if there are any."""
    if not strays:
        return ()
    names = [os.fsencode(path.name).decode(errors="replace") for path in strays[:_NAMED]]
    more = f" and {len(strays) - _NAMED:,} more" if len(strays) > _NAMED else ""
    are = "1 file that is no image" if len(strays) == 1 else f"{len(strays):,} files that are no images"
    return (f"{are} of {title}: {', '.join(names)}{more}",)


def compare(where: Path, found: dict[str, int], official: dict[str, int]) -> None:
    """Compare numbers other than images per emotion (:meth:`About.check` does those) with the official ones.

    Args:
        where: What was read, for the message.
        found: What was counted, by what it is: ``"images of KA"``.
        official: The same of the official release.

    Raises:
        DatasetError: If they differ; names what does.
    """
    names = [*official, *(name for name in found if name not in official)]
    wrong = [
        f"{found.get(name, 0)} {name} instead of {official.get(name, 0)}"
        for name in names
        if found.get(name, 0) != official.get(name, 0)
    ]
    if wrong:
        raise DatasetError(
            f"{where}: {', '.join(wrong)}. The copy is incomplete or changed: copy it again, or pass verify=False to "
            "use it as it is."
        )


def tally(values: Iterable[str], what: str) -> dict[str, int]:
    """Count values, as :func:`compare` takes them: ``{"images of KA": 23}``."""
    return {f"{what} {value}": count for value, count in sorted(Counter(values).items())}


def read_found(
    about: About,
    root: str | Path,
    found: Found,
    check: Callable[[], None] | None,
    *,
    size: int,
    channels: int,
    progress: bool,
    options: dict[str, Any] | None = None,
) -> FaceDataset:
    """Read what was found into a dataset, or take it from the cache.

    Args:
        about: The dataset.
        root: The data folder.
        found: The images and where they lie.
        check: Compares what was found with the official release; None leaves that out (``verify=False``).
        size: Height and width of the images in pixels.
        channels: 1 for grey, 3 for RGB.
        progress: Show a progress bar.
        options: What else decides the content.

    Returns:
        Images (N, size, size, channels) uint8 with labels, subjects, groups where there are any, and paths.

    Raises:
        DatasetError: If an image is damaged, the check fails, or there are no images.
    """
    folder = about.folder(root)
    if not found.items:
        raise DatasetError(f"{folder} holds no images of {about.title} to read. {about.source}")

    def build(target: Path) -> FaceDataset:
        if check is not None:
            check()
        paths, boxes = [item.path for item in found.items], [item.box for item in found.items]
        images = read_images(paths, size, channels, target, about.title, progress, boxes)
        return _dataset(about, folder, found, images)

    options = {"size": size, "verify": check is not None, **(options or {})}
    return cached(Path(root), about.name, found.files, options, build)


def _dataset(about: About, folder: Path, found: Found, images: np.ndarray) -> FaceDataset:
    groups = [item.group for item in found.items]
    return FaceDataset(
        name=about.name,
        title=about.title,
        images=images,
        labels=found.labels,
        checksum=content_checksum(images, found.labels),
        source=found.source,
        subjects=found.subjects,
        groups=None if None in groups else np.array(groups, dtype=str),
        paths=np.array([item.path.relative_to(folder).as_posix() for item in found.items]),
        skipped=found.skipped,
    )
