"""The oracles themselves: hand-computed numbers, axioms, and agreement with each other."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import listed

from fercore.shapley import exact_owen, exact_shapley


def test_equation_4_by_hand():
    game = listed([0.1, 0.5, 0.3, 0.9])  # v(∅), v({1}), v({2}), v({1, 2})
    by_hand = [0.5 * (0.5 - 0.1) + 0.5 * (0.9 - 0.3), 0.5 * (0.3 - 0.1) + 0.5 * (0.9 - 0.5)]
    assert by_hand == pytest.approx([0.5, 0.3])
    assert exact_shapley(game, 2) == pytest.approx(by_hand, abs=1e-15)
    assert exact_owen(game, 2) == pytest.approx(by_hand, abs=1e-15)


def test_gloves():
    # One left glove and two right ones: a pair is worth 1. Textbook values 2/3, 1/6, 1/6.
    values = exact_shapley(lambda s: (s[:, 0] & s[:, 1:].any(axis=1)).astype(float), 3)
    assert values == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_owen_of_four_players_by_hand():
    # v = 1 once players 0 and 2 are both in, who belong to different pairs: each is pivotal in half of the orders.
    assert exact_owen(lambda s: (s[:, 0] & s[:, 2]).astype(float), 4) == pytest.approx([0.5, 0, 0.5, 0])
    # Once 0, 1 and 2 are in: 2 completes it whenever its pair comes second, else the last of 0 and 1.
    assert exact_owen(lambda s: s[:, :3].all(axis=1).astype(float), 4) == pytest.approx([0.25, 0.25, 0.5, 0])


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_shapley_is_the_mean_over_all_orders(seed, n_players):
    game = listed(np.random.default_rng(seed).normal(size=(2**n_players, 3)))
    expected, orders = np.zeros((n_players, 3)), list(permutations(range(n_players)))
    for order in orders:
        first = np.argsort(order) < np.arange(n_players + 1)[:, None]  # who is in after k have arrived
        expected[list(order)] += np.diff(game(first), axis=0) / len(orders)
    assert exact_shapley(game, n_players) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("oracle", [exact_shapley, exact_owen])
def test_efficiency_and_shapes(oracle):
    for n_players in (1, 2, 4, 8):
        table = np.random.default_rng(n_players).normal(size=(2**n_players, 3))
        values = oracle(listed(table), n_players)
        assert values.sum(axis=0) == pytest.approx(table[-1] - table[0], abs=1e-12)
    assert oracle(listed(np.arange(16.0)), 4) == pytest.approx([1, 2, 4, 8])  # one output keeps its shape


@pytest.mark.parametrize(
    ("oracle", "n_players", "words"),
    [
        (exact_shapley, 0, "1 to 16 players"),
        (exact_owen, 17, "1 to 16 players"),
        (exact_owen, 6, "power of two"),
    ],
)
def test_players(oracle, n_players, words):
    with pytest.raises(ValueError, match=words):
        oracle(lambda s: s.sum(1), n_players)


def test_wrong_number_of_values():
    with pytest.raises(ValueError, match="one value per coalition"):
        exact_shapley(lambda s: np.zeros(3), 4)
