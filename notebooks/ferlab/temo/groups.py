"""Landmarks in facial regions as players of a game: divide and conquer, SHAP, LIME and gradients on one clip.

A player is one side of one of the seven facial regions; its landmarks show the clip, or the baseline where it is
absent. The values on a tree of upper and lower face, regions and sides are Owen (Winter) values, as DnCShap's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import shap
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import LimeBase
from scipy.stats import kendalltau

from fercore.emotions import Emotion
from fercore.errors import DatasetError
from fercore.shapley.contexts import exact_levels
from fercore.shapley.exact import SetFunction, exact_shapley
from fercore.shapley.game import TargetGame
from fercore.shapley.tree import PartitionTree, unpack
from ferlab.faces import mesh
from ferlab.temo.clips import LandmarkClips
from ferlab.temo.gradients import attribute, baselines
from ferlab.temo.network import TEmo, one_thread
from ferlab.temo.study import Plan, folds
from ferlab.temo.training import fit, predict

# Our tree, by anatomy: upper and lower face, pairs of regions (the eyes alone), regions, sides (of the eyes at once).
REGIONS = ("forehead", "brows", "eyes", "nose", "cheeks", "mouth", "chin")
FACE = ((14,), (6, 8), (4, 2, 4, 4), (2, 2, 1, 1, 2, 2, 2, 2), (1,) * 14)  # players of each level's nodes


def names() -> tuple[str, ...]:
    """Return the 14 players, ``"right forehead"``, ``"left forehead"``, …, in the order of the tree's leaves."""
    return tuple(f"{side} {region}" for region in REGIONS for side in ("right", "left"))


def members() -> np.ndarray:
    """Return the player of every landmark: int64 (468,). Landmarks on the midline go with the right side (ours)."""
    of_region = np.array([REGIONS.index(mesh.REGIONS[label - 1]) for label in mesh.vertex_regions()])
    return 2 * of_region + (mesh.canonical_vertices()[:, 0] > 1e-6)


def tree_of(sizes: Sequence[Sequence[int]]) -> PartitionTree:
    """Return a partition tree over players that are no pixels, from the numbers of players of each level's nodes.

    A node is cut in two on every level until it is one player; :meth:`PartitionTree.splits` refuses anything else.
    """
    edges = [np.cumsum([0, *level]) for level in sizes]
    spans = tuple(np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges)
    starts, ends = np.concatenate(spans).T
    count = len(sizes[-1])
    boxes = np.stack([np.zeros_like(starts), starts, np.ones_like(ends), ends], axis=1)
    about = {"rule": "labels", "arity": 2, "boxes": boxes, "leaf_labels": np.arange(count)[None]}
    return PartitionTree(height=1, width=count, depth=len(spans) - 1, leaf_spans=spans, **about)


class _Asked:
    """A set function in the form that :class:`fercore.shapley.game.TargetGame` takes: packed coalitions, one image."""

    def __init__(self, function: SetFunction, n_players: int) -> None:
        self.function, self.n_players = function, n_players
        self.known: dict[bytes, float] = {}

    def values(self, packed: np.ndarray) -> np.ndarray:
        """Return v(S), (1, M, 1), of packed coalitions; each is asked for once."""
        rows = {row.tobytes(): row for row in packed}
        fresh = [key for key in rows if key not in self.known]
        if fresh:
            answers = self.function(unpack(np.stack([rows[key] for key in fresh]), self.n_players))
            self.known.update(zip(fresh, answers.tolist(), strict=True))
        return np.array([self.known[row.tobytes()] for row in packed])[None, :, None]


def owen_values(game: SetFunction, tree: PartitionTree) -> np.ndarray:
    """Return exact Owen (Winter) values (n,) of any game on a tree, by DnCShap's recursion."""
    *_, leaves = exact_levels(TargetGame(_Asked(game, tree.n_leaves), tree, "all"))
    return leaves[0, :, 0]


def clip_game(
    network: TEmo, which: int, clip: LandmarkClips, base: np.ndarray, players: np.ndarray
) -> SetFunction:
    """Return the game of one clip, whose value is a logit; ``base`` shows where ``players`` (P,) are absent."""
    network = network.only(which)
    points, below = torch.from_numpy(clip.points), torch.from_numpy(base)
    mask = torch.from_numpy(clip.mask())
    alone = [torch.from_numpy(players == player)[:, None] for player in range(players.max() + 1)]
    with torch.inference_mode():
        mixed = torch.cat([below, *(torch.where(own, points, below) for own in alone)])
        start, *shown = network.embed(network.choose(mixed))[0]
        shares = torch.stack(shown) - start  # affine: what players add does not depend on others

    def value(coalitions: np.ndarray) -> np.ndarray:
        there = torch.from_numpy(np.asarray(coalitions)).to(shares.dtype)
        with torch.inference_mode():
            hidden = start + torch.tensordot(there, shares, dims=1)
            return network.tail(hidden[None], mask.expand(len(there), -1))[:, 0, 0].double().numpy()

    return value


