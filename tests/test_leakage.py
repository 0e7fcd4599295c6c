"""Nearest neighbours against scikit-learn, folds with and without a leak, and the clips."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import brightness_faces
from ferlab import networks
from ferlab.figures import charts
from ferlab.studies import leakage
from sklearn.neighbors import KNeighborsClassifier

from fercore.datasets import FaceDataset, splits
from fercore.emotions import Emotion
from fercore.training import evaluation, recipes


def noise_faces(count: int = 105, families: int = 35, channels: int = 1) -> FaceDataset:
    """Near copies in families of three; the label is the family's own and has nothing to do with its pixels."""
    rng = np.random.default_rng(1)
    family = np.arange(count) % families
    images = rng.integers(0, 240, (families, 8, 8, channels))[family] + rng.integers(
        0, 12, (count, 8, 8, channels)
    )
    labels = rng.permutation(np.arange(families) % 7)[family]
    return FaceDataset(
        name="noise",
        title="Noise",
        images=images.astype(np.uint8),
        labels=labels,
        checksum="",
        groups=np.array([f"f{number}" for number in family]),
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_nearest_is_scikit_learn_s_under_several_partitions_at_once(monkeypatch, channels):
    monkeypatch.setattr(leakage, "_BLOCK", 10)  # several blocks, the last one smaller
    data = noise_faces(channels=channels)
    pixels = (leakage.grey(data.images) / 255).astype(np.float32)
    partitions = {"five": np.arange(105) % 5, "two": np.arange(105) // 60}
    found = leakage.nearest(data.images, partitions, progress=False)
    for name, parts in partitions.items():
        for part in np.unique(parts):
            model = KNeighborsClassifier(1, algorithm="brute").fit(
                pixels[parts != part], data.labels[parts != part]
            )
            named = data.labels[found[name][parts == part]]
            assert (named == model.predict(pixels[parts == part])).all()


def test_nearest_of_some_images_and_first_of_equals():
    data = noise_faces()
    parts = np.arange(105) % 5
    every = leakage.nearest(data.images, {"a": parts}, progress=False)["a"]
    some = leakage.nearest(data.images, {"a": parts}, np.array([40, 7]), progress=False)["a"]
    assert some.tolist() == every[[40, 7]].tolist()
    same = np.zeros((4, 2, 2, 1), np.uint8)
    assert leakage.nearest(same, {"a": np.arange(4)}, progress=False)["a"].tolist() == [1, 0, 0, 0]


def test_grey_is_whole_and_weighs_colours():
    image = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]], np.uint8)
    assert leakage.grey(image).tolist() == [[76, 150, 29, 9]]


def test_random_folds_leak_and_grouped_folds_do_not():
    data = noise_faces()
    found = leakage.neighbours(data, progress=False)
    scores = found.scores().set_index("protocol").accuracy
    assert scores[leakage.RANDOM] > 0.8
    assert scores[leakage.BY_SEQUENCE] < 0.5
    company = found.company()
    assert company.loc["the same sequence", "nearest image"] == 1
    assert company.loc["the same sequence", "any image"] == pytest.approx(2 / 104)
    assert company.loc["the same pixels"].tolist() == [0, 0]
    assert "the same subject" not in company.index


def test_scores_of_some_images_keep_to_them():
    labels = np.array([0, 1, 0, 1])
    data = FaceDataset("x", "X", np.zeros((4, 1, 1, 1), np.uint8), labels, "")
    folds, names = {"a": np.array([0, 0, 1, 1])}, {"a": np.array([2, 2, 0, 1])}
    found = leakage.Neighbours(data, folds, names, np.array([2, 3, 0, 1]))
    row = found.scores().iloc[0]
    assert (row.accuracy, row.images, row.known, row.folds) == (0.75, 4, 2, 2)
    assert row.spread == pytest.approx(np.std([0.5, 1], ddof=1))
    some = found.scores(np.array([True, False, True, True])).iloc[0]
    assert (some.accuracy, some.images, some.floor) == (1, 3, pytest.approx(2 / 3))


def test_protocols_go_from_generous_to_strict():
    data = noise_faces()
    assert list(leakage.protocols(data)) == [leakage.RANDOM, leakage.BY_SEQUENCE]
    both = replace(data, subjects=data.groups)
    assert list(leakage.protocols(both)) == [leakage.RANDOM, leakage.BY_SEQUENCE, leakage.BY_SUBJECT]
    bare = replace(data, groups=None)
    bare.images[50] = bare.images[3]
    assert list(leakage.protocols(bare)) == [leakage.RANDOM, leakage.BY_IMAGE]
    view, protocol = leakage.protocols(bare)[leakage.BY_IMAGE]
    folds = leakage.fold_numbers(view, protocol)
    assert folds[50] == folds[3]
    assert sorted(np.unique(folds)) == [0, 1, 2, 3, 4]


def test_protocols_are_compared_on_equally_many_training_images():
    toy = brightness_faces(140)
    for fold in range(5):
        generous, strict = (leakage.equal_split(toy, protocol, fold) for protocol in ("paper", "subject"))
        assert [len(part) for part in generous.sides] == [84, 28, 28]
        assert [len(part) for part in strict.sides] == [84, 28, 28]
        assert (generous.test == splits.split(toy, "paper", fold).test).all()
        assert sorted(np.concatenate(generous.sides)) == list(range(140))
        assert generous.protocol == "random"  # not "paper": its weights must not be taken for that protocol's


