"""The explainers that are compared, each with an adapter: how it is run, and the values that it gives the regions."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from fercore.shapley import DnCShap, ReleasedDnCShap, build_tree

LIME_SAMPLES = 2000
SAMPLED = 4  # the number of contexts of the rows "DnCShap <number>"


@dataclass
class Case:
    """What is explained: images (N, H, W, C) in 2^depth regions, by a network that may be watched."""

    model: nn.Module
    images: np.ndarray
    depth: int
    batch: int = 64
    output: str = "probability"
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def with_model(self, model: nn.Module) -> Case:
        """Return the same case for a network that is watched; what has been worked out is kept."""
        other = copy.copy(self)
        other.model = model
        return other

    @cached_property
    def labels(self) -> np.ndarray:
        """The region of each pixel, (H, W)."""
        return build_tree(*self.images.shape[1:3], self.depth).labels()

    @property
    def regions(self) -> int:
        """The number n of regions."""
        return 2**self.depth

    @cached_property
    def tensor(self) -> Tensor:
        """The images as a tensor (N, C, H, W) on the device."""
        return torch.from_numpy(self.images).permute(0, 3, 1, 2).to(self.device)

    @cached_property
    def classes(self) -> np.ndarray:
        """The predicted class of each image: found once, before anything is timed."""
        net = getattr(self.model, "module", self.model)
        with torch.inference_mode():
            return np.concatenate([net(x).argmax(1).cpu().numpy() for x in self.tensor.split(8)])

    def scores(self, x: Tensor) -> Tensor:
        """Return what is explained, (rows, K); in the layout that the floor uses as well."""
        layout = torch.channels_last if x.device.type == "cpu" else torch.contiguous_format
        raw = self.model(x.contiguous(memory_format=layout))
        return raw.softmax(dim=1) if self.output == "probability" else raw

    def scores_nhwc(self, x: np.ndarray) -> np.ndarray:
        """Return the same of an array (rows, H, W, C)."""
        with torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(self.device)
            return self.scores(tensor.permute(0, 3, 1, 2)).cpu().numpy()


@dataclass(frozen=True)
class Method:
    """One explainer with its settings.

    Attributes:
        name: As in the tables.
        prepare: Builds the explainer, untimed, and returns what is timed.
        regions: Turns what it returns into region values (N, n) of the predicted classes.
        expected: Evaluations of one image in n regions, to plan with; None where only a run can tell.
        needs: The package it comes from.
        own_floor: Whether it is measured against the floor in its own batches, too.
    """

    name: str
    prepare: Callable[[Case], Callable[[], Any]]
    regions: Callable[[Case, Any], np.ndarray]
    expected: Callable[[int], int] | None
    needs: str = "fercore"
    own_floor: bool = False

    def refusal(self, case: Case) -> str | None:
        """Say why it cannot run: its package is missing, or this version of it does not know the settings."""
        if not importlib.util.find_spec(self.needs):
            return f"{self.needs} is not installed"
        try:
            self.prepare(case)
        except (TypeError, ValueError) as error:
            return str(error)
        return None


def exact_count(n: int) -> int:
    """Evaluations of all contexts of all nodes."""
    return 2 * (n * n - 1) // 3 + 2


def pick(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Pick each image's class from the last axis."""
    return np.stack([one[..., c] for one, c in zip(values, classes, strict=True)])


def by_region(maps: np.ndarray, labels: np.ndarray, mean: bool = False) -> np.ndarray:
    """Sum (or average) maps (N, H, W) over the regions: (N, n)."""
    sums = np.stack([np.bincount(labels.ravel(), one.ravel()) for one in maps])
    return sums / np.bincount(labels.ravel()) if mean else sums


# DnCShap


def prepare_dnc(case: Case, best_batch: bool, **settings: Any) -> Callable[[], Any]:
    """Set DnCShap up for all classes; its own choice of batch unless the floor's best is asked for."""
    batch = case.batch if best_batch else "auto"
    explainer = DnCShap(case.model, output=case.output, depth=case.depth, batch_size=batch, **settings)
    return lambda: explainer(case.images, "all")


