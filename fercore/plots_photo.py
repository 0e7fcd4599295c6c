"""Figures of the course's chapter on a photo: the face in it, the network's answer, and maps with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fercore import plots, plots_maps
from fercore.emotions import COLORS, EMOTIONS

if TYPE_CHECKING:
    from fercore.photos import Box

ERROR_COLORS = "Purples"


def found(photo: np.ndarray, box: Box, face: np.ndarray) -> Figure:
    """Draw a photo with the box around the face, and beside it what is cut out.

    Args:
        photo: (H, W, 3) uint8 RGB, on axes in pixels, so that a box can be read off.
        box: What is cut out.
        face: (48, 48, 1) uint8, what the network sees.
    """
    figure, (left, right) = plots._new(1, 2, width=7.0, height=3.4, width_ratios=(2, 1))
    plots.show_face(left, photo)
    frame = Rectangle(box[:2], box.side, box.side, fill=False, edgecolor="#E69F00", linewidth=2)
    left.add_patch(frame)
    left.set(xlabel="pixels from the left", ylabel="pixels from the top", title=f"box = {box}")
    left.grid(visible=False)
    plots.show_face(right, face)
    right.set_axis_off()
    right.set_title("what the network sees", fontsize=9)
    return plots._done(figure)


def answer(probabilities: np.ndarray, blank: np.ndarray) -> Figure:
    """Draw the probabilities of the seven emotions as bars, and as ticks those that a blank image gets.

    Args:
        probabilities: (7,) float in 0..1, of the face.
        blank: (7,) float in 0..1, of the baseline.
    """
    figure, axes = plots._new(width=6.0, height=3.0)
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
    return plots._done(figure)


def certainty(face: np.ndarray, values: np.ndarray, errors: np.ndarray, times: float = 2.0) -> Figure:
    """Draw, two by two, a face, its map, the standard errors on their own scale, and the map with small values hatched.

    Args:
        face: (H, W, 1 or 3) uint8.
        values: (H, W) float, the map, signed.
        errors: (H, W) float, standard errors, spread as the map is.
        times: Standard errors within which a pixel is hatched.
    """
    figure, grid = plots._new(2, 2, width=4.6, height=5.0)
    row, limit = grid.flat, plots.color_limit(values)
    for axes in row:
        axes.set_axis_off()
    plots.show_face(row[0], face)
    plots.show_map(row[1], face, values, limit)
    row[2].imshow(errors, cmap=ERROR_COLORS, vmin=0, vmax=errors.max() or 1.0, interpolation="nearest")
    plots.show_map(row[3], face, values, limit)
    plots_maps._hatch(row[3], np.abs(values) <= times * errors)
    share = errors.max() / (np.abs(values).max() or 1.0)
    about = f"standard errors\n(largest: {share:.0%} of largest score)"
    titles = ("face", "map", about, f"hatched: within\n{times:g} standard errors")
    for axes, title in zip(row, titles, strict=True):
        axes.set_title(title, fontsize=8)
    return plots._done(figure)


def class_maps(face: np.ndarray, maps: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draw the maps of several classes of one face on one colour scale, in two rows, the face first.

    Args:
        face: (H, W, 1 or 3) uint8.
        maps: (K, H, W) float, signed.
        captions: K short texts.
    """
    columns = -(-(1 + len(maps)) // 2)
    figure, grid = plots._new(2, columns, width=7.4, height=4.0)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = plots.color_limit(maps)
    plots.show_face(grid.flat[0], face)
    grid.flat[0].set_title("face", fontsize=8)
    for axes, values, caption in zip(grid.flat[1:], maps, captions, strict=False):
        drawn = plots.show_map(axes, face, values, limit)
        axes.set_title(caption, fontsize=8)
    bar = figure.colorbar(drawn, ax=grid, shrink=0.7, label="score per pixel")
    bar.ax.ticklabel_format(style="sci", scilimits=(0, 0))
    return plots._done(figure)
