"""Figures of the course's chapter on pitfalls: maps side by side, one map on several colour scales, a riddle."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fercore import plots


def map_table(
    images: np.ndarray,
    maps: np.ndarray,
    headings: Sequence[str],
    sides: Sequence[str] = (),
    side: float = 1.3,
) -> Figure:
    """Draw a table of maps, each on its own symmetric scale; the face stands at the left of its row.

    A table of more than four columns is broken into blocks, one below the other, so that it can be read on a phone.

    Args:
        images: (R, H, W, 1 or 3) uint8, one face per row.
        maps: (R, C, H, W) float, signed.
        headings: C names of the columns of maps.
        sides: R names of the rows; none by default.
        side: Width of a map in inches.
    """
    rows, total = maps.shape[0], maps.shape[1] + 1
    blocks, columns = _balanced(total)
    size = {"width": side * columns + 0.25 * bool(len(sides)), "height": (side * rows + 0.3) * blocks}
    figure, grid = plots._new(rows * blocks, columns, squeeze=False, **size)
    for axes in grid.flat:
        axes.set_axis_off()
    # (blocks, rows, columns) to (rows, columns of the whole table)
    table = grid.reshape(blocks, rows, columns).swapaxes(0, 1).reshape(rows, blocks * columns)
    for row, image, values in zip(table, images, maps, strict=True):
        plots.show_face(row[0], image)
        for axes, one in zip(row[1:total], values, strict=True):
            plots.show_map(axes, image, one)
    for axes, heading in zip(table[0], ("face", *headings), strict=False):
        axes.set_title(heading, fontsize=8)
    for axes, name in zip(table[:, ::columns].T.flat, tuple(sides) * blocks, strict=False):
        axes.text(
            -0.06, 0.5, name, rotation=90, ha="right", va="center", transform=axes.transAxes, fontsize=8
        )
    return plots._done(figure)


def _balanced(panels: int, most: int = 4) -> tuple[int, int]:
    """Return in how many rows of how many columns panels fit with at most ``most`` side by side."""
    rows = -(-panels // most)
    return rows, -(-panels // rows)


def scales(face: np.ndarray, values: np.ndarray, other: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw one map on three colour scales, and a second, weaker one on its own scale and on the first one's.

    Args:
        face: (H, W, 1 or 3) uint8.
        values: (H, W) float, a signed map.
        other: (H, W) float, the second map.
        names: What the two maps explain.
    """
    figure, grid = plots._new(2, 3, width=6.6, height=4.6)
    for axes in grid.flat:
        axes.set_axis_off()
    limit, grey = plots.color_limit(values), face.mean(axis=2)
    top, bottom = grid
    plots.show_map(top[0], face, values, limit)
    top[1].imshow(values, cmap="jet", interpolation="nearest")
    top[2].imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    high = np.ma.masked_less(values, np.quantile(values, 0.9))
    top[2].imshow(high, cmap="Reds", vmin=0, vmax=high.max(), alpha=0.75, interpolation="nearest")
    plots.show_face(bottom[0], face)
    plots.show_map(bottom[1], face, other)
    plots.show_map(bottom[2], face, other, limit)
    titles = (
        f"{names[0]}: symmetric about zero",
        f"{names[0]}: rainbow, least to most",
        f"{names[0]}: the highest tenth",
        "face",
        f"{names[1]}: on its own scale",
        f"{names[1]}: on the scale of {names[0]}",
    )
    for axes, title in zip(grid.flat, titles, strict=True):
        axes.set_title(title, fontsize=8)
    return plots._done(figure)


def riddle(maps: np.ndarray) -> Figure:
    """Draw maps alone, without their faces, named by letters, each on its own symmetric scale, at most four a row.

    Args:
        maps: (N, H, W) float, signed.
    """
    rows, columns = _balanced(len(maps))
    figure, grid = plots._new(rows, columns, width=1.5 * columns, height=1.75 * rows, squeeze=False)
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    for letter, axes, values in zip(letters(len(maps)), grid.flat, maps, strict=False):
        limit = plots.color_limit(values)
        axes.imshow(values, cmap=plots.MAP_COLORS, vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(letter, fontsize=9, fontweight="bold")
        axes.set(xticks=[], yticks=[])
    return plots._done(figure)


def letters(count: int) -> str:
    """Return the names of ``count`` maps of a riddle: A, B, ..."""
    return string.ascii_uppercase[:count]
