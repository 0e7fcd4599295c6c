"""The four networks of the paper's Table 1, by name, with seeded initial weights."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

# isort: split
from fercore import _torchvision  # noqa: F401  lets the next lines pass

# isort: split
from torchvision.models import ResNet50_Weights, VGG16_BN_Weights, VGG16_Weights
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.vgg import VGG, cfgs, make_layers
from torchvision.ops import Conv2dNormActivation

from fercore.emotions import EMOTIONS
from fercore.errors import UnknownNameError

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
        _check_size(width, size)
        self.fusion, self.width, self.size, self.batch_norm = fusion, width, tuple(size), batch_norm
        norm = nn.BatchNorm2d if batch_norm else None
        convolution = partial(Conv2dNormActivation, kernel_size=3, norm_layer=norm)
        last = _scaled(TRUNK[-1][-1], width)
        self.blocks, self.branches = nn.ModuleList(), nn.ModuleList()
        inputs = 3
        for level, block in enumerate(TRUNK, start=1):
            layers: list[nn.Module] = []
            for outputs in (_scaled(count, width) for count in block):
                layers += convolution(inputs, outputs)
                inputs = outputs
            self.blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            if level in self.LEVELS:
                pools = [nn.MaxPool2d(2) for _ in range(4 - level)]
                self.branches.append(nn.Sequential(*pools, *convolution(inputs, last), nn.MaxPool2d(2)))
        maps = 1 if fusion == "add" else 1 + len(self.branches)
        features = maps * last * (size[0] // 32) * (size[1] // 32)
        hidden = _scaled(self.HIDDEN, width)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(features, hidden), _activation(dropout)),
            *(nn.Linear(hidden, hidden), _activation(dropout)),
            nn.Linear(hidden, classes),
        )
        # He-normal weights and zero biases (He et al. 2015), of which the paper says nothing: without batch
        # normalisation a plain trunk of 13 convolutions barely starts from smaller weights.
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, classes) logits, before the softmax, of (N, 3, H, W) float32 images in 0..1."""
        maps = []
        for level, block in enumerate(self.blocks, start=1):
            images = block(images)
            if level in self.LEVELS:
                maps.append(self.branches[len(maps)](images))
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


def _check_size(width: float, size: tuple[int, int]) -> None:
    """Refuse a width or an image size that no network of this module can be built for."""
    if not 0 < width <= 4:
        raise ValueError(f"width={width} must lie in (0, 4].")
    if min(size) < 32:
        raise ValueError(f"size={size}: five max-pools need images of at least 32 x 32 pixels.")


def _scaled(count: int, width: float) -> int:
    """Return a number of channels or units times the width, at least 4."""
    return max(4, round(count * width))


class Normalised(nn.Module):
    """A network of ImageNet behind the normalisation it expects: (x - mean) / sd of (N, 3, H, W) in 0..1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("sd", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, classes) logits of (N, 3, H, W) images in 0..1."""
        return self.network((images - self.mean) / self.sd)


def vgg16(width: float = 1.0, size: tuple[int, int] = (48, 48), batch_norm: bool = False) -> nn.Module:
    """Build torchvision's VGG-16 (Simonyan & Zisserman 2015) or ``vgg16_bn``, narrowed by ``width``.

    torchvision pools every last map to 7 x 7. Below 224 pixels that would only repeat its few values, so the pool is
    to the map's own size there; at 224 pixels and width 1 the network is torchvision's own.
    """
    _check_size(width, size)
    classes = len(EMOTIONS)
    channels = [count if count == "M" else _scaled(count, width) for count in cfgs["D"]]
    network = VGG(make_layers(channels, batch_norm=batch_norm), num_classes=classes, init_weights=True)
    side = tuple(min(7, pixels // 32) for pixels in size)
    network.avgpool = nn.AdaptiveAvgPool2d(side)
    units = [_scaled(512, width) * side[0] * side[1], *[_scaled(4096, width)] * 2, classes]
    for place, (inputs, outputs) in zip((0, 3, 6), itertools.pairwise(units), strict=True):
        network.classifier[place] = layer = nn.Linear(inputs, outputs)
        nn.init.normal_(layer.weight, 0, 0.01)  # as torchvision's own
        nn.init.zeros_(layer.bias)
    return Normalised(network)


class _NarrowResNet(ResNet):
    """torchvision's ResNet-50 with every stage narrowed; the stem keeps its 64 channels."""

    def __init__(self, width: float) -> None:
        self.width_factor = width
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=len(EMOTIONS))
        self.fc = nn.Linear(self.inplanes, len(EMOTIONS))

    def _make_layer(self, block: Any, planes: int, *arguments: Any, **options: Any) -> nn.Sequential:
        return super()._make_layer(block, _scaled(planes, self.width_factor), *arguments, **options)


def resnet50(width: float = 1.0, size: tuple[int, int] = (48, 48)) -> nn.Module:
    """Build torchvision's ResNet-50 (He et al. 2016), its four stages narrowed by ``width``; at width 1 its own."""
    _check_size(width, size)
    return Normalised(_NarrowResNet(width))


OWN = {"proposed": ProposedNet, "baseline": BaselineNet}
MODELS = (*OWN, "vgg16", "resnet50")


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
    vgg = VGG16_BN_Weights if batch_norm else VGG16_Weights
    known = {"vgg16": vgg.IMAGENET1K_V1, "resnet50": ResNet50_Weights.IMAGENET1K_V2}
    if name not in known:
        return None
    if width != 1:
        print(f"pretrained=False: there are ImageNet weights of {name} for width 1 only, not for {width:g}.")
        return None
    try:
        return dict(known[name].get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        print(f"pretrained=False: the ImageNet weights of {name} cannot be had ({error}).")
        return None


def build(
    name: str,
    fusion: Fusion = "concatenate",
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
        pretrained: Weights to start VGG-16 or ResNet-50 from, see :func:`fercore.models.imagenet_weights`.
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
        if name == "vgg16":
            model = vgg16(width, size, batch_norm)
        elif name == "resnet50":
            model = resnet50(width, size)
        else:
            options = {"generator": torch.Generator().manual_seed(seed), "dropout": dropout}
            model = OWN[name](fusion, width, size, batch_norm=batch_norm, **options)
    if pretrained is not None:  # all that fits: not the last layer, whose classes are others
        own = model.network.state_dict()
        fitting = {n: tensor for n, tensor in pretrained.items() if own[n].shape == tensor.shape}
        model.network.load_state_dict(fitting, strict=False)
    return model.to(memory_format=torch.channels_last)


def has_fusion(name: str) -> bool:
    """Whether a network joins branches, so that ``fusion`` says something about it."""
    return name in OWN


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
