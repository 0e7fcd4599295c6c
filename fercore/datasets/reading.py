"""Image files into arrays: what all loaders of image folders share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

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
