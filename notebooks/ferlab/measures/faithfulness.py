"""Whether a map says what the network does: insertion and deletion, infidelity, stability, and intervals for all.

Everything is about the softmax probability of a given class of each image. Insertion and deletion (Petsiuk et al. 2018)
look at the order of the pixels alone; infidelity (Yeh et al. 2019) at sums of values, up to one common factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fercore.shapley.baselines import blurred
from fercore.shapley.inputs import evaluation_mode
from ferlab import explainers
from ferlab.explainers import Settings

Blank = Literal["black", "blurred"]
BLANKS: tuple[Blank, ...] = ("black", "blurred")
_BATCH = 64


@dataclass(frozen=True)
class Interval:
    """A mean over images with its 95 % bootstrap interval.

    Attributes:
        mean: The mean; NaN where no image has a value.
        low: Lower end; NaN with fewer than two values.
        high: Upper end.
        images: Number of values.
    """

    mean: float
    low: float
    high: float
    images: int


def interval(values: np.ndarray, seed: int = 0, resamples: int = 2000) -> Interval:
    """Return the mean of values and its 95 % percentile bootstrap interval over images.

    Args:
        values: (N,) float, one per image; NaN (undefined) is left out.
        seed: Of the resampling: the same seed draws the same images, if as many have a value.
        resamples: Number of bootstrap samples.
    """
    from scipy.stats import bootstrap

    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Interval(float(values.mean()) if len(values) else np.nan, np.nan, np.nan, len(values))
    settings = {"method": "percentile", "n_resamples": resamples, "rng": np.random.default_rng(seed)}
    found = bootstrap((values,), np.mean, **settings).confidence_interval
    return Interval(float(values.mean()), float(found.low), float(found.high), len(values))


def probabilities(model: nn.Module, images: Tensor, targets: Tensor) -> np.ndarray:
    """Return f_c(x), the softmax probability of a class of each image, in evaluation mode.

    Args:
        model: From (rows, C, H, W) to logits (rows, classes); it is left in its own mode.
        images: (rows, C, H, W).
        targets: (rows,) integers, the classes.

    Returns:
        (rows,) float64 in 0..1.
    """
    layout = torch.channels_last if images.device.type == "cpu" else torch.contiguous_format
    with evaluation_mode(model), torch.inference_mode():
        parts = [model(x.contiguous(memory_format=layout)).double() for x in images.split(_BATCH)]
        rows = torch.cat(parts).softmax(dim=1)
        return rows.gather(1, targets.to(rows.device)[:, None])[:, 0].cpu().numpy()


def blank(images: Tensor, kind: Blank) -> Tensor:
    """Return what images become where nothing of them is shown: black, or blurred (sigma an eighth of the side).

    Args:
        images: (N, C, H, W).
        kind: ``"black"`` or ``"blurred"``.

    Returns:
        The same shape and type.

    Raises:
        ValueError: If there is no such blank.
    """
    if kind not in BLANKS:
        raise ValueError(f"There is no blank {kind!r}; choose {', '.join(BLANKS)}.")
    return torch.zeros_like(images) if kind == "black" else blurred(images).to(images.dtype)


def ranks(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the rank of each pixel of a map (H, W), 0 for the largest value; equal values in random order."""
    flat = values.ravel()
    order = np.lexsort((np.random.default_rng(seed).random(flat.size), -flat))
    found = np.empty(flat.size, dtype=np.int64)
    found[order] = np.arange(flat.size)
    return found.reshape(values.shape)


def replacement_curves(
    model: nn.Module, start: Tensor, end: Tensor, targets: Tensor, maps: np.ndarray, steps: int, seed: int = 0
) -> np.ndarray:
    """Replace the pixels of ``start`` by those of ``end``, the largest values of the map first.

    Args:
        model: The network.
        start: (N, C, H, W).
        end: The same.
        targets: (N,) classes.
        maps: (N, H, W).
        steps: Number of steps, as equal as the number of pixels allows.
        seed: Of the order of equal values.

    Returns:
        (N, steps + 1) float64, f_c after 0, 1, ... steps.
    """
    curves = []
    for x, y, target, values in zip(start, end, targets, maps, strict=True):
        bounds = np.round(np.linspace(0, values.size, steps + 1)).astype(np.int64)
        replaced = torch.from_numpy(ranks(values, seed)[None] < bounds[:, None, None]).to(x.device)
        mixed = torch.where(replaced[:, None], y[None], x[None])
        curves.append(probabilities(model, mixed, target.expand(len(mixed))))
    return np.array(curves).reshape(len(start), steps + 1)


def area(curves: np.ndarray) -> np.ndarray:
    """Return the area under curves (N, steps + 1) over the fraction replaced, 0..1: (N,) float64."""
    return np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1)


