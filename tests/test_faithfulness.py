"""Overlap, faithfulness, localisation, randomisation and their tables: closed forms, captum, scikit-learn and SciPy."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from ferlab.explainers import Maps, Settings
from ferlab.figures import charts
from ferlab.measures import faithfulness, localisation, overlap, sanity
from ferlab.studies import explainers as study
from ferlab.studies import maps, paper
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import auc
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn
from toy_linear import LinearProbability

SIZE, TARGETS = 8, torch.tensor([0, 1, 0, 1])
WEIGHTS = 5e-3 * torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).double()
NET = LinearProbability(WEIGHTS).eval()
IMAGES = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
SIGNS = 1 - 2 * TARGETS[:, None, None]
PERFECT = (SIGNS * (IMAGES * WEIGHTS).sum(dim=1)).numpy()  # what each pixel adds to the class of the image


def random_maps(seed: int, count: int = 4, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, size, size))


def as_maps(values: np.ndarray) -> Maps:
    ones = np.ones(len(values), dtype=np.int64)
    return Maps("x", values, ones, 0 * ones, 0.5 * ones)


def test_overlap_depends_on_the_scale_unless_the_length_is_one():
    a = random_maps(0)
    assert overlap.soft_dice(a, 128 * a) == pytest.approx(2 * 128 / (1 + 128**2))
    assert overlap.overlap(a, 128 * a) == pytest.approx(1)
    assert np.isnan(overlap.overlap(-np.abs(a), a, "positive")).all()


@given(st.integers(0, 10**6), st.sampled_from(overlap.VIEWS), st.floats(0.01, 100))
def test_overlap_is_scikit_learn_s_cosine(seed, view, factor):
    change = {"signed": np.asarray, "magnitude": np.abs, "positive": lambda m: np.clip(m, 0, None)}[view]
    a, b = random_maps(seed), random_maps(seed + 1)
    value = overlap.overlap(a, factor * b, view)
    assert value == pytest.approx(
        cosine_similarity(*(change(m.reshape(4, -1)) for m in (a, b))).diagonal(), abs=1e-12
    )
    assert overlap.overlap(b, a, view) == pytest.approx(value)


@pytest.mark.parametrize("view", overlap.VIEWS)
def test_levels_of_chance(view):
    assert overlap.simulated_chance(view, seed=1) == pytest.approx(overlap.CHANCE[view], abs=0.005)
    a, b = (random_maps(seed, 1, 2) + 0.3 for seed in (3, 4))
    every = [np.array(order) for order in itertools.permutations(range(4))]
    moved = [overlap.overlap(a, b.reshape(1, -1)[:, order].reshape(a.shape), view)[0] for order in every]
    assert overlap.shuffled_level(a, b, view)[0] == pytest.approx(np.mean(moved))
    a, b = random_maps(5), random_maps(6)
    b[2] = 0  # an empty map is left out
    others = [[j for j in range(4) if j not in (i, 2)] for i in range(4)]
    expected = [overlap.overlap(a[[i] * len(j)], b[j], view).mean() for i, j in enumerate(others)]
    assert overlap.swapped_level(a, b, view) == pytest.approx(expected)
    assert np.isnan(overlap.swapped_level(a[:1], b[:1]))


def test_intervals_are_those_of_the_mean():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found, half = faithfulness.interval(values), 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.mean, found.mean - found.low) == pytest.approx((half, half), rel=0.15)
    assert found == faithfulness.interval([*values, np.nan])  # what is undefined is left out
    one, none = faithfulness.interval([2.0]), faithfulness.interval([])
    assert (one.mean, one.images, none.images) == (2, 1, 0)
    assert np.isnan([one.low, none.mean, none.high]).all()


def test_curves_of_a_linear_network_are_sums():
    black = torch.zeros_like(IMAGES)
    curves = faithfulness.replacement_curves(NET, IMAGES, black, TARGETS, PERFECT, SIZE * SIZE)
    falls = np.sort(PERFECT.reshape(4, -1), axis=1)[:, ::-1].cumsum(axis=1)
    assert curves[:, 1:] == pytest.approx(curves[:, :1] - falls)
    assert curves[:, -1] == pytest.approx(0.5)
    assert faithfulness.area(curves) == pytest.approx([auc(np.linspace(0, 1, 65), c) for c in curves])


@pytest.mark.parametrize("seed", range(3))
def test_nothing_beats_the_perfect_order_and_insertion_is_deletion_reversed(seed):
    best, other, reverse = (
        faithfulness.insertion_deletion(NET, IMAGES, TARGETS, values, steps=8)
        for values in (PERFECT, random_maps(seed), -random_maps(seed))
    )
    assert (best["deletion_black"] < other["deletion_black"]).all()
    assert (best["insertion_black"] > other["insertion_black"]).all()
    for kind in faithfulness.BLANKS:
        assert other[f"insertion_{kind}"] == pytest.approx(reverse[f"deletion_{kind}"])
    tied = faithfulness.ranks(np.zeros((4, 4)), seed).ravel().tolist()  # equal values go in random order
    assert sorted(tied) == list(range(16)) != tied


def test_infidelity_is_captum_s_normalised_one_over_that_of_zeros():
    metrics = pytest.importorskip("captum.metrics")
    removed = faithfulness.removals(NET, IMAGES, TARGETS, count=30, seed=1)
    masks, found = torch.from_numpy(removed.masks)[:, None].double(), random_maps(7)

    def perturb(shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = masks.repeat(len(shown) // 30, 1, 1, 1)
        return hidden, shown - hidden

    def forward(shown: torch.Tensor, pictures: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return NET(pictures * shown).softmax(dim=1).gather(1, classes[:, None])[:, 0]

    ones = torch.ones(4, 1, SIZE, SIZE, dtype=torch.float64)
    about = {"additional_forward_args": (IMAGES, TARGETS), "n_perturb_samples": 30, "normalize": True}
    theirs = metrics.infidelity(forward, perturb, ones, torch.from_numpy(found)[:, None], **about)
    expected = theirs.numpy() / (removed.drops**2).mean(axis=1)
    assert faithfulness.infidelity(found, removed) == pytest.approx(expected)


def test_infidelity_from_perfect_to_nothing():
    removed = faithfulness.removals(NET, IMAGES, TARGETS, count=50)
    for factor, left in ((1, 0), (-7, 0), (0, 1)):
        assert faithfulness.infidelity(factor * PERFECT, removed) == pytest.approx(left, abs=1e-9)
    silent = faithfulness.Removals(removed.masks, 0 * removed.drops)
    assert np.isnan(faithfulness.infidelity(PERFECT, silent)).all()
    assert set(removed.masks.sum(axis=(1, 2)).tolist()) == {1, 4, 9, 16}  # squares


def test_sensitivity_of_controls_and_of_a_steady_gradient():
    pytest.importorskip("captum")
    about = (NET, IMAGES, TARGETS.numpy(), Settings(depth=2, steps=5))
    assert faithfulness.sensitivity("centre", *about) == pytest.approx(0)
    assert (study.steady(["random"], *about, progress=False)["random"]["sensitivity"] > 0.5).all()
    found = faithfulness.sensitivity("integrated_gradients", *about, radius=0.01)
    # The map is w x, so the noise changes it by w times the noise, which is at most the radius.
    most = np.abs(NET.weights.detach().numpy()).sum(axis=0)
    assert (found > 0).all()
    assert (found <= 0.01 * np.linalg.norm(most) / np.linalg.norm(PERFECT, axis=(1, 2))).all()


def test_localisation_by_hand():
    truth = np.zeros((2, 3, 3), dtype=bool)
    truth[0, 0] = True
    found = np.array([[[3.0, -1, 2], [1, 2, 0], [0, 0, -4]]] * 2)
    # The three largest: 3 (inside), and two of value 2, one of which is inside.
    by_hand = {"mass": 5 / 8, "rank": 2 / 3, "pointing": 1}
    assert {name: values[0] for name, values in localisation.scores(found, truth).items()} == by_hand
    assert all(np.isnan(values[1]) for values in localisation.scores(found, truth).values())  # nothing moved
    for values in localisation.scores(np.ones((2, 3, 3)), truth).values():
        assert values == pytest.approx(localisation.area_share(truth), nan_ok=True)  # chance
    assert np.isnan(localisation.mass_accuracy(-np.ones((2, 3, 3)), truth)).all()


def test_shuffling_keeps_the_weights_and_the_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    before = model[0].weight.clone()
    other = sanity.randomised(model, seed=1)
    assert torch.equal(model[0].weight, before)
    a, b = model[0].weight.flatten(), other[0].weight.flatten()
    assert not torch.equal(a, b)
    assert torch.equal(a.sort().values, b.sort().values)
    assert torch.equal(sanity.randomised(model, seed=1)[0].weight, other[0].weight)
    assert torch.equal(other[1].running_var, model[1].running_var)


def test_similarity_of_maps():
    pytest.importorskip("skimage")
    a, b = random_maps(0).round(1), random_maps(1).round(1)
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    assert sanity.rank_correlation(a, b) == pytest.approx(expected)
    assert sanity.structural_similarity(a, 5 * a) == pytest.approx(1)
    assert (np.abs(sanity.structural_similarity(a, b)) < 0.6).all()
    for measure in (sanity.rank_correlation, sanity.structural_similarity):
        assert np.isnan(measure(a, 0 * a)).all()


def test_images_are_spread_over_the_emotions():
    labels, order = np.array([0, 0, 0, 3, 3, 3, 6]), np.arange(7)
    assert labels[order[maps.pick(labels, order, 4)]].tolist() == [0, 0, 3, 6]
    assert maps.pick(labels, order, 99).tolist() == order.tolist()


def test_everything_together():
    values = {"dnc": PERFECT, "dnc_exact": PERFECT, "lime": random_maps(0), "gradient_shap": random_maps(1)}
    found = {name: as_maps(one) for name, one in (values | {"centre": np.ones_like(PERFECT)}).items()}
    scores = study.faithful(NET, IMAGES, TARGETS.numpy(), found, steps=8, squares=20, progress=False)
    truth = np.zeros((4, SIZE, SIZE), dtype=bool)
    truth[:3, :2] = True
    first = study.rows(found, np.arange(3))
    scores = study.merged(scores, study.located(found, truth), study.dependent(first, first))
    table = study.scores(scores)
    assert len(table) == 5 * 11
    duel = study.differences(scores, "dnc").set_index(["method", "measure"]).verdict
    assert duel["lime", "deletion_black"] == duel["lime", "infidelity"] == "better"
    assert duel["dnc_exact", "deletion_black"] == duel["lime", "same_rank"] == "open"
    assert study.readable(table).loc["centre map", "rank correlation"] == "nan [nan, nan]"
    growth = study.exponents(
        [{"method": "dnc", "regions": n, "evaluations": n, "seconds": n} for n in (2, 4)]
    )
    facts = json.loads(json.dumps(study.facts(study.costs(found), growth, {}, scores), allow_nan=False))
    assert facts["scores"]["centre"]["same_rank"]["mean"] is None
    assert facts["scores"]["dnc"]["mass"]["images"] == 3
    assert facts["dnc_minus"]["lime"]["infidelity"]["verdict"] == "better"
    assert charts.intervals(table, ["mass", "rank"], {"mass": 0.5}).axes


def test_distance_to_the_exact_map():
    exact, other = random_maps(0), random_maps(1)
    values = {"dnc_exact": exact, "dnc": 2 * exact + 1, "lime": exact, "dnc_both": other, "kernel": 0 * exact}
    near = study.near_exact({name: as_maps(one) for name, one in values.items()})
    assert set(near) == {"dnc", "dnc_both", "kernel"}
    assert near["dnc"]["correlation"] == pytest.approx(1)
    relative = np.linalg.norm(exact + 1, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    assert near["dnc"]["error"] == pytest.approx(relative)
    assert np.isnan(near["kernel"]["correlation"]).all()
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(exact, other, strict=True)]
    assert near["dnc_both"]["correlation"] == pytest.approx(expected)
    assert study.near_exact({"dnc": as_maps(exact)}) == {}


def test_tables_of_growth_and_beside_the_paper():
    about = (NET, IMAGES[:1], 0, Settings(), [1, 2, 3, 4])
    rows = study.scaling(("dnc_both", "dnc_exact"), *about, most=100)
    counted = {(row["method"], row["regions"]): row["evaluations"] for row in rows}
    exact = {("dnc_exact", n): 2 * (n * n - 1) // 3 + 2 for n in (2, 4, 8)}
    assert counted == {("dnc_both", n): 4 * n - 4 for n in (2, 4, 8, 16)} | exact
    made = [{"method": "m", "regions": n, "evaluations": 3 * n**2, "seconds": n**0.5} for n in (2, 4, 8)]
    assert study.exponents(made).loc["m", ["evaluations", "seconds"]].tolist() == pytest.approx([2, 0.5])
    assert charts.growth(rows).axes
    found = {name: as_maps(random_maps(i)) for i, name in enumerate(paper.COLUMNS)}
    pairs = study.overlap_table(study.overlaps(found, ["gradient_shap", "lime"], "magnitude"))
    ours = study.table_4(pairs)
    assert ours.paper.to_dict() == {"LIME": 0.174, "Grad-CAM": 0.488, "DnCShap, as released": 0.541}
    direct = overlap.overlap(found["gradient_shap"].values, found["lime"].values).mean()
    assert ours.ours["LIME"] == pytest.approx(direct)
    printed = study.table_3(study.costs(found))
    assert printed.loc["SHAP: GradientExplainer", "paper: seconds"] == 39
    assert printed["ours: seconds"].tolist() == [0.5] * 4
    assert len(charts.overlap_dots(pairs, {"lime": 0.174}).axes) == 2