def dnc_regions(case: Case, explanation: Any) -> np.ndarray:
    """Return the leaves' scores."""
    return pick(explanation.levels[-1], case.classes)


def dnc(
    name: str, expected: Callable[[int], int] | None, best_batch: bool = False, **settings: Any
) -> Method:
    """Return a row of DnCShap."""
    prepare = partial(prepare_dnc, best_batch=best_batch, **settings)
    name = f"DnCShap {name}" + (", best batch" if best_batch else "")
    return Method(name, prepare, dnc_regions, expected, own_floor=not best_batch)


# shap


def stop_at(clustering: np.ndarray, depth: int) -> None:
    """Give the nodes at a depth a negative distance: PartitionExplainer splits them no further."""
    leaves = len(clustering) + 1
    clustering[:, 2] = 0.0
    nodes = [2 * leaves - 2]
    for _ in range(depth):
        nodes = [int(child) for node in nodes if node >= leaves for child in clustering[node - leaves, :2]]
    clustering[[node - leaves for node in nodes if node >= leaves], 2] = -1.0


@lru_cache(maxsize=4)
def masker(shape: tuple[int, int, int], depth: int) -> Any:
    """Return shap's masker of black pixels, its tree cut off at a depth."""
    import shap

    made = shap.maskers.Image(np.zeros(shape, dtype=np.float32), shape)
    stop_at(made.clustering, depth)
    return made


def prepare_partition(case: Case, fixed_context: int | None, batch: int | str) -> Callable[[], Any]:
    """Set PartitionExplainer up on the same regions, for all classes and all evaluations."""
    import shap

    explainer = shap.PartitionExplainer(case.scores_nhwc, masker(case.images.shape[1:], case.depth))
    settings = {"max_evals": 10**9, "batch_size": batch, "silent": True, "fixed_context": fixed_context}
    return lambda: explainer(case.images, **settings)


def partition_regions(case: Case, explanation: Any) -> np.ndarray:
    """Sum the pixels and channels of each region."""
    return by_region(pick(explanation.values.sum(axis=3), case.classes), case.labels)


def partition(fixed_context: int | None, batch: int | str) -> Method:
    """Return a row of PartitionExplainer."""
    kind = "exact" if fixed_context is None else f"fixed_context={fixed_context}"
    name = f"PartitionExplainer {kind}, batch {10 if batch == 'auto' else batch}"
    expected = exact_count if fixed_context is None else lambda n: 2 * n
    prepare = partial(prepare_partition, fixed_context=fixed_context, batch=batch)
    own_floor = batch != "auto" and fixed_context is not None
    return Method(name, prepare, partition_regions, expected, "shap", own_floor)


# captum


