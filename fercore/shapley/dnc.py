"""DnCShap: Shapley values of image regions by divide and conquer.

Notation: image x, baseline b, class c, players N = {1 ... n} (the leaf regions), and the game v(S) = f_c(x on S, b
elsewhere). A node P = A ∪ B of the partition tree plays a game of two players, A and B, in a context C of visible
pixels outside P. Equation 4 of the paper, the Shapley value of two players, becomes

    φ_A(C) = ½ [v(C ∪ A) - v(C)] + ½ [v(C ∪ P) - v(C ∪ B)],   φ_B likewise,   φ_A + φ_B = v(C ∪ P) - v(C).

Averaged over all 2^d contexts that the siblings of P and of its ancestors form, this is the Owen value of the
a-priori unions that the tree describes (Owen 1977); on a tree of several levels the values are strictly Winter values
(Winter 1989), and ``shap`` calls them Owen values. A number of contexts per node that does not grow with n makes the
cost linear in n.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from fercore.shapley.adaptive import Search
from fercore.shapley.base import LevelScores, RegionExplainer
from fercore.shapley.baselines import Baseline, Filling, as_baseline, of_group
from fercore.shapley.exact import SHARES, Share, fixed_coalitions, fixed_evaluations, fixed_levels
from fercore.shapley.game import ImageGame, TargetGame
from fercore.shapley.inputs import Model, Output, Precision, warn_if_training
from fercore.shapley.result import DnCResult, join
from fercore.shapley.sampled import exact_evaluations, exact_levels, sampled_evaluations, sampled_levels
from fercore.shapley.tree import PartitionTree, TreeRule, build_tree

Contexts = Literal["adaptive", "absent", "present", "both", "exact"] | int
CONTEXTS = ("adaptive", "absent", "present", "both", "exact")
PER_REGION = 8  # default budget of adaptive contexts, in evaluations per region


class DnCShap(RegionExplainer):
    """Shapley values of image regions on a partition tree, by divide and conquer.

    ``explainer(images)`` returns a ``shap.Explanation``, ``explainer.attribute(images)`` a :class:`DnCResult`,
    ``explainer.levels(images)`` one region map per level, coarse to fine, and ``explainer.refine(result, evaluations)``
    a better result for more evaluations. At every level the scores of all regions sum to f_c(x) - f_c(b) (efficiency).

    ==========  ========================================================  ====================  =====================
    contexts    in which contexts the children of a node are compared     evaluations           at n = 64 / 256
    ==========  ========================================================  ====================  =====================
    "adaptive"  where the scores are large; the others are guessed        8n, or as given       512 / 2,048
    "absent"    C = ∅: only the region itself is visible                  2n                    128 / 512
    "present"   C = N minus the region: only the region is hidden         2n                    128 / 512
    "both"      the mean of the two                                       4n - 4                252 / 1,020
    K           K of them, balanced and random: unbiased                  at most 2Kn + 2       K = 8: 940 / 4,012
    "exact"     all 2^d of them: Owen (Winter) values                     2(n² - 1) / 3 + 2     2,732 / 43,692
    ==========  ========================================================  ====================  =====================

    Numbers hold for trees that halve. "absent" and "present" are what ``shap.PartitionExplainer`` computes with
    ``fixed_context=0`` and ``1``, "exact" what it computes with unlimited evaluations. Of the cheap choices "adaptive"
    is the closest to "exact" where regions interact strongly, as in networks for faces; on networks that are nearly
    additive "both" and K are as close. K is the one without bias. "adaptive" and K come with standard errors. With one
    or two fixed contexts, what they attribute to no part alone is shared out (``share``), so that a region that changes
    nothing may still get a share.

    Evaluations that do not depend on one another run in common batches, over images and regions.
    """

    def __init__(
        self,
        model: Model,
        baseline: Baseline = "zero",
        output: Output = "probability",
        contexts: Contexts = "adaptive",
        evaluations: int | None = None,
        depth: int | None = None,
        tree: TreeRule = "longest",
        share: Share = "pixels",
        seed: int = 0,
        batch_size: int | Literal["auto"] = "auto",
        precision: Precision = None,
        device: torch.device | str | None = None,
        class_names: Sequence[str] | None = None,
        progress: bool = False,
    ) -> None:
        """Keep the settings.

        Args:
            model: ``torch.nn.Module`` or function from a tensor (rows, C, H, W) to logits (rows, classes). A module
                keeps its device and dtype and runs in evaluation mode; its own mode is restored.
            baseline: b, what a hidden pixel shows: ``"zero"``, a number, ``"mean"`` (each image's mean colour),
                ``"blur"``, ``"inpaint"``, a tensor or array that broadcasts to (C, H, W), in the value range of the
                images, or one of :class:`Blur`, :class:`Inpaint`, :class:`Background` (a set, averaged over).
            output: f: ``"probability"`` (softmax of the logits), ``"logit"`` (the model's output as it is), or a
                callable from the model's output (rows, K') to (rows, K).
            contexts: See the table above. A number K is a power of two from 2 on.
            evaluations: Budget per image of ``"adaptive"`` contexts, in coalitions; default 8n. It is not exceeded,
                and at the number that "exact" needs the values are exact, up to 256 halved regions; beyond, a sample of
                the contexts of the deepest levels stands for all of them.
            depth: Levels of the tree, L; halving gives n = 2^L regions. None is 6 (3 for the quadtree), 64 regions, and
                for a label image every segment.
            tree: ``"longest"`` cuts the longer side of each region (as shap does), ``"alternate"`` rows and columns in
                turn (as the paper does), ``"quadtree"`` cuts into quadrants, a label image (H, W) gives the regions
                themselves; see :func:`fercore.shapley.build_tree`.
            share: Who gets what no part earned alone, with fixed contexts. ``"half"``: all children the same, so that
                T(A) = φ_A + ½ [T(P) - φ_A - φ_B]. ``"pixels"``: each child in proportion to its pixels, as shap does;
                the same as half where both halves have equally many pixels. The two differ on odd sides and on
                label images, where pixels gives up Equation 4 for one context: the interaction is not split evenly.
            seed: Of the sampled contexts; no global random state is read or changed. Adaptive contexts are random only
                beyond 256 regions (64 of a quadtree).
            batch_size: Rows per forward pass; ``"auto"`` fits them to the memory, see
                :class:`fercore.shapley.game.ImageGame`.
            precision: ``"bfloat16"`` or ``"float16"`` for forward passes under ``torch.autocast``; None, the default,
                for the model's own type.
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
            tree=tree,
            batch_size=batch_size,
            precision=precision,
            device=device,
            class_names=class_names,
            progress=progress,
        )
        _check_contexts(contexts)
        if share not in SHARES:
            raise ValueError(f"Unknown share {share!r}; use {', '.join(map(repr, SHARES))}.")
        if evaluations is not None:
            if contexts != "adaptive":
                raise ValueError(
                    f"evaluations is the budget of contexts='adaptive'; contexts is {contexts!r}."
                )
            _check_budget(evaluations)
        self.contexts, self.evaluations, self.share, self.seed = contexts, evaluations, share, seed

    def refine(self, result: DnCResult, evaluations: int) -> DnCResult:
        """Spend further evaluations on a result of adaptive contexts, where they teach most.

        ``refine(attribute(images), m)`` is close to, but not the same as, a larger budget from the start, since pairs
        are chosen in rounds. Scores still sum exactly, at any budget, and are exact when nothing is left to evaluate.

        Args:
            result: Made by :meth:`attribute` or :meth:`refine` of an explainer with the same settings; it stays as it
                is.
            evaluations: Further masked images per image.

        Returns:
            The result of all evaluations so far, for the same images and classes.

        Raises:
            ValueError: If the result was not made with adaptive contexts or on another tree, or the budget is not a
                positive whole number.
        """
        _check_budget(evaluations)
        if not result.searches:
            raise ValueError("Only results of contexts='adaptive' can be refined; this one keeps no search.")
        height, width = result.data.shape[1:3]
        tree, known = build_tree(height, width, self.depth, self.tree), result.tree
        if tree.arity != known.arity or not np.array_equal(tree.leaf_labels, known.leaf_labels):
            raise ValueError(
                "The result was made on another tree: use an explainer with the same depth and tree."
            )
        pairs = evaluations // result.searches[0].pair_cost
        if pairs == 0:
            raise ValueError(
                f"One step costs {result.searches[0].pair_cost} evaluations; {evaluations} are too few."
            )
        start = time.perf_counter()
        warn_if_training(self.model)
        images = torch.from_numpy(result.data).permute(0, 3, 1, 2)
        if result.placement is not None:
            images = images.to(*result.placement)
        baseline = as_baseline(self.baseline, images)
        rows = len(images) * pairs * result.searches[0].pair_cost
        rows *= baseline.rows_per_coalition if isinstance(baseline, Filling) else 1
        parts, at = [], 0
        with self._progress_bar(rows) as on_rows:
            for search in result.searches:
                group = slice(at, at + len(search.observed))
                game = self._game(images[group], of_group(baseline, group), tree, on_rows)
                parts.append(self._refined(result.images(group), game, copy.deepcopy(search), pairs))
                at = group.stop
        return join(parts, result.compute_time + time.perf_counter() - start)

    def _refined(self, known: DnCResult, game: ImageGame, search: Search, pairs: int) -> DnCResult:
        """Go on with the search of one group of images, in place."""
        target = TargetGame(game, known.tree, None, known)
        search.run(target, pairs)
        refined = self._result(target, list(search.scores()), (search,), known.data, known.placement)
        refined.evaluations[:] += known.evaluations
        return replace(refined, class_names=known.class_names)

    def _play(self, game: TargetGame) -> tuple[Iterator[LevelScores], tuple[Search, ...]]:
        """Return scores and standard errors (N, m, K) level by level, and the search of adaptive contexts."""
        if self.contexts == "adaptive":
            search = Search(game, self.seed)
            search.run(game, (self._budget(game.tree) - 2) // search.pair_cost)
            return search.scores(), (search,)
        if self.contexts == "exact":
            return ((scores, None) for scores in exact_levels(game)), ()
        if isinstance(self.contexts, str):
            return ((scores, None) for scores in fixed_levels(game, self.contexts, self.share)), ()
        return sampled_levels(game, int(self.contexts), self.seed), ()

    def _known_coalitions(self, tree: PartitionTree) -> np.ndarray | None:
        """Return the coalitions of fixed contexts; level by level, the first levels would make small batches."""
        fixed = isinstance(self.contexts, str) and self.contexts in ("absent", "present", "both")
        return fixed_coalitions(tree, self.contexts) if fixed else None

    def _budget(self, tree: PartitionTree) -> int:
        """Return the evaluations that adaptive contexts may spend per image, both ends included."""
        return PER_REGION * tree.n_leaves if self.evaluations is None else self.evaluations

    def _expected_evaluations(self, tree: PartitionTree) -> int:
        """Return the number of distinct coalitions, at most."""
        if self.contexts == "adaptive":
            return max(2, min(self._budget(tree), exact_evaluations(tree)))
        if self.contexts == "exact":
            return exact_evaluations(tree)
        if isinstance(self.contexts, str):
            return fixed_evaluations(tree, self.contexts)
        return sampled_evaluations(tree, int(self.contexts))

    def _bytes_per_image(self, tree: PartitionTree, classes: int) -> int:
        """Return the memory of a search for each image of a group."""
        return Search.bytes_per_image(tree, classes) if self.contexts == "adaptive" else 0


def _check_contexts(contexts: Contexts) -> None:
    """Refuse what is neither a name nor a power of two."""
    if isinstance(contexts, str):
        if contexts not in CONTEXTS:
            names = ", ".join(map(repr, CONTEXTS))
            raise ValueError(f"Unknown contexts {contexts!r}; use {names} or a number of contexts per split.")
        return
    whole = isinstance(contexts, (int, np.integer)) and not isinstance(contexts, bool)
    if not whole or contexts < 2 or contexts & (contexts - 1):
        raise ValueError(
            f"A number of contexts is a power of two from 2 on, for they form a balanced design; it is {contexts!r}."
        )


def _check_budget(evaluations: int) -> None:
    """Refuse a budget that is not a number of evaluations."""
    whole = isinstance(evaluations, (int, np.integer)) and not isinstance(evaluations, bool)
    if not whole or evaluations < 2:
        raise ValueError(
            f"evaluations is a whole number of masked images per image, at least 2; not {evaluations!r}."
        )
