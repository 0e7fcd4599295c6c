"""Maps of many images by several methods, kept in files, so that a stopped run goes on with the next method."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import zipfile
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fercore.checkpoints import atomic_path
from ferlab import definitions, provenance
from ferlab.explainers.base import Maps, Settings
from ferlab.explainers.registry import METHODS, explain


def explain_all(
    names: Sequence[str],
    model: nn.Module,
    images: Tensor,
    targets: np.ndarray,
    settings: Settings,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, Maps]:
    """Explain the same images by several methods.

    Args:
        names: Keys of :data:`ferlab.explainers.METHODS`.
        model: The network.
        images: (N, C, H, W).
        targets: (N,) classes.
        settings: Of all methods.
        folder: Where maps are kept, one file per method, so that a run that was stopped goes on with the next method;
            nothing is kept if None. Files of other networks, images, settings or code are not used.
        progress: Show bars.

    Returns:
        Maps by method.
    """
    found, where = {}, provenance.hardware(images.device)
    for name in names:
        path = None if folder is None else folder / f"{_key(name, model, images, targets, settings)}.npz"
        maps = None if path is None else _read(name, path)
        if maps is None:
            maps = explain(name, model, images, targets, settings, progress)
            maps = replace(maps, hardware=where)
            if path is not None:
                with atomic_path(path) as temporary:
                    np.savez(temporary, **{f: getattr(maps, f) for f in (*ARRAYS, "hardware")})
        found[name] = maps
    return found


ARRAYS = ("values", "evaluations", "gradients", "seconds")


def _read(name: str, path: Path) -> Maps | None:
    """Read maps; None where there are none, or a damaged file."""
    try:
        with np.load(path) as file:
            return Maps(name, *(file[field] for field in ARRAYS), str(file["hardware"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def packages() -> dict[str, str]:
    """Return the versions of the packages that explain and measure here, of those that are installed."""
    found = {}
    for name in ("captum", "lime", "scikit-image", "scipy", "shap"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _key(name: str, model: nn.Module, images: Tensor, targets: np.ndarray, settings: Settings) -> str:
    """Return a checksum of everything that decides the maps."""
    version = packages().get(METHODS[name].package, "")
    content = hashlib.sha256(f"{name} {definitions.code(explain)} {version}".encode())
    plain = replace(settings, background=None, layer=None)
    content.update(json.dumps([str(value) for value in astuple(plain)]).encode())
    layer = [key for key, module in model.named_modules() if module is settings.layer]
    content.update(f"{type(model)} {layer}".encode())
    tensors = [images, torch.from_numpy(np.asarray(targets)), *model.state_dict().values()]
    tensors += [settings.background] if settings.background is not None else []
    for tensor in tensors:
        content.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        content.update(np.ascontiguousarray(tensor.detach().cpu().numpy()))
    return content.hexdigest()[:24]
