"""One suite over all methods: which properties each choice of contexts keeps, and which it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import (
    EVERY,
    FIXED,
    network,
    pictures,
    play,
    random_products,
    random_table,
    segments,
    sum_of,
    winter_of_products,
)

from fercore.shapley import DnCShap, build_tree

SEEDS = st.integers(0, 2**32 - 1)
LINEAR = EVERY[:-1]  # the pairs that adaptive contexts look at depend on the game


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


@st.composite
def methods(draw, names=EVERY, least=2):
    """Settings of a method; adaptive contexts with a budget of at least so much."""
    contexts, share = draw(st.sampled_from(names)), draw(st.sampled_from(["pixels", "half"]))
    budget = {"evaluations": draw(st.integers(least, least + 200))} if contexts == "adaptive" else {}
    return {"contexts": contexts, "share": share, "seed": draw(st.integers(0, 6)), **budget}


def players(where):
    return build_tree(where["height"], where["width"], where["depth"], where["tree"]).n_leaves


# --- efficiency


@settings(max_examples=120)
@given(SEEDS, trees(), methods([*EVERY, 8]))
def test_every_level_is_efficient(seed, where, method):
    result = play(random_table(seed, players=players(where)), **where, **method)
    gain = result.predictions - result.base_values
    assert result.levels[0][:, 0] == pytest.approx(gain, abs=1e-12)
    for level in range(result.tree.depth):
        sums = np.zeros_like(result.levels[level])
        np.add.at(sums, (slice(None), result.tree.parents(level + 1)), result.levels[level + 1])
        assert sums == pytest.approx(result.levels[level], abs=1e-12)
    assert result.efficiency_gap < 1e-12
    assert result.pixel_map().sum(axis=(1, 2, 3)) == pytest.approx(gain, abs=1e-12)
    assert result.evaluations[0] <= method.get("evaluations", np.inf)


# --- linearity


@settings(max_examples=40)
@given(SEEDS, trees(), methods(LINEAR))
def test_linear_in_the_game(seed, where, method):
    one, other = (random_table(seed + i, players=players(where)) for i in range(2))
    scores = [play(game, **where, **method).region_scores for game in (one, other, one + 2 * other)]
    assert scores[2] == pytest.approx(scores[0] + 2 * scores[1], abs=1e-11)


# --- symmetry


@settings(max_examples=60)
@given(SEEDS, methods(), st.integers(0, 7))
def test_siblings_that_change_roles_change_scores(seed, method, pair):
    """And siblings of equal roles are worth the same, whatever the budget."""
    table, codes, roles = random_table(seed, 4), torch.arange(2**16), np.arange(16)
    first, second = 1 << 2 * pair, 2 << 2 * pair
    swapped = table[(codes & ~(first | second)) | ((codes & first) << 1) | ((codes & second) >> 1)]
    roles[[2 * pair, 2 * pair + 1]] = [2 * pair + 1, 2 * pair]
    equal = play((table + swapped) / 2, depth=4, **method).region_scores[0]
    assert equal[roles] == pytest.approx(equal, abs=1e-12)
    method.pop("evaluations", None)
    before, after = (play(game, depth=4, **method).region_scores[0] for game in (table, swapped))
    assert after == pytest.approx(before[roles], abs=1e-12)


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("contexts", ["exact", "both", "adaptive"])
def test_a_mirrored_image_has_a_mirrored_map(axis, contexts):
    net, x = network(gain=6.0), pictures(1, 3, 16, 16)
    straight = DnCShap(net, contexts=contexts).attribute(x).region_map()
    mirrored = DnCShap(lambda x: net(x.flip(axis)), contexts=contexts).attribute(x.flip(axis)).region_map()
    assert mirrored == pytest.approx(np.flip(straight, axis - 1), abs=1e-12)


# --- null players


@settings(max_examples=15)
@given(SEEDS, st.integers(0, 15), methods([*FIXED, 8, 16, "exact"]))
def test_null_region_is_worth_nothing(seed, null, method):
    """But with fixed contexts, what no part earns alone is shared out: the price of a cost linear in n."""
    table = random_table(seed, 4)[torch.arange(2**16) & ~(1 << null)]
    score = np.abs(play(table, depth=4, **method).region_scores[0, null]).max()
    assert (score < 1e-12) == (method["contexts"] not in FIXED)


@settings(max_examples=15)
@given(SEEDS, st.sampled_from(EVERY))
def test_null_half_is_worth_nothing(seed, contexts):
    scores = play(random_table(seed)[torch.arange(256) & 0b1111], contexts=contexts).region_scores[0]
    assert scores[4:] == pytest.approx(np.zeros((4, 2)), abs=1e-12)


# --- games whose values are known


@settings(max_examples=30)
@given(SEEDS, trees(), methods(least=10**4))
def test_additive_games_have_one_answer(seed, where, method):
    worth = torch.from_numpy(np.random.default_rng(seed).normal(size=(players(where), 2)))
    scores = play(lambda s: s @ worth + 0.7, **where, **method).region_scores[0]
    assert scores == pytest.approx(worth.numpy(), abs=1e-12)


@pytest.mark.parametrize("share", ["pixels", "half"])
@pytest.mark.parametrize(("depth", "rule"), [(4, "longest"), (2, "quadtree"), (None, segments(13, 9, 7))])
def test_pairs_share_by_halves(depth, rule, share):
    """With additive effects and pairs only, these are the Shapley values themselves, whatever the tree."""
    tree = build_tree(9, 7, depth, rule)
    products, expected = random_products(0, tree.n_leaves, [1, 2], 80), np.zeros((tree.n_leaves, 2))
    for some, weight in products:
        expected[some] += weight / len(some)
    assert winter_of_products(tree, products) == pytest.approx(expected, abs=1e-12)
    for contexts in ("absent", "both", "exact") if tree.arity == 4 else ("present", "both", 2, 4, "exact"):
        found = play(sum_of(products), 9, 7, depth, tree=rule, contexts=contexts, share=share)
        exact = np.abs(found.region_scores[0] - expected).max() < 1e-12
        assert exact == (contexts not in ("absent", "present"))


# --- how the work is split up


@pytest.mark.parametrize("contexts", EVERY)
def test_batches_groups_and_other_images_do_not_matter(contexts, monkeypatch):
    net, x, b = network(gain=6.0), pictures(5, 3, 8, 6), pictures(5, 3, 8, 6, seed=1)
    targets = [0, 1, 2, 3, 0]
    names = (
        "region_scores",
        "base_values",
        "predictions",
        "classes",
        "data",
        "evaluations",
        "standard_errors",
    )

    def explain(x, b, targets, **settings):
        explainer = DnCShap(net, b, contexts=contexts, depth=4, **settings)
        result = explainer.attribute(x, targets)
        return explainer.refine(result, 20) if result.searches else result

    def agree(one, other):
        for mine, theirs in ((getattr(one, name), getattr(other, name)) for name in names):
            assert mine is theirs is None or mine == pytest.approx(theirs, abs=1e-13)

    together = explain(x, b, targets)
    assert (together.standard_errors is None) == (contexts in (*FIXED, "exact"))
    for size in (1, 7):
        agree(explain(x, b, targets, batch_size=size), together)
    for i, target in enumerate(targets):
        agree(explain(x[i], b[i], target), together.images(slice(i, i + 1)))
    monkeypatch.setattr("fercore.shapley.base._GROUP_IMAGES", 2)
    apart = explain(x, b, targets)
    agree(apart, together)
    assert apart.output_names.tolist() == [["0"], ["1"], ["2"], ["3"], ["0"]]
    assert len(apart.searches) == (3 if contexts == "adaptive" else 0)
