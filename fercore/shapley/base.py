"""What every explainer of image regions does: check the inputs, play the game in groups of images, collect scores."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from fercore.shapley.baselines import Baseline, Filling, as_baseline, of_group
from fercore.shapley.game import ImageGame, TargetGame
from fercore.shapley.inputs import (
    Channels,
    ImageBatch,
    Images,
    Model,
    Output,
    Precision,
    Targets,
    as_image_batch,
    as_targets,
    check_settings,
    warn_if_training,
)
from fercore.shapley.result import DnCResult, join
from fercore.shapley.tree import PartitionTree, TreeRule, build_tree, check_rule

if TYPE_CHECKING:
    import shap

# Images explained together: as many as keep the values of a group, and what the method needs besides, within 256 MiB.
_GROUP_IMAGES = 256
_GROUP_BYTES = 2**28
_MANY_CLASSES = 1000  # how many the model has is known after the first group only

# Scores (N, m, K) of the m nodes of a level, and their standard errors or None.
LevelScores = tuple[np.ndarray, np.ndarray | None]


class RegionExplainer(ABC):
    """Base of the explainers: a model, a baseline and a tree; how scores come about is left to the subclasses."""

    _map_kind: Literal["density", "score"] = "density"

    def __init__(
        self,
        model: Model,
        *,
        baseline: Baseline,
        output: Output,
        depth: int | None,
        tree: TreeRule,
        batch_size: int | Literal["auto"],
        precision: Precision,
        device: torch.device | str | None,
        class_names: Sequence[str] | None,
        progress: bool,
    ) -> None:
        """Keep the settings; see the subclasses for their meaning and the errors."""
        check_settings(model, output, batch_size, precision)
        check_rule(depth, tree)
        self.model, self.baseline, self.output = model, baseline, output
        self.depth, self.tree, self.batch_size, self.device = depth, tree, batch_size, device
        self.precision = precision
        self.class_names, self.progress = class_names, progress

    def __call__(
        self, images: Images, targets: Targets = None, channels: Channels | None = None
    ) -> shap.Explanation:
        """Explain images: :meth:`attribute`, returned as a ``shap.Explanation``.

        Args:
            images: As for :meth:`attribute`.
            targets: As for :meth:`attribute`.
            channels: As for :meth:`attribute`.

        Returns:
            An Explanation whose ``values`` are a float64 array (N, H, W, C, K); :meth:`DnCResult.explanation` says what
            it carries besides.

        Raises:
            ImportError: If shap is not installed.
            TypeError, ValueError, ModelOutputError: As :meth:`attribute` does.
        """
        return self.attribute(images, targets, channels).explanation()

    def attribute(
        self, images: Images, targets: Targets = None, channels: Channels | None = None
    ) -> DnCResult:
        """Explain images, without shap.

        Args:
            images: One image (3-D), a batch (4-D) or a list of images of one shape, grey or colour, of any size; torch
                tensors are read as (N, C, H, W) and numpy arrays as (N, H, W, C), in the value range that the model
                expects; integers reach it as floats, not rescaled.
            targets: The classes to explain: None for the predicted class of each image, a class number for all images,
                a class number per image, K numbers per image (N, K) or for all (1, K), or ``"all"``. All classes cost
                no more evaluations than one.
            channels: ``"first"`` or ``"last"`` where the images are laid out otherwise.

        Returns:
            The scores of the regions at every level of the tree, for N images and K classes.

        Raises:
            TypeError: If images or targets are of the wrong type.
            ValueError: If images are empty, badly laid out or too small for the depth, if the baseline does not fit, or
                if targets are too many, too few or out of range.
            ModelOutputError: If the model returns NaN, infinity or a wrong shape.
            ImportError: If the baseline needs OpenCV and it is not installed.

        Warns:
            UserWarning: If the model is in training mode. It runs in evaluation mode and is put back afterwards.
        """
        start = time.perf_counter()
        warn_if_training(self.model)
        batch, wanted, tree, baseline = self._prepare(images, targets, channels)
        with self._progress_bar(len(batch.tensor) * self._expected_rows(tree, baseline)) as on_rows:
            parts, at, classes = [], 0, _MANY_CLASSES
            while at < len(batch.tensor):
                group = slice(at, at + self._group_size(tree, classes, wanted))
                parts.append(self._explain(batch, wanted, tree, baseline, group, on_rows))
                at, classes = group.stop, self._n_classes
        return join(parts, time.perf_counter() - start)

    def _group_size(self, tree: PartitionTree, classes: int, wanted: np.ndarray | str | None) -> int:
        """Return how many images to explain together, so that what is kept of them has bounded memory."""
        explained = wanted.shape[1] if isinstance(wanted, np.ndarray) else 1 if wanted is None else classes
        values = 8 * classes * self._expected_evaluations(tree)
        return int(
            np.clip(_GROUP_BYTES // (values + self._bytes_per_image(tree, explained)), 1, _GROUP_IMAGES)
        )

    def levels(
        self, images: Images, targets: Targets = None, channels: Channels | None = None
    ) -> Iterator[np.ndarray]:
        """Return the region maps level by level: coarse first, finer later.

        With fixed, sampled and exact contexts each comes as soon as its level is evaluated; adaptive contexts look at
        all levels before the first one is known. All images are held together: meant for a few.

        Args:
            images: As for :meth:`attribute`.
            targets: As for :meth:`attribute`.
            channels: As for :meth:`attribute`.

        Returns:
            Iterator of float64 arrays (N, H, W, K), each region's score over its pixels, one per level 0 ... L.

        Raises:
            TypeError, ValueError, ModelOutputError, ImportError: As :meth:`attribute` does.
        """
        warn_if_training(self.model)
        batch, wanted, tree, baseline = self._prepare(images, targets, channels)
        game = TargetGame(self._game(batch.tensor, baseline, tree, None), tree, wanted)
        levels, _ = self._play(game)
        return (scores[:, tree.labels(level)] for level, (scores, _) in enumerate(levels))

    @abstractmethod
    def _play(self, game: TargetGame) -> tuple[Iterator[LevelScores], tuple[Any, ...]]:
        """Return scores and standard errors (N, m, K) level by level, l = 0 ... L, and what a result can go on from."""

    def _known_coalitions(self, tree: PartitionTree) -> np.ndarray | None:
        """Return packed coalitions that are known beforehand and can be evaluated in full batches, if there are any."""
        return None

    @abstractmethod
    def _expected_evaluations(self, tree: PartitionTree) -> int:
        """Return the number of distinct coalitions that :meth:`_play` evaluates."""

    def _bytes_per_image(self, tree: PartitionTree, classes: int) -> int:
        """Return the memory that the method takes for each image of a group, besides the values."""
        return 0

    def _expected_rows(self, tree: PartitionTree, baseline: torch.Tensor | Filling) -> int:
        """Return the rows per image: each coalition in every filling, but the whole image, which has none, once."""
        fillings = baseline.rows_per_coalition if isinstance(baseline, Filling) else 1
        return fillings * (self._expected_evaluations(tree) - 1) + 1

    def _calls(self) -> int | None:
        """Return the model calls of the procedure where they are more than its distinct evaluations."""
        return None

    def _prepare(
        self, images: Images, targets: Targets, channels: Channels | None
    ) -> tuple[ImageBatch, np.ndarray | Literal["all"] | None, PartitionTree, torch.Tensor | Filling]:
        """Check everything that can be checked before the model runs."""
        batch = as_image_batch(images, channels)
        wanted = as_targets(targets, len(batch.tensor))
        tree = build_tree(*batch.tensor.shape[2:], self.depth, self.tree)
        return batch, wanted, tree, as_baseline(self.baseline, batch.tensor)

    def _game(
        self,
        images: torch.Tensor,
        baseline: torch.Tensor | Filling,
        tree: PartitionTree,
        on_rows: Callable[[int], object] | None,
    ) -> ImageGame:
        """Set up the game of some images."""
        return ImageGame(
            self.model,
            images,
            baseline,
            tree.labels(),
            output=self.output,
            batch_size=self.batch_size,
            precision=self.precision,
            device=self.device,
            on_rows=on_rows,
        )

    def _explain(
        self,
        batch: ImageBatch,
        wanted: np.ndarray | Literal["all"] | None,
        tree: PartitionTree,
        baseline: torch.Tensor | Filling,
        group: slice,
        on_rows: Callable[[int], object] | None,
    ) -> DnCResult:
        """Explain one group of images together."""
        b = of_group(baseline, group)
        targets = wanted[group] if isinstance(wanted, np.ndarray) else wanted
        images = self._game(batch.tensor[group], b, tree, on_rows)
        known = self._known_coalitions(tree)
        first = None if known is None else known[: max(images.coalitions_per_batch - 2, 0)]
        game = TargetGame(images, tree, targets, first=first)
        self._n_classes = game.n_classes
        self._check_class_names(game.n_classes)
        if known is not None:
            game.values(known)
        levels, searches = self._play(game)
        placement = batch.tensor.device, batch.tensor.dtype
        return self._result(game, list(levels), searches, batch.data[group], placement)

    def _result(
        self,
        game: TargetGame,
        levels: list[LevelScores],
        searches: tuple[Any, ...],
        data: np.ndarray,
        placement: tuple[torch.device, torch.dtype],
    ) -> DnCResult:
        """Collect what there is to say of a group of images."""
        return DnCResult(
            levels=[scores for scores, _ in levels],
            tree=game.tree,
            base_values=game.empty,
            predictions=game.full,
            classes=game.classes,
            data=data,
            class_names=self.class_names,
            evaluations=game.evaluations.copy(),
            compute_time=0.0,
            standard_errors=levels[-1][1],
            map_kind=self._map_kind,
            calls=self._calls(),
            searches=searches,
            placement=placement,
        )

    def _check_class_names(self, n_classes: int) -> None:
        """Refuse names that are not one per class of the model."""
        if self.class_names is not None and len(self.class_names) != n_classes:
            raise ValueError(
                f"class_names has {len(self.class_names)} names; the model has {n_classes} classes."
            )

    @contextmanager
    def _progress_bar(self, total: int) -> Iterator[Callable[[int], object] | None]:
        """Open a plain bar over evaluations if ``progress`` is set, and give what advances it."""
        if not self.progress:
            yield None
            return
        from tqdm import tqdm

        with tqdm(total=total, unit="evaluation", desc=type(self).__name__) as bar:
            yield bar.update
