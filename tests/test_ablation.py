"""Variants that differ in one thing, compared on the same images; and the other systems of Table 2."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import brightness_faces
from ferlab import networks
from ferlab.studies import ablation, other_systems
from scipy import stats
from skimage.feature import local_binary_pattern

from fercore.datasets import splits
from fercore.training import recipes

TOY = brightness_faces(70)
PARTS = splits.split(TOY)
HISTORY = [
    {"epoch": n, "validation_accuracy": n / 10, "validation_loss": 1.0, "images_per_second": n}
    for n in (1, 2)
]


def outcome(right, seed):
    """Answers that are right on a share of the images, by two rules."""
    rng, logits = np.random.default_rng(seed), {}
    for name, part in (("validation", PARTS.validation), ("test", PARTS.test)):
        labels = torch.from_numpy(TOY.labels[part] + (rng.random(len(part)) > right)) % 7
        logits |= {name: torch.eye(7)[labels], f"{name} mirrored": torch.eye(7)[TOY.labels[part]]}
    return networks.Outcome(logits, False, HISTORY, "key", "a CPU", 1.0)


def test_a_gain_is_a_paired_difference_with_its_interval():
    right, base = np.random.default_rng(0).random((2, 400)) < [[0.8], [0.6]]
    found = ablation.gain(right, base)
    t = stats.ttest_rel(right.astype(float), base.astype(float))
    assert found["difference"] == pytest.approx(right.mean() - base.mean())
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * found["difference"] / t.statistic)
    verdicts = [ablation.gain(*pair)["verdict"] for pair in ((right, base), (base, right), (right, right))]
    assert verdicts == ["better", "worse", "not shown"]


def test_variants_are_trained_compared_and_a_failed_one_is_left_empty(monkeypatch, capsys):
    base = replace(networks.Setting(width=0.0625), recipe=recipes.recipe("strong", epochs=5))
    changes = {
        name: ablation.ADDITIONS[name] for name in ("strong", "with dropout", "taught by a wider network")
    }
    settings = ablation.recipe_settings(base, changes, "the key")
    assert [setting.teacher for setting in settings.values()] == ["", "", "the key"]
    assert len({setting.name(PARTS) for setting in settings.values()}) == 3

    def answers(setting, *_, teacher=None, **__):
        assert (teacher is None) == (setting.teacher == "")
        if teacher:
            raise FloatingPointError("the loss is nan")
        return outcome(0.5 if setting.recipe.dropout else 1.0, 0)

    monkeypatch.setattr(networks, "outcome", answers)
    done = ablation.run(settings, TOY, PARTS, "cpu", base)
    assert "the loss is nan" in capsys.readouterr().out
    table = ablation.table(done, TOY, PARTS, "test")
    assert table.accuracy["strong"] == 1 > table.accuracy["with dropout"]
    assert np.isnan(table.accuracy["taught by a wider network"])
    paired = ablation.paired(done, TOY, PARTS, "test").set_index(["variant", "rule"])
    assert paired.loc[("with dropout", "single pass"), "verdict"] == "worse"
    assert paired.loc[("with dropout", "mirrored"), "difference"] == 0
    assert (paired.loc["strong", "verdict"] == "").all()
    assert np.trace(ablation.confusions(done, TOY.labels[PARTS.test])["strong"]) == len(PARTS.test)
    assert list(ablation.histories(done)) == ["strong", "with dropout"]


def test_a_support_vector_machine_is_fitted_once_for_its_features(tmp_path, monkeypatch):
    features = np.stack([TOY.images.mean((1, 2, 3)), TOY.images.std((1, 2, 3))], axis=1)
    features = np.concatenate([features, np.eye(7)[TOY.labels]], axis=1).astype(np.float32)
    call = features, TOY, PARTS, tmp_path / "svm.safetensors"
    said, about = other_systems.svm(*call)
    assert (said == TOY.labels[PARTS.test]).mean() > 0.9
    assert len(about["tried"]) == 3
    monkeypatch.setattr("sklearn.svm.LinearSVC.fit", None)  # any fit would fail
    assert (other_systems.svm(*call)[0] == said).all()


def test_features_and_the_front_end():
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 1)).astype(np.uint8)
    assert other_systems.hog(images).shape[0] == 2
    counts = other_systems.lbp(images).reshape(2, 8, 8, 59) ** 2
    corner = local_binary_pattern(images[1, ..., 0], 8, 1, "nri_uniform")[:6, 6:12]
    np.testing.assert_allclose(
        counts[1, 0, 1], np.bincount(corner.astype(int).ravel(), minlength=59), rtol=1e-5
    )
    flat = replace(TOY, images=np.full_like(TOY.images, 90))
    assert (other_systems.band_passed(flat).images == 128).all()
    assert other_systems.band_passed(TOY).checksum != TOY.checksum


def test_deep_emotion_starts_with_the_image_as_it_is():
    network = networks.build(networks.Setting("deep_emotion"), (48, 48)).eval()
    images = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    plain = network.classify(network.features(images[:, :1]))
    torch.testing.assert_close(network(images), plain, rtol=1e-3, atol=1e-4)


def test_deep_emotion_takes_images_of_one_size_and_answers_without_smaller_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "ceiling", lambda *_: 1e9)
    faces = brightness_faces(70, size=48)
    setting = networks.setting("toy", "deep_emotion", epochs=1, batch_size=8, batch_norm=False)
    answers = networks.outcome(setting, faces, splits.split(faces), "cpu", tmp_path, progress=False)
    assert set(answers.logits) == {
        f"{part}{rule}" for part in ("validation", "test") for rule in ("", " mirrored")
    }
