"""Faces and maps in a grid.

A face is (H, W, 1 or 3) uint8. A map is (H, W) float, signed, summed over channels, in units of the explained output
per pixel: red speaks for the class, blue against it. Each map has its own symmetric colour scale unless it is said
that maps share one.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fercore.emotions import Emotion
from ferlab.figures import style
from ferlab.measures.names import title

Box = tuple[slice, slice]  # rows and columns of an image, ends given
Cell = tuple[str, np.ndarray | None, np.ndarray | None]  # title, face, map
EMPTY: Cell = ("", None, None)


def color_limit(maps: np.ndarray) -> float:
    """Return the half-width of a symmetric colour scale: the 99.5th percentile of |map|, or 1 for a map of zeros."""
    return float(np.percentile(np.abs(maps), 99.5)) or 1.0


def show_grey(axes: Axes, image: np.ndarray) -> None:
    """Draw a face in grey, to be drawn upon."""
    axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def show_face(axes: Axes, image: np.ndarray) -> None:
    """Draw a face."""
    axes.imshow(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image, interpolation="nearest")


def show_map(axes: Axes, image: np.ndarray | None, values: np.ndarray, limit: float | None = None) -> Any:
    """Lay a map over its greyed face, or draw it alone; ``limit`` is the half-width of the colour scale."""
    limit = color_limit(values) if limit is None else limit
    if image is not None:
        show_grey(axes, image)
    colors = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "alpha": 1 if image is None else 0.6}
    return axes.imshow(values, interpolation="nearest", **colors)


def outline(axes: Axes, box: Box, **line: Any) -> None:
    """Frame a box of pixels."""
    rows, columns = box
    size = columns.stop - columns.start, rows.stop - rows.start
    axes.add_patch(Rectangle((columns.start - 0.5, rows.start - 0.5), *size, fill=False, **line))


def tiles(
    cells: Sequence[Cell], columns: int, size: tuple[float, float], limit: float | None = None, bar: str = "",
    **font: Any,
) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """Draw cells of a size in inches row by row; return the figure and its axes (rows, columns).

    Maps share a scale if its half-width ``limit`` is given, or a colour bar labelled ``bar``; ``font`` is the titles'.
    """
    figure, grid = style.bare(len(cells), columns, *size)
    if bar:
        limit = color_limit(np.stack([values for _, _, values in cells if values is not None]))
    for axes, (name, image, values) in zip(grid.flat, cells, strict=False):
        axes.set_title(name, **{"fontsize": 8} | font)
        if values is not None:
            drawn = show_map(axes, image, values, limit)
        elif image is not None:
            show_face(axes, image)
    if bar:
        figure.colorbar(drawn, ax=grid, shrink=0.7, label=bar).formatter.set_powerlimits((0, 0))
    return figure, grid


def filled(cells: Sequence[Cell], count: int) -> list[Cell]:
    """Return ``count`` cells, the first of them or more with empty ones."""
    return [*cells, *[EMPTY] * (count - len(cells))][:count]


def _titled(name: str, images: Sequence[Any], maps: Sequence[Any] | None = None) -> list[Cell]:
    """Return a cell for each face, the first with a title."""
    return [("" if k else name, image, None if maps is None else maps[k]) for k, image in enumerate(images)]


def _balanced(panels: int, most: int = 4) -> tuple[int, int]:
    """Return in how many rows of how many columns panels fit with at most ``most`` side by side."""
    rows = -(-panels // most)
    return rows, -(-panels // rows)


def face_rows(images: np.ndarray, labels: np.ndarray, columns: int) -> Figure:
    """Draw one row per emotion: up to ``columns`` of its faces (N images with N labels)."""
    cells = []
    for label in np.unique(labels):
        cells += filled(_titled(Emotion(label).title, images[labels == label]), columns)
    return tiles(cells, columns, (0.9, 0.95), fontsize=9, fontweight="bold", loc="left", pad=2)[0]


def mean_maps(
    faces: np.ndarray, maps: np.ndarray, emotions: Sequence[Emotion], counts: Sequence[int]
) -> Figure:
    """Draw the mean maps of E emotions over their mean faces on one scale, with the numbers of images behind them."""
    names = [f"{which.title} ({count})" for which, count in zip(emotions, counts, strict=True)]
    columns = max((len(names) + 1) // 2, 2)
    cells = list(zip(names, faces, maps, strict=True))
    return tiles(cells, columns, (7.0 / columns, 2.1), bar="mean score per pixel", fontsize=9)[0]


def face_and_maps(
    image: np.ndarray, names: Iterable[str], maps: Iterable[np.ndarray], first: str = "face"
) -> list[Cell]:
    """Return the cells of a face and of maps over it, with their titles."""
    return [(first, image, None), *((name, image, one) for name, one in zip(names, maps, strict=True))]


def labelled_maps(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> Figure:
    """Draw a face and maps of it side by side, under their names."""
    return tiles(face_and_maps(image, maps, maps.values()), 1 + len(maps), (1.9, 2.4))[0]


def in_rows(image: np.ndarray, maps: Mapping[str, np.ndarray], columns: int) -> Figure:
    """Draw a face and maps of it, under their names, ``columns`` pictures a row."""
    return tiles(face_and_maps(image, maps, maps.values()), columns, (2.2, 2.45))[0]


def class_maps(face: np.ndarray, maps: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draw a face and K maps of it for several classes on one scale, in two rows."""
    columns = 1 + len(maps) // 2
    return tiles(face_and_maps(face, captions, maps), columns, (7.4 / columns, 2.0), bar="score per pixel")[0]


