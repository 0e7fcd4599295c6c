"""What the chapters of the course share: a face to explain, and its scores level by level for the stepper."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fercore import models
from fercore.datasets import splits
from fercore.datasets.base import FaceDataset
from fercore.emotions import Emotion
from fercore.errors import FercoreError
from fercore.shapley import DnCShap, PaperDnCShap, build_tree
from fercore.shapley.contexts import fixed_evaluations
from fercore.shapley.inputs import Model
from fercore.training import evaluation

CERTAIN = 0.9  # a face that is explained should be one that the network is sure of
PUBLISHED = "as published"
_DIGITS = 4  # significant digits of a kept score
# By the name of a rule: the scores (2^l,) of each level, and the evaluations that the levels so far take together.
Rules = dict[str, tuple[list[np.ndarray], list[int]]]


def example(dataset: FaceDataset, network: nn.Module, emotion: Emotion = Emotion.HAPPY) -> int:
    """Return the first test face of an emotion, no copy of a training image, that the network is sure of."""
    parts = splits.split(dataset, None, 0, 0)
    kept = parts.test[~splits.duplicates(dataset, parts)]
    candidates = kept[dataset.labels[kept] == emotion]
    logits = evaluation.predict(network, dataset.images[candidates])
    certain = candidates[torch.softmax(logits.double(), dim=1)[:, emotion].numpy() >= CERTAIN]
    if not len(certain):
        raise FercoreError(
            f"No {emotion.title.lower()} face among the test images of {dataset.title} is recognised with a "
            f"probability of {CERTAIN} or more; choose another emotion."
        )
    return int(certain[0])


def as_input(dataset: FaceDataset, index: int) -> torch.Tensor:
    """Return one face as the networks take it, a float tensor (1, C, H, W) with values from 0 to 1."""
    return models.to_input(dataset.images[index : index + 1])


def stepper_rules(network: Model, image: torch.Tensor, target: int, depth: int = 9) -> Rules:
    """Return the scores of a class on all levels of an image (1, C, H, W), halved rows first, under three rules."""
    about = {"depth": depth, "tree": "alternate", "share": "half"}
    trees = [build_tree(*image.shape[2:], level, "alternate") for level in range(depth + 1)]
    strips = [2 ** ((level + 1) // 2) + 2 ** (level // 2) - 2 for level in range(depth + 1)]
    spent = {name: [fixed_evaluations(tree, name) for tree in trees] for name in ("absent", "both")}
    found = {name: DnCShap(network, contexts=name, **about).attribute(image, target) for name in spent}
    spent[PUBLISHED] = [2 + 2 * cuts for cuts in strips]
    found[PUBLISHED] = PaperDnCShap(network, times=depth).attribute(image, target)
    return {name: ([level[0, :, 0] for level in found[name].levels], spent[name]) for name in found}


def keep(name: str, image: np.ndarray, rules: Rules) -> dict[str, Any]:
    """Return a face, uint8 (H, W, 1 or 3), and its scores for a run record: JSON-able, a level is one line of text."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, format="PNG", optimize=True)
    kept = {}
    for rule, (scores, counts) in rules.items():
        lines = [" ".join(f"{score:.{_DIGITS}g}" for score in level) for level in scores]
        kept[rule] = {"scores": lines, "evaluations": counts}
    return {"name": name, "image": base64.b64encode(file.getvalue()).decode("ascii"), "rules": kept}


def restore(kept: dict[str, Any]) -> tuple[str, np.ndarray, Rules]:
    """Undo :func:`keep`: return name, image (H, W) or (H, W, 3) and rules, what ``interactive.stepper_face`` takes."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(kept["image"]))))
    rules = {
        rule: ([np.array(level.split(), dtype=np.float64) for level in found["scores"]], found["evaluations"])
        for rule, found in kept["rules"].items()
    }
    return kept["name"], image, rules
