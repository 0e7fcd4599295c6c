"""Landmarks in facial regions as players of a game: divide and conquer, SHAP, LIME and gradients on one clip.

A player is one side of one of the seven facial regions. Its landmarks show the clip, or the baseline where it is
absent.
The regions are divided as images are: upper and lower face, then regions, then sides, and the values on that tree are
Owen (Winter) values, as :class:`fercore.shapley.DnCShap` computes them for pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from fercore.emotions import Emotion
from fercore.errors import DatasetError
from fercore.shapley.exact import SetFunction, exact_shapley
from fercore.shapley.sampled import exact_levels
from fercore.shapley.tree import PartitionTree, unpack
from ferlab.temo.clips import LandmarkClips
from ferlab.temo.gradients import attribute, baselines
from ferlab.temo.network import TEmo, one_thread
from ferlab.temo.study import Plan, folds
from ferlab.temo.training import fit, predict

if TYPE_CHECKING:
    import pandas as pd

# Upper and lower face, then regions: our tree, by anatomy.
HALVES = ((("forehead", "brows"), ("eyes",)), (("nose", "cheeks"), ("mouth", "chin")))
SIDES = ("right", "left")  # the subject's


def names() -> tuple[str, ...]:
    """Return the 14 players, ``"right forehead"``, ``"left forehead"``, …, in the order of the tree's leaves."""
    regions = [region for half in HALVES for pair in half for region in pair]
    return tuple(f"{side} {region}" for region in regions for side in SIDES)


def members() -> np.ndarray:
    """Return the player of every landmark: int64 (468,). Landmarks on the midline go with the right side (ours)."""
    from ferlab.faces import mesh

    regions = [name.split()[1] for name in names()[::2]]
    of_region = np.array([regions.index(mesh.REGIONS[label - 1]) for label in mesh.vertex_regions()])
    return 2 * of_region + (mesh.canonical_vertices()[:, 0] > 1e-6)


def face_tree() -> PartitionTree:
    """Return the partition tree of the 14 players: face, halves, pairs of regions, regions, sides."""
    sizes = [[14], [6, 8], [4, 2, 4, 4], [2] * 7, [1] * 14]
    return tree_of(sizes)


def tree_of(sizes: Sequence[Sequence[int]]) -> PartitionTree:
    """Return a partition tree over players that are no pixels.

    Args:
        sizes: For each level, from the root to the leaves, the number of players of every node in order. A node is cut
            in two or carried over to the next level.

    Raises:
        ValueError: If levels do not refine each other by halving, or the last one has not one player per node.
    """
    edges = [np.concatenate([[0], np.cumsum(level)]) for level in sizes]
    for above, below in pairwise(edges):
        children = np.diff(np.searchsorted(below, above))
        if not np.isin(above, below).all() or children.max(initial=1) > 2:
            raise ValueError(f"Every node is cut in two or carried over; {list(sizes)} does something else.")
    count = int(edges[0][-1])
    if len(edges[0]) != 2 or not np.array_equal(edges[-1], np.arange(count + 1)):
        raise ValueError("The first level is one node of all players, the last one has each player alone.")
    spans = tuple(np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges)
    boxes = [[0, start, 1, end] for level in spans for start, end in level]
    return PartitionTree(
        height=1,
        width=count,
        depth=len(spans) - 1,
        rule="labels",
        arity=2,
        boxes=np.array(boxes, dtype=np.int64),
        leaf_labels=np.arange(count, dtype=np.int64)[None],
        leaf_spans=spans,
    )


@dataclass(eq=False)
class _Played:
    """A set function in the form that :mod:`fercore.shapley` plays: one image, one class, packed coalitions."""

    tree: PartitionTree
    function: SetFunction
    known: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.everyone = self.tree.coalitions(0)
        ends = self.values(np.concatenate([np.zeros_like(self.everyone), self.everyone]))
        self.empty, self.full = ends[:, 0], ends[:, 1]

    def values(self, packed: np.ndarray) -> np.ndarray:
        """Return v(S), (1, M, 1), of packed coalitions; each is asked for once."""
        keys = [row.tobytes() for row in packed]
        fresh = {key: row for row, key in enumerate(keys) if key not in self.known}
        if fresh:
            asked = unpack(packed[list(fresh.values())], self.tree.n_leaves)
            answers = np.asarray(self.function(asked), dtype=np.float64)
            self.known.update(zip(fresh, answers.tolist(), strict=True))
        return np.array([self.known[key] for key in keys])[None, :, None]


