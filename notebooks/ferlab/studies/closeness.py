"""Exact values of many faces, and how close cheaper methods come to them at which number of evaluations.

All methods that split along the same tree need the same coalitions, those of the exact recursion. So these are
evaluated once per face and kept in a table, and every method then plays on the table: same numbers, no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from scipy.stats import rankdata

from fercore.checkpoints import atomic_path
from fercore.errors import FercoreError
from fercore.shapley.adaptive import Search
from fercore.shapley.contexts import (
    asymmetries,
    exact_levels,
    fixed_levels,
    sampled_levels,
    sibling_subsets,
    split_levels,
)
from fercore.shapley.exact import exact_shapley
from fercore.shapley.game import ImageGame, Model
from fercore.shapley.tree import PartitionTree, pack
from ferlab.explainers.rivals import captum_values, partition_explainer

BUDGETS = (4, 8, 16, 32, 64)  # evaluations per region, as far as there are coalitions for them
MEASURES = ("correlation", "rank correlation", "error")
Row = dict[str, Any]
Rows = dict[bytes, int]


def exact_coalitions(tree: PartitionTree) -> np.ndarray:
    """Return both ends and all coalitions of the exact recursion, level by level, packed: uint8 array (rows, bytes)."""
    everyone = tree.coalitions(0)
    result, contexts = [np.zeros_like(everyone), everyone], np.zeros_like(everyone)[None]
    subsets = sibling_subsets(tree.arity)[0]
    for level, splits in enumerate(split_levels(tree)):
        if level:
            shown = [np.bitwise_or.reduce(splits.siblings[:, subset], axis=1) for subset in subsets]
            contexts = np.concatenate([contexts[splits.above] | union[:, None] for union in shown], axis=1)
        result.append((contexts[:, :, None] | splits.interior[:, None]).reshape(-1, everyone.shape[1]))
    return np.concatenate(result)


def all_coalitions(n_players: int) -> np.ndarray:
    """Return all 2^n coalitions, packed, in the order of their bit codes (player i is bit i)."""
    codes = np.arange(2**n_players)
    return pack((codes[:, None] >> np.arange(n_players)) & 1 == 1)


def numbered(coalitions: np.ndarray) -> Rows:
    """Return the row of each packed coalition."""
    return {row.tobytes(): number for number, row in enumerate(coalitions)}


class Table:
    """One face's game of one class, read from the values (rows,) of numbered coalitions; used as a ``TargetGame``."""

    def __init__(self, tree: PartitionTree, rows: Rows, values: np.ndarray) -> None:
        self.tree, self.everyone = tree, tree.coalitions(0)
        self._rows, self._values, self._asked = rows, np.asarray(values, dtype=np.float64), set[int]()
        self.empty = self.lookup(np.zeros_like(self.everyone))[None]
        self.full = self.lookup(self.everyone)[None]

    @property
    def evaluations(self) -> int:
        """Distinct coalitions asked for so far."""
        return len(self._asked)

    def lookup(self, packed: np.ndarray) -> np.ndarray:
        """Return v(S) of packed coalitions (M, bytes): float64 array (M,)."""
        rows = [self._rows[row.tobytes()] for row in packed]
        self._asked.update(rows)
        return self._values[rows]

    def play(self, coalitions: np.ndarray) -> np.ndarray:
        """Return v(S) of boolean coalitions (M, n): float64 array (M,)."""
        return self.lookup(pack(coalitions))

    def values(self, packed: np.ndarray) -> np.ndarray:
        """Return v(S), float64 array (1, M, 1)."""
        return self.lookup(packed)[None, :, None]

    def each(self, packed: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return v(S) of packed coalitions (1, M, bytes), zero where not valid: float64 array (1, M, 1)."""
        result = np.zeros((1, packed.shape[1], 1))
        result[0, valid[0], 0] = self.lookup(packed[0, valid[0]])
        return result


def tabulate(
    model: Model,
    image: torch.Tensor,
    baseline: torch.Tensor,
    tree: PartitionTree,
    coalitions: np.ndarray,
    folder: Path,
) -> np.ndarray:
    """Return the logits of all coalitions of one image, float32 (rows, classes), from its file if there is one.

    A few rows are evaluated again, so that the table of another network is noticed and refused.
    """
    game = ImageGame(model, image, baseline, tree.labels(), output="logit")
    content = [image.cpu().numpy(), baseline.cpu().numpy(), tree.leaf_labels, coalitions]
    name = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in content)).hexdigest()[:16]
    path = folder / f"{name}.npy"
    if path.exists():
        table, some = np.load(path), np.linspace(0, len(coalitions) - 1, 32).astype(int)
        if not np.allclose(game.values(coalitions[some])[0], table[some], atol=1e-3):
            raise FercoreError(f"{path} is of another network. Delete the folder {folder} and run again.")
        return table
    table = game.values(coalitions)[0].astype(np.float32)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, table)
    return table


def worth(logits: np.ndarray, output: str, whole: int = 1) -> np.ndarray:
    """Return v(S), ``"probability"`` or ``"logit"``, of the class that the whole image, a row of the table, gets."""
    scores = logits.astype(np.float64)
    chosen = scores[whole].argmax()
    return (scores if output == "logit" else softmax(scores, axis=1))[:, chosen]


def exact(table: Table) -> np.ndarray:
    """Return the exact Owen (Winter) values of the leaves, (n,)."""
    *_, leaves = exact_levels(table)
    return leaves[0, :, 0]


def fixed(table: Table, contexts: str) -> np.ndarray:
    """Return the scores of the leaves with fixed contexts, (n,)."""
    *_, leaves = fixed_levels(table, contexts, "pixels")
    return leaves[0, :, 0]


def sampled(table: Table, n_contexts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and standard errors of the leaves with K sampled contexts."""
    *_, (leaves, errors) = sampled_levels(table, n_contexts, seed)
    return leaves[0, :, 0], errors[0, :, 0]


def adaptive(table: Table, evaluations: int, kind: type[Search] = Search) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and standard errors of the leaves with adaptive contexts."""
    search = kind(table)
    search.run(table, (evaluations - 2) // search.pair_cost)
    *_, (leaves, errors) = search.scores()
    return leaves[0, :, 0], errors[0, :, 0]


class AnyPair(Search):
    """Adaptive contexts, but pairs are chosen at random among the candidates."""

    def _gain(self, number: int, amplitude: np.ndarray) -> np.ndarray:
        """Return a random number per pair, the same in every run."""
        return np.random.default_rng([number, int(self.observed.sum())]).random(amplitude.shape)


class NoReach(Search):
    """Adaptive contexts that do not know where there is something to split."""

    def _reaches(self) -> list[np.ndarray]:
        """Return the same reach for all pairs of a level, its root mean square."""
        means = [np.sqrt((reach**2).mean(axis=(1, 2), keepdims=True)) for reach in super()._reaches()]
        pairs = zip(means, self._levels, strict=True)
        return [np.broadcast_to(mean, level.seen.shape) for mean, level in pairs]


class NoGuess(Search):
    """Adaptive contexts that take what was not observed for zero in the end; the model still chooses the pairs."""

    def _guess(self, image: int, reaches: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the weighted sum of what was observed."""
        result = []
        for level, (_, variance) in zip(self._levels, super()._guess(image, reaches), strict=True):
            seen = level.seen[image][..., None, None]
            delta = np.where(seen, asymmetries(level.values[image][..., 1:-1, :], self.tree.arity), 0.0)
            result.append(((delta * level.pool.weights[:, None, None]).sum(axis=1), variance))
        return result


def agreement(estimate: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Return correlation, rank correlation and relative error |estimate - truth| / |truth| of scores (n,)."""
    both = np.stack([estimate, truth])
    error = float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))
    if np.ptp(both, axis=1).min() == 0:  # no order at all
        return 0.0, 0.0, error
    correlation, order = (float(np.corrcoef(scores)[0, 1]) for scores in (both, rankdata(both, axis=1)))
    return correlation, order, error


# From a table to the scores of its leaves (n,), or to these and their standard errors.
Rule = Callable[[Table], np.ndarray | tuple[np.ndarray, np.ndarray]]


def _played(
    rules: Iterable[tuple[Row, Rule]], truth: np.ndarray, tree: PartitionTree, rows: Rows, values: np.ndarray
) -> list[Row]:
    """Play each rule on a table of its own; ``inside`` is the share of true values within two standard errors."""
    result = []
    for about, rule in rules:
        table = Table(tree, rows, values)
        found = rule(table)
        scores, errors = found if isinstance(found, tuple) else (found, None)
        inside = np.nan if errors is None else float((np.abs(scores - truth) <= 2 * errors + 1e-12).mean())
        spent = {"evaluations": table.evaluations, "inside": inside}
        result.append(about | spent | dict(zip(MEASURES, agreement(scores, truth), strict=True)))
    return result


def against(
    truth: np.ndarray, tree: PartitionTree, rows: Rows, values: np.ndarray, about: Row, seed: int
) -> list[Row]:
    """Return the agreement of every method, at every budget, with the exact values: rows with ``about`` in them."""
    n = tree.n_leaves
    rules: list[tuple[str, int, Rule]] = [
        (name, cost, partial(fixed, contexts=name))
        for name, cost in {"absent": 2, "present": 2, "both": 4}.items()
    ]
    for b in (b for b in BUDGETS if b * n < len(rows)):
        rules.append(("K sampled", b, partial(sampled, n_contexts=b // 2, seed=seed)))
        rules.append(("PartitionExplainer", b, lambda t, m=b * n: partition_explainer(t.play, t.tree, m)))
        rules.append(("adaptive", b, partial(adaptive, evaluations=b * n)))
    named = [(about | {"method": name, "per region": budget}, rule) for name, budget, rule in rules]
    return _played(named, truth, tree, rows, values)


def ablation(
    tree: PartitionTree, rows: Rows, values: np.ndarray, variants: dict[str, type[Search]], about: Row
) -> list[Row]:
    """Return the agreement of variants of the adaptive rule with the exact values, at 8 evaluations per region."""
    rule = partial(adaptive, evaluations=8 * tree.n_leaves)
    rules = [(about | {"rule": name}, partial(rule, kind=kind)) for name, kind in variants.items()]
    return _played(rules, exact(Table(tree, rows, values)), tree, rows, values)


def against_shapley(
    truth: np.ndarray, tree: PartitionTree, rows: Rows, values: np.ndarray, about: Row
) -> list[Row]:
    """Compare methods with exact Shapley values, about 8 evaluations per region each; ``rows`` numbers all 2^n."""
    n = tree.n_leaves
    rules: dict[str, Rule] = {
        "exact Owen values": exact,
        "both": partial(fixed, contexts="both"),
        "adaptive, 8n": partial(adaptive, evaluations=8 * n),
        "PartitionExplainer, 8n": lambda table: partition_explainer(table.play, tree, 8 * n),
        "captum KernelShap, 8n": lambda table: captum_values(table.play, n, "KernelShap", 8 * n),
        "captum ShapleyValueSampling, 8n": lambda t: captum_values(t.play, n, "ShapleyValueSampling", 8),
    }
    named = [(about | {"method": name}, rule) for name, rule in rules.items()]
    return _played(named, truth, tree, rows, values)


def duel(frame: pd.DataFrame, one: str, other: str, keys: Sequence[str]) -> pd.DataFrame:
    """Compare two methods on the same faces: their mean correlations and errors, and how often the first errs less."""
    both = frame[frame.method.isin([one, other])]
    pairs = both.pivot_table(["correlation", "error"], [*keys, "face"], "method", sort=False)
    smaller = (pairs["error", one] < pairs["error", other]).groupby(list(keys), sort=False).mean()
    means = pairs.groupby(list(keys), sort=False).mean()
    means.columns = [" ".join(names) for names in means.columns]
    return means.assign(**{"share of faces": smaller})


def shapley(values: np.ndarray, n_players: int) -> np.ndarray:
    """Return the exact Shapley values (n,) of a game listed by bit codes, (2^n,)."""
    return exact_shapley(lambda members: values[members @ (1 << np.arange(n_players))], n_players)


def as_rows(table: pd.DataFrame) -> list[Row]:
    """Return a table as a list of JSON-able rows, its index included."""
    flat = table.reset_index()
    flat.columns = [" ".join(filter(None, name)) if isinstance(name, tuple) else name for name in flat]
    return json.loads(flat.to_json(orient="records"))
