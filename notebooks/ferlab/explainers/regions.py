"""Explainers that hide parts of the image; each function prepares a method, untimed, and returns what maps an image."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from torch.nn import functional as F

from fercore.shapley import DnCShap, PaperDnCShap, ReleasedDnCShap
from fercore.shapley.game import ImageGame
from fercore.shapley.tree import PartitionTree
from ferlab.explainers import rivals
from ferlab.explainers.base import Case, Explain


def dnc(case: Case, contexts: str) -> Explain:
    """Prepare DnCShap; adaptive contexts get the budget."""
    settings = case.settings
    about = {"depth": settings.depth, "seed": settings.seed, "batch_size": settings.batch_size}
    if contexts == "adaptive":
        about["evaluations"] = settings.budget
    return _pixels(DnCShap(case.model, contexts=contexts, **about), case)


def published(case: Case, variant: type[PaperDnCShap] | type[ReleasedDnCShap]) -> Explain:
    """Prepare a variant of DnCShap as published; cells hold scores, as in the paper, not densities."""
    rows, columns = (int(np.log2(side)) for side in case.images.shape[2:])
    deepest = min(2 * rows, 2 * columns + 1)  # rows and columns are cut in turn, rows first
    times = min(case.settings.times, deepest)
    return _pixels(variant(case.model, times=times, batch_size=case.settings.batch_size), case)


def _pixels(explainer: DnCShap | PaperDnCShap | ReleasedDnCShap, case: Case) -> Explain:
    def run(index: int) -> np.ndarray:
        result = explainer.attribute(case.image(index), case.target(index))
        return result.pixel_map()[0, ..., 0].sum(axis=-1)

    return run


def _game(case: Case, tree: PartitionTree, index: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return v(S) of the image's class, from boolean coalitions (M, n) to float64 (M,); hidden regions are black."""
    image = case.image(index)
    black = image.new_zeros(1, 1, 1, 1)
    game = ImageGame(case.model, image, black, tree.labels(), batch_size=case.settings.batch_size)
    return lambda coalitions: game(np.asarray(coalitions) > 0.5)[:, case.target(index)]


def _spread(tree: PartitionTree, scores: np.ndarray) -> np.ndarray:
    """Spread scores (n,) of regions evenly over their pixels: float64 (H, W) with the same sum."""
    return (scores / tree.pixels(-1))[tree.labels()]


def partition(case: Case) -> Explain:
    """Prepare ``shap.PartitionExplainer`` on the same tree and black, with the budget."""
    tree, budget = case.tree(), case.settings.budget
    # shap compiles a function when it is first used; that is not timed.
    rivals.partition_explainer(lambda coalitions: coalitions.sum(axis=1), tree, 4)
    return lambda index: _spread(tree, rivals.partition_explainer(_game(case, tree, index), tree, budget))


def kernel(case: Case) -> Explain:
    """Prepare ``shap.KernelExplainer`` with the regions as superpixels, black, with the budget."""
    import shap

    tree = case.tree()
    hidden, shown = np.zeros((1, tree.n_leaves)), np.ones((1, tree.n_leaves))
    # Of the budget one row is the whole image and one the black one.
    settings = {"nsamples": max(2, case.settings.budget - 2), "l1_reg": False, "silent": True}

    def run(index: int) -> np.ndarray:
        explainer = shap.KernelExplainer(_game(case, tree, index), hidden)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a budget below the number of regions makes the fit singular
            return _spread(tree, np.asarray(explainer.shap_values(shown, **settings)).reshape(-1))

    return run


def lime(case: Case) -> Explain:
    """Prepare ``lime`` by the authors' call: segments by quickshift, each hidden by its mean colour.

    The map holds the coefficients of all segments; the authors drew the five largest."""
    from lime import lime_image
    from lime.wrappers.scikit_image import SegmentationAlgorithm

    chosen = case.settings
    own = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2}  # lime's own default
    quickshift = SegmentationAlgorithm("quickshift", random_seed=chosen.seed, **own)
    about = {"top_labels": None, "num_samples": chosen.lime_samples, "batch_size": chosen.batch_size}
    about["segmentation_fn"] = lambda shown: segments(shown, quickshift, chosen.lime_size)

    def run(index: int) -> np.ndarray:
        explainer, target = lime_image.LimeImageExplainer(random_state=chosen.seed), case.target(index)
        image = case.image(index)[0].permute(1, 2, 0).cpu().numpy().astype(np.float64)
        about.update(labels=(target,), num_features=image.size)
        with mock.patch.object(lime_image, "tqdm", lambda rows, **_: rows):  # its bar cannot be turned off
            found = explainer.explain_instance(image, case.of_arrays, **about)
        values = np.zeros(image.shape[:2])
        for segment, weight in found.local_exp[target]:
            values[found.segments == segment] = weight / (found.segments == segment).sum()
        return values

    return run


def segments(image: np.ndarray, algorithm: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
    """Segment an image (H, W, C) enlarged to a shorter side of ``size`` pixels: (H, W) integers 0 ... segments - 1."""
    height, width, _ = image.shape
    factor = max(1, -(-size // min(height, width)))  # quickshift finds next to nothing on 48 pixels
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    large = F.interpolate(tensor, scale_factor=factor, mode="bilinear")[0].permute(1, 2, 0).numpy()
    middle = factor // 2
    small = algorithm(large)[middle::factor, middle::factor]
    return np.unique(small, return_inverse=True)[1].reshape(height, width)


def occlusion(case: Case) -> Explain:
    """Prepare captum's Occlusion: a black window of a sixth of the shorter side, moved by half of its own."""
    from captum.attr import Occlusion

    explainer = Occlusion(case.probabilities)
    channels, side = case.images.shape[1], max(1, min(case.images.shape[2:]) // 6)
    stride = max(1, side // 2)
    about = {"sliding_window_shapes": (channels, side, side), "strides": (channels, stride, stride)}
    about |= {"baselines": 0.0, "perturbations_per_eval": case.settings.batch_size}

    def run(index: int) -> np.ndarray:
        return case.attribution(explainer, index, **about)[0].sum(dim=0).double().cpu().numpy()

    return run
