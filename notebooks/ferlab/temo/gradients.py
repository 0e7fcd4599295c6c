"""Integrated gradients of landmark clips, under several baselines.

Sundararajan, Taly and Yan (2017): φ_i = (x_i - b_i) ∫₀¹ ∂f/∂x_i (b + α(x - b)) dα. The scores sum to f(x) - f(b)
(completeness). The second paper's improved version takes attributions "across the entire training set using five
different baseline samples" (its summary). Which five is not public; these are ours, see :func:`baselines`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fercore.errors import DatasetError
from ferlab.temo.clips import LandmarkClips
from ferlab.temo.network import TEmo

BASELINES = ("zeros", "mean", "neutral", "random", "other class")
STEPS = 64
_CHUNK = 256  # clips explained at once


@dataclass(frozen=True, eq=False)
class Attributions:
    """Integrated gradients of N clips by M networks under one baseline each.

    Attributes:
        baseline: Name of the baseline.
        relevance: (M, k) float64, Σ over frames and coordinates of ``|φ|``, mean over clips, of every landmark of
            a network's set.
        signed: (N, M, k) float32, Σ over frames and coordinates of φ; None where not asked for.
        gap: (N, M) float32, ``|Σ φ - (f(x) - f(b))|``, the error of the integration.
        worth: (N, M) float32, f(x) - f(b).
    """

    baseline: str
    relevance: np.ndarray
    signed: np.ndarray | None
    gap: np.ndarray
    worth: np.ndarray


def baselines(name: str, clips: LandmarkClips, neutral: int | None = None, seed: int = 0) -> np.ndarray:
    """Make one baseline for every clip. All choices are ours.

    Args:
        name: One of :data:`BASELINES`.

            - ``"zeros"``: all landmarks at the origin, between the eyes.
            - ``"mean"``: the mean of all frames of the clips.
            - ``"neutral"``: the clip's own first frame, repeated. Stills have none: there it is the mean frame of the
              class ``neutral``.
            - ``"random"``: every coordinate of every frame uniform between its axis's least and greatest value in the
              clips, the box of the face.
            - ``"other class"``: a clip of another class, drawn at random, its last frame repeated where it is shorter.
        clips: The training clips, which are explained.
        neutral: The class of neutral faces; needed for stills.
        seed: Of what is drawn.

    Returns:
        (N, T, P, C) float32.

    Raises:
        ValueError: If there is no such baseline.
        DatasetError: If ``"neutral"`` is asked of stills without a neutral class, or ``"other class"`` of one class.
    """
    points, mask = clips.points, clips.mask()
    rng = np.random.default_rng([seed, len(name)])
    if name == "zeros":
        return np.zeros_like(points)
    if name == "mean":
        return np.broadcast_to(points[mask].mean(axis=0, dtype=np.float64).astype(np.float32), points.shape)
    if name == "neutral":
        return _neutral(clips, neutral)
    if name == "random":
        low, high = points[mask].min(axis=(0, 1)), points[mask].max(axis=(0, 1))
        return rng.uniform(low, high, size=points.shape).astype(np.float32)
    if name == "other class":
        return _others(clips, rng)
    raise ValueError(f"There is no baseline {name!r}; choose one of {', '.join(BASELINES)}.")


def _neutral(clips: LandmarkClips, neutral: int | None) -> np.ndarray:
    if not clips.stills:
        return np.broadcast_to(clips.points[:, :1], clips.points.shape)
    rows = np.flatnonzero(clips.labels == neutral)
    if not rows.size:
        raise DatasetError(
            f"{clips.name}: a still has no neutral frame of its own, and there is no clip of a neutral class "
            f"({neutral!r}) to take the mean of. Leave the baseline 'neutral' out, or name the class."
        )
    mean = clips.points[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.broadcast_to(mean, clips.points.shape)


def _others(clips: LandmarkClips, rng: np.random.Generator) -> np.ndarray:
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
    name: str = "",
    steps: int = STEPS,
    signed: bool = False,
    batch_size: int = 8192,
) -> Attributions:
    """Compute integrated gradients with captum, along the path in the network's embedding.

    The embedding is affine, so a straight path of landmarks is a straight path of embedded frames, and by the chain
    rule the mean gradient of the logit with respect to the landmarks is that with respect to the embedding, carried
    back once. So captum's ``IntegratedGradients`` runs on what follows the embedding, which is some hundred times
    smaller than the clip; the result is the same.

    Args:
        network: M binary networks.
        clips: N clips.
        base: (N, T, P, C) baselines.
        name: Name of the baseline.
        steps: Points of the Gauss-Legendre rule.
        signed: Keep the signed scores of every clip.
        batch_size: Rows of a forward pass, captum's ``internal_batch_size``.

    Returns:
        The attributions.
    """
    total, parts = np.zeros((network.networks, network.k)), []
    for start in range(0, len(clips), _CHUNK):
        rows = slice(start, start + _CHUNK)
        mask = torch.from_numpy(clips.mask()[rows])
        scores, gap, worth = _explain(
            network,
            torch.from_numpy(clips.points[rows]),
            torch.from_numpy(np.ascontiguousarray(base[rows])),
            mask,
            steps,
            batch_size,
        )
        total += scores.abs().sum(dim=(2, 4)).sum(dim=1, dtype=torch.float64).numpy()
        parts.append((scores.sum(dim=(2, 4)).transpose(0, 1).numpy() if signed else None, gap, worth))
    every, gaps, worths = zip(*parts, strict=True)
    kept = np.concatenate(every) if signed else None
    return Attributions(name, total / len(clips), kept, np.concatenate(gaps), np.concatenate(worths))


def _explain(
    network: TEmo, points: Tensor, base: Tensor, mask: Tensor, steps: int, batch_size: int
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Return φ (M, N, T, k, C), gap and worth (N, M)."""
    from captum.attr import IntegratedGradients

    def logits(hidden: Tensor, there: Tensor) -> Tensor:
        # A network's logit depends on its own part of the embedding alone: the sum's gradient is each one's own.
        return network.tail(hidden.transpose(0, 1), there)[..., 0].sum(dim=1)

    with torch.no_grad():
        chosen, reference = network.choose(points), network.choose(base)
        ends = [network.embed(part) for part in (reference, chosen)]
        worth = network.tail(ends[1], mask)[..., 0] - network.tail(ends[0], mask)[..., 0]
    gradient = IntegratedGradients(logits, multiply_by_inputs=False).attribute(
        ends[1].transpose(0, 1).contiguous(),
        baselines=ends[0].transpose(0, 1).contiguous(),
        additional_forward_args=(mask,),
        n_steps=steps,
        internal_batch_size=max(batch_size, len(points)),
    )
    with torch.no_grad():
        pulled = network.pull_back(gradient.transpose(0, 1).contiguous())
        sets = network.landmarks.repeat_interleave(network.networks // network.sets, dim=0)
        for place, row in enumerate(sets):
            pulled[place] *= (points - base)[:, :, row]
    pulled *= mask[None, :, :, None, None]
    gap = pulled.sum(dim=(2, 3, 4), dtype=torch.float64).T - worth
    return pulled, gap.abs().float().numpy(), worth.numpy()


def relevance(
    network: TEmo,
    clips: LandmarkClips,
    names: tuple[str, ...] = BASELINES,
    neutral: int | None = None,
    steps: int = STEPS,
    seed: int = 0,
) -> Iterator[Attributions]:
    """Yield the attributions of all clips under one baseline after the other.

    Args:
        network: M binary networks.
        clips: N clips.
        names: Names of the baselines, see :func:`baselines`.
        neutral: The class of neutral faces; needed for stills.
        steps: Points of the Gauss-Legendre rule.
        seed: Of what is drawn.
    """
    for name in names:
        base = baselines(name, clips, neutral, seed)
        yield attribute(network, clips, base, name, steps)


def agreement(scores: dict[str, np.ndarray], tops: tuple[int, ...]) -> list[dict[str, float | str]]:
    """Compare the rankings of landmarks under every pair of baselines.

    Args:
        scores: (M, P) relevance by baseline.
        tops: Values of k.

    Returns:
        One row per pair with its names, Kendall's τ, and the share of the k most relevant landmarks that both have
        (``"top k"``), each as the mean over networks. Two random sets of k among P share k / P.
    """
    from scipy.stats import kendalltau

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
