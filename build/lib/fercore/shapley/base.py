"""What every explainer of image regions does: check the inputs, play the game in groups of images, collect scores."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from fercore.shapley.baselines import Filling, as_baseline, of_group, rows_per_coalition
from fercore.shapley.game import ImageGame, TargetGame
from fercore.shapley.inputs import Channels, Images, Targets, Wanted, as_images, as_targets, warn_if_training
from fercore.shapley.result import DnCResult, join
from fercore.shapley.tree import PartitionTree, build_tree

if TYPE_CHECKING:
    import shap

# Images explained together: as many as keep the values of a group, and what the method needs besides, within 256 MiB.
_GROUP_IMAGES = 256
_GROUP_BYTES = 2**28
_MANY_CLASSES = 1000  # how many the model has is known after the first group only

# Scores (N, m, K) of the m nodes of a level, and their standard errors or None.
LevelScores = tuple[np.ndarray, np.ndarray | None]


class RegionExplainer(ABC):
    """Base of the explainers: a model, a baseline and a tree; how scores come about is left to the subclasses.

    They set ``model``, ``baseline``, ``output``, ``depth``, ``tree``, ``batch_size``, ``precision``, ``device``,
    ``class_names`` and ``progress``, which :class:`DnCShap` explains.
    """

    _map_kind: Literal["density", "score"] = "density"
    _calls: int | None = None  # model calls of a procedure that evaluates inputs again

    def __call__(
        self, images: Images, targets: Targets = None, channels: Channels | None = None
    ) -> shap.Explanation:
        """Explain images: :meth:`attribute`, returned as a ``shap.Explanation``.

        Args:
            images, targets, channels: As for :meth:`attribute`.

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
            channels: ``"first"`` or ``"last"`` where the images are laid out otherwise, or have another number of
                channels than 1, 3 or 4.

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
        images, wanted, tree, baseline = self._prepare(images, targets, channels)
        # Each coalition in every filling, but the whole image, which has none, once.
        evaluations = self._expected_evaluations(tree)
        rows = rows_per_coalition(baseline) * (evaluations - 1) + 1
        parts, at, classes = [], 0, _MANY_CLASSES
        with self._bar(len(images) * rows) as bar:
            while at < len(images):
                group = slice(at, at + self._group_size(tree, classes, wanted, evaluations))
                game = self._game(images[group], of_group(baseline, group), tree, bar.update)
                own = wanted[group] if isinstance(wanted, np.ndarray) else wanted
                parts.append(self._explain(game, tree, images[group], own))
                at, classes = group.stop, game.n_classes
        return join(parts, time.perf_counter() - start)

    def levels(
        self, images: Images, targets: Targets = None, channels: Channels | None = None
    ) -> Iterator[np.ndarray]:
        """Return the region maps level by level: coarse first, finer later.

        With fixed, sampled and exact contexts each comes as soon as its level is evaluated; adaptive contexts look at
        all levels before the first one is known. All images are held together: meant for a few.

        Args:
            images, targets, channels: As for :meth:`attribute`.

        Returns:
            Iterator of float64 arrays (N, H, W, K), each region's score over its pixels, one per level 0 ... L.

        Raises:
            TypeError, ValueError, ModelOutputError, ImportError: As :meth:`attribute` does.
        """
        warn_if_training(self.model)
        images, wanted, tree, baseline = self._prepare(images, targets, channels)
        levels, _ = self._play(TargetGame(self._game(images, baseline, tree), tree, wanted))
        return (scores[:, tree.labels(level)] for level, (scores, _) in enumerate(levels))

    @abstractmethod
    def _play(self, game: TargetGame) -> tuple[Iterator[LevelScores], tuple[Any, ...]]:
        """Return scores and standard errors (N, m, K) level by level, l = 0 ... L, and what a result can go on from."""

    @abstractmethod
    def _expected_evaluations(self, tree: PartitionTree) -> int:
        """Return the number of distinct coalitions that :meth:`_play` evaluates."""

    def _known_coalitions(self, tree: PartitionTree) -> np.ndarray:
        """Return packed coalitions that are known beforehand and can be evaluated in full batches, if there are any."""
        return tree.coalitions(0)[:0]

    def _bytes_per_image(self, tree: PartitionTree, classes: int) -> int:
        """Return the memory that the method takes for each image of a group, besides the values."""
        return 0

    def _prepare(
        self, images: Images, targets: Targets, channels: Channels | None
    ) -> tuple[torch.Tensor, Wanted, PartitionTree, torch.Tensor | Filling]:
        """Check everything that can be checked before the model runs."""
        images = as_images(images, channels)
        tree = build_tree(*images.shape[2:], self.depth, self.tree)
        return images, as_targets(targets, len(images)), tree, as_baseline(self.baseline, images)

    def _group_size(self, tree: PartitionTree, classes: int, wanted: Wanted, evaluations: int) -> int:
        """Return how many images to explain together, so that what is kept of them has bounded memory."""
        explained = wanted.shape[1] if isinstance(wanted, np.ndarray) else 1 if wanted is None else classes
        most = _GROUP_BYTES // (8 * classes * evaluations + self._bytes_per_image(tree, explained))
        return int(np.clip(most, 1, _GROUP_IMAGES))

    def _game(
        self,
        images: torch.Tensor,
        baseline: torch.Tensor | Filling,
        tree: PartitionTree,
        on_rows: Callable[[int], object] | None = None,
    ) -> ImageGame:
        """Set up the game of some images."""
        settings = {name: getattr(self, name) for name in ("output", "batch_size", "precision", "device")}
        return ImageGame(self.model, images, baseline, tree.labels(), on_rows=on_rows, **settings)

    def _explain(
        self, game: ImageGame, tree: PartitionTree, images: torch.Tensor, wanted: Wanted
    ) -> DnCResult:
        """Explain one group of images together."""
        known = self._known_coalitions(tree)
        target = TargetGame(game, tree, wanted, first=known[: max(game.coalitions_per_batch - 2, 0)])
        names = self.class_names
        if names is not None and len(names) != game.n_classes:
            raise ValueError(f"class_names has {len(names)} names; the model has {game.n_classes} classes.")
        game.values(known)
        levels, searches = self._play(target)
        scores, errors = zip(*levels, strict=True)
        shown = images.float() if images.dtype == torch.bfloat16 else images  # numpy has no bfloat16
        return DnCResult(
            levels=list(scores),
            tree=tree,
            base_values=target.empty,
            predictions=target.full,
            classes=target.classes,
            data=shown.permute(0, 2, 3, 1).cpu().numpy(),
            class_names=names,
            evaluations=game.evaluations,
            compute_time=0.0,
            standard_errors=errors[-1],
            map_kind=self._map_kind,
            calls=self._calls,
            searches=searches,
            placement=(images.device, images.dtype),
        )

    def _bar(self, rows: int) -> tqdm:
        """Return a bar over evaluations, which shows nothing unless ``progress`` is set."""
        return tqdm(total=rows, unit="evaluation", desc=type(self).__name__, disable=not self.progress)
