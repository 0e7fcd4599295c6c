"""What the chapters of the course share: which face they explain, and how it goes into the network."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from fercore import evaluation, models
from fercore.datasets import splits
from fercore.datasets.base import FaceDataset
from fercore.emotions import Emotion
from fercore.errors import FercoreError

CERTAIN = 0.9  # a face that is explained should be one that the network is sure of


def example(dataset: FaceDataset, network: nn.Module, emotion: Emotion = Emotion.HAPPY) -> int:
    """Find a face that the network recognises: the first of an emotion with a probability of at least 0.9.

    Only test images of the dataset's own protocol are looked at, and no copies of training images.

    Args:
        dataset: Faces as :func:`fercore.datasets.load` returns them.
        network: Classifier with seven outputs (logits).
        emotion: The true emotion of the face.

    Returns:
        Its index in the dataset.

    Raises:
        FercoreError: If the network recognises no face of this emotion.
    """
    parts = splits.split(dataset, None, 0, 0)
    kept = parts.test[~splits.duplicates(dataset, parts)]
    candidates = kept[dataset.labels[kept] == emotion]
    logits = evaluation.predict(network, dataset.images[candidates])
    probabilities = torch.softmax(logits.double(), dim=1)[:, emotion].numpy()
    certain = np.flatnonzero(probabilities >= CERTAIN)
    if not len(certain):
        raise FercoreError(
            f"No {emotion.title.lower()} face among the test images of {dataset.title} is recognised with a "
            f"probability of {CERTAIN} or more; choose another emotion."
        )
    return int(candidates[certain[0]])


def as_input(dataset: FaceDataset, index: int) -> torch.Tensor:
    """Return one face as the networks take it, a float tensor (1, C, H, W) with values from 0 to 1."""
    return models.to_input(dataset.images[index : index + 1])
