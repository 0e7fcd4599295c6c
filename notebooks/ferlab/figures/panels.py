"""Figures of the published algorithm: a map with its two profiles, and planted networks that it gets wrong."""

from __future__ import annotations
from collections.abc import Sequence
from dataclasses import dataclass
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from ferlab.figures import charts
from fercore.emotions import Emotion
from typing import Any
from matplotlib.patches import Rectangle
from fercore.emotions import COLORS
from fercore.emotions import EMOTIONS
import string
from collections.abc import Mapping


POSITIVE_COLORS = "Reds"
_ROWS = ("face", "positive part", "signed")
_PALE = 2  # standard errors below which a pixel of a mean map is hatched


@dataclass(frozen=True, eq=False)
class Gallery:
    """Faces and maps to draw, of all emotions.

    Attributes:
        images: (N, H, W, 1 or 3) uint8.
        maps: (N, H, W) float, signed; in units of the explained output per pixel.
        labels: (N,) integers.
        captions: N short texts that stand above the faces.
        mean: Mean maps, of the emotions that have any.
    """

    images: np.ndarray
    maps: np.ndarray
    labels: np.ndarray
    captions: Sequence[str]
    mean: Any


def emotion(gallery: Gallery, which: Emotion, columns: int, reason: str = "") -> Figure:
    """Draw one emotion: example faces and, last, the mean face; below each its map.

    The second row shows what speaks for the emotion, red as in the paper; the third row the signed map, red for and
    blue against. Pixels of a mean map within two standard errors of zero are hatched.

    Args:
        gallery: What to draw.
        which: The emotion.
        columns: Example faces, at most; cells without one stay empty.
        reason: Why there is nothing to draw; printed instead if there is nothing.
    """
    rows = np.flatnonzero(gallery.labels == which)[:columns]
    if len(rows) == 0 or which not in gallery.mean.emotions:
        return _nothing(reason or f"There is no map of {which.title}.")
    figure, grid = charts._new(3, columns + 1, width=1.45 * (columns + 1), height=4.6, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, index in enumerate(rows):
        _column(grid[:, place], gallery.images[index], gallery.maps[index], gallery.captions[index])
    at = gallery.mean.emotions.index(which)
    face, values, error = (x[at] for x in (gallery.mean.faces, gallery.mean.maps, gallery.mean.errors))
    _column(grid[:, -1], face, values, f"mean of {gallery.mean.counts[at]:,}")
    _hatch(grid[2, -1], np.abs(values) < _PALE * error)
    for axes, title in zip(grid[:, 0], _ROWS, strict=True):
        axes.text(
            -0.08, 0.5, title, rotation=90, ha="right", va="center", transform=axes.transAxes, fontsize=8
        )
    return charts._done(figure)


def sentence_dots(findings: Sequence[Any]) -> Figure:
    """Draw every part of every sentence: the mean with its 95 % interval, and the mean under the released masking.

    Args:
        findings: As :func:`ferlab.studies.regions.check` gives them; those without enough faces get an empty row.
    """
    figure, axes = charts._new(height=0.9 + 0.45 * len(findings))
    for place, found in enumerate(findings):
        if np.isnan(found.mean):
            axes.text(1.0, place, "too few faces", ha="center", va="center", fontsize=8)
            continue
        bar = [[found.mean - found.low], [found.high - found.mean]]
        axes.errorbar(found.mean, place, xerr=bar, fmt="o", color="#0072B2", capsize=3)
        axes.plot(found.mean - found.difference, place, "|", color="#0072B2", markersize=12)
        axes.plot(found.released, place, "x", color="#D55E00")
    handles = [
        Line2D([], [], marker="o", color="#0072B2", label="this emotion, 95 % interval"),
        Line2D([], [], marker="|", color="#0072B2", linestyle="", markersize=12, label="all other emotions"),
        Line2D([], [], marker="x", color="#D55E00", linestyle="", label="this emotion, released masking"),
    ]
    axes.axvline(1, color="grey", linewidth=1, linestyle=":")
    names = [f"{found.sentence.emotion.title}: {found.part}" for found in findings]
    axes.set(yticks=range(len(findings)), yticklabels=names, xlabel="positive attribution, 1 is chance")
    axes.invert_yaxis()
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return charts._done(figure)


def _column(column: Sequence[Axes], image: np.ndarray, values: np.ndarray, caption: str) -> None:
    """Draw a face, the positive part of its map and the signed map, on one scale."""
    face, positive, signed = column
    limit = charts.color_limit(values)
    charts.show_face(face, image.astype(np.uint8))
    face.set_title(caption, fontsize=8)
    grey = image.mean(axis=2)
    positive.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    shown = np.clip(values, 0, None)
    share = np.minimum(shown / limit, 1.0)
    positive.imshow(
        shown, cmap=POSITIVE_COLORS, vmin=0, vmax=limit, alpha=0.75 * share, interpolation="nearest"
    )
    charts.show_map(signed, image, values, limit)


def _hatch(axes: Axes, pale: np.ndarray) -> None:
    """Hatch the pixels where ``pale`` is True."""
    if pale.any():
        with mpl.rc_context({"hatch.linewidth": 0.4, "hatch.color": "#444444"}):
            axes.contourf(pale.astype(float), levels=[0.5, 1.5], colors="none", hatches=["////"])


def _nothing(reason: str) -> Figure:
    """Draw a sentence where a figure would be."""
    figure, axes = charts._new(height=0.6)
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=10)
    return charts._done(figure)


