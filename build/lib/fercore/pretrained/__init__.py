"""A small network trained on FER2013 that comes with the package, so that anybody can explain a real classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fercore import checkpoints, models

DATASET = "fer2013"
WEIGHTS = Path(__file__).with_name("data") / "fer2013.safetensors"
CARD = WEIGHTS.with_name("model-card.md")


def about() -> dict[str, Any]:
    """Return how the network came about: ``setting``, ``history``, ``key``, ``hardware``, ``ceiling``, checksums."""
    return checkpoints.read(WEIGHTS)[1]


def load_pretrained(device: torch.device | str = "cpu") -> nn.Module:
    """Return the shipped FER2013 network, ready to classify and to explain.

    The paper's proposed network at a quarter of its width, trained by the ``strong`` recipe on FER2013's Training part
    and chosen on PublicTest. ``data/model-card.md`` beside this file says how good it is and what it is not for.

    Args:
        device: Where to put the network.

    Returns:
        A :class:`fercore.models.ProposedNet` in evaluation mode. It takes (N, 3, 48, 48) float32 in 0..1 (grey images
        three times over, as :func:`fercore.models.to_input` makes them) and returns (N, 7) logits in the order of
        :data:`fercore.EMOTIONS`.

    Raises:
        CheckpointError: If the file in the package is damaged, or holds the weights of another network.

    Example:
        >>> from fercore import load_pretrained
        >>> load_pretrained().width
        0.25
    """
    tensors, said = checkpoints.read(WEIGHTS)
    setting = said["setting"]
    kind = setting["model"], setting["fusion"], setting["width"]
    model = models.build(*kind, batch_norm=setting["recipe"]["batch_norm"])
    checkpoints.restore(WEIGHTS, model, tensors)
    return model.to(device).eval()
