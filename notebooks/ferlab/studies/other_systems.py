"""Systems of the paper's Table 2 that can be rebuilt cheaply, on the same split as ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from fercore import checkpoints
from fercore.datasets.base import FaceDataset, content_checksum
from fercore.datasets.splits import Split
from fercore.emotions import EMOTIONS
from ferlab import networks


class DeepEmotion(nn.Module):
    """Deep-Emotion (Minaee et al. 2021, Section 3): four convolutions behind a spatial transformer, two hidden layers.

    The article gives the layers in words: pairs of convolutions, each pair followed by max-pooling and ReLU, then
    dropout and two fully connected layers; a localisation network of two convolutions (max-pooling and ReLU behind
    each) and two fully connected layers, whose six outputs move the sampling grid (Jaderberg et al. 2015). Numbers of
    channels and units are not stated; those here are ours.

    Args:
        size: Height and width of the images.
        channels: Of the first and of the second pair of convolutions.
        hidden: Units of the hidden layers.
    """

    def __init__(
        self, size: tuple[int, int] = (48, 48), channels: tuple[int, int] = (16, 32), hidden: int = 64
    ) -> None:
        super().__init__()
        first, second = channels
        self.locate = nn.Sequential(
            *(nn.Conv2d(1, 8, 7), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
        )
        self.features = nn.Sequential(
            *(nn.Conv2d(1, first, 3), nn.Conv2d(first, first, 3), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(first, second, 3), nn.Conv2d(second, second, 3), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Dropout(), nn.Flatten()),
        )
        blank = torch.zeros(1, 1, *size)
        self.move = nn.Sequential(nn.Linear(self.locate(blank).shape[1], 32), nn.ReLU(), nn.Linear(32, 6))
        nn.init.zeros_(self.move[2].weight)  # starts with the image as it is
        self.move[2].bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])
        self.classify = nn.Sequential(
            *(nn.Linear(self.features(blank).shape[1], hidden), nn.ReLU()), nn.Linear(hidden, len(EMOTIONS))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, 7) logits of grey images (N, 3, H, W), three times over, in 0..1."""
        grey = images[:, :1].contiguous(memory_format=torch.channels_last)
        grid = F.affine_grid(
            self.move(self.locate(grey)).view(-1, 2, 3), list(grey.shape), align_corners=False
        )
        return self.classify(self.features(F.grid_sample(grey, grid.to(grey.dtype), align_corners=False)))


def deep_emotion(setting: networks.Setting, size: tuple[int, int]) -> nn.Module:
    """Build Deep-Emotion with the first weights of a setting's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.recipe.seed)
        return DeepEmotion(size).to(memory_format=torch.channels_last)


networks.BUILDERS["deep_emotion"] = deep_emotion


def band_passed(data: FaceDataset, narrow: float = 1.0, wide: float = 2.0) -> FaceDataset:
    """Put a difference of Gaussians before a network, as "DOG+CNN" does: g(narrow) - g(wide), 0 at grey level 128.

    Args:
        data: Grey images.
        narrow: Standard deviation of the first Gaussian in pixels. The paper's Table 2 cites no value; ours.
        wide: Of the second.

    Returns:
        The same images, filtered, four times enhanced and rounded to bytes.
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
    """Return local binary patterns (Ojala et al. 2002), uniform of 8 neighbours, counted in 8 x 8 cells: float32."""
    from skimage.feature import local_binary_pattern

    kinds, cells, found = 59, 8, []
    for image in tqdm(images[..., 0], desc="LBP", unit="image", miniters=0):
        codes = local_binary_pattern(image, 8, 1, "nri_uniform").astype(int)
        rows, columns = (np.arange(side) * cells // side for side in image.shape)
        place = (rows[:, None] * cells + columns) * kinds + codes
        found.append(np.bincount(place.ravel(), minlength=cells * cells * kinds))
    return np.sqrt(np.stack(found)).astype(np.float32)  # Hellinger: square roots of counts


@dataclass(frozen=True, eq=False)
class Answers:
    """What a system answers.

    Attributes:
        test: (M,) predicted classes of the test part.
        validation: (V,) of the validation part.
        about: How it was chosen, JSON-able.
    """

    test: np.ndarray
    validation: np.ndarray
    about: dict[str, Any]


def svm(
    features: np.ndarray, data: FaceDataset, parts: Split, path: Path, name: str, seed: int = 0
) -> Answers:
    """Classify by a linear support vector machine, its C chosen on the validation part; kept in a file.

    Args:
        features: (N, features), one row per image of the dataset.
        data: The dataset.
        parts: Its split.
        path: Where the answers are kept.
        name: Of the features; a file of other features, images or parts is not used.
        seed: Of the solver.
    """
    key = f"{name} {data.checksum} {parts.checksum()} {seed}"
    if path.exists() and (kept := checkpoints.read(path))[1]["key"] == key:
        return Answers(kept[0]["test"].numpy(), kept[0]["validation"].numpy(), kept[1]["about"])
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    tried, best, scale = {}, None, features.shape[1]
    for strength in (0.1, 1.0, 10.0):
        machine = make_pipeline(StandardScaler(), LinearSVC(C=strength / scale, random_state=seed))
        machine.fit(features[parts.train], data.labels[parts.train])
        said = machine.predict(features[parts.validation])
        tried[strength] = float((said == data.labels[parts.validation]).mean())
        if tried[strength] == max(tried.values()):
            best = Answers(machine.predict(features[parts.test]), said, {"C": strength / scale})
    about = best.about | {"tried": {f"{c / scale:.2e}": score for c, score in tried.items()}}
    tensors = {"test": torch.from_numpy(best.test), "validation": torch.from_numpy(best.validation)}
    checkpoints.save(path, tensors, {"key": key, "about": about})
    return replace(best, about=about)
