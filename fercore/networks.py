"""The four networks of the paper's Table 1, by name, with seeded initial weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fercore import backbones, models
from fercore.errors import UnknownNameError

OWN = {"proposed": models.ProposedNet, "baseline": models.BaselineNet}
BACKBONES = {"vgg16": backbones.vgg16, "resnet50": backbones.resnet50}
MODELS = (*OWN, *BACKBONES)


def build(
    name: str,
    fusion: models.Fusion = "concatenate",
    width: float = 1.0,
    size: tuple[int, int] = (48, 48),
    seed: int = 0,
    batch_norm: bool = False,
    pretrained: dict[str, Tensor] | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Build a network by name with seeded initial weights, channels-last in memory.

    Args:
        name: One of :data:`MODELS`.
        fusion: How the proposed network and the baseline join their branches; the others have none.
        width: Multiplier of all channels and hidden units (of ResNet-50: of its stages).
        size: Height and width of the images, at least 32 pixels.
        seed: Seed of the initial weights.
        batch_norm: Normalise behind every convolution. ResNet-50 always does.
        pretrained: Weights to start VGG-16 or ResNet-50 from, see :func:`fercore.backbones.imagenet_weights`.
        dropout: Share of the hidden units dropped in training, of the proposed network and the baseline.

    Returns:
        The network, from (N, 3, H, W) float32 in 0..1 to (N, 7) logits.

    Raises:
        UnknownNameError: If there is no such network; lists those that there are.
        ValueError: If an argument is out of range.
    """
    if name not in MODELS:
        raise UnknownNameError(f"There is no model {name!r}; choose one of {', '.join(MODELS)}.")
    if dropout and name not in OWN:
        raise ValueError(f"dropout={dropout} is an option of {' and '.join(OWN)}, not of {name}.")
    with torch.random.fork_rng(devices=[]):  # layers draw from the global generator when they are made
        torch.manual_seed(seed)
        if name in OWN:
            generator = torch.Generator().manual_seed(seed)
            own = {"generator": generator, "batch_norm": batch_norm, "dropout": dropout}
            model = OWN[name](fusion, width, size, **own)
        else:
            norm = {"batch_norm": batch_norm} if name == "vgg16" else {}
            model = BACKBONES[name](width, size, **norm)
    if pretrained is not None:
        backbones.start_from(model, pretrained)
    return model.to(memory_format=torch.channels_last)


def has_fusion(name: str) -> bool:
    """Whether a network joins branches, so that ``fusion`` says something about it."""
    return name in OWN


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
