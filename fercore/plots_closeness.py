"""Figures of how close scores are to Owen and Shapley values, with error bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fercore import plots

_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"))  # Okabe and Ito


def coverage(frame: pd.DataFrame, nominal: float = 0.95) -> Figure:
    """Draw how often intervals held the exact value, with two intervals for that share.

    Args:
        frame: Columns ``method``, ``per region``, ``share``, ``low`` and ``high`` (bootstrap over faces), ``wilson
            low`` and ``wilson high`` (binomial, over all regions); one row each.
        nominal: The share that is promised, drawn as a line.
    """
    figure, axes = plots._new(height=0.9 + 0.34 * len(frame))
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
    return plots._done(figure)


def doubling(frame: pd.DataFrame) -> Figure:
    """Draw error against evaluations on logarithmic axes: a thin line for each face, a thick one for their mean.

    A dotted line through the first mean falls by the square root of two for each doubling.

    Args:
        frame: Columns ``method``, ``face``, ``per region``, ``evaluations`` and ``error``; one row per estimate.
    """
    methods = list(frame.method.unique())
    figure, row = plots._new(
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
        plots._plain_ticks(axes.xaxis, [250, 500, 1000, 2000])
        plots._plain_ticks(axes.yaxis, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
        axes.legend(frameon=False, fontsize=8)
    row[0, 0].set_ylabel("relative error")
    return plots._done(figure)


def against(estimates: np.ndarray, truth: np.ndarray, names: tuple[str, str]) -> Figure:
    """Draw the scores of all regions of all faces against what they stand for, each face relative to its norm.

    Args:
        estimates: (faces, n) float.
        truth: (faces, n) float; each face of both is divided by the norm of its truth.
        names: Of the estimates and of the truth, for the axes.
    """
    norms = np.linalg.norm(truth, axis=1, keepdims=True)
    across, up = truth / norms, estimates / norms
    figure, axes = plots._new(width=4.2, height=4.0)
    ends = [min(across.min(), up.min()) - 0.05, max(across.max(), up.max()) + 0.05]
    axes.plot(ends, ends, color="grey", linewidth=1, linestyle=":")
    axes.plot(across.ravel(), up.ravel(), "o", color="#0072B2", alpha=0.5, markersize=4)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"{names[1]} / norm", ylabel=f"{names[0]} / norm")
    return plots._done(figure)
