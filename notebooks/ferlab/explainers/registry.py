"""All explainers by name, and the one call that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from fercore.errors import ModelOutputError, UnknownNameError
from fercore.shapley import PaperDnCShap, ReleasedDnCShap
from fercore.shapley.inputs import evaluation_mode
from ferlab.explainers import controls, regions
from ferlab.explainers.base import Case, Explain, Maps, Settings, Watched, seeded
from ferlab.explainers.gradients import grad_cam, gradient_shap, integrated_gradients


@dataclass(frozen=True)
class Method:
    """One explainer."""

    title: str  #: name for people
    prepare: Callable[[Case], Explain]  #: sets it up for a case, untimed, and returns what maps one image
    cost: str  #: of n regions in words, evaluations and, where there are any, gradients
    efficient: bool = False  #: whether the map sums to f(x) - f(black), whatever the network
    package: str = ""  #: what must be installed besides fercore, by its name for pip


_EXACT = "2(n² - 1)/3 + 2"
_PUBLISHED = "2n calls; distinct ones grow as √n"
METHODS: dict[str, Method] = {
    "dnc": Method("DnCShap", partial(regions.dnc, contexts="adaptive"), "8n, or as given", True),
    "dnc_both": Method("DnCShap, both", partial(regions.dnc, contexts="both"), "4n - 4", True),
    "dnc_exact": Method("DnCShap, exact", partial(regions.dnc, contexts="exact"), _EXACT, True),
    "dnc_printed": Method(
        "DnCShap, as printed", partial(regions.published, variant=PaperDnCShap), _PUBLISHED
    ),
    "dnc_released": Method(
        "DnCShap, as released", partial(regions.published, variant=ReleasedDnCShap), _PUBLISHED
    ),
    "partition": Method(
        "PartitionExplainer", regions.partition, f"as given; {_EXACT} to finish", True, "shap"
    ),
    "gradient_shap": Method(
        "GradientExplainer", gradient_shap, "samples, and as many gradients", package="shap"
    ),
    "kernel": Method("KernelSHAP", regions.kernel, "as given; 2ⁿ to finish", True, "shap"),
    "lime": Method("LIME", regions.lime, "samples", package="lime"),
    "grad_cam": Method("Grad-CAM", grad_cam, "1, and 1 gradient", package="captum"),
    "integrated_gradients": Method(
        "integrated gradients", integrated_gradients, "steps, and as many gradients", package="captum"
    ),
    "occlusion": Method("occlusion", regions.occlusion, "windows", package="captum"),
    "random": Method("random map", controls.random_map, "0"),
    "centre": Method("centre map", controls.centre, "0"),
}
CONTROLS = ("random", "centre")


def explain(
    name: str,
    model: nn.Module,
    images: Tensor,
    targets: np.ndarray | Tensor,
    settings: Settings | None = None,
    progress: bool = False,
) -> Maps:
    """Return maps of the softmax probability of ``targets`` (N,), a class for each of ``images`` (N, C, H, W).

    The model gives logits (rows, classes), and is left as it was. Hidden pixels are 0, black. Images are explained one
    by one, each with the same seed, so that no map depends on what else is explained."""
    from tqdm import tqdm

    if name not in METHODS:
        raise UnknownNameError(f"There is no explainer {name!r}; choose one of {', '.join(METHODS)}.")
    settings, title = settings or Settings(), METHODS[name].title
    chosen = np.asarray(torch.as_tensor(targets).cpu(), dtype=np.int64)
    if images.ndim != 4 or chosen.shape != (len(images),):
        raise ValueError(
            f"Images (N, C, H, W), a class for each, not {tuple(images.shape)} and {chosen.shape}."
        )
    case = Case(Watched(model), images.detach(), chosen, settings)
    values, seconds = np.empty((len(images), *images.shape[2:])), np.empty(len(images))
    rows, differentiated = np.empty((2, len(images)), dtype=np.int64)
    with evaluation_mode(model):
        with seeded(settings.seed):
            run = METHODS[name].prepare(case)
        for index in tqdm(range(len(images)), desc=title, unit="image", disable=not progress):
            case.model.rows = case.model.differentiated = 0
            start = time.perf_counter()
            with seeded(settings.seed):
                values[index] = run(index)
            seconds[index] = time.perf_counter() - start
            rows[index], differentiated[index] = case.model.rows, case.model.differentiated
    if bad := np.flatnonzero(~np.isfinite(values).all(axis=(1, 2))).tolist():
        raise ModelOutputError(f"{title}: the maps of images {bad} hold NaN or infinity.")
    return Maps(name, values, rows, differentiated, seconds)


def installed() -> list[str]:
    """Return the keys of the methods whose packages are installed."""
    return [name for name, method in METHODS.items() if not method.package or find_spec(method.package)]
