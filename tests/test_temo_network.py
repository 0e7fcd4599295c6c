"""T-EMO: operations in closed form, masks, networks side by side, training, and its integrated gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from ferlab import temo
from hypothesis import given
from hypothesis import strategies as st
from temo_toys import toy

from fercore.errors import DatasetError


@given(
    st.integers(1, 40), st.integers(1, 3), st.integers(1, 9), st.sampled_from([2, 8]), st.sampled_from([1, 7])
)
def test_flops_and_parameters_in_closed_form(k, coordinates, frames, hidden, outputs):
    network = temo.TEmo(np.arange(k), coordinates, outputs=outputs, hidden=hidden)
    measured = temo.cost(network, torch.zeros(2, frames, 40, coordinates), repeats=0)
    assert measured["flops"] == temo.expected_flops(k, coordinates, frames, hidden, outputs)
    first = (k * coordinates + 1) * hidden
    assert measured["parameters"] == first + 2 * (3 * hidden + 1) * hidden + (hidden + 1) * outputs
    assert np.isnan(measured["microseconds"])


def test_network_is_what_torch_modules_compute():
    network = temo.TEmo(np.array([2, 0]), 2, hidden=4, seed=1).double()
    points = torch.randn(5, 6, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frames = points[:, :, [2, 0]].flatten(2)
    hidden = torch.relu(frames @ network.weight[0] + network.bias[0]).transpose(1, 2)
    for weight, offset in zip(network.temporal, network.offsets, strict=True):
        kernel = weight[0].view(3, 4, 4).permute(2, 1, 0)  # taps, in, out -> out, in, taps
        hidden = torch.relu(torch.nn.functional.conv1d(hidden, kernel, offset[0, 0], padding=1))
    logit = hidden.mean(dim=2) @ network.read_out[0] + network.offset[0]
    assert torch.allclose(network(points)[:, 0], logit, atol=1e-12)
    mask = torch.arange(6) < torch.tensor([[6], [1], [2], [3], [4]])
    standard = network.standardise(points, mask, each=True)  # of the frames that exist
    assert torch.allclose(standard.spread, points[mask].std(dim=0, correction=0))
    assert torch.allclose(standard.centre, points[mask].mean(dim=0))


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 99))
def test_frames_that_do_not_exist_have_no_influence(length, more, seed):
    network = temo.TEmo(np.arange(4), 2, networks=2, seed=seed).double()
    random = torch.Generator().manual_seed(seed)
    clip = torch.randn(1, length, 4, 2, dtype=torch.float64, generator=random)
    rest = torch.randn(1, more, 4, 2, dtype=torch.float64, generator=random)
    mask = torch.arange(length + more)[None] < length
    assert torch.allclose(network(torch.cat([clip, rest], dim=1), mask), network(clip), atol=1e-12)


def test_networks_side_by_side_train_as_if_alone():
    clips, sets = toy(), np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    first, other = sets.copy(), sets.copy()
    first[1:] = [9, 10, 11]  # what the two others learn must not reach the first
    other[0] = [9, 10, 11]
    recipe = temo.Recipe(epochs=3, hidden=4)
    one, two, three = (
        temo.predict(temo.fit(clips, s, (0, 1, 2), recipe), clips) for s in (sets, first, other)
    )
    assert one[:, 0] == pytest.approx(two[:, 0], abs=1e-4)
    assert one[:, 1:] == pytest.approx(three[:, 1:], abs=1e-4)
    assert one[:, 0] != pytest.approx(three[:, 0], abs=1e-2)


def test_frozen_embedding_stays_random_and_the_rest_learns():
    clips, recipe = toy(), temo.Recipe(epochs=2, frozen=True, seed=5)
    network = temo.fit(clips, np.arange(12), (0, 1, 2), recipe)
    start = temo.TEmo(np.arange(12), 2, networks=3, hidden=recipe.hidden, seed=5)
    assert torch.equal(network.weight, start.weight)
    assert not torch.equal(network.read_out, start.read_out)


def test_training_finds_the_classes_alone_and_jointly():
    clips = toy(count=120)
    train, test = clips.subset(np.arange(90)), clips.subset(np.arange(90, 120))
    network = temo.fit(train, np.arange(12), (0, 1, 2), temo.Recipe(epochs=30))
    answers = temo.predict(network, test)[..., 0] > 0
    assert (answers == (test.labels[:, None] == np.arange(3))).mean() > 0.9
    joint = temo.fit(train, np.arange(12), (0, 1, 2), temo.Recipe(epochs=30), joint=True)
    assert (temo.predict(joint, test)[:, 0].argmax(axis=1) == test.labels).mean() > 0.9


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
    points = np.arange(8, dtype=np.float32).reshape(2, 4, 1, 1)
    points[1, 2:] = 0
    uneven = temo.LandmarkClips("x", points, np.array([0, 1]), np.array(["a", "b"]), np.array([4, 2]))
    assert temo.baselines("other class", uneven)[0, :, 0, 0].tolist() == [
        4,
        5,
        5,
        5,
    ]  # the last frame is held
    still = toy(frames=1)
    mean = still.points[still.labels == 2].mean(axis=0)
    assert temo.baselines("neutral", still, neutral=2)[0] == pytest.approx(mean, abs=1e-6)


def test_agreement_by_hand():
    one, other = np.array([[4.0, 3, 2, 1]]), np.array([[3.0, 4, 1, 2]])
    row = temo.agreement({"a": one, "b": other}, (1, 2))[0]
    assert row == {"one": "a", "other": "b", "kendall": pytest.approx(1 / 3), "top 1": 0, "top 2": 1}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: temo.TEmo(np.array([1, 1])), ValueError, "none twice"),
        (lambda: temo.TEmo(np.array([], dtype=int)), ValueError, "at least one landmark"),
        (lambda: temo.fit(toy(), np.arange(3), (0, 7)), DatasetError, "7: 0} by class"),
        (lambda: temo.fit(toy(), np.zeros((2, 4), int), (0, 1, 2)), ValueError, "do not fit 3 classes"),
        (lambda: temo.baselines("black", toy()), ValueError, "no baseline 'black'"),
        (lambda: temo.baselines("other class", toy(classes=1)), DatasetError, "one class only"),
        (lambda: temo.baselines("neutral", toy(frames=1), 6), DatasetError, "no neutral frame"),
        (lambda: temo.top(np.zeros((7, 468)), 469), ValueError, "from 1 to 468"),
        (lambda: temo.folds(toy(120, groups=4)), DatasetError, "4 groups, too few for 5 folds"),
        (lambda: temo.folds(toy(classes=1)), DatasetError, "one class only"),
        (lambda: temo.run(toy(), temo.Plan(sizes=(6, 3))), ValueError, "clips have 12 landmarks"),
        (lambda: temo.run(toy(), temo.Plan(sizes=(12, 0))), ValueError, "clips have 12 landmarks"),
    ],
)
def test_what_cannot_be_had_is_named(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()
