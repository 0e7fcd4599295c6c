"""Figures of the course: coalitions of a face, maps level by level, numbers on regions, and what rules cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fercore import plots

_STEEP = 4.0
_MARKERS = "ov^sDX"


def coalitions(image: np.ndarray, masks: Mapping[str, np.ndarray], worths: Mapping[str, float]) -> Figure:
    """Draw a face as the network sees it in several coalitions, with their worths.

    Args:
        image: uint8 (H, W, 1 or 3).
        masks: By name, bool (H, W): the pixels that are shown; all others are black.
        worths: By the same names.
    """
    figure, row = plots._new(1, len(masks), width=1.75 * len(masks), height=2.3, squeeze=False)
    for axes, (name, mask) in zip(row[0], masks.items(), strict=True):
        plots.show_face(axes, image * mask[:, :, None].astype(np.uint8))
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(f"v = {worths[name]:.3f}", fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    return plots._done(figure)


def by_level(
    image: np.ndarray, scores: Mapping[str, np.ndarray], densities: Mapping[str, np.ndarray]
) -> Figure:
    """Draw one column per level: the scores of the regions above, their densities below; each row has one scale.

    Args:
        image: uint8 (H, W, 1 or 3).
        scores: By the title of the level, float (H, W): every pixel holds the score of its region.
        densities: By the same titles, float (H, W): the same divided by the pixels of the region.
    """
    figure, grid = plots._new(2, len(scores), width=1.6 * len(scores) + 0.8, height=3.8, squeeze=False)
    for row, maps, label in zip(grid, (scores, densities), ("score", "score per pixel"), strict=True):
        limit = plots.color_limit(np.stack(list(maps.values())))
        for axes, (title, values) in zip(row, maps.items(), strict=True):
            drawn = plots.show_map(axes, image, values, limit)
            axes.set_axis_off()
            if maps is scores:
                axes.set_title(title, fontsize=9)
        figure.colorbar(drawn, ax=list(row), shrink=0.9, label=label)
    return plots._done(figure)


def region_values(image: np.ndarray, labels: np.ndarray, values: Mapping[str, Sequence[float]]) -> Figure:
    """Draw a face once per kind of value, every region tinted and with its number, all on one scale.

    Args:
        image: uint8 (H, W, 1 or 3).
        labels: int (H, W): which region 0 ... n - 1, a rectangle, holds each pixel.
        values: By title, one number per region.
    """
    figure, row = plots._new(1, len(values), width=2.45 * len(values), height=2.75, squeeze=False)
    limit = max(max(abs(value) for value in listed) for listed in values.values()) or 1.0
    for axes, (title, listed) in zip(row[0], values.items(), strict=True):
        plots.show_map(axes, image, np.asarray(listed)[labels], limit)
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
    return plots._done(figure)


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
    figure, axes = plots._new(width=7.0, height=3.8)
    for (rule, counts), slope, marker, color in zip(
        table.items(), slopes(table), _MARKERS, plots._LINES, strict=False
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
    plots._plain_ticks(axes.xaxis, table.index)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return plots._done(figure)