ERROR_COLORS = "Purples"


def found(photo: np.ndarray, box: Any, face: np.ndarray) -> Figure:
    """Draw a photo with the box around the face, and beside it what is cut out.

    Args:
        photo: (H, W, 3) uint8 RGB, on axes in pixels, so that a box can be read off.
        box: What is cut out.
        face: (48, 48, 1) uint8, what the network sees.
    """
    figure, (left, right) = charts._new(1, 2, width=7.0, height=3.4, width_ratios=(2, 1))
    charts.show_face(left, photo)
    frame = Rectangle(box[:2], box.side, box.side, fill=False, edgecolor="#E69F00", linewidth=2)
    left.add_patch(frame)
    left.set(xlabel="pixels from the left", ylabel="pixels from the top", title=f"box = {box}")
    left.grid(visible=False)
    charts.show_face(right, face)
    right.set_axis_off()
    right.set_title("what the network sees", fontsize=9)
    return charts._done(figure)


def answer(probabilities: np.ndarray, blank: np.ndarray) -> Figure:
    """Draw the probabilities of the seven emotions as bars, and as ticks those that a blank image gets.

    Args:
        probabilities: (7,) float in 0..1, of the face.
        blank: (7,) float in 0..1, of the baseline.
    """
    figure, axes = charts._new(width=6.0, height=3.0)
    places = np.arange(len(EMOTIONS))
    axes.barh(places, probabilities, color=[COLORS[emotion] for emotion in EMOTIONS], label="bar: the face")
    axes.plot(blank, places, "k|", markersize=14, markeredgewidth=2, label="a black image")
    for place, value in zip(places, probabilities, strict=True):
        axes.text(1.02, place, f"{value:.3f}", va="center", fontsize=8)
    axes.set(yticks=places, yticklabels=[emotion.title for emotion in EMOTIONS])
    axes.set(xlabel="probability", xlim=(0, 1.13), xticks=np.linspace(0, 1, 6))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return charts._done(figure)


def certainty(face: np.ndarray, values: np.ndarray, errors: np.ndarray, times: float = 2.0) -> Figure:
    """Draw, two by two, a face, its map, the standard errors on their own scale, and the map with small values hatched.

    Args:
        face: (H, W, 1 or 3) uint8.
        values: (H, W) float, the map, signed.
        errors: (H, W) float, standard errors, spread as the map is.
        times: Standard errors within which a pixel is hatched.
    """
    figure, grid = charts._new(2, 2, width=4.6, height=5.0)
    row, limit = grid.flat, charts.color_limit(values)
    for axes in row:
        axes.set_axis_off()
    charts.show_face(row[0], face)
    charts.show_map(row[1], face, values, limit)
    row[2].imshow(errors, cmap=ERROR_COLORS, vmin=0, vmax=errors.max() or 1.0, interpolation="nearest")
    charts.show_map(row[3], face, values, limit)
    _hatch(row[3], np.abs(values) <= times * errors)
    share = errors.max() / (np.abs(values).max() or 1.0)
    about = f"standard errors\n(largest: {share:.0%} of largest score)"
    titles = ("face", "map", about, f"hatched: within\n{times:g} standard errors")
    for axes, title in zip(row, titles, strict=True):
        axes.set_title(title, fontsize=8)
    return charts._done(figure)


