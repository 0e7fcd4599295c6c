"""Overlap, faithfulness, localisation, randomisation: against closed forms, captum, Quantus and scikit-learn."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from ferlab import explainers
from ferlab.explainers import Maps, Settings, store
from ferlab.figures import charts, panels
from ferlab.measures import faithfulness, localisation, overlap, sanity
from ferlab.studies import explainers as study
from ferlab.studies import maps, paper
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

SIZE = 8


class LinearProbability(nn.Module):
    """Two classes whose probabilities are exactly linear in the pixels: ½ ± Σ w x."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights = nn.Parameter(5e-3 * torch.randn(3, SIZE, SIZE, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sums = (images * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([0.5 + sums, 0.5 - sums], dim=1).log()


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return LinearProbability().double().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


TARGETS = torch.tensor([0, 1, 0, 1])


def products(net: nn.Module, images: torch.Tensor) -> np.ndarray:
    """What each pixel adds to the class of the image: the perfect map."""
    signs = 1 - 2 * TARGETS.numpy()
    return (images * net.weights).sum(dim=1).detach().numpy() * signs[:, None, None]


def random_maps(seed: int, count: int = 4, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, size, size))


def as_maps(values: np.ndarray, name: str = "x") -> Maps:
    ones = np.ones(len(values), dtype=np.int64)
    return Maps(name, values, ones, 0 * ones, 0.5 * ones)


class TestOverlap:
    def test_it_depends_on_the_scale_unless_the_length_is_one(self):
        a = random_maps(0)
        assert overlap.soft_dice(a, a) == pytest.approx(1)
        assert overlap.soft_dice(a, 128 * a) == pytest.approx(2 * 128 / (1 + 128**2))
        assert overlap.overlap(a, 128 * a) == pytest.approx(1)

    def test_of_unit_maps_it_is_scikit_learn_s_cosine(self):
        from sklearn.metrics.pairwise import cosine_similarity

        a, b = random_maps(0), random_maps(1)
        flat = a.reshape(4, -1), b.reshape(4, -1)
        for view, change in (
            ("signed", np.asarray),
            ("magnitude", np.abs),
            ("positive", lambda m: np.clip(m, 0, None)),
        ):
            expected = cosine_similarity(change(flat[0]), change(flat[1])).diagonal()
            assert overlap.overlap(a, b, view) == pytest.approx(expected)

    @given(st.integers(0, 10**6), st.sampled_from(overlap.VIEWS), st.floats(0.01, 100))
    def test_bounds_symmetry_and_scale(self, seed, view, factor):
        a, b = random_maps(seed), random_maps(seed + 1)
        value = overlap.overlap(a, b, view)
        assert (np.abs(value) <= 1 + 1e-12).all()
        assert view == "signed" or (value >= 0).all()
        assert overlap.overlap(factor * b, a, view) == pytest.approx(value)

    @pytest.mark.parametrize("view", overlap.VIEWS)
    def test_chance_of_independent_maps(self, view):
        assert overlap.simulated_chance(view, seed=1) == pytest.approx(overlap.CHANCE[view], abs=0.005)
        assert {v: round(level, 3) for v, level in overlap.CHANCE.items()} == {
            "magnitude": 0.637,
            "positive": 0.318,
            "signed": 0.0,
        }

    @pytest.mark.parametrize("view", overlap.VIEWS)
    def test_shuffled_pixels_against_all_permutations(self, view):
        a, b = (random_maps(seed, 1, 2) + 0.3 for seed in (3, 4))
        every = [np.array(order) for order in itertools.permutations(range(4))]
        moved = [overlap.overlap(a, b.reshape(1, -1)[:, order].reshape(a.shape), view)[0] for order in every]
        assert overlap.shuffled_level(a, b, view)[0] == pytest.approx(np.mean(moved))

    def test_other_images_against_loops(self):
        a, b = random_maps(5), random_maps(6)
        b[2] = 0  # an empty map is left out
        others = [[j for j in range(4) if j not in (i, 2)] for i in range(4)]
        expected = [
            overlap.overlap(np.repeat(a[i : i + 1], len(j), 0), b[j]).mean() for i, j in enumerate(others)
        ]
        assert overlap.swapped_level(a, b) == pytest.approx(expected)
        assert np.isnan(overlap.swapped_level(a[:1], b[:1]))

    def test_empty_maps_have_no_overlap_and_unknown_views_are_named(self):
        assert np.isnan(overlap.overlap(np.zeros((1, 2, 2)), np.ones((1, 2, 2))))
        assert np.isnan(overlap.overlap(-np.ones((1, 2, 2)), np.ones((1, 2, 2)), "positive"))
        with pytest.raises(ValueError, match="no view 'both'; choose magnitude, positive, signed"):
            overlap.overlap(np.ones((1, 2, 2)), np.ones((1, 2, 2)), "both")

    def test_the_paper_s_numbers_are_those_of_its_text(self):
        assert paper.TABLE_4["DnCShap"] == 0.541
        assert paper.TABLE_3["DnCShap"] == ("O(n)", 26)
        assert set(paper.COLUMNS) <= set(explainers.METHODS)
        assert set(paper.COLUMNS.values()) == set(paper.TABLE_3) == set(paper.TABLE_4)


