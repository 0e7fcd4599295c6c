"""Other people's explainers on games of players that are regions: shap's PartitionExplainer and two of captum's."""

from __future__ import annotations

import numpy as np
import torch

from fercore.shapley.exact import SetFunction
from fercore.shapley.tree import PartitionTree
from ferlab.explainers.base import seeded


class PlayersMasker:
    """What ``shap.PartitionExplainer`` wants to know of players that are regions, on a tree of halves."""

    immutable_outputs = True
    fixed_background = True

    def __init__(self, tree: PartitionTree) -> None:
        """Describe the tree by pairs of siblings: nodes are numbered level by level, leaves first, the root last."""
        n, up = tree.n_leaves, np.arange(1, tree.depth + 1)
        pairs, sizes = np.arange(2 * n - 2).reshape(-1, 2), np.repeat(2**up, n >> up)
        self.shape = (1, n)
        self.clustering = np.column_stack([pairs, np.ones(n - 1), sizes]).astype(float)

    def __call__(self, mask: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        """Return the coalition itself: the "model" is the game."""
        return (np.asarray(mask, dtype=bool)[None],)


def partition_explainer(game: SetFunction, tree: PartitionTree, evaluations: int) -> np.ndarray:
    """Return what ``shap.PartitionExplainer`` makes of a game on a tree's leaves with so many evaluations: (n,)."""
    import shap

    whole = np.ones((1, tree.n_leaves), dtype=bool)
    explainer = shap.PartitionExplainer(game, PlayersMasker(tree))
    with seeded(0):  # of equal priorities, which comes first is drawn
        return explainer(whole, max_evals=evaluations, silent=True).values.reshape(-1)


def captum_values(game: SetFunction, n_players: int, method: str, samples: int) -> np.ndarray:
    """Return what captum's ``"ShapleyValueSampling"`` (samples are orders) or ``"KernelShap"`` makes of a game."""
    from captum import attr

    def forward(masks: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(game(masks.numpy() > 0.5), dtype=np.float64))

    ones = torch.ones(1, n_players, dtype=torch.float64)
    with seeded(0):
        explainer = getattr(attr, method)(forward)
        return explainer.attribute(ones, baselines=0 * ones, n_samples=samples).numpy().reshape(-1)
