"""Training of T-EMO networks, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fercore.errors import DatasetError
from ferlab.temo.clips import LandmarkClips
from ferlab.temo.network import HIDDEN, TEmo


@dataclass(frozen=True)
class Recipe:
    """How networks are trained. The second paper's recipe is not public; this one is ours."""

    epochs: int = 40  #: passes over the training clips
    lr: float = 1e-2  #: peak learning rate of AdamW, under a one-cycle schedule
    weight_decay: float = 0.1  #: of AdamW
    batch_size: int = 64  #: clips per step
    hidden: int = HIDDEN  #: channels of the network
    frozen: bool = False  #: leave the embedding at its random start
    each: bool = False  #: standardise every coordinate on its own; see :meth:`TEmo.standardise`
    seed: int = 0  #: of weights and batches


def fit(
    clips: LandmarkClips,
    landmarks: np.ndarray,
    classes: tuple[int, ...],
    recipe: Recipe | None = None,
    joint: bool = False,
) -> TEmo:
    """Train binary networks side by side; ``landmarks`` are (k,) for all E classes, (E, k) for each, or (D, 1, k).

    ``joint``: one with a softmax instead. DatasetError if a class has no clip or all; ValueError if sets do not fit.
    """
    recipe = recipe or Recipe()
    belongs = clips.labels[:, None] == np.array(classes)
    count = belongs.sum(axis=0)
    if not joint and not ((count > 0) & (count < len(clips))).all():
        numbers = dict(zip(classes, count.tolist(), strict=True))
        raise DatasetError(
            f"{clips.name}: {len(clips)} training clips, {numbers} by class: none, or no others."
        )
    sets, networks = _layout(np.asarray(landmarks), len(classes))
    networks, outputs = (1, len(classes)) if joint else (networks, 1)
    network = TEmo(sets, clips.points.shape[3], networks, outputs, recipe.hidden, recipe.frozen, recipe.seed)
    points, mask = torch.from_numpy(clips.points), torch.from_numpy(clips.mask())
    network.standardise(points, mask, recipe.each)
    if joint:
        wanted = torch.from_numpy(np.searchsorted(classes, clips.labels))
        weights = torch.tensor(len(clips) / len(classes) / count, dtype=torch.float32)
    else:
        copies = network.networks // len(classes)
        wanted = torch.from_numpy(belongs.astype(np.float32)).repeat(1, copies)
        weights = torch.tensor((len(clips) - count) / count, dtype=torch.float32).repeat(copies)
    _descend(network, network.choose(points), mask, wanted, weights, recipe)
    return network.eval()


def _layout(landmarks: np.ndarray, classes: int) -> tuple[np.ndarray, int]:
    """Return the sets (S, k) and the networks on each."""
    if landmarks.ndim == 1:
        return landmarks[None], classes
    if landmarks.ndim == 2 and len(landmarks) == classes:
        return landmarks, 1
    if landmarks.ndim == 3 and landmarks.shape[1] == 1:
        return landmarks[:, 0], classes
    raise ValueError(f"Sets of landmarks of shape {landmarks.shape} do not fit {classes} classes.")


def _descend(
    network: TEmo, chosen: Tensor, mask: Tensor, wanted: Tensor, weights: Tensor, recipe: Recipe
) -> None:
    """Run AdamW on the sum of the networks' losses; ``wanted`` is (N, M) of 0 and 1, or the classes (N,)."""
    learnt = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    random, count = torch.Generator().manual_seed(recipe.seed), len(mask)
    size = min(recipe.batch_size, count)
    steps = recipe.epochs * (count // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=max(steps, 2))
    for _ in range(recipe.epochs):
        order = torch.randperm(count, generator=random)
        for start in range(0, count - size + 1, size):
            rows = order[start : start + size]
            logits = network.tail(network.embed(chosen[:, rows]), mask[rows])
            if wanted.ndim == 1:
                loss = functional.cross_entropy(logits[:, 0], wanted[rows], weight=weights)
            else:
                each = functional.binary_cross_entropy_with_logits(
                    logits[..., 0], wanted[rows], pos_weight=weights, reduction="none"
                )
                loss = each.mean(dim=0).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def predict(network: TEmo, clips: LandmarkClips, batch_size: int = 512) -> np.ndarray:
    """Return the logits of N clips, float32 (N, M, outputs)."""
    points, mask = torch.from_numpy(clips.points), torch.from_numpy(clips.mask())
    batches = zip(points.split(batch_size), mask.split(batch_size), strict=True)
    with torch.inference_mode():
        return torch.cat([network(*batch) for batch in batches]).numpy()
