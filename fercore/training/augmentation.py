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
    """What happens to the n training images in one epoch, a function of (seed, epoch) alone, on every device.

    Attributes:
        order: (n,) int64, the order in which the images are visited. Row k of the others belongs to visit k.
        flips: (n,) bool, images to mirror.
        maps: (n, 2, 3) float32 affine maps from output to input coordinates in -1..1, or None.
        boxes: (n, 4) int64 rectangles to black out: top, bottom, left, right (empty if top = bottom), or None.
        side: (height, width) of the images that the network sees.
        blends: (batches,) float32 weight of the image itself in mixup (0.5..1) or CutMix (0..1), or None.
        pastes: (batches, 4) int64 rectangles that CutMix takes from other images, or None.
    """

    order: Tensor
    flips: Tensor
    maps: Tensor | None
    boxes: Tensor | None
    side: tuple[int, int]
    blends: Tensor | None = None
    pastes: Tensor | None = None


def draw(recipe: Recipe, count: int, size: tuple[int, int], epoch: int, device: torch.device) -> Plan:
    """Draw the plan of one epoch.

    Args:
        recipe: The hyper-parameters.
        count: Number of training images.
        size: Height and width of the images in pixels, at least the recipe's crop.
        epoch: Number of the epoch, from 1.
        device: Where the plan will be used.

    Returns:
        The plan, on the device.
    """
    rng = np.random.default_rng([recipe.seed, epoch])
    side = (recipe.crop, recipe.crop) if recipe.crop else size
    order = rng.permutation(count)
    flips = rng.random(count) < (0.5 if recipe.flip else 0.0)
    maps = _draw_maps(rng, recipe, count, size, side) if recipe.moves else None
    boxes = _draw_boxes(rng, recipe, count, side) if recipe.erase else None
    blends = pastes = None
    batches = -(-count // recipe.batch_size)
    if recipe.mixup:
        blends = rng.beta(recipe.mixup, recipe.mixup, batches)
        blends = np.maximum(blends, 1 - blends).astype(np.float32)
    elif recipe.cutmix:
        pastes = _draw_pastes(rng, recipe.cutmix, batches, side)
        blends = (1 - _areas(pastes) / (side[0] * side[1])).astype(np.float32)

    def put(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array).to(device)

    return Plan(put(order), put(flips), put(maps), put(boxes), side, put(blends), put(pastes))


def batch(images: Tensor, plan: Plan, part: slice | Tensor) -> Tensor:
    """Alter the images of one step.

    Args:
        images: (n, C, H, W) uint8, all training images; C is 1 (grey) or 3.
        plan: The plan of the epoch.
        part: Which visits belong to the step, a slice or (b,) indices.

    Returns:
        (b, 3, height, width) float32 in 0..1, channels-last in memory.
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
    """Mix a batch with itself in reverse order, by mixup's weighted mean or by CutMix's rectangle.

    Args:
        images: (b, 3, height, width).
        plan: The plan of the epoch, with ``blends``.
        step: Number of the step, from 0; an int or (1,) int64.
    """
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
    rows = [
        np.stack([cosine * window[0], -sine * window[1], shift[:, 0]], axis=1),
        np.stack([sine * window[0], cosine * window[1], shift[:, 1]], axis=1),
    ]
    return np.stack(rows, axis=1).astype(np.float32)


def _draw_pastes(rng: np.random.Generator, alpha: float, batches: int, side: tuple[int, int]) -> np.ndarray:
    """Draw (batches, 4) int64 rectangles of the image's shape about a random centre, cut off at its border."""
    share = np.sqrt(1 - rng.beta(alpha, alpha, batches))
    edges = []
    for length in side:
        centre, half = rng.integers(0, length, batches), length * share / 2
        edges += [np.clip(np.rint(centre - half), 0, length), np.clip(np.rint(centre + half), 0, length)]
    return np.stack(edges, axis=1).astype(np.int64)


def _areas(boxes: np.ndarray) -> np.ndarray:
    """Return the pixels inside (n, 4) rectangles."""
    return (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])


def _draw_boxes(rng: np.random.Generator, recipe: Recipe, count: int, size: tuple[int, int]) -> np.ndarray:
    """Draw (n, 4) int64 rectangles: top, bottom, left, right."""
    height, width = size
    area = rng.uniform(*AREA, count) * height * width
    aspect = np.exp(rng.uniform(*np.log(ASPECT), count))
    rows = np.clip(np.rint(np.sqrt(area * aspect)), 1, height).astype(np.int64)
    columns = np.clip(np.rint(np.sqrt(area / aspect)), 1, width).astype(np.int64)
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    rows = np.where(rng.random(count) < recipe.erase, rows, 0)
    return np.stack([top, top + rows, left, left + columns], axis=1)


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (b, 1, H, W) bool: the pixels inside each image's rectangle."""
    rows = torch.arange(size[0], device=boxes.device)
    columns = torch.arange(size[1], device=boxes.device)
    tall = (rows >= boxes[:, :1]) & (rows < boxes[:, 1:2])
    wide = (columns >= boxes[:, 2:3]) & (columns < boxes[:, 3:])
    return (tall[:, :, None] & wide[:, None, :])[:, None]
