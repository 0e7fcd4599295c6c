"""What the user hands over, checked once: images, a model and its settings, the classes to explain."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch

from fercore.errors import ModelOutputError

Images = torch.Tensor | np.ndarray | Sequence[torch.Tensor] | Sequence[np.ndarray]
Channels = Literal["first", "last"]
Model = Callable[[torch.Tensor], torch.Tensor]
Output = Literal["probability", "logit"] | Callable[[torch.Tensor], torch.Tensor]
Precision = Literal["bfloat16", "float16"] | None
Targets = int | str | Sequence[int] | Sequence[Sequence[int]] | np.ndarray | torch.Tensor | None
Wanted = np.ndarray | Literal["all"] | None  # checked targets: int64 (N, K), all classes, or those predicted

_USUAL_CHANNELS = (1, 3, 4)  # grey, colour, colour with alpha

# A row costs its own bytes times this: the first layers of a VGG hold about 2 x 64 channels for 3 of the input.
_ACTIVATION_FACTOR = 64
_CPU_BUDGET = 512 * 2**20
_CPU_MAX_ROWS = 64  # VGGs at 48 px: 256 rows take 20 to 55 % longer per row, for activations leave the cache
_GPU_MAX_ROWS = 4096
_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)  # their mode changes nothing


def is_whole(number: object, least: int) -> bool:
    """Return whether a setting is a whole number, and at least this."""
    whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    return whole and bool(number >= least)


# --- images


def as_images(images: Images, channels: Channels | None = None) -> torch.Tensor:
    """Check images, see :meth:`DnCShap.attribute`, and return them as (N, C, H, W); integers stay integers."""
    if channels not in (None, "first", "last"):
        raise ValueError(f"channels is 'first' or 'last' (or None for the default), not {channels!r}.")
    if isinstance(images, (list, tuple)):
        images = _stack(images)
    if isinstance(images, np.ndarray):
        layout, tensor = channels or "last", torch.from_numpy(np.ascontiguousarray(images))
    elif isinstance(images, torch.Tensor):
        layout, tensor = channels or "first", images.detach()
    else:
        told = "images must be a torch tensor or a numpy array or a list of these"
        raise TypeError(f"{told}, not {type(images).__name__}.")
    if tensor.ndim == 3:
        tensor = tensor[None]
    if tensor.ndim != 4:
        raise ValueError(
            f"images must have 3 axes (one image) or 4 (a batch), not shape {tuple(images.shape)}. "
            "A grey image needs its channel axis too: image[None] (first) or image[..., None] (last)."
        )
    if 0 in tensor.shape:
        raise ValueError(f"There is nothing to explain: images has shape {tuple(images.shape)}.")
    _check_channels(tensor.shape, layout, stated=channels is not None)
    return tensor if layout == "first" else tensor.permute(0, 3, 1, 2)


def _stack(images: Sequence[torch.Tensor] | Sequence[np.ndarray]) -> torch.Tensor | np.ndarray:
    """Make one batch of a list of single images."""
    if not images:
        raise ValueError("There is nothing to explain: the list of images is empty.")
    kind = torch.Tensor if isinstance(images[0], torch.Tensor) else np.ndarray
    for number, image in enumerate(images):
        if not isinstance(image, kind):
            found = f"image {number} is a {type(image).__name__}"
            raise TypeError(f"A list of images holds torch tensors only, or numpy arrays only; {found}.")
    shapes = dict.fromkeys(tuple(image.shape) for image in images)
    if len(shapes) > 1 or len(images[0].shape) != 3:
        found = ", ".join(map(str, shapes))
        raise ValueError(
            f"The images of a list have 3 axes each and one shape, not {found}: resize or pad them."
        )
    return torch.stack(list(images)) if kind is torch.Tensor else np.stack(images)


def _check_channels(shape: Sequence[int], layout: Channels, *, stated: bool) -> None:
    """Refuse a batch whose channel axis is probably another axis: a wrong layout would pass silently."""
    count, elsewhere = (shape[1], shape[3]) if layout == "first" else (shape[3], shape[1])
    swapped = elsewhere in _USUAL_CHANNELS
    if count in _USUAL_CHANNELS or (stated and not swapped):
        return
    other = "last" if layout == "first" else "first"
    looks = f"They look like channels {other}: pass channels={other!r}."
    confirm = f"If that is right, pass channels={layout!r} to confirm it."
    found = f"Read with channels {layout}, shape {tuple(shape)} has {count} channels; expected 1, 3 or 4."
    raise ValueError(f"{found} {looks if swapped else confirm}")


# --- models


def check_settings(model: Model, output: Output, batch_size: int | str, precision: str | None) -> None:
    """Refuse a model, an output, a batch size or a precision that makes no sense; see :class:`DnCShap`."""
    if not callable(model):
        raise TypeError(f"model must be a torch.nn.Module or a function, not {type(model).__name__}.")
    if not callable(output) and output not in ("probability", "logit"):
        raise ValueError(f"Unknown output {output!r}; use 'probability', 'logit' or a callable.")
    if batch_size != "auto" and not is_whole(batch_size, least=1):
        raise ValueError(f"batch_size is 'auto' or a whole number of rows, at least 1; not {batch_size!r}.")
    if precision not in (None, "bfloat16", "float16"):
        raise ValueError(f"Unknown precision {precision!r}; use 'bfloat16', 'float16', or None for neither.")


def warn_if_training(model: Model) -> None:
    """Warn (``UserWarning``) if a module, or a part of it that is more than a container, is in training mode."""
    parts = model.modules() if isinstance(model, torch.nn.Module) else ()
    if any(part.training and type(part) not in _CONTAINERS for part in parts):
        told = "The model is in training mode; it is explained in evaluation mode and put back afterwards."
        warnings.warn(told, UserWarning, stacklevel=3)


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
        raise ValueError("The model is on the meta device, so its weights hold no numbers: load them first.")
    if wanted is not None and (wanted.type != found.type or wanted.index not in (None, found.index)):
        raise ValueError(
            f"The model is on {found}, not on {wanted}: move it with model.to('{wanted}') first."
        )
    return found, next((t.dtype for t in tensors if t.is_floating_point()), dtype)


def auto_batch_size(row_bytes: int, device: torch.device) -> int:
    """Return how many rows of ``row_bytes`` bytes to evaluate at once; the rule is in :class:`ImageGame`."""
    if device.type == "cuda":
        budget, most = torch.cuda.mem_get_info(device)[0] // 4, _GPU_MAX_ROWS
    else:
        budget, most = _CPU_BUDGET, _CPU_MAX_ROWS
    return int(min(max(budget // (row_bytes * _ACTIVATION_FACTOR), 1), most))


def check_shape(scores: Any, rows: int, source: str) -> None:
    """Refuse outputs that are not a tensor (rows, classes)."""
    shape = tuple(scores.shape) if isinstance(scores, torch.Tensor) else None
    if shape is None or len(shape) != 2 or shape[0] != rows or shape[1] == 0:
        found = f"a {type(scores).__name__}" if shape is None else f"shape {shape}"
        raise ModelOutputError(
            f"The {source} returned {found} for {rows} rows; expected a tensor ({rows}, classes). Wrap it in a "
            "function that picks the class scores."
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


# --- classes


def as_targets(targets: Targets, n_images: int) -> Wanted:
    """Check which classes are to be explained, as far as possible before the model has run."""
    if targets is None or isinstance(targets, str):
        if targets not in (None, "all"):
            raise ValueError(
                f"targets is a class, one per image, an array (N, K), None or 'all', not {targets!r}."
            )
        return targets
    array = targets.cpu().numpy() if isinstance(targets, torch.Tensor) else np.asarray(targets)
    if array.size == 0:
        raise ValueError(f"targets is empty (shape {array.shape}): name a class, or leave it out.")
    if array.dtype.kind not in "iu":
        raise TypeError(f"targets must be integers (class numbers), not {array.dtype} {targets!r}.")
    rows = array[:, None] if array.ndim == 1 else np.atleast_2d(array)
    per_image = len(rows) == n_images or (array.ndim != 1 and len(rows) == 1)
    if rows.ndim != 2 or not per_image:
        raise ValueError(
            f"targets must hold one class per image: {n_images}, or K classes per image: ({n_images}, K) or (1, K); "
            f"its shape is {array.shape}."
        )
    return np.broadcast_to(rows, (n_images, rows.shape[1])).astype(np.int64)


def explained_classes(targets: Wanted, predictions: np.ndarray) -> np.ndarray:
    """Turn checked targets into class numbers (N, K), now that f(x), (N, classes), is known."""
    n_images, n_classes = predictions.shape
    if targets is None:
        return predictions.argmax(axis=1)[:, None]
    if isinstance(targets, str):
        return np.tile(np.arange(n_classes), (n_images, 1))
    wrong = targets[(targets < 0) | (targets >= n_classes)]
    if wrong.size:
        raise ValueError(f"Target {wrong[0]} is out of range: the model has classes 0 to {n_classes - 1}.")
    return targets
