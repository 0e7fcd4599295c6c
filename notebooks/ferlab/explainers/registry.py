"""All explainers by name, and the one call that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from fercore.errors import ModelOutputError, UnknownNameError
from fercore.shapley import PaperDnCShap, ReleasedDnCShap
from fercore.shapley.inputs import evaluation_mode
from ferlab.explainers import controls, gradients, regions
from ferlab.explainers.base import Case, Maps, Settings, Watched, seeded
from ferlab.explainers.regions import Explain


@dataclass(frozen=True)
class Method:
    """One explainer.

    Attributes:
        title: Name for people.
        prepare: Sets it up for a case, untimed, and returns what maps one image.
        cost: What it costs for n regions, in words: evaluations, and gradients where there are any.
        efficient: Whether the map sums to f(x) - f(black), whatever the network.
        package: What must be installed besides fercore, by its name for pip.
    """

    title: str
    prepare: Callable[[Case], Explain]
    cost: str
    efficient: bool = False
    package: str = ""


METHODS: dict[str, Method] = {
    "dnc": Method("DnCShap", partial(regions.dnc, contexts="adaptive"), "8n, or as given", True),
    "dnc_both": Method("DnCShap, both", partial(regions.dnc, contexts="both"), "4n - 4", True),
    "dnc_exact": Method("DnCShap, exact", partial(regions.dnc, contexts="exact"), "2(n² - 1)/3 + 2", True),
    "dnc_printed": Method(
        "DnCShap, as printed",
        partial(regions.published, variant=PaperDnCShap),
        "2n calls; distinct ones grow as √n",
    ),
    "dnc_released": Method(
        "DnCShap, as released",
        partial(regions.published, variant=ReleasedDnCShap),
        "2n calls; distinct ones grow as √n",
    ),
    "partition": Method(
        "PartitionExplainer", regions.partition, "as given; 2(n² - 1)/3 + 2 to finish", True, "shap"
    ),
    "gradient_shap": Method(
        "GradientExplainer", gradients.gradient_shap, "samples, and as many gradients", package="shap"
    ),
    "kernel": Method("KernelSHAP", regions.kernel, "as given; 2ⁿ to finish", True, "shap"),
    "lime": Method("LIME", regions.lime, "samples", package="lime"),
    "grad_cam": Method("Grad-CAM", gradients.grad_cam, "1, and 1 gradient", package="captum"),
    "integrated_gradients": Method(
        "integrated gradients",
        gradients.integrated_gradients,
        "steps, and as many gradients",
        package="captum",
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
    """Explain the softmax probability of a class of each image; hidden pixels are black unless the method says else.

    Images are explained one by one, each with the same seed, so a map does not depend on what else is explained, and
    times are those of single images. The network runs in evaluation mode and is left as it was: modes, gradients and
    hooks.

    Args:
        name: A key of :data:`METHODS`.
        model: From (rows, C, H, W) to logits (rows, classes).
        images: (N, C, H, W) float, where the network computes, in its value range; black is 0.
        targets: (N,) integers, the classes; as a rule those that the network predicts for the whole images.
        settings: The settings; the defaults if None.
        progress: Show a bar.

    Returns:
        The maps and what they cost.

    Raises:
        UnknownNameError: If there is no such method; lists them.
        ValueError: If images and targets do not fit together, or the images are too small for the depth.
        ModelOutputError: If a map holds NaN or infinity.
        ImportError: If the method's package is not installed.
    """
    if name not in METHODS:
        raise UnknownNameError(f"There is no explainer {name!r}; choose one of {', '.join(METHODS)}.")
    settings = settings or Settings()
    chosen = np.asarray(torch.as_tensor(targets).cpu(), dtype=np.int64)
    if images.ndim != 4 or chosen.shape != (len(images),):
        raise ValueError(
            f"Give images (N, C, H, W) and a class for each, not {tuple(images.shape)} and {chosen.shape}."
        )
    case = Case(Watched(model), images.detach(), chosen, settings)
    with evaluation_mode(model):
        with seeded(settings.seed):
            run = METHODS[name].prepare(case)
        done = [_one(case, run, index) for index in _bar(len(images), METHODS[name].title, progress)]
    values = np.reshape([row[0] for row in done], (len(images), *images.shape[2:])).astype(np.float64)
    if bad := np.flatnonzero(~np.isfinite(values).all(axis=(1, 2))).tolist():
        raise ModelOutputError(f"{METHODS[name].title}: the maps of images {bad} hold NaN or infinity.")
    rows, gradient_rows = (np.array([row[i] for row in done], dtype=np.int64) for i in (1, 2))
    return Maps(name, values, rows, gradient_rows, np.array([row[3] for row in done], dtype=np.float64))


def installed() -> list[str]:
    """Return the keys of the methods whose packages are installed."""
    return [name for name, method in METHODS.items() if not method.package or find_spec(method.package)]


def _one(case: Case, run: Explain, index: int) -> tuple[np.ndarray, int, int, float]:
    """Map one image: its map, rows, differentiated rows and seconds."""
    case.model.rows = case.model.differentiated = 0
    start = time.perf_counter()
    with seeded(case.settings.seed):
        values = run(index)
    return values, case.model.rows, case.model.differentiated, time.perf_counter() - start


def _bar(count: int, title: str, progress: bool) -> Iterable[int]:
    from tqdm import tqdm

    return tqdm(range(count), desc=title, unit="image", disable=not progress)
