"""Adaptive contexts: budgets, exactness in the limit, refinement, standard errors, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import (
    network,
    pictures,
    play,
    random_table,
    recorded,
    segments,
    table_model,
    white,
)

from fercore.shapley import Background, DnCShap, build_tree
from fercore.shapley.sampled import exact_evaluations

EXACT_16 = 172  # evaluations that "exact" needs for 16 regions


def differences(one, other):
    return np.abs(one.region_scores - other.region_scores).max()


# --- evaluations


@pytest.mark.parametrize("budget", [2, 3, 10, 128, EXACT_16 - 2, EXACT_16 - 1, 10**6])
def test_budgets_are_spent_and_not_exceeded(budget):
    net, x = network(), pictures(3, 3, 8, 8)
    model, seen = recorded(net)
    result = DnCShap(model, evaluations=budget, depth=4).attribute(x)
    expected = min(2 + (budget - 2) // 2 * 2, EXACT_16)  # pairs of two
    assert result.evaluations.tolist() == [expected] * 3
    assert len(seen) == 3 * expected
    assert len(set(seen)) == 3 * expected - 2  # only the baseline is the same for all images
    assert result.efficiency_gap < 1e-12


@pytest.mark.parametrize(("rule", "depth"), [("quadtree", 1), ("quadtree", 2), ("labels", None)])
@pytest.mark.parametrize("budget", [2, 15, 16, 60, 10**6])
def test_budgets_on_other_trees(rule, depth, budget):
    tree = segments(11, 8, 8) if rule == "labels" else rule
    model, seen = recorded(network())
    result = DnCShap(model, evaluations=budget, depth=depth, tree=tree).attribute(pictures(1, 3, 8, 8))
    cost = 14 if rule == "quadtree" else 2
    expected = min(2 + (budget - 2) // cost * cost, exact_evaluations(result.tree))
    assert result.evaluations.tolist() == [expected] == [len(seen)] == [len(set(seen))]


def test_default_budget_is_eight_per_region():
    for depth in (4, 6):
        result = DnCShap(network(), depth=depth).attribute(pictures(2, 3, 8, 8))
        assert result.evaluations.tolist() == [8 * 2**depth] * 2


def test_no_mask_is_evaluated_twice_where_contexts_are_sampled():
    model, seen = recorded(lambda x: x.flatten(1)[:, :3])
    result = DnCShap(model, evaluations=10**6, depth=4, tree="quadtree").attribute(pictures(1, 1, 16, 16))
    assert result.evaluations.tolist() == [len(seen)] == [len(set(seen))]
    assert np.isfinite(result.region_scores).all()
    assert result.efficiency_gap < 1e-12


def test_rows_of_a_background_count():
    backgrounds = pictures(3, 3, 8, 8, seed=1)
    model, seen = recorded(network())
    result = DnCShap(model, Background(backgrounds), evaluations=22, depth=4).attribute(pictures(2, 3, 8, 8))
    assert (
        result.evaluations.tolist() == [21 * 3 + 1] * 2
    )  # 22 coalitions; the whole image needs no background
    assert len(seen) == 2 * (21 * 3 + 1)


# --- exact in the limit


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_large_budgets_are_exact(seed, depth):
    table = random_table(seed, depth)
    exact = play(table, depth=depth, contexts="exact")
    for budget in (exact_evaluations(exact.tree), 10**6):
        result = play(table, depth=depth, evaluations=budget)
        for scores, expected in zip(result.levels, exact.levels, strict=True):
            assert scores == pytest.approx(expected, abs=1e-12)
        assert (result.standard_errors == 0).all()


@pytest.mark.parametrize(("rule", "depth"), [("quadtree", 2), ("labels", None), ("alternate", 5)])
def test_large_budgets_are_exact_on_other_trees(rule, depth):
    tree, x = segments(13, 12, 9) if rule == "labels" else rule, pictures(2, 3, 12, 9)
    net = network(gain=8.0)
    exact = DnCShap(net, contexts="exact", tree=tree, depth=depth).attribute(x, "all")
    result = DnCShap(net, evaluations=10**6, tree=tree, depth=depth).attribute(x, "all")
    assert differences(result, exact) < 1e-12
    assert result.evaluations.tolist() == exact.evaluations.tolist()


def test_more_evaluations_are_better():
    """On average over images: a larger budget is closer to exact."""
    for gain in (1.0, 12.0):
        net, x = network(gain=gain), pictures(4, 3, 8, 8)
        exact = DnCShap(net, contexts="exact", depth=5).attribute(x)
        results = [DnCShap(net, evaluations=budget, depth=5).attribute(x) for budget in (64, 128, 256, 512)]
        errors = [np.linalg.norm(result.region_scores - exact.region_scores) for result in results]
        assert sorted(errors, reverse=True) == errors
        assert errors[-1] < 0.3 * np.linalg.norm(exact.region_scores)


# --- refine


def test_refining_step_by_step_ends_in_exact():
    net, x = network(), pictures(3, 3, 8, 8)
    explainer = DnCShap(net, evaluations=20, depth=4)
    exact = DnCShap(net, contexts="exact", depth=4).attribute(x, "all")
    result, spent = explainer.attribute(x, "all"), [20]
    for step in (2, 3, 50, 10, 60, 10**5):
        result = explainer.refine(result, step)
        assert result.efficiency_gap < 1e-12
        spent.append(int(result.evaluations[0]))
        assert result.evaluations.tolist() == [spent[-1]] * 3
    assert spent == [20, 22, 24, 74, 84, 144, EXACT_16]
    for scores, expected in zip(result.levels, exact.levels, strict=True):
        assert scores == pytest.approx(expected, abs=1e-12)
    assert (result.standard_errors == 0).all()
    assert (result.classes == exact.classes).all()
    done = explainer.refine(result, 100)  # nothing is left
    assert done.evaluations.tolist() == [EXACT_16] * 3
    assert (done.region_scores == result.region_scores).all()


def test_refine_evaluates_no_mask_again():
    model, seen = recorded(network())
    explainer = DnCShap(model, evaluations=30, depth=4)
    result = explainer.attribute(pictures(1, 3, 8, 8))
    explainer.refine(explainer.refine(result, 40), 60)
    assert len(seen) == len(set(seen)) == 130


def test_refine_leaves_the_earlier_result_alone():
    explainer = DnCShap(network(), depth=4, evaluations=40)
    first = explainer.attribute(pictures(2, 3, 8, 8))
    arrays = {
        name: getattr(first, name).copy() for name in ("region_scores", "standard_errors", "evaluations")
    }
    second = explainer.refine(first, 60)
    third = explainer.refine(second, 20)
    again = explainer.refine(first, 60)
    for name, array in arrays.items():
        assert (getattr(first, name) == array).all()
        assert (getattr(again, name) == getattr(second, name)).all()
    assert third.evaluations.tolist() == [120, 120]
    assert differences(first, second) > 1e-6


def test_refine_keeps_what_a_result_says():
    x = (pictures(2, 8, 6, 3).numpy() * 255).astype(np.uint8)
    explainer = DnCShap(network(), "mean", depth=4, evaluations=40, class_names=["a", "b", "c", "d"])
    first = explainer.attribute(x, [[3, 1], [0, 2]])
    refined = explainer.refine(first, 10**4)
    for name in ("base_values", "predictions", "classes", "data", "output_names"):
        assert (getattr(refined, name) == getattr(first, name)).all()
    assert refined.compute_time > first.compute_time
    exact = DnCShap(network(), "mean", contexts="exact", depth=4).attribute(x, [[3, 1], [0, 2]])
    assert differences(refined, exact) < 1e-12


def test_refine_in_groups(monkeypatch):
    net, x, b = network(), pictures(5, 3, 8, 8), pictures(5, 3, 8, 8, seed=1)
    monkeypatch.setattr("fercore.shapley.base._GROUP_IMAGES", 2)
    explainer = DnCShap(net, b, depth=4, evaluations=60)
    together = explainer.refine(explainer.attribute(x, [0, 1, 2, 3, 0]), 50)
    assert len(together.searches) == 3
    again = explainer.refine(together, 30)
    for i, target in enumerate([0, 1, 2, 3, 0]):
        own = DnCShap(net, b[i : i + 1], depth=4, evaluations=60)
        alone = own.refine(own.attribute(x[i], target), 50)
        assert alone.region_scores[0] == pytest.approx(together.region_scores[i], abs=1e-12)
        assert alone.standard_errors[0] == pytest.approx(together.standard_errors[i], abs=1e-12)
        assert alone.evaluations[0] == together.evaluations[i] == 110
        assert own.refine(alone, 30).region_scores[0] == pytest.approx(again.region_scores[i], abs=1e-12)


def test_refine_refuses_what_it_cannot_go_on_from():
    x, net = pictures(2, 3, 8, 8), network()
    explainer = DnCShap(net, depth=4, evaluations=40)
    result = explainer.attribute(x)
    for contexts in ("exact", "both", 4):
        with pytest.raises(ValueError, match="contexts='adaptive' can be refined"):
            explainer.refine(DnCShap(net, contexts=contexts, depth=4).attribute(x), 10)
    with pytest.raises(ValueError, match="contexts='adaptive' can be refined"):
        explainer.refine(result.images(slice(1)), 10)
    for other in (DnCShap(net, depth=3), DnCShap(net, depth=2, tree="quadtree")):
        with pytest.raises(ValueError, match="another tree"):
            other.refine(result, 10)
    for budget in (0, 1, -5, 2.0, True, "10", None):
        with pytest.raises(ValueError, match="at least 2"):
            explainer.refine(result, budget)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"evaluations": 1}, "at least 2; not 1"),
        ({"evaluations": 100.0}, r"whole number of masked images per image.*not 100\.0"),
        ({"evaluations": True}, "not True"),
        ({"evaluations": 100, "contexts": "both"}, "contexts is 'both'"),
        ({"evaluations": 100, "contexts": 8}, "contexts is 8"),
    ],
)
def test_budgets_that_make_no_sense(arguments, words):
    with pytest.raises(ValueError, match=words):
        DnCShap(network(), **arguments)


@pytest.mark.parametrize("contexts", [0, 1, 3, 12, -2, 4.0, True, None, "8", "nested"])
def test_contexts_that_make_no_sense(contexts):
    with pytest.raises(ValueError, match=r"power of two from 2 on|'adaptive'.*or a number of contexts"):
        DnCShap(network(), contexts=contexts)


# --- what must not matter


def test_two_runs_are_identical():
    for depth in (5, 9):  # all contexts are told apart, a sample of them is
        runs = [DnCShap(network(1), depth=depth).attribute(pictures(1, 1, 32, 16)) for _ in range(2)]
        assert (runs[0].region_scores == runs[1].region_scores).all()
        assert (runs[0].standard_errors == runs[1].standard_errors).all()


def test_seeds_matter_beyond_256_regions_only():
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(512, 2)) / 8)

    def rough(x):
        one, other = (x.flatten(1) @ weights).T
        return (torch.tanh(one) + torch.tanh(3 * one) * other)[:, None]

    for depth, matters in ((6, False), (9, True)):
        runs = [
            DnCShap(rough, depth=depth, evaluations=6000, seed=seed, output="logit").attribute(
                pictures(1, 1, 32, 16)
            )
            for seed in (0, 1)
        ]
        assert (differences(*runs) > 0) == matters


@pytest.mark.parametrize("budget", [40, 128, 160, 168, 170, EXACT_16])
def test_batches_and_other_images_do_not_matter(budget):
    net, x = network(gain=12.0), pictures(5, 3, 8, 8)
    together = DnCShap(net, depth=4, evaluations=budget).attribute(x)
    assert together.evaluations.tolist() == [budget] * 5
    small = DnCShap(net, depth=4, evaluations=budget, batch_size=7).attribute(x)
    assert differences(together, small) < 1e-12
    for i in range(5):
        alone = DnCShap(net, depth=4, evaluations=budget).attribute(x[i])
        assert alone.region_scores[0] == pytest.approx(together.region_scores[i], abs=1e-12)
        assert alone.standard_errors[0] == pytest.approx(together.standard_errors[i], abs=1e-12)


def test_groups_do_not_matter(monkeypatch):
    net, x = network(), pictures(5, 3, 8, 8)
    together = DnCShap(net, depth=5).attribute(x)
    monkeypatch.setattr("fercore.shapley.base._GROUP_IMAGES", 2)
    apart = DnCShap(net, depth=5).attribute(x)
    assert differences(together, apart) < 1e-12
    assert apart.standard_errors == pytest.approx(together.standard_errors, abs=1e-12)
    assert (len(together.searches), len(apart.searches)) == (1, 3)


def test_classes_that_never_change_do_not_matter():
    net = network()

    def one_varies(x):
        return torch.stack([torch.full((len(x),), 3.0), net(x)[:, 1], torch.zeros(len(x))], dim=1)

    x, masks, scores = pictures(1, 3, 8, 8), [], []
    for target in ("all", 1):
        model, seen = recorded(one_varies)
        result = DnCShap(model, output="logit", depth=5, evaluations=100).attribute(x, target)
        masks.append(set(seen))
        scores.append(result.region_scores)
    assert masks[0] == masks[1]
    assert (scores[0][..., [0, 2]] == 0).all()


def test_pairs_do_not_depend_on_the_scale():
    x, net = pictures(1, 3, 8, 8), network()
    results, masks = [], []
    for factor in (1.0, 1e-6, 1e6):
        model, seen = recorded(lambda x, factor=factor: net(x) * factor)
        results.append(DnCShap(model, output="logit", depth=5).attribute(x).region_scores / factor)
        masks.append(set(seen))
    assert masks[0] == masks[1] == masks[2]
    assert results[1] == pytest.approx(results[0], rel=1e-9)
    assert results[2] == pytest.approx(results[0], rel=1e-9)


@pytest.mark.parametrize("axis", [2, 3])
def test_a_mirrored_image_has_a_mirrored_map(axis):
    net, x = network(gain=6.0), pictures(1, 3, 16, 16)
    straight = DnCShap(net, depth=6).attribute(x).region_map()
    mirrored = DnCShap(lambda x: net(x.flip(axis)), depth=6).attribute(x.flip(axis)).region_map()
    assert mirrored == pytest.approx(np.flip(straight, axis - 1), abs=1e-12)


def test_games_without_any_effect():
    tree = build_tree(8, 8, 4)
    for table in (torch.zeros(2**16, 2), torch.full((2**16, 2), 0.25)):
        result = DnCShap(table_model(tree, table), depth=4, output="logit").attribute(white(tree), "all")
        assert (result.region_scores == 0).all()
        assert np.abs(result.standard_errors).max() < 1e-30


def test_whole_that_is_worth_nothing():
    """f(x) = f(b): nothing to split at the root, but there is below it."""
    table = random_table(0, 4, 1)
    table[0] = table[-1] = 0.5
    exact = play(table, depth=4, contexts="exact")
    result = play(table, depth=4, evaluations=120)
    assert np.isfinite(result.region_scores).all()
    assert np.isfinite(result.standard_errors).all()
    assert differences(result, exact) < 5 * np.abs(exact.region_scores).max()
    assert differences(play(table, depth=4, evaluations=EXACT_16), exact) < 1e-12


# --- standard errors


def pairs_seen(tree, seen):
    """How many masked white images tell the two children of each split apart: (level, first leaf) -> number."""
    pixel = np.unique(tree.leaf_labels, return_index=True)[1]
    counts = {}
    for row in np.stack([np.frombuffer(row) for row in seen])[:, pixel] > 0.5:
        if row.all() or not row.any():
            continue
        start, end, level = 0, tree.n_leaves, 0
        while (
            True
        ):  # down to the only node whose children are each shown or hidden as a whole, but differently
            middle = (start + end) // 2
            first, second = row[start:middle], row[middle:end]
            if first.all() != second.all() and first.any() != second.any():
                break
            start, end = (start, middle) if first.any() and not first.all() else (middle, end)
            level += 1
        counts[level, start] = counts.get((level, start), 0) + 1
    return counts


@pytest.mark.parametrize(
    "budget",
    [
        2,
        4,
        *(12, 60, 100, 128, 160, EXACT_16),
    ],
)
def test_errors_are_zero_where_everything_was_observed(budget):
    tree, table = build_tree(8, 8, 4), random_table(2, 4)
    model, seen = recorded(table_model(tree, table))
    result = DnCShap(model, evaluations=budget, depth=4, output="logit").attribute(white(tree), "all")
    counts = pairs_seen(tree, seen)
    assert sum(counts.values()) == budget - 2
    for leaf in range(16):
        splits = [(level, leaf >> (4 - level) << (4 - level)) for level in range(4)]
        complete = all(counts.get(split, 0) == 2 * 2 ** split[0] for split in splits)
        error = result.standard_errors[0, leaf]
        assert (error == 0).all() if complete else (error > 1e-3).all()  # of scores of about 0.3


@pytest.mark.parametrize("gain", [1.0, 12.0])
def test_errors_are_of_the_right_size(gain):
    net, x = network(gain=gain), pictures(6, 3, 16, 16)
    exact = DnCShap(net, contexts="exact", depth=5).attribute(x)
    for budget in (128, 256):
        result = DnCShap(net, evaluations=budget, depth=5).attribute(x)
        actual = np.sqrt(((result.region_scores - exact.region_scores) ** 2).mean())
        reported = np.sqrt((result.standard_errors**2).mean())
        assert 0.5 * actual < reported < 4 * actual


def test_error_maps():
    x = pictures(3, 3, 9, 7)
    result = DnCShap(network(), depth=4, evaluations=60).attribute(x, "all")
    errors = result.error_map()
    assert errors.shape == result.pixel_map().shape == (3, 9, 7, 3, 4)
    assert errors.sum(axis=(1, 2, 3)) == pytest.approx(result.standard_errors.sum(axis=1), abs=1e-14)
    labels = result.tree.labels()
    pixels = np.bincount(labels.ravel())
    assert errors[1, 2, 5, 0] == pytest.approx(
        result.standard_errors[1, labels[2, 5]] / pixels[labels[2, 5]] / 3
    )
    assert DnCShap(network(), contexts="both", depth=4).attribute(x).error_map() is None


@pytest.mark.parametrize("contexts", ["adaptive", 2])
def test_groups_keep_errors(contexts, monkeypatch):
    x = pictures(5, 3, 8, 8)
    together = DnCShap(network(), contexts=contexts, depth=5).attribute(x)
    monkeypatch.setattr("fercore.shapley.base._GROUP_IMAGES", 2)
    apart = DnCShap(network(), contexts=contexts, depth=5).attribute(x)
    assert apart.standard_errors.shape == (5, 32, 1)
    assert apart.standard_errors == pytest.approx(together.standard_errors, abs=1e-12)


# --- results


@pytest.mark.parametrize("contexts", ["adaptive", "both", 2])
def test_some_images_of_a_result(contexts):
    result = DnCShap(network(), contexts=contexts, depth=4).attribute(pictures(5, 3, 8, 8), "all")
    some = result.images(slice(1, 4))
    for name in ("base_values", "predictions", "classes", "data", "evaluations", "region_scores"):
        assert (getattr(some, name) == getattr(result, name)[1:4]).all()
    assert [scores.shape[0] for scores in some.levels] == [3] * 5
    assert (some.pixel_map() == result.pixel_map()[1:4]).all()
    if contexts == "both":
        assert some.standard_errors is None
    else:
        assert (some.standard_errors == result.standard_errors[1:4]).all()
    assert some.searches == ()
    assert some.efficiency_gap <= result.efficiency_gap
    assert len(result.searches) == (contexts == "adaptive")
    assert (some.images(slice(2, None)).region_scores == result.region_scores[3:4]).all()
