"""Dots, lines and bars, and tables of counts as colours."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import Split
from fercore.emotions import COLORS, EMOTIONS, NAMES, Emotion
from ferlab.explainers import CONTROLS, METHODS
from ferlab.figures import style
from ferlab.measures.names import MEASURES, title


def class_counts(dataset: FaceDataset, split: Split) -> Figure:
    """Draw the number of images per emotion in each part of a split."""
    sizes = [np.bincount(dataset.labels[index], minlength=len(dataset.counts())) for index in split.sides]
    table = pd.DataFrame(dict(zip(split.names, sizes, strict=True)))
    return part_counts(table.set_axis([Emotion(label).title for label in table.index]))


def part_counts(table: pd.DataFrame) -> Figure:
    """Draw a table of counts as bars: one group per row (an emotion), one colour per column (a part)."""
    figure, axes = style.new()
    about = {"width": 0.8, "rot": 0, "edgecolor": "white", "grid": True, "legend": False}
    table.plot.bar(ax=axes, xlabel="", ylabel="images", **about)
    for bars in axes.containers:
        axes.bar_label(bars, fontsize=6, padding=1)
    axes.grid(axis="x", visible=False)
    if len(table.columns) > 1:
        style.legend(figure, "upper right", 3, size=10)
    return figure


def learning_curves(history: Sequence[dict[str, float]], best: int) -> Figure:
    """Draw loss and accuracy by epoch for training and validation, with the chosen epoch marked."""
    figure, panels = style.new(1, 2)
    frame = pd.DataFrame(history).set_index("epoch")
    units = {"loss": "cross-entropy (nats)", "accuracy": "accuracy"}
    for axes, (quantity, unit) in zip(panels, units.items(), strict=True):
        axes.plot(frame[f"train_{quantity}"], "--", color=style.BLUE, label="train")
        axes.plot(frame[f"validation_{quantity}"], color=style.RED, label="validation")
        axes.axvline(best, **style.DOTTED, label=f"chosen: epoch {best}")
        axes.set(xlabel="epoch", ylabel=unit)
    panels[0].legend(frameon=False)
    return figure


def validation_curves(histories: Mapping[str, Sequence[dict[str, float]]]) -> Figure:
    """Draw the validation accuracy by epoch, one line per name; a dot marks the chosen epoch."""
    figure, axes = style.new(height=3.6)
    looks = zip(itertools.cycle(("-", "--", ":", "-.")), itertools.cycle(style.LINES[1:]), strict=False)
    for (name, history), (line, color) in zip(histories.items(), looks, strict=False):
        values = pd.DataFrame(history).set_index("epoch").validation_accuracy
        axes.plot(values, line, color=color, label=name, linewidth=1.4)
        axes.plot(values.idxmax(), values.max(), "o", color=color, markersize=4)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    style.legend(figure, "right upper", size=10)
    return figure


def _heatmap(axes: Axes, matrix: Sequence[Sequence[int]], names: Sequence[str], **more: Any) -> None:
    """Colour a confusion matrix by the share of its rows."""
    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    about = {"annot": 100 * share, "cmap": "Blues", "vmin": 0, "vmax": 1, "square": True}
    sns.heatmap(share, **about | more, xticklabels=names, yticklabels=names, ax=axes)


def confusion(matrix: Sequence[Sequence[int]]) -> Figure:
    """Draw a 7 x 7 confusion matrix: counts in the cells, colour by the share of the row."""
    figure, axes = style.new(width=5.4, height=4.4)
    bar = {"label": "share of the true class"}
    _heatmap(axes, matrix, NAMES, annot=np.asarray(matrix), fmt="d", cbar_kws=bar)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def confusions(matrices: Mapping[str, Sequence[Sequence[int]]]) -> Figure:
    """Draw confusion matrices, three a row: the share of each true emotion's images, in per cent."""
    figure, grid = style.bare(len(matrices), 3, 2.9, 3.0)
    for axes, (name, matrix) in zip(grid.flat, matrices.items(), strict=False):
        axes.set_axis_on()
        short = [emotion[:3] for emotion in NAMES]
        _heatmap(axes, matrix, short, fmt=".0f", annot_kws={"size": 6}, cbar=False)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.supxlabel("predicted", fontsize=9)
    figure.supylabel("true", fontsize=9)
    return figure


