"""Integrated gradients: completeness, captum on the whole network, baselines, agreement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from ferlab import temo
from temo_toys import toy

from fercore.errors import DatasetError


def trained(sets: np.ndarray, each: bool = False) -> tuple[temo.TEmo, temo.LandmarkClips]:
    clips = toy()
    return temo.fit(clips, sets, (0, 1, 2), temo.Recipe(epochs=15, hidden=4, each=each)), clips


def test_scores_of_every_clip_add_up_under_every_baseline():
    network, clips = trained(np.arange(12))
    clips = clips.subset(np.arange(20))
    for found in temo.relevance(network, clips, steps=256).values():
        assert found.gap.shape == found.worth.shape == (20, 3)
        assert found.gap.max() < 0.02 * np.abs(found.worth).mean()
    base = temo.baselines("zeros", clips)
    few, many = (temo.attribute(network, clips, base, steps, signed=True) for steps in (4, 256))
    assert many.gap.mean() < few.gap.mean() / 5
    assert many.signed.sum(axis=2) == pytest.approx(many.worth, abs=2 * float(many.gap.max()))
    twice = np.concatenate([clips.points] * 2, axis=1)  # frames that do not exist get no score
    longer = temo.LandmarkClips("toy", twice, clips.labels, clips.groups, clips.lengths)
    again = temo.attribute(network, longer, temo.baselines("zeros", longer), 256)
    assert again.relevance == pytest.approx(many.relevance, rel=1e-4)


@pytest.mark.parametrize("each", [False, True])
def test_same_as_captum_on_the_whole_network(each):
    sets = np.array([[0, 4, 2], [5, 1, 7], [11, 2, 3]])
    network, clips = trained(sets, each)
    base = temo.baselines("other class", clips)
    ours = temo.attribute(network, clips, base, steps=16, signed=True, batch_size=100)
    points, below = torch.from_numpy(clips.points), torch.from_numpy(base)
    for which in range(3):
        explainer = IntegratedGradients(lambda x, m=which: network(x)[:, m, 0])
        theirs = explainer.attribute(points, below, n_steps=16).detach().numpy()
        assert ours.signed[:, which] == pytest.approx(theirs.sum(axis=(1, 3))[:, sets[which]], abs=1e-4)
        relevance = np.abs(theirs).sum(axis=(1, 3)).mean(axis=0)[sets[which]]
        assert ours.relevance[which] == pytest.approx(relevance, abs=1e-4)


def test_baselines_are_what_they_say():
    clips = toy()
    assert not temo.baselines("zeros", clips).any()
    assert temo.baselines("mean", clips)[7, 1] == pytest.approx(clips.points.mean(axis=(0, 1)), abs=1e-6)
    assert (temo.baselines("neutral", clips) == clips.points[:, :1]).all()
    drawn = temo.baselines("random", clips, seed=1)
    assert (drawn >= clips.points.min(axis=(0, 1, 2))).all()
    assert (drawn <= clips.points.max(axis=(0, 1, 2))).all()
    assert (drawn == temo.baselines("random", clips, seed=1)).all()
    for other, label in zip(temo.baselines("other class", clips), clips.labels, strict=True):
        source = np.flatnonzero((clips.points == other).all(axis=(1, 2, 3)))
        assert clips.labels[source[0]] != label
    still = toy(frames=1)
    mean = still.points[still.labels == 2].mean(axis=0)
    assert temo.baselines("neutral", still, neutral=2)[0] == pytest.approx(mean, abs=1e-6)


def test_shorter_clip_of_another_class_holds_its_last_frame():
    points = np.arange(8, dtype=np.float32).reshape(2, 4, 1, 1)
    points[1, 2:] = 0
    clips = temo.LandmarkClips("x", points, np.array([0, 1]), np.array(["a", "b"]), np.array([4, 2]))
    assert temo.baselines("other class", clips)[0, :, 0, 0].tolist() == [4, 5, 5, 5]


def test_baselines_that_cannot_be_had_are_named():
    with pytest.raises(ValueError, match="no baseline 'black'"):
        temo.baselines("black", toy())
    with pytest.raises(DatasetError, match="one class only"):
        temo.baselines("other class", toy(classes=1))
    for neutral in (None, 6):
        with pytest.raises(DatasetError, match="no neutral frame of its own"):
            temo.baselines("neutral", toy(frames=1), neutral)


def test_agreement_by_hand():
    one, other = np.array([[4.0, 3, 2, 1]]), np.array([[3.0, 4, 1, 2]])
    row = temo.agreement({"a": one, "b": other}, (1, 2))[0]
    assert row == {"one": "a", "other": "b", "kendall": pytest.approx(1 / 3), "top 1": 0, "top 2": 1}
