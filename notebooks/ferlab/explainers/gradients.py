"""Explainers that differentiate the network. As in ``regions``, each function prepares a method for a case."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fercore.errors import ModelOutputError
from ferlab.explainers.base import Case, Explain

CELLS = 6  # Grad-CAM's own maps have 7 x 7 (ResNet) or 14 x 14 (VGG-16), at 224 pixels


class _OfClass(nn.Module):
    """The probability of one class, (rows, 1). No submodule: shap clears the gradients of the module it is given."""

    def __init__(self, probabilities: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.probabilities, self.target = probabilities, 0

    def forward(self, images: Tensor) -> Tensor:
        return self.probabilities(images)[:, self.target : self.target + 1]


def gradient_shap(case: Case) -> Explain:
    """Prepare ``shap.GradientExplainer``, which the authors' code calls SHAP; channels are summed, as there."""
    import shap

    settings, background = case.settings, case.settings.background
    if background is None:
        raise ValueError("GradientExplainer draws its baselines from images: give Settings(background=...).")
    model, baselines = _OfClass(case.probabilities), background.to(case.images).contiguous()
    explainer = shap.GradientExplainer(model, baselines, batch_size=settings.batch_size)

    def run(index: int) -> np.ndarray:
        model.target = case.target(index)
        drawn = {"nsamples": settings.gradient_samples, "rseed": settings.seed}
        with torch.enable_grad():
            found = np.asarray(explainer.shap_values(case.image(index), **drawn))
        return found.reshape(case.images.shape[1:]).sum(axis=0)

    return run


def integrated_gradients(case: Case) -> Explain:
    """Prepare captum's IntegratedGradients from black."""
    from captum.attr import IntegratedGradients

    explainer, chosen = IntegratedGradients(case.probabilities), case.settings
    about = {"baselines": 0.0, "n_steps": chosen.steps, "internal_batch_size": chosen.batch_size}

    def run(index: int) -> np.ndarray:
        return case.attribution(explainer, index, **about)[0].double().sum(dim=0).cpu().numpy()

    return run


def grad_cam(case: Case) -> Explain:
    """Prepare captum's LayerGradCam: rectified, as in the paper, and enlarged bilinearly."""
    from captum.attr import LayerAttribution, LayerGradCam

    layer = case.settings.layer or last_layer(case.model.network, case.images[:1])
    explainer, size = LayerGradCam(case.probabilities, layer), tuple(case.images.shape[2:])

    def run(index: int) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum warns that it sets requires_grad on a copy
            found = case.attribution(explainer, index, relu_attributions=True)
        return LayerAttribution.interpolate(found, size, "bilinear")[0, 0].double().cpu().numpy()

    return run


def last_layer(network: nn.Module, image: Tensor) -> nn.Module:
    """Return the last layer whose output for an image (1, C, H, W) still has 6 x 6 cells, else the last of the finest.

    Layers count in the order in which they end, if they run once."""
    found: list[tuple[int, nn.Module]] = []

    def note(layer: nn.Module, _: tuple, output: Tensor) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found.append((min(output.shape[2:]), layer))

    with contextlib.ExitStack() as hooks, torch.no_grad():
        for layer in list(network.modules())[1:]:
            hooks.enter_context(layer.register_forward_hook(note))
        network(image)
    runs = Counter(layer for _, layer in found)
    once = [(side, layer) for side, layer in found if runs[layer] == 1]
    if not once:
        raise ModelOutputError("Grad-CAM needs a layer whose output has rows and columns; there is none.")
    least = min(CELLS, max(side for side, _ in once))
    return [layer for side, layer in once if side >= least][-1]
