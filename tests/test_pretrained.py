"""The network that comes with the package: it loads anywhere, it is small, and its card says what it does."""

from __future__ import annotations

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ferlab import networks
from ferlab.studies import shipping

import fercore
from fercore import checkpoints, models, pretrained
from fercore.datasets import splits
from fercore.errors import CheckpointError
from fercore.training import evaluation, trainer


def card_numbers(row: str) -> list[float]:
    """Return the numbers of one row of the model card's table of accuracies."""
    text = pretrained.CARD.read_text(encoding="utf-8")
    (found,) = re.findall(rf"^\| {re.escape(row)} \| [\d,]+ \| (.*) \|$", text, flags=re.MULTILINE)
    return [float(number) for number in found.split(" | ")]


def test_it_loads_small_and_ready():
    assert pretrained.WEIGHTS.stat().st_size < 4_000_000
    model = fercore.load_pretrained()
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    images = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    logits = model(images)
    assert logits.shape == (3, 7)
    torch.testing.assert_close(logits, fercore.load_pretrained("cpu")(images))


def test_it_is_the_network_that_its_setting_names():
    setting, said = shipping.setting(), pretrained.about()
    assert networks.shipped() == setting
    assert networks.setting("fer2013") == setting
    assert networks.setting("faces").recipe.name == "paper"
    assert len(said["history"]) == setting.recipe.epochs
    own = models.build("proposed", setting.fusion, setting.width, batch_norm=True)
    assert {n: t.shape for n, t in own.state_dict().items()} == {
        n: t.shape for n, t in fercore.load_pretrained().state_dict().items()
    }


@pytest.mark.parametrize("damage", ["cut", "of another network"])
def test_a_damaged_file_is_named(tmp_path, monkeypatch, damage):
    path = tmp_path / "fer2013.safetensors"
    shutil.copyfile(pretrained.WEIGHTS, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        tensors, about = checkpoints.read(path)
        about["setting"]["width"] = 0.5
        checkpoints.save(path, tensors, about)
    monkeypatch.setattr(pretrained, "WEIGHTS", path)
    with pytest.raises(CheckpointError, match=r"fer2013\.safetensors"):
        fercore.load_pretrained()


def test_it_recognises_the_real_faces_as_well_as_its_card_says(real_fer2013):
    test = real_fer2013.subset(splits.split(real_fer2013, "official").test)
    found = evaluation.predict(fercore.load_pretrained(), test.images).argmax(1).numpy()
    accuracy = float(np.mean(found == test.labels))
    assert accuracy >= 0.62
    assert accuracy == pytest.approx(
        card_numbers("PrivateTest")[0], abs=0.002
    )  # processors round differently


def test_training_is_not_repeated_for_it(real_fer2013, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "fit", None)  # any training would fail
    parts = splits.split(real_fer2013, "official")
    found = networks.trained(shipping.setting(), real_fer2013, parts, "cpu", tmp_path)
    assert found.weights == pretrained.WEIGHTS
    assert found.key in pretrained.CARD.read_text(encoding="utf-8")


def test_the_key_in_the_file_is_that_of_its_setting():
    """Options added later, moved code and thinner code leave it as it is; so nothing is trained again for them."""
    said = pretrained.about()
    data, split = SimpleNamespace(checksum=said["data"]), SimpleNamespace(checksum=lambda: said["split"])
    assert said["key"] == networks.training_key(networks.shipped(), data, split)