class TestIntervals:
    def test_against_the_normal_approximation(self):
        values = np.random.default_rng(0).normal(3, 2, 400)
        found = faithfulness.interval(values)
        half = 1.96 * values.std(ddof=1) / np.sqrt(400)
        assert found.mean == pytest.approx(values.mean())
        assert found.high - found.mean == pytest.approx(half, rel=0.15)
        assert found.mean - found.low == pytest.approx(half, rel=0.15)
        assert found == faithfulness.interval(values)

    def test_what_is_undefined_is_left_out(self):
        found = faithfulness.interval(np.array([1.0, np.nan, 1.0]))
        assert found == faithfulness.Interval(1, 1, 1, 2)
        assert faithfulness.interval(np.array([2.0])).mean == 2
        assert np.isnan(
            [faithfulness.interval(np.array([2.0])).low, faithfulness.interval(np.array([])).mean]
        ).all()


class TestInsertionAndDeletion:
    def test_curves_of_a_linear_network_are_sums(self, net, images):
        perfect = products(net, images)
        black = torch.zeros_like(images)
        curves = faithfulness.replacement_curves(net, images, black, TARGETS, perfect, SIZE * SIZE)
        falls = np.sort(perfect.reshape(4, -1), axis=1)[:, ::-1].cumsum(axis=1)
        assert curves[:, 1:] == pytest.approx(curves[:, :1] - falls)
        assert curves[:, -1] == pytest.approx(0.5)

    def test_area_is_scikit_learn_s(self):
        from sklearn.metrics import auc

        curves = np.random.default_rng(0).random((3, 6))
        assert faithfulness.area(curves) == pytest.approx([auc(np.linspace(0, 1, 6), c) for c in curves])

    def test_nothing_beats_the_perfect_order(self, net, images):
        best = faithfulness.insertion_deletion(net, images, TARGETS, products(net, images), steps=16)
        for seed in range(5):
            other = faithfulness.insertion_deletion(net, images, TARGETS, random_maps(seed), steps=16)
            assert (best["deletion_black"] < other["deletion_black"]).all()
            assert (best["insertion_black"] > other["insertion_black"]).all()

    def test_reversed_insertion_is_deletion(self, net, images):
        maps = random_maps(3)
        up = faithfulness.insertion_deletion(net, images, TARGETS, maps, steps=8)
        down = faithfulness.insertion_deletion(net, images, TARGETS, -maps, steps=8)
        for kind in faithfulness.BLANKS:
            assert up[f"insertion_{kind}"] == pytest.approx(down[f"deletion_{kind}"])

    def test_equal_values_go_in_random_order_and_a_constant_map_is_random(self):
        ranks = faithfulness.ranks(np.zeros((4, 4)))
        assert sorted(ranks.ravel()) == list(range(16))
        assert (ranks.ravel() != np.arange(16)).any()
        steps = np.repeat([[3.0, 1.0, 2.0]], 2, axis=0)
        assert (faithfulness.ranks(steps) // 2 == [[0, 2, 1], [0, 2, 1]]).all()

    def test_blanks(self, images):
        assert (faithfulness.blank(images, "black") == 0).all()
        soft = faithfulness.blank(images, "blurred")
        assert soft.dtype == images.dtype
        assert (soft.std(dim=(2, 3)) < images.std(dim=(2, 3))).all()
        with pytest.raises(ValueError, match="no blank 'white'"):
            faithfulness.blank(images, "white")

    def test_deletion_curve_is_quantus_pixel_flipping(self, net, images):
        quantus = pytest.importorskip("quantus")
        maps = random_maps(2)
        flipping = quantus.PixelFlipping(
            features_in_step=8,
            perturb_baseline=0.0,
            abs=False,
            normalise=False,
            return_auc_per_sample=False,
            disable_warnings=True,
        )
        spread = np.repeat(maps[:, None], 3, axis=1)
        # Quantus counts every channel as a feature of its own: one channel is what can be compared.
        grey = nn.Sequential(Expand(), net).eval()
        single = images[:, :1]
        about = {"x_batch": single.numpy(), "y_batch": TARGETS.numpy(), "a_batch": spread[:, :1]}
        theirs = np.array(flipping(model=grey, softmax=True, device="cpu", **about))
        ours = faithfulness.replacement_curves(grey, single, torch.zeros_like(single), TARGETS, maps, 8)
        assert theirs[:, -8:] == pytest.approx(ours[:, 1:])


class Expand(nn.Module):
    """Repeat one channel three times."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.expand(-1, 3, -1, -1)


class TestInfidelity:
    def test_it_is_captum_s_normalised_one_over_that_of_zeros(self, net, images):
        from captum.metrics import infidelity

        removed = faithfulness.removals(net, images, TARGETS, count=30, seed=1)
        masks = torch.from_numpy(removed.masks)[:, None].double()
        maps = random_maps(7)

        def perturb(shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            hidden = masks.repeat(len(shown) // 30, 1, 1, 1)
            return hidden, shown - hidden

        def forward(shown: torch.Tensor, pictures: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
            return net(pictures * shown).softmax(dim=1).gather(1, classes[:, None])[:, 0]

        ones = torch.ones(4, 1, SIZE, SIZE, dtype=torch.float64)
        theirs = infidelity(
            forward,
            perturb,
            ones,
            torch.from_numpy(maps)[:, None],
            additional_forward_args=(images, TARGETS),
            n_perturb_samples=30,
            normalize=True,
        )
        expected = theirs.numpy() / (removed.drops**2).mean(axis=1)
        assert faithfulness.infidelity(maps, removed) == pytest.approx(expected)

    def test_from_perfect_to_nothing(self, net, images):
        removed = faithfulness.removals(net, images, TARGETS, count=20)
        perfect = products(net, images)
        assert faithfulness.infidelity(perfect, removed) == pytest.approx(0, abs=1e-9)
        assert faithfulness.infidelity(-7 * perfect, removed) == pytest.approx(0, abs=1e-9)
        assert faithfulness.infidelity(0 * perfect, removed) == pytest.approx(1)
        silent = faithfulness.Removals(removed.masks, 0 * removed.drops)
        assert np.isnan(faithfulness.infidelity(perfect, silent)).all()

    def test_squares(self, net, images):
        masks = faithfulness.removals(net, images, TARGETS, count=50).masks
        sides = masks.any(axis=1).sum(axis=1)
        assert (sides == masks.any(axis=2).sum(axis=1)).all()
        assert (masks.sum(axis=(1, 2)) == sides**2).all()
        assert set(sides) == {1, 2, 3, 4}


def test_sensitivity_of_controls_and_of_a_steady_gradient(net, images):
    settings = Settings(depth=2, steps=5)
    about = (net, images, TARGETS.numpy(), settings)
    assert faithfulness.sensitivity("centre", *about) == pytest.approx(0)
    assert (faithfulness.sensitivity("random", *about) > 0.5).all()
    found = faithfulness.sensitivity("integrated_gradients", *about, radius=0.01)
    # The map is w x, so the noise changes it by w times the noise, which is at most the radius.
    weights = net.weights.detach().numpy()
    most = np.abs(weights).sum(axis=0)
    bound = 0.01 * np.linalg.norm(most) / np.linalg.norm(products(net, images), axis=(1, 2))
    assert (found > 0).all()
    assert (found <= bound).all()


class TestLocalisation:
    TRUTH = np.zeros((2, 3, 3), dtype=bool)
    TRUTH[0, 0] = True

    def test_by_hand(self):
        maps = np.array([[[3.0, -1, 2], [1, 2, 0], [0, 0, -4]]] * 2)
        assert localisation.mass_accuracy(maps, self.TRUTH)[0] == pytest.approx(5 / 8)
        # The three largest: 3 (inside), and two of value 2, one of which is inside.
        assert localisation.rank_accuracy(maps, self.TRUTH)[0] == pytest.approx(2 / 3)
        assert localisation.pointing_game(maps, self.TRUTH)[0] == 1
        assert localisation.area_share(self.TRUTH)[0] == pytest.approx(1 / 3)
        for values in localisation.scores(maps, self.TRUTH).values():
            assert np.isnan(values[1])  # nothing moved
        assert np.isnan(localisation.area_share(self.TRUTH)[1])

    def test_a_constant_map_scores_as_chance(self):
        for values in localisation.scores(np.ones((2, 3, 3)), self.TRUTH).values():
            assert values[0] == pytest.approx(1 / 3)
        assert np.isnan(localisation.mass_accuracy(-np.ones((2, 3, 3)), self.TRUTH)).all()

    def test_ties_are_the_mean_over_random_orders(self):
        rng = np.random.default_rng(0)
        maps, truth = rng.integers(0, 3, (1, 4, 4)).astype(float), rng.random((1, 4, 4)) < 0.4
        shaken = [maps + 1e-3 * rng.random(maps.shape) for _ in range(4000)]
        for function in (localisation.rank_accuracy, localisation.pointing_game):
            mean = np.mean([function(m, truth)[0] for m in shaken])
            assert function(maps, truth)[0] == pytest.approx(mean, abs=0.03)

    def test_quantus_agrees_where_nothing_is_tied(self):
        quantus = pytest.importorskip("quantus")
        maps, truth = random_maps(8), np.random.default_rng(9).random((4, SIZE, SIZE)) < 0.3
        positive = np.clip(maps, 0, None)
        pairs = {
            "RelevanceMassAccuracy": localisation.mass_accuracy(maps, truth),
            "RelevanceRankAccuracy": localisation.rank_accuracy(maps, truth),
            "PointingGame": localisation.pointing_game(maps, truth),
        }
        for name, ours in pairs.items():
            metric = getattr(quantus, name)(abs=False, normalise=False, disable_warnings=True)
            given_maps = positive if name == "RelevanceMassAccuracy" else maps
            theirs = metric.evaluate_batch(a_batch=given_maps[:, None].copy(), s_batch=truth[:, None].copy())
            assert np.asarray(theirs, dtype=float) == pytest.approx(ours)


class TestSanity:
    def test_shuffling_keeps_the_weights_and_the_model(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        other = sanity.randomised(model, seed=1)
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
        a, b = model[0].weight.flatten(), other[0].weight.flatten()
        assert not torch.equal(a, b)
        assert torch.equal(a.sort().values, b.sort().values)
        assert torch.equal(sanity.randomised(model, seed=1)[0].weight, other[0].weight)
        assert torch.equal(other[1].running_var, model[1].running_var)

    def test_rank_correlation_is_scipy_s(self):
        from scipy.stats import spearmanr

        a, b = random_maps(0).round(1), random_maps(1).round(1)
        expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
        assert sanity.rank_correlation(a, b) == pytest.approx(expected)
        assert sanity.rank_correlation(a, np.exp(a)) == pytest.approx(1)
        assert np.isnan(sanity.rank_correlation(a, np.ones_like(a))).all()

    def test_structural_similarity(self):
        pytest.importorskip("skimage")
        a = random_maps(0)
        assert sanity.structural_similarity(a, 5 * a) == pytest.approx(1)
        assert (np.abs(sanity.structural_similarity(a, random_maps(1))) < 0.6).all()
        assert np.isnan(sanity.structural_similarity(a, 0 * a)).all()


class TestStudy:
    def test_images_are_spread_over_the_emotions(self):
        labels = np.array([0, 0, 0, 3, 3, 3, 6])
        order = np.arange(7)
        assert labels[order[maps.pick(labels, order, 4)]].tolist() == [0, 0, 3, 6]
        assert maps.pick(labels, order, 99).tolist() == order.tolist()
        with pytest.raises(ValueError, match="ask for at least 1"):
            maps.pick(labels, order, 0)

    def test_maps_are_kept_and_damaged_ones_made_again(self, net, images, tmp_path, monkeypatch):
        settings = Settings(depth=2)
        about = (["dnc_both", "centre"], net, images, TARGETS.numpy(), settings, tmp_path, False)
        first = store.explain_all(*about)
        made, explain = [], explainers.explain

        @functools.wraps(explain)
        def watched(name, *more):
            made.append(name)
            return explain(name, *more)

        monkeypatch.setattr(store, "explain", watched)
        again = store.explain_all(*about)
        assert made == []
        assert (again["dnc_both"].values == first["dnc_both"].values).all()
        for path in tmp_path.glob("*.npz"):
            path.write_bytes(b"no archive")
        assert (store.explain_all(*about)["centre"].values == first["centre"].values).all()
        assert made == ["dnc_both", "centre"]
        store.explain_all(["centre"], LinearProbability(5).double(), *about[2:])
        store.explain_all(["centre"], net, images + 0.01, *about[3:])
        store.explain_all(["centre"], *about[1:4], Settings(depth=3), *about[5:])
        assert made[2:] == ["centre"] * 3

    def test_growth_is_counted_and_fitted(self, net, images):
        depths = [1, 2, 3, 4]
        names = ("dnc_both", "dnc_exact")
        rows = study.scaling(names, net, images[:1], 0, Settings(), depths, most=100)
        counted = {(row["method"], row["regions"]): row["evaluations"] for row in rows}
        assert counted == {("dnc_both", n): 4 * n - 4 for n in (2, 4, 8, 16)} | {
            ("dnc_exact", n): 2 * (n * n - 1) // 3 + 2 for n in (2, 4, 8)
        }
        made = [{"method": "m", "regions": n, "evaluations": 3 * n**2, "seconds": n**0.5} for n in (2, 4, 8)]
        fitted = study.exponents(made).loc["m"]
        assert fitted.evaluations == pytest.approx(2)
        assert fitted.seconds == pytest.approx(0.5)
        assert charts.growth(rows).axes

    def test_everything_together(self, net, images):
        values = products(net, images)
        found = {"dnc": as_maps(values), "dnc_exact": as_maps(values), "lime": as_maps(random_maps(0))}
        found |= {"gradient_shap": as_maps(random_maps(1)), "centre": as_maps(np.ones_like(values))}
        scores = study.faithful(net, images, TARGETS.numpy(), found, steps=8, squares=20, progress=False)
        truth = np.zeros((4, SIZE, SIZE), dtype=bool)
        truth[:3, :2] = True
        scores = study.merged(scores, study.located(found, truth), study.dependent(found, found))
        table = study.scores(scores)
        assert len(table) == 5 * 11
        assert table.set_index(["method", "measure"]).loc[("dnc", "mass")].images == 3
        duel = study.differences(scores, "dnc").set_index(["method", "measure"]).verdict
        assert duel["lime", "deletion_black"] == duel["lime", "infidelity"] == "better"
        assert duel["dnc_exact", "deletion_black"] == "open"
        assert duel["lime", "same_rank"] == "open"
        assert study.readable(table).loc["centre map", "rank correlation"] == "nan [nan, nan]"
        nested = study.nested(table, "method", "measure")
        assert nested["centre"]["same_rank"]["mean"] is None
        assert nested["dnc"]["mass"]["images"] == 3
        assert charts.intervals(table, ["mass", "rank"], {"mass": 0.5}).axes

    def test_distance_to_the_exact_map(self):
        exact = random_maps(0)
        found = {"dnc_exact": as_maps(exact), "dnc": as_maps(2 * exact + 1), "lime": as_maps(exact)}
        found["kernel"] = as_maps(np.zeros_like(exact))
        near = study.near_exact(found)
        assert set(near) == {"dnc", "kernel"}
        assert near["dnc"]["correlation"] == pytest.approx(1)
        assert near["dnc"]["error"] == pytest.approx(
            np.linalg.norm(exact + 1, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
        )
        assert np.isnan(near["kernel"]["correlation"]).all()
        assert near["kernel"]["error"] == pytest.approx(1)
        assert study.near_exact({"dnc": as_maps(exact)}) == {}
        other = np.random.default_rng(1).standard_normal(exact.shape)
        expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(exact, other, strict=True)]
        both = study.near_exact({"dnc_exact": as_maps(exact), "dnc_both": as_maps(other)})
        assert both["dnc_both"]["correlation"] == pytest.approx(expected)
        grown = [{"method": "dnc", "regions": n, "evaluations": n, "seconds": n} for n in (2, 4)]
        record = study.facts(study.costs(found), study.exponents(grown), {}, near)
        assert record["dnc_minus"]["kernel"]["error"]["verdict"] in ("better", "worse", "open")
        assert record["scores"]["kernel"]["correlation"]["mean"] is None

    def test_tables_beside_the_paper(self):
        found = {name: as_maps(random_maps(i)) for i, name in enumerate(paper.COLUMNS)}
        pairs = study.overlap_table(study.overlaps(found, ["gradient_shap", "lime"], "magnitude"))
        assert len(pairs) == 6
        ours = study.table_4(pairs)
        assert ours.paper.to_dict() == {"LIME": 0.174, "Grad-CAM": 0.488, "DnCShap, as released": 0.541}
        direct = overlap.overlap(found["gradient_shap"].values, found["lime"].values).mean()
        assert ours.ours["LIME"] == pytest.approx(direct)
        printed = study.table_3(study.costs(found))
        assert printed.loc["SHAP: GradientExplainer", "paper: seconds"] == 39
        assert printed["ours: seconds"].tolist() == [0.5] * 4
        figure = charts.overlap_dots(pairs, {"lime": 0.174})
        assert len(figure.axes) == 2
        sheet = panels.map_sheet(
            np.zeros((2, SIZE, SIZE, 1), np.uint8), {n: m.values[:2] for n, m in found.items()}
        )
        assert sum(bool(axes.images) for axes in sheet.axes) == 2 * 5
        assert panels.sentence("Nothing.").axes[0].texts[0].get_text() == "Nothing."