def owen_values(game: SetFunction, tree: PartitionTree) -> tuple[np.ndarray, int]:
    """Return exact Owen (Winter) values of any game on a tree, and the number of coalitions that it took.

    The recursion is DnCShap's (:func:`fercore.shapley.sampled.exact_levels`), on players that need not be pixels.

    Args:
        game: From coalitions, bool (M, n), to values (M,).
        tree: A tree with n leaves.

    Returns:
        (n,) float64, which sum to v(all) - v(none); and the number of distinct coalitions.
    """
    played = _Played(tree, game)
    *_, leaves = exact_levels(played)
    return leaves[0, :, 0], len(played.known)


def clip_game(
    network: TEmo, which: int, clip: LandmarkClips, base: np.ndarray, players: np.ndarray
) -> SetFunction:
    """Return the game of one clip under one binary network.

    Args:
        network: Networks on all landmarks.
        which: Which of its M networks.
        clip: One clip, N = 1.
        base: (1, T, P, C), shown where a player is absent.
        players: (P,) the player of every landmark.

    Returns:
        The logit v(S) of coalitions, bool (M, n).
    """
    network = network.only(which)
    points, below = torch.from_numpy(clip.points), torch.from_numpy(np.ascontiguousarray(base))
    mask = torch.from_numpy(clip.mask())
    count = int(players.max()) + 1
    alone = [torch.from_numpy(players == player)[:, None] for player in range(count)]
    with torch.inference_mode():
        mixed = torch.cat([below, *(torch.where(own, points, below) for own in alone)])
        embedded = network.embed(network.choose(mixed))[0]
    start, shares = (
        embedded[0],
        embedded[1:] - embedded[0],
    )  # affine: what players add does not depend on others

    def value(coalitions: np.ndarray) -> np.ndarray:
        there = torch.from_numpy(np.asarray(coalitions)).to(shares.dtype)
        with torch.inference_mode():
            hidden = start + torch.tensordot(there, shares, dims=1)
            return network.tail(hidden[None], mask.expand(len(there), -1))[:, 0, 0].double().numpy()

    return value


def shap_values(game: SetFunction, n_players: int, evaluations: int, seed: int = 0) -> np.ndarray:
    """Return Shapley values by ``shap.PermutationExplainer``, which asks for at most ``evaluations`` coalitions."""
    import shap

    explainer = shap.PermutationExplainer(lambda z: game(z > 0.5), np.zeros((1, n_players)), seed=seed)
    return explainer(np.ones((1, n_players)), max_evals=evaluations, silent=True).values[0]


def lime_values(game: SetFunction, n_players: int, evaluations: int, seed: int = 0) -> np.ndarray:
    """Return LIME's coefficients (Ribeiro, Singh and Guestrin 2016) by captum, with its own kernel and linear ridge.

    Every player is shown or hidden at random; a weighted linear model is fitted to the answers.
    """
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import LimeBase

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