def class_maps(face: np.ndarray, maps: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draw the maps of several classes of one face on one colour scale, in two rows, the face first.

    Args:
        face: (H, W, 1 or 3) uint8.
        maps: (K, H, W) float, signed.
        captions: K short texts.
    """
    columns = -(-(1 + len(maps)) // 2)
    figure, grid = charts._new(2, columns, width=7.4, height=4.0)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = charts.color_limit(maps)
    charts.show_face(grid.flat[0], face)
    grid.flat[0].set_title("face", fontsize=8)
    for axes, values, caption in zip(grid.flat[1:], maps, captions, strict=False):
        drawn = charts.show_map(axes, face, values, limit)
        axes.set_title(caption, fontsize=8)
    bar = figure.colorbar(drawn, ax=grid, shrink=0.7, label="score per pixel")
    bar.ax.ticklabel_format(style="sci", scilimits=(0, 0))
    return charts._done(figure)


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
    figure, grid = charts._new(rows * blocks, columns, squeeze=False, **size)
    for axes in grid.flat:
        axes.set_axis_off()
    # (blocks, rows, columns) to (rows, columns of the whole table)
    table = grid.reshape(blocks, rows, columns).swapaxes(0, 1).reshape(rows, blocks * columns)
    for row, image, values in zip(table, images, maps, strict=True):
        charts.show_face(row[0], image)
        for axes, one in zip(row[1:total], values, strict=True):
            charts.show_map(axes, image, one)
    for axes, heading in zip(table[0], ("face", *headings), strict=False):
        axes.set_title(heading, fontsize=8)
    for axes, name in zip(table[:, ::columns].T.flat, tuple(sides) * blocks, strict=False):
        axes.text(
            -0.06, 0.5, name, rotation=90, ha="right", va="center", transform=axes.transAxes, fontsize=8
        )
    return charts._done(figure)


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
    figure, grid = charts._new(2, 3, width=6.6, height=4.6)
    for axes in grid.flat:
        axes.set_axis_off()
    limit, grey = charts.color_limit(values), face.mean(axis=2)
    top, bottom = grid
    charts.show_map(top[0], face, values, limit)
    top[1].imshow(values, cmap="jet", interpolation="nearest")
    top[2].imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    high = np.ma.masked_less(values, np.quantile(values, 0.9))
    top[2].imshow(high, cmap="Reds", vmin=0, vmax=high.max(), alpha=0.75, interpolation="nearest")
    charts.show_face(bottom[0], face)
    charts.show_map(bottom[1], face, other)
    charts.show_map(bottom[2], face, other, limit)
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
    return charts._done(figure)


def riddle(maps: np.ndarray) -> Figure:
    """Draw maps alone, without their faces, named by letters, each on its own symmetric scale, at most four a row.

    Args:
        maps: (N, H, W) float, signed.
    """
    rows, columns = _balanced(len(maps))
    figure, grid = charts._new(rows, columns, width=1.5 * columns, height=1.75 * rows, squeeze=False)
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    for letter, axes, values in zip(letters(len(maps)), grid.flat, maps, strict=False):
        limit = charts.color_limit(values)
        axes.imshow(values, cmap=charts.MAP_COLORS, vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(letter, fontsize=9, fontweight="bold")
        axes.set(xticks=[], yticks=[])
    return charts._done(figure)


def letters(count: int) -> str:
    """Return the names of ``count`` maps of a riddle: A, B, ..."""
    return string.ascii_uppercase[:count]


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
    figure, grid = charts._new(2, 2, width=4.6, height=4.6, width_ratios=[3, 1], height_ratios=[1, 3])
    figure.set_layout_engine("compressed")  # the curves as wide and high as the map
    above, corner, middle, beside = grid[0, 0], grid[0, 1], grid[1, 0], grid[1, 1]
    corner.set_axis_off()
    charts.show_map(middle, image, values)
    middle.set(xticks=[], yticks=[])
    above.step(np.arange(len(columns)), columns, where="mid", color="#0072B2")
    above.set(xlim=(-0.5, len(columns) - 0.5), xticks=[], ylabel="β(column)")
    beside.step(rows, np.arange(len(rows)), where="mid", color="#D55E00")
    beside.set(ylim=(len(rows) - 0.5, -0.5), yticks=[], xlabel="α(row)")
    beside.locator_params(axis="x", nbins=3)
    return charts._done(figure)


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
    figure, grid = charts._new(
        len(rows), columns, width=2.0 * columns, height=2.25 * len(rows), squeeze=False
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (name, (boxes, maps)) in zip(grid, rows.items(), strict=True):
        charts.show_face(line[0], image)
        line[0].set_title(name, fontsize=8)
        for axes, (title, values) in zip(line[1:], maps.items(), strict=False):
            charts.show_map(axes, image, values)
            axes.set_title(title, fontsize=8)
        for axes in line[: 1 + len(maps)]:
            _frame(axes, boxes)
            _frame(axes, (ghosts or {}).get(name, ()), dashed=True)
    return charts._done(figure)


def in_rows(image: np.ndarray, maps: Mapping[str, np.ndarray], columns: int) -> Figure:
    """Draw a face and several maps of it in rows, each on its own symmetric scale, under their names.

    Args:
        image: (H, W, 1 or 3) uint8.
        maps: (H, W) float by name.
        columns: Pictures per row, the face is the first; the last row may end in empty places.
    """
    count = -(-(1 + len(maps)) // columns)
    figure, grid = charts._new(count, columns, width=2.2 * columns, height=2.45 * count, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    charts.show_face(grid.flat[0], image)
    grid.flat[0].set_title("face", fontsize=8)
    for axes, (name, values) in zip(grid.flat[1:], maps.items(), strict=False):
        charts.show_map(axes, image, values)
        axes.set_title(name, fontsize=8)
    return charts._done(figure)


def _frame(axes: Axes, boxes: Sequence[Box], dashed: bool = False) -> None:
    """Frame boxes of pixels: black on white, so that the frames are seen on any face."""
    black = (0, (3, 2)) if dashed else "-"
    for rows, columns in boxes:
        size = columns.stop - columns.start, rows.stop - rows.start
        for color, width, style in (("white", 2.6, "-"), ("black", 1.2, black)):
            where = columns.start - 0.5, rows.start - 0.5
            frame = {"fill": False, "edgecolor": color, "linewidth": width, "linestyle": style}
            axes.add_patch(Rectangle(where, *size, **frame))
