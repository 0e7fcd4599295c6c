"""Figures of the course on games and masking: pictures of coalitions, and how long enumeration takes."""

from __future__ import annotations
from collections.abc import Mapping, Sequence
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from ferlab.figures import charts
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch


_STEEP = 4.0
_MARKERS = "ov^sDX"


def coalitions(image: np.ndarray, masks: Mapping[str, np.ndarray], worths: Mapping[str, float]) -> Figure:
    """Draw a face as the network sees it in several coalitions, with their worths.

    Args:
        image: uint8 (H, W, 1 or 3).
        masks: By name, bool (H, W): the pixels that are shown; all others are black.
        worths: By the same names.
    """
    figure, row = charts._new(1, len(masks), width=1.75 * len(masks), height=2.3, squeeze=False)
    for axes, (name, mask) in zip(row[0], masks.items(), strict=True):
        charts.show_face(axes, image * mask[:, :, None].astype(np.uint8))
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(f"v = {worths[name]:.3f}", fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    return charts._done(figure)


def by_level(
    image: np.ndarray, scores: Mapping[str, np.ndarray], densities: Mapping[str, np.ndarray]
) -> Figure:
    """Draw one column per level: the scores of the regions above, their densities below; each row has one scale.

    Args:
        image: uint8 (H, W, 1 or 3).
        scores: By the title of the level, float (H, W): every pixel holds the score of its region.
        densities: By the same titles, float (H, W): the same divided by the pixels of the region.
    """
    figure, grid = charts._new(2, len(scores), width=1.6 * len(scores) + 0.8, height=3.8, squeeze=False)
    for row, maps, label in zip(grid, (scores, densities), ("score", "score per pixel"), strict=True):
        limit = charts.color_limit(np.stack(list(maps.values())))
        for axes, (title, values) in zip(row, maps.items(), strict=True):
            drawn = charts.show_map(axes, image, values, limit)
            axes.set_axis_off()
            if maps is scores:
                axes.set_title(title, fontsize=9)
        figure.colorbar(drawn, ax=list(row), shrink=0.9, label=label)
    return charts._done(figure)


def region_values(image: np.ndarray, labels: np.ndarray, values: Mapping[str, Sequence[float]]) -> Figure:
    """Draw a face once per kind of value, every region tinted and with its number, all on one scale.

    Args:
        image: uint8 (H, W, 1 or 3).
        labels: int (H, W): which region 0 ... n - 1, a rectangle, holds each pixel.
        values: By title, one number per region.
    """
    figure, row = charts._new(1, len(values), width=2.45 * len(values), height=2.75, squeeze=False)
    limit = max(max(abs(value) for value in listed) for listed in values.values()) or 1.0
    for axes, (title, listed) in zip(row[0], values.items(), strict=True):
        charts.show_map(axes, image, np.asarray(listed)[labels], limit)
        for region, value in enumerate(listed):
            rows, columns = np.nonzero(labels == region)
            (top, left), (bottom, right) = (rows.min(), columns.min()), (rows.max() + 1, columns.max() + 1)
            frame = {"fill": False, "edgecolor": "white", "linewidth": 0.8}
            axes.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, **frame))
            about = {"ha": "center", "va": "center", "fontsize": 8, "color": "black"}
            plate = {"facecolor": "white", "alpha": 0.75, "pad": 1.2, "linewidth": 0}
            axes.text(columns.mean(), rows.mean(), f"{value:.3f}", bbox=plate, **about)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    return charts._done(figure)


def slopes(table: pd.DataFrame) -> pd.Series:
    """Return the slope of each column of :func:`costs` between its last two points, on logarithmic axes."""

    def last(column: pd.Series) -> float:
        known = np.log(column.dropna().astype(float))
        return float((known.iloc[-1] - known.iloc[-2]) / np.log(known.index[-1] / known.index[-2]))

    return table.apply(last)


def costs(table: pd.DataFrame) -> Figure:
    """Draw evaluations against regions, both logarithmic, with the slope of the last step in the legend.

    Args:
        table: Rows are numbers of regions n, columns rules; NaN where nothing was counted. A column that is steeper
            than any power of interest here (an exponential) has no slope in the legend.
    """
    figure, axes = charts._new(width=7.0, height=3.8)
    for (rule, counts), slope, marker, color in zip(
        table.items(), slopes(table), _MARKERS, charts._LINES, strict=False
    ):
        counts = counts.dropna()
        axes.plot(
            counts.index,
            counts,
            marker=marker,
            color=color,
            label=rule if slope > _STEEP else f"{rule} (slope {slope:.2f})",
        )
    axes.set(xscale="log", yscale="log", xlabel="regions n", ylabel="evaluations counted")
    charts._plain_ticks(axes.xaxis, table.index)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return charts._done(figure)


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
    figure, grid = charts._new(rows, columns, width=1.45 * columns, height=1.75 * rows, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, caption in zip(grid.flat, pictures, captions, strict=False):
        charts.show_face(axes, picture)
        axes.set_title(caption, fontsize=8)
    for axes, heading in zip(grid[0], headings, strict=False):
        axes.set_title(f"{heading}\n{axes.get_title()}", fontsize=8)
    for axes, side in zip(grid[:, 0], sides, strict=False):
        axes.text(
            -0.06, 0.5, side, rotation=90, ha="right", va="center", transform=axes.transAxes, fontsize=8
        )
    return charts._done(figure)


def waiting_time(seconds: float, marked: Sequence[int], most: int = 100) -> Figure:
    """Draw how long the evaluation of all 2^n coalitions takes, for n from 1 to ``most`` players.

    Args:
        seconds: Per evaluation.
        marked: Numbers of players to mark with a dot.
        most: Where the axis ends.
    """
    figure, axes = charts._new(width=6.4, height=3.2)
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
    return charts._done(figure)


def four_nodes(worths: Sequence[float]) -> Figure:
    """Draw a game of two players as the paper's Figure 3 does: a node for each coalition, an edge for each addition.

    Args:
        worths: v(∅), v({1}), v({2}) and v({1, 2}).
    """
    places = [(0.0, 0.0), (1.5, 0.7), (1.5, -0.7), (3.0, 0.0)]
    names = ["∅", "{1}", "{2}", "{1, 2}"]
    figure, axes = charts._new(width=6.0, height=2.6)
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
    return charts._done(figure)


def players(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw a face, and beside it its regions in colours with a legend.

    Args:
        image: (H, W, 1 or 3) uint8.
        labels: (H, W) integers, the region of each pixel.
        names: Of the regions 0 ... k - 1, at most eight.
    """
    figure, (left, right) = charts._new(1, 2, width=5.2, height=2.3)
    charts.show_face(left, image)
    right.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    colors = ListedColormap(_REGIONS[: len(names)])
    limits = {"vmin": -0.5, "vmax": len(names) - 0.5}
    right.imshow(labels, cmap=colors, alpha=0.55, interpolation="nearest", **limits)
    for axes in (left, right):
        axes.set_axis_off()
    patches = [Patch(color=color, label=name) for color, name in zip(_REGIONS, names, strict=False)]
    figure.legend(handles=patches, loc="outside right center", frameon=False, fontsize=8)
    return charts._done(figure)
