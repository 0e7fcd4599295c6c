"""The game: the value v(S) of a coalition S of image regions, for all classes at once.

v(S) = f_c(x on S, b elsewhere): the model's output for class c when the regions of S show the image x and all others
show the baseline b; with a background set, the mean over its images. The players are the leaves of a partition tree
(any label map will do). A coalition is evaluated for every image of the batch (:meth:`ImageGame.values`), or each image
has coalitions of its own (:meth:`ImageGame.each`); either way the rows of all images share the forward passes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from fercore.errors import ModelOutputError
from fercore.shapley import inputs
from fercore.shapley.baselines import Filling, rows_per_coalition
from fercore.shapley.inputs import Model, Output, Precision, Wanted
from fercore.shapley.tree import PartitionTree, pack, unpack

if TYPE_CHECKING:
    from fercore.shapley.result import DnCResult

# Rows whose outputs wait on the device before they are brought over together: so a GPU is hardly ever waited for, and a
# large background set does not fill the memory with outputs that are only averaged.
_TRANSFER_ROWS = 2**16
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class TargetGame:
    """The game of a group of images, reduced to the classes that are to be explained.

    The methods ask for ``tree``, ``everyone`` (all players as a packed coalition, (1, ceil(n / 8))), ``empty`` and
    ``full`` (v(∅) = f(b) and v(N) = f(x), (N, K)), ``values`` and ``each`` alone, and this asks its game for ``values``
    and ``each``: neither need be played by a network, or on pixels.
    """

    def __init__(
        self,
        game: ImageGame,
        tree: PartitionTree,
        targets: Wanted,
        known: DnCResult | None = None,
        first: np.ndarray | None = None,
    ) -> None:
        """Evaluate the two ends, which every method needs, and choose the classes; or take both from a result.

        ``first`` are packed coalitions to evaluate with the ends, for two rows alone make a small batch.
        """
        self.tree, self.everyone, self._game = tree, tree.coalitions(0), game
        if known is not None:
            self.classes, self.empty, self.full = known.classes, known.base_values, known.predictions
            return
        ends = np.concatenate([np.zeros_like(self.everyone), self.everyone])
        ends = game.values(ends if first is None else np.concatenate([ends, first]))[:, :2]
        self.classes = inputs.explained_classes(targets, ends[:, 1])
        self.empty, self.full = self._select(ends).swapaxes(0, 1)

    def values(self, packed: np.ndarray) -> np.ndarray:
        """Return v(S) of packed coalitions (M, ceil(n / 8)): (N, M, K). No coalition is evaluated twice."""
        return self._select(self._game.values(packed))

    def each(self, packed: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Return v(S) of coalitions (N, M, ceil(n / 8)) of each image's own, where ``valid`` (N, M): (N, M, K)."""
        return self._select(self._game.each(packed, valid))

    def _select(self, values: np.ndarray) -> np.ndarray:
        """Pick the explained classes of each image from (N, M, classes)."""
        return np.take_along_axis(values, self.classes[:, None, :], axis=2)


