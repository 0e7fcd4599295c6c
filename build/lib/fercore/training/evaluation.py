"""What a trained network says of images, and how often it is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# isort: split
from fercore import _torchvision  # noqa: F401  lets the next line pass

# isort: split
from torchvision.transforms.v2.functional import five_crop

from fercore.datasets.base import FaceDataset
from fercore.emotions import NAMES
from fercore.models import to_input


def classification(labels: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    """Score predicted classes.

    Args:
        labels: (N,) integers 0..6, the true classes; N at least 1.
        predictions: (N,) integers 0..6.

    Returns:
        ``images`` (N), ``accuracy``, ``macro_f1`` and ``balanced_accuracy`` (0..1, over the classes that occur),
        ``recall`` (class name -> 0..1, None where the class does not occur), ``confusion`` (7 x 7 counts; rows are
        true classes). All JSON-able.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    matrix = confusion_matrix(labels, predictions, labels=range(len(NAMES)))
    shown = matrix.sum(axis=1)
    present = np.flatnonzero(shown)
    recall = matrix.diagonal()[present] / shown[present]
    f1 = f1_score(labels, predictions, labels=present, average="macro", zero_division=0)
    return {
        "images": len(labels),
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(f1),
        "balanced_accuracy": float(recall.mean()),
        "recall": dict.fromkeys(NAMES) | {NAMES[k]: float(recall[j]) for j, k in enumerate(present)},
        "confusion": matrix.tolist(),
    }


def predict(
    model: nn.Module,
    images: np.ndarray,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    mirror: bool = False,
    crop: int = 0,
) -> Tensor:
    """Return the logits of all images; of several views of an image, the logarithms of their mean probabilities.

    Args:
        model: A network that takes (n, 3, H, W) float32 in 0..1.
        images: (N, H, W, 1 or 3) uint8.
        batch_size: Images per forward pass.
        device: Where to compute; the model's own device if None.
        mirror: Average over each image and its mirror image.
        crop: Average over the windows of this side in the four corners and the centre; 0 takes the whole image. With
            ``mirror`` this is the ten-crop rule (Krizhevsky et al. 2012, Section 4.1).

    Returns:
        (N, classes) float32 on the CPU.
    """
    device = device or next(model.parameters()).device
    training, logits = model.training, []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            whole = to_input(images[start : start + batch_size], device)
            views = five_crop(whole, [crop, crop]) if crop else (whole,)
            if mirror:
                views += tuple(view.flip(-1) for view in views)
            found = torch.stack([model(view).float() for view in views])
            found = found[0] if len(views) == 1 else found.log_softmax(-1).logsumexp(0) - math.log(len(views))
            logits.append(found.cpu())
    model.train(training)
    return torch.cat(logits)


def rules(size: tuple[int, int], crop: int = 0) -> dict[str, dict[str, int | bool]]:
    """Return the test-time rules that networks for images of this size allow, as options of :func:`predict`.

    They are ``""`` (one pass over the whole image), ``"mirrored"`` and, unless windows of ``crop`` pixels (0: five
    sixths of the smaller side) would change the size of the network's last map, ``"ten-crop"``.
    """
    side = crop or round(5 / 6 * min(size))
    found: dict[str, dict[str, int | bool]] = {"": {}, "mirrored": {"mirror": True}}
    if all(side // 32 == length // 32 for length in size):
        found["ten-crop"] = {"mirror": True, "crop": side}
    return found


def score(model: nn.Module, dataset: FaceDataset) -> dict[str, float]:
    """Return ``loss`` (mean cross-entropy, nats) and ``accuracy`` (0..1) of a network on a dataset."""
    logits, labels = predict(model, dataset.images), torch.from_numpy(dataset.labels)
    hits = (logits.argmax(1) == labels).float()
    return {"loss": F.cross_entropy(logits, labels).item(), "accuracy": hits.mean().item()}
