"""Fixed, sampled and exact contexts: evaluations, agreement with oracles on every tree, unbiasedness, the design."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from shapley_games import (
    EVERY,
    FIXED,
    listed,
    mean_over_orders,
    members,
    network,
    pictures,
    play,
    random_products,
    random_table,
    recorded,
    segments,
    sum_of,
    white,
    winter_of_products,
)

from fercore.shapley import DnCShap, build_tree, exact_owen, exact_shapley
from fercore.shapley.contexts import fixed_evaluations, split_evaluations

# --- evaluations


def spent(contexts, size=16, images=1, **where):
    """Evaluations per image; no input comes twice but the baseline, which images share."""
    model, seen = recorded(lambda x: x.flatten(1)[:, :3])
    result = DnCShap(model, contexts=contexts, **where).attribute(pictures(images, 1, size, size))
    assert result.evaluations.tolist() == [result.evaluations[0]] * images
    assert result.evaluations.sum() == len(seen) == len(set(seen)) + images - 1
    return result.evaluations[0], result.tree


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6, 8])
def test_evaluation_counts(depth):
    n, counts = 2**depth, {c: spent(c, depth=depth)[0] for c in (*EVERY, 8)}
    exact = 2 * (n * n - 1) // 3 + 2
    sampled = {k: 2 + sum(min(k, 2**level) * 2 * 2**level for level in range(depth)) for k in (2, 4, 8)}
    # "both" is 2 + 2 (2n - 2), less 2: to hide one half of the image is to show the other.
    fixed = {"absent": 2 * n, "present": 2 * n, "both": 4 * n - 4}
    assert counts == fixed | {"exact": exact, "adaptive": min(8 * n, exact)} | sampled
    assert all(count <= 2 * k * n + 2 for k, count in sampled.items())


@pytest.mark.parametrize(
    ("depth", "rule"),
    [(2, "quadtree"), (None, segments(11)), (None, segments(3)), (5, "alternate"), (0, "longest")],
)
def test_evaluations_are_foreseen_on_every_tree(depth, rule):
    for contexts in (*FIXED, "exact", 2, 8, 64):
        count, tree = spent(contexts, 8, 2, depth=depth, tree=rule)
        if contexts in FIXED:
            foreseen = fixed_evaluations(tree, contexts)
        else:
            foreseen = split_evaluations(tree, np.inf if contexts == "exact" else contexts)
        # Of a quadtree's contexts one may come again.
        assert count <= foreseen if tree.arity == 4 and isinstance(contexts, int) else count == foreseen


# --- exact values


@pytest.mark.parametrize("contexts", ["exact", 8, "adaptive"])
@pytest.mark.parametrize(
    ("depth", "rule"),
    [
        (1, "quadtree"),
        (3, "longest"),
        (3, "alternate"),
        *((None, segments(n, 9, 8)) for n in (2, 3, 5, 6, 7)),
    ],
)
def test_exact_is_the_mean_over_tree_orders(depth, rule, contexts):
    """8n evaluations or 8 contexts are enough for few regions; of the four of a quadtree each has one context."""
    tree = build_tree(9, 8, depth, rule)
    for seed in range(3):
        table = random_table(seed, players=tree.n_leaves)
        scores = play(table, 9, 8, depth, tree=rule, contexts=contexts).region_scores[0]
        assert scores == pytest.approx(mean_over_orders(tree, table), abs=1e-12)
        if depth == 3:
            assert scores == pytest.approx(exact_owen(listed(table), 8), abs=1e-12)


@pytest.mark.parametrize(
    ("depth", "rule", "most"),
    [(2, "quadtree", 16), (5, "longest", 8), (None, segments(11, 16, 16), 11)],
)
def test_exact_products_in_closed_form(depth, rule, most):
    tree = build_tree(16, 16, depth, rule)
    products = random_products(0, tree.n_leaves, range(1, most + 1), 40)
    scores = play(sum_of(products), 16, 16, depth, tree=rule, contexts="exact").region_scores[0]
    assert scores == pytest.approx(winter_of_products(tree, products), abs=1e-12)


def test_enough_contexts_are_exact():
    table = random_table(4, 4)
    exact = play(table, depth=4, contexts="exact")
    for n_contexts in (8, 16, 64):
        result = play(table, depth=4, contexts=n_contexts, seed=3)
        assert result.region_scores == pytest.approx(exact.region_scores, abs=1e-12)
        assert (result.standard_errors == 0).all()
        assert result.evaluations == exact.evaluations


# --- fixed contexts


@pytest.mark.parametrize("size", [8, 9])
def test_shares_and_fixed_contexts(size):
    def scores(contexts, share):
        explainer = DnCShap(network(), contexts=contexts, depth=5, share=share)
        return explainer.attribute(pictures(1, 3, size, size)).region_scores

    for share in ("pixels", "half"):
        mean = (scores("absent", share) + scores("present", share)) / 2
        assert scores("both", share) == pytest.approx(mean, abs=1e-15)
    for contexts in FIXED:  # shares differ on odd sides only
        assert np.allclose(scores(contexts, "pixels"), scores(contexts, "half"), atol=1e-12) == (size == 8)
    # With halves as shares, one context gives Equation 4 at the root whatever the sizes.
    table = random_table(0, 1)
    halves = play(table, size, size, 1, contexts="absent", share="half").region_scores[0]
    assert halves == pytest.approx(exact_shapley(listed(table), 2), abs=1e-12)


# --- label images and quadtrees


@pytest.mark.parametrize("contexts", EVERY)
def test_labels_of_a_halving_tree_are_that_tree(contexts):
    net, x = network(gain=4.0), pictures(2, 3, 16, 16)
    halves = DnCShap(net, contexts=contexts, depth=5).attribute(x, "all")
    names = np.random.default_rng(0).permutation(1000)[:32] - 500  # do not matter
    result = DnCShap(net, contexts=contexts, tree=names[halves.tree.labels()]).attribute(x, "all")
    assert result.region_map() == pytest.approx(halves.region_map(), abs=1e-12)
    assert (result.evaluations == halves.evaluations).all()
    if halves.standard_errors is not None:
        assert result.error_map() == pytest.approx(halves.error_map(), abs=1e-12)


@pytest.mark.parametrize("contexts", EVERY)
def test_small_trees(contexts):
    for settings_ in ({"depth": 0}, {"tree": np.full((8, 8), 3)}):  # one region
        explainer = DnCShap(network(), contexts=contexts, **settings_)
        result = explainer.attribute(pictures(2, 3, 8, 8))
        assert result.region_scores[:, 0] == pytest.approx(result.predictions - result.base_values)
        assert result.evaluations.tolist() == [2, 2]
    result = play(random_table(0, players=3), depth=None, tree=segments(3), contexts=contexts)
    (alone,) = set(range(2)) - set(result.tree.splits(1)[0].tolist())  # carried over, it keeps its score
    assert (result.levels[2][:, result.tree.spans(1)[alone, 0]] == result.levels[1][:, alone]).all()


# --- deep trees


@pytest.mark.parametrize("contexts", ["adaptive", 2])
@pytest.mark.parametrize(("depth", "rule"), [(10, "longest"), (5, "quadtree")])
def test_deep_trees_are_linear_in_time_and_memory(depth, rule, contexts):
    tree = build_tree(32, 32, depth, rule)
    game = sum_of(random_products(0, 1024, range(1, 9), 60))
    model, seen = recorded(lambda x: game(members(x, tree)))
    explainer = DnCShap(model, contexts=contexts, depth=depth, tree=rule, output="logit", seed=1)
    tracemalloc.start()
    start = time.perf_counter()
    result = explainer.attribute(white(tree), "all")
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    step = 14 if rule == "quadtree" else 2
    most = 2 + (8 * 1024 - 2) // step * step if contexts == "adaptive" else split_evaluations(tree, 2)
    assert result.evaluations.tolist() == [most] == [len(seen)] == [len(set(seen))]
    assert np.isfinite(result.standard_errors).all()
    assert result.efficiency_gap < 1e-12
    assert peak < 400 * 2**20
    assert seconds < 5


# --- K contexts: unbiased, with errors


@pytest.mark.parametrize(
    ("n_contexts", "tree", "depth"), [(2, "longest", 4), (4, "longest", 4), (2, "quadtree", 2)]
)
def test_sampling_is_unbiased_and_errs_on_the_safe_side(n_contexts, tree, depth):
    table = random_table(5, 4, 6)  # six games at once
    exact = play(table, depth=depth, tree=tree, contexts="exact").region_scores[0]
    results = [play(table, depth=depth, tree=tree, contexts=n_contexts, seed=i) for i in range(200)]
    scores = np.stack([r.region_scores[0] for r in results])
    spread = scores.std(axis=0, ddof=1)
    assert spread.min() > 1e-3  # all regions are sampled, or there would be nothing to test
    assert (np.abs(scores.mean(axis=0) - exact) < 4 * spread / np.sqrt(200)).all()
    # Of a single region the error depends on which effects the design confuses; over regions and games it is right.
    reported = np.sqrt(np.mean([r.standard_errors**2 for r in results]))
    actual = np.sqrt(((scores - exact) ** 2).mean())
    assert 0.8 * actual < reported < 2 * actual


# --- K contexts: the design


@pytest.mark.parametrize(
    ("depth", "n_contexts", "most"), [(7, 2, 2), (7, 4, 2), (4, 4, 3), (8, 8, 3), (5, 8, 4), (6, 16, 4)]
)
def test_what_few_regions_do_together_is_exact(depth, n_contexts, most):
    """One player in the split and ``most`` - 1 siblings: a design of that strength averages it exactly."""
    tree = build_tree(16, 16, depth)
    errors = []
    for sizes in (range(1, most + 1), [most + 1]):
        products = random_products(1, tree.n_leaves, sizes, 60)
        scores = play(sum_of(products), 16, 16, depth, contexts=n_contexts).region_scores[0]
        errors.append(np.abs(scores - winter_of_products(tree, products)).max())
    assert errors[0] < 1e-12
    assert errors[1] > 1e-3