def map_sheet(images: np.ndarray, maps: Mapping[str, np.ndarray], blocks: int = 2) -> Figure:
    """Draw the maps of F faces under all methods, ``blocks`` methods side by side; ``maps`` by method, (F, H, W)."""
    groups = [_titled("face", images), *(_titled(title(name), images, found) for name, found in maps.items())]
    rows, columns = -(-len(groups) // blocks), len(images) * blocks
    groups += [[EMPTY] * len(images)] * (rows * blocks - len(groups))
    cells = [cell for row in range(rows) for group in groups[row::rows] for cell in group]
    return tiles(cells, columns, (0.85 + 0.4 / columns, 1.02), loc="left", pad=2)[0]


def map_table(
    images: np.ndarray,
    maps: np.ndarray,
    headings: Sequence[str],
    sides: Sequence[str] = (),
    side: float = 1.3,
) -> Figure:
    """Draw R rows of a face and its C maps (R, C, H, W); more than four columns are broken into blocks."""
    blocks, columns = _balanced(maps.shape[1] + 1)
    table = []
    for image, values in zip(images, maps, strict=True):
        row = filled(face_and_maps(image, headings, values), blocks * columns)
        table.append([("", *cell[1:]) for cell in row] if table else row)
    starts = range(0, blocks * columns, columns)
    cells = [cell for start in starts for row in table for cell in row[start : start + columns]]
    size = side + 0.25 * bool(len(sides)) / columns, side + 0.3 / len(images)
    figure, grid = tiles(cells, columns, size)
    for axes, name in zip(grid[:, 0], tuple(sides) * blocks, strict=False):
        style.side(axes, name)
    return figure


@dataclass(frozen=True, eq=False)
class Gallery:
    """N faces, their maps, labels and captions, and the mean maps (of the study of maps) of the emotions with any."""

    images: np.ndarray
    maps: np.ndarray
    labels: np.ndarray
    captions: Sequence[str]
    mean: Any


def emotion(gallery: Gallery, which: Emotion, columns: int, reason: str = "") -> Figure:
    """Draw up to ``columns`` faces of an emotion and their mean; below each the positive part of its map, and the map.

    Pixels of the mean map within two standard errors of zero are hatched. Without faces, ``reason`` is printed.
    """
    chosen, means = np.flatnonzero(gallery.labels == which)[:columns], gallery.mean
    if len(chosen) == 0 or which not in means.emotions:
        return sentence(reason or f"There is no map of {which.title}.")
    at = means.emotions.index(which)
    examples = [(gallery.captions[i], gallery.images[i], gallery.maps[i]) for i in chosen]
    mean = (f"mean of {means.counts[at]:,}", means.faces[at].astype(np.uint8), means.maps[at])
    cells = [*filled(examples, columns), mean]
    faces = [(name, image, None) for name, image, _ in cells]
    signed = [("", image, values) for _, image, values in cells]
    figure, grid = tiles([*faces, *[EMPTY] * len(cells), *signed], len(cells), (1.45, 4.6 / 3))
    for axes, (_, image, values) in zip(grid[1], cells, strict=True):
        if image is not None:
            limit, shown = color_limit(values), np.clip(values, 0, None)
            show_grey(axes, image)
            reds = {"cmap": "Reds", "vmin": 0, "vmax": limit, "alpha": 0.75 * np.minimum(shown / limit, 1)}
            axes.imshow(shown, interpolation="nearest", **reds)
    _hatch(grid[2, -1], np.abs(means.maps[at]) < 2 * means.errors[at])
    for axes, name in zip(grid[:, 0], ("face", "positive part", "signed"), strict=True):
        style.side(axes, name)
    return figure


def _hatch(axes: Axes, pale: np.ndarray) -> None:
    """Hatch the pixels where ``pale`` is True."""
    if pale.any():
        with mpl.rc_context({"hatch.linewidth": 0.4, "hatch.color": "#444444"}):
            axes.contourf(pale.astype(float), levels=[0.5, 1.5], colors="none", hatches=["////"])


def sentence(text: str) -> Figure:
    """Draw a sentence where a figure would be."""
    figure, axes = style.new(height=0.6)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=9)
    return figure


