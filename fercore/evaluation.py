"""What a trained network says of images, and how often it is right."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.datasets.base import FaceDataset
from fercore.models import to_input


def predict(
    model: nn.Module,
    images: np.ndarray,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    mirror: bool = False,
) -> Tensor:
    """Return the logits of all images.

    Args:
        model: A network that takes (n, 3, H, W) float32 in 0..1.
        images: (N, H, W, 1 or 3) uint8.
        batch_size: Images per forward pass.
        device: Where to compute; the model's own device if None.
        mirror: Average the probabilities over each image and its mirror image, and return their logarithms.

    Returns:
        (N, classes) float32 on the CPU.
    """
    device = device or next(model.parameters()).device
    training, logits = model.training, []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            inputs = to_input(images[start : start + batch_size], device)
            found = model(inputs).float()
            if mirror:
                both = torch.stack([found, model(inputs.flip(-1)).float()])
                found = both.log_softmax(dim=-1).logsumexp(dim=0) - math.log(2)
            logits.append(found.cpu())
    model.train(training)
    return torch.cat(logits)


def score(model: nn.Module, dataset: FaceDataset) -> dict[str, float]:
    """Return ``loss`` (mean cross-entropy, nats) and ``accuracy`` (0..1) of a network on a dataset."""
    logits, labels = predict(model, dataset.images), torch.from_numpy(dataset.labels)
    return {
        "loss": F.cross_entropy(logits, labels).item(),
        "accuracy": (logits.argmax(1) == labels).float().mean().item(),
    }
