"""Figures of the course: coalitions, trees, costs, and what the published algorithm does; maps as in panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ferlab.figures import panels, style

_STEEP = 4.0  # slope above which a curve is an exponential, and no power
_REGIONS = (style.GREY, style.SKY, style.BLUE, style.GREEN, style.YELLOW, style.PINK, style.RED, style.ORANGE)
_YEAR = 365.25 * 86400  # seconds
_SPANS = {"a second": 1.0, "an hour": 3600.0, "a year": _YEAR, "age of the universe": 13.8e9 * _YEAR}


def picture_grid(
    pictures: np.ndarray, captions: Sequence[str], columns: int, headings: Sequence[str] = (), sides: Sequence[str] = ()
) -> Figure:  # fmt: skip
    """Draw N faces under N captions, ``columns`` a row, with names of the columns above and of the rows beside them."""
    cells = [(caption, face, None) for caption, face in zip(captions, pictures, strict=True)]
    figure, grid = panels.tiles(cells, columns, (1.45, 1.75))
    for axes, heading in zip(grid[0], headings, strict=False):
        axes.set_title(f"{heading}\n{axes.get_title()}", fontsize=8)
    for axes, name in zip(grid[:, 0], sides, strict=False):
        style.side(axes, name)
    return figure


def coalitions(image: np.ndarray, masks: Mapping[str, np.ndarray], worths: Mapping[str, float]) -> Figure:
    """Draw a face in several coalitions, black where the mask (H, W) is False, with their worths."""
    figure, row = style.new(1, len(masks), width=1.75 * len(masks), height=2.3, squeeze=False)
    for axes, (name, mask) in zip(row[0], masks.items(), strict=True):
        panels.show_face(axes, image * mask[:, :, None].astype(np.uint8))
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(f"v = {worths[name]:.3f}", fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


def by_level(
    image: np.ndarray, scores: Mapping[str, np.ndarray], densities: Mapping[str, np.ndarray]
) -> Figure:
    """Draw per level, by title, a map of the scores of its regions, below it of their densities, a scale per row."""
    figure, grid = style.bare(2 * len(scores), len(scores), 1.6 + 0.8 / len(scores), 1.9)
    for row, maps, label in zip(grid, (scores, densities), ("score", "score per pixel"), strict=True):
        limit = panels.color_limit(np.stack(list(maps.values())))
        drawn = [
            panels.show_map(axes, image, values, limit)
            for axes, values in zip(row, maps.values(), strict=True)
        ]
        figure.colorbar(drawn[0], ax=list(row), shrink=0.9, label=label)
    for axes, title in zip(grid[0], scores, strict=True):
        axes.set_title(title, fontsize=9)
    return figure


def region_values(image: np.ndarray, labels: np.ndarray, values: Mapping[str, Sequence[float]]) -> Figure:
    """Draw a face per kind of value, each region of ``labels`` (H, W), a rectangle, tinted and with its number."""
    cells = [(title, image, np.asarray(listed)[labels]) for title, listed in values.items()]
    limit = max(np.abs(listed).max() for listed in values.values()) or 1.0
    figure, grid = panels.tiles(cells, len(cells), (2.45, 2.75), limit=limit, fontsize=9)
    about = {"ha": "center", "va": "center", "fontsize": 8}
    plate = {"facecolor": "white", "alpha": 0.75, "pad": 1.2, "linewidth": 0}
    for axes, listed in zip(grid[0], values.values(), strict=True):
        for region, value in enumerate(listed):
            rows, columns = np.nonzero(labels == region)
            box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
            panels.outline(axes, box, edgecolor="white", linewidth=0.8)
            axes.text(columns.mean(), rows.mean(), f"{value:.3f}", bbox=plate, **about)
    return figure


def players(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw a face, and beside it its regions ``labels`` (H, W) in colours; ``names`` of the regions, at most eight."""
    figure, ((left, right),) = style.bare(2, 2, 2.6, 2.3)
    panels.show_face(left, image)
    panels.show_grey(right, image)
    colors = {"cmap": ListedColormap(_REGIONS[: len(names)]), "vmin": -0.5, "vmax": len(names) - 0.5}
    right.imshow(labels, alpha=0.55, interpolation="nearest", **colors)
    patches = [Patch(color=color, label=name) for color, name in zip(_REGIONS, names, strict=False)]
    figure.legend(handles=patches, loc="outside right center", frameon=False, fontsize=8)
    return figure


def slopes(table: pd.DataFrame) -> pd.Series:
    """Return the slope of each column of :func:`costs` between its last two points, on logarithmic axes."""

    def last(column: pd.Series) -> float:
        known = np.log(column.dropna().astype(float))
        return float((known.iloc[-1] - known.iloc[-2]) / np.log(known.index[-1] / known.index[-2]))

    return table.apply(last)


def costs(table: pd.DataFrame) -> Figure:
    """Draw evaluations by rule (columns) against regions (rows), log-log; with slopes, but of exponentials."""
    figure, axes = style.new(height=3.8)
    for (rule, slope), marker, color in zip(slopes(table).items(), style.MARKERS, style.LINES, strict=False):
        label = rule if slope > _STEEP else f"{rule} (slope {slope:.2f})"
        axes.plot(table[rule].dropna(), marker=marker, color=color, label=label)
    axes.set(yscale="log", xlabel="regions n", ylabel="evaluations counted")
    style.logarithmic(axes.xaxis, table.index)
    style.legend(figure, "right upper")
    return figure


