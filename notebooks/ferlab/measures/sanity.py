"""Does a map depend on what the network has learned? The parameter randomisation test of Adebayo et al. (2018)."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy of a network in which the entries of every parameter are shuffled.

    So each layer keeps the sizes of its weights and loses what it has learned; buffers (the statistics of batch
    normalisation) stay. The model itself is left as it is.

    Args:
        model: The network.
        seed: Of the shuffling.
    """
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return other


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation over the pixels of each pair of maps.

    Args:
        a: (N, H, W) float.
        b: The same.

    Returns:
        (N,) float64; NaN where a map is constant.
    """
    from scipy.stats import rankdata

    a, b = (rankdata(np.reshape(maps, (len(maps), -1)), axis=1) for maps in (a, b))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    length = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), length, out=np.full(len(a), np.nan), where=length > 0)


def structural_similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return scikit-image's SSIM of each pair of maps, each scaled to a largest magnitude of 1.

    Args:
        a: (N, H, W) float, at least 7 x 7.
        b: The same.

    Returns:
        (N,) float64; NaN where a map is zero everywhere.
    """
    from skimage.metrics import structural_similarity as ssim

    found = []
    for pair in zip(a, b, strict=True):
        sizes = [np.abs(values).max() for values in pair]
        scaled = [values / size if size > 0 else values for values, size in zip(pair, sizes, strict=True)]
        found.append(ssim(*scaled, data_range=2.0) if min(sizes) > 0 else np.nan)
    return np.array(found, dtype=np.float64)
