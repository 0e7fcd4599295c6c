"""Figures of the page "Explainers"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fercore import plots
from fercore.explainers import CONTROLS, METHODS
from fercore.measure_names import MEASURES, title

_DOT, _CONTROL = "#0072B2", "#999999"  # Okabe and Ito's blue; grey for maps that know nothing of the network
_MARKS = {"shuffled": ("|", "#E69F00", "pixels shuffled"), "swapped": ("x", "#D55E00", "maps of other faces")}


def map_sheet(images: np.ndarray, maps: Mapping[str, np.ndarray], blocks: int = 2) -> Figure:
    """Draw the maps of a few faces under all methods, each on its own symmetric scale.

    Args:
        images: (F, H, W, 1 or 3) uint8.
        maps: By method, (F, H, W) float.
        blocks: Methods side by side.
    """
    names = ["", *maps]
    rows, faces = -(-len(names) // blocks), len(images)
    size = {"width": 0.85 * faces * blocks + 0.4, "height": 1.02 * rows}
    figure, grid = plots._new(rows, faces * blocks, squeeze=False, **size)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, name in enumerate(names):
        row, block = place % rows, place // rows
        cells = grid[row, block * faces : (block + 1) * faces]
        for face, axes in enumerate(cells):
            if name:
                plots.show_map(axes, images[face], maps[name][face])
            else:
                plots.show_face(axes, images[face])
        cells[0].set_title(title(name) if name else "face", fontsize=8, loc="left", pad=2)
    return plots._done(figure)


def intervals(
    frame: pd.DataFrame, measures: Sequence[str], chance: Mapping[str, float] | None = None
) -> Figure:
    """Draw means with intervals: a panel per measure, a row per method, controls in grey.

    Args:
        frame: Of :func:`fercore.explainer_tables.scores`.
        measures: Which measures, in order.
        chance: Level of chance by measure, a dashed line.
    """
    methods = list(frame.method.unique())
    columns = min(3, len(measures))
    lines = -(-len(measures) // columns)
    size = {"width": 7.4, "height": lines * (0.7 + 0.2 * len(methods)), "sharey": True, "squeeze": False}
    figure, grid = plots._new(lines, columns, **size)
    for axes in grid.flat[len(measures) :]:
        axes.set_axis_off()
    for axes, measure in zip(grid.flat, measures, strict=False):
        part = frame[frame.measure == measure].set_index("method").reindex(methods)
        _dots(axes, part, methods)
        if chance and measure in chance:
            axes.axvline(chance[measure], color="#D55E00", linewidth=1, linestyle="--")
        name, better = MEASURES[measure]
        arrow = {True: "\n(more is better)", False: "\n(less is better)", None: ""}[better]
        axes.set_title(name + arrow, fontsize=8)
    return plots._done(figure)


def _dots(axes: plots.Axes, part: pd.DataFrame, methods: Sequence[str]) -> None:
    """Draw a row per method with its interval, best read from the top."""
    for place, name in enumerate(methods):
        row, color = part.loc[name], _CONTROL if name in CONTROLS else _DOT
        if np.isfinite(row["low"]):
            axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.4)
        axes.plot(row["mean"], place, "o", color=color, markersize=4)
    axes.set(yticks=range(len(methods)), yticklabels=[title(n) for n in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", visible=False)


def overlap_dots(frame: pd.DataFrame, printed: Mapping[str, float] | None = None) -> Figure:
    """Draw the overlap of each method with each reference, beside what chance gives.

    Args:
        frame: Of :func:`fercore.explainer_tables.overlap_table`.
        printed: The paper's number by method, drawn in the panel of the first reference.
    """
    references, present = list(frame.reference.unique()), set(frame.method)
    methods = [name for name in METHODS if name in present]
    size = {"width": 7.4, "height": 1.0 + 0.22 * len(methods), "sharey": True, "squeeze": False}
    figure, grid = plots._new(1, len(references), **size)
    for axes, reference in zip(grid[0], references, strict=True):
        part = frame[frame.reference == reference].set_index("method").reindex(methods)
        _dots(axes, part, methods)
        for level, (marker, color, label) in _MARKS.items():
            axes.plot(part[level], range(len(methods)), marker, color=color, label=label, markersize=6)
        if printed and reference == references[0]:
            places = [methods.index(name) for name in printed if name in methods]
            values = [value for name, value in printed.items() if name in methods]
            axes.plot(values, places, "D", color="#000000", fillstyle="none", label="the paper", markersize=5)
        axes.set_title(f"with {title(reference)}", fontsize=8)
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return plots._done(figure)


def growth(measured: Sequence[Mapping[str, float | str]]) -> Figure:
    """Draw evaluations and seconds against the number of regions, both axes logarithmic.

    Args:
        measured: Rows of :func:`fercore.explainer_study.scaling`.
    """
    frame = pd.DataFrame(measured)
    figure, panels = plots._new(1, 2, height=3.0)
    styles = zip(plots._LINES[::-1], "osD^v", strict=False)
    for (name, part), (color, marker) in zip(frame.groupby("method", sort=False), styles, strict=False):
        for axes, column in zip(panels, ("evaluations", "seconds"), strict=True):
            axes.plot(part.regions, part[column], marker=marker, color=color, label=title(name), markersize=5)
            axes.set(xscale="log", yscale="log", xlabel="regions", ylabel=f"{column} per image")
            plots._plain_ticks(axes.xaxis, sorted(frame.regions.unique()))
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return plots._done(figure)


def sentence(text: str) -> Figure:
    """Draw a sentence where a figure would be."""
    figure, axes = plots._new(height=0.6)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=9)
    return plots._done(figure)
