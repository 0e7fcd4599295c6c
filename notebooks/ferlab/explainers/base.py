"""What an explainer is given, a :class:`Case`, and what it returns, :class:`Maps`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fercore.shapley.tree import PartitionTree, build_tree

Explain = Callable[[int], np.ndarray]  # from the index of an image to its map, float64 (H, W)


@dataclass(frozen=True, eq=False)
class Settings:
    """The settings of all explainers; each takes those that concern it."""

    depth: int = 6  #: the image is halved so often; there are n = 2^depth regions
    evaluations: int | None = None  #: per image, where a method's budget is free; None is 8n
    times: int = 9  #: cuts of the published DnCShap, the paper's; fewer where the image is too small
    lime_samples: int = 2000  #: the authors' number
    lime_size: int = 224  #: LIME finds its segments at this shorter side, in pixels; the authors'
    gradient_samples: int = 200  #: of GradientExplainer; shap's default, which the authors leave
    steps: int = 50  #: of integrated gradients
    background: Tensor | None = None  #: (M, C, H, W) training images, GradientExplainer's baselines
    layer: nn.Module | None = None  #: where Grad-CAM looks; None is the last of at least 6 x 6 cells
    batch_size: int = 64  #: rows per forward pass, at most
    seed: int = 0  #: of everything random; no global random state is changed

    @property
    def budget(self) -> int:
        """Evaluations per image where the budget is free."""
        return 8 * 2**self.depth if self.evaluations is None else self.evaluations


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of N images by one method, and what they cost."""

    name: str  #: key of the method
    #: (N, H, W) float64, signed, summed over channels; positive speaks for the class. Methods that are efficient sum to
    #: f(x) - f(black), the units of the others are their own.
    values: np.ndarray
    evaluations: np.ndarray  #: (N,) int64, rows that the network has seen for each image
    gradients: np.ndarray  #: (N,) int64, rows that were differentiated, each besides its evaluation
    seconds: np.ndarray  #: (N,) float64, wall time of each image, explained by itself
    hardware: str = ""  #: the machine on which these seconds were measured, where it is known


class Watched(nn.Module):
    """A network from (rows, C, H, W) to logits (rows, classes), with the rows counted that pass both ways."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.rows = self.differentiated = 0
        self.training = False  # the network's own mode is not this module's business

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        # Convolutions on a CPU are about 1.6 times faster on channels-last inputs.
        layout = torch.channels_last if images.device.type == "cpu" else torch.contiguous_format
        self.rows += len(images)
        logits = self.network(images.contiguous(memory_format=layout))
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.differentiated += len(gradient)


@dataclass(frozen=True, eq=False)
class Case:
    """What is explained: the softmax probability of one class of each image, by a network that is watched."""

    model: Watched
    images: Tensor  #: (N, C, H, W), where the network computes
    targets: np.ndarray  #: (N,) int64 classes
    settings: Settings

    def image(self, index: int) -> Tensor:
        """Return one image (1, C, H, W) that shares no memory with the caller's."""
        return self.images[index : index + 1].clone()

    def target(self, index: int) -> int:
        """Return its class."""
        return int(self.targets[index])

    def tree(self) -> PartitionTree:
        """Return the partition tree of the images."""
        return build_tree(*self.images.shape[2:], self.settings.depth)

    def probabilities(self, images: Tensor) -> Tensor:
        """Return (rows, classes) probabilities of images (rows, C, H, W), differentiable."""
        return self.model(images).softmax(dim=1)

    def attribution(self, explainer: Any, index: int, **about: Any) -> Tensor:
        """Return what an explainer of captum makes of one image, with all gradients cut off."""
        return explainer.attribute(self.image(index), target=self.target(index), **about).detach()

    def of_arrays(self, images: np.ndarray) -> np.ndarray:
        """Return (rows, classes) probabilities of an array (rows, H, W, C), without gradients."""
        with torch.inference_mode():
            rows = torch.from_numpy(np.ascontiguousarray(images)).to(self.images).permute(0, 3, 1, 2)
            parts = [self.probabilities(part) for part in rows.split(self.settings.batch_size)]
            return torch.cat(parts).cpu().numpy()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that shap, lime and captum draw from, and put them back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
