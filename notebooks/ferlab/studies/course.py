"""What chapter 3 of the course keeps of a face: its scores level by level under three rules, for the stepper."""

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
from fercore.shapley.exact import fixed_evaluations
from fercore.shapley.inputs import Model
from fercore.training import evaluation

CERTAIN = 0.9  # a face that is explained should be one that the network is sure of


def example(dataset: FaceDataset, network: nn.Module, emotion: Emotion = Emotion.HAPPY) -> int:
    """Find a face that the network recognises: the first of an emotion with a probability of at least 0.9.

    Only test images of the dataset's own protocol are looked at, and no copies of training images.

    Args:
        dataset: Faces as :func:`fercore.datasets.load` returns them.
        network: Classifier with seven outputs (logits).
        emotion: The true emotion of the face.

    Returns:
        Its index in the dataset.

    Raises:
        FercoreError: If the network recognises no face of this emotion.
    """
    parts = splits.split(dataset, None, 0, 0)
    kept = parts.test[~splits.duplicates(dataset, parts)]
    candidates = kept[dataset.labels[kept] == emotion]
    logits = evaluation.predict(network, dataset.images[candidates])
    probabilities = torch.softmax(logits.double(), dim=1)[:, emotion].numpy()
    certain = np.flatnonzero(probabilities >= CERTAIN)
    if not len(certain):
        raise FercoreError(
            f"No {emotion.title.lower()} face among the test images of {dataset.title} is recognised with a "
            f"probability of {CERTAIN} or more; choose another emotion."
        )
    return int(candidates[certain[0]])


def as_input(dataset: FaceDataset, index: int) -> torch.Tensor:
    """Return one face as the networks take it, a float tensor (1, C, H, W) with values from 0 to 1."""
    return models.to_input(dataset.images[index : index + 1])


Rules = dict[str, tuple[list[np.ndarray], list[int]]]

PUBLISHED = "as published"
_DIGITS = 4  # significant digits of a kept score


def stepper_rules(network: Model, image: torch.Tensor, target: int, depth: int = 9) -> Rules:
    """Return the scores of all regions on all levels under the rules "absent", "both" and "as published".

    The tree halves every region of a level along the same axis, rows first (the tree of the paper), and what fixed
    contexts leave over is shared equally. "as published" is Algorithms 1 and 2 of the paper
    (:class:`fercore.shapley.PaperDnCShap`): strips of the whole image, and sums that double from level 3 on.

    Args:
        network: From images (rows, C, H, W) to logits.
        image: One image, (1, C, H, W).
        target: The class that is explained.
        depth: L, at least 1.

    Returns:
        By the name of the rule: one float64 array (2^l,) per level l = 0 ... L, and the number of distinct evaluations
        that the levels 0 ... l take together.

    Raises:
        ValueError: If the image cannot be halved so often.
    """
    about = {"depth": depth, "tree": "alternate", "share": "half"}
    trees = [build_tree(*image.shape[2:], level, "alternate") for level in range(depth + 1)]
    rules = {}
    for contexts in ("absent", "both"):
        found = DnCShap(network, contexts=contexts, **about).attribute(image, target)
        rules[contexts] = _scores(found.levels), [fixed_evaluations(tree, contexts) for tree in trees]
    published = PaperDnCShap(network, times=depth).attribute(image, target)
    strips = [2 ** ((level + 1) // 2) + 2 ** (level // 2) - 2 for level in range(depth + 1)]
    rules[PUBLISHED] = _scores(published.levels), [2 + 2 * cuts for cuts in strips]
    return rules


def keep(name: str, image: np.ndarray, rules: Rules) -> dict[str, Any]:
    """Return a face and its scores for a run record: JSON-able and small, for a level is one line of text.

    Args:
        name: What to call the face.
        image: uint8 (H, W, 1 or 3).
        rules: As :func:`stepper_rules` returns them; scores are rounded to four significant digits.
    """
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, format="PNG", optimize=True)
    kept = {
        rule: {
            "scores": [" ".join(f"{s:.{_DIGITS}g}" for s in level) for level in scores],
            "evaluations": counts,
        }
        for rule, (scores, counts) in rules.items()
    }
    return {"name": name, "image": base64.b64encode(file.getvalue()).decode("ascii"), "rules": kept}


def restore(kept: dict[str, Any]) -> tuple[str, np.ndarray, Rules]:
    """Undo :func:`keep`: what ``interactive.stepper_face`` takes, that is name, image (H, W) or (H, W, 3), and rules.

    Raises:
        KeyError, ValueError: If it is not what :func:`keep` returns.
    """
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(kept["image"]))))
    rules = {
        rule: ([np.array(level.split(), dtype=np.float64) for level in found["scores"]], found["evaluations"])
        for rule, found in kept["rules"].items()
    }
    return kept["name"], image, rules


def _scores(levels: list[np.ndarray]) -> list[np.ndarray]:
    """Return the scores of one image and one class, (1, m, 1) each, as arrays (m,)."""
    return [level[0, :, 0] for level in levels]
