"""Figures of the page "Explainers"."""

from __future__ import annotations
import itertools
from collections.abc import Mapping, Sequence
from typing import Any
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import Split
from fercore.emotions import COLORS
from fercore.emotions import NAMES
from fercore.emotions import Emotion
from ferlab.explainers import CONTROLS
from ferlab.explainers import METHODS
from ferlab.measures.names import MEASURES
from ferlab.measures.names import title


_LINES = ("#999999", "#56B4E9", "#E69F00", "#009E73", "#0072B2", "#D55E00")  # Okabe and Ito
MAP_COLORS = "RdBu_r"  # red supports the class, as in the paper; blue speaks against it


def _new(
    rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 3.2, **more: Any
) -> tuple[Figure, Any]:
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.8):
        return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", dpi=110, **more)


def _done(figure: Figure) -> Figure:
    plt.close(figure)
    return figure


def class_counts(dataset: FaceDataset, split: Split) -> Figure:
    """Draw the number of images per emotion in each part of a split."""
    parts, classes = zip(split.names, split.sides, strict=True), len(dataset.counts())
    counts = {name: np.bincount(dataset.labels[index], minlength=classes) for name, index in parts}
    return part_counts(pd.DataFrame(counts, index=[Emotion(label).title for label in range(classes)]))


def part_counts(table: pd.DataFrame) -> Figure:
    """Draw a table of counts as bars: one group per row (an emotion), one colour per column (a part)."""
    figure, axes = _new()
    step = 0.8 / len(table.columns)
    for place, (name, counts) in enumerate(table.items()):
        shift = step * (place - (len(table.columns) - 1) / 2)
        bars = axes.bar(np.arange(len(table)) + shift, counts, 0.94 * step, label=name)
        axes.bar_label(bars, fontsize=6, padding=1)
    axes.set(xticks=range(len(table)), xticklabels=table.index, ylabel="images")
    axes.grid(axis="x", visible=False)
    if len(table.columns) > 1:
        handles = axes.get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper right", ncols=3, frameon=False)
    return _done(figure)


def learning_curves(history: Sequence[dict[str, float]], best: int) -> Figure:
    """Draw loss and accuracy by epoch for training and validation, with the chosen epoch marked."""
    figure, (left, right) = _new(1, 2)
    epochs = [row["epoch"] for row in history]
    for axes, quantity, unit in ((left, "loss", "cross-entropy (nats)"), (right, "accuracy", "accuracy")):
        for part, line in (("train", "--"), ("validation", "-")):
            values = [row[f"{part}_{quantity}"] for row in history]
            axes.plot(epochs, values, line, color="#0072B2" if part == "train" else "#D55E00", label=part)
        axes.axvline(best, color="grey", linewidth=1, linestyle=":", label=f"chosen: epoch {best}")
        axes.set(xlabel="epoch", ylabel=unit)
    left.legend(frameon=False)
    return _done(figure)


def confusion(matrix: Sequence[Sequence[int]]) -> Figure:
    """Draw a 7 x 7 confusion matrix: counts in the cells, colour by the share of the row."""
    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _new(width=5.4, height=4.4)
    sns.heatmap(
        share,
        annot=counts,
        fmt="d",
        cmap="Blues",
        vmin=0,
        vmax=1,
        square=True,
        xticklabels=NAMES,
        yticklabels=NAMES,
        cbar_kws={"label": "share of the true class"},
        ax=axes,
    )
    axes.set(xlabel="predicted", ylabel="true")
    return _done(figure)


def color_limit(maps: np.ndarray) -> float:
    """Return the half-width of a symmetric colour scale: the 99.5th percentile of |map|, or 1 for a map of zeros."""
    return float(np.percentile(np.abs(maps), 99.5)) or 1.0


def show_map(axes: Axes, image: np.ndarray, values: np.ndarray, limit: float | None = None) -> Any:
    """Lay a signed map over a greyed face.

    Args:
        axes: Where to draw.
        image: (H, W, 1 or 3) uint8.
        values: (H, W) float; sums over channels, in units of the explained output per pixel.
        limit: Half-width of the colour scale; :func:`color_limit` of the map by default.
    """
    limit = color_limit(values) if limit is None else limit
    axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return axes.imshow(values, cmap=MAP_COLORS, vmin=-limit, vmax=limit, alpha=0.6, interpolation="nearest")


def show_face(axes: Axes, image: np.ndarray) -> None:
    """Draw an (H, W, 1 or 3) uint8 face."""
    axes.imshow(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image, interpolation="nearest")


