"""The axioms of the Shapley value as properties: which of them each choice of contexts keeps, and which it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import (
    listed,
    members,
    network,
    pictures,
    play,
    product_model,
    random_products,
    random_table,
    segments,
    white,
    winter_of_products,
)

from fercore.shapley import DnCShap, build_tree, exact_shapley

SEEDS = st.integers(0, 2**32 - 1)
EVERY = ("absent", "present", "both", 2, 4, "exact")  # linear in the game; adaptive contexts depend on it


@st.composite
def trees(draw):
    """Height, width, depth and rule of trees of at most 11 regions."""
    height, width = draw(st.integers(6, 12)), draw(st.integers(6, 12))
    rule = draw(st.sampled_from(["longest", "alternate", "quadtree", "labels"]))
    if rule == "labels":
        labels = segments(draw(st.integers(2, 11)), height, width, draw(st.integers(0, 99)))
        return {"height": height, "width": width, "depth": None, "tree": labels}
    depth = 1 if rule == "quadtree" else draw(st.integers(1, 3))
    return {"height": height, "width": width, "depth": depth, "tree": rule}


def table_of(seed, where):
    return random_table(
        seed, players=build_tree(**{("rule" if k == "tree" else k): v for k, v in where.items()}).n_leaves
    )


# --- efficiency


@settings(max_examples=60, deadline=None)
@given(SEEDS, trees(), st.sampled_from([*EVERY, 8]), st.sampled_from(["pixels", "half"]))
def test_every_level_is_efficient(seed, where, contexts, share):
    check_levels(play(table_of(seed, where), contexts=contexts, share=share, seed=seed % 7, **where))


@settings(max_examples=60, deadline=None)
@given(SEEDS, trees(), st.integers(2, 200))
def test_adaptive_is_efficient_at_every_budget(seed, where, budget):
    result = play(table_of(seed, where), evaluations=budget, **where)
    check_levels(result)
    assert result.evaluations[0] <= budget


def check_levels(result):
    """Children sum to their parent at every level, and the root is f(x) - f(b)."""
    tree = result.tree
    assert result.levels[0][:, 0] == pytest.approx(result.predictions - result.base_values, abs=1e-12)
    for level in range(tree.depth):
        sums = np.zeros_like(result.levels[level])
        np.add.at(sums, (slice(None), tree.parents(level + 1)), result.levels[level + 1])
        assert sums == pytest.approx(result.levels[level], abs=1e-12)
    assert result.efficiency_gap < 1e-12
    assert result.pixel_map().sum(axis=(1, 2, 3)) == pytest.approx(
        result.predictions - result.base_values, abs=1e-12
    )


@pytest.mark.parametrize("contexts", [*EVERY, "adaptive"])
def test_float32_networks_are_efficient(contexts):
    net, x = network(gain=4.0).float(), pictures(2, 3, 16, 16).float()
    result = DnCShap(net, contexts=contexts, depth=5, output="logit").attribute(x, "all")
    with torch.inference_mode():
        gap = (net(x) - net(torch.zeros_like(x))).double().numpy()
    assert result.region_scores.sum(axis=1) == pytest.approx(gap, rel=1e-5, abs=1e-5)
    assert result.efficiency_gap < 1e-12  # sums are taken in float64


# --- linearity


@settings(max_examples=40, deadline=None)
@given(SEEDS, trees(), st.sampled_from(EVERY))
def test_linear_in_the_game(seed, where, contexts):
    one, other = table_of(seed, where), table_of(seed + 1, where)
    scores = [
        play(table, contexts=contexts, seed=seed % 5, **where).region_scores
        for table in (one, other, one + 2 * other)
    ]
    assert scores[2] == pytest.approx(scores[0] + 2 * scores[1], abs=1e-11)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(-1e3, 1e3).filter(lambda c: abs(c) > 1e-3), st.floats(-10, 10))
def test_adaptive_is_equivariant_under_scale_and_shift(seed, factor, shift):
    table = random_table(seed, 3)
    plain = play(table, evaluations=24).region_scores
    assert play(factor * table + shift, evaluations=24).region_scores == pytest.approx(
        factor * plain, rel=1e-7, abs=1e-9 * abs(factor)
    )


# --- symmetry


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([*EVERY, "adaptive"]), st.integers(0, 7), st.integers(2, 120))
def test_symmetric_siblings_are_worth_the_same(seed, contexts, pair, budget):
    table = random_table(seed, 4, 1)
    first, second = 1 << 2 * pair, 2 << 2 * pair
    codes = torch.arange(2**16)
    swapped = (codes & ~(first | second)) | ((codes & first) << 1) | ((codes & second) >> 1)
    spent = {"evaluations": budget} if contexts == "adaptive" else {}
    scores = play((table + table[swapped]) / 2, depth=4, contexts=contexts, **spent).region_scores[0]
    assert scores[2 * pair] == pytest.approx(scores[2 * pair + 1], abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([*EVERY, "adaptive"]), st.integers(0, 7))
def test_siblings_that_change_roles_change_scores(seed, contexts, pair):
    table = random_table(seed, 4)
    first, second = 1 << 2 * pair, 2 << 2 * pair
    codes = torch.arange(2**16)
    swapped = (codes & ~(first | second)) | ((codes & first) << 1) | ((codes & second) >> 1)
    before = play(table, depth=4, contexts=contexts).region_scores[0]
    after = play(table[swapped], depth=4, contexts=contexts).region_scores[0]
    roles = np.arange(16)
    roles[[2 * pair, 2 * pair + 1]] = [2 * pair + 1, 2 * pair]
    assert after == pytest.approx(before[roles], abs=1e-12)


# --- null players


def with_null_player(seed, null):
    table, codes = random_table(seed, 4), torch.arange(2**16)
    return table[codes & ~(1 << null)]


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(0, 15), st.sampled_from(["exact", 8, 16]))
def test_null_region_is_worth_nothing(seed, null, contexts):
    scores = play(with_null_player(seed, null), depth=4, contexts=contexts).region_scores[0]
    assert scores[null] == pytest.approx([0, 0], abs=1e-12)


def test_null_region_is_worth_nothing_on_average_over_sampled_contexts():
    table = with_null_player(0, 5)
    results = [play(table, depth=4, contexts=2, seed=seed) for seed in range(200)]
    scores = np.stack([result.region_scores[0, 5] for result in results])
    assert np.abs(scores).max() > 0.1  # not in each sample
    assert (np.abs(scores.mean(axis=0)) < 4 * scores.std(axis=0) / np.sqrt(200)).all()


@pytest.mark.parametrize("contexts", ["absent", "present", "both", "adaptive"])
def test_null_region_may_get_a_share(contexts):
    """What no part earns alone is shared out, or guessed: the price of a cost linear in n."""
    scores = play(
        with_null_player(0, 5),
        depth=4,
        contexts=contexts,
        evaluations=60 if contexts == "adaptive" else None,
    ).region_scores[0]
    assert np.abs(scores[5]).max() > 1e-3


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from([*EVERY, "adaptive"]))
def test_null_half_is_worth_nothing(seed, contexts):
    table = random_table(seed, 3)[torch.arange(256) & 0b1111]
    scores = play(table, contexts=contexts).region_scores[0]
    assert scores[4:] == pytest.approx(np.zeros((4, 2)), abs=1e-12)


# --- additive games


@settings(max_examples=30, deadline=None)
@given(SEEDS, trees(), st.sampled_from([*EVERY, "adaptive"]), st.sampled_from(["pixels", "half"]))
def test_additive_games_have_one_answer(seed, where, contexts, share):
    n = int(np.log2(len(table_of(seed, where))))
    worth = np.random.default_rng(seed).normal(size=(n, 2))
    table = torch.from_numpy(((np.arange(2**n)[:, None] >> np.arange(n)) & 1) @ worth + 0.7)
    spent = {"evaluations": 10**4} if contexts == "adaptive" else {}
    scores = play(table, contexts=contexts, share=share, **spent, **where).region_scores[0]
    assert scores == pytest.approx(worth, abs=1e-12)


def explain_additive(worth, depth, **settings_):
    tree = build_tree(16, 16, depth)
    explainer = DnCShap(
        lambda x: members(x, tree) @ torch.from_numpy(worth), output="logit", depth=depth, **settings_
    )
    return explainer.attribute(white(tree), "all").region_scores[0]


@pytest.mark.parametrize("contexts", EVERY)
def test_additive_games_of_64_regions(contexts):
    worth = np.random.default_rng(0).normal(size=(64, 2))
    assert explain_additive(worth, 6, contexts=contexts) == pytest.approx(worth, abs=1e-12)


@pytest.mark.parametrize(
    "depth",
    [
        4,
        6,
    ],
)
@pytest.mark.parametrize("game", ["normal", "uniform"])
def test_adaptive_scores_of_additive_games(depth, game):
    rng = np.random.default_rng(0)
    worth = rng.normal(size=(2**depth, 1)) if game == "normal" else rng.random((2**depth, 1))
    scores = explain_additive(worth, depth)
    assert np.linalg.norm(scores - worth) < 0.02 * np.linalg.norm(worth)


@pytest.mark.parametrize("budget", [2, 20, 100, 512])
def test_adaptive_scores_of_equal_regions_are_equal(budget):
    scores = explain_additive(np.ones((64, 1)), 6, evaluations=budget)
    assert scores == pytest.approx(np.ones((64, 1)), abs=1e-13)


# --- games of pairs


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(["both", 2, 4, "exact"]), st.sampled_from(["pixels", "half"]))
def test_pairs_of_16_regions_share_by_halves(seed, contexts, share):
    """With additive effects and pairs only, these are the Shapley values themselves, whatever the tree."""
    products = random_products(seed, 16, [1, 2], 60)
    codes = np.arange(2**16)
    table = sum(
        np.all([(codes >> player) & 1 for player in players], axis=0)[:, None] * weight
        for players, weight in products
    )
    expected = np.zeros((16, 2))
    for players, weight in products:
        expected[players] += weight / len(players)
    scores = play(torch.from_numpy(table), 9, 7, depth=4, contexts=contexts, share=share).region_scores[0]
    assert scores == pytest.approx(expected, abs=1e-12)


def test_shapley_values_of_pairs_by_enumeration():
    products = random_products(0, 8, [1, 2], 20)
    codes = np.arange(256)
    table = sum(
        np.all([(codes >> player) & 1 for player in players], axis=0)[:, None] * weight
        for players, weight in products
    )
    table = torch.from_numpy(table)
    expected = exact_shapley(listed(table), 8)
    for contexts in ("both", 2, "exact"):
        assert play(table, contexts=contexts).region_scores[0] == pytest.approx(expected, abs=1e-12)
    for contexts in ("absent", "present"):
        assert np.abs(play(table, contexts=contexts).region_scores[0] - expected).max() > 1e-2


@pytest.mark.parametrize("rule", ["quadtree", "labels"])
def test_pairs_on_other_trees(rule):
    where = segments(13, 16, 16) if rule == "labels" else rule
    depth = None if rule == "labels" else 2
    tree = build_tree(16, 16, depth, where)
    products = random_products(0, tree.n_leaves, [1, 2], 80)
    expected = winter_of_products(tree, products)
    for contexts in ("both", "exact") if rule == "quadtree" else ("both", 2, "exact"):
        explainer = DnCShap(
            product_model(tree, products), output="logit", contexts=contexts, depth=depth, tree=where
        )
        scores = explainer.attribute(white(tree), "all").region_scores[0]
        assert scores == pytest.approx(expected, abs=1e-12)
