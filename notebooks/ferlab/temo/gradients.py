"""Integrated gradients of landmark clips, over the whole training set and under five baselines.

Sundararajan, Taly and Yan (2017), Equation 1: φ_i = (x_i - b_i) ∫₀¹ ∂f/∂x_i (b + α(x - b)) dα. By their Proposition 1
(completeness) Σ φ = f(x) - f(b). The second paper's improved version takes attributions "across the entire training set
using five different baseline samples" (its summary). Which five is not public; these are ours, see :func:`baselines`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients
from scipy.stats import kendalltau
from torch import Tensor

from fercore.errors import DatasetError
from ferlab.temo.clips import LandmarkClips
from ferlab.temo.network import TEmo

BASELINES = ("zeros", "mean", "neutral", "random", "other class")
STEPS = 64
_CHUNK = 256  # clips explained at once


@dataclass(frozen=True, eq=False)
class Attributions:
    """Integrated gradients φ of N clips x by M networks f under one baseline b each."""

    relevance: np.ndarray  #: (M, k) float64, mean over clips of Σ abs(φ) over frames and coordinates
    signed: np.ndarray | None  #: (N, M, k) float32, Σ φ over frames and coordinates; None where not asked for
    gap: np.ndarray  #: (N, M) float32, how far the sum of φ is from f(x) - f(b), the error of the integration
    worth: np.ndarray  #: (N, M) float32, f(x) - f(b)


def baselines(name: str, clips: LandmarkClips, neutral: int | None = None, seed: int = 0) -> np.ndarray:
    """Return the baseline of a name in ``BASELINES`` for every clip, float32 (N, T, P, C). All choices are ours.

    "neutral": first frame; of stills, the neutral class's mean. ValueError: no such name; DatasetError: no such class.
    """
    points, frames = clips.points, clips.points[clips.mask()]
    rng = np.random.default_rng([seed, len(name)])
    if name == "zeros":
        return np.zeros_like(points)
    if name == "mean":
        return _everywhere(frames, points)
    if name == "neutral" and not clips.stills:
        return np.broadcast_to(points[:, :1], points.shape)
    if name == "neutral":
        if neutral not in clips.classes:
            raise DatasetError(
                f"{clips.name}: a still has no neutral frame of its own, and no clip is of class {neutral!r}. "
                "Leave the baseline 'neutral' out, or name the neutral class."
            )
        return _everywhere(points[clips.labels == neutral], points)
    if name == "random":
        return rng.uniform(frames.min(axis=(0, 1)), frames.max(axis=(0, 1)), points.shape).astype(np.float32)
    if name == "other class":
        return _others(clips, rng)
    raise ValueError(f"There is no baseline {name!r}; choose one of {', '.join(BASELINES)}.")


def _everywhere(frames: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return the mean of frames for every frame of every clip."""
    return np.broadcast_to(frames.mean(axis=0, dtype=np.float64).astype(np.float32), like.shape)


def _others(clips: LandmarkClips, rng: np.random.Generator) -> np.ndarray:
    """Return for every clip one of another class."""
    if len(clips.classes) < 2:
        raise DatasetError(f"{clips.name} has one class only: there is no clip of another class.")
    chosen = np.empty(len(clips), dtype=np.int64)
    for label in clips.classes:
        rows = clips.labels == label
        chosen[rows] = rng.choice(np.flatnonzero(~rows), rows.sum())
    frames = np.minimum(np.arange(clips.points.shape[1]), clips.lengths[chosen, None] - 1)
    return clips.points[chosen[:, None], frames]


def attribute(
    network: TEmo,
    clips: LandmarkClips,
    base: np.ndarray,
    steps: int = STEPS,
    signed: bool = False,
    batch_size: int = 8192,
) -> Attributions:
    """Compute integrated gradients of N clips under baselines (N, T, P, C): captum, ``steps`` Gauss-Legendre points.

    They run on the embedding, far smaller than the clip, and are carried back once: it is affine, so nothing changes.
    """
    points, mask = torch.from_numpy(clips.points), torch.from_numpy(clips.mask())
    below = torch.from_numpy(np.array(base))
    total, parts = np.zeros((network.networks, network.k)), []
    for start in range(0, len(clips), _CHUNK):
        rows = slice(start, start + _CHUNK)
        scores, gap, worth = _explain(network, points[rows], below[rows], mask[rows], steps, batch_size)
        total += scores.abs().sum(dim=(2, 4)).sum(dim=1, dtype=torch.float64).numpy()
        own = [scores.sum(dim=(2, 4)).transpose(0, 1)] if signed else []
        parts.append([tensor.numpy() for tensor in (gap, worth, *own)])
    gaps, worths, *every = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Attributions(total / len(clips), every[0] if signed else None, gaps, worths)


def _explain(
    network: TEmo, points: Tensor, base: Tensor, mask: Tensor, steps: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return φ of Equation 1 (M, N, T, k, C), gap and worth (N, M)."""

    def logits(hidden: Tensor, there: Tensor) -> Tensor:
        # A network's logit depends on its own part of the embedding alone: the sum's gradient is each one's own.
        return network.tail(hidden.transpose(0, 1), there)[..., 0].sum(dim=1)

    with torch.no_grad():
        start, end = (network.embed(network.choose(part)) for part in (base, points))
        worth = network.tail(end, mask)[..., 0] - network.tail(start, mask)[..., 0]  # f(x) - f(b)
    mean_gradient = IntegratedGradients(logits, multiply_by_inputs=False).attribute(
        end.transpose(0, 1).contiguous(),
        baselines=start.transpose(0, 1).contiguous(),
        additional_forward_args=(mask,),
        n_steps=steps,
        internal_batch_size=max(batch_size, len(points)),
    )
    with torch.no_grad():
        scores = network.pull_back(mean_gradient.transpose(0, 1).contiguous())
        for which, row in enumerate(network.seen()):
            scores[which] *= (points - base)[:, :, row]  # x_i - b_i
        scores *= mask[None, :, :, None, None]
    gap = scores.sum(dim=(2, 3, 4), dtype=torch.float64).T - worth
    return scores, gap.abs().float(), worth


def relevance(
    network: TEmo,
    clips: LandmarkClips,
    names: tuple[str, ...] = BASELINES,
    neutral: int | None = None,
    steps: int = STEPS,
    seed: int = 0,
) -> dict[str, Attributions]:
    """Compute the attributions of N clips under every baseline; see :func:`baselines` and :func:`attribute`."""
    return {name: attribute(network, clips, baselines(name, clips, neutral, seed), steps) for name in names}


def agreement(scores: dict[str, np.ndarray], tops: tuple[int, ...]) -> list[dict[str, float | str]]:
    """Return how alike relevance (M, P) under every two baselines ranks the landmarks, the mean over networks.

    A row has Kendall's τ, and ``"top k"``, the share of the k most relevant landmarks that both have (random: k / P).
    """
    rows = []
    for one, other in itertools.combinations(scores, 2):
        pairs = list(zip(scores[one], scores[other], strict=True))
        row: dict[str, float | str] = {"one": one, "other": other}
        row["kendall"] = float(np.mean([kendalltau(a, b).statistic for a, b in pairs]))
        for k in tops:
            shared = [np.intersect1d(np.argsort(-a)[:k], np.argsort(-b)[:k]).size / k for a, b in pairs]
            row[f"top {k}"] = float(np.mean(shared))
        rows.append(row)
    return rows
