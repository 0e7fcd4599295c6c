"""DnCShap as it was published, in two variants, so that what they compute can be shown beside :class:`DnCShap`.

Both cut the image ``times`` times, rows first, and evaluate two *strips* of the whole image per cut: everything before
the middle of the current block along the axis of the cut, and everything after it, over the full extent of the other
axis (``get_parts(data, wd, ht, z)`` of Algorithm 1 knows no block). A strip depends on one axis only, so with
D = f(x) - f(0) and Δ = f(strip 1) - f(strip 2) of each cut on the way to the cell in row r and column c,

    S(r, c) = ¼ [D + Σ_{row cuts} ±Δ + Σ_{column cuts} ±Δ]   for times ≥ 2 (paper; ½ [D ± Δ] for times = 1):

a row profile plus a column profile, a matrix of rank 2 at most, which cannot localise an eye. As 1/4 is right for two
levels only, the scores sum to 2^(times - 2) D instead of D. The procedure calls the model 2^(times + 1) times, 1,024 at
times = 9, but has only 94 distinct inputs there; only these are evaluated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from fercore.shapley.base import LevelScores, RegionExplainer
from fercore.shapley.game import TargetGame
from fercore.shapley.inputs import Model, check_settings
from fercore.shapley.tree import PartitionTree, check_rule, pack


class PaperDnCShap(RegionExplainer):
    """Algorithms 1 and 2 of the paper, as far as they can be computed.

    The scores and the ``pred_b``, ``pred_f`` handed down are those printed. Three gaps of Algorithm 1 are filled as
    Algorithm 2 and the text do: part 1 is given score_1 (Algorithm 1 prints score_2 in the call that carries part 1's
    ``pred_b + pred_2``; Algorithm 2 pairs them), x_s ... y_e become the box of the part (Algorithm 1 never updates
    them), and ``get_parts`` cuts at the middle of the current block but keeps whole-image strips, for it is given no
    block. The first cut is along axis 0 (top / bottom) as in the released code. The map holds each cell's score
    ("value[x_s : x_e, y_s : y_e] = score"): it is **not** a density, and from ``times = 3`` on its cells sum to
    2^(times - 2) times f(x) - f(0).

    The result's ``calls`` are the 2^(times + 1) model calls of the procedure, its ``evaluations`` the distinct inputs.
    """

    baseline, output, tree, precision = "zero", "probability", "alternate", None
    _map_kind = "score"
    _slip = False  # whether score_2 subtracts pred_2 where pred_1 belongs

    def __init__(
        self,
        model: Model,
        times: int = 9,
        batch_size: int | Literal["auto"] = "auto",
        device: torch.device | str | None = None,
        class_names: Sequence[str] | None = None,
        progress: bool = False,
    ) -> None:
        """Keep the settings; baseline (black) and output (probability) are those of the paper.

        Args:
            model: As for :class:`DnCShap`; so are all others but ``times``.
            times: Number of cuts from the whole image to a cell; there are 2^times cells. The released scripts use 9
                and 3.
            batch_size: Rows per forward pass.
            device: For models without parameters.
            class_names: A name per class of the model.
            progress: Whether to show a bar over evaluations.

        Raises:
            TypeError: If the model cannot be called.
            ValueError: If ``times`` is less than one.
        """
        if times < 1:
            raise ValueError(f"times is the number of cuts, at least 1; it is {times}.")
        check_settings(model, self.output, batch_size, self.precision)
        check_rule(times, self.tree)
        self.model, self.times, self.depth, self.batch_size = model, times, times, batch_size
        self.device, self.class_names, self.progress = device, class_names, progress
        self._calls = 2 ** (times + 1)  # 4 at the root, 2 per cut below it

    def _play(self, game: TargetGame) -> tuple[Iterator[LevelScores], tuple[()]]:
        """Return the scores on the way down; only those of the last level reach the published map."""
        return ((scores, None) for scores in self._level_scores(game)), ()

    def _level_scores(self, game: TargetGame) -> Iterator[np.ndarray]:
        """Yield the scores (N, 2^l, K) of the nodes of level l = 0 ... L."""
        pred_b, pred_f = game.empty[:, None], game.full[:, None]
        yield pred_f - pred_b
        for level in range(self.times):
            pred_1, pred_2 = strip_values(game, level)
            # Algorithm 2 halves once, and has both scores right in either variant; below, they are halved twice.
            scale = 2 if level == 0 else 4
            subtracted = pred_2 if self._slip and level else pred_1
            score_1 = ((pred_1 - pred_b) + (pred_f - pred_2)) / scale
            score_2 = ((pred_2 - pred_b) + (pred_f - subtracted)) / scale
            yield _interleave(score_1, score_2)
            # The next "predictions" are sums of two, not means: the scale grows with the depth.
            below = (pred_b + pred_2, pred_b + pred_1), (pred_1 + pred_f, pred_2 + pred_f)
            pred_b, pred_f = _interleave(*below[0]), _interleave(*below[1])

    def _expected_evaluations(self, tree: PartitionTree) -> int:
        """Return the number of distinct inputs: two ends, and two strips per distinct row or column cut."""
        rows, columns = (self.times + 1) // 2, self.times // 2
        return 2 + 2 * (2**rows - 1) + 2 * (2**columns - 1)


class ReleasedDnCShap(PaperDnCShap):
    """What the authors' released implementation computes, rewritten from a description of its behaviour.

    As :class:`PaperDnCShap`, but below the root score_2 subtracts pred_2 where pred_1 belongs, so that pred_2 cancels:
    the second part of every last cut scores (pred_f - pred_b) / 4 whatever it shows, and the scores of a map no longer
    sum to a fixed multiple of f(x) - f(0) from ``times = 2`` on.
    """

    _slip = True


def strip_values(game: TargetGame, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pred_1 and pred_2 of the cut of each node of a level, float64 arrays (N, 2^level, K).

    Part 1 shows the whole image before the cut of the node along the axis of the level, part 2 the whole image after
    it; the rest is black. Under the alternate rule every cut runs along borders of leaves, so strips are coalitions.
    """
    tree = game.tree
    end = 2 if level % 2 == 0 else 3  # rows: bottom; columns: right
    cuts = tree.boxes[tree.children[tree.nodes(level), 0], end]  # where the first child ends
    before = tree.boxes[tree.nodes(tree.depth), end] <= cuts[:, None]
    return np.split(game.values(np.concatenate([pack(before), pack(~before)])), 2, axis=1)


def _interleave(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Put what belongs to part 1 and part 2 of each node, (N, m, K) each, side by side: (N, 2m, K)."""
    return np.stack([first, second], axis=2).reshape(first.shape[0], -1, first.shape[2])
