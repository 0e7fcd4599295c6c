"""Figures of facial regions: how much of the maps lies in each, and the regions themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from fercore import plots

if TYPE_CHECKING:
    from fercore.landmarks import FaceLandmarks, Profile

LIFT_COLORS = "PuOr_r"  # orange above 1, purple below: told apart with any kind of colour blindness
LARGEST = 4.0  # lifts from here on, and from its inverse down, have the end colours
# Okabe and Ito's palette, in the order of fercore.faces.REGIONS.
REGION_COLORS = ("#56B4E9", "#0072B2", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#E69F00")


def lift_heatmap(profile: Profile) -> Figure:
    """Draw the lift of each region for each emotion: share of mass over share of area.

    Colours are on a logarithmic scale around 1, which is no preference. A frame marks the emotion's primary regions by
    FACS. Cells without data are grey. The number of maps stands beside the emotion.

    Args:
        profile: As :func:`fercore.landmarks.facs.profile` gives it.
    """
    from fercore.landmarks.facs import EXPECTED
    from fercore.landmarks.regions import LABELS

    order = [*range(1, len(LABELS)), 0]  # outside comes last
    names = [LABELS[label] for label in order]
    values = profile.lift[:, order]
    figure, axes = plots._new(width=7.0, height=1.2 + 0.38 * max(len(values), 1))
    if not len(values):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "There are no maps.", ha="center", va="center")
        return plots._done(figure)
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
    return plots._done(figure)


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
    from fercore.faces import REGIONS
    from fercore.landmarks.regions import region_labels

    rows = -(-len(images) // columns)
    figure, grid = plots._new(rows, columns, width=1.3 * columns, height=1.45 * rows + 0.3, squeeze=False)
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
    return plots._done(figure)
