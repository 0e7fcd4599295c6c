"""Explainers that hide parts of the image and look at what the network then says.

Each function prepares a method for a case, untimed, and returns what maps one of its images: from the index to a
float64 map (H, W).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional as F

from fercore.shapley import DnCShap, PaperDnCShap, ReleasedDnCShap
from fercore.shapley.game import ImageGame
from ferlab.explainers import rivals
from ferlab.explainers.base import Case, spread

Explain = Callable[[int], np.ndarray]


def dnc(case: Case, contexts: str) -> Explain:
    """Prepare DnCShap; adaptive contexts get the budget."""
    budget = {"evaluations": case.settings.budget} if contexts == "adaptive" else {}
    about = {"depth": case.settings.depth, "seed": case.settings.seed, "batch_size": case.settings.batch_size}
    explainer = DnCShap(case.model, contexts=contexts, **about, **budget)
    return lambda index: _pixels(explainer, case, index)


def published(case: Case, variant: type[PaperDnCShap] | type[ReleasedDnCShap]) -> Explain:
    """Prepare a variant of DnCShap as published; cells hold scores, as in the paper, not densities."""
    sides = [int(np.log2(side)) for side in case.images.shape[2:]]
    deepest = min(2 * sides[0], 2 * sides[1] + 1)  # rows and columns are cut in turn, rows first
    times = min(case.settings.times, deepest)
    explainer = variant(case.model, times=times, batch_size=case.settings.batch_size)
    return lambda index: _pixels(explainer, case, index)


def _pixels(explainer: Any, case: Case, index: int) -> np.ndarray:
    result = explainer.attribute(case.image(index), case.target(index))
    return result.pixel_map()[0, ..., 0].sum(axis=-1)


def _game(case: Case, index: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return v(S) of the image's class, from boolean coalitions (M, n) to float64 (M,); hidden regions are black."""
    image = case.image(index)
    game = ImageGame(
        case.model,
        image,
        image.new_zeros(1, 1, 1, 1),
        case.tree().labels(),
        batch_size=case.settings.batch_size,
    )
    return lambda coalitions: game(np.asarray(coalitions) > 0.5)[:, case.target(index)]


def partition(case: Case) -> Explain:
    """Prepare ``shap.PartitionExplainer`` on the same tree and black, with the budget."""
    tree, budget = case.tree(), case.settings.budget
    # shap compiles a function when it is first used; that is not timed.
    rivals.partition_explainer(lambda coalitions: coalitions.sum(axis=1), tree, 4)
    return lambda index: spread(tree, rivals.partition_explainer(_game(case, index), tree, budget))


def kernel(case: Case) -> Explain:
    """Prepare ``shap.KernelExplainer`` with the regions as superpixels, black, with the budget."""
    import shap

    tree = case.tree()
    hidden, shown = np.zeros((1, tree.n_leaves)), np.ones((1, tree.n_leaves))
    # Of the budget one row is the whole image and one the black one.
    settings = {"nsamples": max(2, case.settings.budget - 2), "l1_reg": False, "silent": True}

    def run(index: int) -> np.ndarray:
        explainer = shap.KernelExplainer(_game(case, index), hidden)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a budget below the number of regions makes the fit singular
            return spread(tree, np.asarray(explainer.shap_values(shown, **settings)).reshape(-1))

    return run


def lime(case: Case) -> Explain:
    """Prepare ``lime`` by the authors' call: segments by quickshift, each hidden by its mean colour.

    The segments are found on the image enlarged to the authors' 224 pixels, for quickshift's sizes are in pixels: at 48
    it finds next to none. The map holds every segment's coefficient, positive or negative, evenly over its pixels; the
    authors drew the five largest.
    """
    from lime import lime_image
    from lime.wrappers.scikit_image import SegmentationAlgorithm

    seed = case.settings.seed
    quickshift = SegmentationAlgorithm(
        "quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=seed
    )  # lime's own default
    settings = {"num_samples": case.settings.lime_samples, "batch_size": case.settings.batch_size}

    def run(index: int) -> np.ndarray:
        explainer = lime_image.LimeImageExplainer(random_state=seed)
        image = case.image(index)[0].permute(1, 2, 0).cpu().numpy().astype(np.float64)
        target = case.target(index)
        with mock.patch.object(lime_image, "tqdm", lambda rows, **_: rows):  # its bar cannot be turned off
            found = explainer.explain_instance(
                image,
                case.of_arrays,
                labels=(target,),
                top_labels=None,
                num_features=image.size,
                segmentation_fn=lambda shown: segments(shown, quickshift, case.settings.lime_size),
                **settings,
            )
        return _of_segments(found.segments, dict(found.local_exp[target]))

    return run


def segments(image: np.ndarray, algorithm: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
    """Segment an image (H, W, C) at a shorter side of ``size`` pixels: (H, W) integers 0 ... segments - 1."""
    height, width, channels = image.shape
    factor = max(1, -(-size // min(height, width)))
    colour = np.repeat(image, 3, axis=2) if channels == 1 else image  # the algorithm compares colours
    tensor = torch.from_numpy(colour).permute(2, 0, 1)[None]
    large = F.interpolate(tensor, scale_factor=factor, mode="bilinear")[0].permute(1, 2, 0).numpy()
    middle = factor // 2
    small = algorithm(large)[middle::factor, middle::factor]
    return np.unique(small, return_inverse=True)[1].reshape(height, width)


def _of_segments(segments: np.ndarray, weights: dict[int, float]) -> np.ndarray:
    """Spread the weight of each segment of a label image (H, W) over its pixels."""
    values = np.zeros(segments.shape)
    for segment, weight in weights.items():
        values[segments == segment] = weight / (segments == segment).sum()
    return values


def occlusion(case: Case) -> Explain:
    """Prepare captum's Occlusion: a black window of a sixth of the shorter side, moved by half of its own."""
    from captum.attr import Occlusion

    explainer = Occlusion(case.probabilities)
    channels, side = case.images.shape[1], max(1, min(case.images.shape[2:]) // 6)
    stride = max(1, side // 2)
    settings = {"sliding_window_shapes": (channels, side, side), "strides": (channels, stride, stride)}

    def run(index: int) -> np.ndarray:
        with torch.no_grad():
            found = explainer.attribute(
                case.image(index),
                target=case.target(index),
                baselines=0.0,
                perturbations_per_eval=case.settings.batch_size,
                **settings,
            )
        return found[0].sum(dim=0).double().cpu().numpy()

    return run
