"""What each part of a network and of a recipe gives: variants that differ in one thing, trained and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

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


@dataclass(frozen=True, eq=False)
class Compared:
    """One trained variant.

    Attributes:
        setting: How it was trained.
        outcome: What it answers; None if its loss left the finite numbers.
    """

    setting: Setting
    outcome: Outcome | None


def recipe_settings(
    base: Setting, variants: Mapping[str, Mapping[str, Any]] = VARIANTS, teacher: str = ""
) -> dict[str, Setting]:
    """Return the settings of variants around a setting with the recipe ``strong``, by name.

    Args:
        base: The setting of the recipe as it is.
        variants: Changed values of the recipe, by name.
        teacher: Key of the network that teaches the variants that distil.
    """
    found = {}
    for name, changes in variants.items():
        recipe = replace(base.recipe, **changes, name=_slug(base.recipe.name, name))
        found[name] = replace(base, recipe=recipe, teacher=teacher if recipe.distillation else "")
    return found


def paired(
    compared: Mapping[str, Compared], data: FaceDataset, parts: Split, part: str, base: str = "strong"
) -> pd.DataFrame:
    """Compare variants with one of them on the same images, by every test-time rule.

    Args:
        compared: What :func:`run` returns.
        data: The dataset.
        parts: Its split.
        part: ``"validation"`` or ``"test"``.
        base: The variant that the others are compared with.

    Returns:
        One row per variant and rule: ``variant``, ``rule``, ``accuracy``, ``difference`` (mean over the images),
        ``low`` and ``high`` (its 95 % interval: 1.96 standard errors of the paired differences), ``verdict``
        (``"better"``, ``"worse"``, ``"not shown"``). The interval is over images; it knows nothing of other seeds.
    """
    labels, rows = data.labels[getattr(parts, part)], []
    hits = {name: _hits(one.outcome, labels, part) for name, one in compared.items() if one.outcome}
    for name, of_rules in hits.items():
        for rule, right in of_rules.items():
            gain = right.astype(float) - hits[base][rule]
            spread = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5
            low, high = gain.mean() - spread, gain.mean() + spread
            verdict = "better" if low > 0 else "worse" if high < 0 else "not shown"
            row = {"variant": name, "rule": rule, "accuracy": right.mean(), "difference": gain.mean()}
            rows.append(row | {"low": low, "high": high, "verdict": "" if name == base else verdict})
    return pd.DataFrame(rows)


def _hits(outcome: Outcome, labels: np.ndarray, part: str) -> dict[str, np.ndarray]:
    """Return which images of a part are right, by rule."""
    rules = {name.removeprefix(part).strip(): name for name in outcome.logits if name.startswith(part)}
    return {
        rule or "single pass": outcome.logits[name].argmax(dim=1).numpy() == labels
        for rule, name in rules.items()
    }


def run(
    settings: Mapping[str, Setting],
    data: FaceDataset,
    parts: Split,
    device: str = "auto",
    teacher: Setting | None = None,
) -> dict[str, Compared]:
    """Train every setting, or find it trained.

    Args:
        settings: What to compare, by name.
        data: The dataset.
        parts: Its split.
        device: As in :func:`ferlab.networks.trained`.
        teacher: The setting of the network that teaches; trained only if a network that it teaches must be.
    """

    def lesson() -> networks.Trained:
        return networks.trained(teacher, data, parts, device)

    done = {}
    for name, setting in settings.items():
        try:
            taught = {"teacher": lesson} if setting.teacher else {}
            done[name] = Compared(setting, networks.outcome(setting, data, parts, device, **taught))
        except FloatingPointError as error:
            print(f"{name}: {error}")
            done[name] = Compared(setting, None)
    return done


def table(compared: Mapping[str, Compared], data: FaceDataset, parts: Split, part: str) -> pd.DataFrame:
    """Score variants on one part of the split.

    Args:
        compared: What :func:`run` returns.
        data: The dataset.
        parts: Its split.
        part: ``"validation"`` or ``"test"``.

    Returns:
        One row per variant: ``parameters``, ``epoch`` (the chosen one), ``accuracy``, ``error`` (standard error of the
        accuracy, as if the images were independent), ``macro_f1``, ``images_per_second`` (in training); NaN where the
        training failed.
    """
    labels = data.labels[getattr(parts, part)]
    return pd.DataFrame({name: _row(one, labels, part, data) for name, one in compared.items()}).T


def confusions(compared: Mapping[str, Compared], labels: np.ndarray) -> dict[str, list[list[int]]]:
    """Return the confusion matrix on the test part of every variant that was trained, by name."""
    found = {name: one.outcome.predicted("test") for name, one in compared.items() if one.outcome}
    return {name: evaluation.classification(labels, answers)["confusion"] for name, answers in found.items()}


def histories(compared: Mapping[str, Compared]) -> dict[str, trainer.History]:
    """Return the history of every variant that was trained, by name."""
    return {name: one.outcome.history for name, one in compared.items() if one.outcome}


def _row(one: Compared, labels: np.ndarray, part: str, data: FaceDataset) -> dict[str, float]:
    network = networks.build(replace(one.setting, pretrained=False), data.images.shape[1:3])
    row = {"parameters": float(models.count_parameters(network))}
    if one.outcome is None:
        return row
    score = evaluation.classification(labels, one.outcome.predicted(part))
    accuracy = score["accuracy"]
    return row | {
        "epoch": trainer.best_epoch(one.outcome.history)["epoch"],
        "accuracy": accuracy,
        "error": (accuracy * (1 - accuracy) / len(labels)) ** 0.5,
        "macro_f1": score["macro_f1"],
        "images_per_second": float(np.median([row["images_per_second"] for row in one.outcome.history])),
    }


def _slug(base: str, name: str) -> str:
    """Return a recipe's name that tells its file from others: ``"strong without batch normalisation"``."""
    return base if name == base else f"{base} {name}"
