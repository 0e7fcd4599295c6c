"""VGG-16 and ResNet-50 from torchvision, the two known networks of the paper's ablation (Section 4.2, Table 1)."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, VGG16_BN_Weights, VGG16_Weights
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.vgg import VGG, cfgs, make_layers

from fercore.emotions import EMOTIONS
from fercore.models import check_size, scaled

# By name and whether the network normalises behind its convolutions.
IMAGENET = {
    ("vgg16", False): VGG16_Weights.IMAGENET1K_V1,
    ("vgg16", True): VGG16_BN_Weights.IMAGENET1K_V1,
    ("resnet50", False): ResNet50_Weights.IMAGENET1K_V2,
    ("resnet50", True): ResNet50_Weights.IMAGENET1K_V2,
}
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which these networks expect


class Normalised(nn.Module):
    """A network behind the normalisation it was designed for: (x - mean) / sd of ImageNet, channel by channel.

    Args:
        network: Takes normalised (N, 3, H, W) float32.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("sd", torch.tensor(_SD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, classes) logits of (N, 3, H, W) images in 0..1."""
        return self.network((images - self.mean) / self.sd)


def vgg16(
    width: float = 1.0,
    size: tuple[int, int] = (48, 48),
    classes: int = len(EMOTIONS),
    batch_norm: bool = False,
) -> nn.Module:
    """Build torchvision's VGG-16 (Simonyan & Zisserman 2015), narrowed by ``width``.

    torchvision pools every last map to 7 x 7. Below 224 pixels that would only repeat its few values, so the pool is
    to the map's own size there; at 224 pixels and width 1 the network is torchvision's own.

    Args:
        width: Multiplier of all channels and hidden units.
        size: Height and width of the images, at least 32 pixels.
        classes: Number of classes.
        batch_norm: Build ``vgg16_bn``.

    Raises:
        ValueError: If the width or the size is out of range.
    """
    check_size(width, size)
    channels = [count if count == "M" else scaled(count, width) for count in cfgs["D"]]
    network = VGG(make_layers(channels, batch_norm=batch_norm), num_classes=classes, init_weights=True)
    side = tuple(min(7, pixels // 32) for pixels in size)
    network.avgpool = nn.AdaptiveAvgPool2d(side)
    units = [scaled(512, width) * side[0] * side[1], scaled(4096, width), scaled(4096, width), classes]
    for place, (inputs, outputs) in zip((0, 3, 6), itertools.pairwise(units), strict=True):
        network.classifier[place] = _linear(inputs, outputs)
    return Normalised(network)


class _NarrowResNet(ResNet):
    """torchvision's ResNet with every stage narrowed; the stem keeps its 64 channels."""

    def __init__(self, width: float, classes: int) -> None:
        self.width_factor = width
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=classes)
        self.fc = nn.Linear(self.inplanes, classes)

    def _make_layer(self, block: Any, planes: int, *arguments: Any, **options: Any) -> nn.Sequential:
        return super()._make_layer(block, scaled(planes, self.width_factor), *arguments, **options)


def resnet50(width: float = 1.0, size: tuple[int, int] = (48, 48), classes: int = len(EMOTIONS)) -> nn.Module:
    """Build torchvision's ResNet-50 (He et al. 2016), its four stages narrowed by ``width``; at width 1 its own.

    Args:
        width: Multiplier of the channels of the four stages.
        size: Height and width of the images, at least 32 pixels.
        classes: Number of classes.

    Raises:
        ValueError: If the width or the size is out of range.
    """
    check_size(width, size)
    return Normalised(_NarrowResNet(width, classes))


def imagenet_weights(name: str, width: float, batch_norm: bool = False) -> dict[str, Tensor] | None:
    """Fetch ImageNet weights for ``"vgg16"`` or ``"resnet50"``, or say why the network starts from random ones.

    Args:
        name: Name of the network.
        width: Its width; only networks of width 1 have them.
        batch_norm: Whether VGG-16 normalises its batches.

    Returns:
        torchvision's weights, one tensor by name for each layer, from its cache or the internet; None for any other
        network or width, and where they cannot be had.
    """
    if (name, batch_norm) not in IMAGENET:
        return None
    if width != 1:
        print(f"pretrained=False: there are ImageNet weights of {name} for width 1 only, not for {width:g}.")
        return None
    try:
        return dict(IMAGENET[name, batch_norm].get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        print(f"pretrained=False: the ImageNet weights of {name} cannot be had ({error}).")
        return None


def start_from(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy into a backbone, in place, all weights that fit it: not the last layer, whose classes are others."""
    own = model.network.state_dict()
    fitting = {name: tensor for name, tensor in weights.items() if own[name].shape == tensor.shape}
    model.network.load_state_dict({**own, **fitting})


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer initialised as torchvision's VGG initialises its own."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, 0, 0.01)
    nn.init.zeros_(layer.bias)
    return layer
