"""The version of the training procedure stands for a behaviour: two steps and a prediction of every committed kind.

Where these numbers change, weights come out otherwise than those that were committed: raise ``trainer.PROCEDURE``,
which trains every network again, and write the new numbers with ``python tests/test_procedure.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ferlab import networks

from fercore.datasets.base import FaceDataset, content_checksum
from fercore.training import evaluation, recipes, trainer

FILE = Path(__file__).with_name("procedure.json")
# Network, fusion, recipe and its changes of every committed outcome, at a width that takes a second.
KINDS = {
    f"{model} {recipe}": (model, "concatenate", recipe, {})
    for model in ("proposed", "baseline", "vgg16", "resnet50")
    for recipe in ("paper", "strong")
} | {
    "proposed add paper": ("proposed", "add", "paper", {}),
    "proposed crop": ("proposed", "concatenate", "strong", {"crop": 40, "shift": 0.0}),
    "proposed mixup": ("proposed", "concatenate", "strong", {"mixup": 0.4, "weight_decay": 1e-4}),
    "proposed cutmix": ("proposed", "concatenate", "strong", {"cutmix": 1.0, "weight_decay": 1e-4}),
    "proposed dropout": ("proposed", "concatenate", "strong", {"dropout": 0.3}),
    "proposed erase": ("proposed", "concatenate", "strong", {"erase": 0.5}),
}


def toy() -> FaceDataset:
    """Return 32 images of noise around a level that tells their class."""
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 7
    images = (rng.integers(0, 100, (32, 48, 48, 1)) + 22 * labels[:, None, None, None]).astype(np.uint8)
    return FaceDataset("toy", "Toy", images, labels, content_checksum(images, labels))


def behaviour(kind: str) -> list[float]:
    """Return the loss of an epoch of two steps, and what the network then says of two images."""
    model, fusion, recipe, changes = KINDS[kind]
    chosen = recipes.recipe(recipe, epochs=3, batch_size=16, **changes)
    setting = networks.Setting(model, fusion, 1 / 16, recipe=chosen)
    data, threads = toy(), torch.get_num_threads()
    # Of other numbers sums round otherwise, and where a maximum or a sign flips, gradients jump.
    torch.set_num_threads(2)
    state = trainer._Trainer(networks.build(setting, (48, 48)), data, chosen)
    loss, _ = state.epoch(1, progress=False)
    logits = evaluation.predict(state.kept, data.images[:2])
    torch.set_num_threads(threads)
    return [loss, *logits.flatten().tolist()]


@pytest.mark.parametrize("kind", KINDS)
def test_two_steps_and_a_prediction_are_as_committed(kind):
    expected = json.loads(FILE.read_text(encoding="utf-8"))
    assert expected["procedure"] == trainer.PROCEDURE
    assert behaviour(kind) == pytest.approx(expected[kind], rel=1e-4, abs=1e-4)


if __name__ == "__main__":
    found = {"procedure": trainer.PROCEDURE}
    found |= {kind: [round(x, 6) for x in behaviour(kind)] for kind in KINDS}
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(print(f"wrote {FILE}"))