def test_network_is_scored_under_both_protocols(monkeypatch):
    toy, asked = brightness_faces(140), []

    def hits(setting, data, parts, device):
        asked.append((setting.fold, parts.protocol))
        return np.arange(len(parts.test)) < (21 if parts.protocol == "random" else 7)

    monkeypatch.setattr(leakage, "network_hits", hits)
    table = leakage.network_scores(networks.Setting(), toy, 0, folds=2)
    assert asked == [(0, "random"), (1, "random"), (0, "subject"), (1, "subject")]
    assert table.accuracy.tolist() == [0.75, 0.25]
    assert table.known.tolist() == [84, 84]
    assert table.images.tolist() == [56, 56]


def test_network_hits_are_the_network_s(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "project_root", lambda: tmp_path)
    monkeypatch.setattr(networks.provenance, "output_folder", lambda root: tmp_path / "out")
    toy = brightness_faces(70)
    setting = networks.Setting(width=0.0625, recipe=recipes.Recipe(epochs=1, batch_size=16))
    parts = leakage.equal_split(toy, "paper", 0)
    hits = leakage.network_hits(setting, toy, parts, "cpu")
    model = networks.trained(setting, toy, parts, "cpu", progress=False).model
    assert hits.shape == (14,)
    assert hits.mean() == pytest.approx(evaluation.score(model, toy.subset(parts.test))["accuracy"])


def official() -> FaceDataset:
    """Training, PublicTest and PrivateTest; test images 60 and 61 copy training images, one with another label."""
    toy = brightness_faces(70)
    usage = np.array(["Training"] * 50 + ["PublicTest"] * 10 + ["PrivateTest"] * 10)
    images, labels = toy.images.copy(), toy.labels.copy()
    images[60], images[61] = images[4], images[5]
    labels[60], labels[61] = labels[4], (labels[5] + 1) % 7
    return replace(toy, images=images, labels=labels, usage=usage, subjects=None)


def test_official_hits_look_at_training_only():
    data = official()
    hits = leakage.official_hits(data, progress=False)
    assert hits[:2].tolist() == [True, False]
    pixels = leakage.grey(data.images)
    model = KNeighborsClassifier(1, algorithm="brute").fit(pixels[:50], data.labels[:50])
    assert hits.tolist() == (model.predict(pixels[60:]) == data.labels[60:]).tolist()


def test_official_scores_tell_copies_apart():
    hits = {"a": np.array([True, False] + [True] * 6 + [False] * 2), "b": np.zeros(10, bool)}
    table = leakage.official_scores(official(), hits)
    assert table.accuracy.tolist() == [0.7, 0.5, 0.75, 0, 0, 0]
    assert table.images.tolist() == [10, 2, 8] * 2
    labels = official().labels[splits.split(official(), "official").test]
    copied = splits.duplicates(official(), splits.split(official(), "official"))
    shares = [np.bincount(labels[some]).max() / some.sum() for some in (copied | True, copied, ~copied)]
    assert table.floor.tolist() == shares * 2
    assert table.protocol[:3].tolist() == ["all images", "copies of Training", "without copies"]
    record = leakage.as_metrics(table)
    assert (
        json.loads(json.dumps(record, allow_nan=False))["toy_privatetest_a_copies_of_training"]["images"] == 2
    )
    assert record["toy_privatetest_a_all_images"]["spread"] is None


def test_sample_keeps_the_shares_and_is_seeded():
    toy = brightness_faces(140)
    assert leakage.sample(toy, 140) is toy
    some = leakage.sample(toy, 70)
    assert some.counts().tolist() == [10] * 7
    assert (some.images == leakage.sample(toy, 70).images).all()
    assert not (some.images == leakage.sample(toy, 70, seed=1).images).all()


def test_clips_have_the_structure_of_ck_plus():
    data = leakage.clips(characters=2, frames=4, last=3, size=32, progress=False)
    assert data.images.shape == (2 * 6 * 3, 32, 32, 3)
    assert Emotion.NEUTRAL not in data.emotions
    assert data.counts()[:6].tolist() == [6] * 6
    assert (np.unique(data.groups, return_counts=True)[1] == 3).all()
    assert np.unique(data.subjects).tolist() == ["c00", "c01"]
    assert all(
        group.split("-")[0] == subject for group, subject in zip(data.groups, data.subjects, strict=True)
    )
    again = leakage.clips(characters=1, frames=4, last=3, size=32, progress=False)
    assert (again.images == data.images[:18]).all()  # a clip does not depend on how many others there are
    other = leakage.clips(characters=1, frames=4, last=3, size=32, seed=1, progress=False)
    assert other.checksum != again.checksum


def test_a_clip_s_frames_are_nearer_than_anything_else():
    data = leakage.clips(characters=2, frames=8, size=32, progress=False)
    closest = leakage.nearest(data.images, {"": np.arange(len(data))}, progress=False)[""]
    assert (data.groups[closest] == data.groups).all()


def test_dots_are_where_the_numbers_are():
    rows = [
        leakage.score("A", protocol, classifier, [np.array([True] * hits + [False] * (10 - hits))], 5, 0.3)
        for protocol, classifier, hits in [("random", "x", 9), ("strict", "x", 4), ("random", "y", 8)]
    ]
    frame = pd.DataFrame([*rows, rows[0] | {"data": "B", "accuracy": 0.5, "spread": 0.1, "floor": 0.2}])
    frame.loc[1, "floor"] = 0.25
    above, below = charts.protocol_dots(frame).axes
    dots = sorted(
        point for line in above.lines for point in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )
    assert dots == [(0.4, 1), (0.8, 0), (0.9, 0)]
    floors = [[ends[0].tolist() for ends in axes.collections[-1].get_segments()] for axes in (above, below)]
    assert floors == [[[0.3, -0.45], [0.25, 0.55]], [[0.2, -0.45]]]
    assert [text.get_text() for text in above.get_yticklabels()] == ["random", "strict"]