class ImageGame:
    """The game of N images under one model, evaluated in memory-bounded batches.

    Attributes:
        n_images: N.
        n_players: n, the number of regions.
        n_classes: K, or None before the first evaluation.
        evaluations: Rows that the model has seen of each image, int64 array (N,).
        device: Where the model runs.
        dtype: Floating-point type that the model is given.
    """

    def __init__(
        self,
        model: Model,
        images: torch.Tensor,
        baseline: torch.Tensor | Filling,
        labels: np.ndarray,
        *,
        output: Output = "probability",
        batch_size: int | Literal["auto"] = "auto",
        precision: Precision = None,
        device: torch.device | str | None = None,
        on_rows: Callable[[int], Any] | None = None,
    ) -> None:
        """Set up the game; nothing is evaluated yet.

        Args:
            model: As in :class:`DnCShap`, from (rows, C, H, W) to (rows, classes).
            images: x, (N, C, H, W).
            baseline: b, a tensor of 4 axes, broadcastable to the images, or what fills hidden pixels in.
            labels: Integer array (H, W): the player that owns each pixel, 0 ... n - 1.
            output: As in :class:`DnCShap`.
            batch_size: Rows per forward pass. ``"auto"`` allows 64 times the bytes of an input row for activations, and
                takes as many rows as fit in 512 MiB (at most 64) on a CPU, in a quarter of the free memory (at most
                4,096) on a GPU. Either way it is halved whenever the GPU runs out of memory.
            precision: As in :class:`DnCShap`; autocast leaves float64 models as they are. The softmax and all that
                follows is float64 in any case.
            device: For models without parameters and buffers; others say themselves where they are.
            on_rows: Called with the number of rows after each batch, for progress bars.

        Raises:
            TypeError: If the model cannot be called, or the labels are not integers.
            ValueError: If ``output``, ``batch_size``, ``precision`` or ``device`` makes no sense.
        """
        inputs.check_settings(model, output, batch_size, precision)
        self.device, self.dtype = inputs.placement(model, images, device)
        if precision is not None and not torch.amp.is_autocast_available(self.device.type):
            raise ValueError(f"precision={precision!r} needs torch.autocast, which {self.device} lacks.")
        self._autocast = None if precision is None else getattr(torch, precision)
        self._model, self._output, self._on_rows = model, output, on_rows
        self._x, self._b = images.to(self.device, self.dtype), baseline.to(self.device, self.dtype)
        whole = np.asarray(labels).astype(np.int64, casting="same_kind")  # gather takes no shorter integers
        self._labels = torch.as_tensor(whole, device=self.device).reshape(-1)
        self.n_images, self.n_players = len(images), int(labels.max()) + 1
        self.n_classes: int | None = None
        self.evaluations = np.zeros(self.n_images, dtype=np.int64)
        self._everyone = pack(np.ones((1, self.n_players)))
        self._fillings = rows_per_coalition(baseline)
        if batch_size == "auto":
            batch_size = inputs.auto_batch_size(self._x[0].numel() * self._x.element_size(), self.device)
        self._batch = int(batch_size)
        # Convolutions on a CPU are about 1.6 times faster on channels-last inputs.
        self._use_layout(channels_last=self.device.type == "cpu")
        self._index: dict[bytes, int] = {}  # of the coalitions evaluated so far: where their values are
        self._values: np.ndarray | None = None  # (N, coalitions, classes)

    @property
    def coalitions_per_batch(self) -> int:
        """How many coalitions of one image fill a batch."""
        return max(1, self._batch // self._fillings)

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """Return v(S) of the first image for boolean coalitions (M, n): float64 array (M, classes)."""
        return self.values(pack(coalitions))[0]

    def values(self, packed: np.ndarray) -> np.ndarray:
        """Return v(S) of packed coalitions for every image and class; no coalition is evaluated twice.

        Args:
            packed: uint8 array (M, ceil(n / 8)) as :func:`fercore.shapley.tree.pack` makes it; repeats cost nothing.

        Returns:
            float64 array (N, M, classes).

        Raises:
            ModelOutputError: If the model returns NaN, infinity or another shape than (rows, classes). Nothing of the
                failed call is kept.
            ValueError: If there is no coalition at all.
        """
        keys = [row.tobytes() for row in packed]
        fresh = {key: row for row, key in enumerate(keys) if key not in self._index}
        if fresh:
            image, row = np.divmod(np.arange(self.n_images * len(fresh)), len(fresh))
            block = self._evaluate(packed[list(fresh.values())], image, row)
            block = block.reshape(self.n_images, len(fresh), -1)
            self._values = block if self._values is None else np.concatenate([self._values, block], axis=1)
            self._index.update({key: len(self._index) + place for place, key in enumerate(fresh)})
        if self._values is None:
            raise ValueError("values() needs at least one coalition.")
        return self._values[:, [self._index[key] for key in keys]]

    def each(self, packed: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Return v(S) of other coalitions for each image; nothing is looked up or remembered.

        Args:
            packed: uint8 array (N, M, ceil(n / 8)): M packed coalitions for each image.
            valid: Boolean array (N, M): what is False is not evaluated; all is by default.

        Returns:
            float64 array (N, M, classes), NaN where not ``valid``.

        Raises:
            ModelOutputError: As for :meth:`values`.
            ValueError: If the shapes do not fit, or nothing is valid before the number of classes is known.
        """
        shape = self.n_images, packed.shape[1]
        valid = np.ones(shape, dtype=bool) if valid is None else valid
        if (packed.shape, valid.shape) != ((*shape, self._everyone.shape[1]), shape):
            raise ValueError(
                f"each() needs coalitions (N, M, bytes) = ({self.n_images}, M, {self._everyone.shape[1]}) and valid "
                f"(N, M), not {packed.shape} and {valid.shape}."
            )
        wanted = np.flatnonzero(valid)
        if not wanted.size and self.n_classes is None:
            raise ValueError("each() needs at least one valid coalition, for the number of classes.")
        rows = packed.reshape(-1, packed.shape[2])
        found = self._evaluate(rows, wanted // shape[1], wanted) if wanted.size else 0.0
        result = np.full((valid.size, self.n_classes), np.nan)
        result[wanted] = found
        return result.reshape(*shape, self.n_classes)

    def _evaluate(self, packed: np.ndarray, image: np.ndarray, coalition: np.ndarray) -> np.ndarray:
        """Return v of jobs, each an image and a row of ``packed``: float64 array (jobs, classes)."""
        step = max(1, _TRANSFER_ROWS // self._fillings)
        parts = [slice(start, start + step) for start in range(0, len(image), step)]
        with inputs.evaluation_mode(self._model), torch.inference_mode():
            return np.concatenate([self._evaluate_some(packed, image[p], coalition[p]) for p in parts])

    def _evaluate_some(self, packed: np.ndarray, image: np.ndarray, coalition: np.ndarray) -> np.ndarray:
        """Evaluate as many jobs as may wait on the device together: float64 array (jobs, classes)."""
        # The whole image hides nothing that could be filled in one way or another: it takes one row.
        hides = (packed != self._everyone).any(axis=1)[coalition]
        counts = np.where(hides, self._fillings, 1)
        job, first = np.repeat(np.arange(len(image)), counts), np.cumsum(counts) - counts
        scores = self._forward_all(packed, image[job], coalition[job], np.arange(len(job)) - first[job])
        inputs.check_finite(scores)
        if self._output == "probability":
            scores = torch.softmax(scores, dim=1)
        self.evaluations += np.bincount(image[job], minlength=self.n_images)
        self.n_classes = scores.shape[1]
        values = scores.numpy()
        return values if len(values) == len(image) else np.add.reduceat(values, first) / counts[:, None]

    def _forward_all(
        self, packed: np.ndarray, image: np.ndarray, coalition: np.ndarray, filling: np.ndarray
    ) -> torch.Tensor:
        """Run the model on rows, batch by batch: a float64 tensor (rows, classes) on the CPU."""
        start, outputs = 0, []
        while start < len(image):
            rows = slice(start, min(start + self._batch, len(image)))
            size = rows.stop - rows.start
            try:
                batch = self._forward(packed[coalition[rows]], image[rows], filling[rows])
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                batch = None
            if batch is None:  # same rows again, half as many, now that the error holds no tensors any more
                self._batch = size // 2
                torch.cuda.empty_cache()
                continue
            outputs.append(batch.clone())  # a slice of something larger would keep all of it alive
            one, other = outputs[0].shape[1], batch.shape[1]
            if one != other:
                raise ModelOutputError(
                    f"The model returned {one} classes for one batch and {other} for another."
                )
            if self._on_rows is not None:
                self._on_rows(size)
            start = rows.stop
        return torch.cat(outputs).cpu().double()

    def _forward(self, packed: np.ndarray, image: np.ndarray, filling: np.ndarray) -> torch.Tensor:
        """Return the scores of one batch, (rows, classes)."""
        raw = self._run(packed, image, filling)
        inputs.check_shape(raw, len(image), "model")
        if self._output == "probability" and raw.shape[1] == 1:
            raise ModelOutputError(
                "The model has one output, whose softmax is always 1. Use output='logit' or a callable such as "
                "torch.sigmoid."
            )
        if not callable(self._output):
            return raw
        mapped = self._output(raw if self._autocast is None else raw.to(self.dtype))
        inputs.check_shape(mapped, len(image), "output callable")
        return mapped

    def _run(self, packed: np.ndarray, image: np.ndarray, filling: np.ndarray) -> torch.Tensor:
        """Call the model, in the plain memory layout from then on if it uses ``view`` where another cannot."""
        # Weights cast here are inference tensors: in the cache they would outlive this call inside a caller's autocast.
        half = {"dtype": self._autocast, "cache_enabled": False}
        try:
            with torch.autocast(self.device.type, **half) if self._autocast else nullcontext():
                return self._model(self._masked(packed, image, filling))
        except RuntimeError as error:
            if not self._channels_last or "view size is not compatible" not in str(error):
                raise
        self._use_layout(channels_last=False)
        return self._run(packed, image, filling)

    def _use_layout(self, *, channels_last: bool) -> None:
        """Bring images, baseline and owners of the pixels to the layout in which the model gets its inputs."""
        self._channels_last, n_channels = channels_last, self._x.shape[1]
        owner = self._labels
        self._owner = owner.repeat_interleave(n_channels) if channels_last else owner.repeat(n_channels)
        self._bits_x = self._bits(self._x)
        if not isinstance(self._b, Filling):
            self._bits_b = self._bits(self._b.expand(len(self._b), *self._x.shape[1:]))

    def _bits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the bits of the numbers of images (N, C, H, W) as integers (N, C·H·W), in the layout of the inputs."""
        order = (0, 2, 3, 1) if self._channels_last else (0, 1, 2, 3)
        flat = images.permute(order).reshape(len(images), -1)
        return flat.view(_INTEGERS[flat.element_size()])

    def _masked(self, packed: np.ndarray, image: np.ndarray, filling: np.ndarray) -> torch.Tensor:
        """Build the inputs (rows, C, H, W) of a batch on the device: x on S, b elsewhere."""
        members = torch.from_numpy(unpack(packed, self.n_players)).to(self.device)
        # Rows come image by image, and most batches hold one image only: it is broadcast, not copied.
        one = image[0] == image[-1]
        pick = slice(image[0], image[0] + 1) if one else torch.from_numpy(image).to(self.device)
        if isinstance(self._b, Filling):
            visible = members[:, self._labels].reshape(len(image), *self._x.shape[2:])
            b = self._bits(self._b.hidden(image, filling, visible).to(self.device, self.dtype))
        else:
            b = self._bits_b if len(self._bits_b) == 1 else self._bits_b[pick]
        # All bits are set (-1) where a pixel is visible, else none: this takes the bits of x there and those of b
        # elsewhere, as torch.where would, in half the time. And gather is far faster than members[:, owner].
        rows = (-members.to(b.dtype)).gather(1, self._owner.expand(len(members), -1))
        rows = rows.bitwise_and_(self._bits_x[pick] ^ b).bitwise_xor_(b).view(self.dtype)
        channels, height, width = self._x.shape[1:]
        if self._channels_last:
            return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return rows.view(-1, channels, height, width)
