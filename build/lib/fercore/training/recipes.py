"""How a network is trained: the paper's recipe (Section 4.1), and a stronger one for the same architecture."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from fercore.errors import UnknownNameError

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["plateau", "cosine"]
Precision = Literal["float32", "tf32", "bfloat16"]

_CHOICES = {"optimizer": Optimizer, "schedule": Schedule, "precision": Precision}
_KINDS = {"int": int, "float": (int, float), "bool": bool}
_RANGES = {  # lowest and highest value, both allowed
    **dict.fromkeys(("epochs", "batch_size"), (1, math.inf)),
    **dict.fromkeys(("label_smoothing", "shift", "erase", "averaging", "distillation"), (0, 1)),
    **dict.fromkeys(("rotation", "zoom", "mixup", "cutmix", "crop", "weight_decay"), (0, math.inf)),
    **dict.fromkeys(("stop", "patience", "warmup", "seed"), (0, math.inf)),
}


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of training; the defaults are the paper's where it states them (Section 4.1), else off.

    Attributes:
        name: What the recipe is called in records and names of files.
        epochs: Passes over the training images; the paper trains "up to 100".
        batch_size: Images per step; the paper uses 32 for FER2013 and 16 elsewhere.
        optimizer: ``"adam"`` (Kingma & Ba 2015; the paper's), ``"adamw"`` (Loshchilov & Hutter 2019) or ``"sgd"``
            (with Nesterov momentum of 0.9).
        lr: First learning rate (after the warm-up); the default is the upper end of the paper's range.
        min_lr: Last learning rate; the default is the lower end of the paper's range.
        schedule: ``"plateau"`` (the paper's) multiplies the learning rate by ``factor`` when the validation accuracy
            has not improved for more than ``patience`` epochs; ``"cosine"`` falls from ``lr`` to ``min_lr`` along half
            a cosine, step by step (Loshchilov & Hutter 2017).
        factor: Not stated in the paper.
        patience: Not stated in the paper.
        stop: End the training when the validation accuracy has not improved for this many epochs; 0 never does.
        warmup: Epochs in which the cosine schedule first climbs from 0 to ``lr``.
        weight_decay: Strength of the L2 penalty (decoupled in ``"adamw"``).
        label_smoothing: Probability mass spread evenly over all classes in the targets (Szegedy et al. 2016), 0..1.
        flip: Mirror half of the images at random: one of the released scripts does, the paper's text does not say.
        shift: Move images by up to this share of their side, each way.
        rotation: Turn images by up to this many degrees, each way.
        zoom: Scale images by a factor between 1 / (1 + zoom) and 1 + zoom, uniform in its logarithm.
        erase: Share of the images in which a random rectangle is blacked out (Zhong et al. 2020).
        mixup: Blend a batch with itself in another order, with a weight from Beta(mixup, mixup) (Zhang et al. 2018).
        crop: Side in pixels of random windows to train on; 0 takes whole images. It may not change the size of the
            network's last map (40 of 48 does not).
        cutmix: Take a rectangle of a batch from the batch in another order, its share of the area drawn from
            Beta(cutmix, cutmix) (Yun et al. 2019). Not together with mixup.
        batch_norm: Put batch normalisation behind every convolution of the network.
        dropout: Share of the hidden units that are dropped (Srivastava et al. 2014), of the proposed network and the
            baseline; torchvision's VGG-16 always drops half.
        distillation: Weight of a teacher's answers beside the labels (Hinton et al. 2015), 0..1.
        temperature: By which the logits of teacher and student are divided in distillation.
        averaging: Decay per step of the exponential moving average of the weights that is validated and kept in their
            place; in step t at most (1 + t) / (10 + t).
        mirror: Average the predicted probabilities over a test image and its mirror image.
        precision: ``"float32"``; ``"tf32"`` lets matrix products on a GPU round their inputs to 10 bits;
            ``"bfloat16"`` computes layers in mixed precision.
        seed: Seed of the initial weights, of the order of the images and of the augmentation.
    """

    name: str = "paper"
    epochs: int = 100
    batch_size: int = 32
    optimizer: Optimizer = "adam"
    lr: float = 8e-4
    min_lr: float = 8e-5
    schedule: Schedule = "plateau"
    factor: float = 0.5
    patience: int = 2
    stop: int = 0
    warmup: int = 0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    flip: bool = True
    shift: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    crop: int = 0
    cutmix: float = 0.0
    batch_norm: bool = False
    dropout: float = 0.0
    distillation: float = 0.0
    temperature: float = 1.0
    averaging: float = 0.0
    mirror: bool = False
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot train anything, by name."""
        for field in fields(self):
            name, kind, value = field.name, field.type, getattr(self, field.name)
            if name in _CHOICES and value not in (allowed := get_args(_CHOICES[name])):
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(allowed)}.")
            if kind in _KINDS:
                fits = isinstance(value, _KINDS[kind]) and isinstance(value, bool) == (kind == "bool")
                if not fits or not math.isfinite(value):
                    raise ValueError(f"{name}={value!r} must be a finite {kind}.")
            low, high = _RANGES.get(name, (value, value))
            if not low <= value <= high:
                raise ValueError(f"{name}={value} must lie in [{low}, {high}].")
        if not 0 < self.min_lr <= self.lr:
            raise ValueError(f"lr={self.lr} and min_lr={self.min_lr} must satisfy 0 < min_lr <= lr.")
        if not self.warmup < self.epochs:
            raise ValueError(f"warmup={self.warmup} must lie in [0, epochs - 1] = [0, {self.epochs - 1}].")
        if self.mixup and self.cutmix:
            raise ValueError(f"mixup={self.mixup} and cutmix={self.cutmix}: choose one of them.")
        if not (0 <= self.dropout < 1 and 0 < self.factor < 1 and self.temperature > 0):
            raise ValueError(
                f"dropout={self.dropout} must lie in [0, 1), factor={self.factor} in (0, 1), "
                f"temperature={self.temperature} above 0."
            )

    @property
    def moves(self) -> bool:
        """Whether images are shifted, turned, scaled or cropped, and so resampled."""
        return any((self.shift, self.rotation, self.zoom, self.crop))


STRONG = Recipe(
    name="strong",
    epochs=60,
    batch_size=128,
    optimizer="sgd",
    lr=0.1,
    min_lr=1e-4,
    schedule="cosine",
    warmup=2,
    weight_decay=5e-4,
    label_smoothing=0.1,
    shift=0.1,
    rotation=10.0,
    zoom=0.1,
    erase=0.25,
    batch_norm=True,
    averaging=0.998,
    mirror=True,
)
RECIPES = {"paper": Recipe(), "strong": STRONG}


def recipe(name: str, **changes: Any) -> Recipe:
    """Return a recipe by name, with some of its values changed.

    Args:
        name: ``"paper"`` or ``"strong"``.
        **changes: Values of :class:`Recipe`'s attributes.

    Raises:
        UnknownNameError: If there is no such recipe.
        ValueError: If a value is out of range, or there is none of its name.
    """
    if name not in RECIPES:
        raise UnknownNameError(f"There is no recipe {name!r}; choose one of {', '.join(RECIPES)}.")
    known = [field.name for field in fields(Recipe)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"A recipe has no {', '.join(unknown)}; it has {', '.join(known)}.")
    return replace(RECIPES[name], **changes)


def batch_size(dataset: str) -> int:
    """Return the batch size of Section 4.1: 32 for FER2013, 16 for every other dataset."""
    return 32 if dataset == "fer2013" else 16
