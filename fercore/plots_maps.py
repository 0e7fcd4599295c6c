"""Figures of emotion maps: the paper's Figures 5 to 11, one for each emotion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fercore import plots
from fercore.emotions import Emotion
from fercore.maps import MeanMaps
from fercore.sentences import Finding

POSITIVE_COLORS = "Reds"
_ROWS = ("face", "positive part", "signed")
_PALE = 2  # standard errors below which a pixel of a mean map is hatched


@dataclass(frozen=True, eq=False)
class Gallery:
    """Faces and maps to draw, of all emotions.

    Attributes:
        images: (N, H, W, 1 or 3) uint8.
        maps: (N, H, W) float, signed; in units of the explained output per pixel.
        labels: (N,) integers.
        captions: N short texts that stand above the faces.
        mean: Mean maps, of the emotions that have any.
    """

    images: np.ndarray
    maps: np.ndarray
    labels: np.ndarray
    captions: Sequence[str]
    mean: MeanMaps


def emotion(gallery: Gallery, which: Emotion, columns: int, reason: str = "") -> Figure:
    """Draw one emotion: example faces and, last, the mean face; below each its map.

    The second row shows what speaks for the emotion, red as in the paper; the third row the signed map, red for and
    blue against. Pixels of a mean map within two standard errors of zero are hatched.

    Args:
        gallery: What to draw.
        which: The emotion.
        columns: Example faces, at most; cells without one stay empty.
        reason: Why there is nothing to draw; printed instead if there is nothing.
    """
    rows = np.flatnonzero(gallery.labels == which)[:columns]
    if len(rows) == 0 or which not in gallery.mean.emotions:
        return _nothing(reason or f"There is no map of {which.title}.")
    figure, grid = plots._new(3, columns + 1, width=1.45 * (columns + 1), height=4.6, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, index in enumerate(rows):
        _column(grid[:, place], gallery.images[index], gallery.maps[index], gallery.captions[index])
    at = gallery.mean.emotions.index(which)
    face, values, error = (x[at] for x in (gallery.mean.faces, gallery.mean.maps, gallery.mean.errors))
    _column(grid[:, -1], face, values, f"mean of {gallery.mean.counts[at]:,}")
    _hatch(grid[2, -1], np.abs(values) < _PALE * error)
    for axes, title in zip(grid[:, 0], _ROWS, strict=True):
        axes.text(
            -0.08, 0.5, title, rotation=90, ha="right", va="center", transform=axes.transAxes, fontsize=8
        )
    return plots._done(figure)


def sentence_dots(findings: Sequence[Finding]) -> Figure:
    """Draw every part of every sentence: the mean with its 95 % interval, and the mean under the released masking.

    Args:
        findings: As :func:`fercore.sentences.check` gives them; those without enough faces get an empty row.
    """
    figure, axes = plots._new(height=0.9 + 0.45 * len(findings))
    for place, found in enumerate(findings):
        if np.isnan(found.mean):
            axes.text(1.0, place, "too few faces", ha="center", va="center", fontsize=8)
            continue
        bar = [[found.mean - found.low], [found.high - found.mean]]
        axes.errorbar(found.mean, place, xerr=bar, fmt="o", color="#0072B2", capsize=3)
        axes.plot(found.mean - found.difference, place, "|", color="#0072B2", markersize=12)
        axes.plot(found.released, place, "x", color="#D55E00")
    handles = [
        Line2D([], [], marker="o", color="#0072B2", label="this emotion, 95 % interval"),
        Line2D([], [], marker="|", color="#0072B2", linestyle="", markersize=12, label="all other emotions"),
        Line2D([], [], marker="x", color="#D55E00", linestyle="", label="this emotion, released masking"),
    ]
    axes.axvline(1, color="grey", linewidth=1, linestyle=":")
    names = [f"{found.sentence.emotion.title}: {found.part}" for found in findings]
    axes.set(yticks=range(len(findings)), yticklabels=names, xlabel="positive attribution, 1 is chance")
    axes.invert_yaxis()
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return plots._done(figure)


def _column(column: Sequence[Axes], image: np.ndarray, values: np.ndarray, caption: str) -> None:
    """Draw a face, the positive part of its map and the signed map, on one scale."""
    face, positive, signed = column
    limit = plots.color_limit(values)
    plots.show_face(face, image.astype(np.uint8))
    face.set_title(caption, fontsize=8)
    grey = image.mean(axis=2)
    positive.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    shown = np.clip(values, 0, None)
    share = np.minimum(shown / limit, 1.0)
    positive.imshow(
        shown, cmap=POSITIVE_COLORS, vmin=0, vmax=limit, alpha=0.75 * share, interpolation="nearest"
    )
    plots.show_map(signed, image, values, limit)


def _hatch(axes: Axes, pale: np.ndarray) -> None:
    """Hatch the pixels where ``pale`` is True."""
    if pale.any():
        with mpl.rc_context({"hatch.linewidth": 0.4, "hatch.color": "#444444"}):
            axes.contourf(pale.astype(float), levels=[0.5, 1.5], colors="none", hatches=["////"])


def _nothing(reason: str) -> Figure:
    """Draw a sentence where a figure would be."""
    figure, axes = plots._new(height=0.6)
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=10)
    return plots._done(figure)