def error_curves(frame: pd.DataFrame) -> Figure:
    """Draw relative error against evaluations per region, log-log, one panel per output and number of regions."""
    regions, outputs, methods = (frame[column].unique() for column in ("regions", "output", "method"))
    figure, grid = style.new(len(outputs), len(regions), width=7.4, height=5.8, squeeze=False)
    for axes, (output, count) in zip(grid.flat, itertools.product(outputs, regions), strict=True):
        part = frame[(frame.output == output) & (frame.regions == count)]
        for method, color, marker in zip(methods, style.LINES, style.MARKERS, strict=False):
            mean = _mean_cost(part[part.method == method])
            look = {"marker": marker, "color": color, "markersize": 5, "label": method}
            axes.plot(mean.evaluations / count, mean.error, **look)
        axes.axhline(1, **style.DOTTED)
        axes.set(title=f"{output}, {count} regions", xlabel=f"evaluations / {count}", ylabel="relative error")
        style.logarithmic(axes.xaxis, part["per region"].unique())
        style.logarithmic(axes.yaxis, [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10])
    style.legend(figure, "upper center", len(methods))
    return figure


def _mean_cost(part: pd.DataFrame) -> pd.DataFrame:
    return part.groupby("per region")[["evaluations", "error"]].mean()


def doubling(frame: pd.DataFrame) -> Figure:
    """Draw error against evaluations, log-log, a panel per method: faces, their mean, the fall of independent draws."""
    methods = frame.method.unique()
    size = {"width": 3.6 * len(methods), "height": 3.4}
    figure, row = style.new(1, len(methods), **size, sharex=True, sharey=True, squeeze=False)
    looks = zip((style.BLUE, style.RED, style.GREEN, style.PINK), "os^D", strict=True)
    for axes, method, (color, marker) in zip(row[0], methods, looks, strict=False):
        part = frame[frame.method == method]
        for _, face in part.groupby("face"):
            axes.plot(face.evaluations, face.error, color=color, alpha=0.35, linewidth=1)
        mean = _mean_cost(part)
        axes.plot(mean.evaluations, mean.error, color=color, marker=marker, linewidth=2.4, label="mean")
        slope = mean.error.iloc[0] * np.sqrt(mean.evaluations.iloc[0] / mean.evaluations)
        axes.plot(mean.evaluations, slope, color="grey", linestyle=":", label="independent draws")
        axes.set(title=method, xlabel="evaluations")
        style.logarithmic(axes.xaxis, [250, 500, 1000, 2000])
        style.logarithmic(axes.yaxis, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
        axes.legend(frameon=False, fontsize=8)
    row[0, 0].set_ylabel("relative error")
    return figure


def growth(measured: Sequence[Mapping[str, float | str]]) -> Figure:
    """Draw evaluations and seconds against the number of regions, log-log, for rows of the study's ``scaling``."""
    frame = pd.DataFrame(measured)
    figure, panels = style.new(1, 2, height=3.0)
    looks = zip(style.LINES[::-1], "osD^v", strict=False)
    for (name, part), (color, marker) in zip(frame.groupby("method", sort=False), looks, strict=False):
        for axes, column in zip(panels, ("evaluations", "seconds"), strict=True):
            axes.plot(part.regions, part[column], marker=marker, color=color, label=title(name), markersize=5)
            axes.set(yscale="log", xlabel="regions", ylabel=f"{column} per image")
            style.logarithmic(axes.xaxis, frame.regions.unique())
    style.legend(figure, "lower center", 4)
    return figure


def against(estimates: np.ndarray, truth: np.ndarray, names: tuple[str, str]) -> Figure:
    """Draw estimated against true scores (faces, n), each face relative to the norm of its truth; names of both."""
    norms = np.linalg.norm(truth, axis=1, keepdims=True)
    across, up = truth / norms, estimates / norms
    figure, axes = style.new(width=4.2, height=4.0)
    ends = [min(across.min(), up.min()) - 0.05, max(across.max(), up.max()) + 0.05]
    axes.plot(ends, ends, **style.DOTTED)
    axes.plot(across.ravel(), up.ravel(), "o", color=style.BLUE, alpha=0.5, markersize=4)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"{names[1]} / norm", ylabel=f"{names[0]} / norm")
    return figure


