"""DnCShap: Shapley values of image regions by divide and conquer.

Notation: image x, baseline b, class c, players N = {1 ... n} (the leaf regions), and the game v(S) = f_c(x on S, b
elsewhere). A node P = A ∪ B of the partition tree plays a game of two players, A and B, in a context C of visible
pixels outside P. Equation 4 of the paper, the Shapley value of two players, becomes

    φ_A(C) = ½ [v(C ∪ A) - v(C)] + ½ [v(C ∪ P) - v(C ∪ B)],   φ_B likewise,   φ_A + φ_B = v(C ∪ P) - v(C).

Averaged over all 2^d contexts that the siblings of P and of its ancestors form, this is the Owen value of the
a-priori unions that the tree describes (Owen 1977); on a tree of several levels the values are strictly Winter values
(Winter 1989), and ``shap`` calls them Owen values. One context per node makes the cost linear in n.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from fercore.shapley.base import RegionExplainer, TargetGame
from fercore.shapley.game import Model, Output
from fercore.shapley.inputs import Baseline
from fercore.shapley.tree import PartitionTree, Rule

Contexts = Literal["absent", "present", "both", "exact"]
CONTEXTS: tuple[Contexts, ...] = ("absent", "present", "both", "exact")
Share = Literal["pixels", "half"]
SHARES: tuple[Share, ...] = ("pixels", "half")


class DnCShap(RegionExplainer):
    """Shapley values of image regions on a binary partition tree, by divide and conquer.

    ``explainer(images)`` returns a ``shap.Explanation``, ``explainer.attribute(images)`` a :class:`DnCResult`, and
    ``explainer.levels(images)`` one region map per level, coarse to fine.

    At every level the scores of all regions sum to f_c(x) - f_c(b) (efficiency). A node hands its final score T(P) down
    to its children; with M(A) the mean of A's marginal contribution over the contexts chosen for A,

        T(A) = M(A) + s_A [T(P) - M(A) - M(B)],   T(B) = M(B) + s_B [T(P) - M(A) - M(B)],   s_A + s_B = 1.

    The bracket is what the chosen contexts attribute to neither part alone: the interaction of A and B, and what is
    left over from the levels above. ``share`` says who gets it; for ``contexts="exact"`` it is zero. So every mode is
    efficient, linear and fair to siblings that play the same part, but only "exact" gives nothing to every region that
    changes nothing: the others pass it a share of what is left over.

    ==========  =================================================  ===================  =====================
    contexts    the contexts of a node                             evaluations          at n = 64 / 256
    ==========  =================================================  ===================  =====================
    "absent"    C = ∅: only the region itself is visible           2n                   128 / 512
    "present"   C = N minus the region: only the region is hidden  2n                   128 / 512
    "both"      the mean of the two                                4n - 4               252 / 1,020
    "exact"     all 2^d of them: Owen (Winter) values              2(n² - 1) / 3 + 2    2,732 / 43,692
    ==========  =================================================  ===================  =====================

    "absent" and "present" are what ``shap.PartitionExplainer`` computes with ``fixed_context=0`` and ``1``, "exact"
    what it computes with unlimited evaluations. Evaluations of a level do not depend on one another and run in common
    batches, over images and regions.
    """

    def __init__(
        self,
        model: Model,
        baseline: Baseline = "zero",
        output: Output = "probability",
        contexts: Contexts = "both",
        depth: int = 6,
        rule: Rule = "longest",
        share: Share = "pixels",
        batch_size: int | Literal["auto"] = "auto",
        device: torch.device | str | None = None,
        class_names: Sequence[str] | None = None,
        progress: bool = False,
    ) -> None:
        """Keep the settings.

        Args:
            model: ``torch.nn.Module`` or function from a tensor (rows, C, H, W) to logits (rows, classes). A module
                keeps its device and dtype and runs in evaluation mode; its own mode is restored.
            baseline: b, what a hidden pixel shows: ``"zero"``, a number, ``"mean"`` (each image's mean colour), or a
                tensor or array that broadcasts to (C, H, W), in the value range of the images.
            output: f: ``"probability"`` (softmax of the logits), ``"logit"`` (the model's output as it is), or a
                callable from the model's output (rows, K') to (rows, K).
            contexts: See the table above.
            depth: Levels of the tree, L; there are n = 2^L regions.
            rule: ``"longest"`` cuts the longer side of each region (as shap does), ``"alternate"`` rows and columns in
                turn (as the paper does); see :func:`fercore.shapley.tree.build_tree`.
            share: Who gets what no part earned alone. ``"half"``: each child half, so that
                T(A) = φ_A + ½ [T(P) - φ_A - φ_B]. ``"pixels"``: each child in proportion to its pixels, as shap does;
                the same as half where both halves have equally many pixels. The two differ on odd sides only, where
                pixels gives up Equation 4 for one context: the interaction is not split evenly either.
            batch_size: Rows per forward pass; ``"auto"`` fits them to the memory, see
                :class:`fercore.shapley.game.ImageGame`.
            device: For models without parameters; default the device of the images.
            class_names: A name per class of the model, for ``output_names``; default the class numbers.
            progress: Whether to show a bar over evaluations.

        Raises:
            TypeError: If the model cannot be called.
            ValueError: If a setting is unknown.
        """
        super().__init__(
            model,
            baseline=baseline,
            output=output,
            depth=depth,
            rule=rule,
            batch_size=batch_size,
            device=device,
            class_names=class_names,
            progress=progress,
        )
        if contexts not in CONTEXTS:
            raise ValueError(f"Unknown contexts {contexts!r}; use {', '.join(map(repr, CONTEXTS))}.")
        if share not in SHARES:
            raise ValueError(f"Unknown share {share!r}; use {', '.join(map(repr, SHARES))}.")
        self.contexts, self.share = contexts, share

    def _level_scores(self, game: TargetGame) -> Iterator[np.ndarray]:
        """Yield the scores (N, 2^l, K) of the nodes of level l = 0 ... L."""
        if self.contexts == "exact":
            yield from owen_levels(game)
            return
        scores = (game.full - game.empty)[:, None, :]  # T(root) = f(x) - f(b)
        yield scores
        for level in range(1, game.tree.depth + 1):
            scores = share_out(
                scores, self._marginals(game, level), sibling_shares(game.tree, level, self.share)
            )
            yield scores

    def _marginals(self, game: TargetGame, level: int) -> np.ndarray:
        """Return M, the mean marginal contribution of each node of a level over its contexts: (N, 2^level, K)."""
        nodes = game.tree.coalitions(level)
        count = len(nodes)
        if self.contexts == "absent":
            return game.values(nodes) - game.empty[:, None]
        if self.contexts == "present":
            return game.full[:, None] - game.values(game.everyone ^ nodes)
        values = game.values(np.concatenate([nodes, game.everyone ^ nodes]))  # one batch for both contexts
        return 0.5 * (values[:, :count] - game.empty[:, None] + game.full[:, None] - values[:, count:])

    def _expected_evaluations(self, tree: PartitionTree) -> int:
        """Return the number of distinct coalitions."""
        n = tree.n_leaves
        if self.contexts == "exact":
            return 2 * (n * n - 1) // 3 + 2
        if self.contexts == "both" and n > 1:
            return (
                4 * n - 4
            )  # of 2 + 2 (2n - 2), two are the same: to hide A is to show B, its sibling below the root
        return 2 * n


def sibling_shares(tree: PartitionTree, level: int, share: Share) -> np.ndarray:
    """Return s, each node's share of what it and its sibling have in common: float64 array (2^level, 1), level ≥ 1."""
    pixels = tree.pixels(level)
    parents = tree.pixels(level - 1).repeat(2)
    return (pixels / parents if share == "pixels" else np.full(len(pixels), 0.5))[:, None]


def share_out(parents: np.ndarray, marginals: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Hand the parents' scores down: T(A) = M(A) + s_A [T(P) - M(A) - M(B)].

    Args:
        parents: T(P), float64 array (N, m, K).
        marginals: M, float64 array (N, 2m, K), siblings next to each other.
        shares: s, float64 array (2m, 1), siblings sum to one.

    Returns:
        Float64 array (N, 2m, K); each pair of siblings sums to its parent.
    """
    images, nodes, classes = marginals.shape
    common = parents - marginals.reshape(images, nodes // 2, 2, classes).sum(axis=2)
    return marginals + shares * common.repeat(2, axis=1)


def owen_levels(game: TargetGame) -> Iterator[np.ndarray]:
    """Yield the exact Owen (Winter) values of every node, level by level, (N, 2^l, K).

    A pair (node P, context C) comes with both ends, v(C) and v(C ∪ P), known. Two evaluations, v(C ∪ A) and v(C ∪ B),
    hand on the contexts C and C ∪ B to A, and C and C ∪ A to B, again with both ends known: so 2 evaluations for each
    of the 2^l nodes and 2^l contexts of a level, 2(n² - 1)/3 in all, and 2 for the root. The value of a node is the
    mean of v(C ∪ P) - v(C) over its contexts.
    """
    contexts = np.zeros((1, 1, game.everyone.shape[1]), dtype=np.uint8)  # (nodes, contexts of a node, bytes)
    # v(C) and v(C ∪ P): (N, nodes, contexts of a node, K)
    hidden, shown = game.empty[:, None, None], game.full[:, None, None]
    yield (shown - hidden).mean(axis=2)
    for level in range(1, game.tree.depth + 1):
        nodes, width = contexts.shape[:2]
        halves = game.tree.coalitions(level).reshape(nodes, 2, 1, -1)
        unions = contexts[:, None] | halves  # C ∪ A, C ∪ B
        values = game.values(unions.reshape(-1, unions.shape[-1]))
        values = values.reshape(len(values), nodes, 2, width, -1)
        of_sibling = values[:, :, ::-1]  # what A takes over from B, and B from A
        hidden, shown = (
            np.concatenate([np.broadcast_to(hidden[:, :, None], values.shape), of_sibling], axis=3),
            np.concatenate([values, np.broadcast_to(shown[:, :, None], values.shape)], axis=3),
        )
        hidden, shown = (ends.reshape(len(values), 2 * nodes, 2 * width, -1) for ends in (hidden, shown))
        yield (shown - hidden).mean(axis=2)
        # The last level needs no contexts of its own, and they would be the largest array of all.
        if level < game.tree.depth:
            kept = np.broadcast_to(contexts[:, None], unions.shape)
            contexts = np.concatenate([kept, unions[:, ::-1]], axis=2).reshape(2 * nodes, 2 * width, -1)
