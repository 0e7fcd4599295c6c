"""The model that is explained: what it may be, where and how it runs, and what it must return."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch

from fercore.errors import ModelOutputError

Model = Callable[[torch.Tensor], torch.Tensor]
Output = Literal["probability", "logit"] | Callable[[torch.Tensor], torch.Tensor]
OUTPUTS = ("probability", "logit")
Precision = Literal["bfloat16", "float16"] | None
PRECISIONS = (None, "bfloat16", "float16")

# A row costs its own bytes times this: the first layers of a VGG hold about 2 x 64 channels for 3 of the input.
_ACTIVATION_FACTOR = 64
_CPU_BUDGET = 512 * 2**20
_CPU_MAX_ROWS = 64  # VGGs at 48 px: 256 rows take 20 to 55 % longer per row, for activations leave the cache
_GPU_MAX_ROWS = 4096
_CONTAINERS = (
    torch.nn.Sequential,
    torch.nn.ModuleList,
    torch.nn.ModuleDict,
)  # their own mode changes nothing


def auto_batch_size(row_bytes: int, device: torch.device) -> int:
    """Return how many rows of ``row_bytes`` bytes to evaluate at once; the rule is in :class:`ImageGame`."""
    if device.type == "cuda":
        budget, most = torch.cuda.mem_get_info(device)[0] // 4, _GPU_MAX_ROWS
    else:
        budget, most = _CPU_BUDGET, _CPU_MAX_ROWS
    return int(min(max(budget // (row_bytes * _ACTIVATION_FACTOR), 1), most))


def check_settings(model: Model, output: Output, batch_size: int | str, precision: str | None = None) -> None:
    """Refuse a model, an output, a batch size or a precision that makes no sense; see :class:`ImageGame`."""
    if not callable(model):
        raise TypeError(
            f"model must be a torch.nn.Module or a function of a tensor, not {type(model).__name__}."
        )
    if not callable(output) and output not in OUTPUTS:
        raise ValueError(f"Unknown output {output!r}; use 'probability', 'logit' or a callable.")
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if batch_size != "auto" and not (whole and batch_size >= 1):
        raise ValueError(f"batch_size is 'auto' or a whole number of rows, at least 1; not {batch_size!r}.")
    if precision not in PRECISIONS:
        raise ValueError(
            f"Unknown precision {precision!r}; use 'bfloat16', 'float16', or None for the model's own type."
        )


def warn_if_training(model: Model, stacklevel: int = 3) -> None:
    """Warn (``UserWarning``) if a module, or a part of it that is more than a container, is in training mode."""
    parts = model.modules() if isinstance(model, torch.nn.Module) else ()
    if any(part.training and type(part) not in _CONTAINERS for part in parts):
        warnings.warn(
            "The model is in training mode; it is explained in evaluation mode and put back afterwards.",
            UserWarning,
            stacklevel=stacklevel,
        )


@contextmanager
def evaluation_mode(model: Model) -> Iterator[None]:
    """Put a module into evaluation mode, and every part of it back into its own mode afterwards."""
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, torch.nn.Module) else []
    try:
        if any(training for _, training in modes):
            model.eval()
        yield
    finally:
        for part, training in modes:
            if part.training != training:  # setting it is slow, and done many times per image
                part.training = training


def placement(
    model: Model, images: torch.Tensor, device: torch.device | str | None
) -> tuple[torch.device, torch.dtype]:
    """Return the device and floating-point type of a model; of the images where the model has no say."""
    wanted = None if device is None else torch.device(device)
    dtype = images.dtype if images.is_floating_point() else torch.get_default_dtype()
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, torch.nn.Module) else []
    if not tensors:
        return wanted or images.device, dtype
    found = tensors[0].device
    if found.type == "meta":
        raise ValueError(
            "The model is on the meta device, so its weights hold no numbers: load them before it is explained."
        )
    if wanted is not None and (wanted.type != found.type or wanted.index not in (None, found.index)):
        raise ValueError(
            f"The model is on {found}, not on {wanted}: move it with model.to({str(wanted)!r}) first."
        )
    return found, next((t.dtype for t in tensors if t.is_floating_point()), dtype)


def autocast_type(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the type for autocast, None for none, refusing what the device cannot do."""
    if precision is None:
        return None
    if not torch.amp.is_autocast_available(device.type):
        raise ValueError(
            f"precision={precision!r} needs torch.autocast, which {device.type} devices do not have."
        )
    return getattr(torch, precision)


def check_shape(scores: Any, rows: int, source: str) -> None:
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


def check_finite(scores: torch.Tensor) -> None:
    """Refuse outputs (rows, classes) that hold NaN or infinity, saying how many rows do."""
    bad = int((~torch.isfinite(scores)).any(dim=1).sum())
    if bad:
        raise ModelOutputError(
            f"The model returned NaN or infinity in {bad} of {len(scores)} rows, so no value is given. Check that the "
            "images and the baseline are finite and scaled as in training, that the weights are finite (a training "
            "run that diverged), and that half precision does not overflow."
        )
