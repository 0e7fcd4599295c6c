"""Exact and sampled contexts: agreement with oracles on every kind of tree, unbiasedness, errors, balance."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import (
    mean_over_orders,
    network,
    pictures,
    play,
    product_model,
    random_products,
    random_table,
    recorded,
    segments,
    table_model,
    white,
    winter_of_products,
)

from fercore.shapley import DnCShap, build_tree
from fercore.shapley.game import TargetGame
from fercore.shapley.sampled import exact_evaluations, sampled_evaluations

# --- exact


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 9))
def test_exact_quadtree_is_the_mean_over_tree_orders(seed, height, width):
    table = random_table(seed, 2)
    scores = play(table, height, width, 1, tree="quadtree", contexts="exact").region_scores[0]
    oracle = mean_over_orders(build_tree(height, width, 1, "quadtree"), table)  # 24 orders
    assert scores == pytest.approx(oracle, abs=1e-12)


@pytest.mark.parametrize("contexts", ["exact", 8, "adaptive"])
@pytest.mark.parametrize("count", [2, 3, 5, 6, 7])
def test_label_images_are_the_mean_over_tree_orders(count, contexts):
    for seed in range(3):
        labels, table = segments(count, seed=seed), random_table(seed, players=count)
        result = play(table, depth=None, tree=labels, contexts=contexts)  # 8n and 8 contexts are enough here
        assert result.region_scores[0] == pytest.approx(mean_over_orders(result.tree, table), abs=1e-12)


@pytest.mark.parametrize(
    ("rule", "depth", "sizes"),
    [("quadtree", 2, range(1, 17)), ("longest", 5, range(1, 9)), ("labels", None, range(1, 12))],
)
def test_exact_products_in_closed_form(rule, depth, sizes):
    rule = segments(11, 16, 16) if rule == "labels" else rule
    tree = build_tree(16, 16, depth, rule)
    products = random_products(0, tree.n_leaves, sizes, 40)
    explainer = DnCShap(
        product_model(tree, products), output="logit", contexts="exact", depth=depth, tree=rule
    )
    result = explainer.attribute(white(tree), "all")
    assert result.region_scores[0] == pytest.approx(winter_of_products(tree, products), abs=1e-12)
    assert result.evaluations.tolist() == [exact_evaluations(tree)]


def test_oracles_agree():
    tree, products = build_tree(4, 4, 1, "quadtree"), random_products(3, 4, range(1, 5), 9)
    codes = torch.from_numpy((np.arange(16)[:, None] >> tree.leaf_labels.ravel()) & 1).double()
    table = product_model(tree, products)(codes.reshape(16, 1, 4, 4))
    assert mean_over_orders(tree, table) == pytest.approx(winter_of_products(tree, products), abs=1e-12)


# --- K contexts: evaluations


@pytest.mark.parametrize("depth", [1, 3, 6])
@pytest.mark.parametrize("n_contexts", [2, 4, 16])
def test_sampled_evaluation_counts(n_contexts, depth):
    model, seen = recorded(lambda x: x.flatten(1)[:, :3])
    x, n = pictures(2, 1, 8, 8), 2**depth
    result = DnCShap(model, contexts=n_contexts, depth=depth).attribute(x)
    expected = 2 + sum(min(n_contexts, 2**level) * 2 * 2**level for level in range(depth))
    assert result.evaluations.tolist() == [expected, expected]
    assert len(seen) == 2 * expected
    assert len(set(seen)) == 2 * expected - 1  # nothing but the baseline is the same for both images
    assert expected <= 2 * n_contexts * n + 2
    assert sampled_evaluations(result.tree, n_contexts) == expected


@pytest.mark.parametrize("n_contexts", [2, 8, 64])
def test_sampled_evaluations_are_bounded_on_other_trees(n_contexts):
    for rule, depth in ((segments(11), None), ("quadtree", 2)):
        model, seen = recorded(lambda x: x.flatten(1)[:, :3])
        result = DnCShap(model, contexts=n_contexts, depth=depth, tree=rule).attribute(pictures(1, 1, 8, 8))
        assert result.evaluations.tolist() == [len(seen)] == [len(set(seen))]
        assert len(seen) <= sampled_evaluations(result.tree, n_contexts)
        assert len(seen) <= exact_evaluations(result.tree)


# --- K contexts: values


def over_seeds(table, n_contexts, seeds, **settings_):
    """Scores and standard errors (seeds, n, K)."""
    results = [play(table, contexts=n_contexts, seed=seed, **settings_) for seed in range(seeds)]
    return np.stack([r.region_scores[0] for r in results]), np.stack([r.standard_errors[0] for r in results])


@pytest.mark.parametrize(
    ("n_contexts", "tree", "depth"), [(2, "longest", 4), (4, "longest", 4), (2, "quadtree", 2)]
)
def test_sampling_is_unbiased_and_errs_on_the_safe_side(n_contexts, tree, depth):
    table = random_table(5, 4, 6)  # six games at once
    exact = play(table, depth=depth, tree=tree, contexts="exact").region_scores[0]
    scores, errors = over_seeds(table, n_contexts, 200, depth=depth, tree=tree)
    spread = scores.std(axis=0, ddof=1)
    assert spread.min() > 1e-3  # all regions are sampled, or there would be nothing to test
    assert (np.abs(scores.mean(axis=0) - exact) < 4 * spread / np.sqrt(200)).all()
    # Of a single region the error depends on which effects the design confuses; over regions and games it is right.
    actual, reported = np.sqrt(((scores - exact) ** 2).mean()), np.sqrt((errors**2).mean())
    assert 0.8 * actual < reported < 2 * actual


def test_errors_of_networks_err_on_the_safe_side():
    x = pictures(1, 3, 8, 8)
    for gain in (1.0, 12.0):
        net = network(gain=gain)
        exact = DnCShap(net, contexts="exact", depth=5).attribute(x).region_scores
        results = [DnCShap(net, contexts=4, depth=5, seed=seed).attribute(x) for seed in range(30)]
        actual = np.sqrt(np.mean([(r.region_scores - exact) ** 2 for r in results]))
        reported = np.sqrt(np.mean([r.standard_errors**2 for r in results]))
        assert reported > 0.8 * actual


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_enough_contexts_are_exact(depth):
    table = random_table(depth, depth)
    exact = play(table, depth=depth, contexts="exact")
    for n_contexts in {max(2, 2 ** (depth - 1)), 2**depth, 64}:
        result = play(table, depth=depth, contexts=n_contexts, seed=3)
        assert result.region_scores == pytest.approx(exact.region_scores, abs=1e-12)
        assert (result.standard_errors == 0).all()
        assert result.evaluations == exact.evaluations
    assert exact.standard_errors is None


def test_errors_are_zero_on_levels_that_are_exact():
    result = play(random_table(0, 4), depth=4, contexts=4)
    explainer = DnCShap(table_model(result.tree, random_table(0, 4)), output="logit", contexts=4, depth=4)
    game = explainer_game(explainer, result.tree)
    errors = [error for _, error in explainer._play(game)[0]]
    assert all(
        (error == 0).all() for error in errors[:4]
    )  # splits on levels 0 ... 2 have 1, 2 and 4 contexts
    assert (errors[4] > 0).all()
    assert (errors[4] == result.standard_errors).all()


def explainer_game(explainer, tree):
    """The game that an explainer plays on a white image."""
    baseline = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    return TargetGame(explainer._game(white(tree), baseline, tree, None), tree, "all")


def test_seeds():
    table = random_table(1, 4)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first, again, other = (play(table, depth=4, contexts=2, seed=seed).region_scores for seed in (7, 7, 8))
    assert (first == again).all()
    assert np.abs(first - other).max() > 1e-3
    assert (torch.get_rng_state() == states[0]).all()
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_contexts_do_not_depend_on_the_images():
    net, x = network(), pictures(4, 3, 8, 8)
    together = DnCShap(net, contexts=2, depth=5, seed=1).attribute(x)
    for i in range(4):
        one = DnCShap(net, contexts=2, depth=5, seed=1, batch_size=5).attribute(x[i])
        assert one.region_scores[0] == pytest.approx(together.region_scores[i], abs=1e-13)
        assert one.standard_errors[0] == pytest.approx(together.standard_errors[i], abs=1e-13)


# --- K contexts: the design


def shown_siblings(depth, n_contexts, seed=0):
    """For the first split of the last level: which siblings its runs show, bool array (runs, depth - 1)."""
    tree = build_tree(16, 16, depth)
    model, seen = recorded(lambda x: x.flatten(1)[:, :3])
    DnCShap(model, contexts=n_contexts, depth=depth, seed=seed, output="logit").attribute(white(tree), 0)
    pixel = np.unique(tree.leaf_labels, return_index=True)[1]
    masks = np.stack([np.frombuffer(row) for row in seen])[:, pixel] > 0.5
    runs = masks[masks[:, 0] & ~masks[:, 1]]  # one of the two leaves
    return np.stack([runs[:, 2**level] for level in range(1, depth)], axis=1)


@pytest.mark.parametrize(
    ("depth", "n_contexts", "strength"), [(7, 2, 1), (4, 4, 2), (8, 8, 2), (5, 8, 3), (8, 16, 3)]
)
def test_designs_are_balanced(depth, n_contexts, strength):
    for seed in range(3):
        shown = shown_siblings(depth, n_contexts, seed)
        assert shown.shape == (n_contexts, depth - 1)
        for some in combinations(range(depth - 1), strength):
            codes = shown[:, some] @ (1 << np.arange(strength))
            assert (np.bincount(codes, minlength=2**strength) == n_contexts / 2**strength).all()


@pytest.mark.parametrize(
    ("depth", "n_contexts", "most"), [(7, 2, 2), (7, 4, 2), (4, 4, 3), (8, 8, 3), (5, 8, 4), (6, 16, 4)]
)
def test_what_few_regions_do_together_is_exact(depth, n_contexts, most):
    """One player in the split and ``most`` - 1 siblings: a design of that strength averages it exactly."""
    tree = build_tree(16, 16, depth)

    def error(sizes):
        products = random_products(1, tree.n_leaves, sizes, 60)
        model = product_model(tree, products)
        result = DnCShap(model, contexts=n_contexts, depth=depth, output="logit").attribute(
            white(tree), "all"
        )
        return np.abs(result.region_scores[0] - winter_of_products(tree, products)).max()

    assert error(range(1, most + 1)) < 1e-12
    assert error([most + 1]) > 1e-3
