"""The paper's networks (Section 3.2, Figure 2; Section 4.2): a VGG-16 trunk whose blocks also feed the classifier."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from fercore.emotions import EMOTIONS

Fusion = Literal["concatenate", "add"]
TRUNK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # VGG-16's convolutions


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


def _convolution(inputs: int, outputs: int, batch_norm: bool) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=not batch_norm)
    return [layer, *([nn.BatchNorm2d(outputs)] if batch_norm else []), nn.ReLU(inplace=True)]


def _activation(dropout: float) -> nn.Module:
    """Return one module in either case, so that the layers behind it keep their names."""
    return nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(dropout)) if dropout else nn.ReLU(inplace=True)


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
        batch_norm: Put batch normalisation (Ioffe & Szegedy 2015) behind every convolution; the paper has none.
        dropout: Share of the hidden units dropped in training; the paper has none. Names of weights don't depend on it.

    Raises:
        ValueError: If an argument is out of range.
    """

    LEVELS: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)  # the blocks that a branch follows
    HIDDEN: ClassVar[int] = 2048  # units of the two hidden layers

    def __init__(
        self,
        fusion: Fusion = "concatenate",
        width: float = 1.0,
        size: tuple[int, int] = (48, 48),
        classes: int = len(EMOTIONS),
        generator: torch.Generator | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise ValueError(f"fusion={fusion!r}: choose one of {', '.join(get_args(Fusion))}.")
        check_size(width, size)
        self.fusion, self.width, self.size, self.batch_norm = fusion, width, tuple(size), batch_norm
        channels = [[scaled(count, width) for count in block] for block in TRUNK]
        last = channels[-1][-1]
        self.blocks, self.branches = nn.ModuleList(), nn.ModuleList()
        inputs = 3
        for level, block in enumerate(channels, start=1):
            layers: list[nn.Module] = []
            for outputs in block:
                layers += _convolution(inputs, outputs, batch_norm)
                inputs = outputs
            self.blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            if level in self.LEVELS:
                pools: list[nn.Module] = [nn.MaxPool2d(2) for _ in range(4 - level)]
                branch = _convolution(inputs, last, batch_norm)
                self.branches.append(nn.Sequential(*pools, *branch, nn.MaxPool2d(2)))
        maps = 1 if fusion == "add" else 1 + len(self.branches)
        features = maps * last * (size[0] // 32) * (size[1] // 32)
        hidden = scaled(self.HIDDEN, width)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(features, hidden), _activation(dropout)),
            *(nn.Linear(hidden, hidden), _activation(dropout)),
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
        branches, maps = iter(self.branches), []
        for level, block in enumerate(self.blocks, start=1):
            images = block(images)
            if level in self.LEVELS:
                maps.append(next(branches)(images))
        maps.append(images)
        fused = torch.cat(maps, dim=1) if self.fusion == "concatenate" else torch.stack(maps).sum(dim=0)
        return self.classifier(fused)


class BaselineNet(ProposedNet):
    """The paper's baseline (Section 4.2): residual branches "integrated with the last two blocks", two layers of 4,096.

    The paper does not draw it. The last two blocks that a branch can follow are B3 and B4, so these feed R3 and R4; all
    else is as in :class:`ProposedNet`, whose arguments it takes.
    """

    LEVELS = (3, 4)
    HIDDEN = 4096


def check_size(width: float, size: tuple[int, int]) -> None:
    """Refuse a width or an image size that no network of this module can be built for.

    Raises:
        ValueError: If the width lies outside (0, 4], or a side of the images is below 32 pixels.
    """
    if not 0 < width <= 4:
        raise ValueError(f"width={width} must lie in (0, 4].")
    if min(size) < 32:
        raise ValueError(f"size={size}: five max-pools need images of at least 32 x 32 pixels.")


def scaled(count: int, width: float) -> int:
    """Return a number of channels or units times the width, at least 4."""
    return max(4, round(count * width))


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw He-normal weights and zero biases (He et al. 2015); the paper does not name its initialisation.

    Without batch normalisation a plain 13-convolution trunk barely starts from smaller weights.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
