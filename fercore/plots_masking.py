"""Figures of the course on games and masking: pictures of coalitions, and how long enumeration takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fercore import plots

_PLAYERS = ("#0072B2", "#D55E00")  # Okabe and Ito, as all colours here
_REGIONS = ("#999999", "#56B4E9", "#0072B2", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#E69F00")
# What a wait is measured against, in seconds.
_SPANS = {
    "a second": 1.0,
    "an hour": 3600.0,
    "a year": 365.25 * 86400,
    "age of the universe": 13.8e9 * 365.25 * 86400,
}


def picture_grid(
    pictures: np.ndarray,
    captions: Sequence[str],
    columns: int,
    headings: Sequence[str] = (),
    sides: Sequence[str] = (),
) -> Figure:
    """Draw pictures in rows, each under its caption.

    Args:
        pictures: (N, H, W, 1 or 3) uint8, row by row.
        captions: N short texts.
        columns: Pictures per row.
        headings: Names of the columns, printed in bold above the captions of the first row; none by default.
        sides: Names of the rows, printed on their left; none by default.
    """
    rows = -(-len(pictures) // columns)
    figure, grid = plots._new(rows, columns, width=1.45 * columns, height=1.75 * rows, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, caption in zip(grid.flat, pictures, captions, strict=False):
        plots.show_face(axes, picture)
        axes.set_title(caption, fontsize=8)
    for axes, heading in zip(grid[0], headings, strict=False):
        axes.set_title(f"{heading}\n{axes.get_title()}", fontsize=8)
    for axes, side in zip(grid[:, 0], sides, strict=False):
        axes.text(
            -0.06, 0.5, side, rotation=90, ha="right", va="center", transform=axes.transAxes, fontsize=8
        )
    return plots._done(figure)


def waiting_time(seconds: float, marked: Sequence[int], most: int = 100) -> Figure:
    """Draw how long the evaluation of all 2^n coalitions takes, for n from 1 to ``most`` players.

    Args:
        seconds: Per evaluation.
        marked: Numbers of players to mark with a dot.
        most: Where the axis ends.
    """
    figure, axes = plots._new(width=6.4, height=3.2)
    players = np.arange(1, most + 1)
    axes.plot(players, np.log10(seconds) + players * np.log10(2), color="#0072B2")
    for count in marked:
        height = np.log10(seconds) + count * np.log10(2)
        axes.plot(count, height, "o", color="#0072B2")
        axes.annotate(f"{count}", (count, height), xytext=(5, -11), textcoords="offset points", fontsize=8)
    for name, span in _SPANS.items():
        axes.axhline(np.log10(span), color="grey", linewidth=1, linestyle=":")
        axes.text(most, np.log10(span), name, ha="right", va="bottom", fontsize=8)
    axes.set(xlabel="players n", ylabel="seconds, power of ten", xlim=(0, most + 1))
    return plots._done(figure)


def four_nodes(worths: Sequence[float]) -> Figure:
    """Draw a game of two players as the paper's Figure 3 does: a node for each coalition, an edge for each addition.

    Args:
        worths: v(∅), v({1}), v({2}) and v({1, 2}).
    """
    places = [(0.0, 0.0), (1.5, 0.7), (1.5, -0.7), (3.0, 0.0)]
    names = ["∅", "{1}", "{2}", "{1, 2}"]
    figure, axes = plots._new(width=6.0, height=2.6)
    for start, end, player in ((0, 1, 1), (2, 3, 1), (0, 2, 2), (1, 3, 2)):
        (x0, y0), (x1, y1) = places[start], places[end]
        axes.plot([x0, x1], [y0, y1], "-" if player == 1 else "--", color=_PLAYERS[player - 1], zorder=1)
        middle = (x0 + x1) / 2, (y0 + y1) / 2
        said = f"player {player} adds {worths[end] - worths[start]:g}"
        side = 11 if y0 + y1 > 0 else -11
        style = {"ha": "center", "va": "center", "fontsize": 8, "color": _PLAYERS[player - 1]}
        turn = {"rotation": np.degrees(np.arctan2(y1 - y0, x1 - x0)), "transform_rotates_text": True}
        axes.annotate(
            said,
            middle,
            xytext=(0, side),
            textcoords="offset points",
            rotation_mode="anchor",
            **style,
            **turn,
        )
    for (x, y), name, worth in zip(places, names, worths, strict=True):
        axes.plot(x, y, "o", markersize=42, markerfacecolor="white", markeredgecolor="#333333")
        axes.text(x, y, f"{name}\n{worth:g}", ha="center", va="center", fontsize=9)
    axes.set(xlim=(-0.4, 3.4), ylim=(-1.1, 1.1))
    axes.set_axis_off()
    return plots._done(figure)


def players(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw a face, and beside it its regions in colours with a legend.

    Args:
        image: (H, W, 1 or 3) uint8.
        labels: (H, W) integers, the region of each pixel.
        names: Of the regions 0 ... k - 1, at most eight.
    """
    figure, (left, right) = plots._new(1, 2, width=5.2, height=2.3)
    plots.show_face(left, image)
    right.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    colors = ListedColormap(_REGIONS[: len(names)])
    limits = {"vmin": -0.5, "vmax": len(names) - 0.5}
    right.imshow(labels, cmap=colors, alpha=0.55, interpolation="nearest", **limits)
    for axes in (left, right):
        axes.set_axis_off()
    patches = [Patch(color=color, label=name) for color, name in zip(_REGIONS, names, strict=False)]
    figure.legend(handles=patches, loc="outside right center", frameon=False, fontsize=8)
    return plots._done(figure)