def emotion_rows(
    images: np.ndarray, maps: np.ndarray, labels: np.ndarray, captions: Sequence[str], columns: int
) -> Figure:
    """Draw one row per emotion: pairs of a face and its map.

    Args:
        images: (N, H, W, 1 or 3) uint8, grouped by label.
        maps: (N, H, W) float, each drawn on its own symmetric scale.
        labels: (N,) integers, canonical.
        captions: N short texts that stand above the maps.
        columns: Pairs per row; rows with fewer faces end in empty cells.
    """
    emotions = [Emotion(label) for label in np.unique(labels)]
    figure, grid = _new(len(emotions), 2 * columns, width=1.35 * 2 * columns, height=1.6 * len(emotions))
    grid = np.reshape(grid, (len(emotions), 2 * columns))  # a single row comes without its first axis
    for axes in grid.flat:
        axes.set_axis_off()
    for row, emotion in zip(grid, emotions, strict=True):
        for place, index in enumerate(np.flatnonzero(labels == emotion)[:columns]):
            face, overlay = row[2 * place], row[2 * place + 1]
            show_face(face, images[index])
            show_map(overlay, images[index], maps[index])
            overlay.set_title(captions[index], fontsize=8)
        row[0].set_title(emotion.title, fontsize=10, fontweight="bold", color=COLORS[emotion])
    return _done(figure)


def face_rows(images: np.ndarray, labels: np.ndarray, columns: int) -> Figure:
    """Draw one row of faces per emotion.

    Args:
        images: (N, H, W, 1 or 3) uint8.
        labels: (N,) integers, canonical.
        columns: Faces per row, at most.
    """
    emotions = [Emotion(label) for label in np.unique(labels)]
    figure, grid = _new(len(emotions), columns, width=0.9 * columns, height=0.95 * len(emotions))
    for row, emotion in zip(np.reshape(grid, (len(emotions), columns)), emotions, strict=True):
        for axes in row:
            axes.set_axis_off()
        for axes, image in zip(row, images[labels == emotion], strict=False):
            show_face(axes, image)
        row[0].set_title(emotion.title, fontsize=9, fontweight="bold", loc="left", pad=2)
    return _done(figure)


def mean_maps(
    faces: np.ndarray, maps: np.ndarray, emotions: Sequence[Emotion], counts: Sequence[int]
) -> Figure:
    """Draw the mean map of each emotion over the mean of its faces, all on one colour scale, in two rows.

    Args:
        faces: (E, H, W, 1 or 3) float or uint8 in 0..255, mean faces.
        maps: (E, H, W) float, mean maps.
        emotions: The E emotions.
        counts: Images behind each mean.
    """
    columns = (len(emotions) + 1) // 2
    figure, grid = _new(2, max(columns, 2), width=7.0, height=4.2)
    limit = color_limit(maps)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, face, values, emotion, count in zip(grid.flat, faces, maps, emotions, counts, strict=False):
        drawn = show_map(axes, face, values, limit)
        axes.set_title(f"{emotion.title} ({count})", fontsize=9)
    bar = figure.colorbar(drawn, ax=grid, shrink=0.7, label="mean score per pixel")
    bar.ax.ticklabel_format(style="sci", scilimits=(0, 0))
    return _done(figure)


def labelled_maps(image: np.ndarray, maps: dict[str, np.ndarray]) -> Figure:
    """Draw a face and several maps of it side by side, each on its own symmetric scale, under their names."""
    figure, row = _new(1, 1 + len(maps), width=1.9 * (1 + len(maps)), height=2.4)
    show_face(row[0], image)
    row[0].set_title("face", fontsize=8)
    for axes, (name, values) in zip(row[1:], maps.items(), strict=True):
        show_map(axes, image, values)
        axes.set_title(name, fontsize=8)
    for axes in row:
        axes.set_axis_off()
    return _done(figure)


