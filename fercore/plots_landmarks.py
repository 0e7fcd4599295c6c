"""Figures of the second paper's part: which landmarks are kept, and what fewer of them cost and gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fercore import plots
from fercore.emotions import COLORS, Emotion

_KEPT, _LEFT_OUT, _MESH = "#D55E00", "#BBBBBB", "#DDDDDD"
_METHODS = {  # colour and line of each method that has a curve
    "integrated gradients": ("#D55E00", "-"),
    "linear SVM": ("#0072B2", "--"),
    "rbf SVM": ("#56B4E9", ":"),
}
_CONTROLS = {"random": "x", "univariate F": "s", "contours": "D"}


def edges() -> np.ndarray:
    """Return the edges of the face mesh once each, int64 (E, 2)."""
    from fercore.faces import mesh

    triangles = mesh.triangles()
    pairs = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1
    )
    return np.unique(pairs, axis=0)


def kept_landmarks(
    faces: np.ndarray, chosen: np.ndarray, classes: Sequence[int], relevance: np.ndarray, columns: int = 4
) -> Figure:
    """Draw the landmarks that are kept on a face per emotion; the larger a dot, the more relevant.

    Args:
        faces: (E, 468, 2) normalised landmarks, x right and y down.
        chosen: (E, k) landmarks that are kept.
        classes: The E emotions.
        relevance: (E, 468), not negative.
        columns: Faces per row.
    """
    rows = -(-len(classes) // columns)
    figure, grid = plots._new(rows, columns, width=1.9 * columns, height=2.4 * rows, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    lines = edges()
    for axes, face, kept, label, score in zip(grid.flat, faces, chosen, classes, relevance, strict=False):
        axes.add_collection(LineCollection(face[lines, :2], colors=_MESH, linewidths=0.3, zorder=0))
        rest = np.setdiff1d(np.arange(len(face)), kept)
        axes.scatter(*face[rest, :2].T, s=1.2, color=_LEFT_OUT, linewidths=0)
        size = 3 + 22 * score[kept] / score[kept].max()
        axes.scatter(
            *face[kept, :2].T, s=size, color=COLORS[Emotion(label)], linewidths=0.2, edgecolors="black"
        )
        axes.set_title(Emotion(label).title, fontsize=9)
        axes.set_aspect("equal")
        axes.invert_yaxis()
    return plots._done(figure)


def accuracy_by_size(table: pd.DataFrame, measures: Sequence[str] = ("accuracy", "balanced")) -> Figure:
    """Draw accuracy against the number of landmarks, with intervals over folds.

    Args:
        table: From :func:`fercore.temo.table`.
        measures: Columns of it, one panel each.
    """
    names = {"accuracy": "accuracy (%)", "balanced": "balanced accuracy (%)"}
    figure, panels = plots._new(1, len(measures), width=3.9 * len(measures), height=3.4, squeeze=False)
    for axes, measure in zip(panels[0], measures, strict=True):
        for method, (color, line) in _METHODS.items():
            own = table[table["method"].isin(["all", method] if "SVM" not in method else [method])]
            if len(own):
                label = "T-EMO, " + method if "SVM" not in method else method
                _line(axes, own.sort_values("k"), measure, label, color=color, linestyle=line)
        for shift, (method, marker) in enumerate(_CONTROLS.items(), start=1):
            own = table[table["method"] == method]
            if len(own):
                style = {"color": "#555555", "marker": marker, "linestyle": "none", "markersize": 4}
                moved = own.assign(k=own["k"] * (1 + 0.06 * shift))
                _line(axes, moved, measure, f"T-EMO, {method}", **style)
        sizes = sorted(table["k"].unique())
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="landmarks", ylabel=names[measure])
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    return plots._done(figure)


def _line(axes: Axes, rows: pd.DataFrame, measure: str, label: str, **style: object) -> None:
    """Draw values with their intervals."""
    below = rows[measure] - rows[f"{measure} low"]
    above = rows[f"{measure} high"] - rows[measure]
    style = {"marker": "o", "markersize": 4, **style}
    axes.errorbar(
        rows["k"], rows[measure], yerr=[below, above], capsize=2, linewidth=1.2, label=label, **style
    )


def baseline_relevance(face: np.ndarray, scores: Mapping[str, np.ndarray]) -> Figure:
    """Draw the relevance of every landmark under each baseline, each on its own scale.

    Args:
        face: (468, 2) normalised landmarks.
        scores: (468,) relevance by baseline.
    """
    figure, grid = plots._new(1, len(scores), width=1.7 * len(scores), height=2.5, squeeze=False)
    for axes, (name, values) in zip(grid[0], scores.items(), strict=True):
        order = np.argsort(values)
        axes.scatter(*face[order, :2].T, c=values[order], s=7, cmap="viridis_r", vmin=0, linewidths=0)
        axes.set_title(name, fontsize=9)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_axis_off()
    return plots._done(figure)


def group_scores(scores: Mapping[str, np.ndarray], players: Sequence[str]) -> Figure:
    """Draw the scores of facial groups by several methods as bars.

    Args:
        scores: (n,) by method.
        players: Names of the n groups.
    """
    figure, axes = plots._new(width=7.0, height=4.6)
    colors = ("#000000", "#D55E00", "#0072B2", "#009E73", "#E69F00")
    height = 0.8 / len(scores)
    for place, (method, values) in enumerate(scores.items()):
        spots = np.arange(len(players)) + height * (place - (len(scores) - 1) / 2)
        axes.barh(spots, values, height, label=method, color=colors[place % len(colors)])
    axes.set(yticks=range(len(players)), yticklabels=players, xlabel="change of the logit")
    axes.invert_yaxis()
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, fontsize=8)
    return plots._done(figure)
