"""Integrated gradients: completeness, captum on the whole network, closed forms, baselines, agreement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ferlab import temo
from temo_toys import toy

from fercore.errors import DatasetError

captum = pytest.importorskip("captum.attr")


def trained(each: bool = False, sets: np.ndarray | None = None) -> tuple[temo.TEmo, temo.LandmarkClips]:
    clips = toy()
    landmarks = np.arange(12) if sets is None else sets
    return temo.fit(clips, landmarks, (0, 1, 2), temo.Recipe(epochs=15, hidden=4, each=each)), clips


@pytest.mark.parametrize("name", temo.BASELINES)
def test_scores_of_every_clip_add_up(name):
    network, clips = trained()
    found = temo.attribute(network, clips, temo.baselines(name, clips), name, steps=256, signed=True)
    assert found.gap.shape == found.worth.shape == (60, 3)
    assert found.gap.max() < 0.02 * np.abs(found.worth).mean()
    assert found.signed.sum(axis=2) == pytest.approx(found.worth, abs=2 * float(found.gap.max()))


def test_more_steps_close_the_gap():
    network, clips = trained()
    base = temo.baselines("zeros", clips)
    few, many = (temo.attribute(network, clips, base, steps=steps).gap.mean() for steps in (4, 256))
    assert many < few / 5


@pytest.mark.parametrize("each", [False, True])
def test_same_as_captum_on_the_whole_network(each):
    sets = np.array([[0, 4, 2], [5, 1, 7], [11, 2, 3]])
    network, clips = trained(each, sets)
    base = temo.baselines("other class", clips)
    ours = temo.attribute(network, clips, base, steps=16, signed=True, batch_size=100)
    points, below = torch.from_numpy(clips.points), torch.from_numpy(base)
    for which in range(3):
        explainer = captum.IntegratedGradients(lambda x, m=which: network(x)[:, m, 0])
        theirs = explainer.attribute(points, below, n_steps=16).detach().numpy()
        assert ours.signed[:, which] == pytest.approx(theirs.sum(axis=(1, 3))[:, sets[which]], abs=1e-4)
        relevance = np.abs(theirs).sum(axis=(1, 3)).mean(axis=0)[sets[which]]
        assert ours.relevance[which] == pytest.approx(relevance, abs=1e-4)


def test_closed_form_where_the_network_is_linear():
    """Nothing bends where every ReLU is open: then φ is the coordinate's difference times its coefficient."""
    network, clips = trained()
    with torch.no_grad():
        network.bias.fill_(1e3)
        for weight, offset in zip(network.temporal, network.offsets, strict=True):
            weight.abs_()
            offset.fill_(0.0)
    base = temo.baselines("mean", clips)
    found = temo.attribute(network, clips, base, steps=2, signed=True)
    points = torch.from_numpy(clips.points).requires_grad_()
    network(points)[:, 1, 0].sum().backward()
    expected = ((clips.points - base) * points.grad.numpy()).sum(axis=(1, 3))
    assert found.signed[:, 1] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_frames_that_do_not_exist_get_no_score():
    clips = toy()
    short = temo.LandmarkClips(
        "toy", np.concatenate([clips.points] * 2, axis=1), clips.labels, clips.groups, clips.lengths
    )
    network, _ = trained()
    pair = [temo.attribute(network, c, temo.baselines("zeros", c), steps=8) for c in (clips, short)]
    assert pair[0].relevance == pytest.approx(pair[1].relevance, rel=1e-4)


def test_baselines_are_what_they_say():
    clips = toy()
    assert not temo.baselines("zeros", clips).any()
    assert temo.baselines("mean", clips)[7, 1] == pytest.approx(clips.points.mean(axis=(0, 1)), abs=1e-6)
    neutral = temo.baselines("neutral", clips)
    assert all((neutral[:, t] == clips.points[:, 0]).all() for t in range(3))
    low, high = clips.points.min(axis=(0, 1, 2)), clips.points.max(axis=(0, 1, 2))
    drawn = temo.baselines("random", clips, seed=1)
    assert (drawn >= low).all()
    assert (drawn <= high).all()
    assert (drawn == temo.baselines("random", clips, seed=1)).all()
    others = temo.baselines("other class", clips)
    for row in range(60):
        source = np.flatnonzero((clips.points == others[row]).all(axis=(1, 2, 3)))
        assert clips.labels[source[0]] != clips.labels[row]


def test_stills_take_the_mean_neutral_face():
    stills = toy(frames=1)
    base = temo.baselines("neutral", stills, neutral=2)
    assert base[0] == pytest.approx(stills.points[stills.labels == 2].mean(axis=0), abs=1e-6)
    for neutral in (None, 6):
        with pytest.raises(DatasetError, match="no neutral frame of its own"):
            temo.baselines("neutral", stills, neutral)


def test_shorter_clip_of_another_class_holds_its_last_frame():
    points = np.arange(8, dtype=np.float32).reshape(2, 4, 1, 1)
    points[1, 2:] = 0
    clips = temo.LandmarkClips("x", points, np.array([0, 1]), np.array(["a", "b"]), np.array([4, 2]))
    assert temo.baselines("other class", clips)[0, :, 0, 0].tolist() == [4, 5, 5, 5]


def test_wrong_baselines_are_named():
    with pytest.raises(ValueError, match="no baseline 'black'"):
        temo.baselines("black", toy())
    with pytest.raises(DatasetError, match="one class only"):
        temo.baselines("other class", toy(classes=1))


def test_agreement_by_hand():
    one, other = np.array([[4.0, 3, 2, 1]]), np.array([[3.0, 4, 1, 2]])
    row = temo.agreement({"a": one, "b": other}, (1, 2))[0]
    assert (row["one"], row["other"]) == ("a", "b")
    assert row["kendall"] == pytest.approx(1 / 3)  # 2 of 6 pairs are swapped
    assert (row["top 1"], row["top 2"]) == (0, 1)
