"""DnCShap: Shapley values of image regions by divide and conquer.

Notation: image x, baseline b, class c, players N = {1 ... n} (the leaf regions), and the game v(S) = f_c(x on S, b
elsewhere). A node P = A ∪ B of the partition tree plays a game of two players, A and B, in a context C of visible
pixels outside P. Equation 4 of the paper, the Shapley value of two players, becomes

    φ_A(C) = ½ [v(C ∪ A) - v(C)] + ½ [v(C ∪ P) - v(C ∪ B)],   φ_B likewise,   φ_A + φ_B = v(C ∪ P) - v(C).

Averaged over all 2^d contexts that the siblings of P and of its ancestors form, this is the Owen (Winter) value of the
a-priori unions that the tree describes, see :func:`fercore.shapley.exact_owen`. A number of contexts per node that does
not grow with n makes the cost linear in n.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from fercore.shapley import contexts as methods
from fercore.shapley.adaptive import Search
from fercore.shapley.base import LevelScores, RegionExplainer
from fercore.shapley.baselines import Baseline, as_baseline, of_group, rows_per_coalition
from fercore.shapley.contexts import Share
from fercore.shapley.game import TargetGame
from fercore.shapley.inputs import Model, Output, Precision, check_settings, is_whole, warn_if_training
from fercore.shapley.result import DnCResult, join
from fercore.shapley.tree import PartitionTree, TreeRule, build_tree, check_rule

Contexts = Literal["adaptive", "absent", "present", "both", "exact"] | int
FIXED = ("absent", "present", "both")
CONTEXTS = ("adaptive", *FIXED, "exact")
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
            baseline: b, what a hidden pixel shows: ``"zero"`` (black, as in the paper), a number, ``"mean"`` (each
                image's mean colour), ``"blur"``, ``"inpaint"``, a tensor or array that broadcasts to (C, H, W), or to
                (N, C, H, W) for one baseline per image, in the value range of the images and with the channels first
                (one colour is (C, 1, 1)), or one of :class:`Blur`, :class:`Inpaint`, :class:`Background` (a set,
                averaged over).
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
        check_settings(model, output, batch_size, precision)
        check_rule(depth, tree)
        if isinstance(contexts, str) and contexts not in CONTEXTS:
            raise ValueError(
                f"Unknown contexts {contexts!r}; use {', '.join(map(repr, CONTEXTS))} or a number of contexts."
            )
        if not isinstance(contexts, str) and not (
            is_whole(contexts, least=2) and contexts & (contexts - 1) == 0
        ):
            raise ValueError(f"A number of contexts is a power of two from 2 on, not {contexts!r}.")
        if share not in ("pixels", "half"):
            raise ValueError(f"Unknown share {share!r}; use 'pixels' or 'half'.")
        if evaluations is not None:
            if contexts != "adaptive":
                raise ValueError(f"evaluations is the budget of contexts='adaptive', not of {contexts!r}.")
            _check_budget(evaluations, least=2)
        self.model, self.baseline, self.output, self.contexts = model, baseline, output, contexts
        self.evaluations, self.depth, self.tree, self.share, self.seed = evaluations, depth, tree, share, seed
        self.batch_size, self.precision, self.device = batch_size, precision, device
        self.class_names, self.progress = class_names, progress

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
                whole number of at least one step (2 evaluations, 14 on a quadtree).
        """
        start = time.perf_counter()
        if not result.searches:
            raise ValueError("Only results of contexts='adaptive' can be refined; this one keeps no search.")
        cost = result.searches[0].pair_cost
        _check_budget(evaluations, least=cost)
        tree = build_tree(*result.data.shape[1:3], self.depth, self.tree)
        known = result.tree
        if tree.arity != known.arity or not np.array_equal(tree.leaf_labels, known.leaf_labels):
            raise ValueError(
                "The result was made on another tree: use an explainer of the same depth and tree."
            )
        warn_if_training(self.model)
        images = torch.from_numpy(result.data).permute(0, 3, 1, 2).to(*result.placement)
        baseline, pairs = as_baseline(self.baseline, images), evaluations // cost
        parts, at = [], 0
        with self._bar(len(images) * pairs * cost * rows_per_coalition(baseline)) as bar:
            for search in copy.deepcopy(result.searches):
                group = slice(at, at + len(search.observed))
                part, at = result.images(group), group.stop
                game = self._game(images[group], of_group(baseline, group), tree, bar.update)
                search.run(TargetGame(game, tree, None, part), pairs)
                scores, errors = zip(*search.scores(), strict=True)
                spent = part.evaluations + game.evaluations
                found = {"levels": list(scores), "standard_errors": errors[-1], "evaluations": spent}
                parts.append(replace(part, searches=(search,), **found))
        return join(parts, result.compute_time + time.perf_counter() - start)

    def _play(self, game: TargetGame) -> tuple[Iterator[LevelScores], tuple[Search, ...]]:
        """Return scores and standard errors (N, m, K) level by level, and the search of adaptive contexts."""
        if self.contexts == "adaptive":
            search = Search(game, self.seed)
            search.run(game, (self._budget(game.tree) - 2) // search.pair_cost)
            return search.scores(), (search,)
        if self.contexts == "exact":
            return ((scores, None) for scores in methods.exact_levels(game)), ()
        if self.contexts in FIXED:
            return ((scores, None) for scores in methods.fixed_levels(game, self.contexts, self.share)), ()
        return methods.sampled_levels(game, int(self.contexts), self.seed), ()

    def _budget(self, tree: PartitionTree) -> int:
        """Return the evaluations that adaptive contexts may spend per image, both ends included."""
        return PER_REGION * tree.n_leaves if self.evaluations is None else self.evaluations

    def _expected_evaluations(self, tree: PartitionTree) -> int:
        """Return the number of distinct coalitions, at most."""
        if self.contexts in FIXED:
            return methods.fixed_evaluations(tree, self.contexts)
        if not isinstance(self.contexts, str):
            return methods.split_evaluations(tree, int(self.contexts))
        every = methods.split_evaluations(tree)
        return min(self._budget(tree), every) if self.contexts == "adaptive" else every

    def _known_coalitions(self, tree: PartitionTree) -> np.ndarray:
        """Return the coalitions of fixed contexts; level by level, the first levels would make small batches."""
        fixed = self.contexts in FIXED
        return methods.fixed_coalitions(tree, self.contexts) if fixed else super()._known_coalitions(tree)

    def _bytes_per_image(self, tree: PartitionTree, classes: int) -> int:
        """Return the memory of a search for each image of a group."""
        return Search.bytes_per_image(tree, classes) if self.contexts == "adaptive" else 0


def _check_budget(evaluations: int, least: int) -> None:
    """Refuse a budget that is not a number of evaluations."""
    if not is_whole(evaluations, least):
        raise ValueError(f"evaluations is a whole number per image, at least {least}; not {evaluations!r}.")
