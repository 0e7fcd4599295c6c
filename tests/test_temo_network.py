"""T-EMO: its size and operations in closed form, masks, networks side by side, training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
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


def test_wrong_requests_are_named():
    for landmarks in ([1, 1], []):
        with pytest.raises(ValueError, match="at least one landmark, and none twice"):
            temo.TEmo(np.array(landmarks, dtype=int))
    with pytest.raises(DatasetError, match=r"60 training clips, \{0: 20, 7: 0\} by class"):
        temo.fit(toy(), np.arange(3), (0, 7))
    with pytest.raises(ValueError, match=r"shape \(2, 4\) do not fit 3 classes"):
        temo.fit(toy(), np.zeros((2, 4), int), (0, 1, 2))
