"""Systems of the paper's Table 2 that can be rebuilt cheaply, on the same split as ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from fercore.datasets.base import FaceDataset, content_checksum
from fercore.datasets.splits import Split
from fercore.emotions import EMOTIONS
from ferlab import networks
from ferlab.kept import Kept, kept, key_of

HIDDEN = 64  # units of Deep-Emotion's hidden layers
LBP_KINDS, LBP_CELLS = 59, 8  # uniform patterns of 8 neighbours; cells along each side of an image


class DeepEmotion(nn.Module):
    """Deep-Emotion (Minaee et al. 2021, Section 3); it states no numbers of channels and units: those are ours."""

    def __init__(self, size: tuple[int, int] = (48, 48)) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            *(nn.Conv2d(1, 8, 7), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
        )
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3), nn.Conv2d(32, 32, 3), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Dropout(), nn.Flatten()),
        )
        blank = torch.zeros(1, 1, *size)
        self.move = nn.Sequential(nn.Linear(self.locate(blank).shape[1], 32), nn.ReLU(), nn.Linear(32, 6))
        nn.init.zeros_(self.move[2].weight)  # starts with the image as it is
        self.move[2].bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])
        first = nn.Linear(self.features(blank).shape[1], HIDDEN)
        self.classify = nn.Sequential(first, nn.ReLU(), nn.Linear(HIDDEN, len(EMOTIONS)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, 7) logits of grey images (N, 3, H, W), three times over, in 0..1."""
        grey = images[:, :1].contiguous(memory_format=torch.channels_last)
        moved = self.move(self.locate(grey)).view(-1, 2, 3)
        grid = F.affine_grid(moved, list(grey.shape), align_corners=False).to(grey.dtype)
        return self.classify(self.features(F.grid_sample(grey, grid, align_corners=False)))


def deep_emotion(setting: networks.Setting, size: tuple[int, int]) -> nn.Module:
    """Build Deep-Emotion with the first weights of a setting's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.recipe.seed)
        return DeepEmotion(size).to(memory_format=torch.channels_last)


networks.BUILDERS["deep_emotion"] = deep_emotion


def band_passed(data: FaceDataset, narrow: float = 1.0, wide: float = 2.0) -> FaceDataset:
    """Put a difference of Gaussians before a network, as "DOG+CNN" does: g(narrow) - g(wide), 0 at grey level 128.

    The standard deviations, in pixels, are ours: the paper's Table 2 cites none. The result is enhanced four times.
    """
    from scipy.ndimage import gaussian_filter

    grey = data.images.astype(np.float32)
    blurred = [gaussian_filter(grey, (0, sigma, sigma, 0)) for sigma in (narrow, wide)]
    images = np.clip(np.rint(128 + 4 * (blurred[0] - blurred[1])), 0, 255).astype(np.uint8)
    return replace(
        data, name=f"{data.name}-dog", images=images, checksum=content_checksum(images, data.labels)
    )


def hog(images: np.ndarray) -> np.ndarray:
    """Return histograms of oriented gradients (Dalal & Triggs 2005), cells of 6 pixels: (N, features) float32."""
    from skimage.feature import hog as features

    options = {"pixels_per_cell": (6, 6), "cells_per_block": (2, 2), "feature_vector": True}
    bar = tqdm(images[..., 0], desc="HOG", unit="image", miniters=0)
    return np.stack([features(image, **options) for image in bar]).astype(np.float32)


def lbp(images: np.ndarray) -> np.ndarray:
    """Return local binary patterns (Ojala et al. 2002), uniform, counted in 8 x 8 cells: (N, features) float32."""
    from skimage.feature import local_binary_pattern

    rows, columns = (np.arange(side) * LBP_CELLS // side for side in images.shape[1:3])
    cells, found = (rows[:, None] * LBP_CELLS + columns) * LBP_KINDS, []
    for image in tqdm(images[..., 0], desc="LBP", unit="image", miniters=0):
        codes = local_binary_pattern(image, 8, 1, "nri_uniform").astype(int)
        found.append(np.bincount((cells + codes).ravel(), minlength=LBP_CELLS**2 * LBP_KINDS))
    return np.sqrt(np.stack(found)).astype(np.float32)  # Hellinger: square roots of counts


def svm(
    features: np.ndarray, data: FaceDataset, parts: Split, path: Path, seed: int = 0
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the classes (M,) of the test part by a linear SVM, C chosen on the validation part, and how; both kept."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    def chosen() -> Kept:
        tried: dict[str, float] = {}
        for strength in (0.1, 1.0, 10.0):
            c = strength / features.shape[1]
            machine = make_pipeline(StandardScaler(), LinearSVC(C=c, random_state=seed))
            machine.fit(features[parts.train], data.labels[parts.train])
            right = machine.predict(features[parts.validation]) == data.labels[parts.validation]
            tried[f"{c:.2e}"] = float(right.mean())
            if tried[f"{c:.2e}"] == max(tried.values()):
                best, about = machine, {"C": c}
        said = torch.from_numpy(best.predict(features[parts.test]))
        return {"test": said}, {"about": about | {"tried": tried}}

    key = key_of(features, data.labels, parts.checksum(), seed)
    found, said = kept(path, key, chosen)
    return found["test"].numpy(), said["about"]
