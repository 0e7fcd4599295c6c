"""The game: the value v(S) of a coalition S of image regions, for all classes at once.

v(S) = f_c(x on S, b elsewhere): the model's output for class c when the regions of S show the image x and all others
show the baseline b. The players are the leaves of a partition tree (any label map will do), and every coalition is
evaluated for every image of the batch, since all images share the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch

from fercore.errors import ModelOutputError
from fercore.shapley.tree import pack, unpack

Model = Callable[[torch.Tensor], torch.Tensor]
Output = Literal["probability", "logit"] | Callable[[torch.Tensor], torch.Tensor]
OUTPUTS = ("probability", "logit")

# A row costs its own bytes times this: the first layers of a VGG hold about 2 x 64 channels for 3 of the input.
_ACTIVATION_FACTOR = 64
_CPU_BUDGET = 512 * 2**20
_CPU_MAX_ROWS = 256
_GPU_MAX_ROWS = 4096


class ImageGame:
    """The game of N images under one model, evaluated in memory-bounded batches and never twice on a coalition.

    Attributes:
        n_images: N.
        n_players: n, the number of regions.
        evaluations: Distinct coalitions evaluated so far: rows that the model has seen per image.
        device: Where the model runs.
        dtype: Floating-point type that the model is given.
    """

    def __init__(
        self,
        model: Model,
        images: torch.Tensor,
        baseline: torch.Tensor,
        labels: np.ndarray,
        *,
        output: Output = "probability",
        batch_size: int | Literal["auto"] = "auto",
        device: torch.device | str | None = None,
        on_rows: Callable[[int], Any] | None = None,
    ) -> None:
        """Set up the game; nothing is evaluated yet.

        Args:
            model: ``torch.nn.Module`` or function from (rows, C, H, W) to (rows, classes); assumed to return logits.
            images: x, (N, C, H, W).
            baseline: b, 4 axes, broadcastable to the images.
            labels: Integer array (H, W): the player that owns each pixel, 0 ... n - 1.
            output: ``"probability"`` is the softmax of the model's output, ``"logit"`` the output itself; a callable
                maps the model's output (rows, K') to (rows, K).
            batch_size: Rows per forward pass. ``"auto"`` allows 64 times the bytes of an input row for activations, and
                takes as many rows as fit in 512 MiB (at most 256) on a CPU, in a quarter of the free memory (at most
                4,096) on a GPU. Either way it is halved whenever the GPU runs out of memory.
            device: For models without parameters and buffers; others say themselves where they are.
            on_rows: Called with the number of rows after each batch, for progress bars.

        Raises:
            TypeError: If the model cannot be called.
            ValueError: If ``output``, ``batch_size`` or ``device`` makes no sense.
        """
        check_settings(model, output, batch_size)
        self.device, self.dtype = _placement(model, images, device)
        self._model, self._output, self._on_rows = model, output, on_rows
        self._x = images.to(self.device, self.dtype)
        self._b = baseline.to(self.device, self.dtype)
        self._labels = torch.as_tensor(labels, device=self.device).reshape(-1)
        self.n_images, self.n_players = len(images), int(labels.max()) + 1
        row_bytes = self._x[0].numel() * self._x.element_size()
        self._batch = auto_batch_size(row_bytes, self.device) if batch_size == "auto" else int(batch_size)
        # Convolutions on a CPU are about 1.6 times faster on channels-last inputs.
        self._layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        self._index: dict[bytes, int] = {}
        self._values: np.ndarray | None = None

    @property
    def evaluations(self) -> int:
        """Rows that the model has seen per image."""
        return len(self._index)

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """Return v(S) of the first image for boolean coalitions (M, n): float64 array (M, classes)."""
        return self.values(pack(coalitions))[0]

    def values(self, packed: np.ndarray) -> np.ndarray:
        """Return v(S) of packed coalitions for every image and class.

        Args:
            packed: uint8 array (M, ceil(n / 8)) as :func:`fercore.shapley.tree.pack` makes it; repeats cost nothing.

        Returns:
            float64 array (N, M, classes).

        Raises:
            ModelOutputError: If the model returns NaN, infinity or another shape than (rows, classes). Nothing of the
                failed call is kept.
        """
        keys = [row.tobytes() for row in packed]
        fresh = {key: row for row, key in enumerate(keys) if key not in self._index}
        if fresh:
            block = self._evaluate(packed[list(fresh.values())])
            self._values = block if self._values is None else np.concatenate([self._values, block], axis=1)
            self._index.update(
                zip(fresh, range(len(self._index), len(self._index) + len(fresh)), strict=True)
            )
        if self._values is None:
            raise ValueError("values() needs at least one coalition.")
        return self._values[:, [self._index[key] for key in keys]]

    def _evaluate(self, packed: np.ndarray) -> np.ndarray:
        """Run the model on each (image, coalition) pair: float64 array (N, M, classes)."""
        rows, start, outputs = self.n_images * len(packed), 0, []
        with evaluation_mode(self._model), torch.inference_mode():
            while start < rows:
                stop = min(start + self._batch, rows)
                batch = self._forward(packed, start, stop)
                if batch is None:  # out of GPU memory: same rows again, half as many
                    self._batch = max(1, (stop - start) // 2)
                    torch.cuda.empty_cache()
                    continue
                outputs.append(batch.clone())  # a slice of something larger would keep all of it alive
                if self._on_rows is not None:
                    self._on_rows(stop - start)
                start = stop
            scores = torch.cat(outputs).cpu().double()  # one transfer per level, so a GPU is never waited for
        _check_finite(scores)
        if self._output == "probability":
            scores = torch.softmax(scores, dim=1)
        return scores.numpy().reshape(self.n_images, len(packed), -1)

    def _forward(self, packed: np.ndarray, start: int, stop: int) -> torch.Tensor | None:
        """Run the model on rows start ... stop - 1 (image-major); None if the GPU has no memory for them."""
        try:
            raw = self._run(packed, start, stop)
            _check_shape(raw, stop - start, "model")
            if not callable(self._output):
                if self._output == "probability" and raw.shape[1] == 1:
                    raise ModelOutputError(
                        "The model has one output, whose softmax is always 1. Use output='logit' or a callable such "
                        "as torch.sigmoid."
                    )
                return raw
            mapped = self._output(raw)
            _check_shape(mapped, stop - start, "output callable")
            return mapped
        except torch.OutOfMemoryError:
            if stop - start == 1:
                raise
            return None

    def _run(self, packed: np.ndarray, start: int, stop: int) -> torch.Tensor:
        """Call the model, in the plain memory layout from then on if it uses ``view`` where another cannot."""
        try:
            return self._model(self._masked(packed, start, stop))
        except RuntimeError as error:
            if self._layout == torch.contiguous_format or "view size is not compatible" not in str(error):
                raise
        self._layout = torch.contiguous_format
        return self._model(self._masked(packed, start, stop))

    def _masked(self, packed: np.ndarray, start: int, stop: int) -> torch.Tensor:
        """Build the inputs (rows, C, H, W) of a batch on the device: x on S, b elsewhere."""
        image, coalition = np.divmod(np.arange(start, stop), len(packed))
        members = torch.from_numpy(unpack(packed[coalition], self.n_players)).to(self.device)
        visible = members[:, self._labels].reshape(-1, 1, *self._x.shape[2:])
        pick = torch.from_numpy(image).to(self.device)
        x = self._x if self.n_images == 1 else self._x[pick]
        b = self._b if len(self._b) == 1 else self._b[pick]
        return torch.where(visible, x, b).contiguous(memory_format=self._layout)


def auto_batch_size(row_bytes: int, device: torch.device) -> int:
    """Return how many rows of ``row_bytes`` bytes to evaluate at once; the rule is in :class:`ImageGame`."""
    if device.type == "cuda":
        budget, most = torch.cuda.mem_get_info(device)[0] // 4, _GPU_MAX_ROWS
    else:
        budget, most = _CPU_BUDGET, _CPU_MAX_ROWS
    return int(min(max(budget // (row_bytes * _ACTIVATION_FACTOR), 1), most))


def check_settings(model: Model, output: Output, batch_size: int | str) -> None:
    """Refuse a model, an output or a batch size that makes no sense; see :class:`ImageGame` for the errors."""
    if not callable(model):
        raise TypeError(
            f"model must be a torch.nn.Module or a function of a tensor, not {type(model).__name__}."
        )
    if not callable(output) and output not in OUTPUTS:
        raise ValueError(f"Unknown output {output!r}; use 'probability', 'logit' or a callable.")
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if batch_size != "auto" and not (whole and batch_size >= 1):
        raise ValueError(f"batch_size is 'auto' or a whole number of rows, at least 1; not {batch_size!r}.")


@contextmanager
def evaluation_mode(model: Model) -> Iterator[None]:
    """Put a module into evaluation mode, and every part of it back into its own mode afterwards."""
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, torch.nn.Module) else []
    try:
        if modes:
            model.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training


def _placement(
    model: Model, images: torch.Tensor, device: torch.device | str | None
) -> tuple[torch.device, torch.dtype]:
    """Return the device and floating-point type of a model; of the images where the model has no say."""
    wanted = None if device is None else torch.device(device)
    dtype = images.dtype if images.is_floating_point() else torch.get_default_dtype()
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, torch.nn.Module) else []
    if not tensors:
        return wanted or images.device, dtype
    found = tensors[0].device
    if wanted is not None and (wanted.type != found.type or wanted.index not in (None, found.index)):
        raise ValueError(
            f"The model is on {found}, not on {wanted}: move it with model.to({str(wanted)!r}) first."
        )
    return found, next((t.dtype for t in tensors if t.is_floating_point()), dtype)


def _check_shape(scores: Any, rows: int, source: str) -> None:
    """Refuse outputs that are not a tensor (rows, classes)."""
    if not isinstance(scores, torch.Tensor):
        raise ModelOutputError(
            f"The {source} returned a {type(scores).__name__}, not a tensor (rows, classes). Wrap it in a function "
            "that picks the class scores."
        )
    if scores.ndim != 2 or scores.shape[0] != rows or scores.shape[1] == 0:
        raise ModelOutputError(
            f"The {source} returned shape {tuple(scores.shape)} for {rows} rows; expected ({rows}, classes)."
        )


def _check_finite(scores: torch.Tensor) -> None:
    """Refuse outputs (rows, classes) that hold NaN or infinity, saying how many rows do."""
    bad = int((~torch.isfinite(scores)).any(dim=1).sum())
    if bad:
        raise ModelOutputError(
            f"The model returned NaN or infinity in {bad} of {len(scores)} rows, so no value is given. Check that the "
            "images and the baseline are finite and scaled as in training, that the weights are finite (a training "
            "run that diverged), and that half precision does not overflow."
        )
