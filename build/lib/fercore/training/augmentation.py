"""Training images, altered at random on the device that trains; all random numbers of an epoch are drawn before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fercore.training.recipes import Recipe

# Share of the image that an erased rectangle covers, and its height over its width (Zhong et al. 2020, Section 4).
AREA, ASPECT = (0.02, 0.2), (0.3, 1 / 0.3)


@dataclass(frozen=True, eq=False)
class Plan:
    """What happens to the n training images in one epoch; row k belongs to the k-th visit. Rectangles: (t, b, l, r)."""

    order: Tensor  # (n,) int64, the order in which the images are visited
    flips: Tensor  # (n,) bool, images to mirror
    side: tuple[int, int]  # height and width of the images that the network sees
    maps: Tensor | None = None  # (n, 2, 3) float32 affine maps from output to input coordinates in -1..1
    boxes: Tensor | None = None  # (n, 4) int64 rectangles to black out, empty where top = bottom
    blends: Tensor | None = None  # (batches,) float32 weight of the image itself, 0..1, in mixup at least 0.5
    pastes: Tensor | None = None  # (batches, 4) int64 rectangles that CutMix takes from other images


def draw(recipe: Recipe, count: int, size: tuple[int, int], epoch: int, device: torch.device) -> Plan:
    """Draw what an epoch (from 1) does to ``count`` images of ``size`` (height, width): by (seed, epoch) alone."""
    rng = np.random.default_rng([recipe.seed, epoch])
    side = (recipe.crop, recipe.crop) if recipe.crop else size
    drawn = {"order": rng.permutation(count), "flips": rng.random(count) < (0.5 if recipe.flip else 0.0)}
    if recipe.moves:
        drawn["maps"] = _draw_maps(rng, recipe, count, size, side)
    if recipe.erase:
        drawn["boxes"] = _draw_boxes(rng, recipe.erase, count, side)
    batches = -(-count // recipe.batch_size)
    if recipe.mixup:
        blends = rng.beta(recipe.mixup, recipe.mixup, batches)
        drawn["blends"] = np.maximum(blends, 1 - blends).astype(np.float32)
    elif recipe.cutmix:
        drawn["pastes"] = _draw_pastes(rng, recipe.cutmix, batches, side)
        top, bottom, left, right = drawn["pastes"].T
        drawn["blends"] = (1 - (bottom - top) * (right - left) / (side[0] * side[1])).astype(np.float32)
    return Plan(side=side, **{name: torch.from_numpy(array).to(device) for name, array in drawn.items()})


def batch(images: Tensor, plan: Plan, part: slice | Tensor) -> Tensor:
    """Alter the images of a step: (n, 1 or 3, H, W) uint8 to (b, 3, height, width) float32 in 0..1, channels-last.

    ``part`` says which visits belong to the step: a slice or (b,) indices.
    """
    chosen = images[plan.order[part]]
    chosen = torch.where(plan.flips[part, None, None, None], chosen.flip(-1), chosen)
    altered = chosen.to(torch.float32).div_(255.0)
    if plan.maps is not None:
        grid = F.affine_grid(plan.maps[part], [*altered.shape[:2], *plan.side], align_corners=False)
        altered = F.grid_sample(altered, grid, padding_mode="reflection", align_corners=False)
    if plan.boxes is not None:
        altered = altered.masked_fill(_inside(plan.boxes[part], altered.shape[-2:]), 0.0)
    return altered.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def mix(images: Tensor, plan: Plan, step: int | Tensor) -> Tensor:
    """Mix the (b, 3, height, width) images of a step (from 0; int or (1,) int64) with themselves in reverse order."""
    if plan.pastes is not None:
        return torch.where(_inside(plan.pastes[step].view(1, 4), plan.side), images.flip(0), images)
    weight = plan.blends[step]
    return images * weight + images.flip(0) * (1 - weight)


def _draw_maps(
    rng: np.random.Generator, recipe: Recipe, count: int, size: tuple[int, int], side: tuple[int, int]
) -> np.ndarray:
    """Draw (n, 2, 3) float32 affine maps: cut out a window, turn by an angle, scale, then shift."""
    angle = np.deg2rad(rng.uniform(-recipe.rotation, recipe.rotation, count))
    scale = np.exp(rng.uniform(-1, 1, count) * np.log1p(recipe.zoom))
    shift = 2 * recipe.shift * rng.uniform(-1, 1, (count, 2))  # the coordinates -1..1 are two sides long
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    window = np.array(side[::-1]) / np.array(size[::-1])
    if recipe.crop:
        shift += (1 - window) * rng.uniform(-1, 1, (count, 2))
    rows = (
        [cosine * window[0], -sine * window[1], shift[:, 0]],
        [sine * window[0], cosine * window[1], shift[:, 1]],
    )
    return np.ascontiguousarray(np.array(rows, dtype=np.float32).transpose(2, 0, 1))


def _draw_pastes(rng: np.random.Generator, alpha: float, batches: int, side: tuple[int, int]) -> np.ndarray:
    """Draw (batches, 4) int64 rectangles of the image's shape about a random centre, cut off at its border."""
    share = np.sqrt(1 - rng.beta(alpha, alpha, batches))
    edges = []
    for length in side:
        centre, half = rng.integers(0, length, batches), length * share / 2
        edges += [np.clip(np.rint(centre - half), 0, length), np.clip(np.rint(centre + half), 0, length)]
    return np.stack(edges, axis=1).astype(np.int64)


def _draw_boxes(rng: np.random.Generator, share: float, count: int, size: tuple[int, int]) -> np.ndarray:
    """Draw (n, 4) int64 rectangles, of which a share is not empty."""
    height, width = size
    area = rng.uniform(*AREA, count) * height * width
    aspect = np.exp(rng.uniform(*np.log(ASPECT), count))
    rows = np.clip(np.rint(np.sqrt(area * aspect)), 1, height).astype(np.int64)
    columns = np.clip(np.rint(np.sqrt(area / aspect)), 1, width).astype(np.int64)
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    rows = np.where(rng.random(count) < share, rows, 0)
    return np.stack([top, top + rows, left, left + columns], axis=1)


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (b, 1, H, W) bool: the pixels inside each image's rectangle."""
    rows, columns = (torch.arange(length, device=boxes.device) for length in size)
    top, bottom, left, right = boxes.T[:, :, None]
    tall, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (tall[:, :, None] & wide[:, None, :])[:, None]
