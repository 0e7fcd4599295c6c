"""Figures of facial regions: how much of the maps lies in each, and the regions themselves."""

from __future__ import annotations
from collections.abc import Mapping, Sequence
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from ferlab.figures import charts
from fercore.emotions import COLORS
from fercore.emotions import Emotion
from typing import TYPE_CHECKING
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle


_KEPT, _LEFT_OUT, _MESH = "#D55E00", "#BBBBBB", "#DDDDDD"
_METHODS = {  # colour and line of each method that has a curve
    "integrated gradients": ("#D55E00", "-"),
    "linear SVM": ("#0072B2", "--"),
    "rbf SVM": ("#56B4E9", ":"),
}
_CONTROLS = {"random": "x", "univariate F": "s", "contours": "D"}


def edges() -> np.ndarray:
    """Return the edges of the face mesh once each, int64 (E, 2)."""
    from ferlab.faces import mesh

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
    figure, grid = charts._new(rows, columns, width=1.9 * columns, height=2.4 * rows, squeeze=False)
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
    return charts._done(figure)


def accuracy_by_size(table: pd.DataFrame, measures: Sequence[str] = ("accuracy", "balanced")) -> Figure:
    """Draw accuracy against the number of landmarks, with intervals over folds.

    Args:
        table: From :func:`ferlab.temo.table`.
        measures: Columns of it, one panel each.
    """
    names = {"accuracy": "accuracy (%)", "balanced": "balanced accuracy (%)"}
    figure, panels = charts._new(1, len(measures), width=3.9 * len(measures), height=3.4, squeeze=False)
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
    return charts._done(figure)


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
    figure, grid = charts._new(1, len(scores), width=1.7 * len(scores), height=2.5, squeeze=False)
    for axes, (name, values) in zip(grid[0], scores.items(), strict=True):
        order = np.argsort(values)
        axes.scatter(*face[order, :2].T, c=values[order], s=7, cmap="viridis_r", vmin=0, linewidths=0)
        axes.set_title(name, fontsize=9)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_axis_off()
    return charts._done(figure)


def group_scores(scores: Mapping[str, np.ndarray], players: Sequence[str]) -> Figure:
    """Draw the scores of facial groups by several methods as bars.

    Args:
        scores: (n,) by method.
        players: Names of the n groups.
    """
    figure, axes = charts._new(width=7.0, height=4.6)
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
    return charts._done(figure)


if TYPE_CHECKING:
    from ferlab.landmarks import FaceLandmarks
    from ferlab.landmarks import Profile

LIFT_COLORS = "PuOr_r"  # orange above 1, purple below: told apart with any kind of colour blindness
LARGEST = 4.0  # lifts from here on, and from its inverse down, have the end colours
# Okabe and Ito's palette, in the order of ferlab.faces.REGIONS.
REGION_COLORS = ("#56B4E9", "#0072B2", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#E69F00")


def lift_heatmap(profile: Profile) -> Figure:
    """Draw the lift of each region for each emotion: share of mass over share of area.

    Colours are on a logarithmic scale around 1, which is no preference. A frame marks the emotion's primary regions by
    FACS. Cells without data are grey. The number of maps stands beside the emotion.

    Args:
        profile: As :func:`ferlab.measures.facs.profile` gives it.
    """
    from ferlab.measures.facs import EXPECTED
    from ferlab.landmarks.regions import LABELS

    order = [*range(1, len(LABELS)), 0]  # outside comes last
    names = [LABELS[label] for label in order]
    values = profile.lift[:, order]
    figure, axes = charts._new(width=7.0, height=1.2 + 0.38 * max(len(values), 1))
    if not len(values):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "There are no maps.", ha="center", va="center")
        return charts._done(figure)
    axes.set_facecolor("#DDDDDD")
    axes.grid(visible=False)
    end = np.log2(LARGEST)
    sns.heatmap(
        np.log2(np.clip(values, 1 / LARGEST, LARGEST)),
        mask=~np.isfinite(values),
        annot=values,
        fmt=".2f",
        annot_kws={"size": 8},
        cmap=LIFT_COLORS,
        vmin=-end,
        vmax=end,
        linewidths=1.5,
        xticklabels=names,
        yticklabels=[f"{e.title} ({n:,})" for e, n in zip(profile.emotions, profile.used, strict=True)],
        cbar_kws={"label": "lift"},
        ax=axes,
    )
    ticks = np.linspace(-end, end, 5)
    axes.collections[0].colorbar.set_ticks(ticks, labels=[f"{2**tick:g}" for tick in ticks])
    for row, emotion in enumerate(profile.emotions):
        primary = EXPECTED[emotion].primary if emotion in EXPECTED else ()
        for column in (names.index(region) for region in primary):
            frame = Rectangle(
                (column + 0.04, row + 0.04), 0.92, 0.92, fill=False, edgecolor="black", linewidth=2
            )
            axes.add_patch(frame)
    axes.tick_params(axis="y", rotation=0)
    return charts._done(figure)


def region_faces(
    images: np.ndarray, landmarks: FaceLandmarks, captions: Sequence[str], columns: int = 7
) -> Figure:
    """Draw faces with their regions tinted and their landmarks as dots.

    Args:
        images: (N, H, W, 1 or 3) uint8.
        landmarks: Of these images; a face that was not found is shown bare.
        captions: N short texts.
        columns: Faces per row.
    """
    from ferlab.faces import REGIONS
    from ferlab.landmarks.regions import region_labels

    rows = -(-len(images) // columns)
    figure, grid = charts._new(rows, columns, width=1.3 * columns, height=1.45 * rows + 0.3, squeeze=False)
    tints = ListedColormap(REGION_COLORS)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, points, caption in zip(grid.flat, images, landmarks.points, captions, strict=False):
        height, width = image.shape[:2]
        axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
        labels = np.ma.masked_equal(region_labels(points, height, width), 0)
        limits = {"vmin": 1, "vmax": len(REGIONS), "extent": (0, width, height, 0)}
        axes.imshow(labels, cmap=tints, alpha=0.45, interpolation="nearest", **limits)
        axes.plot(points[:, 0], points[:, 1], ".", color="white", markersize=0.6)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_title(caption, fontsize=8)
    patches = [Patch(color=color, label=name) for color, name in zip(REGION_COLORS, REGIONS, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=8)
    return charts._done(figure)
