"""The paper's network (Section 3.2, Figure 2): a VGG-16 trunk whose every block also feeds the classifier directly."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from fercore.emotions import EMOTIONS
from fercore.errors import UnknownNameError

Fusion = Literal["concatenate", "add"]
TRUNK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # VGG-16's convolutions
HIDDEN = 2048


def to_input(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Turn images into what the networks take.

    Args:
        images: (N, H, W, 1 or 3) uint8 in 0..255; grey images are repeated to three channels.
        device: Where to put the tensor.

    Returns:
        (N, 3, H, W) float32 in 0..1, channels-last in memory (1.6 times faster on a CPU).
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    tensor = tensor.to(torch.float32).div_(255.0)
    return tensor.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.ReLU(inplace=True)]


class ProposedNet(nn.Module):
    """The proposed network: blocks B1 to B5 with residual branches R1 to R4 (paper, Section 3.2).

    ``R_l`` follows block ``B_l`` and brings its output down to the size of B5's: 5 - l max-pools and one 3 x 3
    convolution to 512 channels. The paper leaves their order open; as in the released code the last pool comes after
    the convolution, which at 48 pixels keeps the convolution on a 3 x 3 map where 8 of its 9 taps would else see
    padding alone. The paper's text **concatenates** B5 and the branches, its released code **adds** them.

    Args:
        fusion: ``"concatenate"`` (the text) or ``"add"`` (the released code).
        width: Multiplier of every number of channels and hidden units, for small machines; the paper's is 1.
        size: Height and width of the images in pixels, at least 32.
        classes: Number of classes.
        generator: Source of the initial weights; the global generator if None.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        fusion: Fusion = "concatenate",
        width: float = 1.0,
        size: tuple[int, int] = (48, 48),
        classes: int = len(EMOTIONS),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise ValueError(f"fusion={fusion!r}: choose one of {', '.join(get_args(Fusion))}.")
        if not 0 < width <= 4:
            raise ValueError(f"width={width} must lie in (0, 4].")
        if min(size) < 32:
            raise ValueError(f"size={size}: five max-pools need images of at least 32 x 32 pixels.")
        self.fusion, self.width, self.size = fusion, width, tuple(size)
        channels = [[_scaled(count, width) for count in block] for block in TRUNK]
        last = channels[-1][-1]
        self.blocks, self.branches = nn.ModuleList(), nn.ModuleList()
        inputs = 3
        for level, block in enumerate(channels, start=1):
            layers: list[nn.Module] = []
            for outputs in block:
                layers += _convolution(inputs, outputs)
                inputs = outputs
            self.blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            if level < len(channels):
                pools: list[nn.Module] = [nn.MaxPool2d(2) for _ in range(4 - level)]
                self.branches.append(nn.Sequential(*pools, *_convolution(inputs, last), nn.MaxPool2d(2)))
        maps = 1 if fusion == "add" else 1 + len(self.branches)
        features = maps * last * (size[0] // 32) * (size[1] // 32)
        hidden = _scaled(HIDDEN, width)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(features, hidden), nn.ReLU(inplace=True)),
            *(nn.Linear(hidden, hidden), nn.ReLU(inplace=True)),
            nn.Linear(hidden, classes),
        )
        initialise(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores before the softmax.

        Args:
            images: (N, 3, H, W) float32 in 0..1.

        Returns:
            (N, classes) logits.
        """
        maps = []
        for level, block in enumerate(self.blocks):
            images = block(images)
            if level < len(self.branches):
                maps.append(self.branches[level](images))
        maps.append(images)
        fused = torch.cat(maps, dim=1) if self.fusion == "concatenate" else torch.stack(maps).sum(dim=0)
        return self.classifier(fused)


def _scaled(count: int, width: float) -> int:
    return max(4, round(count * width))


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw He-normal weights and zero biases (He et al. 2015); the paper does not name its initialisation.

    Without batch normalisation a plain 13-convolution trunk barely starts from smaller weights.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)


MODELS = {"proposed": ProposedNet}


def build(
    name: str,
    fusion: Fusion = "concatenate",
    width: float = 1.0,
    size: tuple[int, int] = (48, 48),
    seed: int = 0,
) -> nn.Module:
    """Build a network by name with seeded initial weights, channels-last in memory.

    Raises:
        UnknownNameError: If there is no such network; lists those that there are.
        ValueError: If an argument is out of range.
    """
    if name not in MODELS:
        raise UnknownNameError(f"There is no model {name!r}; choose one of {', '.join(sorted(MODELS))}.")
    generator = torch.Generator().manual_seed(seed)
    model = MODELS[name](fusion=fusion, width=width, size=size, generator=generator)
    return model.to(memory_format=torch.channels_last)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