def compare(
    network: TEmo,
    which: int,
    clip: LandmarkClips,
    base: np.ndarray,
    gradients: np.ndarray,
    evaluations: int = 256,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Explain one clip's logit in five ways over the 14 players.

    Args:
        network: Networks on all 468 landmarks.
        which: Which of its networks.
        clip: One clip.
        base: (1, T, 468, C).
        gradients: (468,) signed integrated gradients of the landmarks under the same baseline.
        evaluations: Coalitions that SHAP and LIME may ask for.
        seed: Of SHAP and LIME.

    Returns:
        (14,) float64 by method; ``"Shapley"`` is exact, by all 16,384 coalitions.
    """
    players = members()
    game = clip_game(network, which, clip, base, players)
    count = int(players.max()) + 1
    return {
        "Shapley": exact_shapley(game, count),
        "Owen (DnCShap)": owen_values(game, face_tree())[0],
        "integrated gradients": np.bincount(players, gradients, count),
        "SHAP": shap_values(game, count, evaluations, seed),
        "LIME": lime_values(game, count, evaluations, seed),
    }


@dataclass(frozen=True, eq=False)
class Compared:
    """Clips explained in several ways.

    Attributes:
        labels: The class of every clip.
        scores: (14,) by method, for every clip.
        likeness: See :func:`likeness`.
    """

    labels: list[int]
    scores: list[dict[str, np.ndarray]]
    likeness: dict[str, dict[str, float]]


def study(clips: LandmarkClips, plan: Plan, each: int = 2, evaluations: int = 256, fold: int = 0) -> Compared:
    """Explain test clips of one fold in all ways: some of every class, drawn among those that its network accepts.

    Args:
        clips: Clips of facial landmarks.
        plan: Folds, recipe, steps and the neutral class.
        each: Clips per class, at most.
        evaluations: As in :func:`compare`.
        fold: Which fold.

    Raises:
        DatasetError: If no network accepts any clip of its class.
    """
    train, test = (clips.subset(part) for part in folds(clips, plan.seed)[fold])
    with one_thread():
        return _study(train, test, plan, each, evaluations)


def _study(train: LandmarkClips, test: LandmarkClips, plan: Plan, each: int, evaluations: int) -> Compared:
    """Train on one part and explain clips of the other."""
    network = fit(train, np.arange(train.points.shape[2]), train.classes, plan.recipe)
    accepted = predict(network, test)[..., 0] > 0
    rng, labels, scores = np.random.default_rng(plan.seed), [], []
    # Stills have no neutral frame, and perhaps there is no neutral class either.
    name = "neutral" if not train.stills or plan.neutral is not None else "mean"
    for which, label in enumerate(train.classes):
        rows = np.flatnonzero((test.labels == label) & accepted[:, which])
        for row in rng.permutation(rows)[:each]:
            clip = test.subset(np.array([row]))
            whole = train if train.stills else clip
            base = np.array(baselines(name, whole, plan.neutral)[:1])
            found = attribute(network, clip, base, name, plan.steps, signed=True).signed[0, which]
            labels.append(int(label))
            scores.append(compare(network, which, clip, base, found, evaluations, plan.seed))
    if not scores:
        raise DatasetError(f"{train.name}: no test clip is accepted by the network of its class.")
    return Compared(labels, scores, likeness(scores))


def region_shares(chosen: np.ndarray, classes: Sequence[int]) -> pd.DataFrame:
    """Return by emotion and facial region the share of the kept landmarks minus the region's share of all 468.

    Args:
        chosen: (E, k) landmarks.
        classes: The E emotions.
    """
    import pandas as pd

    from ferlab.faces import mesh

    labels = mesh.vertex_regions().astype(int) - 1
    count = len(mesh.REGIONS)
    of_all = np.bincount(labels, minlength=count) / len(labels)
    rows = [np.bincount(labels[row], minlength=count) / len(row) - of_all for row in chosen]
    return pd.DataFrame(rows, index=[Emotion(label).title for label in classes], columns=mesh.REGIONS)


def likeness(
    results: Sequence[dict[str, np.ndarray]], reference: str = "Shapley"
) -> dict[str, dict[str, float]]:
    """Compare methods with a reference over clips.

    Returns:
        By method: ``correlation`` and ``kendall`` with the reference and relative ``error``
        ‖φ - φ_ref‖ / ‖φ_ref‖, each the mean over clips; and ``sum``, Σ φ / Σ φ_ref, the median over clips.
    """
    from scipy.stats import kendalltau

    table: dict[str, dict[str, float]] = {}
    for method in results[0]:
        pairs = [(r[method], r[reference]) for r in results]
        measure: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
            "correlation": lambda a, b: np.corrcoef(a, b)[0, 1],
            "kendall": lambda a, b: kendalltau(a, b).statistic,
            "error": lambda a, b: np.linalg.norm(a - b) / np.linalg.norm(b),
        }
        row = {name: float(np.mean([f(a, b) for a, b in pairs])) for name, f in measure.items()}
        table[method] = {**row, "sum": float(np.median([a.sum() / b.sum() for a, b in pairs]))}
    return table
