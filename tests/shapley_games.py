"""Small games for the tests of the explainers, and oracles that know nothing of how the explainers work."""

from __future__ import annotations

from itertools import chain, permutations, product

import numpy as np
import torch
from torch import nn

from fercore.shapley import DnCShap, build_tree

FIXED = ("absent", "present", "both")
EVERY = (*FIXED, 2, 4, "exact", "adaptive")


def network(channels=3, classes=4, seed=0, gain=1.0):
    """A float64 network; the larger the gain, the surer it is of itself."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.Tanh()]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, classes)).double()
    net[-1].weight.data.mul_(gain)
    return net.eval()


def means(x):
    """A model of three classes: the channel means."""
    return x.mean((2, 3)).expand(-1, 3)


def pictures(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def recorded(model):
    """The same model, and the inputs it has seen, in order."""
    seen = []

    def remember(x):
        seen.extend(row.numpy().tobytes() for row in x.contiguous())
        return model(x)

    return remember, seen


def segments(count, height=8, width=8, seed=0):
    """A label image of irregular segments: the nearest of ``count`` random points."""
    rng = np.random.default_rng(seed)
    points = rng.choice(height * width, count, replace=False)
    rows, columns = np.indices((height, width))
    distance = (rows[..., None] - points // width) ** 2 + (columns[..., None] - points % width) ** 2
    return distance.argmin(axis=-1)


# --- games on a white image: under the baseline 0 it shows which regions are visible


def white(tree):
    return torch.ones(1, 1, tree.height, tree.width, dtype=torch.float64)


def members(x, tree):
    """Which leaves are visible in masked white images: float64 tensor (rows, n)."""
    pixel = np.unique(tree.leaf_labels, return_index=True)[1]
    return x.flatten(1)[:, torch.from_numpy(pixel)]


def play(game, height=8, width=8, depth=3, **settings):
    """Explain a game, all outputs: a listed one, (2^n, K), or one that a function of :func:`members` plays."""
    tree = build_tree(height, width, depth, settings.get("tree", "longest"))

    def model(x):
        shown = members(x, tree)
        return game(shown) if callable(game) else game[shown.long() @ (1 << torch.arange(tree.n_leaves))]

    return DnCShap(model, output="logit", depth=depth, **settings).attribute(white(tree), "all")


def random_table(seed, depth=3, outputs=2, players=None):
    """Values of independent normal coalitions: as rough as a game can be."""
    n = 2**depth if players is None else players
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2**n, outputs)))


def listed(table):
    """A listed game for the oracles, bit i of the row for player i."""
    return lambda s: np.asarray(table)[s @ (1 << np.arange(s.shape[1]))]


def random_products(seed, n_players, sizes, count, outputs=2):
    """Σ_t w_t Π_{i ∈ t} s_i: a list of pairs (players of t, w_t) with as many players as ``sizes`` allows."""
    rng = np.random.default_rng(seed)
    some = [rng.choice(n_players, rng.choice(sizes), replace=False) for _ in range(count)]
    return [(players, rng.normal(size=outputs)) for players in some]


def sum_of(products):
    """The same as a function of members."""
    weights = torch.from_numpy(np.stack([weight for _, weight in products]))
    return lambda s: torch.stack([s[:, players].prod(dim=1) for players, _ in products], dim=1) @ weights


# --- oracles


def inside(tree, level, start, end):
    """Where the nodes of a level lie that are within the leaves start ... end - 1."""
    return [(a, b) for a, b in tree.leaf_spans[level].tolist() if start <= a and b <= end]


def winter_of_products(tree, products):
    """Winter values (n, K) in closed form.

    In Π_{i ∈ t} s_i all players of t are needed and all others are null. So at every node of the tree the children that
    hold some of them share alike.
    """
    values = np.zeros((tree.n_leaves, len(products[0][1])))

    def share(players, worth, level, start, end):
        if end - start == 1:
            values[start] += worth
            return
        held = [(a, b, [p for p in players if a <= p < b]) for a, b in inside(tree, level + 1, start, end)]
        needed = [child for child in held if child[2]]
        for a, b, some in needed:
            share(some, worth / len(needed), level + 1, a, b)

    for players, weight in products:
        share(players.tolist(), weight, 0, 0, tree.n_leaves)
    return values


def orders(tree, level=0, start=0, end=None):
    """All orders of the leaves in which those of every node arrive one after the other."""
    end = tree.n_leaves if end is None else end
    if end - start == 1:
        return [[start]]
    parts = [orders(tree, level + 1, a, b) for a, b in inside(tree, level + 1, start, end)]
    return [list(chain(*some)) for arrangement in permutations(parts) for some in product(*arrangement)]


def mean_over_orders(tree, table):
    """Mean marginal contribution of each leaf over :func:`orders` under a listed game, (n, K)."""
    table, values, every = table.numpy(), np.zeros((tree.n_leaves, table.shape[1])), orders(tree)
    for order in every:
        coalition = 0
        for leaf in order:
            values[leaf] += table[coalition | 1 << leaf] - table[coalition]
            coalition |= 1 << leaf
    return values / len(every)
