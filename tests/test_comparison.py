"""The tables of coalitions, other people's explainers on them, and how methods are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ferlab.explainers import rivals
from ferlab.studies import closeness
from scipy import stats
from torch import nn

from fercore.errors import FercoreError
from fercore.shapley import DnCShap, build_tree, exact_owen, exact_shapley


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.Tanh()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4)).double().eval()


def picture(size=16, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((1, 1, size, size)))


BLACK = torch.zeros(1, 1, 1, 1)


@pytest.fixture
def tabled(tmp_path):
    net, image, tree = network(), picture(), build_tree(16, 16, 4)
    coalitions = closeness.exact_coalitions(tree)
    logits = closeness.tabulate(net, image, BLACK, tree, coalitions, tmp_path)
    return net, image, tree, closeness.numbered(coalitions), logits


@pytest.mark.parametrize("output", ["probability", "logit"])
def test_every_method_on_the_table_is_the_method_on_the_network(tabled, output):
    net, image, tree, rows, logits = tabled
    table = closeness.Table(tree, rows, closeness.worth(logits, output))

    def played(contexts, **settings):
        found = DnCShap(net, output=output, contexts=contexts, depth=4, **settings).attribute(image)
        return pytest.approx(found.region_scores[0, :, 0], abs=1e-6)  # tables are kept in single precision

    assert closeness.adaptive(table, 100)[0] == played("adaptive", evaluations=100)
    assert table.evaluations == 100
    assert closeness.exact(table) == played("exact")
    assert closeness.fixed(table, "both") == played("both")
    assert closeness.sampled(table, 4, 7)[0] == played(4, seed=7)


def test_partition_explainer_without_limit_is_exact_and_with_one_is_not(tabled):
    pytest.importorskip("shap")
    _, _, tree, rows, logits = tabled
    table, cut = (closeness.Table(tree, rows, closeness.worth(logits, "logit")) for _ in range(2))
    truth = closeness.exact(table)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert rivals.partition_explainer(table.play, tree, 10**6) == pytest.approx(truth, abs=1e-12)
    values = rivals.partition_explainer(cut.play, tree, 64)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert cut.evaluations == 64
    assert values.sum() == pytest.approx(truth.sum(), abs=1e-12)
    assert np.abs(values - truth).max() > 1e-6


def test_captum_finds_the_values_of_an_additive_game():
    pytest.importorskip("captum")
    weights = np.arange(1.0, 9.0)
    for method, samples in (("ShapleyValueSampling", 3), ("KernelShap", 200)):
        found = rivals.captum_values(lambda members: members @ weights, 8, method, samples)
        assert found == pytest.approx(weights, abs=1e-2)


def test_exact_values_of_a_listed_game_and_how_close_methods_come():
    pytest.importorskip("captum")
    values, tree = np.random.default_rng(1).normal(size=256), build_tree(8, 8, 3)
    every = closeness.numbered(closeness.all_coalitions(8))

    def game(members):
        return values[members @ (1 << np.arange(8))]

    owen, truth = closeness.exact(closeness.Table(tree, every, values)), closeness.shapley(values, 8)
    assert owen == pytest.approx(exact_owen(game, 8), abs=1e-12)
    assert truth == pytest.approx(exact_shapley(game, 8), abs=1e-12)
    rows = closeness.against_shapley(truth, tree, every, values, {"output": "logit"})
    errors = {row["method"]: row["error"] for row in rows}
    assert errors["exact Owen values"] == pytest.approx(closeness.agreement(owen, truth)[2])
    assert len(errors) == 6
    assert all(row["evaluations"] <= 256 for row in rows)


def test_a_kept_table_is_read_again_and_that_of_another_network_is_refused(tabled, tmp_path):
    net, image, tree, _, logits = tabled
    about, calls = (image, BLACK, tree, closeness.exact_coalitions(tree), tmp_path), []
    again = closeness.tabulate(lambda x: calls.append(len(x)) or net(x), *about)
    assert (again == logits).all()
    assert sum(calls) == 32  # the spot check
    with pytest.raises(FercoreError, match="another network"):
        closeness.tabulate(network(seed=5), *about)


def test_agreement_is_scipy_s():
    truth, guess = np.random.default_rng(0).normal(size=(2, 20)).round(1)
    expected = stats.pearsonr(guess, truth)[0], stats.spearmanr(guess, truth)[0]
    assert closeness.agreement(guess, truth)[:2] == pytest.approx(expected)
    assert closeness.agreement(np.zeros(20), truth) == (0.0, 0.0, 1.0)


def test_leaving_out_parts_changes_the_map_but_not_its_sum(tabled):
    _, _, tree, rows, logits = tabled
    values, scores = closeness.worth(logits, "logit"), {}
    for kind in (closeness.Search, closeness.NoGuess, closeness.NoReach, closeness.AnyPair):
        part, _ = scores[kind.__name__] = closeness.adaptive(closeness.Table(tree, rows, values), 128, kind)
        assert part.sum() == pytest.approx(values[1] - values[0], abs=1e-12)
    whole, truth = scores.pop("Search")[0], closeness.exact(closeness.Table(tree, rows, values))
    assert all(np.abs(part - whole).max() > 1e-9 for part, _ in scores.values())
    kinds = {name: getattr(closeness, name) for name in scores}
    for row in closeness.ablation(tree, rows, values, kinds, {}):  # the same budget, eight per region
        assert row["error"] == pytest.approx(closeness.agreement(scores[row["rule"]][0], truth)[2])


def test_rows_of_a_comparison_and_how_often_one_method_errs_less(tabled):
    pytest.importorskip("shap")
    _, _, tree, rows, logits = tabled
    values = closeness.worth(logits, "logit")
    truth = closeness.exact(closeness.Table(tree, rows, values))
    frame = pd.DataFrame(closeness.against(truth, tree, rows, values, {"face": 0}, seed=0))
    # Three fixed contexts, three methods at 4 and 8; 16 x 16 exceeds the 172 there are.
    assert len(frame) == 9
    assert (frame.evaluations <= frame["per region"] * 16).all()
    errors = frame[frame.method == "adaptive"].set_index("per region").error
    assert errors[8] < errors[4]
    assert frame.inside.notna().equals(frame.method.isin(["adaptive", "K sampled"]))
    pairs = pd.DataFrame(
        {"method": ["a", "b"] * 3, "face": [0, 0, 1, 1, 2, 2], "budget": 8, "correlation": 0.5}
    )
    found = closeness.duel(pairs.assign(error=[0.1, 0.2, 0.1, 0.2, 0.9, 0.2]), "a", "b", ["budget"])
    assert found["share of faces"].item() == pytest.approx(2 / 3)  # faces count, not means
    assert found["error a"].item() > found["error b"].item()
