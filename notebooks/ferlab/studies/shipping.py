"""Put a trained network into the package: its weights in half precision, and the model card that belongs to them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fercore import checkpoints, models
from fercore.checkpoints import atomic_path
from fercore.datasets import load, splits
from fercore.datasets.base import FaceDataset
from fercore.emotions import EMOTIONS, NAMES
from fercore.pretrained import CARD, DATASET, WEIGHTS
from fercore.training import evaluation, trainer
from ferlab import networks

_CARD = """# A small network for FER2013

The network that `fercore.load_pretrained()` returns: the {model} network of Malik, Kumar & Raman, "Towards
Interpretable Facial Emotion Recognition" (ICVGIP 2021), Section 3.2, with `fusion="{fusion}"` and `width={width:g}`.
It has {parameters:,} weights, stored in half precision ({megabytes:.1f} MB). It takes 48 x 48 grey images repeated to
three channels, in 0..1, and returns seven logits: {emotions}.

```python
import fercore
from fercore import models

network = fercore.load_pretrained()
data = fercore.load("fer2013")  # or pictures of your own, 48 x 48, as uint8 (N, 48, 48, 1)
logits = network(models.to_input(data.images[:8]))
```

## What it is for

Teaching, and trying out explanations on a real classifier without a dataset. It is **not** for judging people: an
expression is no measurement of what somebody feels (Barrett et al. 2019, doi 10.1177/1529100619832930), the labels it
learnt go back to the words by which small pictures were searched on the web, and it is wrong on {error:.0%} of those
that it was tested on. In the European Union, inferring the emotions of people at work or in education is forbidden
by law, but for medical and safety reasons (Regulation (EU) 2024/1689, Article 5(1)(f)).

## Training

Protocol `official`: trained on the {train:,} Training images of FER2013, the epoch chosen on PublicTest, PrivateTest
looked at once. {epochs} epochs in {hours:.1f} hours on {hardware}; epoch {epoch} chosen. The recipe `{recipe}`:

{about_recipe}

## Accuracy

| Images | Number | Accuracy | Macro F1 | Balanced accuracy |
|---|---:|---:|---:|---:|
{scores}

The first two rows are a single pass over the whole image. "Mirrored" averages the probabilities over an image and its
mirror image, "ten-crop" over windows of {crop} x {crop} pixels in the four corners and the centre, each also mirrored.
Copies are PrivateTest images whose exact pixels are also in Training. Always naming the most frequent emotion scores
{floor:.4f}.

## Where it is wrong

| Emotion | PrivateTest images | Recall | Precision |
|---|---:|---:|---:|
{classes}

The classes are unequal, so the rare ones are learnt worst. FER2013 names neither the people shown nor their age, sex or
skin colour, so how fair the network is to groups of people **cannot be measured** on it; assume that it is not.

## Terms

The weights were computed from FER2013, which was published for research (Goodfellow et al. 2013,
doi 10.1007/978-3-642-42051-1_16). The file holds no images.

- data: `{data}`
- training: `{key}`
"""


def setting() -> networks.Setting:
    """Return how the shipped network is trained: in an hour on two cores, so at a quarter of the paper's width."""
    recipe = {"recipe": "strong", "epochs": 150, "precision": "bfloat16"}
    return networks.setting(DATASET, "proposed", width=0.25, **recipe)


def ship(setting: networks.Setting, dataset: FaceDataset, weights: Path = WEIGHTS, card: Path = CARD) -> None:
    """Train a network on FER2013's official split, or find it trained; write its weights file and its model card."""
    parts = splits.split(dataset, "official")
    found = networks.trained(setting, dataset, parts)
    tensors, about = checkpoints.read(found.weights)
    about |= {"setting": asdict(setting), "data": dataset.checksum, "split": parts.checksum()}
    checkpoints.save(weights, tensors, about)
    with atomic_path(card) as path:
        path.write_text(card_text(setting, dataset, found), encoding="utf-8")


def card_text(setting: networks.Setting, dataset: FaceDataset, found: networks.Trained) -> str:
    """Return the model card of a trained network, all numbers computed from it."""
    parts = splits.split(dataset, "official")
    test, own = dataset.subset(parts.test), ~splits.duplicates(dataset, parts)
    rules, scores = evaluation.rules(test.images.shape[1:3], setting.recipe.crop), {}
    for rule, views in rules.items():
        said = evaluation.predict(found.model, test.images, **views).argmax(1).numpy()
        name = ", ".join(filter(None, ("PrivateTest", rule)))
        scores[name] = evaluation.classification(test.labels, said)
        scores[f"{name}, without copies"] = evaluation.classification(test.labels[own], said[own])
    return _CARD.format(
        model=setting.model,
        fusion=setting.fusion,
        width=setting.width,
        parameters=models.count_parameters(found.model),
        megabytes=found.weights.stat().st_size / 1e6,
        emotions=", ".join(emotion.title for emotion in EMOTIONS).lower(),
        error=1 - scores["PrivateTest"]["accuracy"],
        train=len(parts.train),
        recipe=setting.recipe.name,
        about_recipe=_recipe_text(setting),
        epochs=len(found.history),
        hours=sum(row["seconds"] for row in found.history) / 3600,
        hardware=found.hardware,
        epoch=trainer.best_epoch(found.history)["epoch"],
        scores="\n".join(_score_row(name, score) for name, score in scores.items()),
        crop=rules["ten-crop"]["crop"],
        floor=test.counts().max() / len(test),
        classes="\n".join(_class_rows(scores["PrivateTest"])),
        data=dataset.checksum,
        key=found.key,
    )


def _score_row(name: str, score: dict[str, Any]) -> str:
    numbers = (score[key] for key in ("accuracy", "macro_f1", "balanced_accuracy"))
    return f"| {name} | {score['images']:,} | " + " | ".join(f"{number:.4f}" for number in numbers) + " |"


def _class_rows(score: dict[str, Any]) -> list[str]:
    matrix = np.array(score["confusion"])
    right, named, shown = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    return [
        f"| {name} | {shown[k]} | {right[k] / max(1, shown[k]):.2f} | {right[k] / max(1, named[k]):.2f} |"
        for k, name in enumerate(NAMES)
    ]


def _recipe_text(setting: networks.Setting) -> str:
    """List what the recipe does, from its values, one thing a line."""
    recipe = setting.recipe
    shown = {
        "shift": f"shifts of up to {recipe.shift:.0%}",
        "rotation": f"rotations of up to {recipe.rotation:g} degrees",
        "zoom": f"zooms of up to {recipe.zoom:.0%}",
        "erase": f"a black rectangle in {recipe.erase:.0%} of the images",
        "mixup": f"mixup ({recipe.mixup:g})",
        "label_smoothing": f"label smoothing of {recipe.label_smoothing:g}",
        "weight_decay": f"weight decay of {recipe.weight_decay:g}",
        "averaging": f"weights averaged with decay {recipe.averaging:g}",
        "batch_norm": "batch normalisation",
    }
    first = f"{recipe.optimizer}, learning rate {recipe.lr:g} on a {recipe.schedule} schedule"
    named = [first, f"batches of {recipe.batch_size}", *(["mirrored images"] if recipe.flip else [])]
    named += [text for name, text in shown.items() if getattr(recipe, name)]
    return "\n".join(f"- {text}" for text in [*named, f"{recipe.precision} layers"])


if __name__ == "__main__":
    ship(setting(), load(DATASET))
    print(f"wrote {WEIGHTS} and {CARD}")
