"""Maps of many images by several methods, kept in files, so that a stopped run goes on with the next method."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ferlab import provenance
from ferlab.explainers.base import Maps, Settings
from ferlab.explainers.registry import METHODS, explain
from ferlab.kept import Kept, kept, key_of

ARRAYS = ("values", "evaluations", "gradients", "seconds")


def explain_all(
    names: Sequence[str],
    model: nn.Module,
    images: Tensor,
    targets: np.ndarray,
    settings: Settings,
    folder: Path,
    progress: bool = True,
) -> dict[str, Maps]:
    """Explain the same images (N, C, H, W) by several methods, each kept in a file of ``folder``: maps by method."""
    layer = [name for name, module in model.named_modules() if module is settings.layer]
    about = (explain, model, layer, images, targets, replace(settings, layer=None))
    found, where, versions = {}, provenance.hardware(images.device), packages()

    def compute(name: str) -> Kept:
        maps = explain(name, model, images, targets, settings, progress)
        return {field: torch.from_numpy(getattr(maps, field)) for field in ARRAYS}, {"hardware": where}

    for name in names:
        key = key_of(name, versions.get(METHODS[name].package, ""), *about)
        file = folder / f"{name}-{key[:16]}.safetensors"  # one for each network
        tensors, said = kept(file, key, partial(compute, name))
        found[name] = Maps(name, *(tensors[field].numpy() for field in ARRAYS), said["hardware"])
    return found


def packages() -> dict[str, str]:
    """Return the versions of the packages that explain and measure here, of those that are installed."""
    found = {}
    for name in ("captum", "lime", "scikit-image", "scipy", "shap"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
