"""What an explainer is given, a :class:`Case`, and what it returns, :class:`Maps`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fercore.shapley.tree import PartitionTree, build_tree

PER_REGION = 8  # evaluations per region of the methods whose budget is free


@dataclass(frozen=True, eq=False)
class Settings:
    """The settings of all explainers; each takes those that concern it.

    Attributes:
        depth: The image is halved so often; there are n = 2^depth regions.
        evaluations: Budget of the methods whose budget is free (DnCShap's default contexts, PartitionExplainer,
            KernelSHAP), in evaluations per image; None is 8n.
        times: Cuts of the published DnCShap (the paper's figures: 9), fewer where the image is too small.
        lime_samples: Samples of LIME; the authors' call has 2,000.
        lime_size: LIME finds its segments on images enlarged to this shorter side, in pixels; the authors': 224.
        gradient_samples: Samples of shap's GradientExplainer; the authors' call leaves its default of 200.
        steps: Steps of integrated gradients.
        background: (M, C, H, W) images that GradientExplainer draws its baselines from, of the training set.
        layer: Where Grad-CAM looks; by default the last layer whose output has at least 6 x 6 cells.
        batch_size: Rows per forward pass, at most.
        seed: Of everything random; no global random state is changed.
    """

    depth: int = 6
    evaluations: int | None = None
    times: int = 9
    lime_samples: int = 2000
    lime_size: int = 224
    gradient_samples: int = 200
    steps: int = 50
    background: Tensor | None = None
    layer: nn.Module | None = None
    batch_size: int = 64
    seed: int = 0

    @property
    def budget(self) -> int:
        """Evaluations per image where the budget is free."""
        return PER_REGION * 2**self.depth if self.evaluations is None else self.evaluations


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of N images, and what they cost.

    Attributes:
        name: Key of the method, see :data:`ferlab.explainers.METHODS`.
        values: (N, H, W) float64, signed, summed over colour channels: positive speaks for the class. Methods that are
            efficient sum to f(x) - f(black); the units of the others are their own.
        evaluations: (N,) int64, rows that the network has seen for each image.
        gradients: (N,) int64, rows that were differentiated, each besides its evaluation.
        seconds: (N,) float64, wall time of each image, explained by itself.
        hardware: The machine on which these seconds were measured, where it is known.
    """

    name: str
    values: np.ndarray
    evaluations: np.ndarray
    gradients: np.ndarray
    seconds: np.ndarray
    hardware: str = ""


class Watched(nn.Module):
    """A network, with the rows counted that pass forwards and backwards.

    Args:
        network: From (rows, C, H, W) to logits (rows, classes).
    """

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


class Case:
    """What is explained: the softmax probability of one class of each image, by a network that is watched.

    Attributes:
        model: The network.
        images: (N, C, H, W), where the network computes.
        targets: (N,) int64 classes.
        settings: The settings.
    """

    def __init__(self, model: Watched, images: Tensor, targets: np.ndarray, settings: Settings) -> None:
        self.model, self.images, self.targets, self.settings = model, images, targets, settings

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
        """Return (rows, classes) probabilities, differentiable."""
        return self.model(images).softmax(dim=1)

    def of_arrays(self, images: np.ndarray) -> np.ndarray:
        """Return (rows, classes) probabilities of an array (rows, H, W, C), without gradients."""
        with torch.inference_mode():
            rows = torch.from_numpy(np.ascontiguousarray(images)).to(self.images).permute(0, 3, 1, 2)
            parts = [self.probabilities(part) for part in rows.split(self.settings.batch_size)]
            return torch.cat(parts).cpu().numpy()


def spread(tree: PartitionTree, scores: np.ndarray) -> np.ndarray:
    """Spread scores (n,) of regions evenly over their pixels: float64 (H, W) with the same sum."""
    return (scores / tree.pixels(-1))[tree.labels()]


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
