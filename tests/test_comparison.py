"""The tables of coalitions, other people's explainers on them, and how methods are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ferlab.explainers import rivals
from ferlab.studies import closeness
from torch import nn

from fercore.errors import FercoreError
from fercore.shapley import DnCShap, build_tree, exact_owen, exact_shapley
from fercore.shapley.tree import unpack


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.Tanh()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4)).double().eval()


def picture(size=16, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((1, 1, size, size)))


def black(image):
    return image.new_zeros(1, 1, 1, 1)


@pytest.fixture
def tabled(tmp_path):
    net, image, tree = network(), picture(), build_tree(16, 16, 4)
    coalitions = closeness.exact_coalitions(tree)
    logits = closeness.tabulate(net, image, black(image), tree, coalitions, tmp_path)
    return net, image, tree, closeness.numbered(coalitions), logits


@pytest.mark.parametrize("output", ["probability", "logit"])
def test_every_method_on_the_table_is_the_method_on_the_network(tabled, output):
    net, image, tree, rows, logits = tabled
    values = closeness.worth(logits, output)

    def table():
        return closeness.Table(tree, rows, values)

    def played(contexts, **settings):
        found = DnCShap(net, output=output, contexts=contexts, depth=4, **settings).attribute(image)
        return found.region_scores[0, :, 0]

    close = {"abs": 1e-6}  # tables are kept in single precision
    assert closeness.exact(table()) == pytest.approx(played("exact"), **close)
    assert closeness.fixed(table(), "both") == pytest.approx(played("both"), **close)
    assert closeness.sampled(table(), 4, 7)[0] == pytest.approx(played(4, seed=7), **close)
    asked = table()
    assert closeness.adaptive(asked, 100)[0] == pytest.approx(played("adaptive", evaluations=100), **close)
    assert asked.evaluations == 100


def test_partition_explainer_without_limit_is_exact_and_with_one_is_not(tabled):
    pytest.importorskip("shap")
    _, _, tree, rows, logits = tabled
    table = closeness.Table(tree, rows, closeness.worth(logits, "logit"))
    truth = closeness.exact(table)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert rivals.partition_explainer(table.play, tree, 10**6) == pytest.approx(truth, abs=1e-12)
    cut = closeness.Table(tree, rows, closeness.worth(logits, "logit"))
    values = rivals.partition_explainer(cut.play, tree, 64)
    assert cut.evaluations == 64
    assert values.sum() == pytest.approx(truth.sum(), abs=1e-12)
    assert np.abs(values - truth).max() > 1e-6
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_captum_finds_the_values_of_an_additive_game():
    pytest.importorskip("captum")
    weights = np.arange(1.0, 9.0)

    def game(members):
        return members @ weights

    assert rivals.captum_values(game, 8, "ShapleyValueSampling", 3) == pytest.approx(weights, abs=1e-9)
    assert rivals.captum_values(game, 8, "KernelShap", 200) == pytest.approx(weights, abs=1e-2)


def test_all_coalitions_are_in_the_order_of_their_codes():
    members = unpack(closeness.all_coalitions(5), 5)
    assert (members @ (1 << np.arange(5)) == np.arange(32)).all()


def test_exact_values_of_a_listed_game():
    values = np.random.default_rng(1).normal(size=256)
    tree, every = build_tree(8, 8, 3), closeness.numbered(closeness.all_coalitions(8))
    table = closeness.Table(tree, every, values)

    def game(members):
        return values[members @ (1 << np.arange(8))]

    assert closeness.exact(table) == pytest.approx(exact_owen(game, 8), abs=1e-12)
    assert closeness.shapley(values, 8) == pytest.approx(exact_shapley(game, 8), abs=1e-12)


def test_a_kept_table_is_read_again_and_that_of_another_network_is_refused(tabled, tmp_path):
    net, image, tree, _, logits = tabled
    coalitions = closeness.exact_coalitions(tree)
    calls = []

    def counting(x):
        calls.append(len(x))
        return net(x)

    again = closeness.tabulate(counting, image, black(image), tree, coalitions, tmp_path)
    assert (again == logits).all()
    assert sum(calls) == 32  # the spot check
    with pytest.raises(FercoreError, match="another network"):
        closeness.tabulate(network(seed=5), image, black(image), tree, coalitions, tmp_path)


def test_agreement_by_hand():
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    assert closeness.agreement(2 * truth, truth) == pytest.approx((1.0, 1.0, 1.0))
    assert closeness.agreement(truth**3, truth)[1] == pytest.approx(1.0)
    assert closeness.agreement(np.zeros(4), truth) == (0.0, 0.0, 1.0)


def test_duel_counts_faces_not_means():
    frame = pd.DataFrame(
        {
            "method": ["a", "b"] * 3,
            "face": [0, 0, 1, 1, 2, 2],
            "budget": 8,
            "correlation": 0.5,
            "error": [0.1, 0.2, 0.1, 0.2, 0.9, 0.2],
        }
    )
    found = closeness.duel(frame, "a", "b", ["budget"])
    assert found["share of faces"].item() == pytest.approx(2 / 3)
    assert found["error a"].item() > found["error b"].item()


def test_leaving_out_parts_changes_the_map_but_not_its_sum(tabled):
    _, _, tree, rows, logits = tabled
    values = closeness.worth(logits, "logit")
    kinds = [closeness.NoGuess, closeness.NoReach, closeness.AnyPair]
    whole, _ = closeness.adaptive(closeness.Table(tree, rows, values), 80)
    for kind in kinds:
        scores, _ = closeness.adaptive(closeness.Table(tree, rows, values), 80, kind)
        assert scores.sum() == pytest.approx(values[1] - values[0], abs=1e-12)
        assert np.abs(scores - whole).max() > 1e-9


def test_rows_of_a_comparison(tabled):
    pytest.importorskip("shap")
    _, _, tree, rows, logits = tabled
    values = closeness.worth(logits, "logit")
    truth = closeness.exact(closeness.Table(tree, rows, values))
    frame = pd.DataFrame(closeness.against(truth, tree, rows, values, {"face": 0}, seed=0))
    assert (
        len(frame) == 9
    )  # three fixed contexts, three methods at 4 and 8; 16 x 16 exceeds the 172 there are
    assert (frame.evaluations <= frame["per region"] * 16).all()
    errors = frame[frame.method == "adaptive"].set_index("per region").error
    assert errors[8] < errors[4]
    assert frame.inside.notna().equals(frame.method.isin(["adaptive", "K sampled"]))
    found = closeness.as_rows(frame.groupby(["method", "per region"])[["error", "inside"]].mean())
    assert len(found) == 9
    assert found[0].keys() == {"method", "per region", "error", "inside"}