def shap_values(game: SetFunction, n_players: int, evaluations: int, seed: int = 0) -> np.ndarray:
    """Return Shapley values by ``shap.PermutationExplainer``, which asks for at most ``evaluations`` coalitions."""
    explainer = shap.PermutationExplainer(lambda z: game(z > 0.5), np.zeros((1, n_players)), seed=seed)
    return explainer(np.ones((1, n_players)), max_evals=evaluations, silent=True).values[0]


def lime_values(game: SetFunction, n_players: int, evaluations: int, seed: int = 0) -> np.ndarray:
    """Return LIME's coefficients (Ribeiro, Singh and Guestrin 2016) by captum, with its own kernel and linear ridge."""

    def distance(original: torch.Tensor, changed: torch.Tensor, shown: torch.Tensor, **_: object) -> float:
        hidden = 1.0 - shown.double().mean().sqrt()  # cosine distance between what is shown and everything
        return float(torch.exp(-(hidden**2) / 0.25**2))

    random = torch.Generator().manual_seed(seed)
    explainer = LimeBase(
        forward_func=lambda z: torch.from_numpy(game(z.numpy() > 0.5)),
        interpretable_model=SkLearnRidge(alpha=1.0),
        similarity_func=distance,
        perturb_func=lambda z, **_: torch.bernoulli(torch.full_like(z, 0.5), generator=random),
        perturb_interpretable_space=True,
        from_interp_rep_transform=lambda shown, original, **_: shown,
        to_interp_rep_transform=None,
    )
    ones = torch.ones(1, n_players)
    return explainer.attribute(ones, n_samples=evaluations, perturbations_per_eval=64).numpy()[0]


@dataclass(frozen=True, eq=False)
class Compared:
    """Clips explained in several ways: their classes, the scores (14,) by method, and what :func:`likeness` says."""

    labels: list[int]
    scores: list[dict[str, np.ndarray]]
    likeness: dict[str, dict[str, float]]


def study(clips: LandmarkClips, plan: Plan, each: int = 2, evaluations: int = 256, fold: int = 0) -> Compared:
    """Explain test clips of one fold in five ways, up to ``each`` of a class, drawn among those its network accepts.

    SHAP and LIME ask for up to ``evaluations`` coalitions; Shapley values are exact. DatasetError if none is accepted.
    """
    train, test = (clips.subset(part) for part in folds(clips, plan.seed)[fold])
    players, tree, rng = members(), tree_of(FACE), np.random.default_rng(plan.seed)
    count, labels, scores = len(names()), [], []
    # Stills have no neutral frame, and perhaps there is no neutral class either.
    name = "neutral" if not train.stills or plan.neutral is not None else "mean"
    with one_thread():
        network = fit(train, np.arange(train.points.shape[2]), train.classes, plan.recipe)
        accepted = predict(network, test)[..., 0] > 0
        for which, label in enumerate(train.classes):
            rows = np.flatnonzero((test.labels == label) & accepted[:, which])
            for row in rng.permutation(rows)[:each]:
                clip = test.subset(np.array([row]))
                base = np.array(baselines(name, train if train.stills else clip, plan.neutral)[:1])
                gradients = attribute(network, clip, base, plan.steps, signed=True).signed[0, which]
                game = clip_game(network, which, clip, base, players)
                found = {
                    "Shapley": exact_shapley(game, count),
                    "Owen (DnCShap)": owen_values(game, tree),
                    "integrated gradients": np.bincount(players, gradients, count),
                    "SHAP": shap_values(game, count, evaluations, plan.seed),
                    "LIME": lime_values(game, count, evaluations, plan.seed),
                }
                labels.append(int(label))
                scores.append(found)
    if not scores:
        raise DatasetError(f"{train.name}: no test clip is accepted by the network of its class.")
    return Compared(labels, scores, likeness(scores))


def region_shares(chosen: np.ndarray, classes: Sequence[int]) -> pd.DataFrame:
    """Return by emotion and region the share of its kept landmarks (E, k) minus the region's share of all 468."""
    labels, count = mesh.vertex_regions().astype(int) - 1, len(mesh.REGIONS)
    of_all = np.bincount(labels, minlength=count) / len(labels)
    rows = [np.bincount(labels[row], minlength=count) / len(row) - of_all for row in chosen]
    return pd.DataFrame(rows, index=[Emotion(label).title for label in classes], columns=mesh.REGIONS)


def likeness(results: Sequence[dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Compare methods with Shapley values over clips.

    By method: ``correlation``, ``kendall`` and relative ``error`` ‖φ - φ_ref‖ / ‖φ_ref‖, each the mean over clips; and
    ``sum``, Σ φ / Σ φ_ref, the median.
    """
    table: dict[str, dict[str, float]] = {}
    for method in results[0]:
        pairs = [(one[method], one["Shapley"]) for one in results]
        table[method] = {
            "correlation": float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])),
            "kendall": float(np.mean([kendalltau(a, b).statistic for a, b in pairs])),
            "error": float(np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs])),
            "sum": float(np.median([a.sum() / b.sum() for a, b in pairs])),
        }
    return table