def accuracy_dots(table: pd.DataFrame, reference: str) -> Figure:
    """Draw ``accuracy`` and its standard ``error``, a row per variant but NaN, and a line at the ``reference``."""
    shown = table.dropna(subset=["accuracy"])
    figure, axes = style.new(height=0.6 + 0.3 * len(shown))
    about = {"fmt": "o", "color": style.BLUE, "capsize": 2}
    axes.errorbar(shown.accuracy, range(len(shown)), xerr=shown.error, **about)
    axes.axvline(shown.accuracy[reference], **style.DOTTED)
    axes.set(xlabel="accuracy (bars: one standard error)")
    style.names(axes, shown.index)
    return figure


def protocol_dots(frame: pd.DataFrame) -> Figure:
    """Draw accuracy, with bars of ``spread``, by protocol and classifier, a panel per set, majority rates as lines."""
    panels = [part for _, part in frame.groupby("data", sort=False)]
    heights = [part.protocol.nunique() for part in panels]
    size = {"height": 0.9 + 0.45 * sum(heights) + 0.3 * len(panels), "height_ratios": heights}
    figure, column = style.new(len(panels), sharex=True, squeeze=False, **size)
    for axes, part in zip(column[:, 0], panels, strict=True):
        floors = part.groupby("protocol", sort=False).floor.first()
        for classifier, color, marker in zip(
            frame.classifier.unique(), (style.RED, style.BLUE), "os", strict=False
        ):
            rows = part[part.classifier == classifier]
            about = {"color": color, "fmt": marker, "markersize": 7, "label": classifier}
            axes.errorbar(rows.accuracy, floors.index.get_indexer(rows.protocol), xerr=rows.spread, **about)
        places = np.arange(len(floors))
        line = {"color": "grey", "linestyle": ":", "label": "most frequent emotion"}
        axes.vlines(floors, places - 0.45, places + 0.45, **line)
        axes.set_title(part.data.iloc[0], fontsize=9, loc="left")
        style.names(axes, floors.index, lines=True)
    axes.set(xlim=(-0.03, 1.03), xlabel="accuracy")
    style.legend(figure, "lower center", 4, size=10)
    return figure


def gain_dots(frame: pd.DataFrame) -> Figure:
    """Draw paired differences of accuracy (0..1) with intervals, a row per variant, a colour per test-time rule."""
    names, rules = list(frame.variant.unique()), list(frame.rule.unique())
    figure, axes = style.new(height=0.9 + 0.42 * len(names))
    for place, (rule, color) in enumerate(zip(rules, style.LINES[1:], strict=False)):
        rows = frame[frame.rule == rule]
        level = rows.variant.map(names.index) + 0.22 * (place - (len(rules) - 1) / 2)
        bars = 100 * np.stack([rows.difference - rows.low, rows.high - rows.difference])
        about = {"fmt": "o", "markersize": 4, "color": color, "label": rule}
        axes.errorbar(100 * rows.difference, level, xerr=bars, **about)
    axes.axvline(0, **style.DOTTED)
    axes.set(xlabel="difference in percentage points")
    style.names(axes, names)
    style.legend(figure, "lower center", 3, size=10)
    return figure


def coverage(frame: pd.DataFrame) -> Figure:
    """Draw how often intervals held the exact value, with two intervals for that share, beside the promised 95 %."""
    figure, axes = style.new(height=0.9 + 0.34 * len(frame))
    looks = ("bootstrap over faces", style.BLUE, "o", -0.14), ("binomial over regions", style.RED, "s", 0.14)
    for kind, (label, color, marker, shift) in zip(("", "wilson "), looks, strict=True):
        bars = np.clip([frame.share - frame[f"{kind}low"], frame[f"{kind}high"] - frame.share], 0, None)
        about = {"color": color, "fmt": marker, "markersize": 5, "capsize": 2, "label": label}
        axes.errorbar(frame.share, np.arange(len(frame)) + shift, xerr=bars, **about)
    axes.axvline(0.95, **style.DOTTED, label="95%")
    axes.set(xlabel="share of exact values within two standard errors")
    style.names(axes, [f"{m}, {b}n" for m, b in zip(frame.method, frame["per region"], strict=True)])
    style.legend(figure, "upper center", 3, size=10)
    return figure


