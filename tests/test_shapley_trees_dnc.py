"""DnCShap on label images, quadtrees and deep trees: the same code must serve them all."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import torch
from shapley_games import (
    mean_over_orders,
    members,
    network,
    pictures,
    play,
    random_table,
    recorded,
    segments,
    white,
)

from fercore.shapley import DnCShap, build_tree
from fercore.shapley.sampled import exact_evaluations

EVERY = ("absent", "present", "both", 2, 8, "exact", "adaptive")


# --- label images


@pytest.mark.parametrize("contexts", EVERY)
def test_labels_of_a_halving_tree_are_that_tree(contexts):
    net, x = network(gain=4.0), pictures(2, 3, 16, 16)
    halves = DnCShap(net, contexts=contexts, depth=5).attribute(x, "all")
    labels = DnCShap(net, contexts=contexts, tree=halves.tree.labels()).attribute(x, "all")
    assert (labels.tree.leaf_labels == halves.tree.leaf_labels).all()
    for scores, expected in zip(labels.levels, halves.levels, strict=True):
        assert scores == pytest.approx(expected, abs=1e-12)
    assert (labels.evaluations == halves.evaluations).all()
    if halves.standard_errors is not None:
        assert labels.standard_errors == pytest.approx(halves.standard_errors, abs=1e-12)


@pytest.mark.parametrize("contexts", EVERY)
def test_numbers_of_the_segments_do_not_matter(contexts):
    net, x, labels = network(), pictures(1, 3, 12, 10), segments(9, 12, 10)
    names = np.random.default_rng(0).permutation(1000)[:9] - 500
    one = DnCShap(net, contexts=contexts, tree=labels).attribute(x).region_map()
    other = DnCShap(net, contexts=contexts, tree=names[labels]).attribute(x).region_map()
    assert other == pytest.approx(one, abs=1e-12)


@pytest.mark.parametrize("contexts", EVERY)
def test_one_segment(contexts):
    result = DnCShap(network(), contexts=contexts, tree=np.full((8, 8), 3)).attribute(pictures(2, 3, 8, 8))
    assert result.region_scores.shape == (2, 1, 1)
    assert result.region_scores[:, 0] == pytest.approx(result.predictions - result.base_values)
    assert result.evaluations.tolist() == [2, 2]


def test_segments_that_stand_alone_early_keep_their_score():
    table = random_table(0, players=3)
    for contexts in EVERY:
        result = play(table, depth=None, tree=segments(3), contexts=contexts)
        (alone,) = set(range(2)) - set(result.tree.splits(1)[0].tolist())
        leaf = result.tree.spans(1)[alone, 0]
        assert (result.levels[2][:, leaf] == result.levels[1][:, alone]).all()


def test_fewer_levels_than_segments():
    """Leaves of several segments: the same as a label image of the leaves."""
    net, x, labels = network(), pictures(1, 3, 12, 10), segments(11, 12, 10)
    for contexts in ("exact", "both", 2, "adaptive"):
        coarse = DnCShap(net, contexts=contexts, tree=labels, depth=2).attribute(x)
        fine = DnCShap(net, contexts=contexts, tree=labels).attribute(x)
        assert coarse.tree.n_leaves == 4
        if contexts != "adaptive":
            for level in range(3):
                assert coarse.levels[level] == pytest.approx(fine.levels[level], abs=1e-12)
        assert coarse.efficiency_gap < 1e-12


# --- quadtrees


def test_quadtree_of_one_level_by_hand():
    """Equal treatment of four players: v counts how many quarters are visible, squared."""
    codes = np.arange(16)
    table = torch.tensor([[float(code.bit_count() ** 2)] for code in codes.tolist()])
    for contexts in EVERY:
        scores = play(table, depth=1, tree="quadtree", contexts=contexts).region_scores[0, :, 0]
        assert scores == pytest.approx([4, 4, 4, 4], abs=1e-12)


def test_quadtree_root_is_exact_whatever_the_contexts():
    """At the root there is only one context, so the four scores are the Shapley values of four players."""
    table = random_table(1, 2)
    oracle = mean_over_orders(build_tree(8, 8, 1, "quadtree"), table)
    for contexts in (2, 8, "adaptive", "exact"):
        scores = play(table, depth=1, tree="quadtree", contexts=contexts).region_scores[0]
        assert scores == pytest.approx(oracle, abs=1e-12)


@pytest.mark.parametrize("contexts", EVERY)
def test_quadtrees_on_odd_sides(contexts):
    result = DnCShap(network(), contexts=contexts, tree="quadtree", depth=2).attribute(
        pictures(2, 3, 11, 7), "all"
    )
    assert result.region_scores.shape == (2, 16, 4)
    assert [scores.shape[1] for scores in result.levels] == [1, 4, 16]
    assert result.efficiency_gap < 1e-12
    for coarse, fine in zip(result.levels, result.levels[1:], strict=False):
        assert fine.reshape(2, -1, 4, 4).sum(axis=2) == pytest.approx(coarse, abs=1e-12)


def test_quadtree_is_close_to_exact_at_half_the_evaluations():
    net, x = network(gain=4.0), pictures(4, 3, 16, 16)
    exact = DnCShap(net, contexts="exact", tree="quadtree", depth=2).attribute(x)
    half = int(exact.evaluations[0]) // 2
    result = DnCShap(net, evaluations=half, tree="quadtree", depth=2).attribute(x)
    error = np.linalg.norm(result.region_scores - exact.region_scores)
    assert error < 0.2 * np.linalg.norm(exact.region_scores)


# --- deep trees


def cheap_model(tree):
    """A few products of the visible parts: thousands of rows a second."""
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.normal(size=(tree.n_leaves, 4)) / np.sqrt(tree.n_leaves))

    def model(x):
        a, b, c, d = (members(x, tree) @ weights).T
        return torch.stack([a + b * c, torch.tanh(2 * d) * (1 + a)], dim=1)

    return model


@pytest.mark.parametrize("depth", [9, 10])
@pytest.mark.parametrize("contexts", ["adaptive", 2])
def test_deep_trees_are_linear_in_time_and_memory(depth, contexts):
    tree, n = build_tree(32, 32, depth), 2**depth
    explainer = DnCShap(cheap_model(tree), contexts=contexts, depth=depth, output="logit")
    tracemalloc.start()
    start = time.perf_counter()
    result = explainer.attribute(white(tree), "all")
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = 8 * n if contexts == "adaptive" else 2 + 2 + 2 * 2 * (2**depth - 2)
    assert result.evaluations.tolist() == [expected]
    assert result.region_scores.shape == (1, n, 2)
    assert np.isfinite(result.standard_errors).all()
    assert result.efficiency_gap < 1e-12
    assert peak < 400 * 2**20
    assert seconds < 5


def test_masks_of_deep_trees_are_distinct():
    tree = build_tree(32, 16, 9)
    model, seen = recorded(cheap_model(tree))
    result = DnCShap(model, depth=9, output="logit", seed=1).attribute(white(tree), 0)
    assert result.evaluations.tolist() == [8 * 512] == [len(seen)] == [len(set(seen))]


def test_deep_quadtrees():
    tree = build_tree(32, 32, 5, "quadtree")
    explainer = DnCShap(cheap_model(tree), depth=5, tree="quadtree", output="logit")
    result = explainer.attribute(white(tree), "all")
    assert result.evaluations.tolist() == [2 + (8 * 1024 - 2) // 14 * 14]
    assert np.isfinite(result.standard_errors).all()
    assert result.efficiency_gap < 1e-12


def test_exact_evaluations_by_hand():
    assert exact_evaluations(build_tree(8, 8, 0)) == 2
    assert exact_evaluations(build_tree(8, 8, 6)) == 2732
    assert exact_evaluations(build_tree(16, 16, 8)) == 43_692
    assert exact_evaluations(build_tree(8, 8, 1, "quadtree")) == 16
    assert exact_evaluations(build_tree(8, 8, 2, "quadtree")) == 16 + 4 * 8 * 14
    assert exact_evaluations(build_tree(8, 8, None, segments(3))) == 2 + 2 + 4
