"""Figures of facial regions and landmarks: how much of the maps lies in each region, and where the regions are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from fercore.emotions import COLORS, Emotion
from ferlab.faces.mesh import REGIONS, triangles
from ferlab.figures import panels, style
from ferlab.landmarks import FaceLandmarks
from ferlab.landmarks.regions import LABELS, region_labels
from ferlab.measures.facs import EXPECTED, Profile

LARGEST = 4.0  # lifts from here on, and from its inverse down, have the end colours
_REGIONS = (style.SKY, style.BLUE, style.GREEN, style.YELLOW, style.PINK, style.RED, style.ORANGE)


def edges() -> np.ndarray:
    """Return the edges of the face mesh once each, int64 (E, 2)."""
    pairs = triangles()[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _upright(axes: Axes, name: str) -> None:
    axes.set_title(name, fontsize=9)
    axes.set_aspect("equal")
    axes.invert_yaxis()


def kept_landmarks(
    faces: np.ndarray, chosen: np.ndarray, classes: Sequence[int], relevance: np.ndarray, columns: int = 4
) -> Figure:
    """Draw the ``chosen`` landmarks (E, k) on a face (E, 468, 2) per emotion; the more relevant, the larger."""
    figure, grid = style.bare(len(classes), columns, 1.9, 2.4)
    for axes, face, kept, label, score in zip(grid.flat, faces, chosen, classes, relevance, strict=False):
        axes.add_collection(LineCollection(face[edges(), :2], colors="#DDDDDD", linewidths=0.3, zorder=0))
        rest = np.setdiff1d(np.arange(len(face)), kept)
        axes.scatter(*face[rest, :2].T, s=1.2, color="#BBBBBB", linewidths=0)
        about = {"color": COLORS[Emotion(label)], "linewidths": 0.2, "edgecolors": "black"}
        axes.scatter(*face[kept, :2].T, s=3 + 22 * score[kept] / score[kept].max(), **about)
        _upright(axes, Emotion(label).title)
    return figure


def baseline_relevance(face: np.ndarray, scores: Mapping[str, np.ndarray]) -> Figure:
    """Draw the (468,) relevance of the landmarks (468, 2) of a face under each baseline, each on its own scale."""
    figure, grid = style.bare(len(scores), len(scores), 1.7, 2.5)
    for axes, (name, values) in zip(grid[0], scores.items(), strict=True):
        order = np.argsort(values)
        axes.scatter(*face[order, :2].T, c=values[order], s=7, cmap="viridis_r", vmin=0, linewidths=0)
        _upright(axes, name)
    return figure


def accuracy_by_size(table: pd.DataFrame) -> Figure:
    """Draw accuracy and balanced accuracy by method against the number of landmarks, with intervals over folds."""
    units = {"accuracy": "accuracy (%)", "balanced": "balanced accuracy (%)"}
    looks: dict[str, tuple[str, dict[str, str]]] = {
        "integrated gradients": ("T-EMO, integrated gradients", {"color": style.RED}),
        "linear SVM": ("linear SVM", {"color": style.BLUE, "linestyle": "--"}),
        "rbf SVM": ("rbf SVM", {"color": style.SKY, "linestyle": ":"}),
    }
    for method, marker in {"random": "x", "univariate F": "s", "contours": "D"}.items():
        looks[method] = f"T-EMO, {method}", {"color": "#555555", "marker": marker, "linestyle": "none"}
    shifts = {"random": 1.06, "univariate F": 1.12, "contours": 1.18}  # sideways, to be seen
    figure, panels = style.new(1, 2, width=7.8, height=3.4)
    for axes, (measure, unit) in zip(panels, units.items(), strict=True):
        for method, (label, look) in looks.items():
            methods = ["all", method] if method == "integrated gradients" else [method]
            rows = table[table.method.isin(methods)].sort_values("k")
            if rows.empty:
                continue
            bars = [rows[measure] - rows[f"{measure} low"], rows[f"{measure} high"] - rows[measure]]
            look = {"marker": "o", "markersize": 4, "capsize": 2, "linewidth": 1.2, "label": label} | look
            axes.errorbar(rows.k * shifts.get(method, 1), rows[measure], yerr=bars, **look)
        axes.set(xlabel="landmarks", ylabel=unit)
        style.logarithmic(axes.xaxis, table.k.unique())
    style.legend(figure, "lower center", 3, size=10)
    return figure


def group_scores(scores: Mapping[str, np.ndarray], players: Sequence[str]) -> Figure:
    """Draw the (n,) scores of facial groups by several methods as bars."""
    figure, axes = style.new(height=4.6)
    colors = ["black", style.RED, style.BLUE, style.GREEN, style.ORANGE]
    about = {"width": 0.8, "color": colors, "grid": True, "xlabel": "change of the logit"}
    pd.DataFrame(scores, index=players).plot.barh(ax=axes, **about)
    axes.axvline(0, color="grey", linewidth=0.8)
    style.names(axes, players)
    axes.legend(frameon=False, fontsize=8)
    return figure


def lift_heatmap(profile: Profile) -> Figure:
    """Draw the lift of each region by emotion, logarithmic around 1; frames mark primary regions by FACS."""
    order = [*range(1, len(LABELS)), 0]  # outside comes last
    regions, values = [LABELS[label] for label in order], profile.lift[:, order]
    if not len(values):
        return panels.sentence("There are no maps.")
    figure, axes = style.new(height=1.2 + 0.38 * len(values))
    axes.set_facecolor("#DDDDDD")
    axes.grid(visible=False)
    end = np.log2(LARGEST)
    rows = [f"{e.title} ({n:,})" for e, n in zip(profile.emotions, profile.used, strict=True)]
    table = pd.DataFrame(np.log2(np.clip(values, 1 / LARGEST, LARGEST)), rows, regions)
    numbers = {"annot": values, "fmt": ".2f", "annot_kws": {"size": 8}, "cbar_kws": {"label": "lift"}}
    colors = {"cmap": "PuOr_r", "vmin": -end, "vmax": end, "linewidths": 1.5}  # orange above 1, purple below
    sns.heatmap(table, ax=axes, **numbers, **colors)
    axes.set(xlabel="", ylabel="")
    ticks = np.linspace(-end, end, 5)
    axes.collections[0].colorbar.set_ticks(ticks, labels=[f"{2**tick:g}" for tick in ticks])
    frame = {"width": 0.92, "height": 0.92, "fill": False, "edgecolor": "black", "linewidth": 2}
    for row, emotion in enumerate(profile.emotions):
        for region in EXPECTED[emotion].primary if emotion in EXPECTED else ():
            axes.add_patch(Rectangle((regions.index(region) + 0.04, row + 0.04), **frame))
    axes.tick_params(axis="y", rotation=0)
    return figure


def region_faces(
    images: np.ndarray, landmarks: FaceLandmarks, captions: Sequence[str], columns: int = 7
) -> Figure:
    """Draw N faces with their regions tinted and their landmarks as dots; a face that was not found is bare."""
    figure, grid = style.bare(len(images), columns, 1.3, 1.75)
    for axes, image, points, caption in zip(grid.flat, images, landmarks.points, captions, strict=False):
        height, width = image.shape[:2]
        where = {"extent": (0, width, height, 0), "interpolation": "nearest"}
        axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, **where)
        labels = np.ma.masked_equal(region_labels(points, height, width), 0)
        axes.imshow(labels, cmap=ListedColormap(_REGIONS), vmin=1, vmax=len(REGIONS), alpha=0.45, **where)
        axes.plot(points[:, 0], points[:, 1], ".", color="white", markersize=0.6)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_title(caption, fontsize=8)
    patches = [Patch(color=color, label=name) for color, name in zip(_REGIONS, REGIONS, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=8)
    return figure