def error_curves(frame: pd.DataFrame) -> Figure:
    """Draw relative error against evaluations per region, log-log, one panel per output and number of regions.

    Args:
        frame: Columns ``regions``, ``output``, ``method``, ``per region``, ``evaluations``, ``error``; one row per
            estimate.
    """
    regions, outputs = frame.regions.unique(), frame.output.unique()
    figure, grid = _new(len(outputs), len(regions), width=7.4, height=5.8)
    grid = np.reshape(grid, (len(outputs), len(regions)))
    styles = dict(zip(frame.method.unique(), zip(_LINES, "ov^sDX", strict=True), strict=False))
    for (i, output), (j, count) in itertools.product(enumerate(outputs), enumerate(regions)):
        axes, part = grid[i, j], frame[(frame.output == output) & (frame.regions == count)]
        for method, (color, marker) in styles.items():
            means = part[part.method == method].groupby("per region")[["evaluations", "error"]].mean()
            places = means.evaluations / count
            axes.plot(places, means.error, marker=marker, color=color, label=method, markersize=5)
        axes.axhline(1, color="grey", linewidth=1, linestyle=":")
        axes.set(xscale="log", yscale="log", title=f"{output}, {count} regions")
        axes.set(xlabel=f"evaluations / {count}", ylabel="relative error")
        _plain_ticks(axes.xaxis, part["per region"].unique())
        _plain_ticks(axes.yaxis, [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10])
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=len(styles), frameon=False, fontsize=8)
    return _done(figure)


def protocol_dots(frame: pd.DataFrame) -> Figure:
    """Draw accuracy by protocol and classifier as dots, one panel per set of data, with majority rates as lines.

    Args:
        frame: Columns ``data``, ``protocol``, ``classifier``, ``accuracy``, ``spread`` (half the length of the bar; NaN
            for none) and ``floor``, as :func:`ferlab.studies.leakage.score` gives them.
    """
    panels = [part for _, part in frame.groupby("data", sort=False)]
    heights = [part.protocol.nunique() for part in panels]
    size = {"height": 0.9 + 0.45 * sum(heights) + 0.3 * len(panels), "height_ratios": heights}
    figure, column = _new(len(panels), sharex=True, squeeze=False, **size)
    styles = dict(zip(frame.classifier.unique(), zip(_LINES[:3:-1], "os", strict=True), strict=False))
    for axes, part in zip(column[:, 0], panels, strict=True):
        places = {name: place for place, name in enumerate(part.protocol.unique())}
        for classifier, (color, marker) in styles.items():
            rows = part[part.classifier == classifier]
            about = {"color": color, "fmt": marker, "markersize": 7, "label": classifier}
            axes.errorbar(rows.accuracy, rows.protocol.map(places), xerr=rows.spread, **about)
        floors = part.groupby("protocol", sort=False).floor.first()
        ends = [floors.index.map(places) + end for end in (-0.45, 0.45)]
        axes.vlines(floors, *ends, color="grey", linestyle=":", label="most frequent emotion")
        axes.set(yticks=list(places.values()), yticklabels=places, ylim=(len(places) - 0.5, -0.5))
        axes.set_title(part.data.iloc[0], fontsize=9, loc="left")
    axes.set(xlim=(-0.03, 1.03), xlabel="accuracy")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return _done(figure)


