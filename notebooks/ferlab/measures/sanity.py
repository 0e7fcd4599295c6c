"""Does a map depend on what the network has learned? The parameter randomisation test of Adebayo et al. (2018)."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from ferlab.measures import ratio


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy of a network in which the entries of every parameter are shuffled; buffers stay."""
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return other


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation over the pixels of pairs of maps (N, H, W): (N,), NaN where one is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(np.reshape(maps, (len(maps), -1)), axis=1) for maps in (a, b))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return ratio((a * b).sum(axis=1), np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


def structural_similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return scikit-image's SSIM (N,) of pairs of maps (N, H, W) of 7 x 7 or more, scaled to 1; NaN for zeros."""
    from skimage.metrics import structural_similarity as ssim

    a, b = (ratio(maps, np.abs(maps).max(axis=(1, 2), keepdims=True)) for maps in (a, b))
    return np.array([ssim(x, y, data_range=2.0) for x, y in zip(a, b, strict=True)], dtype=np.float64)
