"""What each part of a network and of a recipe gives: variants that differ in one thing, trained and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fercore import models
from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import Split
from fercore.training import evaluation, trainer
from ferlab import networks
from ferlab.networks import Outcome, Setting

# What is changed in the recipe `strong`, by what a table calls it.
VARIANTS: dict[str, dict[str, Any]] = {
    "strong": {},
    "without batch normalisation": {"batch_norm": False},
    "without moved images": {"shift": 0.0, "rotation": 0.0, "zoom": 0.0},
    "without erased rectangles": {"erase": 0.0},
    "without mirrored training images": {"flip": False},
    "without label smoothing": {"label_smoothing": 0.0},
    "without averaged weights": {"averaging": 0.0},
    "with the paper's optimiser": {
        **{"optimizer": "adam", "schedule": "plateau", "lr": 8e-4, "min_lr": 8e-5},
        **{"warmup": 0, "weight_decay": 0.0},
    },
    "with mixup": {"mixup": 0.2},
}
# What may make it better in long runs on many images.
ADDITIONS: dict[str, dict[str, Any]] = {
    "strong": {},
    "with another seed": {"seed": 1},
    "for twice as long": {"epochs": 80},
    "with a longer average": {"averaging": 0.9995},
    "with ten-crop windows": {"crop": 40, "shift": 0.0},
    "with lower weight decay": {"weight_decay": 1e-4},
    "with mixup, lower weight decay": {"mixup": 0.4, "weight_decay": 1e-4},
    "with CutMix, lower weight decay": {"cutmix": 1.0, "weight_decay": 1e-4},
    "with dropout": {"dropout": 0.3},
    "with more erased rectangles": {"erase": 0.5},
    "taught by a wider network": {"distillation": 0.75, "temperature": 2.0},
}
NETWORKS = {
    "VGG-16": ("vgg16", "concatenate"),
    "ResNet-50": ("resnet50", "concatenate"),
    "baseline": ("baseline", "concatenate"),
    "proposed, concatenate": ("proposed", "concatenate"),
    "proposed, add": ("proposed", "add"),
}


class Compared(NamedTuple):
    """A variant: how it was trained, and what it answers; None if its loss left the finite numbers."""

    setting: Setting
    outcome: Outcome | None


def recipe_settings(
    base: Setting, variants: Mapping[str, Mapping[str, Any]] = VARIANTS, teacher: str = ""
) -> dict[str, Setting]:
    """Return settings by name: the recipe of ``base``, changed; ``teacher`` is the key for variants that distil."""
    found = {}
    for name, changes in variants.items():
        own = base.recipe.name if name == base.recipe.name else f"{base.recipe.name} {name}"
        recipe = replace(base.recipe, **changes, name=own)
        found[name] = replace(base, recipe=recipe, teacher=teacher if recipe.distillation else "")
    return found


def run(
    settings: Mapping[str, Setting],
    data: FaceDataset,
    parts: Split,
    device: str = "auto",
    teacher: Setting | None = None,
) -> dict[str, Compared]:
    """Train every setting, or find it trained; the teacher only if a network that it teaches must be trained."""

    def lesson() -> networks.Trained:
        return networks.trained(teacher, data, parts, device)

    done = {}
    for name, setting in settings.items():
        about = {"device": device, "teacher": lesson if setting.teacher else None}
        try:
            done[name] = Compared(setting, networks.outcome(setting, data, parts, **about))
        except FloatingPointError as error:
            print(f"{name}: {error}")
            done[name] = Compared(setting, None)
    return done


def gain(right: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    """Say how much more often one system is right than another on the same images, (N,) bool each.

    ``low`` to ``high`` is the 95 % interval of the ``difference``: 1.96 standard errors, over images, not seeds.
    """
    each = right.astype(float) - base
    mean, spread = each.mean(), 1.96 * each.std(ddof=1) / len(each) ** 0.5
    verdict = "better" if mean - spread > 0 else "worse" if mean + spread < 0 else "not shown"
    return {"difference": mean, "low": mean - spread, "high": mean + spread, "verdict": verdict}


def paired(
    compared: Mapping[str, Compared], data: FaceDataset, parts: Split, part: str, base: str = "strong"
) -> pd.DataFrame:
    """Compare variants with ``base`` on one part by every test-time rule: a row each, as :func:`gain`."""
    labels, rows = data.labels[getattr(parts, part)], []
    outcomes = {name: one.outcome for name, one in compared.items() if one.outcome}
    for name, outcome in outcomes.items():
        for rule in (rule for rule in outcome.logits if rule.startswith(part)):
            right, before = (
                some.logits[rule].argmax(dim=1).numpy() == labels for some in (outcome, outcomes[base])
            )
            row = {"variant": name, "rule": rule.removeprefix(part).strip() or "single pass"}
            row |= {"accuracy": right.mean()} | gain(right, before)
            rows.append(row | ({"verdict": ""} if name == base else {}))
    return pd.DataFrame(rows)


def table(compared: Mapping[str, Compared], data: FaceDataset, parts: Split, part: str) -> pd.DataFrame:
    """Score variants on one part: a row each, NaN where training failed; ``error`` is a standard error over images."""
    labels = data.labels[getattr(parts, part)]
    return pd.DataFrame({name: _row(one, labels, part, data) for name, one in compared.items()}).T


def _row(one: Compared, labels: np.ndarray, part: str, data: FaceDataset) -> dict[str, float]:
    network = networks.build(replace(one.setting, pretrained=False), data.images.shape[1:3])
    row = {"parameters": float(models.count_parameters(network))}
    if one.outcome is None:
        return row
    score, history = evaluation.classification(labels, one.outcome.predicted(part)), one.outcome.history
    accuracy = score["accuracy"]
    return row | {
        "epoch": trainer.best_epoch(history)["epoch"],
        "accuracy": accuracy,
        "error": (accuracy * (1 - accuracy) / len(labels)) ** 0.5,
        "macro_f1": score["macro_f1"],
        "images_per_second": float(np.median([row["images_per_second"] for row in history])),
    }


def confusions(compared: Mapping[str, Compared], labels: np.ndarray) -> dict[str, list[list[int]]]:
    """Return the confusion matrix on the test part of every variant that was trained, by name."""
    found = {name: one.outcome.predicted("test") for name, one in compared.items() if one.outcome}
    return {name: evaluation.classification(labels, answers)["confusion"] for name, answers in found.items()}


def histories(compared: Mapping[str, Compared]) -> dict[str, trainer.History]:
    """Return the history of every variant that was trained, by name."""
    return {name: one.outcome.history for name, one in compared.items() if one.outcome}