def insertion_deletion(
    model: nn.Module, images: Tensor, targets: Tensor, maps: np.ndarray, steps: int = 16, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return the areas of RISE (Petsiuk et al. 2018) under two blanks.

    Args:
        model: The network.
        images: (N, C, H, W).
        targets: (N,) classes.
        maps: (N, H, W).
        steps: Steps of the curves.
        seed: Of the order of equal values.

    Returns:
        ``insertion_black``, ``insertion_blurred`` (start blank, show the most relevant pixels first, higher is better),
        ``deletion_black``, ``deletion_blurred`` (start whole, hide them first, lower is better), (N,) float64 each.
    """
    found = {}
    for kind in BLANKS:
        empty = blank(images, kind)
        for name, start, end in (("insertion", empty, images), ("deletion", images, empty)):
            curves = replacement_curves(model, start, end, targets, maps, steps, seed)
            found[f"{name}_{kind}"] = area(curves)
    return found


@dataclass(frozen=True, eq=False)
class Removals:
    """Random squares hidden in each image, and what the network then loses.

    Attributes:
        masks: (M, H, W) bool, the squares.
        drops: (N, M) float64, f(x) - f(x with the square black).
    """

    masks: np.ndarray
    drops: np.ndarray


def removals(model: nn.Module, images: Tensor, targets: Tensor, count: int = 100, seed: int = 0) -> Removals:
    """Hide random squares, the same in all images; sides are uniform from an eighth to a half of the shorter side.

    Args:
        model: The network.
        images: (N, C, H, W).
        targets: (N,) classes.
        count: Number of squares, M.
        seed: Of the squares.

    Returns:
        The squares and what the network loses by each.
    """
    rng, (height, width) = np.random.default_rng(seed), images.shape[2:]
    least = min(height, width)
    masks = np.zeros((count, height, width), dtype=bool)
    for mask in masks:
        side = rng.integers(max(1, least // 8), max(2, least // 2 + 1))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        mask[top : top + side, left : left + side] = True
    shown = torch.from_numpy(~masks).to(images)[:, None]
    drops = []
    for image, target in zip(images, targets, strict=True):
        rows = torch.cat([image[None], image[None] * shown])
        values = probabilities(model, rows, target.expand(len(rows)))
        drops.append(values[0] - values[1:])
    return Removals(masks, np.array(drops).reshape(len(images), count))


def infidelity(maps: np.ndarray, removed: Removals) -> np.ndarray:
    """Return captum's normalised infidelity over the same squares for every explainer, relative to a map of zeros.

    A map predicts the drop of each square by its sum over the square, times one factor per image, the best one, because
    methods differ in their units. The mean squared error is divided by the mean squared drop, which is what a map of
    zeros would leave. It is the infidelity of Yeh et al. (2019) for squares, normalised as in their code.

    Args:
        maps: (N, H, W).
        removed: The squares.

    Returns:
        (N,) float64 in 0..1, lower is better; NaN where no square changes anything.
    """
    squares = removed.masks.reshape(len(removed.masks), -1).astype(np.float64)
    predicted = maps.reshape(len(maps), -1) @ squares.T
    square, cross = (predicted**2).mean(axis=1), (predicted * removed.drops).mean(axis=1)
    total = (removed.drops**2).mean(axis=1)
    explained = np.divide(cross**2, square, out=np.zeros(len(maps)), where=square > 0)
    return np.divide(total - explained, total, out=np.full(len(maps), np.nan), where=total > 0).clip(0)


def sensitivity(
    name: str,
    model: nn.Module,
    images: Tensor,
    targets: np.ndarray,
    settings: Settings,
    samples: int = 3,
    radius: float = 0.02,
) -> np.ndarray:
    """Return captum's ``sensitivity_max``: the largest relative change of the map under small noise (Yeh et al. 2019).

    Args:
        name: Key of the explainer.
        model: The network.
        images: (N, C, H, W).
        targets: (N,) classes; they stay what they are under noise.
        settings: Of the explainer; its seed is the same for all, so what is measured is the map, not the sampling.
        samples: Noisy copies of each image.
        radius: Largest change of a pixel, of 1.

    Returns:
        (N,) float64, lower is steadier.
    """
    from captum.metrics import sensitivity_max

    def explained(inputs: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        rows = inputs if isinstance(inputs, Tensor) else inputs[0]
        repeated = np.repeat(targets, len(rows) // len(targets))
        return (torch.from_numpy(explainers.explain(name, model, rows, repeated, settings).values),)

    with explainers.base.seeded(settings.seed):
        found = sensitivity_max(explained, images, perturb_radius=radius, n_perturb_samples=samples)
    return found.numpy()
