"""Figures of the published algorithm: a map with its two profiles, and planted networks that it gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fercore import plots

Box = tuple[slice, slice]  # rows and columns of an image, ends given


def additive_parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a map into the row profile α and the column profile β for which α(r) + β(s) fits it best.

    The least-squares fit is the two-way table of means: row mean + column mean - mean. The mean goes to the rows, so
    that β has mean zero.

    Args:
        values: (H, W) float, a map.

    Returns:
        α, float64 array (H,), and β, float64 array (W,).
    """
    values = np.asarray(values, dtype=np.float64)
    return values.mean(axis=1), values.mean(axis=0) - values.mean()


def profiles(image: np.ndarray, values: np.ndarray) -> Figure:
    """Draw a map over its face, its column profile above it and its row profile beside it.

    Args:
        image: (H, W, 1 or 3) uint8.
        values: (H, W) float, the map.
    """
    rows, columns = additive_parts(values)
    figure, grid = plots._new(2, 2, width=4.6, height=4.6, width_ratios=[3, 1], height_ratios=[1, 3])
    figure.set_layout_engine("compressed")  # the curves as wide and high as the map
    above, corner, middle, beside = grid[0, 0], grid[0, 1], grid[1, 0], grid[1, 1]
    corner.set_axis_off()
    plots.show_map(middle, image, values)
    middle.set(xticks=[], yticks=[])
    above.step(np.arange(len(columns)), columns, where="mid", color="#0072B2")
    above.set(xlim=(-0.5, len(columns) - 0.5), xticks=[], ylabel="β(column)")
    beside.step(rows, np.arange(len(rows)), where="mid", color="#D55E00")
    beside.set(ylim=(len(rows) - 0.5, -0.5), yticks=[], xlabel="α(row)")
    beside.locator_params(axis="x", nbins=3)
    return plots._done(figure)


def planted(
    image: np.ndarray,
    rows: Mapping[str, tuple[Sequence[Box], Mapping[str, np.ndarray]]],
    ghosts: Mapping[str, Sequence[Box]] | None = None,
) -> Figure:
    """Draw what planted networks look at, and several maps of each, one row for each network.

    Args:
        image: (H, W, 1 or 3) uint8, the face.
        rows: For each network, by name: the boxes that it looks at, framed in all its pictures, and its maps (H, W) by
            name, each drawn on its own symmetric scale.
        ghosts: By name of a network: boxes that it does not look at, with dashed frames.
    """
    columns = 1 + max(len(maps) for _, maps in rows.values())
    figure, grid = plots._new(len(rows), columns, width=2.0 * columns, height=2.25 * len(rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (name, (boxes, maps)) in zip(grid, rows.items(), strict=True):
        plots.show_face(line[0], image)
        line[0].set_title(name, fontsize=8)
        for axes, (title, values) in zip(line[1:], maps.items(), strict=False):
            plots.show_map(axes, image, values)
            axes.set_title(title, fontsize=8)
        for axes in line[: 1 + len(maps)]:
            _frame(axes, boxes)
            _frame(axes, (ghosts or {}).get(name, ()), dashed=True)
    return plots._done(figure)


def in_rows(image: np.ndarray, maps: Mapping[str, np.ndarray], columns: int) -> Figure:
    """Draw a face and several maps of it in rows, each on its own symmetric scale, under their names.

    Args:
        image: (H, W, 1 or 3) uint8.
        maps: (H, W) float by name.
        columns: Pictures per row, the face is the first; the last row may end in empty places.
    """
    count = -(-(1 + len(maps)) // columns)
    figure, grid = plots._new(count, columns, width=2.2 * columns, height=2.45 * count, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    plots.show_face(grid.flat[0], image)
    grid.flat[0].set_title("face", fontsize=8)
    for axes, (name, values) in zip(grid.flat[1:], maps.items(), strict=False):
        plots.show_map(axes, image, values)
        axes.set_title(name, fontsize=8)
    return plots._done(figure)


def _frame(axes: Axes, boxes: Sequence[Box], dashed: bool = False) -> None:
    """Frame boxes of pixels: black on white, so that the frames are seen on any face."""
    black = (0, (3, 2)) if dashed else "-"
    for rows, columns in boxes:
        size = columns.stop - columns.start, rows.stop - rows.start
        for color, width, style in (("white", 2.6, "-"), ("black", 1.2, black)):
            where = columns.start - 0.5, rows.start - 0.5
            frame = {"fill": False, "edgecolor": color, "linewidth": width, "linestyle": style}
            axes.add_patch(Rectangle(where, *size, **frame))
