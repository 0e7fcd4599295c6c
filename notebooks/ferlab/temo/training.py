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
    """How networks are trained. The second paper's recipe is not public; this one is ours.

    Attributes:
        epochs: Passes over the training clips.
        lr: Peak learning rate of AdamW, under a one-cycle schedule.
        weight_decay: Of AdamW.
        batch_size: Clips per step.
        hidden: Channels of the network.
        frozen: Leave the embedding at its random start.
        each: Standardise every coordinate on its own; see :meth:`TEmo.standardise`.
        seed: Of weights and batches.
    """

    epochs: int = 40
    lr: float = 1e-2
    weight_decay: float = 0.1
    batch_size: int = 64
    hidden: int = HIDDEN
    frozen: bool = False
    each: bool = False
    seed: int = 0


def targets(labels: np.ndarray, classes: tuple[int, ...]) -> Tensor:
    """Return one-against-rest targets, float32 (N, E): 1 where a clip is of class e."""
    return torch.from_numpy((labels[:, None] == np.array(classes)).astype(np.float32))


def fit(
    clips: LandmarkClips,
    landmarks: np.ndarray,
    classes: tuple[int, ...],
    recipe: Recipe | None = None,
    joint: bool = False,
) -> TEmo:
    """Train one binary network per class and set of landmarks, all of them side by side.

    The loss of a binary network weighs its class and the rest equally, whatever their numbers (ours).

    Args:
        clips: Training clips.
        landmarks: (k,) one set for all classes; (E, k) one set for each class; or (D, 1, k) D sets, each for all
            classes, whose networks come out in the order set, class.
        classes: The E classes.
        recipe: How.
        joint: One network of all classes instead, with a softmax over E logits.

    Returns:
        The module of M networks in evaluation mode; M is E, E, D·E, or 1 if ``joint``.

    Raises:
        DatasetError: If a class has no training clip or all of them.
        ValueError: If the sets do not fit the classes.
    """
    recipe = recipe or Recipe()
    count = (clips.labels[:, None] == np.array(classes)).sum(axis=0)
    for label, n in zip(classes, count, strict=True):
        if not 0 < n < len(clips) and not joint:
            raise DatasetError(f"{clips.name}: {n} of {len(clips)} training clips are of class {label}.")
    sets, networks = _layout(np.asarray(landmarks), len(classes), joint)
    outputs = len(classes) if joint else 1
    network = TEmo(sets, clips.points.shape[3], networks, outputs, recipe.hidden, recipe.frozen, recipe.seed)
    points, mask = torch.from_numpy(clips.points), torch.from_numpy(clips.mask())
    network.standardise(points, mask, recipe.each)
    if joint:
        wanted = torch.from_numpy(np.searchsorted(classes, clips.labels))
        weights = torch.tensor(len(clips) / len(classes) / count, dtype=torch.float32)
    else:
        wanted = targets(clips.labels, classes).repeat(1, network.networks // len(classes))
        weights = torch.tensor((len(clips) - count) / count, dtype=torch.float32)
        weights = weights.repeat(network.networks // len(classes))
    _descend(network, network.choose(points), mask, wanted, weights, recipe, joint)
    return network.eval()


def _layout(landmarks: np.ndarray, classes: int, joint: bool) -> tuple[np.ndarray, int]:
    """Return the sets (S, k) and the networks on each."""
    if landmarks.ndim == 1:
        return landmarks[None], 1 if joint else classes
    if landmarks.ndim == 2 and len(landmarks) == classes and not joint:
        return landmarks, 1
    if landmarks.ndim == 3 and landmarks.shape[1] == 1 and not joint:
        return landmarks[:, 0], classes
    raise ValueError(f"Sets of landmarks of shape {landmarks.shape} do not fit {classes} classes.")


def _descend(
    network: TEmo,
    chosen: Tensor,
    mask: Tensor,
    wanted: Tensor,
    weights: Tensor,
    recipe: Recipe,
    joint: bool,
) -> None:
    """Run AdamW on the sum of the networks' losses."""
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
            if joint:
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
    """Return the logits of clips.

    Args:
        network: M networks.
        clips: N clips.
        batch_size: Clips per forward pass.

    Returns:
        (N, M, outputs) float32.
    """
    points, mask = torch.from_numpy(clips.points), torch.from_numpy(clips.mask())
    with torch.inference_mode():
        parts = [
            network(points[s : s + batch_size], mask[s : s + batch_size])
            for s in range(0, len(points), batch_size)
        ]
    return torch.cat(parts).numpy()