def prepare_captum(case: Case, name: str, samples: Callable[[int], int] | None) -> Callable[[], Any]:
    """Set a perturbation method of captum up: the regions are its features, batches as large as the best."""
    import captum.attr

    explainer = getattr(captum.attr, name)(case.scores)
    mask = torch.from_numpy(case.labels).to(case.device).expand(1, *case.tensor.shape[1:]).contiguous()
    targets = torch.from_numpy(case.classes).to(case.device)
    per_eval = max(1, case.batch // len(case.images))
    settings: dict[str, Any] = {"baselines": 0.0, "feature_mask": mask, "perturbations_per_eval": per_eval}
    if samples:
        settings["n_samples"] = samples(case.regions)

    def run() -> Tensor:
        torch.manual_seed(case.seed)
        np.random.seed(case.seed)  # noqa: NPY002  captum draws from the global generators
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return explainer.attribute(case.tensor, target=targets, **settings)

    return run


def captum_regions(case: Case, values: Tensor) -> np.ndarray:
    """Every pixel and channel of a region repeats its value."""
    return by_region(values.detach().cpu().double().numpy().mean(axis=1), case.labels, mean=True)


def captum_row(
    name: str, expected: Callable[[int], int], samples: Callable[[int], int] | None = None
) -> Method:
    """Return a row of captum."""
    label = f"captum {name}" if samples is None else f"captum {name}, {expected(64) // 64}n evaluations"
    prepare = partial(prepare_captum, name=name, samples=samples)
    return Method(label, prepare, captum_regions, expected, "captum")


# LIME


def prepare_lime(case: Case, samples: int) -> Callable[[], Any]:
    """Set LIME up with the regions as segments and black for what is hidden."""
    from lime import lime_image

    settings = {"hide_color": 0, "num_samples": samples, "batch_size": case.batch}
    settings |= {"num_features": case.regions, "segmentation_fn": lambda image: case.labels}

    def run() -> list[Any]:
        explainer = lime_image.LimeImageExplainer(random_state=case.seed)
        with mock.patch.object(lime_image, "tqdm", lambda rows, **_: rows):  # its bar cannot be turned off
            return [
                explainer.explain_instance(image, case.scores_nhwc, (int(c),), top_labels=None, **settings)
                for image, c in zip(case.images, case.classes, strict=True)
            ]

    return run


def lime_regions(case: Case, explanations: list[Any]) -> np.ndarray:
    """Return the coefficients of the segments."""
    values = np.zeros((len(explanations), case.regions))
    for row, (explanation, c) in enumerate(zip(explanations, case.classes, strict=True)):
        for region, weight in explanation.local_exp[int(c)]:
            values[row, region] = weight
    return values


# The released code's way


def prepare_released(case: Case) -> Callable[[], Any]:
    """Make the calls of the published procedure one by one, on batches of one: 2^(times + 1), none remembered."""
    if case.output != "probability":
        raise ValueError("the published procedure explains probabilities")

    def descend(image: Tensor, box: tuple[int, ...], level: int) -> None:
        side = level % 2  # rows, then columns
        middle = (box[side] + box[side + 2]) // 2
        half = torch.arange(image.shape[2 + side], device=image.device) < middle
        shown = half if side else half[:, None]
        for part in (image * shown, image * ~shown):
            case.scores(part)
        if level + 1 < case.depth:
            descend(image, (*box[: side + 2], middle, *box[side + 3 :]), level + 1)
            descend(image, (*box[:side], middle, *box[side + 1 :]), level + 1)

    def run() -> None:
        with torch.inference_mode():
            for image in case.tensor.split(1):
                case.scores(torch.zeros_like(image))
                case.scores(image)
                descend(image, (0, 0, *image.shape[2:]), 0)

    return run


def released_regions(case: Case, _: Any) -> np.ndarray:
    """Compute the scores that those calls serve."""
    net = getattr(case.model, "module", case.model)
    result = ReleasedDnCShap(net, times=case.depth).attribute(case.images, case.classes)
    return by_region(result.region_map()[..., 0], case.labels, mean=True)


def expected_rows(method: Method, case: Case) -> int:
    """Return the evaluations that a method will need for all images, from a run on a trivial network if need be."""
    if method.expected is not None:
        return method.expected(case.regions) * len(case.images)
    trivial = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7)).to(case.device)
    trial = case.with_model(trivial.eval())
    trial.images = case.images[:1]
    return int(method.prepare(trial)().evaluations.sum()) * len(case.images)


def methods(lime_samples: int = LIME_SAMPLES) -> list[Method]:
    """Return all rows, in the order of the tables."""
    lime = partial(prepare_lime, samples=lime_samples)
    return [
        dnc("(default)", None),
        dnc("absent", lambda n: 2 * n, contexts="absent"),
        dnc("absent", lambda n: 2 * n, best_batch=True, contexts="absent"),
        dnc("both", lambda n: 4 * n - 4, contexts="both"),
        dnc("both", lambda n: 4 * n - 4, best_batch=True, contexts="both"),
        dnc(f"{SAMPLED} contexts", None, contexts=SAMPLED),
        dnc("exact", exact_count, contexts="exact"),
        partition(0, "auto"),
        partition(0, 256),
        partition(None, "auto"),
        partition(None, 256),
        captum_row("FeatureAblation", lambda n: n + 1),
        captum_row("ShapleyValueSampling", lambda n: 4 * n + 1, samples=lambda n: 4),
        captum_row("KernelShap", lambda n: 4 * n, samples=lambda n: 4 * n),
        Method(f"LIME, {lime_samples:,} samples", lime, lime_regions, lambda n: lime_samples, "lime"),
        Method("released code's way", prepare_released, released_regions, lambda n: 2 * n),
    ]