def _plain_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Put ticks with plain numbers on a logarithmic axis."""
    axis.set_major_locator(FixedLocator(sorted(ticks)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def validation_curves(histories: Mapping[str, Sequence[dict[str, float]]]) -> Figure:
    """Draw the validation accuracy by epoch, one line per name; a dot marks the chosen epoch."""
    figure, axes = _new(height=3.6)
    dashes = itertools.cycle(("-", "--", ":", "-."))
    colors = itertools.cycle(_LINES[1:])
    for (name, history), line, color in zip(histories.items(), dashes, colors, strict=False):
        epochs = [row["epoch"] for row in history]
        values = [row["validation_accuracy"] for row in history]
        axes.plot(epochs, values, line, color=color, label=name, linewidth=1.4)
        best = int(np.argmax(values))
        axes.plot(epochs[best], values[best], "o", color=color, markersize=4)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    figure.legend(loc="outside right upper", frameon=False)
    return _done(figure)


def confusions(matrices: Mapping[str, Sequence[Sequence[int]]], columns: int = 3) -> Figure:
    """Draw confusion matrices side by side: the share of each true emotion's images, in per cent."""
    rows = -(-len(matrices) // columns)
    figure, grid = _new(rows, columns, width=2.9 * columns, height=3.0 * rows, squeeze=False)
    short = [name[:3] for name in NAMES]
    for axes in grid.flat[len(matrices) :]:
        axes.set_axis_off()
    for axes, (name, matrix) in zip(grid.flat, matrices.items(), strict=False):
        counts = np.asarray(matrix)
        share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        sns.heatmap(
            share,
            annot=True,
            fmt=".0f",
            annot_kws={"size": 6},
            cmap="Blues",
            vmin=0,
            vmax=100,
            square=True,
            cbar=False,
            xticklabels=short,
            yticklabels=short,
            ax=axes,
        )
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.supxlabel("predicted", fontsize=9)
    figure.supylabel("true", fontsize=9)
    return _done(figure)


def accuracy_dots(table: pd.DataFrame, reference: str) -> Figure:
    """Draw accuracies with their standard errors, one row per variant; a line marks the reference.

    Args:
        table: Columns ``accuracy`` and ``error``; NaN rows are left out.
        reference: Name of the row that the others are compared with.
    """
    shown = table.dropna(subset=["accuracy"])
    figure, axes = _new(height=0.6 + 0.3 * len(shown))
    places = np.arange(len(shown))[::-1]
    axes.errorbar(shown["accuracy"], places, xerr=shown["error"], fmt="o", color="#0072B2", capsize=2)
    axes.axvline(shown.loc[reference, "accuracy"], color="grey", linewidth=1, linestyle=":")
    axes.set(yticks=places, yticklabels=shown.index, xlabel="accuracy (bars: one standard error)")
    axes.grid(axis="y", visible=False)
    return _done(figure)


def gain_dots(frame: pd.DataFrame) -> Figure:
    """Draw paired differences of accuracy with their intervals, one row per variant, one colour per test-time rule.

    Args:
        frame: As :func:`ferlab.studies.ablation.paired` gives it, without the variant that the others are compared with.
    """
    names, rules = list(frame.variant.unique()), list(frame.rule.unique())
    figure, axes = _new(height=0.9 + 0.42 * len(names))
    for place, (rule, color) in enumerate(zip(rules, _LINES[1:], strict=False)):
        rows = frame[frame.rule == rule]
        height = rows.variant.map({name: len(names) - 1 - i for i, name in enumerate(names)})
        bars = np.stack([rows.difference - rows.low, rows.high - rows.difference]) * 100
        level = height - 0.22 * (place - (len(rules) - 1) / 2)
        axes.errorbar(rows.difference * 100, level, xerr=bars, fmt="o", markersize=4, color=color, label=rule)
    axes.axvline(0, color="grey", linewidth=1, linestyle=":")
    axes.set(yticks=range(len(names)), yticklabels=names[::-1], xlabel="difference in percentage points")
    axes.grid(axis="y", visible=False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return _done(figure)


_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"))  # Okabe and Ito


def coverage(frame: pd.DataFrame, nominal: float = 0.95) -> Figure:
    """Draw how often intervals held the exact value, with two intervals for that share.

    Args:
        frame: Columns ``method``, ``per region``, ``share``, ``low`` and ``high`` (bootstrap over faces), ``wilson
            low`` and ``wilson high`` (binomial, over all regions); one row each.
        nominal: The share that is promised, drawn as a line.
    """
    figure, axes = _new(height=0.9 + 0.34 * len(frame))
    places = np.arange(len(frame))
    kinds = (("low", "high", "bootstrap over faces"), ("wilson low", "wilson high", "binomial over regions"))
    for (low, high, label), (color, marker), shift in zip(kinds, _STYLES, (-0.14, 0.14), strict=False):
        bars = np.clip([frame.share - frame[low], frame[high] - frame.share], 0, None)
        about = {"color": color, "fmt": marker, "markersize": 5, "capsize": 2, "label": label}
        axes.errorbar(frame.share, places + shift, xerr=bars, **about)
    axes.axvline(nominal, color="grey", linewidth=1, linestyle=":", label=f"{nominal:.0%}")
    names = [f"{m}, {b}n" for m, b in zip(frame.method, frame["per region"], strict=True)]
    axes.set(yticks=places, yticklabels=names, xlabel="share of exact values within two standard errors")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return _done(figure)


def doubling(frame: pd.DataFrame) -> Figure:
    """Draw error against evaluations on logarithmic axes: a thin line for each face, a thick one for their mean.

    A dotted line through the first mean falls by the square root of two for each doubling.

    Args:
        frame: Columns ``method``, ``face``, ``per region``, ``evaluations`` and ``error``; one row per estimate.
    """
    methods = list(frame.method.unique())
    figure, row = _new(
        1, len(methods), width=3.6 * len(methods), height=3.4, sharex=True, sharey=True, squeeze=False
    )
    for axes, method, (color, marker) in zip(row[0], methods, _STYLES, strict=False):
        part = frame[frame.method == method]
        for _, face in part.groupby("face"):
            axes.plot(face.evaluations, face.error, color=color, alpha=0.35, linewidth=1)
        mean = part.groupby("per region")[["evaluations", "error"]].mean()
        axes.plot(mean.evaluations, mean.error, color=color, marker=marker, linewidth=2.4, label="mean")
        slope = mean.error.iloc[0] * np.sqrt(mean.evaluations.iloc[0] / mean.evaluations)
        axes.plot(mean.evaluations, slope, color="grey", linestyle=":", label="independent draws")
        axes.set(xscale="log", yscale="log", title=method, xlabel="evaluations")
        _plain_ticks(axes.xaxis, [250, 500, 1000, 2000])
        _plain_ticks(axes.yaxis, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
        axes.legend(frameon=False, fontsize=8)
    row[0, 0].set_ylabel("relative error")
    return _done(figure)


def against(estimates: np.ndarray, truth: np.ndarray, names: tuple[str, str]) -> Figure:
    """Draw the scores of all regions of all faces against what they stand for, each face relative to its norm.

    Args:
        estimates: (faces, n) float.
        truth: (faces, n) float; each face of both is divided by the norm of its truth.
        names: Of the estimates and of the truth, for the axes.
    """
    norms = np.linalg.norm(truth, axis=1, keepdims=True)
    across, up = truth / norms, estimates / norms
    figure, axes = _new(width=4.2, height=4.0)
    ends = [min(across.min(), up.min()) - 0.05, max(across.max(), up.max()) + 0.05]
    axes.plot(ends, ends, color="grey", linewidth=1, linestyle=":")
    axes.plot(across.ravel(), up.ravel(), "o", color="#0072B2", alpha=0.5, markersize=4)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"{names[1]} / norm", ylabel=f"{names[0]} / norm")
    return _done(figure)


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
    figure, grid = _new(rows, faces * blocks, squeeze=False, **size)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, name in enumerate(names):
        row, block = place % rows, place // rows
        cells = grid[row, block * faces : (block + 1) * faces]
        for face, axes in enumerate(cells):
            if name:
                show_map(axes, images[face], maps[name][face])
            else:
                show_face(axes, images[face])
        cells[0].set_title(title(name) if name else "face", fontsize=8, loc="left", pad=2)
    return _done(figure)


def intervals(
    frame: pd.DataFrame, measures: Sequence[str], chance: Mapping[str, float] | None = None
) -> Figure:
    """Draw means with intervals: a panel per measure, a row per method, controls in grey.

    Args:
        frame: Of :func:`ferlab.studies.explainers.scores`.
        measures: Which measures, in order.
        chance: Level of chance by measure, a dashed line.
    """
    methods = list(frame.method.unique())
    columns = min(3, len(measures))
    lines = -(-len(measures) // columns)
    size = {"width": 7.4, "height": lines * (0.7 + 0.2 * len(methods)), "sharey": True, "squeeze": False}
    figure, grid = _new(lines, columns, **size)
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
    return _done(figure)


def _dots(axes: Axes, part: pd.DataFrame, methods: Sequence[str]) -> None:
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
        frame: Of :func:`ferlab.studies.explainers.overlap_table`.
        printed: The paper's number by method, drawn in the panel of the first reference.
    """
    references, present = list(frame.reference.unique()), set(frame.method)
    methods = [name for name in METHODS if name in present]
    size = {"width": 7.4, "height": 1.0 + 0.22 * len(methods), "sharey": True, "squeeze": False}
    figure, grid = _new(1, len(references), **size)
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
    return _done(figure)


def growth(measured: Sequence[Mapping[str, float | str]]) -> Figure:
    """Draw evaluations and seconds against the number of regions, both axes logarithmic.

    Args:
        measured: Rows of :func:`ferlab.studies.explainers.scaling`.
    """
    frame = pd.DataFrame(measured)
    figure, panels = _new(1, 2, height=3.0)
    styles = zip(_LINES[::-1], "osD^v", strict=False)
    for (name, part), (color, marker) in zip(frame.groupby("method", sort=False), styles, strict=False):
        for axes, column in zip(panels, ("evaluations", "seconds"), strict=True):
            axes.plot(part.regions, part[column], marker=marker, color=color, label=title(name), markersize=5)
            axes.set(xscale="log", yscale="log", xlabel="regions", ylabel=f"{column} per image")
            _plain_ticks(axes.xaxis, sorted(frame.regions.unique()))
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return _done(figure)


def sentence(text: str) -> Figure:
    """Draw a sentence where a figure would be."""
    figure, axes = _new(height=0.6)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=9)
    return _done(figure)
