"""Explainers that differentiate the network. As in ``regions``, each function prepares a method for a case."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fercore.errors import ModelOutputError
from ferlab.explainers.base import Case
from ferlab.explainers.regions import Explain

CELLS = 6  # Grad-CAM's own maps have 7 x 7 (ResNet) or 14 x 14 cells (VGG-16), at 224 pixels


class _OfClass(nn.Module):
    """The probability of one class, (rows, 1), for shap.

    The network is reached through a function, not a submodule: shap clears the gradients of the module it is given.
    """

    def __init__(self, probabilities: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.probabilities, self.target = probabilities, 0

    def forward(self, images: Tensor) -> Tensor:
        return self.probabilities(images)[:, self.target : self.target + 1]


def gradient_shap(case: Case) -> Explain:
    """Prepare ``shap.GradientExplainer``, which the authors' code calls SHAP; channels are summed, as there.

    Raises:
        ValueError: If the settings hold no background images.
    """
    import shap

    background = case.settings.background
    if background is None:
        raise ValueError("GradientExplainer draws its baselines from images: give Settings(background=...).")
    model = _OfClass(case.probabilities)
    explainer = shap.GradientExplainer(
        model, background.to(case.images).contiguous(), batch_size=case.settings.batch_size
    )
    about = {"nsamples": case.settings.gradient_samples, "rseed": case.settings.seed}

    def run(index: int) -> np.ndarray:
        model.target = case.target(index)
        with torch.enable_grad():
            found = np.asarray(explainer.shap_values(case.image(index), **about))
        return found.reshape(case.images.shape[1:]).sum(axis=0)

    return run


def integrated_gradients(case: Case) -> Explain:
    """Prepare captum's IntegratedGradients from black."""
    from captum.attr import IntegratedGradients

    explainer = IntegratedGradients(case.probabilities)
    settings = {"n_steps": case.settings.steps, "internal_batch_size": case.settings.batch_size}

    def run(index: int) -> np.ndarray:
        found = explainer.attribute(
            case.image(index), baselines=0.0, target=case.target(index), **settings
        ).detach()
        return found[0].double().sum(dim=0).cpu().numpy()

    return run


def grad_cam(case: Case) -> Explain:
    """Prepare captum's LayerGradCam: rectified, as in the paper, and enlarged bilinearly."""
    from captum.attr import LayerAttribution, LayerGradCam

    layer = case.settings.layer or last_layer(case.model.network, case.images[:1])
    explainer = LayerGradCam(case.probabilities, layer)
    size = tuple(case.images.shape[2:])

    def run(index: int) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum warns that it sets requires_grad on a copy
            found = explainer.attribute(
                case.image(index), target=case.target(index), relu_attributions=True
            ).detach()
        return LayerAttribution.interpolate(found, size, "bilinear")[0, 0].double().cpu().numpy()

    return run


def last_layer(network: nn.Module, image: Tensor, cells: int = CELLS) -> nn.Module:
    """Find the last layer that still knows where things are.

    Of the layers that run once, in the order in which they end, it is the last whose output (1, channels, h, w) has at
    least ``cells`` cells a side; if there is none, the last of those with the finest output. In the proposed network at
    48 pixels it is the last one before B4's pool, which B5 and the branch R4 share.

    Args:
        network: The network.
        image: (1, C, H, W), any image of the right size.
        cells: Smallest side of the output.

    Raises:
        ModelOutputError: If no layer's output has rows and columns.
    """
    found: list[tuple[int, nn.Module]] = []

    def note(layer: nn.Module, _: tuple, output: Tensor) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found.append((min(output.shape[2:]), layer))

    hooks = [layer.register_forward_hook(note) for layer in network.modules() if layer is not network]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    runs = Counter(id(layer) for _, layer in found)
    found = [(side, layer) for side, layer in found if runs[id(layer)] == 1]
    if not found:
        raise ModelOutputError(
            "Grad-CAM needs a layer whose output has rows and columns; this network has none."
        )
    least = min(cells, max(side for side, _ in found))
    return [layer for side, layer in found if side >= least][-1]
