"""What all figures share: paper, colours, lines of reference, ticks and legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

# Okabe and Ito's palette, which the colour-blind can tell apart.
GREY, SKY, ORANGE, GREEN, BLUE, RED = "#999999", "#56B4E9", "#E69F00", "#009E73", "#0072B2", "#D55E00"
YELLOW, PINK = "#F0E442", "#CC79A7"
LINES, MARKERS = (GREY, SKY, ORANGE, GREEN, BLUE, RED), "ov^sDX"
DOTTED = {"color": "grey", "linewidth": 1, "linestyle": ":"}  # lines of reference


def new(
    rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 3.2, **more: Any
) -> tuple[Figure, Any]:
    """Return a figure of a size in inches with its axes, closed for pyplot; ``more`` as in ``plt.subplots``."""
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.8):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width, height), layout="constrained", dpi=110, **more
        )
    plt.close(figure)
    return figure, axes


def bare(count: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes (rows, columns), at least ``count``, switched off, each of this size in inches."""
    rows = -(-count // columns)
    figure, grid = new(rows, columns, width * columns, height * rows, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def side(axes: Axes, text: str) -> None:
    """Name a row of pictures at the left of its first one."""
    about = {"ha": "right", "va": "center", "fontsize": 8, "transform": axes.transAxes}
    axes.text(-0.06, 0.5, text, rotation=90, **about)


def names(axes: Axes, rows: Sequence[str], lines: bool = False) -> None:
    """Write the names of rows on the y axis, from the top, with or without lines through them."""
    axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    axes.grid(axis="y", visible=lines)


def logarithmic(axis: Axis, ticks: Sequence[float]) -> None:
    """Make an axis logarithmic, with plain numbers at these ticks."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(FixedLocator(sorted(ticks)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def legend(figure: Figure, where: str, columns: int = 1, size: float = 8) -> None:
    """Explain the lines of the first axes outside all axes, without a frame."""
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc=f"outside {where}", ncols=columns, frameon=False, fontsize=size)
