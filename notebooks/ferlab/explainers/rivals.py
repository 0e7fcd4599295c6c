"""Other people's explainers on games of players that are regions: shap's PartitionExplainer and two of captum's.

shap and captum are imported where they are used.
"""

from __future__ import annotations

import numpy as np
import torch

from fercore.shapley.exact import SetFunction
from fercore.shapley.tree import PartitionTree


class PlayersMasker:
    """What ``shap.PartitionExplainer`` wants to know of players that are regions, on a tree."""

    immutable_outputs = True
    fixed_background = True

    def __init__(self, tree: PartitionTree) -> None:
        """Describe a tree of halves: pairs of siblings, the leaves first, the root last."""
        n = tree.n_leaves
        first = np.concatenate([[0], np.cumsum(2 ** np.arange(tree.depth, -1, -1))])
        pairs = [first[up] + 2 * np.arange(n >> (up + 1))[:, None] + [[0, 1]] for up in range(tree.depth)]
        sizes = np.repeat(2 ** np.arange(1, tree.depth + 1), n >> np.arange(1, tree.depth + 1))
        self.shape = (1, n)
        self.clustering = np.column_stack([np.concatenate(pairs), np.ones(n - 1), sizes]).astype(float)

    def __call__(self, mask: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        """Return the coalition itself: the "model" is the table."""
        return (np.asarray(mask, dtype=bool)[None],)

    def mask_shapes(self, x: np.ndarray) -> list[tuple[int, ...]]:
        """Return the shape of a mask."""
        return [x.shape]

    def feature_names(self, x: np.ndarray) -> list[list[str]]:
        """Return a name per region."""
        return [[str(i) for i in range(self.shape[1])]]


def partition_explainer(game: SetFunction, tree: PartitionTree, evaluations: int) -> np.ndarray:
    """Return what ``shap.PartitionExplainer`` makes of a game with so many evaluations, float64 array (n,).

    Args:
        game: From boolean coalitions (M, n) of the leaves to values (M,).
        tree: A tree of halves.
        evaluations: ``max_evals``.

    Its order of equal priorities comes from NumPy's global random state, which is seeded here and put back.
    """
    import shap

    masker = PlayersMasker(tree)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        explainer = shap.PartitionExplainer(game, masker)
        whole = np.ones((1, tree.n_leaves), dtype=bool)
        return explainer(whole, max_evals=evaluations, silent=True).values.reshape(-1)
    finally:
        np.random.set_state(state)  # noqa: NPY002


def captum_values(game: SetFunction, n_players: int, method: str, samples: int) -> np.ndarray:
    """Return what a method of captum makes of a game on players, float64 array (n,).

    Args:
        game: From boolean coalitions (M, n) to values (M,).
        n_players: n.
        method: ``"ShapleyValueSampling"`` (a sample is a whole order, n evaluations) or ``"KernelShap"``.
        samples: Number of samples.
    """
    from captum import attr

    def forward(masks: torch.Tensor) -> torch.Tensor:
        """Play rows of zeros and ones."""
        return torch.from_numpy(np.asarray(game(masks.numpy() > 0.5), dtype=np.float64))

    ones = torch.ones(1, n_players, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        explainer = getattr(attr, method)(forward)
        return explainer.attribute(ones, baselines=0 * ones, n_samples=samples).numpy().reshape(-1)
