"""The linear algebra of adaptive contexts against the textbook formulas, split by split; and how rows are masked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import network, pictures

from fercore.shapley import DnCShap, build_tree
from fercore.shapley.adaptive import INTERACTIONS, Search
from fercore.shapley.game import ImageGame, TargetGame
from fercore.shapley.inputs import auto_batch_size
from fercore.shapley.quadrature import condition_anew, gain, observed, posterior
from fercore.shapley.splits import asymmetries
from fercore.shapley.tree import pack


def searched(seed, pairs=60, images=2, depth=4):
    """A search with its factors, which a finished run drops."""
    tree, x = build_tree(8, 8, depth), pictures(images, 3, 8, 8, seed=seed)
    game = ImageGame(network(), x, torch.zeros(1, 3, 1, 1), tree.labels())
    target = TargetGame(game, tree, None)
    search = Search(target)
    search.run(target, pairs)
    search._r[:] = np.random.default_rng(seed).integers(len(INTERACTIONS), size=images)
    for level in search._levels:
        condition_anew(level, search._r, np.arange(images))
    return search


def conditioned(level, kernel, seen):
    """Covariance of z given the pairs seen: k - k_o (k_oo)^-1 k_o'."""
    cross = kernel[:, seen]
    return kernel - cross @ np.linalg.solve(kernel[np.ix_(seen, seen)], cross.T) if seen.any() else kernel


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 17, 60]))
def test_factors_give_the_conditional_covariance(seed, pairs):
    search = searched(seed, pairs)
    assert sum(level.pairs.sum() for level in search._levels) == search.observed.sum()
    for level in search._levels:
        amplitude = np.random.default_rng(seed).random(level.seen.shape)
        gains = gain(level, search._r, amplitude)
        for i, s in np.ndindex(level.pairs.shape):
            spread = conditioned(level, level.kernels[search._r[i]], level.seen[i, s])
            factor = level.factor[i, s]
            assert spread == pytest.approx(level.kernels[search._r[i]] - factor.T @ factor, abs=1e-9)
            assert np.diag(spread) == pytest.approx(level.variance[i, s], abs=1e-9)
            new = ~level.seen[i, s]
            lowered = (spread @ (amplitude[i, s] * level.pool.weights)) ** 2 / np.diag(spread).clip(1e-6)
            assert gains[i, s, new] == pytest.approx(lowered[new], rel=1e-6, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 17, 60]))
def test_guesses_are_those_of_a_gaussian_process(seed, pairs):
    search = searched(seed, pairs)
    images, choices = np.array([1, 0]), np.array([[0, 3], [5, 1], [2, 2]])
    for level in search._levels:
        splits, weights = np.arange(level.seen.shape[1]), level.pool.weights
        reach = 0.1 + np.random.default_rng(seed).random((3, 2, *level.seen.shape[1:]))
        given_ = observed(level, images, splits)
        mean, *_ = posterior(level, images, splits, given_, reach, choices, None)
        for v, i, s in np.ndindex(mean.shape[:3]):
            seen, h = level.seen[images[i], s], reach[v, i, s]
            kernel = level.kernels[choices[v, i]] * h * h[:, None]
            delta = asymmetries(level.values[images[i], s][..., 1:-1, :], 2)[seen].reshape(seen.sum(), 2)
            guess = kernel[:, seen] @ np.linalg.solve(kernel[np.ix_(seen, seen)], delta)
            assert mean[v, i, s, :, 0] == pytest.approx(weights @ guess, rel=1e-6, abs=1e-10)


def test_images_do_not_depend_on_their_group(monkeypatch):
    explainer, x = DnCShap(network(), depth=5), pictures(5, 3, 8, 8)
    together = explainer.attribute(x)
    monkeypatch.setattr("fercore.shapley.base._GROUP_IMAGES", 2)
    apart = explainer.attribute(x)
    assert len(apart.searches) == 3
    assert apart.region_scores == pytest.approx(together.region_scores, abs=1e-13)
    assert apart.standard_errors == pytest.approx(together.standard_errors, abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_masking_copies_every_bit_of_any_type(dtype):
    seen, tree = [], build_tree(8, 6, 3)
    x, b = pictures(2, 3, 8, 6).to(dtype), -pictures(1, 3, 8, 6, seed=1).to(dtype)
    x[0, 0, 0, :2], b[0, 1, 0, :2] = torch.tensor([-0.0, 1e-40]), torch.tensor([torch.inf, torch.nan])

    def model(rows):
        seen.append(rows.clone())
        return torch.zeros(len(rows), 2)

    members = np.random.default_rng(0).random((4, 8)) < 0.5
    for channels_last in (True, False):
        game = ImageGame(model, x, b, tree.labels(), output="logit", batch_size=3)
        game._use_layout(channels_last=channels_last)
        game.values(pack(members))
        expected = torch.where(torch.from_numpy(members[:, tree.labels()])[None, :, None], x[:, None], b)
        found = torch.cat(seen).reshape(expected.shape)
        integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[expected.element_size()]
        assert (found.contiguous().view(integers) == expected.contiguous().view(integers)).all()
        seen.clear()


def test_automatic_batches_fit_the_memory():
    device = torch.device("cpu")
    assert auto_batch_size(48 * 48 * 3 * 4, device) == 64
    assert auto_batch_size(224 * 224 * 3 * 4, device) == 13  # 512 MiB of activations
    assert auto_batch_size(2**40, device) == 1
