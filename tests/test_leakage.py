"""Nearest neighbours against scikit-learn, folds with and without a leak, and the clips."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import brightness_faces
from ferlab import networks
from ferlab.studies import leakage
from sklearn.neighbors import KNeighborsClassifier

from fercore.datasets import FaceDataset, splits
from fercore.emotions import Emotion
from fercore.training import evaluation, recipes


def noise_faces(channels: int = 1) -> FaceDataset:
    """Near copies in 35 families of three; the label is the family's own and has nothing to do with its pixels."""
    rng, family, shape = np.random.default_rng(1), np.arange(105) % 35, (8, 8, channels)
    images = rng.integers(0, 240, (35, *shape))[family] + rng.integers(0, 12, (105, *shape))
    labels = rng.permutation(np.arange(35) % 7)[family]
    groups = np.array([f"f{number}" for number in family])
    return FaceDataset("noise", "Noise", images.astype(np.uint8), labels, "", groups=groups)


@pytest.mark.parametrize("channels", [1, 3])
def test_nearest_is_scikit_learn_s_under_several_partitions_at_once(monkeypatch, channels):
    assert leakage.grey(np.array([[[[255, 0, 0], [9, 9, 9]]]], np.uint8)).tolist() == [[76, 9]]
    monkeypatch.setattr(leakage, "_BLOCK", 10)  # several blocks, the last one smaller
    data = noise_faces(channels)
    data.images[60:90] = data.images[:30]  # of equally near images the first one is taken
    pixels = leakage.grey(data.images)
    partitions = {"five": np.arange(105) % 5, "two": np.arange(105) // 95}
    found = leakage.nearest(data.images, partitions | {"": np.arange(105)}, progress=False)
    for name, parts in partitions.items():
        for part in np.unique(parts):
            known = np.flatnonzero(parts != part)
            model = KNeighborsClassifier(1, algorithm="brute").fit(pixels[known], known)
            assert (found[name][parts == part] == model.predict(pixels[parts == part])).all()
    alone = ((pixels[:, None] - pixels) ** 2).sum(axis=2) + np.diag([np.inf] * 105)
    assert (found[""] == alone.argmin(axis=1)).all()


def test_random_folds_leak_and_grouped_folds_do_not():
    found = leakage.neighbours(noise_faces(), progress=False)
    scores = found.scores().set_index("protocol").accuracy
    assert scores[leakage.RANDOM] > 0.8
    assert scores[leakage.BY_SEQUENCE] < 0.5
    company = found.company()
    assert company.loc["the same sequence"].tolist() == [1, pytest.approx(2 / 104)]
    assert company.loc["the same pixels"].tolist() == [0, 0]


def test_scores_of_some_images_keep_to_them():
    data = FaceDataset("x", "X", np.zeros((4, 1, 1, 1), np.uint8), np.array([0, 1, 0, 1]), "")
    folds, names = {"a": np.array([0, 0, 1, 1])}, {"a": np.array([2, 2, 0, 1])}
    found = leakage.Neighbours(data, folds, names, np.array([2, 3, 0, 1]))
    row, some = found.scores().iloc[0], found.scores(np.array([True, False, True, True])).iloc[0]
    assert (row.accuracy, row.images, row.known, row.folds) == (0.75, 4, 2, 2)
    assert row.spread == pytest.approx(np.std([0.5, 1], ddof=1))
    assert (some.accuracy, some.images, some.floor) == (1, 3, pytest.approx(2 / 3))


def test_protocols_go_from_generous_to_strict():
    data = noise_faces()
    both = replace(data, subjects=data.groups)
    assert list(leakage.protocols(both)) == [leakage.RANDOM, leakage.BY_SEQUENCE, leakage.BY_SUBJECT]
    bare = replace(data, groups=None)
    bare.images[50] = bare.images[3]
    assert list(leakage.protocols(bare)) == [leakage.RANDOM, leakage.BY_IMAGE]
    folds = leakage.fold_numbers(*leakage.protocols(bare)[leakage.BY_IMAGE])
    assert folds[50] == folds[3]
    assert set(folds) == set(range(5))


def test_network_is_scored_under_both_protocols_on_equally_many_images(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "project_root", lambda: tmp_path)
    monkeypatch.setattr(networks.provenance, "output_folder", lambda root: tmp_path / "out")
    toy, setting = brightness_faces(70), networks.Setting(width=0.0625, recipe=recipes.Recipe(epochs=1))
    table = leakage.network_scores(setting, toy, 0, folds=1, device="cpu")
    assert table[["known", "images"]].to_numpy().tolist() == [[42, 14]] * 2
    for protocol, accuracy in zip(("paper", "subject"), table.accuracy, strict=True):
        parts = leakage.equal_split(toy, protocol, 0)
        assert sorted(np.concatenate(parts.sides)) == list(range(70))
        assert (parts.test == splits.split(toy, protocol, 0).test).all()
        model = networks.trained(setting, toy, parts, "cpu", progress=False).model
        assert accuracy == pytest.approx(evaluation.score(model, toy.subset(parts.test))["accuracy"])


def test_official_scores_tell_copies_apart():
    toy = brightness_faces(70)
    usage = np.repeat(["Training", "PublicTest", "PrivateTest"], [50, 10, 10])
    images, labels = toy.images.copy(), toy.labels.copy()
    images[60:62] = images[4:6]
    labels[60], labels[61] = labels[4], (labels[5] + 1) % 7  # copies, the second with another label
    data = replace(toy, images=images, labels=labels, usage=usage, subjects=None)
    hits = leakage.official_hits(data)
    assert hits.tolist() == [True, False, *[True] * 8]  # brightness is the class
    table = leakage.official_scores(data, {"1-NN": hits, "b": np.arange(10) > 2})
    assert table.accuracy.tolist() == pytest.approx([0.9, 0.5, 1, 0.7, 0, 7 / 8])
    assert table.images.tolist() == [10, 2, 8] * 2
    assert table.floor.iloc[1] == np.bincount(labels[60:62]).max() / 2
    metrics = json.loads(json.dumps(leakage.as_metrics(table), allow_nan=False))
    assert metrics["toy_privatetest_b_copies_of_training"]["images"] == 2
    assert metrics["toy_privatetest_1_nn_all_images"]["spread"] is None


def test_sample_keeps_the_shares_and_is_seeded():
    toy = brightness_faces(140)
    assert leakage.sample(toy, 140) is toy
    some = leakage.sample(toy, 70)
    assert some.counts().tolist() == [10] * 7
    assert not (some.images == leakage.sample(toy, 70, seed=1).images).all()


def test_clips_have_the_structure_of_ck_plus():
    data = leakage.clips(characters=2, frames=8, size=32, progress=False)
    assert data.images.shape == (2 * 6 * 3, 32, 32, 3)
    assert Emotion.NEUTRAL not in data.emotions
    assert (np.unique(data.groups, return_counts=True)[1] == 3).all()
    assert [group.split("-")[0] for group in data.groups] == data.subjects.tolist()
    again = leakage.clips(characters=1, frames=8, size=32, progress=False)
    assert (again.images == data.images[:18]).all()  # a clip does not depend on how many others there are
    closest = leakage.nearest(data.images, {"": np.arange(len(data))}, progress=False)[""]
    assert (data.groups[closest] == data.groups).all()
