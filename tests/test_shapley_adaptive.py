"""Adaptive contexts: budgets, exactness in the limit, refinement, errors, the algebra against textbook formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import network, pictures, play, random_table, recorded, segments

from fercore.shapley import DnCShap, build_tree
from fercore.shapley.adaptive import INTERACTIONS, Search
from fercore.shapley.contexts import asymmetries, split_evaluations
from fercore.shapley.game import ImageGame, TargetGame

EXACT_16 = 172  # evaluations that "exact" needs for 16 regions


# --- budgets


@pytest.mark.parametrize(
    ("depth", "rule"), [(4, "longest"), (1, "quadtree"), (2, "quadtree"), (None, segments(11))]
)
@pytest.mark.parametrize("budget", [2, 15, 16, 60, EXACT_16 - 1, 10**6])
def test_budgets_are_spent_and_not_exceeded(depth, rule, budget):
    model, seen = recorded(network())
    result = DnCShap(model, evaluations=budget, depth=depth, tree=rule).attribute(pictures(3, 3, 8, 8))
    cost = 2**result.tree.arity - 2
    expected = min(2 + (budget - 2) // cost * cost, split_evaluations(result.tree))
    assert result.evaluations.tolist() == [expected] * 3
    assert len(seen) == 3 * expected == len(set(seen)) + 2  # only the baseline is the same for all images
    assert result.efficiency_gap < 1e-12


# --- exact in the limit


@pytest.mark.parametrize(
    ("depth", "rule"),
    [(0, "longest"), (3, "longest"), (5, "alternate"), (2, "quadtree"), (None, segments(13, 12, 9))],
)
def test_large_budgets_are_exact(depth, rule):
    net, x = network(gain=8.0), pictures(2, 3, 12, 9)
    exact = DnCShap(net, contexts="exact", tree=rule, depth=depth).attribute(x, "all")
    for budget in (max(2, split_evaluations(exact.tree)), 10**6):
        result = DnCShap(net, evaluations=budget, tree=rule, depth=depth).attribute(x, "all")
        for scores, expected in zip(result.levels, exact.levels, strict=True):
            assert scores == pytest.approx(expected, abs=1e-12)
        assert (result.standard_errors == 0).all()
        assert (result.evaluations == exact.evaluations).all()


@pytest.mark.parametrize(("rule", "depth", "least"), [("longest", 5, 64), ("quadtree", 2, 58)])
@pytest.mark.parametrize("gain", [1.0, 12.0])
def test_more_evaluations_are_better(gain, rule, depth, least):
    """On average over images: a larger budget is closer to exact, and errors are told in the right size."""
    net, x = network(gain=gain), pictures(6, 3, 16, 16)
    exact = DnCShap(net, contexts="exact", depth=depth, tree=rule).attribute(x).region_scores
    errors = []
    for budget in (least, 2 * least, 4 * least):
        result = DnCShap(net, evaluations=budget, depth=depth, tree=rule).attribute(x)
        errors.append(np.sqrt(((result.region_scores - exact) ** 2).mean()))
        assert errors[-1] * 0.4 < np.sqrt((result.standard_errors**2).mean()) < 4 * errors[-1]
    assert sorted(errors, reverse=True) == errors
    assert errors[-1] < 0.3 * np.sqrt((exact**2).mean())


# --- refine


def test_refining_step_by_step_ends_in_exact():
    """And no mask is evaluated again."""
    x, targets = (pictures(3, 8, 6, 3).numpy() * 255).astype(np.uint8), [[3, 1], [0, 2], [1, 0]]
    net = network()
    model, seen = recorded(lambda rows: net(rows.double()))
    explainer = DnCShap(model, "mean", evaluations=20, depth=4, class_names=["a", "b", "c", "d"])
    exact = DnCShap(net, "mean", contexts="exact", depth=4).attribute(x, targets)
    results = [explainer.attribute(x, targets)]
    kept = [scores.copy() for scores in (*results[0].levels, results[0].standard_errors)]
    for step in (2, 3, 50, 10, 60, 10**5, 100):
        results.append(explainer.refine(results[-1], step))
    spent = [20, 22, 24, 74, 84, 144, EXACT_16, EXACT_16]  # at last nothing is left
    assert [result.evaluations.tolist() for result in results] == [[count] * 3 for count in spent]
    assert len(seen) == len(set(seen)) == 3 * EXACT_16
    assert max(result.efficiency_gap for result in results) < 1e-12
    for scores, expected in zip(results[-1].levels, exact.levels, strict=True):
        assert scores == pytest.approx(expected, abs=1e-12)
    assert (results[-1].standard_errors == 0).all()
    assert results[-1].compute_time > results[0].compute_time
    for name in ("base_values", "predictions", "classes", "data", "output_names"):
        assert (getattr(results[-1], name) == getattr(results[0], name)).all()
    # The results on the way are as they were, and can be refined again.
    for old, new in zip(kept, [*results[0].levels, results[0].standard_errors], strict=True):
        assert (old == new).all()
    assert (explainer.refine(results[2], 50).region_scores == results[3].region_scores).all()


def test_refine_refuses_what_it_cannot_go_on_from():
    x, net = pictures(2, 3, 8, 8), network()
    explainer, quarters = DnCShap(net, depth=4, evaluations=40), DnCShap(net, depth=2, tree="quadtree")
    result = explainer.attribute(x)
    for other in (DnCShap(net, contexts=4, depth=4).attribute(x), result.images(slice(1))):
        with pytest.raises(ValueError, match="contexts='adaptive' can be refined"):
            explainer.refine(other, 10)
    for other in (DnCShap(net, depth=3), quarters):
        with pytest.raises(ValueError, match="another tree"):
            other.refine(result, 10)
    for made, budget, least in ((explainer, 1, 2), (explainer, 2.0, 2), (quarters, 13, 14)):
        with pytest.raises(ValueError, match=f"at least {least}; not {budget}"):
            made.refine(made.attribute(x), budget)


# --- what must not matter


def test_runs_are_identical_and_seeds_matter_beyond_256_regions_only():
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(512, 2)) / 8)

    def rough(x):
        one, other = (x.flatten(1) @ weights).T
        return (torch.tanh(one) + torch.tanh(3 * one) * other)[:, None]

    for depth, matters in ((6, False), (9, True)):
        explainers = [
            DnCShap(rough, depth=depth, evaluations=6000, seed=seed, output="logit") for seed in (0, 0, 1)
        ]
        one, again, other = (explainer.attribute(pictures(1, 1, 32, 16)) for explainer in explainers)
        assert (one.region_scores == again.region_scores).all()
        assert (one.standard_errors == again.standard_errors).all()
        assert (one.region_scores != other.region_scores).any() == matters


def test_contexts_that_are_a_sample_keep_their_error():
    """Even if all of them were observed, as on the last level of this tree: 128 of 512 contexts."""
    model, seen = recorded(lambda x: x.flatten(1)[:, :3])
    result = DnCShap(model, evaluations=10**6, depth=4, tree="quadtree").attribute(pictures(1, 1, 16, 16))
    assert result.evaluations.tolist() == [len(seen)] == [len(set(seen))]
    assert result.evaluations[0] < split_evaluations(result.tree)
    assert result.standard_errors.max() > 1e-6


def test_scale_shift_and_classes_that_never_change_do_not_matter():
    x, net, found = pictures(1, 3, 8, 8), network(), []
    for factor, target in ((1.0, [[1, 0]]), (1.0, 1), (1e-6, 1), (-1e6, 1)):
        model, seen = recorded(
            lambda x, f=factor: torch.stack([torch.ones(len(x)), net(x)[:, 1] * f + f], dim=1)
        )
        result = DnCShap(model, output="logit", depth=5, evaluations=100).attribute(x, target)
        found.append((set(seen), result.region_scores[..., 0] / factor))
        assert (result.region_scores[..., 1:] == 0).all()
    for masks, scores in found:
        assert masks == found[0][0]
        assert scores == pytest.approx(found[0][1], rel=1e-7, abs=1e-9)


def test_whole_that_is_worth_nothing():
    """f(x) = f(b): nothing to split at the root, but there is below it; or nowhere."""
    result = play(torch.full((2**16, 2), 0.25, dtype=torch.float64), depth=4)
    assert (result.region_scores == 0).all()
    assert np.abs(result.standard_errors).max() < 1e-30
    table = random_table(0, 4, 1)
    table[0] = table[-1] = 0.5
    exact = play(table, depth=4, contexts="exact").region_scores
    result = play(table, depth=4, evaluations=120)
    assert np.isfinite(result.standard_errors).all()
    assert np.abs(result.region_scores - exact).max() < 5 * np.abs(exact).max()
    assert play(table, depth=4, evaluations=EXACT_16).region_scores == pytest.approx(exact, abs=1e-12)


# --- standard errors


@pytest.mark.parametrize("budget", [2, 60, 128, EXACT_16])
def test_errors_are_zero_where_everything_was_observed(budget):
    result = play(random_table(2, 4), depth=4, evaluations=budget)
    levels = result.searches[0]._levels
    assert sum(level.seen.sum() for level in levels) == (budget - 2) // 2
    for leaf in range(16):
        complete = all(level.seen[0, leaf >> (4 - number)].all() for number, level in enumerate(levels))
        error = result.standard_errors[0, leaf]
        assert (error == 0).all() if complete else (error > 1e-3).all()  # of scores of about 0.3


# --- the linear algebra


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([2, 17, 60]))
def test_guesses_and_gains_are_those_of_a_gaussian_process(seed, pairs):
    """Of covariance k - k_o (k_oo)^-1 k_o', and what one more observation takes off the variance of a weighted mean."""
    tree, x, rng = build_tree(8, 8, 4), pictures(2, 3, 8, 8, seed=seed), np.random.default_rng(seed)
    game = TargetGame(ImageGame(network(), x, torch.zeros(1, 3, 1, 1), tree.labels()), tree, None)
    search, images = Search(game), np.arange(2)
    search.run(game, pairs)
    assert sum(level.seen.sum() for level in search._levels) == 2 * pairs
    choices = rng.integers(len(INTERACTIONS), size=(3, 2))
    for level in search._levels:
        level.condition_anew(choices[0], images)  # a finished run drops its factors
        splits, reach = np.arange(level.seen.shape[1]), 0.1 + rng.random((3, *level.seen.shape))
        gains, weights = level.gain(choices[0], reach[0]), level.pool.weights
        mean, *_ = level.posterior(images, splits, level.observed(images, splits), reach, choices, None)
        for v, i, s in np.ndindex(mean.shape[:3]):
            seen, h, kernel = level.seen[i, s], reach[v, i, s], level.kernels[choices[v, i]]
            by_seen = np.linalg.solve(kernel[np.ix_(seen, seen)], kernel[seen]).T
            delta = asymmetries(level.values[i, s][..., 1:-1, :], 2)[seen][..., 0] / h[seen, None]
            assert mean[v, i, s, :, 0] == pytest.approx((weights * h) @ by_seen @ delta, rel=1e-6, abs=1e-10)
            if v == 0:
                spread = kernel - by_seen @ kernel[seen]
                assert np.diag(spread) == pytest.approx(level.variance[i, s], abs=1e-9)
                lowered = (spread @ (h * weights)) ** 2 / np.diag(spread).clip(1e-6)
                assert gains[i, s, ~seen] == pytest.approx(lowered[~seen], rel=1e-6, abs=1e-9)