def certainty(face: np.ndarray, values: np.ndarray, errors: np.ndarray) -> Figure:
    """Draw a face, its map, the standard errors (H, W), and the map, hatched within two standard errors of 0."""
    share = errors.max() / (np.abs(values).max() or 1.0)
    cells = [
        ("face", face, None),
        ("map", face, values),
        (f"standard errors\n(largest: {share:.0%} of largest score)", None, None),
        ("hatched: within\n2 standard errors", face, values),
    ]
    figure, grid = tiles(cells, 2, (2.3, 2.5))
    grid[1, 0].imshow(errors, cmap="Purples", vmin=0, vmax=errors.max() or 1.0, interpolation="nearest")
    _hatch(grid[1, 1], np.abs(values) <= 2 * errors)
    return figure


def scales(face: np.ndarray, values: np.ndarray, other: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw a map on three colour scales, and a second, weaker one on its own scale and on the first one's."""
    first, second = names
    cells = [
        (f"{first}: symmetric about zero", face, values),
        (f"{first}: rainbow, least to most", None, None),
        (f"{first}: the highest tenth", None, None),
        ("face", face, None),
        (f"{second}: on its own scale", face, other),
        (f"{second}: on the scale of {first}", None, None),
    ]
    figure, grid = tiles(cells, 3, (2.2, 2.3))
    grid[0, 1].imshow(values, cmap="jet", interpolation="nearest")
    high = np.ma.masked_less(values, np.quantile(values, 0.9))
    show_grey(grid[0, 2], face)
    grid[0, 2].imshow(high, cmap="Reds", vmin=0, vmax=high.max(), alpha=0.75, interpolation="nearest")
    show_map(grid[1, 2], face, other, color_limit(values))
    return figure


def letters(count: int) -> str:
    """Return the names of ``count`` maps of a riddle: A, B, ..."""
    return string.ascii_uppercase[:count]


def riddle(maps: np.ndarray) -> Figure:
    """Draw maps alone, without their faces, named by letters, at most four a row."""
    cells = [(letter, None, values) for letter, values in zip(letters(len(maps)), maps, strict=True)]
    figure, grid = tiles(cells, _balanced(len(maps))[1], (1.5, 1.75), fontsize=9, fontweight="bold")
    for axes in grid.flat[: len(maps)]:
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
    return figure
