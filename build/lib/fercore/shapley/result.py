"""What an explainer returns: region scores at every level of the tree, and the maps drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from fercore.shapley.tree import PartitionTree

if TYPE_CHECKING:
    import shap

_PER_IMAGE = ("base_values", "predictions", "classes", "data", "evaluations")
_CARRIED = ("levels", "tree", "evaluations", "standard_errors", "efficiency_gap", "map_kind", "calls")


@dataclass(frozen=True, eq=False)
class DnCResult:
    """Region scores of N images, H x W pixels and C channels each, for K classes; no ``shap`` needed.

    Attributes:
        levels: One float64 array (N, m, K) per level l = 0 ... L: the score of each of its m nodes (2^l of halves).
        tree: The partition tree that all images share.
        base_values: f(b), float64 array (N, K).
        predictions: f(x), float64 array (N, K).
        classes: Class numbers that are explained, int64 array (N, K).
        data: The images as given, array (N, H, W, C).
        class_names: A name per class of the model, or None to name classes by number.
        evaluations: Masked images that the model has seen, int64 array (N,): one per coalition and background image.
        compute_time: Seconds.
        standard_errors: Of the scores of the leaves, float64 array (N, n, K): of the sampling with K contexts, of the
            guess (a posterior standard deviation) with adaptive ones; None for the others.
        map_kind: ``"density"``: a pixel of the map holds score / (pixels * channels) of its region, so that the map
            sums to the scores. ``"score"``: it holds the region's score itself, as the paper writes it.
        calls: Model calls of a procedure that evaluates inputs again; None where every call is a distinct input.
        searches: What :meth:`DnCShap.refine` goes on from, one per group of images; empty unless contexts are adaptive.
        placement: Device and dtype of the images as given, which a model without parameters is called with.
    """

    levels: list[np.ndarray]
    tree: PartitionTree
    base_values: np.ndarray
    predictions: np.ndarray
    classes: np.ndarray
    data: np.ndarray
    class_names: Sequence[str] | None
    evaluations: np.ndarray
    compute_time: float
    standard_errors: np.ndarray | None = None
    map_kind: Literal["density", "score"] = "density"
    calls: int | None = None
    searches: tuple[Any, ...] = ()
    placement: tuple[torch.device, torch.dtype] | None = None

    @property
    def region_scores(self) -> np.ndarray:
        """The scores of the leaves, float64 array (N, n, K)."""
        return self.levels[-1]

    @property
    def efficiency_gap(self) -> float:
        """How far the scores are from efficiency, ``max |Σ scores - (f(x) - f(b))|`` over images and classes."""
        total = self.region_scores.sum(axis=1)
        return float(np.abs(total - (self.predictions - self.base_values)).max())

    @property
    def output_names(self) -> np.ndarray:
        """Names of the explained classes, strings (K,) where all images share them, else (N, 1)."""
        classes = self.classes[0] if (self.classes == self.classes[0]).all() else self.classes
        names = None if self.class_names is None else np.asarray(self.class_names, dtype=str)
        return classes.astype(str) if names is None else names[classes]

    def images(self, group: slice) -> DnCResult:
        """Return the result of some of the images, without what :meth:`DnCShap.refine` needs.

        Args:
            group: Which images, a slice of 0 ... N - 1.
        """
        parts = {name: getattr(self, name)[group] for name in _PER_IMAGE}
        levels = [scores[group] for scores in self.levels]
        errors = None if self.standard_errors is None else self.standard_errors[group]
        return replace(self, levels=levels, standard_errors=errors, searches=(), **parts)

    def region_map(self, level: int = -1) -> np.ndarray:
        """Write each region's score over its pixels, the view of the paper; it does not sum to f(x) - f(b).

        Args:
            level: Level of the tree, the leaves by default.

        Returns:
            float64 array (N, H, W, K).

        Raises:
            ValueError: If the tree has no such level.
        """
        labels = self.tree.labels(level)  # checks the level
        return self.levels[level][:, labels]

    def pixel_map(self) -> np.ndarray:
        """Return the map of the leaves, float64 array (N, H, W, C, K); (N, H, W, 1, K) for ``map_kind="score"``.

        As a density it sums to f(x) - f(b) over pixels and channels.
        """
        return self._over_pixels(self.region_scores)

    def error_map(self) -> np.ndarray | None:
        """Return the standard errors in the shape of :meth:`pixel_map`, (N, H, W, C, K); None where there are none."""
        return None if self.standard_errors is None else self._over_pixels(self.standard_errors)

    def _over_pixels(self, scores: np.ndarray) -> np.ndarray:
        """Spread scores (N, n, K) over the pixels and channels of their regions: (N, H, W, C or 1, K)."""
        labels, channels = self.tree.labels(), self.data.shape[-1]
        spread = scores[:, labels][:, :, :, None, :]
        if self.map_kind == "score":
            return spread
        pixels = self.tree.pixels(-1)[labels][:, :, None, None]
        return np.repeat(spread / (pixels * channels), channels, axis=3)

    def explanation(self) -> shap.Explanation:
        """Return the result as a ``shap.Explanation``, which ``shap.image_plot`` draws.

        Its ``values`` are :meth:`pixel_map`, its ``base_values``, ``data``, ``output_names`` and ``compute_time`` those
        of this result, its ``error_std`` the :meth:`error_map`, if there is one, and its ``hierarchical_values`` the
        scores of all nodes, array (N, nodes, K) in the order of ``tree.boxes``. Set on it besides, though shap drops
        them when it slices: ``levels`` (one array (N, m, K) per level), ``tree``, ``evaluations``,
        ``standard_errors``, ``efficiency_gap``, ``map_kind``, ``calls``. shap (0.51) cannot slice ``explanation[i]``
        where there are as many images as channels and they explain different classes.

        Raises:
            ImportError: If shap is not installed.
        """
        try:
            import shap
            import slicer  # a dependency of shap
        except ImportError as error:
            raise ImportError(
                "Returning a shap.Explanation needs shap: pip install 'fercore[shap]'. Without it, "
                "explainer.attribute(images) gives the same numbers as a DnCResult."
            ) from error
        shared = self.output_names.ndim == 1
        result = shap.Explanation(
            self.pixel_map(),
            base_values=self.base_values,
            data=self.data,
            output_names=self.output_names.tolist() if shared else None,
            error_std=self.error_map(),
            hierarchical_values=np.concatenate(self.levels, axis=1),
            compute_time=self.compute_time,
        )
        if not shared:
            # The constructor cannot tell names (N, 1) from the last axes (C, 1) of the values where N = C.
            result.output_names = slicer.Obj(self.output_names, dim=[0, result.values.ndim - 1])
        for name in _CARRIED:
            setattr(result, name, getattr(self, name))
        return result


def join(parts: Sequence[DnCResult], compute_time: float) -> DnCResult:
    """Put the results of groups of images, explained in turn on the same tree, into one."""
    first = parts[0]
    merged = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _PER_IMAGE}
    if first.standard_errors is not None:
        merged["standard_errors"] = np.concatenate([part.standard_errors for part in parts])
    levels = [np.concatenate(scores) for scores in zip(*(part.levels for part in parts), strict=True)]
    searches = tuple(search for part in parts for search in part.searches)
    return replace(first, levels=levels, searches=searches, compute_time=compute_time, **merged)
