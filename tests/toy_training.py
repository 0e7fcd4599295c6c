"""Training in a tenth of a second: the toy images of :mod:`conftest`, a tiny network, a short and a strong recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import brightness_faces
from torch import nn

from fercore import models
from fercore.datasets import FaceDataset, splits
from fercore.training import recipes
from fercore.training import trainer as training

SIZE = (32, 32)
SHORT = recipes.Recipe(epochs=4, batch_size=8, lr=1e-3, seed=1)
# Everything a recipe can ask for at once.
STRONG = recipes.recipe("strong", epochs=4, batch_size=8, lr=0.01, warmup=1, mixup=0.4, averaging=0.9, seed=1)


def small_network(batch_norm: bool = False, width: float = 0.05, **options: Any) -> nn.Module:
    """Build the proposed network with a few thousand weights."""
    return models.build("proposed", width=width, size=SIZE, batch_norm=batch_norm, **{"seed": 1} | options)


def parts_of_toy() -> tuple[FaceDataset, FaceDataset]:
    """Return the training and the validation part of the toy images."""
    toy = brightness_faces(70)
    parts = splits.split(toy, "paper")
    return toy.subset(parts.train), toy.subset(parts.validation)


def fit(
    folder: str | Path,
    recipe: recipes.Recipe = SHORT,
    key: str = "k",
    model: nn.Module | None = None,
    **options: Any,
) -> tuple[nn.Module, training.History]:
    """Train on the toy images and return the network and its history."""
    model = small_network(recipe.batch_norm) if model is None else model
    train, validation = parts_of_toy()
    return model, training.fit(model, train, validation, recipe, folder, key, progress=False, **options)


def trainer(
    recipe: recipes.Recipe, model: nn.Module | None = None, teacher: nn.Module | None = None
) -> training._Trainer:
    """Return the state of a training run on the toy images before its first step."""
    model = small_network(recipe.batch_norm) if model is None else model
    return training._Trainer(model.train(), parts_of_toy()[0], recipe, teacher=teacher)


def batch(count: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random images and labels for one step."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, *SIZE, generator=generator)
    return images, torch.randint(0, 7, (count,), generator=generator)


def numbers(history: training.History) -> list[dict[str, float]]:
    """Return a history without what the clock says."""
    clock = ("seconds", "images_per_second")
    return [{name: value for name, value in row.items() if name not in clock} for row in history]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether all weights and buffers of two networks agree to the last bit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
