"""The network that comes with the package: it loads anywhere, it is small, and its card says what it does."""

from __future__ import annotations

import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from ferlab import networks
from ferlab.studies import shipping

import fercore
from fercore import checkpoints, models, pretrained
from fercore.datasets import splits
from fercore.errors import CheckpointError
from fercore.training import evaluation, trainer


def test_it_loads_small_and_ready():
    assert pretrained.WEIGHTS.stat().st_size < 4_000_000
    model = fercore.load_pretrained()
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model(torch.rand(3, 3, 48, 48)).shape == (3, 7)


def test_it_is_the_network_that_its_setting_and_its_key_name():
    """Options added later, moved code and thinner code leave the key as it is; so nothing is trained again for them."""
    setting, said = shipping.setting(), pretrained.about()
    assert networks.shipped() == networks.setting("fer2013") == setting
    assert len(said["history"]) == setting.recipe.epochs
    own = models.build("proposed", setting.fusion, setting.width, batch_norm=True)
    checkpoints.restore("own", own, fercore.load_pretrained().state_dict())
    data, split = SimpleNamespace(checksum=said["data"]), SimpleNamespace(checksum=lambda: said["split"])
    assert said["key"] == networks.training_key(setting, data, split)


@pytest.mark.parametrize("damage", ["cut", "of another network"])
def test_a_damaged_file_is_named(tmp_path, monkeypatch, damage):
    path = shutil.copyfile(pretrained.WEIGHTS, tmp_path / "fer2013.safetensors")
    tensors, about = checkpoints.read(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        checkpoints.save(path, tensors, about | {"setting": about["setting"] | {"width": 0.5}})
    monkeypatch.setattr(pretrained, "WEIGHTS", path)
    with pytest.raises(CheckpointError, match=r"fer2013\.safetensors"):
        fercore.load_pretrained()


def test_it_recognises_the_real_faces_as_well_as_its_card_says(real_fer2013):
    test = real_fer2013.subset(splits.split(real_fer2013, "official").test)
    found = evaluation.predict(fercore.load_pretrained(), test.images).argmax(1).numpy()
    accuracy, card = (found == test.labels).mean(), pretrained.CARD.read_text(encoding="utf-8")
    (said,) = re.findall(r"^\| PrivateTest \| [\d,]+ \| ([\d.]+) \|", card, flags=re.MULTILINE)
    assert 0.62 <= accuracy == pytest.approx(float(said), abs=0.002)  # processors round differently


def test_training_is_not_repeated_for_it(real_fer2013, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "fit", None)  # any training would fail
    parts = splits.split(real_fer2013, "official")
    found = networks.trained(shipping.setting(), real_fer2013, parts, "cpu", tmp_path)
    assert found.weights == pretrained.WEIGHTS
    assert found.key in pretrained.CARD.read_text(encoding="utf-8")