def sentence_dots(findings: Sequence[Any]) -> Figure:
    """Draw each part of each sentence: our mean with interval, other emotions, and the released masking."""
    figure, axes = style.new(height=0.9 + 0.45 * len(findings))
    table = pd.DataFrame(map(vars, findings))
    mean, places, blue = table["mean"], table.index, {"color": style.BLUE}
    for place in places[mean.isna()]:
        axes.text(1.0, place, "too few faces", ha="center", va="center", fontsize=8)
    axes.errorbar(mean, places, xerr=[mean - table.low, table.high - mean], fmt="none", capsize=3, **blue)
    axes.plot(mean, places, "o", label="this emotion, 95 % interval", **blue)
    axes.plot(mean - table.difference, places, "|", markersize=12, label="all other emotions", **blue)
    axes.plot(table.released, places, "x", color=style.RED, label="this emotion, released masking")
    axes.axvline(1, **style.DOTTED)
    axes.set(xlabel="positive attribution, 1 is chance")
    style.names(axes, [f"{found.sentence.emotion.title}: {found.part}" for found in findings], lines=True)
    style.legend(figure, "upper center", 3)
    return figure


def answer(probabilities: np.ndarray, blank: np.ndarray) -> Figure:
    """Draw the (7,) probabilities of the emotions as bars, and as ticks those that a blank image gets."""
    figure, axes = style.new(width=6.0, height=3.0)
    places = np.arange(len(EMOTIONS))
    axes.barh(places, probabilities, color=[COLORS[emotion] for emotion in EMOTIONS], label="bar: the face")
    axes.plot(blank, places, "k|", markersize=14, markeredgewidth=2, label="a black image")
    for place, value in zip(places, probabilities, strict=True):
        axes.text(1.02, place, f"{value:.3f}", va="center", fontsize=8)
    axes.set(xlabel="probability", xlim=(0, 1.13), xticks=np.linspace(0, 1, 6))
    style.names(axes, NAMES)
    style.legend(figure, "upper center", 2)
    return figure


def _dots(axes: Axes, part: pd.DataFrame) -> None:
    """Draw a row per method, its ``mean`` between ``low`` and ``high``; controls in grey."""
    places, colors = range(len(part)), [style.GREY if name in CONTROLS else style.BLUE for name in part.index]
    axes.hlines(places, part.low, part.high, colors, linewidth=1.4)
    axes.scatter(part["mean"], places, s=16, color=colors)
    style.names(axes, [title(name) for name in part.index])
    axes.tick_params(labelsize=7)


def intervals(
    frame: pd.DataFrame, measures: Sequence[str], chance: Mapping[str, float] | None = None
) -> Figure:
    """Draw means with intervals, a panel per measure, a row per method, and a dashed line for chance by measure."""
    methods, lines = frame.method.unique(), -(-len(measures) // 3)
    size = {"width": 7.4, "height": lines * (0.7 + 0.2 * len(methods))}
    figure, grid = style.new(lines, min(3, len(measures)), **size, sharey=True, squeeze=False)
    for axes in grid.flat[len(measures) :]:
        axes.set_axis_off()
    arrows = {True: "\n(more is better)", False: "\n(less is better)", None: ""}
    for axes, measure in zip(grid.flat, measures, strict=False):
        _dots(axes, frame[frame.measure == measure].set_index("method").reindex(methods))
        if chance and measure in chance:
            axes.axvline(chance[measure], color=style.RED, linewidth=1, linestyle="--")
        name, better = MEASURES[measure]
        axes.set_title(name + arrows[better], fontsize=8)
    return figure


def overlap_dots(frame: pd.DataFrame, printed: Mapping[str, float] | None = None) -> Figure:
    """Draw each method's overlap with each reference, beside chance and, first, the paper's numbers by method."""
    references, methods = frame.reference.unique(), [name for name in METHODS if name in set(frame.method)]
    size = {"width": 7.4, "height": 1.0 + 0.22 * len(methods)}
    figure, grid = style.new(1, len(references), **size, sharey=True, squeeze=False)
    for axes, reference in zip(grid[0], references, strict=True):
        part = frame[frame.reference == reference].set_index("method").reindex(methods)
        _dots(axes, part)
        axes.plot(part.shuffled, range(len(part)), "|", color=style.ORANGE, label="pixels shuffled")
        axes.plot(part.swapped, range(len(part)), "x", color=style.RED, label="maps of other faces")
        if printed and reference == references[0]:
            known = {methods.index(name): value for name, value in printed.items() if name in methods}
            about = {"color": "black", "fillstyle": "none", "markersize": 5, "label": "the paper"}
            axes.plot(known.values(), known.keys(), "D", **about)
        axes.set_title(f"with {title(reference)}", fontsize=8)
    style.legend(figure, "lower center", 3)
    return figure