def waiting_time(seconds: float, marked: Sequence[int], most: int = 100) -> Figure:
    """Draw how long all 2^n coalitions take at ``seconds`` each, for n up to ``most``; dots at the ``marked`` n."""
    figure, axes = style.new(width=6.4)
    players = np.arange(1, most + 1)
    powers = np.log10(seconds) + players * np.log10(2)
    axes.plot(players, powers, color=style.BLUE)
    for count in marked:
        dot = (count, powers[count - 1])
        axes.plot(*dot, "o", color=style.BLUE)
        axes.annotate(f"{count}", dot, xytext=(5, -11), textcoords="offset points", fontsize=8)
    for name, span in _SPANS.items():
        axes.axhline(np.log10(span), **style.DOTTED)
        axes.text(most, np.log10(span), name, ha="right", va="bottom", fontsize=8)
    axes.set(xlabel="players n", ylabel="seconds, power of ten", xlim=(0, most + 1))
    return figure


def four_nodes(worths: Sequence[float]) -> Figure:
    """Draw a game of two players, v(∅), v({1}), v({2}) and v({1, 2}), as the paper's Figure 3: edges are additions."""
    places = np.array([(0.0, 0.0), (1.5, 0.7), (1.5, -0.7), (3.0, 0.0)])
    figure, axes = style.new(width=6.0, height=2.6)
    axes.set(xlim=(-0.4, 3.4), ylim=(-1.1, 1.1))
    axes.set_axis_off()
    about = {"ha": "center", "va": "center", "textcoords": "offset points", "fontsize": 8}
    about |= {"rotation_mode": "anchor", "transform_rotates_text": True}
    looks = {1: ("-", style.BLUE), 2: ("--", style.RED)}
    for start, end, player in ((0, 1, 1), (2, 3, 1), (0, 2, 2), (1, 3, 2)):
        edge, (line, color) = places[[start, end]], looks[player]
        axes.plot(*edge.T, line, color=color, zorder=1)
        (across, up), middle = edge[1] - edge[0], edge.mean(axis=0)
        turn = {"rotation": np.degrees(np.arctan2(up, across)), "color": color}
        said = f"player {player} adds {worths[end] - worths[start]:g}"
        axes.annotate(said, middle, xytext=(0, 11 if middle[1] > 0 else -11), **about, **turn)
    for place, name, worth in zip(places, ("∅", "{1}", "{2}", "{1, 2}"), worths, strict=True):
        axes.plot(*place, "o", markersize=42, markerfacecolor="white", markeredgecolor="#333333")
        axes.text(*place, f"{name}\n{worth:g}", ha="center", va="center", fontsize=9)
    return figure


def planted(
    image: np.ndarray,
    rows: Mapping[str, tuple[Sequence[panels.Box], Mapping[str, np.ndarray]]],
    ghosts: Mapping[str, Sequence[panels.Box]] | None = None,
) -> Figure:
    """Draw a row of maps for each planted network, by name: its boxes framed, dashed the ``ghosts`` that it ignores."""
    columns, cells = 1 + max(len(maps) for _, maps in rows.values()), []
    for name, (_, maps) in rows.items():
        cells += panels.filled(panels.face_and_maps(image, maps, maps.values(), first=name), columns)
    figure, grid = panels.tiles(cells, columns, (2.0, 2.25))
    for line, (name, (boxes, maps)) in zip(grid, rows.items(), strict=True):
        frames = [(box, "-") for box in boxes] + [(box, (0, (3, 2))) for box in (ghosts or {}).get(name, ())]
        for axes in line[: 1 + len(maps)]:
            for box, dashes in frames:  # black on white, to be seen on any face
                panels.outline(axes, box, edgecolor="white", linewidth=2.6)
                panels.outline(axes, box, edgecolor="black", linewidth=1.2, linestyle=dashes)
    return figure


def found(photo: np.ndarray, box: Any, face: np.ndarray) -> Figure:
    """Draw a photo (H, W, 3) on axes in pixels with the box around the face, and beside it what is cut out."""
    figure, (left, right) = style.new(1, 2, height=3.4, width_ratios=(2, 1))
    panels.show_face(left, photo)
    left.add_patch(Rectangle(box[:2], box.side, box.side, fill=False, edgecolor=style.ORANGE, linewidth=2))
    left.set(xlabel="pixels from the left", ylabel="pixels from the top", title=f"box = {box}")
    left.grid(visible=False)
    panels.show_face(right, face)
    right.set_axis_off()
    right.set_title("what the network sees", fontsize=9)
    return figure


def additive_parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a map into profiles α (H,) and β (W,), β of mean zero, whose sums α(r) + β(s) fit it best in squares."""
    values = np.asarray(values, dtype=np.float64)
    return values.mean(axis=1), values.mean(axis=0) - values.mean()


def profiles(image: np.ndarray, values: np.ndarray) -> Figure:
    """Draw a map over its face, its column profile above it and its row profile beside it."""
    rows, columns = additive_parts(values)
    figure, grid = style.new(2, 2, width=4.6, height=4.6, width_ratios=[3, 1], height_ratios=[1, 3])
    figure.set_layout_engine("compressed")  # the curves as wide and high as the map
    (above, corner), (middle, beside) = grid
    corner.set_axis_off()
    panels.show_map(middle, image, values)
    middle.set(xticks=[], yticks=[])
    above.step(np.arange(len(columns)), columns, where="mid", color=style.BLUE)
    above.set(xlim=(-0.5, len(columns) - 0.5), xticks=[], ylabel="β(column)")
    beside.step(rows, np.arange(len(rows)), where="mid", color=style.RED)
    beside.set(ylim=(len(rows) - 0.5, -0.5), yticks=[], xlabel="α(row)")
    beside.locator_params(axis="x", nbins=3)
    return figure
