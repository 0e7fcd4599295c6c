"""Whether a map says what the network does: insertion and deletion, infidelity, stability, and intervals for all.

Everything is about f_c(x), the softmax probability of a class of each image. Insertion and deletion (Petsiuk et al.
2018) look at the order of the pixels alone; infidelity (Yeh et al. 2019) at sums of values, up to one common factor.
Models go from images (N, C, H, W) to logits (N, classes) and stay in their own mode; targets are (N,) classes.
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
from ferlab.measures import ratio

Blank = Literal["black", "blurred"]
BLANKS: tuple[Blank, ...] = ("black", "blurred")


@dataclass(frozen=True)
class Interval:
    """A mean over images with its 95 % bootstrap interval."""

    mean: float  #: NaN where no image has a value
    low: float  #: NaN with fewer than two values, as ``high``
    high: float
    images: int  #: those that have a value


def interval(values: np.ndarray, seed: int = 0, resamples: int = 2000) -> Interval:
    """Return the mean of values (N,), without NaN, and its percentile bootstrap interval over images."""
    from scipy.stats import bootstrap

    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Interval(float(values.mean()) if len(values) else np.nan, np.nan, np.nan, len(values))
    about = {"method": "percentile", "n_resamples": resamples, "rng": np.random.default_rng(seed)}
    found = bootstrap((values,), np.mean, **about).confidence_interval
    return Interval(float(values.mean()), float(found.low), float(found.high), len(values))


def probabilities(model: nn.Module, images: Tensor, targets: Tensor) -> np.ndarray:
    """Return f_c(x) of images (rows, C, H, W) and classes (rows,) in evaluation mode: (rows,) float64 in 0..1."""
    layout = torch.channels_last if images.device.type == "cpu" else torch.contiguous_format
    with evaluation_mode(model), torch.inference_mode():
        parts = [model(x.contiguous(memory_format=layout)).double() for x in images.split(64)]
        rows = torch.cat(parts).softmax(dim=1)
        return rows.gather(1, targets.to(rows.device)[:, None])[:, 0].cpu().numpy()


def blank(images: Tensor, kind: Blank) -> Tensor:
    """Return what images (N, C, H, W) become where nothing is shown: black, or blurred by an eighth of the side."""
    return {"black": torch.zeros_like, "blurred": blurred}[kind](images).to(images.dtype)


def ranks(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the rank of each pixel of a map (H, W), 0 for the largest value; equal values in random order."""
    order = np.lexsort((np.random.default_rng(seed).random(values.size), -values.ravel()))
    return np.argsort(order).reshape(values.shape)


def replacement_curves(
    model: nn.Module, start: Tensor, end: Tensor, targets: Tensor, maps: np.ndarray, steps: int, seed: int = 0
) -> np.ndarray:
    """Return f_c after 0, 1, … steps, (N, steps + 1): pixels of ``start`` (N, C, H, W) become those of ``end``.

    The largest of maps (N, H, W) come first, equal values in random order, by ``seed``.
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
    """Return the areas of RISE (Petsiuk et al. 2018) of maps (N, H, W) of images (N, C, H, W), (N,) float64 each.

    ``insertion_black``, ``insertion_blurred``: start blank, show the most relevant pixels first; higher is better.
    ``deletion_black``, ``deletion_blurred``: start whole, hide them first; lower is better.
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
    """Random squares hidden in each image, and what the network then loses."""

    masks: np.ndarray  #: (M, H, W) bool, the squares
    drops: np.ndarray  #: (N, M) float64, f(x) - f(x with the square black)


def removals(model: nn.Module, images: Tensor, targets: Tensor, count: int = 100, seed: int = 0) -> Removals:
    """Return random squares, an eighth to a half wide, hidden one by one in images (N, C, H, W), and what is lost."""
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
    """Return captum's normalised infidelity of maps (N, H, W), relative to that of zeros: (N,) in 0..1, low is good.

    That of Yeh et al. (2019) for squares: a map predicts each drop by its sum over the square, times the best factor
    for the image, because methods differ in their units; NaN where no square changes anything."""
    squares = removed.masks.reshape(len(removed.masks), -1).astype(np.float64)
    predicted = maps.reshape(len(maps), -1) @ squares.T
    square, cross = (predicted**2).mean(axis=1), (predicted * removed.drops).mean(axis=1)
    total = (removed.drops**2).mean(axis=1)
    explained = np.where(square > 0, ratio(cross**2, square), 0.0)
    return ratio(total - explained, total).clip(0)


def sensitivity(
    name: str,
    model: nn.Module,
    images: Tensor,
    targets: np.ndarray,
    settings: Settings,
    samples: int = 3,
    radius: float = 0.02,
) -> np.ndarray:
    """Return captum's ``sensitivity_max`` (Yeh et al. 2019) of a method on images (N, C, H, W): (N,), low is steady.

    It is the largest relative change of the map over noisy copies of the image, each pixel changed by up to ``radius``.
    """
    from captum.metrics import sensitivity_max

    def explained(inputs: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        rows = inputs if isinstance(inputs, Tensor) else inputs[0]
        repeated = np.repeat(targets, len(rows) // len(targets))
        return (torch.from_numpy(explainers.explain(name, model, rows, repeated, settings).values),)

    with explainers.base.seeded(settings.seed):
        found = sensitivity_max(explained, images, perturb_radius=radius, n_perturb_samples=samples)
    return found.numpy()
